"""How the search is getting on: what it has won, at what pace, what runs, when it will end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, ctx, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from nas.analysis.figures import percent
from nas.analysis.progress import limits_table, pace_table, recent_pace, running_table
from nas.analysis.progress_figures import (
    STATE_MARKS,
    STATE_WORDS,
    history_figure,
    pace_figure,
)
from nas.analysis.rejected import reason_words
from nas.analysis.tables import hypervolume_table, progress_table, rejections_table, spend_table
from nas.cost import describe_cost
from nas.dashboard.address import bind_parameter, select_on_click
from nas.dashboard.blocks import (
    Child,
    card,
    count_of,
    data_table,
    facts,
    figure,
    meter,
    named,
    quiet,
    switch,
)
from nas.dashboard.seen import LOOK, see
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import State as Address
from nas.dashboard.state import declare
from nas.quantities import format_count, format_seconds
from nas.records import RunSettings
from nas.task import Task

declare("spent", "device")

MAX_LAST = 20
"""Rejected proposals that are listed one by one."""

MAX_RUNNING = 100
LIMIT_WORDS = {"trials": "trained trials", "seconds": "time", "device_seconds": "device time"}


def layout(state: Address) -> Component:
    """The view's components, empty."""
    return html.Div(
        [
            html.H2("Progress", className="sr"),
            html.Dl(id="progress-facts", className="facts"),
            html.Div(id="progress-limits"),
            card(
                "Hypervolume",
                html.Div(
                    switch(
                        "progress-spent",
                        "against",
                        {"trials": "trials", "device": "device time"},
                        state.more.get("spent", "trials"),
                    ),
                    className="controls",
                ),
                figure("progress-hypervolume", "Hypervolume so far"),
                html.P(id="progress-gain", className="note"),
                note="What the front has won so far: the volume that it dominates, up to the "
                "run's reference point. A step is a trial that moved the front.",
            ),
            html.Div(
                [
                    card(
                        "Pace",
                        figure("progress-pace", "Trials a minute", "plot short"),
                        note="Trials that ended a minute, while the search was at work.",
                    ),
                    card("Spend", html.Div(id="progress-spend"), note="Where training went."),
                ],
                className="pair",
            ),
            card("Trials under way", html.Div(id="progress-running")),
            card(
                "Rejected before training",
                html.Div(id="progress-rejections"),
                note="Proposals that cost no training: over a budget, already known, or too "
                "deep for the image.",
            ),
        ],
        className="progress-view",
    )


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    bind_parameter(app, "progress-spent", "spent", "trials")
    select_on_click(app, "progress-hypervolume")

    @app.callback(
        Output("progress-facts", "children"),
        Output("progress-limits", "children"),
        Output("progress-running", "children"),
        *LOOK,
        Input("tick", "n_intervals"),
        State("progress-facts", "children"),
    )
    def show_now(
        pathname: object, search: object, version: object, theme: object, _: object, shown: object
    ) -> Any:
        seen = see(source, "progress", pathname, search, theme)
        # Between two news only the clock goes on, and only while a search is at work. An answer
        # that takes longer than the clock is dropped by the page: then nothing is shown yet.
        is_tick = ctx.triggered_prop_ids.keys() == {"tick.n_intervals"}
        if is_tick and shown and not seen.snapshot.is_live:
            raise PreventUpdate
        now = datetime.now() if seen.snapshot.is_live else None
        return (
            facts(fact_rows(seen.snapshot, now)),
            limits_part(limits(seen.snapshot, now), seen.snapshot.is_live),
            running_part(seen.snapshot, seen.state, now),
        )

    @app.callback(
        Output("progress-hypervolume", "figure"), Output("progress-gain", "children"), *LOOK
    )
    def draw_history(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "progress", pathname, search, theme)
        against = "device_seconds" if seen.state.more.get("spent") == "device" else "trials"
        table = history(seen.snapshot)
        drawn = history_figure({seen.state.run: table}, x=against, theme=seen.theme)
        if table.empty:
            drawn.update_layout(annotations=[_nothing("No trial has ended yet.")])
        drawn.update_layout(uirevision=f"{seen.state.run} {against}")
        return drawn, gain_words(table, seen.snapshot.settings)

    @app.callback(Output("progress-pace", "figure"), *LOOK)
    def draw_pace(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "progress", pathname, search, theme)
        table = seen.snapshot.computed("progress-pace", lambda one: pace_table(one.trials))
        drawn = pace_figure(table, theme=seen.theme)
        if table.empty:
            drawn.update_layout(annotations=[_nothing("No trial has ended yet.")])
        return drawn.update_layout(uirevision=seen.state.run)

    @app.callback(
        Output("progress-spend", "children"), Output("progress-rejections", "children"), *LOOK
    )
    def show_accounts(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "progress", pathname, search, theme)
        run = seen.snapshot.run
        return (
            spend_part(seen.snapshot.trials, run.given_up_seconds, seen.snapshot.is_live),
            rejections_part(run.rejections.counts, run.rejections.last, run.settings),
        )


