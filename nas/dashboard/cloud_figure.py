"""The front's figure as the dashboard draws it: with a budget to drag.

:func:`nas.analysis.figures.front_figure` draws the marks, once for all who look; clouds of many
marks go to the graphics card. What each reader moves is added to that: the line of the budget
(the first shape) and what a brush picks out. In the page, ``assets/front.js`` moves the line
without asking, and ``assets/chosen.js`` lays the square around the chosen trial over the figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from nas.analysis.figures import front_figure
from nas.analysis.theme import THEMES, ThemeName
from nas.quantities import format_count

MANY = 800
"""Marks from which on a standing is drawn by WebGL; SVG is crisper, and slow from there."""

FADED = 0.12

Figure = dict[str, Any]


def cloud_figure(
    shown: pd.DataFrame,
    objectives: Sequence[str],
    *,
    x: str,
    log_x: bool,
    theme: ThemeName,
    repeats: pd.DataFrame | None = None,
) -> Figure:
    """Error against the cost ``x`` of a ``thinned_table``, as plain data that may be shared."""
    figure = front_figure(shown, objectives, x=x, log_x=log_x, repeats=repeats, theme=theme)
    figure.update_layout(dragmode="zoom", margin={"t": 12, "r": 12})
    plain = figure.to_plotly_json()
    counts = shown.groupby("standing")["of"].first().to_dict()
    return {
        "data": [_prepared(trace, counts) for trace in plain["data"]],
        "layout": {**plain["layout"], "meta": {"x": x, "middle": _middle(shown[x], log_x)}},
    }


def dressed(
    figure: Figure,
    *,
    theme: ThemeName,
    budget: int | None,
    brushed: Collection[int] | None = None,
) -> Figure:
    """The figure with the line at ``budget``, and only what is ``brushed`` in full ink."""
    traces = figure["data"] if brushed is None else [_faded(t, brushed) for t in figure["data"]]
    meta = {**figure["layout"]["meta"], "budget": budget}
    ink = THEMES[theme].accent
    layout = {
        **figure["layout"],
        "meta": meta,
        "shapes": [] if budget is None else [_budget_line(budget, meta["middle"], ink)],
    }
    return {"data": traces, "layout": layout}


def drawn_words(of: int, shown: int) -> str:
    """What was left out of the drawing; "" where nothing was."""
    if of == shown:
        return ""
    return (
        f"{shown:,} of {of:,} trials are drawn: the other {of - shown:,} lie where these are. "
        f"The front is whole."
    )


def default_budget(front: pd.DataFrame, x: str) -> int | None:
    """Where the line stands before anybody has moved it: well off the knee, before the next.

    A line that stood close to a mark would cover it. The budget has as few digits as that allows.
    """
    found = front.loc[front["is_knee"], x]
    if found.empty:
        return None
    knee = int(found.iloc[0])
    dearer = front.loc[front[x] > knee, x]
    limit = min(float(dearer.min()) if len(dearer) else math.inf, knee * 1.5)
    middle = math.sqrt(max(knee, 1) * limit)
    for digits in (2, 3, 4):
        step: int = 10 ** max(0, math.floor(math.log10(max(middle, 1))) - digits + 1)
        budget = round(middle / step) * step
        if knee < budget < limit:
            return budget
    return max(int(middle), knee)


def _prepared(trace: dict[str, Any], counts: dict[Any, int]) -> dict[str, Any]:
    """The trace with its count in words, an id of its own, and on the graphics card if large."""
    standing, bracket, _ = str(trace.get("name")).partition(" (")
    # plotly makes a CSS class of the id, and fails to remove a figure whose id is not a word.
    trace = {**trace, "uid": re.sub(r"\W+", "-", standing)}
    if not bracket or standing not in counts:
        return trace
    number, of = len(trace["x"]), counts[standing]
    trace["name"] = f"{standing} ({number:,}{f' of {of:,}' if of > number else ''})"
    if number >= MANY:
        trace["type"] = "scattergl"
    return trace


def _faded(trace: dict[str, Any], brushed: Collection[int]) -> dict[str, Any]:
    numbers = trace.get("customdata")
    if numbers is None or trace.get("mode") != "markers":
        return trace
    kept = [index for index, number in enumerate(numbers) if number in brushed]
    return {**trace, "selectedpoints": kept, "unselected": {"marker": {"opacity": FADED}}}


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
