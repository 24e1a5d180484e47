"""Runs against each other: their fronts, what repeats attain, indicators, and their picks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from nas.analysis.attainment import attainment_table
from nas.analysis.comparison import (
    indicators_table,
    pairs_table,
    pick_difference_table,
    significance_table,
)
from nas.analysis.comparison_figures import attainment_figure
from nas.analysis.figures import fronts_figure, percent, series_colour
from nas.analysis.progress_figures import history_figure
from nas.analysis.run_groups import seed_pairs
from nas.analysis.theme import ThemeName
from nas.cost import COST_LABELS, COSTS
from nas.dashboard.address import bind_parameter, watch
from nas.dashboard.blocks import Child, card, data_table, figure, quiet, switch
from nas.dashboard.comparable import Comparable, comparable_runs
from nas.dashboard.held import Held
from nas.dashboard.seen import Seen, see
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import VIEWS, declare
from nas.dashboard.state import State as Address
from nas.dashboard.views.front import front
from nas.dashboard.views.progress import history
from nas.quantities import format_count, format_seconds

declare("with", r"[A-Za-z0-9_.\-~,%]{1,2000}")
declare("spread", "groups")

MAX_RUNS = 12
"""Runs side by side; of more no figure can be read."""

FIRST_RUNS = 6
"""Runs that are compared unless others are asked for."""

PICK_WORDS = {"cheapest": "cheapest", "knee": "knee", "best": "smallest error"}


@dataclass(frozen=True)
class Compared:
    """The runs that are compared, the open one first, and what holds for all of them."""

    snapshots: dict[str, Snapshot]
    chosen: Comparable
    objectives: tuple[str, ...]
    reference: tuple[float, ...]

    @property
    def trials(self) -> dict[str, pd.DataFrame]:
        """The trials of each run."""
        return {name: snapshot.trials for name, snapshot in self.snapshots.items()}

    @property
    def has_repeats(self) -> bool:
        """Whether a search was run more than once."""
        return len(set(self.chosen.groups.values())) < len(self.chosen.names)

    def key(self, *more: Hashable) -> Hashable:
        """What a value of these runs is held under."""
        versions = tuple((name, one.version) for name, one in self.snapshots.items())
        return (versions, *more)


def layout(state: Address) -> Component:
    """The view's components, empty."""
    scales = {"log": "logarithmic", "linear": "linear"}
    return html.Div(
        [
            html.H2(VIEWS["compare"], className="sr"),
            dcc.Store(id="compare-about"),
            card(
                "Runs side by side",
                html.Div(
                    html.Div(
                        [
                            html.Label("runs", htmlFor="compare-with", className="label"),
                            dcc.Dropdown(
                                id="compare-with",
                                multi=True,
                                placeholder="those that are alike; choose others",
                                className="wide-choice",
                            ),
                        ],
                        className="control grow",
                    ),
                    className="controls",
                ),
                html.Div(id="compare-left-out"),
                html.Div(
                    [
                        switch(
                            "compare-spread",
                            "Show",
                            {"runs": "each run", "groups": "repeats as bands"},
                            state.more.get("spread", "runs"),
                        ),
                        switch("compare-x", "Cost", {c: COST_LABELS[c] for c in COSTS}, state.x),
                        switch("compare-scale", "Scale", scales, state.scale),
                    ],
                    className="controls",
                ),
                figure("compare-fronts", "Fronts of the runs", "plot tall"),
                html.P(id="compare-fronts-note", className="note"),
                html.Div(id="compare-chosen", role="status"),
            ),
            card(
                "Against the joint front",
                html.Div(id="compare-indicators"),
                note="The joint front is the best of all these runs together. A run that has all "
                "of its hypervolume, and needs no factor to cover it, has nothing to learn from "
                "the others.",
            ),
            html.Div(
                [
                    card(
                        "Hypervolume against device time",
                        figure("compare-histories", "Hypervolume of the runs"),
                        html.P(id="compare-histories-note", className="note"),
                    ),
                    card(
                        "Who covers whom",
                        html.Div(id="compare-pairs"),
                        note="The share of the column's front that the row's run equals or "
                        "dominates.",
                    ),
                ],
                className="pair",
            ),
            card(
                "Their picks",
                html.Div(id="compare-picks"),
                note="What one would take from each run, and how far it is from that of the first.",
            ),
            card(
                "Is the difference chance?",
                html.Div(id="compare-significance"),
                note="Hypervolume of repeated runs, two-sided, adjusted for the number of pairs "
                "(Holm).",
            ),
        ],
        className="compare-view",
    )


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    held = Held()
    bind_parameter(app, "compare-x", "x", "macs")
    bind_parameter(app, "compare-scale", "scale", "log")
    bind_parameter(app, "compare-spread", "spread", "runs")
    watch(app, "compare-about", ("run", "with", "x", "scale", "spread"))
    for name, output in (("readRuns", Output("compare-with", "value")), ("writeRuns", None)):
        inputs = (
            (
                output,
                Input("address", "search"),
                # A value that is not among the options would be dropped.
                Input("compare-with", "options"),
                State("compare-with", "value"),
            )
            if output
            else (Input("compare-with", "value"),)
        )
        app.clientside_callback(
            ClientsideFunction("compare", name), *inputs, prevent_initial_call=True
        )
    _register_figures(app, source, held)
    _register_tables(app, source, held)

    @app.callback(
        Output("compare-chosen", "children"),
        Input("compare-fronts", "clickData"),
        State("address", "pathname"),
        State("address", "search"),
        State("theme", "data"),
        prevent_initial_call=True,
    )
    def choose(clicked: object, path: object, search: object, theme: object) -> Any:
        seen = see(source, "compare", path, search, theme)
        return chosen_part(compared(source, seen), seen.state, clicked)


