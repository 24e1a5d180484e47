"""The axes of a drawing: from values to pixels, with ticks and their labels.

It reads what the figures of :mod:`nas.analysis` say of their axes: type, range, ticks, title.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

from nas.quantities import format_count

MARGIN = 0.04
"""Room beyond the first and the last value, as a share of the axis."""


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels and what is written along it."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[Any, str]]
    title: str = ""
    is_log: bool = False
    is_visible: bool = True
    has_grid: bool = True
    has_line: bool = True
    is_slanted: bool = False
    grid_colour: str | None = None
    categories: tuple[str, ...] = ()

    def place(self, value: Any) -> float:
        """The pixel of a value, or of a category by its name."""
        number = float(self.categories.index(value)) if self.categories else float(value)
        number = math.log10(max(number, 1e-300)) if self.is_log else number
        share = (number - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def step(self) -> float:
        """Pixels of one unit of the axis."""
        return abs(self.end - self.start) / abs(self.high - self.low)


def value_axis(
    layout: Mapping[str, Any], values: Sequence[float], start: float, end: float
) -> Axis:
    """The axis of a plotly layout over ``values``, from one pixel to another."""
    is_log = layout.get("type") == "log"
    low, high = _bounds(layout, values, is_log)
    if layout.get("autorange") == "reversed":
        low, high = high, low
    is_visible = layout.get("visible") is not False
    return Axis(
        low=low,
        high=high,
        start=start,
        end=end,
        ticks=_ticks(layout, low, high, is_log) if is_visible else [],
        title=unescape(str((layout.get("title") or {}).get("text") or "")),
        is_log=is_log,
        is_visible=is_visible,
        has_grid=layout.get("showgrid") is not False,
        has_line=layout.get("showline") is not False,
        is_slanted=bool(layout.get("tickangle")),
        grid_colour=layout.get("gridcolor"),
    )


def category_axis(
    layout: Mapping[str, Any], names: Sequence[str], start: float, end: float
) -> Axis:
    """An axis of names, one after another from the top."""
    return Axis(
        low=len(names) - 0.5,
        high=-0.5,
        start=start,
        end=end,
        ticks=[(name, name) for name in names],
        title=unescape(str((layout.get("title") or {}).get("text") or "")),
        has_grid=False,
        categories=tuple(names),
    )


def _bounds(
    layout: Mapping[str, Any], values: Sequence[float], is_log: bool
) -> tuple[float, float]:
    """The ends of the axis, as exponents of ten where it is logarithmic."""
    if layout.get("range"):
        low, high = map(float, layout["range"])
        return low, high
    known = [
        math.log10(value) if is_log else float(value) for value in values if not is_log or value > 0
    ]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if layout.get("rangemode") == "tozero" and not is_log:
        low, high = min(low, 0.0), max(high, 0.0)
    room = MARGIN * (high - low) or (0.1 if is_log else max(abs(high), 1.0) * 0.1)
    is_floor = layout.get("rangemode") == "tozero" and low == 0.0
    return (low if is_floor else low - room), high + room


def _ticks(
    layout: Mapping[str, Any], low: float, high: float, is_log: bool
) -> list[tuple[Any, str]]:
    first, last = min(low, high) - 1e-9, max(low, high) + 1e-9
    if layout.get("tickvals") is not None:
        values = list(layout["tickvals"])
        texts = layout.get("ticktext") or [f"{value:g}" for value in values]
        pairs = [(float(v), unescape(str(t))) for v, t in zip(values, texts, strict=True)]
        return [(v, t) for v, t in pairs if first <= (math.log10(v) if is_log else v) <= last]
    step = float(layout.get("dtick") or _step(last - first))
    count = range(math.ceil(first / step), math.floor(last / step) + 1)
    return [(index * step, _label(layout, index * step, step)) for index in count]


def _step(span: float) -> float:
    """A round distance that gives four to nine ticks."""
    power = 10.0 ** math.floor(math.log10(span))
    return next(power * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (power * part) <= 8)


def _label(layout: Mapping[str, Any], value: float, step: float) -> str:
    style = str(layout.get("tickformat") or "")
    if style.endswith("%"):
        decimals = max(0, -math.floor(math.log10(100 * step) + 1e-9))
        return f"{100 * value:.{decimals}f}%"
    if style == "~s" or abs(value) >= 10_000:
        return format_count(value) if value else "0"
    return f"{round(value, 9):g}"