def history(snapshot: Snapshot) -> pd.DataFrame:
    """The run's ``hypervolume_table``."""
    settings = snapshot.settings
    table: pd.DataFrame = snapshot.computed(
        "hypervolume",
        lambda one: hypervolume_table(one.trials, settings.objectives, settings.reference),
    )
    return table


def limits(snapshot: Snapshot, now: datetime | None) -> pd.DataFrame:
    """How near the run is to its limits, as it stands now."""
    settings, run = snapshot.settings, snapshot.run
    return limits_table(
        snapshot.trials,
        max_trials=settings.trials,
        max_seconds=settings.seconds,
        max_device_seconds=settings.device_seconds,
        elapsed_seconds=run.elapsed_seconds,
        given_up_seconds=run.given_up_seconds,
        now=now,
    )


def fact_rows(snapshot: Snapshot, now: datetime | None) -> list[tuple[str, str, str]]:
    """What one asks first: label, value, remark."""
    trials = snapshot.trials
    counts = trials["state"].value_counts()
    running, ended = int(counts.get("running", 0)), len(trials) - int(counts.get("running", 0))
    kinds = [
        f"{int(counts[state]):,} {STATE_WORDS[state]}" for state in STATE_WORDS if state in counts
    ]
    volumes = history(snapshot)["hypervolume"]
    pace = recent_pace(trials, now=now)
    rejected = snapshot.run.rejections.total
    return [
        ("trials ended", f"{ended:,}", ", ".join(kinds) or "none yet"),
        ("hypervolume", f"{volumes.iloc[-1]:.3f}" if len(volumes) else "-", _since(volumes)),
        (
            "trials a minute",
            f"{pace:.3g}" if math.isfinite(pace) else "-",
            "over the last ones" if math.isfinite(pace) else "known after two trials",
        ),
        _end_fact(snapshot, now),
        (
            "running now" if snapshot.is_live else "left unfinished",
            f"{running:,}",
            "" if snapshot.is_live or not running else "a resumed search goes on with them",
        ),
        ("rejected", f"{rejected:,}", "proposals, without training"),
    ]


def _since(volumes: pd.Series) -> str:
    """How long the front has not moved."""
    if volumes.empty:
        return "no trial has ended"
    still = int((volumes == volumes.iloc[-1]).sum()) - 1
    return "the last trial moved the front" if not still else f"same for {count_of(still, 'trial')}"


def _end_fact(snapshot: Snapshot, now: datetime | None) -> tuple[str, str, str]:
    spent = format_seconds(snapshot.run.elapsed_seconds)
    if not snapshot.is_live:
        ended = snapshot.run.ended
        return "searched for", spent, ended.message if ended else "interrupted"
    table = limits(snapshot, now)
    reached = table[table["share"] >= 1].to_dict("records")
    if reached and not (snapshot.trials["state"] == "running").any():
        # The search has just ended, or `nas confirm` is at work.
        return "searched for", spent, _limit_words(reached[0])
    first = table[table["is_first"]].to_dict("records")
    if not first:
        words = "no limit is set" if table.empty else "known after two trials"
        return "time left", "-", words
    row = first[0]
    return "time left", f"about {format_seconds(row['left_seconds'])}", _limit_words(row)


def _limit_words(row: Mapping[Any, Any]) -> str:
    """``48 of 64 trained trials``, ``3m of 10m``."""
    name = str(row["limit"])
    if name == "trials":
        return f"{int(row['done']):,} of {int(row['of']):,} {LIMIT_WORDS[name]}"
    done, of = format_seconds(float(row["done"])), format_seconds(float(row["of"]))
    return f"{done} of {of} {LIMIT_WORDS[name]}"


def limits_part(table: pd.DataFrame, is_live: bool) -> Component | None:
    """A bar a limit; the one that will end the search is named."""
    if table.empty:
        return None
    rows = []
    for row in table.to_dict("records"):
        left = float(row["left_seconds"])
        words = f"about {format_seconds(left)} left" if is_live and math.isfinite(left) else ""
        rows.append(
            html.Div(
                [
                    html.Span(_limit_words(row)),
                    meter(float(row["share"]), LIMIT_WORDS[str(row["limit"])]),
                    html.Span("reached" if row["share"] >= 1 else words, className="quiet"),
                ],
                className="limit",
            )
        )
    return html.Section(rows, className="card limits", **named("Limits of the search"))


def gain_words(table: pd.DataFrame, settings: RunSettings) -> str:
    """What the spending bought, and the reference point."""
    point = ", ".join(
        percent(value) + " error" if name == "error" else describe_cost(name, value)
        for name, value in zip(settings.objectives, settings.reference, strict=True)
    )
    words = f"Reference point: {point}; costs count in decades."
    if table.empty or table["hypervolume"].iloc[-1] == 0:
        return words
    shares = progress_table(table).to_dict("records")
    early = [row for row in shares if row["share"] in (0.25, 0.5)]
    won = " and ".join(
        f"{100 * row['hypervolume_share']:.0f} % of it after {100 * row['share']:.0f} % of the "
        f"device time"
        for row in early
    )
    return f"{words} The front had {won}." if won else words


