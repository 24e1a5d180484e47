"""The front: error against a cost, of every trial; a budget to drag; what to pick; the network."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from nas.analysis.cloud import thinned_table
from nas.analysis.repeats import error_bars_table
from nas.analysis.tables import front_table, picks_table, trials_table
from nas.cost import COST_LABELS, COSTS
from nas.dashboard.address import bind_parameter, select_on_click, watch
from nas.dashboard.blocks import GRAPH, named, switch, without_webgl
from nas.dashboard.cloud_figure import cloud_figure, default_budget, drawn_words, dressed
from nas.dashboard.picked import budget_panel, chosen_panel, front_panel
from nas.dashboard.seen import LOOK, Seen, see
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import State as Address

SCALES = {"log": "logarithmic", "linear": "linear"}

DRAGGED: Any = {**GRAPH, "edits": {"shapePosition": True}}
"""The frame of the figure: the budget's line, its only shape, can be dragged."""


def layout(state: Address) -> Component:
    """The view's components, empty."""
    figure = html.Figure(
        [
            html.Div(
                dcc.Graph(id="front-figure", responsive=True, config=DRAGGED),
                className="plot tall",
                role="group",
                **named("Error against cost of all trials; the tables beside have the front"),
            ),
            without_webgl(
                "Until then all marks are drawn without it, which is slower where there are many."
            ),
            html.Figcaption(
                [
                    "Each mark is a trial; lower and further left is better. Click one to see its "
                    "network, drag the dashed line to set a budget.",
                    html.Span(id="front-drawn", className="drawn"),
                ],
                className="note",
            ),
        ],
        className="drawn-by-webgl",
    )
    return html.Div(
        [
            dcc.Store(id="front-about"),
            dcc.Store(id="front-fresh"),
            dcc.Store(id="front-others"),
            dcc.Store(id="front-marked"),
            dcc.Store(id="front-place"),
            dcc.Store(id="front-ringed"),
            html.Div(
                [
                    html.Section(
                        [
                            html.Div(
                                [
                                    html.H2("Error against cost"),
                                    html.Div(
                                        [
                                            switch("front-x", "Cost", _costs(), state.x),
                                            switch("front-scale", "Scale", SCALES, state.scale),
                                        ],
                                        className="controls",
                                    ),
                                ],
                                className="head",
                            ),
                            figure,
                        ],
                        className="card",
                    ),
                    html.Div(
                        [
                            html.Section(
                                [
                                    html.H3("Best under a budget"),
                                    html.Div(
                                        [
                                            html.Label(
                                                "At most",
                                                htmlFor="front-budget",
                                                id="front-budget-label",
                                            ),
                                            dcc.Input(
                                                id="front-budget",
                                                type="text",
                                                debounce=True,
                                                maxLength=20,
                                                autoComplete="off",
                                                className="number",
                                            ),
                                            html.Span(id="front-budget-unit", className="quiet"),
                                        ],
                                        className="budget",
                                    ),
                                    html.Div(id="front-pick", role="status"),
                                ],
                                className="card",
                            ),
                            html.Section(
                                [html.H3("The front"), html.Div(id="front-rows")], className="card"
                            ),
                        ],
                        className="side",
                    ),
                ],
                className="beside",
            ),
            html.Section(id="front-chosen", className="card", **named("The chosen trial")),
        ]
    )


