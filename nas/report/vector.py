"""A plotly figure of this project as one standalone SVG, for papers: no browser, no network.

plotly itself draws in a browser only. Its figures here are of few kinds, and this module draws
those: scatter traces (lines, steps, marks, text, intervals, filled outlines) and stacked
horizontal bars on linear or logarithmic axes, annotations, and a legend. Anything else is
refused, never left out. Text stays text, so that a paper's font can be set afterwards; the
background is white, or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from nas.analysis.theme import FONT, THEMES, ThemeName
from nas.report.axes import Axis, category_axis, value_axis
from nas.report.marks import mark_path
from nas.report.strokes import (
    LETTER,
    colour_parts,
    first_of,
    is_dark,
    is_number,
    line_path,
    plain_words,
    segment,
    text_at,
    unbroken,
)

WIDTH, HEIGHT = 720, 440
LEGEND_ROW = 20.0


def figure_svg(
    figure: go.Figure,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    theme: ThemeName = "light",
    background: bool = True,
) -> str:
    """The figure drawn ``width`` by ``height`` pixels, as the text of an SVG file.

    Raises:
        ValueError: the figure has a trace of a kind that is not drawn here.
    """
    data = figure.to_plotly_json()
    for trace in data["data"]:
        if trace["type"] not in ("scatter", "bar"):
            raise ValueError(f"a trace of type {trace['type']} cannot be drawn as SVG")
        if trace["type"] == "bar" and trace.get("orientation") != "h":
            raise ValueError("an upright bar cannot be drawn as SVG")
    return _Drawing(data, width, height, theme, background).text()


class _Drawing:
    """One figure on its way to text: the axes, and the place that is left for them."""

    def __init__(
        self, data: Mapping[str, Any], width: int, height: int, theme: ThemeName, background: bool
    ) -> None:
        self.traces: list[dict[str, Any]] = list(data["data"])
        self.layout = data["layout"]
        self.width, self.height, self.background = width, height, background
        self.colours = THEMES[theme]
        self.legend = self._legend_rows()
        x, y = self.layout.get("xaxis", {}), self.layout.get("yaxis", {})
        labels = [plain_words(label) for label in y.get("ticktext") or ()]
        is_named = bool(labels) and y.get("visible") is not False
        left = 66.0 if not is_named else 24 + LETTER * max(map(len, labels))
        left = 14.0 if y.get("visible") is False else min(left, width * 0.45)
        left += 40 if x.get("tickangle") else 0
        slanted = (
            [plain_words(label) for label in x.get("ticktext") or ()] if x.get("tickangle") else []
        )
        bottom = 58.0 + (0.5 * LETTER * max(map(len, slanted)) - 16 if slanted else 0)
        top = 12 + LEGEND_ROW * len(self.legend) + (6 if self.legend else 0)
        self.box = (left, top, width - 18.0, height - bottom)
        self.x = value_axis(x, self._values("x"), self.box[0], self.box[2])
        names = [name for t in self.traces for name in t.get("y") or () if isinstance(name, str)]
        self.y = (
            category_axis(y, list(dict.fromkeys(names)), self.box[3], self.box[1])
            if names
            else value_axis(y, self._values("y"), self.box[3], self.box[1])
        )

    def _values(self, name: str) -> list[float]:
        """What an axis must show: values of its traces, with the ends of intervals and stacks."""
        found: list[float] = []
        totals: dict[Any, float] = {}
        for trace in self.traces:
            values = list(trace.get(name) or ())
            if trace["type"] == "bar":
                if name == "y":
                    numbers = [value for value in values if is_number(value)]
                    found += [number + side for number in numbers for side in (-0.5, 0.5)]
                    continue
                for place, value in zip(trace.get("y") or (), values, strict=True):
                    totals[place] = totals.get(place, 0.0) + float(value)
                continue
            numbers = [value for value in values if is_number(value)]
            found += numbers
            bars = trace.get(f"error_{name}") or {}
            for sign, key in ((1, "array"), (-1, "arrayminus")):
                found += [v + sign * e for v, e in zip(values, bars.get(key) or (), strict=False)]
        return found + ([0.0, *totals.values()] if totals else [])

    def text(self) -> str:
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="{escape(FONT)}" '
            f'font-size="12" fill="{self.colours.text}">'
        ]
        if self.background:
            parts.append(f'<rect width="100%" height="100%" fill="{self.colours.surface}"/>')
        left, top, right, bottom = self.box
        parts.append(
            f'<clipPath id="inside"><rect x="{left - 1:.1f}" y="{top - 1:.1f}" '
            f'width="{right - left + 2:.1f}" height="{bottom - top + 2:.1f}"/></clipPath>'
        )
        parts += self._axes()
        parts.append('<g clip-path="url(#inside)">')
        stacks: dict[Any, float] = {}
        for trace in self.traces:
            parts += self._bars(trace, stacks) if trace["type"] == "bar" else self._line(trace)
        parts.append("</g>")
        for trace in self.traces:
            if trace["type"] == "scatter":
                parts += self._marks(trace)
        parts += [self._annotation(note) for note in self.layout.get("annotations") or ()]
        parts += self._legend()
        return "\n".join([*parts, "</svg>\n"])

    # ---- axes

    def _axes(self) -> Iterator[str]:
        left, top, right, bottom = self.box
        colours = self.colours
        for axis, is_x in ((self.x, True), (self.y, False)):
            if not axis.is_visible:
                continue
            for value, label in axis.ticks:
                at = axis.place(value)
                ends = (at, top, at, bottom) if is_x else (left, at, right, at)
                if axis.has_grid:
                    yield segment(ends, axis.grid_colour or colours.grid, 1)
                yield self._tick_label(axis, at, label, is_x)
            ends = (left, bottom, right, bottom) if is_x else (left, top, left, bottom)
            if axis.has_line:
                yield segment(ends, colours.line, 1)
        if self.x.title:
            place = ((left + right) / 2, self.height - 12.0)
            yield text_at(place, self.x.title, colours.muted, anchor="middle")
        if self.y.title and self.y.is_visible:
            place = (16.0, (top + bottom) / 2)
            yield text_at(place, self.y.title, colours.muted, anchor="middle", turn=-90)

    def _tick_label(self, axis: Axis, at: float, label: str, is_x: bool) -> str:
        if not is_x:
            room = self.box[0] - 10
            return text_at(
                (self.box[0] - 7, at + 4), label, self.colours.muted, anchor="end", room=room
            )
        place = (at, self.box[3] + 17)
        if axis.is_slanted:
            return text_at(place, label, self.colours.muted, anchor="end", size=11, turn=-30)
        return text_at(place, label, self.colours.muted, anchor="middle")

    # ---- traces

    def _points(self, trace: Mapping[str, Any]) -> list[tuple[float, float] | None]:
        """The trace in pixels; None where a line is broken."""
        points: list[tuple[float, float] | None] = []
        for x, y in zip(trace.get("x") or (), trace.get("y") or (), strict=True):
            known = is_number(x) and is_number(y)
            points.append((self.x.place(x), self.y.place(y)) if known else None)
        return points

    def _line(self, trace: Mapping[str, Any]) -> Iterator[str]:
        if "lines" not in str(trace.get("mode")):
            return
        line = trace.get("line") or {}
        fill = trace.get("fillcolor") if trace.get("fill") == "toself" else None
        path = "".join(line_path(run, line.get("shape")) for run in unbroken(self._points(trace)))
        if not path:
            return
        dash = {"dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "12 4"}
        dashed = dash.get(str(line.get("dash")))
        stroke, opacity = colour_parts(str(line.get("color") or self.colours.text))
        opacity *= float(trace.get("opacity") or 1)
        filled, fill_opacity = colour_parts(str(fill)) if fill else ("none", 1.0)
        yield (
            f'<path d="{path}" fill="{filled}" fill-opacity="{fill_opacity:g}" stroke="{stroke}" '
            f'stroke-opacity="{opacity:g}" stroke-width="{float(line.get("width") or 2):g}"'
            + (f' stroke-dasharray="{dashed}"' if dashed else "")
            + "/>"
        )

    def _bars(self, trace: Mapping[str, Any], stacks: dict[Any, float]) -> Iterator[str]:
        """Horizontal bars, one after another where they stack."""
        colour = trace["marker"]["color"]
        height = 0.6 * self.y.step()
        for index, (place, value) in enumerate(zip(trace["y"], trace["x"], strict=True)):
            start = stacks.get(place, 0.0)
            stacks[place] = start + float(value)
            left, right = self.x.place(start), self.x.place(start + float(value))
            middle = self.y.place(place)
            filled = colour[index] if isinstance(colour, list | tuple) else colour
            yield (
                f'<rect x="{left:.1f}" y="{middle - height / 2:.1f}" width="{right - left:.1f}" '
                f'height="{height:.1f}" fill="{filled}" stroke="{self.colours.surface}" '
                f'stroke-width="0.8"/>'
            )
            label = plain_words(str((trace.get("text") or {index: ""})[index]))
            if label and right - left > LETTER * len(label):
                ink = "#ffffff" if is_dark(filled) else "#1b1f24"
                yield text_at(
                    ((left + right) / 2, middle + 4), label, ink, anchor="middle", size=11
                )

    def _marks(self, trace: Mapping[str, Any]) -> Iterator[str]:
        mode = str(trace.get("mode"))
        marker = {"color": (trace.get("line") or {}).get("color"), **(trace.get("marker") or {})}
        for index, point in enumerate(self._points(trace)):
            if point is None:
                continue
            for name in ("x", "y"):
                yield from self._interval(trace, index, point, name)
            if "markers" in mode:
                yield mark_path(point, marker, index, float(trace.get("opacity") or 1))
            if "text" in mode and trace.get("text"):
                yield self._label(trace, index, point)

    def _interval(
        self, trace: Mapping[str, Any], index: int, point: tuple[float, float], name: str
    ) -> Iterator[str]:
        bars = trace.get(f"error_{name}")
        if not bars or not bars.get("array"):
            return
        value, axis = float(trace[name][index]), self.x if name == "x" else self.y
        low = axis.place(value - float((bars.get("arrayminus") or bars["array"])[index]))
        high = axis.place(value + float(bars["array"][index]))
        ends = (low, point[1], high, point[1]) if name == "x" else (point[0], low, point[0], high)
        yield segment(ends, str(bars.get("color")), float(bars.get("thickness") or 1.5))

    def _label(self, trace: Mapping[str, Any], index: int, point: tuple[float, float]) -> str:
        position = str(trace.get("textposition") or "top center")
        x, y = point
        gap = 12.0
        y += -gap if "top" in position else gap + 9 if "bottom" in position else 4
        x += -gap if "left" in position else gap if "right" in position else 0
        anchor = "end" if "left" in position else "start" if "right" in position else "middle"
        return text_at(
            (x, y), plain_words(str(trace["text"][index])), self.colours.text, anchor=anchor
        )

    def _annotation(self, note: Mapping[str, Any]) -> str:
        # plotly takes the exponent on a logarithmic axis.
        value = 10 ** float(note["x"]) if self.x.is_log else float(note["x"])
        x, y = self.x.place(value), self.y.place(float(note["y"]))
        size = float((note.get("font") or {}).get("size") or 12)
        if not note.get("showarrow"):
            at = (x + float(note.get("xshift") or 0), y + 4)
            anchor = {"left": "start", "right": "end"}.get(str(note.get("xanchor")), "middle")
            words = plain_words(str(note["text"]))
            halo = self.colours.surface if note.get("bgcolor") else None
            return text_at(at, words, self.colours.text, anchor=anchor, size=size, halo=halo)
        end = (x + float(note.get("ax") or 0), y + float(note.get("ay") or 0))
        # A label that would leave the picture goes to the other side.
        anchor = "end"
        if end[0] - LETTER * len(str(note["text"])) < self.box[0]:
            end, anchor = (2 * x - end[0], end[1]), "start"
        line = segment((x, y, *end), self.colours.muted, 1)
        shift = -4 if anchor == "end" else 4
        words = plain_words(str(note["text"]))
        return line + text_at((end[0] + shift, end[1] + 4), words, self.colours.text, anchor=anchor)

    # ---- legend

    def _legend_rows(self) -> list[list[dict[str, Any]]]:
        """The traces to name, in rows that fit the width."""
        named = [trace for trace in self.traces if trace.get("showlegend") is not False]
        is_shown = self.layout.get("showlegend")
        if is_shown is False or (is_shown is None and len(named) < 2):
            return []
        rows: list[list[dict[str, Any]]] = []
        room = 0.0
        for trace in named:
            needed = 34 + LETTER * len(plain_words(str(trace.get("name"))))
            if not rows or needed > room:
                rows.append([])
                room = self.width - 40.0
            rows[-1].append(trace)
            room -= needed
        return rows

    def _legend(self) -> Iterator[str]:
        y = 16.0
        for row in self.legend:
            x = min(self.box[0], 66.0)
            for trace in row:
                name = plain_words(str(trace.get("name")))
                yield self._legend_sign(trace, x, y)
                yield text_at((x + 24, y + 4), name, self.colours.text, size=12)
                x += 34 + LETTER * len(name)
            y += LEGEND_ROW

    def _legend_sign(self, trace: Mapping[str, Any], x: float, y: float) -> str:
        if trace["type"] == "bar":
            colour = trace["marker"]["color"]
            return f'<rect x="{x:.1f}" y="{y - 6:.1f}" width="18" height="12" fill="{colour}"/>'
        sign = ""
        if "lines" in str(trace.get("mode")):
            flat = {**trace, "x": None, "y": None}
            line = trace.get("line") or {}
            stroke, _ = colour_parts(str(line.get("color") or self.colours.text))
            dash = ' stroke-dasharray="6 3"' if line.get("dash") not in (None, "solid") else ""
            sign = (
                f'<path d="M{x:.1f} {y:.1f}h20" stroke="{stroke}" stroke-width="2" '
                f'stroke-opacity="{float(flat.get("opacity") or 1):g}"{dash}/>'
            )
        if "markers" in str(trace.get("mode")):
            marker = {"color": (trace.get("line") or {}).get("color"), **trace["marker"]}
            marker["size"] = min(float(first_of(marker.get("size") or 6)), 11)
            sign += mark_path((x + 10, y), marker, 0, float(trace.get("opacity") or 1))
        return sign
