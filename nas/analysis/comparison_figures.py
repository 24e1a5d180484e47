"""Figures of several runs set against each other: attainment bands, indicators.

A table of :mod:`nas.analysis.attainment` or :mod:`nas.analysis.comparison` goes in, a figure comes
out, as in :mod:`nas.analysis.figures`. Groups differ in colour and in the dash of their median.
"""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from nas.analysis.figures import cost_axis, percent, series_colour, shortened
from nas.analysis.theme import ThemeName, template
from nas.cost import describe_cost

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
BAND_OPACITY = 0.16


def attainment_figure(
    table: pd.DataFrame, *, x: str = "macs", log_x: bool = True, theme: ThemeName = "light"
) -> go.Figure:
    """What the runs of each group attained (``attainment_table``): a band and its median.

    The band goes from what the best run reached to what every run reached. A group of one run has
    its front alone.
    """
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    ends = (table[x].min(), table[x].max(), table["error"].max()) if len(table) else (1, 1, 1)
    for index, group in enumerate(dict.fromkeys(table["group"])):
        rows = table[table["group"] == group]
        colour = series_colour(index, theme)
        levels = sorted(rows["level"].unique())
        if len(levels) > 1:
            figure.add_trace(_band(rows, levels, x, colour, ends))
        middle = min(levels, key=lambda level: (abs(level - 0.5), level))
        figure.add_trace(_median(rows[rows["level"] == middle], x, ends[1], colour, index))
    figure.update_layout(showlegend=True)
    figure.update_xaxes(cost_axis(table[x], x, log_x))
    figure.update_yaxes(title_text="validation error (proxy)", tickformat=".0%", hoverformat=".1%")
    return figure


def _band(
    rows: pd.DataFrame, levels: list[float], x: str, colour: str, ends: tuple[float, float, float]
) -> go.Scatter:
    """A closed outline: along the best surface, and back along the worst."""
    best, worst = (
        _stairs(rows[rows["level"] == level], x, ends) for level in (levels[0], levels[-1])
    )
    outline = [*best, *reversed(worst)]
    return go.Scatter(
        x=[point[0] for point in outline],
        y=[point[1] for point in outline],
        mode="lines",
        fill="toself",
        fillcolor=_transparent(colour, BAND_OPACITY),
        line={"width": 0.8, "color": _transparent(colour, 0.5)},
        hoverinfo="skip",
        showlegend=False,
        name=f"{escape(shortened(str(rows['group'].iloc[0]), 40))}, best to worst",
    )


def _stairs(
    rows: pd.DataFrame, x: str, ends: tuple[float, float, float]
) -> list[tuple[float, float]]:
    """The corners of a surface from the top of the picture to its right edge."""
    _, right, top = ends
    corners: list[tuple[float, float]] = []
    height = top
    for cost, error in zip(rows[x].tolist(), rows["error"].tolist(), strict=True):
        corners += [(cost, height), (cost, error)]
        height = error
    return [*corners, (right, height)]


def _median(rows: pd.DataFrame, x: str, right: float, colour: str, index: int) -> go.Scatter:
    """The staircase of one level, drawn on to the right edge: what is reached stays reached."""
    first = rows.iloc[0]
    group = escape(shortened(str(first["group"]), 40))
    runs = f"{first['runs']} of {first['of']} runs" if first["of"] > 1 else "one run"
    return go.Scatter(
        x=[*rows[x].tolist(), right],
        y=[*rows["error"].tolist(), rows["error"].iloc[-1]],
        mode="lines",
        line={"shape": "hv", "width": 2.2, "color": colour, "dash": DASHES[index % len(DASHES)]},
        name=f"{group} ({runs})",
        text=[describe_cost(x, cost) for cost in (*rows[x], rows[x].iloc[-1])],
        hovertemplate=f"<b>{group}</b>: {runs} reach<br>error %{{y:.1%}} at %{{text}}"
        "<extra></extra>",
    )


def _transparent(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def indicators_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """How much of the joint front each run has (``indicators_table``): a bar a run."""
    figure = go.Figure(layout={"template": template(theme), "showlegend": False})
    names = [escape(shortened(str(name), 30)) for name in table["run"]]
    shares = table["hypervolume_ratio"].tolist()
    figure.add_trace(
        go.Bar(
            x=shares,
            y=list(range(len(names))),
            orientation="h",
            marker={"color": [series_colour(index, theme) for index in range(len(names))]},
            text=[percent(share) for share in shares],
            textposition="inside",
            hovertemplate="%{customdata}: %{text} of the joint front's hypervolume<extra></extra>",
            customdata=names,
            width=0.6,
        )
    )
    figure.update_xaxes(
        title_text="share of the joint front's hypervolume", tickformat=".0%", range=[0, 1.004]
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, autorange="reversed", showgrid=False
    )
    return figure
