"""Sizes, times and names as people write them: "300M", "10m", a misspelt preset.

Sizes are counts in powers of 1000 (K, M, G, T); times are seconds. Left out: what the numbers
mean.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

_SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# A comma groups thousands and nothing else: "1,5M" is refused, not read as 15M.
_NUMBER = r"(?:(?:\d{1,3}(?:[,_]\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([kmgt]?)", re.IGNORECASE | re.ASCII)
_LATENCY_UNITS = {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}
_LATENCY = re.compile(rf"({_NUMBER})\s*(us|ms|s|)", re.IGNORECASE | re.ASCII)
_TIME_PART = re.compile(rf"({_NUMBER})\s*([smhd]?)\s*", re.IGNORECASE | re.ASCII)


def parse_size(text: str | int | float, name: str = "a size") -> int:
    """A count of at least 1 from ``300M``, ``1.5G``, ``2_000`` or a number.

    Raises:
        ValueError: it is no such count; ``name`` says in the message whose value it is.
    """
    shown = repr(text)
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{name} must be a number with K, M or G such as 300M, not {shown}")
    match = _SIZE.fullmatch(str(text).strip())
    value = _number(match[1]) * _SIZE_UNITS[match[2].lower()] if match else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a number with K, M or G such as 300M, not {shown}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {shown}")
    return round(value)


def parse_time(text: str | int | float, name: str = "a time") -> float:
    """Seconds, over 0, from ``90``, ``30s``, ``10m``, ``1.5h`` or ``1h30m``.

    Raises:
        ValueError: it is no such time; ``name`` says in the message whose value it is.
    """
    shown = repr(text)
    rule = f"{name} must be seconds, or a number with s, m or h such as 10m, not {shown}"
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(rule)
    rest, parts = str(text).strip(), []
    while rest:
        match = _TIME_PART.match(rest)
        if match is None:
            raise ValueError(rule)
        parts.append((_number(match[1]), match[2].lower()))
        rest = rest[match.end() :]
    # A number without a unit is seconds, and then it stands alone: "1h30" could mean two things.
    if not parts or (len(parts) > 1 and any(not unit for _, unit in parts)):
        raise ValueError(rule)
    seconds = sum(value * _TIME_UNITS[unit or "s"] for value, unit in parts)
    if not math.isfinite(seconds):
        raise ValueError(rule)
    if seconds <= 0:
        raise ValueError(f"{name} must be over 0 seconds, not {shown}")
    return seconds


def parse_milliseconds(text: str | int | float, name: str = "a latency") -> float:
    """Milliseconds, over 0, from ``5``, ``5ms``, ``800us`` or ``0.02s``.

    Raises:
        ValueError: it is no such time; ``name`` says in the message whose value it is.
    """
    shown = repr(text)
    is_text = isinstance(text, str | int | float) and not isinstance(text, bool)
    match = _LATENCY.fullmatch(str(text).strip()) if is_text else None
    value = _number(match[1]) * _LATENCY_UNITS[match[2].lower()] if match else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be milliseconds, such as 5ms or 800us, not {shown}")
    if value <= 0:
        raise ValueError(f"{name} must be over 0 ms, not {shown}")
    return value


def _number(text: str) -> float:
    return float(text.replace("_", "").replace(",", ""))


def format_count(value: float) -> str:
    """Three significant digits and a unit: ``950``, ``4.2K``, ``300M``, ``1.58G``."""
    if not math.isfinite(value):
        return "-"
    magnitude = abs(value)
    for factor, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        # 999,600 is 1M to three digits, not 1000K.
        if magnitude >= factor * 0.9995:
            return f"{_three_digits(value / factor)}{unit}"
    return _three_digits(value)


def format_number_of(number: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``, ``2,000 seeds``: of nouns whose plural takes an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_milliseconds(value: float) -> str:
    """Three significant digits: ``0.0954 ms``, ``3.21 ms``, ``1,240 ms``."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f} ms" if abs(value) >= 999.5 else f"{value:.3g} ms"


def _three_digits(value: float) -> str:
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_seconds(seconds: float) -> str:
    """A duration in its two largest units: ``0.8s``, ``42s``, ``3m 05s``, ``2h 10m``, ``3d 4h``."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 0:
        return f"-{format_seconds(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    hours = round(minutes / 60)
    return f"{hours // 24}d {hours % 24}h"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that is spelt most like ``name``; None where none is like it."""
    by_lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def unknown_name(what: str, name: object, names: Iterable[str]) -> str:
    """One line for an unknown name: what was meant, the nearest known one, and all there are.

    ``unknown_name("preset", "googlnet", PRESETS)`` gives ``unknown preset 'googlnet'; did you
    mean 'googlenet'? Known: cifar_googlenet, googlenet``.
    """
    known = sorted(names)
    close = nearest(name, known) if isinstance(name, str) else None
    hint = f"; did you mean {close!r}?" if close else "."
    return f"unknown {what} {name!r}{hint} Known: {', '.join(known) or 'none'}"
