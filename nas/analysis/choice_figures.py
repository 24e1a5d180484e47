"""Figures of what was chosen: importances, parallel coordinates, reductions, branches.

A table of :mod:`nas.analysis.importance`, :mod:`~nas.analysis.parallel` or
:mod:`~nas.analysis.along_front` goes in, a figure comes out, as in :mod:`nas.analysis.figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas.analysis.along_front import sorted_kinds
from nas.analysis.figures import percent, series_colour, shortened
from nas.analysis.parallel import Dimension, dimensions
from nas.analysis.theme import BLUE, GREY, THEMES, ThemeName, shown, template
from nas.quantities import format_count

MAX_NETWORKS = 30
"""Rows of the figure of reductions; of more, they are taken evenly along the front."""

REDUCTION_SYMBOLS = {
    "max pool": "circle",
    "average pool": "circle-open",
    "convolution": "square",
    "cell": "diamond",
}


def importance_figure(
    table: pd.DataFrame, *, limit: int = 15, theme: ThemeName = "light"
) -> go.Figure:
    """Choices by their importance at equal cost (``importance_table``), with intervals."""
    figure = go.Figure(layout={"template": template(theme), "showlegend": False})
    rows = table.head(limit)
    values = rows["importance"].to_numpy(float)
    names = [escape(shortened(str(name), 40)) for name in rows["choice"]]
    colour = shown(BLUE, theme)
    hover = [
        f"<b>{name}</b><br>{percent(row['importance'])} of the variance at equal cost "
        f"({percent(row['low'])} to {percent(row['high'])})<br>"
        f"active in {row['active']} of {row['trials']} trials, {row['values']} values"
        for name, row in zip(names, rows.to_dict("records"), strict=True)
    ]
    figure.add_trace(
        go.Scatter(
            x=values.tolist(),
            y=list(range(len(rows))),
            mode="markers",
            marker={"size": 9, "color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (rows["high"] - rows["importance"]).tolist(),
                "arrayminus": (rows["importance"] - rows["low"]).tolist(),
                "color": colour,
                "thickness": 1.6,
                "width": 0,
            },
            text=hover,
            hovertemplate="%{text}<extra></extra>",
            name="importance",
        )
    )
    figure.update_xaxes(
        title_text="share of the variance at equal cost", tickformat=".0%", zeroline=True
    )
    figure.update_yaxes(_names_axis(names))
    return figure


def _names_axis(names: Sequence[str]) -> dict[str, object]:
    """An axis of one name a row, the first on top."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [len(names) - 0.4, -0.6],
        "showgrid": False,
    }


def parallel_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Parallel coordinates that can be brushed (``parallel_table``); needs the full plotly.js.

    Trials without an error are left out. ``customdata`` of the figure's only trace is the trial
    number of each line, in order.
    """
    figure = go.Figure(layout={"template": template(theme)})
    known = table[table["error"].notna()]
    if known.empty:
        return figure
    axes = dimensions(known)
    figure.add_trace(
        go.Parcoords(
            dimensions=[
                {
                    "label": escape(shortened(axis.label, 26)),
                    "values": axis.values,
                    "tickvals": axis.ticks,
                    "ticktext": axis.labels,
                }
                for axis in axes
            ],
            line={
                "color": (known["standing"] == "front").astype(int).tolist(),
                "colorscale": [[0, GREY], [1, shown(BLUE, theme)]],
                "cmin": 0,
                "cmax": 1,
            },
            customdata=known["number"].tolist(),
            labelangle=-20,
            labelside="bottom",
        )
    )
    figure.update_layout(margin={"l": 60, "r": 40, "t": 24, "b": 110})
    return figure


def parallel_lines_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Parallel coordinates as plain lines (``parallel_table``), the front in colour and on top.

    For paper and for pages without the full plotly.js. Trials without an error are left out.
    """
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    known = table[table["error"].notna()]
    axes = dimensions(known) if len(known) else []
    for is_front in (False, True):
        rows = np.flatnonzero(((known["standing"] == "front") == is_front).to_numpy())
        if len(rows):
            colour = shown(BLUE, theme) if is_front else GREY
            figure.add_trace(_lines(known, axes, rows, colour, is_front))
    for place, axis in enumerate(axes):
        _draw_axis(figure, axis, place, THEMES[theme].surface)
    labels = [escape(shortened(axis.label, 26)) for axis in axes]
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=labels,
        tickangle=-30,
        showline=False,
        range=[-0.3, len(axes) - 0.3],
        gridcolor=THEMES[theme].line,
        gridwidth=1.5,
    )
    figure.update_yaxes(visible=False, range=[-0.04, 1.04])
    return figure


