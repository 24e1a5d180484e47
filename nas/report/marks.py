"""The marks of a drawing as SVG: circles, squares, diamonds, crosses, hollow ones and lines.

Names are plotly's; hollow marks (``-open``) are drawn by their outline alone, so that what stands
behind them, and the page's own colour, show through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def mark_path(
    place: tuple[float, float], marker: Mapping[str, Any], index: int, opacity: float
) -> str:
    """One mark of a plotly ``marker`` at a place in pixels; ``index`` picks from its lists.

    Raises:
        ValueError: a symbol that is not drawn here.
    """
    symbol = str(_at(marker.get("symbol") or "circle", index))
    radius = float(_at(marker.get("size") or 6, index)) / 2
    colour = str(_at(marker.get("color") or "currentColor", index))
    line = marker.get("line") or {}
    width = float(_at(line.get("width") or 0, index))
    opacity *= float(_at(marker.get("opacity") or 1, index))
    is_open = symbol.endswith("-open")
    shape = symbol.removesuffix("-open").removesuffix("-thin")
    edge = colour if is_open else str(_at(line.get("color") or colour, index))
    width = max(width, 1.5) if is_open else width
    path = _outline(shape, *place, radius)
    is_line = shape in ("x", "line-ew")
    fill = "none" if is_open or is_line else colour
    stroke = f' stroke="{edge}" stroke-width="{max(width, 1.5) if is_line else width:g}"'
    stroke = stroke if width or is_line else ""
    return f'<path d="{path}" fill="{fill}" opacity="{opacity:g}"{stroke}/>'


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list | tuple) else value


def _outline(shape: str, x: float, y: float, r: float) -> str:
    if shape == "circle":
        return f"M{x - r:.1f} {y:.1f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z"
    if shape == "x":
        return f"M{x - r:.1f} {y - r:.1f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}"
    if shape == "line-ew":
        return f"M{x - r:.1f} {y:.1f}h{2 * r:g}"
    corners = {
        "square": [(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle-up": [(0, -1.15), (1.15, 0.85), (-1.15, 0.85)],
        "cross": [
            (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
            (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
        ],
        "star": [
            (math.sin(i * math.pi / 5) * s, -math.cos(i * math.pi / 5) * s)
            for i, s in enumerate((1.3, 0.5) * 5)
        ],
    }  # fmt: skip
    if shape not in corners:
        raise ValueError(f"a mark of symbol {shape!r} cannot be drawn as SVG")
    return "M" + "L".join(f"{x + dx * r:.1f} {y + dy * r:.1f}" for dx, dy in corners[shape]) + "z"
