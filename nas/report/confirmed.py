"""A run's confirmation on its page: the verdict, the table, and two figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from nas.analysis.confirmed_figures import ROLES, confirmed_figure, proxy_figure
from nas.analysis.confirmed_summary import ConfirmedSummary, find_summary
from nas.analysis.figures import percent
from nas.quantities import format_count
from nas.records import Run
from nas.report.details import Row

CONFIRMED, PROXY = "confirmed", "confirmed-proxy"
"""The names of the figures on the page."""


@dataclass(frozen=True)
class ConfirmedPart:
    """What the page says of a confirmation; ``axis`` is the cost of the first figure."""

    title: str
    verdict: str
    basis: str
    rows: list[Row]
    figures: dict[str, go.Figure]
    has_test: bool


def confirmed_part(run: Run) -> ConfirmedPart | None:
    """The part of a run's page about its confirmation; None where it has none."""
    summary = find_summary(run)
    return None if summary is None else _part(summary)


def _part(summary: ConfirmedSummary) -> ConfirmedPart:
    confirmation, table = summary.confirmation, summary.table
    axis = next((name for name in confirmation.objectives if name != "error"), "macs")
    seeds, epochs = confirmation.settings.seeds, summary.task.proxy.epochs
    figures = {}
    if summary.trained:
        figures = {CONFIRMED: confirmed_figure(table, x=axis), PROXY: proxy_figure(table)}
    return ConfirmedPart(
        title=f"{len(table)} networks retrained for {epochs} epoch{'' if epochs == 1 else 's'} of "
        f"{summary.task.data}, {seeds} seed{'' if seeds == 1 else 's'} each",
        verdict=summary.verdict.text,
        basis=summary.basis,
        rows=[_row(row) for row in table.to_dict("records")],
        figures=figures,
        has_test=confirmation.test_images > 0,
    )


def _row(row: dict[Any, Any]) -> Row:
    name, number = str(row["name"]), int(row["number"])
    chance = float(row["front_probability"])
    return {
        "name": name if number < 0 else f"trial {number}",
        "picks": tuple(pick for pick in str(row["picks"]).split(", ") if pick),
        "role": ROLES[str(row["role"])].label,
        "macs": format_count(row["macs"]),
        "proxy": percent(row["proxy_error"]),
        "error": _interval(row["mean"], row["high"]),
        "shrunk": percent(row["shrunk"]),
        "chance": "-" if math.isnan(chance) else f"{chance:.2f}",
        "test": _interval(row["test_mean"], row["test_high"]),
        "seeds": row["seeds"],
    }


def _interval(mean: float, high: float) -> str:
    if math.isnan(high):
        return percent(mean)
    return f"{percent(mean)} \N{PLUS-MINUS SIGN} {100 * (high - mean):.1f}"
