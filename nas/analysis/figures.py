"""Plotly figures of the tables of :mod:`nas.analysis.tables`: a table goes in, a figure comes out.

Figures carry the light or the dark template of :mod:`nas.analysis.theme`; series colours are the
same in both. Each mark's ``customdata`` is its trial number, so that a page can act on a click.
Text from a run is escaped here, because plotly reads hover and labels as HTML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas.analysis.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SERIES,
    THEMES,
    VERMILLION,
    ThemeName,
    shown,
    template,
)
from nas.cost import COST_LABELS, LATENCY, describe_cost
from nas.quantities import format_count, format_seconds

WORDS_WIDTH = 0.16
"""What the words at the knee take of the figure's width."""

MAX_LABELS = 8
"""Presets that are named in the drawing; more would lie over one another."""


@dataclass(frozen=True)
class _Mark:
    """How a standing is drawn: every one has a shape of its own, not just a colour."""

    label: str
    colour: str
    symbol: str
    size: float
    opacity: float = 1.0


# Drawn in this order, the front last.
MARKS = {
    "failed": _Mark("failed", VERMILLION, "x-thin-open", 8),
    "stopped": _Mark("stopped early", GREY, "circle-open", 8),
    "running": _Mark("running", GREEN, "diamond-open", 8),
    "unfinished": _Mark("unfinished", GREY, "diamond-open", 8),
    "dominated": _Mark("dominated", GREY, "circle", 6, 0.6),
    "front": _Mark("front", BLUE, "circle", 10),
}


def percent(error: float) -> str:
    """An error as a percentage with one decimal."""
    return "-" if np.isnan(error) else f"{100 * error:.1f}\N{NO-BREAK SPACE}%"


def front_figure(
    table: pd.DataFrame,
    objectives: Sequence[str],
    *,
    x: str = "macs",
    log_x: bool = True,
    repeats: pd.DataFrame | None = None,
    theme: ThemeName = "light",
) -> go.Figure:
    """Error against a cost, of every trial (``trials_table``); the knee and presets are named.

    ``repeats`` (an ``error_bars_table``) gives the networks that were trained with several seeds
    a mean and its 95 % interval.

    The staircase bounds what the front dominates; it is drawn for the two objectives ``error``
    and ``x`` only, since a front in more dimensions is no line here. Trials without any error
    stand along the top, so that their cost is seen.
    """
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    top = _top(table["shown_error"])
    if set(objectives) == {"error", x}:
        figure.add_trace(_staircase(table, x, shown(BLUE, theme)))
    for standing, mark in MARKS.items():
        rows = table[table["standing"] == standing]
        if len(rows):
            colour = shown(mark.colour, theme)
            figure.add_trace(_scatter(rows, x, replace(mark, colour=colour), top))
    if repeats is not None and len(repeats):
        figure.add_trace(_error_bars(table.merge(repeats, on="number"), x, theme))
    knee = table[table["is_knee"]]
    if len(knee):
        figure.add_trace(_knee(knee, x, _is_at_left(float(knee[x].iloc[0]), table[x], log_x)))
    _label_landmarks(figure, table, x, log_x)
    figure.update_xaxes(cost_axis(table[x], x, log_x))
    # A single mark would have an axis down to errors below nothing.
    figure.update_yaxes(rangemode="nonnegative")
    figure.update_yaxes(title_text="validation error (proxy)", tickformat=".0%", hoverformat=".1%")
    if table["shown_error"].isna().all():
        figure.update_yaxes(range=[0, 1.05])
    return figure


def _top(errors: pd.Series) -> float:
    """Where trials without an error stand: a little above all others."""
    known = errors.dropna()
    if known.empty:
        return 1.0
    return float(known.max() + 0.06 * max(known.max() - known.min(), 0.02))


def _staircase(table: pd.DataFrame, x: str, colour: str) -> go.Scatter:
    front = table[table["standing"] == "front"].sort_values([x, "error"])
    return go.Scatter(
        x=front[x].tolist(),
        y=front["error"].tolist(),
        mode="lines",
        line={"shape": "hv", "color": colour, "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
        name="front line",
    )


def _scatter(rows: pd.DataFrame, x: str, mark: _Mark, top: float) -> go.Scatter:
    return go.Scatter(
        x=rows[x].tolist(),
        y=rows["shown_error"].fillna(top).tolist(),
        mode="markers",
        name=f"{rows['standing'].iloc[0]} ({len(rows)})",
        customdata=rows["number"].tolist(),
        text=[_hover(row) for row in rows.to_dict("records")],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": mark.colour,
            "symbol": mark.symbol,
            "size": mark.size,
            "opacity": mark.opacity,
            "line": {"width": 1.6 if "open" in mark.symbol else 0, "color": mark.colour},
        },
    )


