"""Pieces of vector drawings as text: boxes, labels, lines, arrows, each safely escaped.

Lengths are in pixels of the drawing's own grid. Colours are presentation attributes, so that a
page's style sheet may override them and programs without CSS still draw them; text and lines
take ``currentColor``, the colour of the text around the drawing, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

TIMES = "\N{MULTIPLICATION SIGN}"

STROKE = 'fill="none" stroke="currentColor" stroke-opacity=".55"'

CHARACTER = 0.58
"""Mean width of a character over the font size, of the sans-serif fonts named by the theme."""


@dataclass(frozen=True)
class Block:
    """A drawn part with its size; its flow enters at the top and leaves at the bottom, centred."""

    width: float
    height: float
    body: str

    def at(self, x: float, y: float) -> str:
        """The part with its top left corner moved to (x, y)."""
        return f'<g transform="translate({number(x)} {number(y)})">{self.body}</g>'


def number(value: float) -> str:
    """A coordinate without needless digits."""
    return f"{value:.1f}".removesuffix(".0")


def text_width(text: str, size: float = 12) -> float:
    """About how wide a text is drawn."""
    return len(text) * size * CHARACTER


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: float = 12,
    anchor: Literal["start", "middle", "end"] = "middle",
    kind: Literal["strong", "plain", "muted"] = "plain",
    room: float | None = None,
) -> str:
    """A line of text on the baseline y; squeezed where it would be wider than ``room``."""
    extra = ' font-weight="600"' if kind == "strong" else ""
    extra += ' fill-opacity="0.72"' if kind == "muted" else ""
    if room is not None and text_width(content, size) > room:
        extra += f' textLength="{number(room)}" lengthAdjust="spacingAndGlyphs"'
    anchored = "" if anchor == "middle" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}"{anchored}{extra}>'
        f"{escape(content)}</text>"
    )


def box(
    x: float,
    y: float,
    size: tuple[float, float],
    *,
    colour: str = "currentColor",
    fill: float = 0.0,
    stroke: float = 1.0,
    radius: float = 5,
    dashed: bool = False,
) -> str:
    """A rounded rectangle of one colour; ``fill`` and ``stroke`` are its opacities."""
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(size[0])}" '
        f'height="{number(size[1])}" rx="{number(radius)}" fill="{colour}" '
        f'fill-opacity="{fill:g}" stroke="{colour}" stroke-opacity="{stroke:g}"{dash}/>'
    )


def line(points: Sequence[tuple[float, float]], *, dashed: bool = False) -> str:
    """A line through points."""
    path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline {STROKE} points="{path}"{dash}/>'


def arrow(points: Sequence[tuple[float, float]], *, dashed: bool = False) -> str:
    """A line through points with a head at the last one, which points down or right."""
    (before_x, _), (x, y) = points[-2], points[-1]
    if before_x == x:
        head = f"M{number(x - 4)} {number(y - 7)}L{number(x)} {number(y)}L{number(x + 4)} "
        head += f"{number(y - 7)}z"
    else:
        head = f"M{number(x - 7)} {number(y - 4)}L{number(x)} {number(y)}L{number(x - 7)} "
        head += f"{number(y + 4)}z"
    return f'{line(points, dashed=dashed)}<path fill-opacity=".7" d="{head}"/>'
