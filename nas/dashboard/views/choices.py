"""What the search learnt about its choices: what matters, what goes with what, what survives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from nas.analysis.choice_figures import (
    branch_shares_figure,
    importance_figure,
    reductions_figure,
    survival_figure,
)
from nas.analysis.parallel import parallel_table
from nas.cost import COST_LABELS
from nas.dashboard.address import bind_parameter, select_on_click, watch
from nas.dashboard.blocks import card, figure, switch, without_webgl
from nas.dashboard.brush import PATTERN, column_words
from nas.dashboard.importances import Importances, importance_words
from nas.dashboard.parallel_brush import brushed_figure, drawn_lines
from nas.dashboard.passing import NUMBERS, brush_of, choice_names, passing, passing_part
from nas.dashboard.seen import LOOK, see
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import VIEWS, declare, read_state
from nas.dashboard.state import State as Address
from nas.dashboard.structures import (
    read_words,
    reduction_places,
    reduction_words,
    shares,
    survival,
)
from nas.dashboard.views.front import front

declare("brush", PATTERN)
declare("axes", r"[A-Za-z0-9_.\-~,%]{1,1500}")
declare("importance", "place")

AXES = 6
"""Choices that have an axis unless others are asked for: the most important ones."""

MAX_AXES = 12


def layout(state: Address) -> Component:
    """The view's components, empty."""
    return html.Div(
        [
            html.H2(VIEWS["choices"], className="sr"),
            dcc.Store(id="choices-about"),
            dcc.Store(id="choices-brush"),
            _parallel_card(),
            html.Div(
                [
                    card(
                        "What matters at equal cost",
                        html.Div(
                            switch(
                                "choices-importance-by",
                                "of each",
                                {"kind": "choice, all places pooled", "place": "place by itself"},
                                state.more.get("importance", "kind"),
                            ),
                            className="controls",
                        ),
                        figure("choices-importance", "Importance of choices", "plot tall"),
                        html.P(
                            "Being computed ...", id="choices-importance-note", className="note"
                        ),
                        note="How much of the error that cost leaves unexplained goes with each "
                        "choice, on trials held out, with 95 % intervals.",
                    ),
                    html.Div(
                        [
                            card(
                                "Which branches survive",
                                figure("choices-survival", "Branches tried and on the front"),
                                html.P(id="choices-survival-note", className="note"),
                                note="Networks with such a branch: among all that were tried, "
                                "and on the front.",
                            ),
                            card(
                                "What cells put out, along the front",
                                figure(
                                    "choices-shares", "Share of channels by branch", "plot short"
                                ),
                                note="The share of each kind of branch in the channels of cells, "
                                "from the cheaper to the dearer end of the front.",
                            ),
                        ]
                    ),
                ],
                className="pair",
            ),
            card(
                "Where reductions went",
                figure("choices-reductions", "Places of reductions on the front", "plot rows"),
                html.P(id="choices-reductions-note", className="note"),
                note="A row is a network of the front, the cheapest on top: a mark is where its "
                "maps are halved, and the line ends with its last cell.",
            ),
        ],
        className="choices-view",
    )


