"""Loops that torch does not have, for channels_last maps on a processor; compiled by numba.

torch computes batch norm, ReLU and 3x3 pooling of small maps at a small part of the speed of
memory: of a proxy's training step they took a third to a half. Here batch norm and ReLU are one
operation of two passes each way, and poolings with stride 1 keep a window's place in a byte.
They run on one thread. Imported only where :func:`fits` says so, because numba takes a second
to start; it compiles at the first use on a machine, then keeps the code on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_THREADS = 3
"""From four threads on, torch's own kernels are as fast: these take a quarter of one's time."""

MOST_PIXELS = 64
"""Of larger maps, and of any in float32, torch's own 1x1 convolution is as fast as a product."""

_DTYPES = frozenset({torch.bfloat16, torch.float32})


def fits(maps: Tensor) -> bool:
    """Whether the loops here can compute on ``maps`` (N, C, H, W), and are faster there."""
    return (
        maps.device.type == "cpu"
        and maps.dtype in _DTYPES
        and maps.is_contiguous(memory_format=torch.channels_last)
        and torch.get_num_threads() <= MOST_THREADS
        and maps.numel() > maps.shape[1]
        and not torch.compiler.is_compiling()
    )


def norm_relu(maps: Tensor, norm: nn.BatchNorm2d, *, relu: bool = True) -> Tensor:
    """``norm(maps)``, then ReLU unless told otherwise, for maps that :func:`fits`.

    As torch computes them in the mode that ``norm`` is in, but for rounding: in between, numbers
    are float32. Running statistics move as torch's do; ``norm`` needs a momentum, scales and
    shifts, and in evaluation mode nothing is differentiated.

    Raises:
        ValueError: ``norm`` has no fixed momentum, or no scales and shifts.
        RuntimeError: a gradient is wanted in evaluation mode.
    """
    from nas.kernels.norm import norm_relu as compute

    return compute(maps, norm, relu=relu)


def max_pool(maps: Tensor) -> Tensor:
    """3x3 max pooling with stride 1 and padding 1, equal to torch's in values and gradients.

    But for NaN: in float32 one loses against a number that comes before it in a window.
    """
    from nas.kernels.pool import max_pool as compute

    return compute(maps)


def average_pool(maps: Tensor) -> Tensor:
    """3x3 average pooling with stride 1 and padding 1, which is not counted."""
    from nas.kernels.pool import average_pool as compute

    return compute(maps)


def fork(maps: Tensor, count: int) -> tuple[Tensor, ...]:
    """``maps`` for ``count`` readers, whose gradients are summed at once and rounded once.

    torch adds them one after the other, in bfloat16 at half the speed. In float32 it is as fast,
    and is left to it.
    """
    if count == 1 or maps.dtype != torch.bfloat16 or not maps.requires_grad:
        return (maps,) * count
    from nas.kernels.sums import fork as compute

    return compute(maps, count)


def add_relu(first: Tensor, second: Tensor) -> Tensor:
    """ReLU of the sum of two maps that both :func:`fits`, of one shape and dtype."""
    from nas.kernels.sums import add_relu as compute

    return compute(first, second)


def fits_product(maps: Tensor) -> bool:
    """Whether :func:`pointwise` can compute on ``maps`` (N, C, H, W), and is faster there."""
    pixels = maps.shape[2] * maps.shape[3]
    return maps.dtype == torch.bfloat16 and pixels <= MOST_PIXELS and fits(maps)


def pointwise(maps: Tensor, weight: Tensor) -> Tensor:
    """The 1x1 convolution of ``maps`` that :func:`fits_product`, as a matrix product.

    ``weight`` (out, in, 1, 1) may be float32; its gradient is of its own dtype.
    """
    from nas.kernels.products import pointwise as compute

    return compute(maps, weight)


def compile_loops(dtype: torch.dtype) -> None:
    """Compile all loops for a dtype, or load them from disk, before anything is timed.

    Some seconds at the first time on a machine, one later.
    """
    from torch import nn

    if dtype not in _DTYPES:
        raise ValueError(f"there are no loops for {dtype}")
    maps = torch.zeros(2, 4, 4, 4, dtype=dtype).to(memory_format=torch.channels_last)
    maps.requires_grad_()
    norm = nn.BatchNorm2d(4)
    one, two = fork(norm_relu(maps, norm), 2)
    add_relu(max_pool(one), average_pool(two)).sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        norm_relu(maps, norm.eval())