def _error_bars(rows: pd.DataFrame, x: str, theme: ThemeName) -> go.Scatter:
    """The mean over seeds as a short line, and its interval; the mark itself is one seed's."""
    colour = THEMES[theme].text
    hover = [
        f"trial {row['number']}: mean of {row['seeds']} seeds {percent(row['mean'])}<br>"
        f"95 % interval {percent(row['low'])} to {percent(row['high'])}"
        for row in rows.to_dict("records")
    ]
    return go.Scatter(
        x=rows[x].tolist(),
        y=rows["mean"].tolist(),
        mode="markers",
        name="mean over seeds, 95 %",
        customdata=rows["number"].tolist(),
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        marker={"symbol": "line-ew-open", "size": 11, "color": colour, "line": {"width": 2}},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["mean"]).tolist(),
            "arrayminus": (rows["mean"] - rows["low"]).tolist(),
            "color": colour,
            "thickness": 1.2,
            "width": 4,
        },
    )


def _is_at_left(cost: float, costs: pd.Series, log_x: bool) -> bool:
    """Whether a cost stands so near the left end of the axis that no words fit before it."""
    low, high = float(costs.min()), float(costs.max())
    if log_x:
        cost, low, high = (math.log(max(one, 1e-12)) for one in (cost, low, high))
    return cost - low < WORDS_WIDTH * (high - low) or high == low


def _knee(knee: pd.DataFrame, x: str, is_at_left: bool) -> go.Scatter:
    number = int(knee["number"].iloc[0])
    return go.Scatter(
        x=knee[x].tolist(),
        y=knee["error"].tolist(),
        mode="markers+text",
        name="knee",
        text=[f"<b>knee</b>, trial {number}"],
        # Below and left of a front point nothing lies: it would dominate the point. At the edge
        # of the figure there is no room for words.
        textposition="top right" if is_at_left else "bottom left",
        hoverinfo="skip",
        customdata=[number],
        marker={
            "symbol": "circle-open",
            "size": 19,
            "color": ORANGE,
            "line": {"width": 3, "color": ORANGE},
        },
    )


def _hover(row: Mapping[Any, Any]) -> str:
    standing = str(row["standing"])
    shown = percent(_number(row["shown_error"]))
    if standing in ("stopped", "running", "unfinished"):
        shown += " at its last epoch" if shown != "-" else ""
    lines = [
        f"<b>trial {row['number']}</b>, {MARKS[standing].label}",
        f"error {shown}" if shown != "-" else "no error measured",
        f"{format_count(_number(row['macs']))} MACs, "
        f"{format_count(_number(row['params']))} parameters",
    ]
    if row["landmark"]:
        lines.append(f"preset {escape(str(row['landmark']))}")
    if row["dominated_by"]:
        lines.append(f"dominated by {row['dominated_by']}")
    if row["reason"]:
        lines.append(escape(shortened(str(row["reason"]), 80)))
    return "<br>".join(lines)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def shortened(text: str, length: int) -> str:
    """A text of at most that many letters, with an ellipsis where it was longer."""
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _label_landmarks(figure: go.Figure, table: pd.DataFrame, x: str, log_x: bool) -> None:
    rows = table[(table["landmark"] != "") & table["shown_error"].notna()].head(MAX_LABELS)
    for row in rows.to_dict("records"):
        cost = _number(row[x])
        figure.add_annotation(
            x=np.log10(cost) if log_x else cost,
            y=row["shown_error"],
            text=escape(shortened(str(row["landmark"]), 24)),
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            ax=-22,
            ay=34,
            xanchor="right",
        )


def cost_axis(costs: pd.Series, x: str, log_x: bool) -> dict[str, object]:
    """An axis of a cost, labelled in units of people: 1M, 2M, 5M."""
    counted = f"{COST_LABELS[x]} at the target (counted)"
    title = "latency in milliseconds (predicted)" if x == LATENCY else counted
    axis: dict[str, object] = {"title_text": title}
    if not log_x:
        return {**axis, "type": "linear", "tickformat": "~s", "rangemode": "tozero"}
    values = cost_ticks(costs)
    return {
        **axis,
        "type": "log",
        "tickvals": values,
        "ticktext": [f"{value:g}" if x == LATENCY else format_count(value) for value in values],
    }