def _parallel_card() -> Component:
    return card(
        "Trials by their choices",
        html.Div(
            [
                html.Div(
                    [
                        html.Label("axes", htmlFor="choices-axes", className="label"),
                        dcc.Dropdown(
                            id="choices-axes",
                            multi=True,
                            placeholder="the most important ones; choose others",
                            className="wide-choice",
                        ),
                    ],
                    className="control grow",
                ),
            ],
            className="controls",
        ),
        html.Div(
            [
                without_webgl(
                    'Without it there are no lines here; "Filter without drawing" does the same.'
                ),
                html.Div(
                    figure("choices-parallel", "Parallel coordinates of trials", "plot parallel"),
                    className="scroll",
                ),
            ],
            className="drawn-by-webgl",
        ),
        html.P("Being computed ...", id="choices-parallel-note", className="note"),
        html.Div(id="choices-passing", className="passing", role="status"),
        html.Details(
            [
                html.Summary("Filter without drawing"),
                html.Div(
                    [
                        html.Div(
                            [
                                html.Label("of", htmlFor="choices-rule-name", className="label"),
                                dcc.Dropdown(
                                    id="choices-rule-name",
                                    placeholder="a choice, cost or the error",
                                    className="wide-choice",
                                ),
                            ],
                            className="control grow",
                        ),
                        html.Div(
                            [
                                html.Label("only", htmlFor="choices-rule-words", className="label"),
                                dcc.Dropdown(
                                    id="choices-rule-words",
                                    multi=True,
                                    placeholder="values",
                                    className="wide-choice",
                                ),
                            ],
                            id="choices-rule-values",
                            className="control grow",
                        ),
                        html.Div(
                            [
                                html.Label("from", htmlFor="choices-rule-low", className="label"),
                                dcc.Input(id="choices-rule-low", type="text", maxLength=20),
                                html.Label("to", htmlFor="choices-rule-high", className="label"),
                                dcc.Input(id="choices-rule-high", type="text", maxLength=20),
                                html.Span(id="choices-rule-unit", className="quiet"),
                            ],
                            id="choices-rule-range",
                            className="control",
                            hidden=True,
                        ),
                        html.Button("Apply", id="choices-rule-apply", type="button"),
                        html.Span(id="choices-rule-error", className="quiet", role="alert"),
                    ],
                    className="controls",
                ),
            ]
        ),
        note="A line is a trial, blue ones the front. Drag along an axis to keep only trials that "
        "pass there; the front and the table of trials follow.",
    )


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    importances = Importances()
    bind_parameter(app, "choices-importance-by", "importance", "kind")
    watch(app, "choices-about", ("run", "axes"))
    select_on_click(app, "choices-reductions")
    _register_moves(app)
    _register_brush(app, source)
    _register_rule(app, source)

    @app.callback(
        Output("choices-importance", "figure"),
        Output("choices-importance", "className"),
        Output("choices-importance-note", "children"),
        Input("choices-importance-by", "value"),
        Input("choices-about", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def draw_importance(
        by: object, about: object, version: object, theme: object, path: object, search: object
    ) -> Any:
        seen = see(source, "choices", path, search, theme)
        table = importances.table(seen.snapshot, "choice" if by == "place" else "kind")
        drawn = importance_figure(table, theme=seen.theme)
        drawn.update_layout(uirevision=f"{seen.state.run} {by}")
        if table.empty:
            drawn = _blank(drawn)
        kind = "nothing" if table.empty else ""
        return drawn, kind, importance_words(table, seen.snapshot)

    @app.callback(
        Output("choices-parallel", "figure"),
        Output("choices-parallel-note", "children"),
        Output("choices-axes", "options"),
        Output("choices-rule-name", "options"),
        Input("choices-about", "data"),
        Input("choices-brush", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def draw_parallel(
        about: object, brush: object, version: object, theme: object, path: object, search: object
    ) -> Any:
        seen = see(source, "choices", path, search, theme)
        names = choice_names(seen.snapshot)
        axes = tuple(asked_axes(seen.state, names) or likely_axes(seen.snapshot, importances))
        table = seen.snapshot.computed(
            ("choices-lines", axes), lambda one: drawn_lines(lines_table(one, axes))
        )
        drawn = brushed_figure(table, brush_of(seen.state, seen.snapshot), theme=seen.theme)
        if not drawn.data:
            drawn = _blank(drawn, "No trial has an error yet.")
        drawn.update_layout(uirevision=seen.state.run)
        return drawn, "", names, [*NUMBERS[::-1], *names]

    @app.callback(Output("choices-passing", "children"), *LOOK)
    def show_passing(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "choices", pathname, search, theme)
        return passing_part(seen, brush_of(seen.state, seen.snapshot))

    @app.callback(
        Output("choices-survival", "figure"),
        Output("choices-survival-note", "children"),
        Output("choices-shares", "figure"),
        Output("choices-reductions", "figure"),
        Output("choices-reductions-note", "children"),
        Input("choices-about", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def draw_structure(
        about: object, version: object, theme: object, path: object, search: object
    ) -> Any:
        seen = see(source, "choices", path, search, theme)
        snapshot = seen.snapshot
        places = snapshot.computed("choices-reductions", reduction_places)
        drawn = [
            survival_figure(snapshot.computed("choices-survival", survival), theme=seen.theme),
            branch_shares_figure(snapshot.computed("choices-shares", shares), theme=seen.theme),
            reductions_figure(places, theme=seen.theme),
        ]
        if front(snapshot).empty:
            drawn = [_blank(one, "No trial is complete yet.") for one in drawn]
        for one in drawn:
            one.update_layout(uirevision=seen.state.run)
        return drawn[0], read_words(snapshot), drawn[1], drawn[2], reduction_words(places)


def _register_moves(app: Dash) -> None:
    """What the page does alone: brushes and axes go into the address, and come from it."""
    app.clientside_callback(
        ClientsideFunction("choices", "writeBrush"),
        Input("choices-parallel", "restyleData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("choices", "readBrush"),
        Output("choices-brush", "data"),
        Input("address", "search"),
        State("choices-brush", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("choices", "readAxes"),
        Output("choices-axes", "value"),
        Input("address", "search"),
        # A value that is not among the options would be dropped.
        Input("choices-axes", "options"),
        State("choices-axes", "value"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("choices", "writeAxes"),
        Input("choices-axes", "value"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("choices", "addRule"),
        Output("choices-rule-error", "children"),
        Input("choices-rule-apply", "n_clicks"),
        State("choices-rule-name", "value"),
        State("choices-rule-words", "value"),
        State("choices-rule-low", "value"),
        State("choices-rule-high", "value"),
        prevent_initial_call=True,
    )


def _register_brush(app: Dash, source: Source) -> None:
    @app.callback(
        Output("brush", "data"),
        Input("address", "search"),
        Input("version", "data"),
        State("brush", "data"),
    )
    def follow(search: object, version: object, held: object) -> Any:
        """Which trials pass the brush in the address: other views dim the rest."""
        state = read_state("/choices", search, source.names)
        if not state.run or "brush" not in state.more:
            return no_update if held is None else None
        snapshot = source.snapshot(state.run)
        brush = brush_of(state, snapshot)
        if not brush:
            return no_update if held is None else None
        fresh = {"run": state.run, "numbers": passing(snapshot, brush)["number"].tolist()}
        return no_update if fresh == held else fresh


def _register_rule(app: Dash, source: Source) -> None:
    @app.callback(
        Output("choices-rule-words", "options"),
        Output("choices-rule-words", "value"),
        Output("choices-rule-values", "hidden"),
        Output("choices-rule-range", "hidden"),
        Output("choices-rule-unit", "children"),
        Input("choices-rule-name", "value"),
        State("address", "search"),
    )
    def offer(name: object, search: object) -> Any:
        """The values that a choice has, or fields for the ends of a number."""
        state = read_state("/choices", search, source.names)
        if not state.run:
            raise PreventUpdate
        if name in NUMBERS:
            unit = "percent" if name == "error" else COST_LABELS[str(name)]
            return [], [], True, False, unit
        snapshot = source.snapshot(state.run)
        if name not in choice_names(snapshot):
            return [], [], False, True, ""
        words = column_words(snapshot.choices[name]).value_counts()
        return sorted(words.index, key=_word_order), [], False, True, ""


def _word_order(text: str) -> tuple[bool, float, str]:
    try:
        return (False, float(text), text)
    except ValueError:
        return (True, 0.0, text)


def asked_axes(state: Address, names: Sequence[str]) -> list[str]:
    """The choices that the address names, as far as there are such."""
    asked = [unquote(name) for name in state.more.get("axes", "").split(",")]
    return [name for name in dict.fromkeys(asked) if name in names][:MAX_AXES]


def likely_axes(snapshot: Snapshot, importances: Importances) -> list[str]:
    """The most important choices; without importances those that are active in most trials."""
    ranked = importances.table(snapshot, "choice")["choice"].tolist()
    if not ranked:
        active = snapshot.choices[choice_names(snapshot)].notna().sum()
        ranked = active.sort_values(ascending=False, kind="stable").index.tolist()
    return [str(name) for name in ranked[:AXES]]


def lines_table(snapshot: Snapshot, axes: Sequence[str]) -> pd.DataFrame:
    """The run's ``parallel_table`` of some choices."""
    return parallel_table(
        snapshot.trials, snapshot.choices, snapshot.objectives, columns=axes, curves=snapshot.curves
    )


def _blank(drawn: Any, words: str = "") -> Any:
    """A figure without data: no axes, and a word in the middle."""
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(visible=False)
    note = {"text": words, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    return drawn.update_layout(annotations=[note] if words else [])
