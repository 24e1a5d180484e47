"""The results of replayed searches as Markdown, JSON and one figure."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from efficiency.measures import Band, Median, by_seconds, by_trials
from efficiency.results import (
    AT_TRIALS,
    TARGETS,
    Series,
    bars,
    effort_rows,
    plain,
    signal_rows,
    target_rows,
)
from efficiency.table import SIGNALS, Table
from nas.analysis.theme import GREY, SERIES, template

PLOTLY = Path(__file__).parents[2] / "nas" / "report" / "plotly-basic.min.js"


def write_page(all_series: Sequence[Series], table: Table, out: Path, ours: str) -> str:
    """Write results.json, table.md and figure.html to ``out``; the Markdown."""
    results = {
        "table": {**table.about, "fingerprint": table.fingerprint},
        "targets": target_rows(all_series),
        "bars": bars(all_series, ours),
        "effort": effort_rows(all_series),
        "signals": signal_rows(table),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(plain(results), indent=1) + "\n")
    text = markdown(results)
    (out / "table.md").write_text(text)
    html = figure(all_series).to_html(include_plotlyjs=os.path.relpath(PLOTLY, out))
    (out / "figure.html").write_text(html)
    return text


def markdown(results: Mapping[str, Any]) -> str:
    """All tables."""
    parts = [
        "# Searches replayed on a complete table\n",
        f"Table {results['table']['fingerprint']}: `{results['table'].get('command')}`. Medians "
        "over seeds with 95 % bootstrap intervals; `(k of n)`: only k of n searches got there.\n",
    ]
    for scale in ("log", "linear"):
        parts.append(f"\n## Device-seconds to a share of the full hypervolume, {scale} cost\n")
        head = ["series", "seeds", *(f"{t:.0%}" for t in TARGETS)]
        head += [*(f"trials to {t:.0%}" for t in TARGETS), f"share at {AT_TRIALS} trials"]
        rows = [
            [
                row["series"],
                str(row["seeds"]),
                *(shown(row[f"seconds_to_{t:.0%}"], ".0f") for t in TARGETS),
                *(shown(row[f"trials_to_{t:.0%}"], ".0f") for t in TARGETS),
                shown(row[f"share_at_{AT_TRIALS}"], ".2%"),
            ]
            for row in results["targets"]
            if row["scale"] == scale
        ]
        parts.append(_table(head, rows))
    parts.append("\n## What was asked\n")
    parts.append(
        _table(
            ["question", "measured", "asked", "met"],
            [
                [row["question"], shown(row["measured"], ".3f"), row["asked"], _yes(row["met"])]
                for row in results["bars"]
            ],
        )
    )
    parts.append("\n## Trials, repeats and the time to ask (median milliseconds at a trial)\n")
    effort = results["effort"]
    ats = sorted({at for row in effort for at in row["ask_ms"]})
    head = ["series", "trials", "complete", "trained twice", "repeats a trial", "random fills"]
    rows = [
        [
            row["series"],
            f"{row['trials']:.0f}",
            f"{row['complete']:.1%}",
            str(row["trained_twice"]),
            f"{row['repeats_per_trial']:.2f}",
            f"{row['drawn_at_random']:.0f}",
            *(f"{row['ask_ms'][at]:.1f}" if at in row["ask_ms"] else "-" for at in ats),
        ]
        for row in effort
    ]
    parts.append(_table([*head, *(f"ms at {at}" for at in ats)], rows))
    parts.append("\n## What predicts the final error: Kendall's tau-b at each rung\n")
    first = results["signals"][0]
    columns = [
        name for signal in SIGNALS for name in (signal, f"{signal}_other_seed") if name in first
    ]
    rows = [
        [str(row["epoch"]), f"{row['seconds_share']:.0%}", *(str(row[name]) for name in columns)]
        for row in results["signals"]
    ]
    parts.append(_table(["epoch", "of the seconds", *(c.replace("_", " ") for c in columns)], rows))
    return "\n".join(parts) + "\n"


def shown(found: Median, form: str) -> str:
    """A median with its interval, and how many searches it is over where some are censored."""
    low, value, high = (
        format(one, form) if math.isfinite(one) else "not reached"
        for one in (found.low, found.value, found.high)
    )
    text = value if low == value == high else f"{value} [{low}, {high}]"
    return text if found.reached == found.seeds else f"{text} ({found.reached} of {found.seeds})"


def _yes(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(all_series: Sequence[Series]) -> go.Figure:
    """Medians with interquartile bands, by trials and by device-seconds; dashed with halving."""
    drawn = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    drawn.update_layout(template=template("light"), height=560, paper_bgcolor="#ffffff")
    samplers = list(dict.fromkeys(one.sampler for one in all_series))
    ends = [s.device_seconds for one in all_series for s in one.searches]
    at = np.geomspace(min(end[0] for end in ends), max(end[-1] for end in ends), 300)
    for one in all_series:
        colour = SERIES[samplers.index(one.sampler) % len(SERIES)]
        if samplers.index(one.sampler) >= len(SERIES):
            colour = GREY
        histories = one.histories("log")
        seconds = [search.device_seconds for search in one.searches]
        for column, band in ((1, by_trials(histories)), (2, by_seconds(histories, seconds, at))):
            _draw(drawn, one, band, colour, column)
    drawn.update_xaxes(title_text="trials ended", row=1, col=1)
    drawn.update_xaxes(title_text="device-seconds", type="log", row=1, col=2)
    drawn.update_yaxes(
        title_text="share of the full hypervolume", tickformat=".0%", range=[0.7, 1.005], col=1
    )
    return drawn


def _draw(drawn: go.Figure, one: Series, band: Band, colour: str, column: int) -> None:
    shared = {"legendgroup": one.name, "hoverinfo": "skip", "mode": "lines", "showlegend": False}
    drawn.add_scatter(x=band.at, y=band.low, line={"width": 0}, row=1, col=column, **shared)
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    fill = {"fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},0.12)"}
    drawn.add_scatter(
        x=band.at, y=band.high, line={"width": 0}, row=1, col=column, **fill, **shared
    )
    drawn.add_scatter(
        x=band.at,
        y=band.middle,
        name=one.name,
        legendgroup=one.name,
        mode="lines",
        showlegend=column == 1,
        line={"color": colour, "width": 2, "dash": "solid" if one.halving is None else "dash"},
        hovertemplate="%{y:.1%} at %{x:.4g}",
        row=1,
        col=column,
    )
