"""The front's figure as the dashboard draws it: with a budget to drag and the chosen trial ringed.

:func:`nas.analysis.figures.front_figure` draws the marks. Here clouds of many marks go to the
graphics card, and what the page itself moves is added: the line of the budget (the first shape)
and the ring around the chosen trial (the trace named :data:`CHOSEN`); ``assets/front.js`` moves
both without asking.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas.analysis.cloud import thinned_table
from nas.analysis.figures import front_figure
from nas.analysis.theme import THEMES, ThemeName
from nas.quantities import format_count

CHOSEN = "chosen trial"
MANY = 800
"""Marks from which on a standing is drawn by WebGL; SVG is crisper, and slow from there."""


def cloud_figure(  # noqa: PLR0913 - one parameter a thing that the reader can change
    table: pd.DataFrame,
    objectives: Sequence[str],
    *,
    x: str,
    log_x: bool,
    theme: ThemeName,
    budget: int | None,
    chosen: int | None = None,
    brushed: Collection[int] | None = None,
    repeats: pd.DataFrame | None = None,
) -> go.Figure:
    """Error against the cost ``x`` of all trials of a ``trials_table``.

    ``budget`` is where the line stands, ``chosen`` the trial that is ringed; where ``brushed`` is
    given, other trials fade.
    """
    shown = thinned_table(table, x, keep=() if chosen is None else (chosen,))
    figure = front_figure(shown, objectives, x=x, log_x=log_x, repeats=repeats, theme=theme)
    counts = shown.groupby("standing")["of"].first().to_dict()
    traces = [_prepared(trace, counts, brushed) for trace in figure.data]
    figure = go.Figure([*traces, _ring(figure.data, chosen, theme)], figure.layout)
    ink = THEMES[theme].accent
    middle = _middle(shown[x], log_x)
    figure.update_layout(
        shapes=[] if budget is None else [_budget_line(budget, middle, ink)],
        activeshape={"opacity": 1, "fillcolor": ink},
        dragmode="zoom",
        margin={"t": 12, "r": 12},
        meta={"budget": budget, "x": x, "middle": middle},
    )
    return figure


def drawn_words(table: pd.DataFrame, shown: pd.DataFrame) -> str:
    """What was left out of the drawing; "" where nothing was."""
    hidden = len(table) - len(shown)
    if not hidden:
        return ""
    return (
        f"{len(shown):,} of {len(table):,} trials are drawn: {hidden:,} lie where others "
        f"are. The whole front is."
    )


def default_budget(front: pd.DataFrame, x: str) -> int | None:
    """Where the line stands before anybody has moved it: just right of the knee."""
    knee = front.loc[front["is_knee"], x]
    if knee.empty:
        return None
    cost = float(knee.iloc[0]) * 1.02
    step = 10 ** max(0, math.floor(math.log10(max(cost, 1))) - 1)
    return int(math.ceil(cost / step) * step)


def _prepared(
    trace: go.Scatter, counts: dict[Any, int], brushed: Collection[int] | None
) -> go.Scatter | go.Scattergl:
    """The trace with its count in words, its own id, faded marks, and on the card if large."""
    standing, bracket, _ = str(trace.name).partition(" (")
    number = len(trace.x or ())
    if bracket and standing in counts:
        of = counts[standing]
        trace.name = f"{standing} ({number:,}{f' of {of:,}' if of > number else ''})"
    trace.uid = standing
    if brushed is not None and bracket and trace.customdata is not None:
        kept = set(brushed)
        trace.selectedpoints = [i for i, own in enumerate(trace.customdata) if own in kept]
        trace.unselected = {"marker": {"opacity": 0.12}}
    if number < MANY or not bracket:
        return trace
    return go.Scattergl(
        {name: value for name, value in trace.to_plotly_json().items() if name != "type"}
    )


def _ring(traces: Sequence[go.Scatter], chosen: int | None, theme: ThemeName) -> go.Scatter:
    x, y = [], []
    for trace in traces:
        if chosen is not None and trace.customdata is not None and chosen in trace.customdata:
            at = list(trace.customdata).index(chosen)
            x, y = [trace.x[at]], [trace.y[at]]
    colour = THEMES[theme].text
    return go.Scatter(
        x=x,
        y=y,
        uid=CHOSEN,
        name=CHOSEN,
        mode="markers",
        hoverinfo="skip",
        showlegend=False,
        marker={
            "symbol": "square-open",
            "size": 20,
            "color": colour,
            "line": {"width": 2.2, "color": colour},
        },
    )


def _middle(costs: pd.Series, log_x: bool) -> float:
    """The middle of the axis: right of it the line's label stands on its left."""
    known = costs[costs > 0]
    if known.empty:
        return 0.0
    low, high = float(known.min()), float(known.max())
    return math.sqrt(low * high) if log_x else high / 2


def _budget_line(budget: int, middle: float, ink: str) -> dict[str, object]:
    return {
        "type": "line",
        "name": "budget",
        "x0": budget,
        "x1": budget,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "editable": True,
        "line": {"color": ink, "width": 2.5, "dash": "dash"},
        "label": {
            "text": f"budget {format_count(budget)}",
            "textposition": "end",
            "textangle": 0,
            "xanchor": "left" if budget < middle else "right",
            "yanchor": "top",
            "padding": 6,
            "font": {"color": ink, "size": 13},
        },
    }
