"""The front: error against a cost, of every trial; the first thing one looks at."""

from __future__ import annotations

from typing import Any

from dash import Dash, Output, dcc, html
from dash.development.base_component import Component

from nas.analysis.figures import front_figure
from nas.analysis.tables import trials_table
from nas.cost import COST_LABELS, COSTS
from nas.dashboard.address import bind_parameter, select_on_click
from nas.dashboard.blocks import GRAPH
from nas.dashboard.seen import LOOK, see
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import State


def layout(state: State) -> Component:
    """The view's components, empty."""
    return html.Section(
        [
            html.H2("Error against cost"),
            html.Div(
                [
                    dcc.RadioItems(
                        id="front-x",
                        options=[{"label": COST_LABELS[name], "value": name} for name in COSTS],
                        value=state.x,
                        className="switch",
                    ),
                    dcc.RadioItems(
                        id="front-scale",
                        options=["log", "linear"],
                        value=state.scale,
                        className="switch",
                    ),
                ],
                className="controls",
            ),
            dcc.Graph(id="front-figure", className="plot tall", responsive=True, config=GRAPH),
        ],
        className="card",
    )


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    bind_parameter(app, "front-x", "x", "macs")
    bind_parameter(app, "front-scale", "scale", "log")
    select_on_click(app, "front-figure")

    @app.callback(Output("front-figure", "figure"), *LOOK)
    def draw(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "front", pathname, search, theme)
        snapshot, state = seen.snapshot, seen.state
        figure = front_figure(
            snapshot.computed("trials_table", standings),
            snapshot.objectives,
            x=state.x,
            log_x=state.scale == "log",
            theme=seen.theme,
        )
        # The same revision keeps zoom and legend when new trials come; another view starts anew.
        figure.update_layout(uirevision=f"{state.run} {state.x} {state.scale}")
        return figure


def standings(snapshot: Snapshot) -> Any:
    """The run's ``trials_table``."""
    return trials_table(snapshot.trials, snapshot.objectives, snapshot.curves)
