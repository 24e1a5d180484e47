"""How one value of a space's file is written: fixed, a list, a range, with or without a scope.

A value is a scalar (fixed), a list (one of these), ``{low, high, step}`` (an integer range), or
one of the last two as a mapping with ``scope``: ``{options: [...], scope: stage}``. ``none``
means None. Left out: where values stand (:mod:`nas.space.schema`).
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PlainValidator

from nas.architecture import MAX_CHANNELS
from nas.quantities import nearest
from nas.space.domains import Domain, Options, Range, Scalar

SCOPES = ("network", "stage", "cell")
MAX_FORM_CONVS = 8

_KERNEL = re.compile(r"([1-9]\d?)x([1-9]\d?)", re.ASCII)


@dataclass(frozen=True)
class Value:
    """A value of the file: what it can be, and who shares it (None: as the field's default)."""

    domain: Domain
    scope: str | None = None

    @property
    def values(self) -> tuple[Scalar, ...]:
        """All that it can be."""
        return tuple(self.domain.values)


def fixed(value: Scalar) -> Value:
    """A value that is no choice."""
    return Value(Options((value,)))


def spell(value: object) -> str:
    """A value of the file in a message: one short line, whatever a file puts there."""
    text = reprlib.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


Kind = Callable[[object], Scalar]
"""Reads one scalar; raises ValueError with the rule, without the value."""


def whole(what: str, low: int, high: int) -> Kind:
    """Integers from ``low`` to ``high``."""

    def read(value: object) -> Scalar:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{what} must be an integer from {low} to {high:,}")
        return value

    return read


def number(what: str, low: float, high: float, *, rule: str) -> Kind:
    """Numbers from ``low`` to just under ``high``, as floats: 0 and 0.0 are one value."""

    def read(value: object) -> Scalar:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < high:
            raise ValueError(f"{what} must be {rule}")
        return float(value)

    return read


def boolean(value: object) -> Scalar:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return value


def word(*words: str) -> Kind:
    """One of some words."""

    def read(value: object) -> Scalar:
        if not isinstance(value, str) or value not in words:
            close = nearest(value, words) if isinstance(value, str) else None
            hint = f" (did you mean {close}?)" if close else ""
            raise ValueError(f"it must be {' or '.join(words)}{hint}")
        return value

    return read


def or_none(kind: Kind) -> Kind:
    """What ``kind`` reads, or ``none``."""

    def read(value: object) -> Scalar:
        if value is None or value == "none":
            return None
        try:
            return kind(value)
        except ValueError as error:
            raise ValueError(f"{error}, or none") from None

    return read


def inner_width(value: object) -> Scalar:
    """What the inner convolutions of a branch are as wide as: a word, or a width."""
    if value in ("channels", "reduce"):
        return str(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_CHANNELS:
        raise ValueError(f"it must be channels, reduce, or a width from 1 to {MAX_CHANNELS:,}")
    return value


def parse_kernel(text: str) -> tuple[int, int]:
    """(height, width) of ``3x3`` or ``1x7``."""
    height, width = text.split("x")
    return int(height), int(width)


def _is_kernel(text: str) -> bool:
    match = _KERNEL.fullmatch(text)
    return match is not None and all(int(side) % 2 and int(side) <= 31 for side in match.groups())


def kernel(value: object) -> Scalar:
    """A kernel: ``3``, ``3x3`` or ``1x7``, as ``heightxwidth``."""
    text = f"{value}x{value}" if type(value) is int else value
    if not isinstance(text, str) or not _is_kernel(text):
        raise ValueError("a kernel must be odd, up to 31, such as 3 or 1x7")
    return text


def form(value: object) -> Scalar:
    """Kernels in a row: ``3x3``, ``3x3+3x3``, ``1x7+7x1``."""
    parts = value.replace(" ", "").split("+") if isinstance(value, str) else []
    if not 1 <= len(parts) <= MAX_FORM_CONVS or not all(map(_is_kernel, parts)):
        raise ValueError(
            f"a form must be up to {MAX_FORM_CONVS} odd kernels such as 3x3, 3x3+3x3 or 1x7+7x1"
        )
    return "+".join(parts)


def read_value(kind: Kind, scopes: Collection[str] = SCOPES) -> PlainValidator:
    """The pydantic validator of a field whose scalars are of ``kind``."""

    def read(raw: Any) -> Value:
        if isinstance(raw, Value):
            return raw
        if isinstance(raw, Mapping):
            return _read_mapping(raw, kind, scopes)
        return Value(_read_options(raw, kind) if isinstance(raw, list) else _read_one(raw, kind))

    return PlainValidator(read)


def _read_scalar(raw: object, kind: Kind) -> Scalar:
    try:
        return kind(raw)
    except ValueError as error:
        raise ValueError(f"{error}, not {spell(raw)}") from None


def _read_one(raw: object, kind: Kind) -> Domain:
    return Options((_read_scalar(raw, kind),))


def _read_options(raw: object, kind: Kind) -> Options:
    if not isinstance(raw, list):
        raise ValueError(f"options must be a list, not {spell(raw)}")
    return Options(tuple(_read_scalar(item, kind) for item in raw))


def _read_mapping(raw: Mapping[str, Any], kind: Kind, scopes: Collection[str]) -> Value:
    keys = set(raw) - {"scope"}
    if keys == {"options"}:
        domain: Domain = _read_options(raw["options"], kind)
    elif {"low", "high"} <= keys <= {"low", "high", "step"}:
        domain = _read_range(raw, kind)
    else:
        raise ValueError(
            f"it must be a value, a list, {{low, high, step}} or {{options, scope}}, "
            f"not {spell(dict(raw))}"
        )
    return Value(domain, _read_scope(raw["scope"], scopes) if "scope" in raw else None)


def _read_range(raw: Mapping[str, Any], kind: Kind) -> Range:
    low, high, step = raw["low"], raw["high"], raw.get("step", 1)
    for name, value in (("low", low), ("high", high), ("step", step)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be an integer, not {spell(value)}; else give a list")
    domain = Range(low, high, step)
    for value in (low, high):
        if _read_scalar(value, kind) != value:
            raise ValueError(f"a range is of integers, and these are not; give a list, not {raw}")
    return domain


def _read_scope(raw: object, scopes: Collection[str]) -> str:
    if not scopes:
        raise ValueError(f"scope has no meaning here (there is one such value), not {spell(raw)}")
    if not isinstance(raw, str) or raw not in scopes:
        raise ValueError(f"scope must be {' or '.join(scopes)}, not {spell(raw)}")
    return raw
