"""Plotly figures of how a search is getting on, from :mod:`nas.analysis.progress`."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from nas.analysis.figures import MARKS, hypervolume_figure
from nas.analysis.theme import ThemeName, shown, template

STATE_MARKS = {"complete": "front", "pruned": "stopped", "failed": "failed"}
"""The standing whose colour stands for a state; a complete trial has the front's."""

STATE_WORDS = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
PATTERNS = {"complete": "", "pruned": "/", "failed": "x"}
"""Each state has a pattern of its own, not just a colour."""

TIME_UNITS = ((1.0, "seconds"), (60.0, "minutes"), (3600.0, "hours"), (86_400.0, "days"))


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit, as its seconds and its word, in which a duration is at least 3."""
    fit = [unit for unit in TIME_UNITS if seconds >= 3 * unit[0]]
    return fit[-1] if fit else TIME_UNITS[0]


def pace_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Trials a minute at work, by how they ended (``pace_table``)."""
    figure = go.Figure(layout={"template": template(theme), "barmode": "stack", "bargap": 0.12})
    total = float(table["worked_seconds"].max()) if len(table) else 0.0
    unit, word = time_unit(total)
    for state, standing in STATE_MARKS.items():
        rows = table[table[state] > 0] if len(table) else table
        if rows.empty:
            continue
        colour = shown(MARKS[standing].colour, theme)
        when = [
            f"{start:%d %b %H:%M} to {finish:%H:%M}"
            for start, finish in zip(rows["start"], rows["finish"], strict=True)
        ]
        figure.add_trace(
            go.Bar(
                x=(rows["worked_seconds"] / unit).tolist(),
                y=(rows["per_minute"] * rows[state] / rows["ended"]).tolist(),
                width=_width(table) / unit,
                name=f"{STATE_WORDS[state]} ({int(table[state].sum()):,})",
                customdata=list(zip(rows[state].tolist(), when, strict=True)),
                marker={
                    "color": colour,
                    "line": {"width": 0},
                    "pattern": {
                        "shape": PATTERNS[state],
                        "fillmode": "replace",
                        "fgcolor": colour,
                        "size": 6,
                        "solidity": 0.45,
                    },
                },
                hovertemplate=f"<b>%{{customdata[0]}}</b> {STATE_WORDS[state]}, "
                f"%{{y:.3g}} a minute<br>%{{customdata[1]}}<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True, legend_traceorder="normal")
    figure.update_xaxes(title_text=f"{word} at work", rangemode="tozero")
    figure.update_yaxes(title_text="trials a minute", rangemode="tozero")
    return figure


def _width(table: pd.DataFrame) -> float:
    """Seconds of a bar: a little less than the span, so that bars stand apart."""
    times = table["worked_seconds"]
    return 0.88 * float(times.diff().min() if len(times) > 1 else 2 * times.iloc[0])


def history_figure(
    tables: Mapping[str, pd.DataFrame], *, x: str = "trials", theme: ThemeName = "light"
) -> go.Figure:
    """``hypervolume_figure`` of histories without their level stretches, device time in hours.

    A search of 100,000 trials moves its front a few hundred times; the line is the same.
    """
    steps = {name: steps_table(table) for name, table in tables.items()}
    if x != "device_seconds":
        return hypervolume_figure(steps, x=x, theme=theme)
    longest = max((float(table[x].max()) for table in steps.values() if len(table)), default=0.0)
    unit, word = time_unit(longest)
    figure = hypervolume_figure(steps, x=x, theme=theme)
    for trace in figure.data:
        trace.x = [value / unit for value in trace.x]
    figure.update_xaxes(title_text=f"device time spent on training ({word})")
    return figure


def steps_table(history: pd.DataFrame) -> pd.DataFrame:
    """The rows of a ``hypervolume_table`` where it moved, and its last: the same staircase."""
    volume = history["hypervolume"]
    kept = volume.ne(volume.shift())
    if len(history):
        kept.iloc[-1] = True
    return history[kept].reset_index(drop=True)
