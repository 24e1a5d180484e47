"""The rows of benchmarks/scaling.py as Markdown and as a figure of utilisation against workers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nas.analysis.theme import SERIES, template

PLOTLY = Path(__file__).parents[2] / "nas" / "report" / "plotly-basic.min.js"
PARTS = ("sampler", "judging", "storage", "halving", "ledger", "display", "rest")

Row = Mapping[str, Any]


def write_tables(rows: Sequence[Row], out: Path) -> str:
    """Write table.md and figure.html to ``out``; the Markdown."""
    ordered = sorted(rows, key=lambda row: (_series(row), row["workers"]))
    text = "\n".join([_reached(ordered), _spent(ordered), _waited(ordered), _made(ordered)])
    (out / "table.md").write_text(text)
    html = utilisation_figure(ordered).to_html(include_plotlyjs=os.path.relpath(PLOTLY, out))
    (out / "figure.html").write_text(html)
    return text


def utilisation_figure(rows: Sequence[Row]) -> go.Figure:
    """Utilisation against the number of workers, a line a series."""
    drawn = go.Figure(layout={"template": template("light"), "height": 460})
    for place, name in enumerate(dict.fromkeys(_series(row) for row in rows)):
        mine = [row for row in rows if _series(row) == name]
        drawn.add_scatter(
            x=[row["workers"] for row in mine],
            y=[row["utilisation"] for row in mine],
            name=name,
            mode="lines+markers",
            line={"color": SERIES[place % len(SERIES)]},
        )
    drawn.update_xaxes(type="log", title_text="workers")
    drawn.update_yaxes(tickformat=".0%", range=[0, 1.02], title_text="share of time at work")
    return drawn


def _series(row: Row) -> str:
    key = row["key"]
    storage = key["storage"].partition(":")[0]
    words = [key["space"], storage, key["sampler"]]
    words += [] if key["batches"] else ["no batches"]
    words += [] if key["driver"] == "measured" else [f"driver: {key['driver']}"]
    return ", ".join(words)


def _reached(rows: Sequence[Row]) -> str:
    head = [
        "series", "workers", "trials", "a trial", "offered /s", "reached /s", "at work",
        "kept at work", "until all had a job", "at work, start and end included",
    ]  # fmt: skip
    lines = [
        [
            _series(row),
            f"{row['workers']:,}",
            f"{row['trials_ended']:,}",
            f"{row['trial_seconds']:.1f} s",
            f"{row['offered_per_second']:.2f}",
            f"{row['reached_per_second']:.2f}",
            f"{row['utilisation']:.1%}",
            f"{row['reached_per_second'] * row['trial_seconds']:,.0f}",
            _seconds(row["seconds_to_first_jobs"]),
            f"{row['utilisation_of_all']:.1%}",
        ]
        for row in rows
    ]
    return _table("Workers at work", head, lines)


def _spent(rows: Sequence[Row]) -> str:
    head = ["series", "workers", *PARTS, "all", "driver at work"]
    lines = [
        [
            _series(row),
            f"{row['workers']:,}",
            *(f"{row['driver_ms_per_trial'].get(part, 0.0):.2f}" for part in (*PARTS, "all")),
            f"{row['driver_busy_share']:.1%}",
        ]
        for row in rows
    ]
    return _table("The driver's milliseconds a trial", head, lines)


def _waited(rows: Sequence[Row]) -> str:
    head = [
        "series", "workers", "for a proposal", "of it: sampler", "storage", "for a decision",
        "of it: sampler", "storage", "wait for a proposal, median and longest", "for a decision",
    ]  # fmt: skip
    lines = []
    for row in rows:
        shares = [
            f"{row['idle'][cause].get(part, 0.0):.2%}"
            for cause in ("proposal", "decision")
            for part in ("all", "sampler", "storage")
        ]
        waits = [_wait(row["waits"][cause]) for cause in ("proposal", "decision")]
        lines.append([_series(row), f"{row['workers']:,}", *shares, *waits])
    return _table("What workers waited for, as a share of their time", head, lines)


def _made(rows: Sequence[Row]) -> str:
    head = [
        "series", "workers", "transactions a trial", "statements", "rows", "stopped",
        "memory", "load before", "hardware",
    ]  # fmt: skip
    lines = [
        [
            _series(row),
            f"{row['workers']:,}",
            *(f"{row['per_trial'][name]:.1f}" for name in ("transactions", "statements", "rows")),
            f"{row['stopped_share']:.0%}",
            f"{row['peak_megabytes']:,} MB",
            f"{row['load_before']:.1f}",
            f"{row['hardware']['processor']}, {row['hardware']['cores']} cores",
        ]
        for row in rows
    ]
    return _table("Storage, memory and the machine", head, lines)


def _wait(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} s, {found['longest']:.1f} s" if found else "none"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} s"


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    text = "\n".join("| " + " | ".join(line) + " |" for line in rows)
    return f"## {title}\n\n{text}\n"