def _scaled(axis: Dimension, values: Sequence[float]) -> list[float]:
    """Values from 0 to 1 along an axis; one that has a single value is in the middle."""
    known = [value for value in (*axis.values, *axis.ticks) if np.isfinite(value)]
    low, high = min(known), max(known)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def _lines(
    known: pd.DataFrame, axes: Sequence[Dimension], rows: np.ndarray, colour: str, is_front: bool
) -> go.Scatter:
    """One trace of many lines, with a gap after each."""
    heights = np.array([_scaled(axis, axis.values) for axis in axes]).T[rows]
    x = [*range(len(axes)), None] * len(rows)
    y = [value for line in heights.tolist() for value in (*line, None)]
    numbers = [int(number) for number in known["number"].to_numpy()[rows]]
    return go.Scatter(
        x=x,
        y=[None if value is None or np.isnan(value) else round(value, 4) for value in y],
        mode="lines",
        line={"color": colour, "width": 1.8 if is_front else 0.7},
        opacity=0.9 if is_front else 0.4,
        customdata=[number for number in numbers for _ in range(len(axes) + 1)],
        name=f"{'front' if is_front else 'others'} ({len(rows)})",
        hovertemplate="trial %{customdata}<extra></extra>",
    )


def _draw_axis(figure: go.Figure, axis: Dimension, place: int, surface: str) -> None:
    """Labels of an axis, each on a patch of the page's colour, since lines run behind them."""
    for height, label in zip(_scaled(axis, axis.ticks), axis.labels, strict=True):
        figure.add_annotation(
            x=place,
            y=height,
            text=escape(label),
            xanchor="left",
            xshift=4,
            font={"size": 10},
            bgcolor=surface,
            opacity=0.85,
            borderpad=0,
            showarrow=False,
        )


