"""Parallel coordinates that carry a brush: the figure of the view of choices.

The lines are those of :func:`nas.analysis.choice_figures.parallel_figure`; here its axes get the
brush of the address, and say in ``layout.meta`` how the page writes one
(``assets/choices.js``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas.analysis.choice_figures import parallel_figure
from nas.analysis.parallel import Dimension, dimensions
from nas.analysis.theme import ThemeName
from nas.dashboard.brush import Brush, column_words
from nas.quantities import format_count

MAX_LINES = 2000
"""Lines that are drawn: all of the front, and of the others as many as there is room for."""

HALF = 0.45
"""Half of the height of a brush around one value of a choice; values are 1 apart."""

FIRST_CHOICE = 4
"""Columns of a ``parallel_table`` before its choices."""


def drawn_lines(table: pd.DataFrame, limit: int = MAX_LINES) -> pd.DataFrame:
    """The rows of a ``parallel_table`` that are drawn, the front last, so that it lies on top.

    Trials without an error are none; of the others as many as ``limit`` allows, evenly.
    """
    known = table[table["error"].notna()]
    is_front = known["standing"] == "front"
    front, others = known[is_front], known[~is_front]
    room = max(limit - len(front), 0)
    if len(others) > room:
        others = others.iloc[np.linspace(0, len(others) - 1, room).round().astype(int)]
    return pd.concat([others, front], ignore_index=True)


def brushed_figure(table: pd.DataFrame, brush: Brush, *, theme: ThemeName = "light") -> go.Figure:
    """Parallel coordinates of :func:`drawn_lines` with a brush on their axes."""
    figure = parallel_figure(table, theme=theme)
    if not figure.data:
        return figure
    axes = dimensions(table)
    shown, about = [], []
    for axis, drawn in zip(axes, figure.data[0].dimensions, strict=True):
        own = drawn.to_plotly_json()
        words = axis_words(table, axis)
        if words is None:
            own.update(_number_ticks(axis))
            ends = brush.ranges.get(axis.name)
            own["constraintrange"] = _ends(axis, ends) if ends else None
        else:
            codes = [code for code, text in words.items() if text in brush.words.get(axis.name, ())]
            own["constraintrange"] = _stretches(codes) or None
        shown.append({key: value for key, value in own.items() if value is not None})
        about.append({"name": axis.name, "words": words, "is_log": axis.is_log})
    figure.data[0].dimensions = shown
    # What plotly writes at the ends of a number's axis would lie over its name.
    figure.data[0].rangefont = {"color": "rgba(0,0,0,0)"}
    figure.data[0].tickfont = {"size": 12}
    figure.data[0].labelfont = {"size": 13}
    figure.update_layout(meta={"axes": about}, margin={"l": 64, "r": 44, "t": 28, "b": 84})
    return figure


def axis_words(table: pd.DataFrame, axis: Dimension) -> dict[int, str] | None:
    """What each place on a choice's axis means; None for a cost and the error."""
    if axis.name not in table.columns[FIRST_CHOICE:]:
        return None
    pairs = zip(axis.values, column_words(table[axis.name]).tolist(), strict=True)
    return dict(sorted({int(code): text for code, text in pairs}.items()))


def _number_ticks(axis: Dimension) -> dict[str, Any]:
    """Ticks of a cost or the error.

    Where ticks are given, plotly lets a brush end at them alone: a cost gets many, most without
    a label, and the error none, so that its brush ends anywhere.
    """
    if not axis.is_log:
        return {"tickvals": None, "ticktext": None, "tickformat": ".1~%"}
    known = [value for value in axis.values if np.isfinite(value)]
    digits = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    powers = range(int(np.floor(min(known))), int(np.ceil(max(known))) + 1)
    ticks = [float(power + np.log10(digit)) for power in powers for digit in digits]
    low, high = min(known), max(known)
    inside = [tick for tick in ticks if low < tick < high]
    ticks = [low, *inside, high] if high > low else [low]
    labelled = set(np.round(axis.ticks, 6))
    # Labels must differ from each other; blanks of different lengths do, and are not seen.
    texts = [
        format_count(10**tick) if round(tick, 6) in labelled else " " * (place + 1)
        for place, tick in enumerate(ticks)
    ]
    return {"tickvals": ticks, "ticktext": texts}


def _ends(axis: Dimension, ends: tuple[float, float]) -> list[float] | None:
    if not axis.is_log:
        return list(ends)
    return [float(np.log10(max(value, 1e-9))) for value in ends]


def _stretches(codes: Sequence[int]) -> list[list[float]]:
    """Codes as the fewest stretches of the axis: neighbours are one."""
    stretches: list[list[float]] = []
    for code in sorted(codes):
        if stretches and code - HALF - stretches[-1][1] < 1 - 2 * HALF + 1e-6:
            stretches[-1][1] = code + HALF
        else:
            stretches.append([code - HALF, code + HALF])
    return stretches