def _register_figures(app: Dash, source: Source, held: Held) -> None:
    @app.callback(
        Output("compare-fronts", "figure"),
        Output("compare-fronts-note", "children"),
        Output("compare-histories", "figure"),
        Output("compare-histories-note", "children"),
        Output("compare-with", "options"),
        Output("compare-left-out", "children"),
        Input("compare-about", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def draw(about: object, version: object, theme: object, path: object, search: object) -> Any:
        seen = see(source, "compare", path, search, theme)
        runs, state = compared(source, seen), seen.state
        is_band = state.more.get("spread") == "groups"
        drawn = bands(runs, held, state, seen.theme) if is_band else lines(runs, state, seen.theme)
        histories = history_figure(
            {name: history(one) for name, one in runs.snapshots.items()},
            x="device_seconds",
            theme=seen.theme,
        )
        if not drawn.data or all(front(one).empty for one in runs.snapshots.values()):
            drawn, histories = (
                _blank(one, "No run has a front yet.") for one in (drawn, histories)
            )
        drawn.update_layout(uirevision=f"{tuple(runs.snapshots)} {state.x} {state.scale} {is_band}")
        histories.update_layout(uirevision=str(tuple(runs.snapshots)))
        return (
            drawn,
            fronts_words(runs, is_band),
            histories,
            reference_words(runs),
            list(source.names),
            left_out_part(runs.chosen),
        )


def _register_tables(app: Dash, source: Source, held: Held) -> None:
    @app.callback(
        Output("compare-indicators", "children"),
        Output("compare-pairs", "children"),
        Output("compare-picks", "children"),
        Output("compare-significance", "children"),
        Input("compare-about", "data"),
        Input("version", "data"),
        Input("theme", "data"),
        State("address", "pathname"),
        State("address", "search"),
    )
    def tell(about: object, version: object, theme: object, path: object, search: object) -> Any:
        seen = see(source, "compare", path, search, theme)
        runs = compared(source, seen)
        indicators = held.get(
            runs.key("indicators"),
            lambda: indicators_table(runs.trials, runs.objectives, runs.reference),
        )
        pairs = held.get(
            runs.key("pairs"), lambda: pairs_table(runs.trials, runs.objectives, runs.reference)
        )
        picks = held.get(
            runs.key("picks"), lambda: pick_difference_table(runs.trials, runs.objectives)
        )
        return (
            indicators_part(
                runs, indicators, seen.theme, seen.state.more.get("spread") == "groups"
            ),
            pairs_part(pairs),
            picks_part(picks, seen.state),
            significance_part(significance(runs, indicators)),
        )


def significance(runs: Compared, indicators: pd.DataFrame) -> pd.DataFrame:
    """The runs' ``significance_table``, paired by seed where every search has the same seeds."""
    groups = runs.chosen.groups
    pairs = seed_pairs({name: one.settings for name, one in runs.snapshots.items()}, groups)
    return significance_table(indicators, groups=groups, pairs=pairs)


def compared(source: Source, seen: Seen) -> Compared:
    """The runs that the address names, or those most like the open one; it comes first."""
    first = seen.state.run
    asked = [unquote(name) for name in seen.state.more.get("with", "").split(",")]
    others = [name for name in dict.fromkeys(asked) if name in source.names and name != first]
    names = [first, *(others or [name for name in source.names if name != first])]
    settings = {name: source.snapshot(name).settings for name in names[: MAX_RUNS * 4]}
    chosen = comparable_runs(settings)
    limit = MAX_RUNS if others else FIRST_RUNS
    kept = chosen.names[:limit]
    left_out = chosen.left_out if others else {}
    left_out = {
        **left_out,
        **dict.fromkeys(chosen.names[limit:] if others else (), f"more than {MAX_RUNS} runs"),
    }
    snapshots = {name: source.snapshot(name) for name in kept}
    unread = {name: one.loading for name, one in snapshots.items() if one.loading}
    left_out |= {name: f"not read yet ({loading})" for name, loading in unread.items()}
    kept = tuple(name for name in kept if name not in unread)
    own = comparable_runs({name: settings[name] for name in kept})
    return Compared(
        {name: snapshots[name] for name in kept},
        Comparable(own.names, own.groups, left_out),
        settings[first].objectives,
        settings[first].reference,
    )


def lines(runs: Compared, state: Address, theme: ThemeName) -> Any:
    """Each run's front as a line; a mark knows its trial and its run."""
    fronts = {name: front(one) for name, one in runs.snapshots.items()}
    drawn = fronts_figure(fronts, x=state.x, log_x=state.scale == "log", theme=theme)
    for name, trace in zip(fronts, drawn.data, strict=True):
        trace.customdata = [[int(number), name] for number in trace.customdata]
        trace.hovertemplate = trace.hovertemplate.replace("%{customdata}", "%{customdata[0]}")
    return drawn.update_layout(showlegend=True)


def bands(runs: Compared, held: Held, state: Address, theme: ThemeName) -> Any:
    """What the repeats of each search attained."""
    table = held.get(
        runs.key("attainment", state.x),
        lambda: attainment_table(runs.trials, x=state.x, groups=runs.chosen.groups),
    )
    return attainment_figure(table, x=state.x, log_x=state.scale == "log", theme=theme)


def fronts_words(runs: Compared, is_band: bool) -> str:
    """How to read the figure."""
    if len(runs.snapshots) == 1:
        return (
            "Only this run is compared: no other that is open has the same task and objectives. "
            "Choose others above, or start the dashboard with more."
        )
    if not is_band:
        return "Rings mark the knees. Click a mark to see whose it is."
    if not runs.has_repeats:
        return "No two of these runs are repeats of one search: there is nothing to band."
    return (
        "A band reaches from what the best of a search's repeats attained to what all of them "
        "did; the line is what half of them attained."
    )


def reference_words(runs: Compared) -> str:
    """Where the volumes end."""
    settings = [one.settings for one in runs.snapshots.values()]
    if len({one.reference for one in settings}) > 1:
        return (
            "These runs have different reference points: their volumes here do not compare. "
            "The table above measures all to that of the first."
        )
    return "All have the same reference point."


def left_out_part(chosen: Comparable) -> Component | None:
    """Which runs were asked for and are not shown, and why."""
    if not chosen.left_out:
        return None
    return html.Div(
        [html.P(f"{name} is left out: {why}.") for name, why in chosen.left_out.items()],
        className="warning",
    )


def chosen_part(runs: Compared, state: Address, clicked: object) -> Component:
    """The trial that was clicked, with a way to its network.

    Raises:
        PreventUpdate: the click is on no trial of these runs.
    """
    try:
        number, name = clicked["points"][0]["customdata"]  # type: ignore[index]
        snapshot = runs.snapshots[name]
        rows = front(snapshot)
        row = rows[rows["number"] == int(number)].to_dict("records")[0]
    except (KeyError, IndexError, TypeError, ValueError):
        raise PreventUpdate from None
    where = Address(view="architecture", run=name, trial=int(number))
    return html.P(
        [
            html.Strong(f"Trial {row['number']} of {name}: "),
            f"{percent(row['error'])} error, {format_count(row['macs'])} MACs, "
            f"{format_count(row['params'])} parameters. ",
            dcc.Link("See its network", href=where.href()),
        ],
        className="chosen",
    )


def indicators_part(
    runs: Compared, table: pd.DataFrame, theme: ThemeName, is_band: bool
) -> Component:
    """The runs against the joint front, a row a run, with the colours of the figure."""
    groups = list(dict.fromkeys(runs.chosen.groups[str(name)] for name in table["run"]))
    best = table["hypervolume_ratio"].max()
    spent = {name: one.trials["train_seconds"].sum() for name, one in runs.snapshots.items()}
    rows: list[Sequence[Child]] = []
    for index, row in enumerate(table.to_dict("records")):
        name = str(row["run"])
        ratio = float(row["hypervolume_ratio"])
        shown = _ratio(ratio)
        rows.append(
            (
                [_key(groups.index(runs.chosen.groups[name]) if is_band else index, theme), name],
                runs.chosen.groups[name],
                f"{row['trials']:,}",
                format_seconds(float(spent[name])),
                f"{row['front']:,}",
                f"{row['hypervolume']:.3f}",
                html.Strong(shown) if ratio == best else shown,
                _factor(float(row["epsilon_multiplicative"])),
                _ratio(float(row["joint_share"])),
            )
        )
    heads = ("run", "search", ">trials", ">device time", ">front", ">hypervolume")
    more = (">of the joint", ">factor to cover it", ">of its points")
    return data_table((*heads, *more), rows, "Runs against the joint front")


def _key(index: int, theme: ThemeName) -> html.Span:
    return html.Span(className="key", style={"background": series_colour(index, theme)})


def _ratio(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f} %"  # noqa: PLR0124


def _factor(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"  # noqa: PLR0124


def pairs_part(table: pd.DataFrame) -> Component:
    """The coverage of each run by each other, as a square."""
    if table.empty:
        return quiet("There is only one run.")
    names = list(dict.fromkeys(table["run"]))
    known = {(row["run"], row["other"]): row["coverage"] for row in table.to_dict("records")}
    rows = [
        (
            name,
            *("" if name == other else _ratio(float(known[name, other])) for other in names),
        )
        for name in names
    ]
    return data_table(("covers", *(f">{name}" for name in names)), rows, "Coverage of fronts")


def picks_part(table: pd.DataFrame, state: Address) -> Component:
    """The picks of each run, and how they differ from the first run's."""
    if table.empty:
        return quiet("No run has a front yet.")
    first = str(table["run"].iloc[0])
    rows = [
        (
            PICK_WORDS[str(row["pick"])],
            str(row["run"]),
            dcc.Link(
                str(row["number"]),
                href=Address(
                    view="architecture", run=str(row["run"]), trial=int(row["number"])
                ).href(),
            ),
            percent(float(row["error"])),
            "" if row["run"] == first else f"{100 * row['error_difference']:+.1f}",
            format_count(float(row["macs"])),
            "" if row["run"] == first else f"{row['macs_ratio']:.2f}",
            format_count(float(row["params"])),
        )
        for row in table.to_dict("records")
    ]
    heads = ("pick", "run", ">trial", ">error", ">points more", ">MACs", ">times the first's")
    return data_table((*heads, ">parameters"), rows, "Picks of each run")


def significance_part(table: pd.DataFrame) -> Component:
    """What the tests say, a row a pair of searches."""
    if table.empty:
        return quiet(
            "There is one search only. With repeats (other seeds) of two searches or more, a test "
            "says whether they differ; five runs of each are a good beginning."
        )
    rows = [
        (
            f"{row['group']} against {row['other']}",
            str(row["test"]),
            f"{row['runs']} and {row['other_runs']}",
            f"{row['median']:.3f} and {row['other_median']:.3f}",
            _ratio(float(row["superiority"])),
            "-" if pd.isna(row["p_adjusted"]) else f"{row['p_adjusted']:.3f}",
            html.Strong(str(row["verdict"])),
        )
        for row in table.to_dict("records")
    ]
    heads = ("searches", "test", ">runs", ">median hypervolume", ">first is better in", ">p", "so")
    return data_table(heads, rows, "Significance of differences")


def _blank(drawn: Any, words: str) -> Any:
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(visible=False)
    note = {"text": words, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    return drawn.update_layout(annotations=[note])