def reductions_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Where the front's networks reduce (``reduction_places_table``): a row a network.

    A line is as long as the network has cells; marks stand where the map is reduced, between two
    cells, and their shape says how. The smallest network is on top.
    """
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    rows = _front_networks(table)
    networks = rows.drop_duplicates("row").reset_index(drop=True)
    places = dict(zip(networks["row"], range(len(networks)), strict=True))
    figure.add_trace(_lengths(networks))
    for index, kind in enumerate(REDUCTION_SYMBOLS):
        own = rows[rows["kind"] == kind]
        if len(own):
            figure.add_trace(_marks(own, places, kind, series_colour(index, theme)))
    names = [
        f"trial {row['number']}, {format_count(row['macs'])}" for row in networks.to_dict("records")
    ]
    longest = int(networks["cells"].max()) if len(networks) else 1
    figure.update_xaxes(
        title_text="cells before the reduction", dtick=1 if longest <= 20 else 5,
        range=[-0.1, longest + 0.4],
    )  # fmt: skip
    figure.update_yaxes(_names_axis(names))
    return figure


def _front_networks(table: pd.DataFrame) -> pd.DataFrame:
    front = table[table["standing"] == "front"]
    rows = front["row"].unique()
    if len(rows) > MAX_NETWORKS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_NETWORKS).round().astype(int)]
    return front[front["row"].isin(rows)]


def _lengths(networks: pd.DataFrame) -> go.Scatter:
    x, y = [], []
    for place, cells in enumerate(networks["cells"].tolist()):
        x += [0, cells, None]
        y += [place, place, None]
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": GREY, "width": 1.4}, hoverinfo="skip",
        showlegend=False, name="cells",
    )  # fmt: skip


def _marks(rows: pd.DataFrame, places: dict[int, int], kind: str, colour: str) -> go.Scatter:
    hover = [
        f"trial {row['number']}, reduction {row['index'] + 1}: {kind}<br>after "
        f"{row['after_cells']} of {row['cells']} cells"
        for row in rows.to_dict("records")
    ]
    return go.Scatter(
        x=rows["after_cells"].tolist(),
        y=[places[row] for row in rows["row"]],
        mode="markers",
        customdata=rows["number"].tolist(),
        name=kind,
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        marker={
            "size": 11,
            "symbol": REDUCTION_SYMBOLS[kind],
            "color": colour,
            "line": {"width": 1.8 if "open" in REDUCTION_SYMBOLS[kind] else 0, "color": colour},
        },
    )


def branch_shares_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """What cells put out along the front (``branch_shares_table``): stacked shares of channels."""
    figure = go.Figure(layout={"template": template(theme), "barmode": "stack"})
    for index, kind in enumerate(sorted_kinds(table) if len(table) else []):
        rows = table[table["kind"] == kind].sort_values("part_index")
        hover = [
            f"<b>{escape(kind)}</b> in {row['part']} networks<br>"
            f"{percent(row['channel_share'])} of the channels<br>in {row['cells']} cells "
            f"({percent(row['cell_share'])}) of {row['networks']} networks"
            for row in rows.to_dict("records")
        ]
        figure.add_trace(
            go.Bar(
                x=rows["channel_share"].tolist(),
                y=rows["part"].tolist(),
                orientation="h",
                name=escape(kind),
                marker={
                    "color": series_colour(index, theme),
                    "pattern": {"shape": "" if index < 6 else "/"},
                },
                text=[
                    f"{100 * share:.0f}" if share >= 0.06 else "" for share in rows["channel_share"]
                ],
                textposition="inside",
                textangle=0,
                hovertext=hover,
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(
        title_text="share of the channels of cells", tickformat=".0%", range=[0, 1.004]
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, title_text="networks of the front")
    return figure


def survival_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Kinds of branches among all trials and on the front (``survival_table``)."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    names = [escape(str(kind)) for kind in table["kind"]]
    places = list(range(len(names)))
    hover = [
        f"<b>{name}</b><br>in {row['proposed']} networks tried ({percent(row['proposed_share'])})"
        f"<br>in {row['front']} of the front ({percent(row['front_share'])}, "
        f"95 % interval {percent(row['low'])} to {percent(row['high'])})"
        for name, row in zip(names, table.to_dict("records"), strict=True)
    ]
    blue = shown(BLUE, theme)
    hollow = {"size": 11, "symbol": "circle-open", "color": GREY, "line": {"width": 2}}
    marks = {"hovertext": hover, "hovertemplate": "%{hovertext}<extra></extra>", "mode": "markers"}
    figure.add_trace(
        go.Scatter(
            x=table["proposed_share"].tolist(), y=places, marker=hollow,
            name="all networks tried", **marks,
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=table["front_share"].tolist(),
            y=places,
            marker={"size": 10, "color": blue},
            name="the front, with a 95 % interval",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (table["high"] - table["front_share"]).tolist(),
                "arrayminus": (table["front_share"] - table["low"]).tolist(),
                "color": blue,
                "thickness": 1.6,
                "width": 0,
            },
            **marks,
        )
    )
    figure.update_xaxes(
        title_text="networks with such a branch", tickformat=".0%", range=[-0.02, 1.02]
    )
    figure.update_yaxes(_names_axis(names))
    return figure
