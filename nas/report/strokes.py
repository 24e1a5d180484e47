"""Pieces of a drawing as text: words, straight lines, paths, colours.

Where :mod:`nas.analysis.svg` draws diagrams that take the page's colours, these carry their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape, unescape
from typing import Any

LETTER = 6.6
"""About how wide a letter is, in pixels, at the usual size of 12."""


def first_of(value: Any) -> Any:
    """A setting that may be given mark by mark: the first mark's."""
    return value[0] if isinstance(value, list | tuple) else value


def is_number(value: object) -> bool:
    """Whether a value has a place on an axis."""
    return isinstance(value, int | float) and math.isfinite(value)


def plain_words(text: str) -> str:
    """The words of a plotly text: it is HTML with bold marks."""
    return unescape(text.replace("<b>", "").replace("</b>", "").replace("<br>", ", "))


def text_at(
    place: tuple[float, float],
    content: str,
    colour: str,
    *,
    anchor: str = "start",
    size: float = 12,
    turn: float = 0,
    room: float | None = None,
    halo: str | None = None,
) -> str:
    """A line of text on its baseline; squeezed where it would be wider than ``room``.

    ``halo`` is the colour around its letters, where lines run behind it.
    """
    x, y = place
    extra = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    if room is not None and len(content) * 0.58 * size > room:
        extra += f' textLength="{room:.1f}" lengthAdjust="spacingAndGlyphs"'
    if halo is not None:
        extra += f' stroke="{halo}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" '
        f'fill="{colour}"{extra}>{escape(content)}</text>'
    )


def segment(ends: tuple[float, ...], colour: str, width: float) -> str:
    """A straight line between two places (x, y, x, y)."""
    x1, y1, x2, y2 = ends
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"/>'
    )


def unbroken(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    """The unbroken parts of a line."""
    run: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []


def line_path(points: Sequence[tuple[float, float]], shape: str | None) -> str:
    """A line through points, in steps (first across, then up or down) where its shape is hv."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for x, y in points[1:]:
        parts.append(f"H{x:.1f}V{y:.1f}" if shape == "hv" else f"L{x:.1f} {y:.1f}")
    return "".join(parts)


def colour_parts(text: str) -> tuple[str, float]:
    """A CSS colour as one that every program reads, and its opacity."""
    if not text.startswith("rgba("):
        return text, 1.0
    red, green, blue, opacity = text[5:-1].split(",")
    return f"rgb({red},{green},{blue})", float(opacity)


def is_dark(colour: str) -> bool:
    """Whether white text reads better on a colour than black."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140