def _costs() -> dict[str, str]:
    return {**{name: COST_LABELS[name] for name in COSTS}, "activation_bytes": "activations"}


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    bind_parameter(app, "front-x", "x", "macs")
    bind_parameter(app, "front-scale", "scale", "log")
    select_on_click(app, "front-figure")
    watch(app, "front-about", ("run", "x", "scale"))
    _register_page_moves(app)

    @app.callback(
        Output("front-figure", "figure"),
        Output("front-drawn", "children"),
        Output("front-fresh", "data"),
        Input("front-about", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        Input("brush", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def draw(
        about: object, version: object, theme: object, brush: object, path: object, search: object
    ) -> Any:
        seen = see(source, "front", path, search, theme)
        state, snapshot = seen.state, seen.snapshot
        figure = dressed(
            _cloud(seen),
            theme=seen.theme,
            budget=budget_of(snapshot, state),
            brushed=_brushed(brush, state.run),
        )
        words = drawn_words(len(snapshot.trials), len(_thinned(snapshot, state.x)))
        return figure, words, snapshot.version

    @app.callback(Output("front-pick", "children"), *LOOK)
    def pick(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "front", pathname, search, theme)
        return budget_panel(seen, budget_of(seen.snapshot, seen.state))

    @app.callback(
        Output("front-rows", "children"),
        Input("front-others", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def list_front(
        others: object, version: object, theme: object, path: object, search: object
    ) -> Any:
        seen = see(source, "front", path, search, theme)
        return front_panel(seen, front(seen.snapshot), picks(seen.snapshot))

    @app.callback(
        Output("front-chosen", "children"),
        Output("front-place", "data"),
        *LOOK,
    )
    def choose(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "front", pathname, search, theme)
        table = standings(seen.snapshot)
        budget = budget_of(seen.snapshot, seen.state)
        shown = chosen_panel(seen, table, picks(seen.snapshot), budget)
        return shown, _place(table, seen.state)


def _register_page_moves(app: Dash) -> None:
    """What the page does alone: the line and the square follow the address, and set it."""
    app.clientside_callback(
        ClientsideFunction("nas", "dressFront"),
        Output("front-figure", "figure", allow_duplicate=True),
        Output("front-budget", "value"),
        Output("front-budget-unit", "children"),
        Input("address", "search"),
        Input("front-fresh", "data"),
        State("front-figure", "figure"),
        prevent_initial_call=True,
    )
    # The rows of a long front take the page longer than all else: a click only marks one of them.
    app.clientside_callback(
        ClientsideFunction("nas", "watchOthers"),
        Output("front-others", "data"),
        Input("address", "search"),
        State("front-others", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("nas", "markRow"),
        Output("front-marked", "data"),
        Input("address", "search"),
        Input("front-rows", "children"),
    )
    app.clientside_callback(
        ClientsideFunction("nas", "ringChosen"),
        Output("front-ringed", "data"),
        Input("address", "search"),
        Input("front-place", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("nas", "moveBudget"),
        Input("front-figure", "relayoutData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("nas", "typeBudget"),
        Input("front-budget", "value"),
        prevent_initial_call=True,
    )


def standings(snapshot: Snapshot) -> pd.DataFrame:
    """The run's ``trials_table``."""
    return snapshot.computed(
        "trials_table", lambda s: trials_table(s.trials, s.objectives, s.curves, is_live=s.is_live)
    )


def front(snapshot: Snapshot) -> pd.DataFrame:
    """The run's ``front_table``."""
    return snapshot.computed("front_table", lambda s: front_table(s.trials, s.objectives))


def picks(snapshot: Snapshot) -> pd.DataFrame:
    """The run's ``picks_table``."""
    return snapshot.computed("picks_table", lambda s: picks_table(s.trials, s.objectives))


def budget_of(snapshot: Snapshot, state: Address) -> int | None:
    """The budget in the address, or the one that the view begins with."""
    return state.budget or default_budget(front(snapshot), state.x)


def _cloud(seen: Seen) -> dict[str, Any]:
    """The figure without what a reader moves; one for all readers who look at it alike."""
    state, snapshot = seen.state, seen.snapshot
    figure = snapshot.computed(
        ("cloud_figure", state.x, state.scale, seen.theme),
        lambda s: cloud_figure(
            _thinned(s, state.x),
            s.objectives,
            x=state.x,
            log_x=state.scale == "log",
            theme=seen.theme,
            repeats=error_bars_table({s.name: s.trials}, s.name),
        ),
    )
    # The same revision keeps zoom and legend when new trials come.
    has_errors = bool(standings(snapshot)["shown_error"].notna().any())
    revision = f"{state.run} {state.x} {state.scale} {has_errors}"
    return {**figure, "layout": {**figure["layout"], "uirevision": revision}}


def _place(table: pd.DataFrame, state: Address) -> dict[str, Any] | None:
    """Where the chosen trial is, drawn or thinned out; None for one without an error."""
    row = table[(table["number"] == state.trial) & table["shown_error"].notna()]
    if row.empty:
        return None
    x, y = float(row[state.x].iloc[0]), float(row["shown_error"].iloc[0])
    return {"trial": state.trial, "cost": state.x, "x": x, "y": y}


def _thinned(snapshot: Snapshot, x: str) -> pd.DataFrame:
    return snapshot.computed(("thinned_table", x), lambda s: thinned_table(standings(s), x))


def _brushed(brush: object, run: str) -> set[int] | None:
    """The trials that another view picked out of this run; None where none did."""
    if not isinstance(brush, dict) or brush.get("run") != run:
        return None
    numbers = brush.get("numbers")
    if not isinstance(numbers, list):
        return None
    return {number for number in numbers if isinstance(number, int)}
