"""The export of the trial that is looked at: the command to copy, and a button that runs it."""

from __future__ import annotations

import secrets
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from nas.analysis.next_steps import pick_steps
from nas.dashboard.blocks import named, quiet
from nas.dashboard.exporting import Exporter, Status, export_line
from nas.dashboard.picked import chosen_number
from nas.dashboard.seen import LOOK, Seen, see
from nas.dashboard.shell import data
from nas.dashboard.source import Source
from nas.dashboard.views.front import standings
from nas.quantities import format_seconds

EXPORTER = "NAS_EXPORTER"
"""Where the server's configuration keeps the one :class:`Exporter`."""


def export_card() -> Component:
    """The card, empty."""
    return html.Section(
        [
            html.H3("Take it with you"),
            html.Div(id="architecture-commands"),
            html.Div(
                [
                    html.Button(
                        "Export now",
                        id="architecture-export",
                        className="primary",
                        type="button",
                    ),
                    html.Div(id="architecture-export-status", role="status"),
                ],
                className="export",
            ),
            dcc.Interval(id="architecture-export-tick", interval=700, disabled=True),
        ],
        className="card",
    )


def command_block(purpose: str, line: str) -> html.Div:
    """A command with what it does and a button that copies it."""
    return html.Div(
        [
            html.Div(purpose, className="quiet"),
            html.Div(
                [
                    html.Code(line),
                    html.Button(
                        "Copy",
                        type="button",
                        className="copy",
                        **data(copy=line),
                        **named(f"Copy: {purpose}"),
                    ),
                ],
                className="line",
            ),
        ],
        className="command",
    )


def register_export(app: Dash, source: Source) -> None:
    """Add the callbacks, and the exporter that they share."""
    exporter = app.server.config[EXPORTER] = Exporter()
    csrf: str = app.server.config["NAS_CSRF"]

    @app.callback(Output("architecture-commands", "children"), *LOOK)
    def commands(pathname: object, search: object, version: object, theme: object) -> Any:
        seen, number = _looked_at(source, pathname, search, theme)
        train = pick_steps(seen.snapshot.run, f"trial:{number}")[0]
        return [
            command_block(
                "Export it: source, description, and the proof that they are equal",
                export_line(seen.snapshot.run, number),
            ),
            command_block(train.purpose, train.line),
        ]

    @app.callback(
        Output("architecture-export-status", "children"),
        Output("architecture-export", "disabled"),
        Output("architecture-export-tick", "disabled"),
        Input("architecture-export", "n_clicks"),
        Input("architecture-export-tick", "n_intervals"),
        Input("address", "search"),
        State("address", "pathname"),
        State("theme", "data"),
        State("csrf", "data"),
    )
    def run_export(
        clicks: object,
        ticks: object,
        search: object,
        pathname: object,
        theme: object,
        token: object,
    ) -> Any:
        # The only callback that does anything: a page that is not ours has no such token.
        seen, number = _looked_at(source, pathname, search, theme or "light")
        name = seen.snapshot.name
        if ctx.triggered_id == "architecture-export" and clicks:
            if not isinstance(token, str) or not secrets.compare_digest(
                token.encode(), csrf.encode()
            ):
                return _said("This page is of an earlier start; load it again."), False, True
            try:
                exporter.start(name, seen.snapshot.run, number)
            except (ValueError, OSError) as error:
                return _said(f"Not started: {error}."), False, True
        status = exporter.status(name, number)
        is_running = status.stage == "running"
        return status_words(status), is_running, not is_running


def _looked_at(source: Source, pathname: object, search: object, theme: object) -> tuple[Seen, int]:
    seen = see(source, "architecture", pathname, search, theme)
    number = chosen_number(seen, standings(seen.snapshot))
    if number is None:
        raise PreventUpdate
    return seen, number


def status_words(status: Status) -> Component | None:
    """How an export stands."""
    if status.stage == "none":
        return quiet("It is written into the run's own directory, and nowhere else.")
    if status.stage == "running":
        words = f"Exporting for {format_seconds(status.seconds)}: writing, then proving it equal."
        return html.P([html.Span(className="spinner"), words], className="note")
    if status.stage == "failed":
        return _said(f"It failed after {format_seconds(status.seconds)}: {status.words}")
    proof = (
        f"Proved in a fresh Python: largest difference {status.difference:.2g}."
        if status.difference is not None
        else ""
    )
    return html.Div(
        [
            html.P(f"Exported in {format_seconds(status.seconds)}. {proof}", className="done"),
            html.Ul([html.Li(html.Code(path)) for path in status.files.values()]),
        ]
    )


def _said(words: str) -> html.P:
    return html.P(words, className="warning")
