"""Reading and writing tensors' memory in compiled loops, element by element.

Loops get addresses, not arrays: numba's array indexing handles negative indices, which keeps its
compiler from using vector instructions (four times slower, seen). ``tag`` is a scalar whose type
says what is stored: ``uint16`` stands for bfloat16's bits. Numbers are float32 in between.

numba keeps compiled loops on disk and compiles again when the file of a loop changes, not when
this one does: after a change here, touch the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

BFLOAT16 = np.uint16(0)
FLOAT32 = np.float32(0)

TAGS = {torch.bfloat16: BFLOAT16, torch.float32: FLOAT32}
"""The tag of each dtype that the loops take."""

FAST_MATH = {"reassoc", "contract", "nsz"}
"""Sums may be reordered and fused, as vector instructions do; NaN and infinity stay."""

F = TypeVar("F", bound=Callable[..., Any])


def compiled(loop: F) -> F:
    """Compile a loop at its first call, and keep it on disk where there is a place for it."""
    try:
        return cast("F", njit(fastmath=FAST_MATH, error_model="numpy", cache=True)(loop))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return cast("F", njit(fastmath=FAST_MATH, error_model="numpy")(loop))


def part_of_loops(function: F) -> F:
    """Compile a function that loops call, into them."""
    return cast("F", njit(fastmath=FAST_MATH, error_model="numpy")(function))


_INT32 = ir.IntType(32)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_INT32, value)


def _place(builder: Any, address: Any, index: Any, kind: Any) -> Any:
    return builder.gep(builder.inttoptr(address, ir.PointerType(kind)), [index])


def _widened(builder: Any, bits: Any) -> Any:
    """A bfloat16's bits are the upper half of the same number's as a float32."""
    return builder.bitcast(builder.shl(builder.zext(bits, _INT32), _constant(16)), ir.FloatType())


def _narrowed(builder: Any, number: Any) -> Any:
    """To the nearest bfloat16, ties to even; any NaN becomes the one that torch writes."""
    bits = builder.bitcast(number, _INT32)
    is_odd = builder.and_(builder.lshr(bits, _constant(16)), _constant(1))
    half = builder.add(builder.add(bits, _constant(0x7FFF)), is_odd)
    is_nan = builder.fcmp_unordered("uno", number, number)
    upper = builder.select(is_nan, _constant(0x7FC0), builder.lshr(half, _constant(16)))
    return builder.trunc(upper, ir.IntType(16))


def _load(_: Any, address: Any, index: Any, tag: Any) -> Any:
    """The element ``index`` of what lies at ``address``."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, index, _ = arguments
        if tag == types.uint16:
            bits = builder.load(_place(builder, address, index, ir.IntType(16)))
            return _widened(builder, bits)
        return builder.load(_place(builder, address, index, ir.FloatType()))

    return types.float32(types.int64, types.int64, tag), generate


load: Any = intrinsic(_load)


def _store(_: Any, address: Any, index: Any, number: Any, tag: Any) -> Any:
    """Write ``number`` as the element ``index`` of what lies at ``address``."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, index, number, _ = arguments
        if tag == types.uint16:
            place = _place(builder, address, index, ir.IntType(16))
            builder.store(_narrowed(builder, number), place)
        else:
            builder.store(number, _place(builder, address, index, ir.FloatType()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, tag), generate


store: Any = intrinsic(_store)


def _integer_load(kind: Any, bits: int) -> Any:
    def load_integer(_: Any, address: Any, index: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, index = arguments
            return builder.load(_place(builder, address, index, ir.IntType(bits)))

        return kind(types.int64, types.int64), generate

    return intrinsic(load_integer)


def _integer_store(kind: Any, bits: int) -> Any:
    def store_integer(_: Any, address: Any, index: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, index, number = arguments
            builder.store(number, _place(builder, address, index, ir.IntType(bits)))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), generate

    return intrinsic(store_integer)


load_byte, store_byte = _integer_load(types.uint8, 8), _integer_store(types.uint8, 8)
load_half, store_half = _integer_load(types.int16, 16), _integer_store(types.int16, 16)
load_word, store_word = _integer_load(types.int32, 32), _integer_store(types.int32, 32)
load_long = _integer_load(types.int64, 64)
