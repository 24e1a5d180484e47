"""Plotly figures of a ``confirmed_table``: the retrained networks against cost, and the proxy's
errors against those of full training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas.analysis.figures import cost_axis, percent
from nas.analysis.theme import BLUE, GREY, ORANGE, THEMES, VERMILLION, ThemeName, shown, template
from nas.quantities import format_count


@dataclass(frozen=True)
class _Role:
    label: str
    colour: str
    symbol: str


ROLES = {
    "control": _Role("dominated in the search", GREY, "circle-open"),
    "random": _Role("random", VERMILLION, "x-thin-open"),
    "preset": _Role("preset", ORANGE, "diamond"),
    "front": _Role("front of the search", BLUE, "circle"),
}
"""How a network is drawn, by what it was chosen as; the front last."""


def confirmed_figure(
    table: pd.DataFrame, *, x: str = "macs", theme: ThemeName = "light"
) -> go.Figure:
    """Mean error of full training with its interval against a cost, and the front of the means."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    known = table[table["mean"].notna()]
    front = known[known["on_front"]].sort_values([x, "mean"])
    figure.add_trace(
        go.Scatter(
            x=front[x].tolist(),
            y=front["mean"].tolist(),
            mode="lines",
            line={"shape": "hv", "color": shown(BLUE, theme), "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
            name="front of the means",
        )
    )
    _add_roles(figure, known, x, theme)
    figure.update_xaxes(cost_axis(known[x], x, log_x=True))
    figure.update_yaxes(title_text="validation error (full training)", tickformat=".0%")
    return figure


def proxy_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Error of full training, with its interval, against the error that the search saw."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "closest"})
    known = table[table["mean"].notna() & table["proxy_error"].notna()]
    _add_roles(figure, known, "proxy_error", theme)
    figure.update_xaxes(title_text="validation error (proxy)", tickformat=".0%")
    figure.update_yaxes(title_text="validation error (full training)", tickformat=".0%")
    return figure


def _add_roles(figure: go.Figure, known: pd.DataFrame, x: str, theme: ThemeName) -> None:
    for name, role in ROLES.items():
        rows = known[known["role"] == name]
        if len(rows):
            figure.add_trace(_marks(rows, x, role, theme))


def _marks(rows: pd.DataFrame, x: str, role: _Role, theme: ThemeName) -> go.Scatter:
    colour = shown(role.colour, theme)
    return go.Scatter(
        x=rows[x].tolist(),
        y=rows["mean"].tolist(),
        mode="markers",
        name=f"{role.label} ({len(rows)})",
        customdata=rows["number"].tolist(),
        text=[_hover(row) for row in rows.to_dict("records")],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "symbol": role.symbol,
            "size": 9,
            "color": colour,
            "line": {"width": 1.6 if "open" in role.symbol else 0, "color": colour},
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["mean"]).fillna(0).tolist(),
            "arrayminus": (rows["mean"] - rows["low"]).fillna(0).tolist(),
            "color": THEMES[theme].text,
            "thickness": 1.2,
            "width": 4,
        },
    )


def _hover(row: Mapping[Any, Any]) -> str:
    lines = [
        f"<b>{escape(str(row['name']))}</b>, mean of {row['seeds']} seeds {percent(row['mean'])}",
        f"{format_count(float(row['macs']))} MACs",
    ]
    if pd.notna(row["high"]):
        interval = f"{percent(row['low'])} to {percent(row['high'])}"
        lines.append(f"95 % interval {interval}")
        lines.append(f"on the front with probability {row['front_probability']:.2f}")
    if pd.notna(row["proxy_error"]):
        lines.append(f"proxy {percent(row['proxy_error'])}")
    return "<br>".join(lines)