def spend_part(trials: pd.DataFrame, given_up_seconds: float, is_live: bool) -> Component:
    """A bar of the device-seconds by state, and the table of it."""
    table = spend_table(trials)
    rows = [row for row in table.to_dict("records") if row["trials"] or row["state"] == "total"]
    if len(rows) == 1:
        return quiet("Nothing has been trained yet.")
    known = [row for row in rows if row["state"] in STATE_MARKS]
    bar = html.Div(
        [
            html.Div(
                className=f"piece {row['state']}",
                style={"width": f"{100 * row['share']:.2f}%"},
                title=f"{STATE_WORDS[row['state']]}: {100 * row['share']:.1f} %",
            )
            for row in known
            if row["share"] > 0
        ],
        className="pieces",
        role="presentation",
    )
    body: list[Sequence[Child]] = [
        (
            [html.Span(className=f"key {row['state']}"), _state_words(str(row["state"]), is_live)],
            f"{row['trials']:,}",
            f"{row['reused']:,}" if row["reused"] else "-",
            f"{row['epochs']:,}",
            format_seconds(row["train_seconds"]),
            f"{100 * row['share']:.0f} %",
        )
        for row in rows
    ]
    parts: list[Any] = [
        bar,
        data_table(
            ("", ">trials", ">from cache", ">epochs", ">device time", ">share"),
            body,
            "Device time by how trials ended",
        ),
    ]
    if given_up_seconds:
        lost = format_seconds(given_up_seconds)
        parts.append(quiet(f"Besides, {lost} went into trials that had to begin again."))
    return html.Div(parts)


def _state_words(state: str, is_live: bool) -> str:
    going = "running" if is_live else "unfinished"
    return {**STATE_WORDS, "running": going, "total": "all"}[state]


def running_part(snapshot: Snapshot, state: Address, now: datetime | None) -> Component:
    """The running trials with their rungs; a word on why there are none."""
    rungs = Task.from_json(snapshot.settings.task).rungs
    table = running_table(snapshot.trials, snapshot.curves, rungs, now=now)
    if table.empty:
        return quiet("No trial is running." if snapshot.is_live else "The search is not at work.")
    rows = [
        (
            html.A(
                f"trial {row['number']}",
                href=state.href(view="architecture", trial=int(row["number"])),
            ),
            _rung(row),
            percent(float(row["error"])),
            format_count(float(row["macs"])),
            format_count(float(row["params"])),
            f"{row['started']:%H:%M:%S}",
            format_seconds(float(row["running_seconds"])),
            str(row["origin"]),
        )
        for row in table.head(MAX_RUNNING).to_dict("records")
    ]
    words = (
        []
        if snapshot.is_live
        else [quiet("The search was interrupted while these ran; a resumed one runs them again.")]
    )
    heads = ("trial", "epoch", ">error so far", ">MACs", ">parameters", ">since", ">for", "origin")
    shown = data_table(heads, rows, "Trials under way")
    if len(table) > MAX_RUNNING:
        words.append(quiet(f"{len(table) - MAX_RUNNING:,} more are under way."))
    return html.Div([shown, *words])


def _rung(row: Mapping[Any, Any]) -> Component:
    words = f"{row['epoch']} of {row['epochs']}"
    share = row["epoch"] / max(row["epochs"], 1)
    return html.Div(
        [
            meter(share, f"trial {row['number']}: epoch {words}"),
            html.Span(f"{words}, rung {row['rung']} of {row['rungs']}"),
        ],
        className="rung",
    )


def rejections_part(
    counts: Mapping[str, int], last: tuple[Mapping[str, Any], ...], settings: RunSettings
) -> Component:
    """How many proposals were rejected for what, and the last ones one by one."""
    table = rejections_table(counts)
    if table.empty:
        return quiet("No proposal has been rejected.")
    most = int(table["proposals"].max())
    rows = [
        (
            reason_words(str(row["reason"]), settings.budgets),
            f"{row['proposals']:,}",
            meter(row["proposals"] / most, str(row["reason"]), "plain"),
        )
        for row in table.to_dict("records")
    ]
    parts: list[Any] = [data_table(("because", ">proposals", ""), rows, "Rejections by reason")]
    if last:
        newest = list(reversed(last))[:MAX_LAST]
        body = [(str(row.get("reason", "")), str(row.get("number", "-"))) for row in newest]
        parts.append(
            html.Details(
                [
                    html.Summary(f"The last {len(newest)}, newest first"),
                    data_table(("because", ">for trial"), body, "The last rejections"),
                ]
            )
        )
    return html.Div(parts)


def _nothing(words: str) -> dict[str, Any]:
    """An annotation in the middle of an empty figure."""
    return {"text": words, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
