"""One network: its drawing, what its layers cost, its learning curve, its export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from nas.analysis.figures import curves_figure
from nas.analysis.tables import curves_table
from nas.dashboard.blocks import figure as plot
from nas.dashboard.blocks import quiet
from nas.dashboard.confirmed import confirmed_fact
from nas.dashboard.export_card import export_card, register_export
from nas.dashboard.network import facts_panel, layers_panel, steps_panel
from nas.dashboard.picked import badge_words, badges, chosen_number, drawing, why
from nas.dashboard.seen import LOOK, Seen, see
from nas.dashboard.source import Source
from nas.dashboard.state import State as Address
from nas.dashboard.views.front import front, picks, standings

PEERS = 24
"""Learning curves that are drawn beside the trial's own."""


def layout(state: Address) -> Component:
    """The view's components, empty."""
    curve = html.Figure(
        [
            plot("architecture-curve", "Validation error by epoch of the trial and of its peers"),
            html.Figcaption(id="architecture-curve-words", className="note"),
        ]
    )
    return html.Div(
        [
            dcc.Store(id="architecture-shown"),
            html.Div(
                [
                    html.Div(id="architecture-title"),
                    html.Div(
                        [
                            html.Label("Trial", htmlFor="architecture-trial", className="quiet"),
                            dcc.Input(
                                id="architecture-trial",
                                type="text",
                                inputMode="numeric",
                                debounce=True,
                                maxLength=9,
                                autoComplete="off",
                                className="number short",
                            ),
                            html.Div(id="architecture-steps", className="steps"),
                        ],
                        className="chooser",
                    ),
                ],
                className="head view-head",
            ),
            html.Div(id="architecture-facts"),
            html.Section(
                [html.H3("The network at full width"), html.Div(id="architecture-drawing")],
                className="card",
            ),
            html.Div(
                [
                    html.Section([html.H3("Learning curve"), curve], className="card"),
                    export_card(),
                ],
                className="pair",
            ),
            html.Section(
                [html.H3("Cost by layer"), html.Div(id="architecture-layers")], className="card"
            ),
        ]
    )


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    register_export(app, source)
    app.clientside_callback(
        ClientsideFunction("nas", "typeTrial"),
        Input("architecture-trial", "value"),
        State("architecture-shown", "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("architecture-title", "children"),
        Output("architecture-facts", "children"),
        Output("architecture-drawing", "children"),
        Output("architecture-layers", "children"),
        Output("architecture-steps", "children"),
        Output("architecture-trial", "value"),
        Output("architecture-shown", "data"),
        *LOOK,
        State("architecture-shown", "data"),
    )
    def show(
        pathname: object, search: object, version: object, theme: object, shown: object
    ) -> Any:
        seen = see(source, "architecture", pathname, search, theme)
        table = standings(seen.snapshot)
        number = chosen_number(seen, table)
        if number is None:
            words = seen.snapshot.loading or "The search has begun no trial yet"
            return html.H2("No network yet"), quiet(f"{words} ..."), None, None, None, "", None
        row = table[table["number"] == number].to_dict("records")[0]
        steps = steps_panel(seen, front(seen.snapshot), number)
        labels = badge_words(seen, row, picks(seen.snapshot), seen.state.budget)
        as_shown = f"{seen.state.href()} {seen.theme} {row} {labels} {_steps_key(seen)}"
        key = {"trial": number, "as": f"{as_shown} {confirmed_fact(seen.snapshot, number)}"}
        if key == shown:
            raise PreventUpdate  # other trials came: nothing here changes under the reader
        return (
            html.H2([f"Trial {number}", *badges(labels)]),
            facts_panel(seen, row, why(row)),
            drawing(seen, number),
            layers_panel(seen, number),
            steps,
            str(number),
            key,
        )

    @app.callback(
        Output("architecture-curve", "figure"),
        Output("architecture-curve-words", "children"),
        *LOOK,
    )
    def draw(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "architecture", pathname, search, theme)
        number = chosen_number(seen, standings(seen.snapshot))
        return _curve(seen, number)


def _steps_key(seen: Seen) -> str:
    return ",".join(map(str, front(seen.snapshot)["number"]))


def _curve(seen: Seen, number: int | None) -> tuple[Any, str]:
    numbers = (
        [] if number is None else peers(front(seen.snapshot), standings(seen.snapshot), number)
    )
    table = curves_table(seen.snapshot.curves, numbers)
    figure = curves_figure(table, highlight=number, theme=seen.theme)
    figure.update_layout(uirevision=f"{seen.state.run} {number}", margin={"t": 12, "r": 12})
    has_own = bool((table["number"] == number).any())
    others = table["number"].nunique() - has_own
    words = (
        f"Grey: the {others} networks nearest in cost on and near the front."
        if others
        else "No other network has a curve yet."
    )
    return (
        figure,
        words if has_own else f"This trial has no curve: none of its epochs ended. {words}",
    )


def peers(front_rows: pd.DataFrame, table: pd.DataFrame, number: int) -> list[int]:
    """The trial and those to see its curve against: half of them front, half of any standing.

    The nearest in MACs come first; those that failed have nothing to compare.
    """
    cost = table.set_index("number")["macs"]
    distance = (np.log(cost.clip(lower=1)) - np.log(max(int(cost[number]), 1))).abs()
    near = distance.drop(number).sort_values(kind="stable").index
    on_front = set(front_rows["number"])
    is_failed = set(table.loc[table["standing"] == "failed", "number"])
    chosen = [other for other in near if other in on_front][: PEERS // 2]
    others = [other for other in near if other not in on_front and other not in is_failed]
    return [number, *map(int, chosen), *map(int, others[: PEERS - len(chosen)])]