def cost_ticks(costs: pd.Series) -> list[float]:
    """Where a logarithmic cost axis is labelled: at 1, 2 and 5, or at 1 on long axes.

    Ticks go a decade beyond the costs on both sides, for a reader who zooms out.
    """
    known = costs[costs > 0]
    low, high = (known.min(), known.max()) if len(known) else (1e6, 1e7)
    decades = np.log10(high / low)
    digits = (1,) if decades > 4 else (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
    first, last = int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1
    return [float(digit * 10**power) for power in range(first, last + 1) for digit in digits]


def hypervolume_figure(
    tables: Mapping[str, pd.DataFrame],
    *,
    x: str = "trials",
    theme: ThemeName = "light",
) -> go.Figure:
    """The hypervolume of runs (``hypervolume_table`` by name) against trials or device seconds."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    for index, (name, table) in enumerate(tables.items()):
        times = [format_seconds(seconds) for seconds in table["device_seconds"]]
        figure.add_trace(
            go.Scatter(
                x=table[x].tolist(),
                y=table["hypervolume"].tolist(),
                customdata=table["number"].tolist(),
                mode="lines",
                line={"shape": "hv", "width": 2.2, "color": series_colour(index, theme)},
                name=escape(shortened(name, 40)),
                text=times,
                hovertemplate="%{y:.4g} after %{x} trials, %{text} of training<extra></extra>"
                if x == "trials"
                else "%{y:.4g} after %{text} of training<extra></extra>",
            )
        )
    title = {"trials": "trials ended", "device_seconds": "seconds of training"}[x]
    figure.update_layout(showlegend=len(tables) > 1)
    figure.update_xaxes(title_text=title, rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume", rangemode="tozero")
    return figure


def curves_figure(
    table: pd.DataFrame, *, highlight: int | None = None, theme: ThemeName = "light"
) -> go.Figure:
    """Validation error by epoch of some trials (``curves_table``); one of them may stand out."""
    figure = go.Figure(
        layout={"template": template(theme), "hovermode": "closest", "showlegend": False}
    )
    numbers = list(dict.fromkeys(table["number"].tolist()))
    for number in sorted(numbers, key=lambda one: one == highlight):
        rows = table[table["number"] == number]
        chosen = number == highlight
        figure.add_trace(
            go.Scatter(
                x=rows["epoch"].tolist(),
                y=rows["error"].tolist(),
                customdata=[number] * len(rows),
                mode="lines+markers",
                name=f"trial {number}",
                line={
                    "width": 3 if chosen else 1.4,
                    "color": shown(BLUE, theme) if chosen else GREY,
                },
                marker={"size": 8 if chosen else 4},
                opacity=1.0 if chosen or highlight is None else 0.5,
                hovertemplate=f"trial {number}, epoch %{{x}}: %{{y:.1%}}<extra></extra>",
            )
        )
    epochs = sorted(set(table["epoch"].tolist()))
    figure.update_xaxes(title_text="epoch", tickvals=_thinned(epochs))
    figure.update_yaxes(title_text="validation error (proxy)", tickformat=".0%")
    return figure


def series_colour(index: int, theme: ThemeName) -> str:
    """The colour of the run, group or kind of that place."""
    return shown(SERIES[index % len(SERIES)], theme)


def _thinned(epochs: Sequence[int]) -> list[int]:
    step = -(-len(epochs) // 10) if epochs else 1
    return list(epochs[::step])


def fronts_figure(
    fronts: Mapping[str, pd.DataFrame],
    *,
    x: str = "macs",
    log_x: bool = True,
    theme: ThemeName = "light",
) -> go.Figure:
    """The fronts of several runs (``front_table`` by name) over one another, knees ringed."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    symbols = ("circle", "square", "diamond", "triangle-up", "cross", "star")
    for index, (name, table) in enumerate(fronts.items()):
        rows = table.sort_values([x, "error"])
        label = escape(shortened(name, 40))
        figure.add_trace(
            go.Scatter(
                x=rows[x].tolist(),
                y=rows["error"].tolist(),
                customdata=rows["number"].tolist(),
                mode="lines+markers",
                name=label,
                line={"shape": "hv", "width": 1.8, "color": series_colour(index, theme)},
                marker={
                    "size": 9,
                    "symbol": symbols[index % len(symbols)],
                    "line": {
                        "width": [3 if knee else 0 for knee in rows["is_knee"]],
                        "color": ORANGE,
                    },
                },
                text=[describe_cost(x, cost) for cost in rows[x]],
                hovertemplate=f"<b>{label}</b>, trial %{{customdata}}<br>"
                f"error %{{y:.1%}}<br>%{{text}}<extra></extra>",
            )
        )
    costs = pd.concat([table[x] for table in fronts.values()]) if fronts else pd.Series(dtype=float)
    figure.update_xaxes(cost_axis(costs, x, log_x))
    figure.update_yaxes(title_text="validation error (proxy)", tickformat=".0%")
    return figure
