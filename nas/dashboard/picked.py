"""What the front view says beside its figure: the pick under a budget, all picks, one trial."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from nas.analysis.figures import MARKS, percent
from nas.analysis.picks import resolve_pick
from nas.cost import COST_LABELS, LATENCY, format_cost
from nas.dashboard.blocks import named, quiet
from nas.dashboard.drawing import diagram_address
from nas.dashboard.seen import Seen
from nas.dashboard.shell import data
from nas.dashboard.source import Snapshot
from nas.quantities import format_count

MOST_ROWS = 200
"""Of the front in the side table; a longer one is in the view Trials."""

NARROW = "(max-width: 700px)"
"""From here on a drawing runs down in one column."""


def trial_link(seen: Seen, number: int, words: str = "", view: str = "") -> dcc.Link:
    """A link that chooses a trial, here or in another view."""
    changes: dict[str, Any] = {"trial": int(number), **({"view": view} if view else {})}
    return dcc.Link(words or f"trial {number}", href=seen.state.href(**changes))


def budget_panel(seen: Seen, budget: int | None) -> Component:
    """The complete trial with the smallest error whose cost is within the budget."""
    x, trials = seen.state.x, seen.snapshot.trials
    if budget is None:
        return quiet(
            f"{seen.snapshot.loading} ..."
            if seen.snapshot.loading
            else "No trial is complete yet: the budget picks from those that are."
        )
    number = best_under(seen, budget)
    if isinstance(number, str):
        return quiet(f"{number[:1].upper()}{number[1:]}.")
    row = _row(trials, number)
    best = trials.loc[trials["state"] == "complete", "error"].min()
    behind = 100 * (row["error"] - best)
    return html.Div(
        [
            html.Div(
                [
                    html.Strong(percent(row["error"])),
                    html.Span(["error, ", trial_link(seen, number)]),
                ],
                className="pick",
                **data(number=number),
            ),
            html.P(
                f"{format_count(row[x])} {COST_LABELS[x]}"
                f"{f', {100 * row[x] / budget:.0f} % of the budget' if budget else ''}. "
                + (
                    "No trial has a smaller error."
                    if behind < 0.005
                    else f"The smallest error of all is {behind:.1f} points lower."
                ),
                className="note",
            ),
        ]
    )


def front_panel(seen: Seen, front: pd.DataFrame, picks: pd.DataFrame) -> Component:
    """The front, the cheapest first, each a link that chooses the trial; picks are marked.

    The page marks the chosen one itself (``markRow`` in ``assets/front.js``).
    """
    if front.empty:
        return quiet("No trial is complete yet: there is nothing to pick from.")
    x, names = seen.state.x, _pick_names(picks)
    rows = []
    for row in front.head(MOST_ROWS).to_dict("records"):
        marks = [html.Span(name, className=f"badge is-{name}") for name in names[row["number"]]]
        link = trial_link(seen, row["number"], str(row["number"]))
        rows.append(
            html.Tr(
                [
                    html.Th([link, *marks], scope="row"),
                    html.Td(percent(row["error"]), className="n"),
                    html.Td(format_count(row[x]), className="n"),
                ],
                **data(number=row["number"]),
            )
        )
    heads = [
        html.Th(words, scope="col", className="n" if index else "")
        for index, words in enumerate(("trial", "error", COST_LABELS[x]))
    ]
    table = html.Table(
        [
            html.Caption("The front, the cheapest first", className="sr"),
            html.Thead(html.Tr(heads)),
            html.Tbody(rows),
        ],
        className="data",
    )
    more = len(front) - MOST_ROWS
    return html.Div(
        [table, quiet(f"and {more:,} more; the view Trials has all") if more > 0 else None],
        className="front-rows",
        tabIndex=0,
        role="region",
        **named("The front, the cheapest first"),
    )


def _pick_names(picks: pd.DataFrame) -> dict[int, list[str]]:
    names: dict[int, list[str]] = defaultdict(list)
    for row in picks.to_dict("records"):
        names[row["number"]].append(str(row["pick"]))
    return names


def chosen_number(seen: Seen, table: pd.DataFrame) -> int | None:
    """The trial in the address if the run has it, else the knee, else the first one."""
    if seen.state.trial is not None and (table["number"] == seen.state.trial).any():
        return seen.state.trial
    for rows in (table[table["is_knee"]], table):
        if len(rows):
            return int(rows["number"].iloc[0])
    return None


def chosen_panel(
    seen: Seen, table: pd.DataFrame, picks: pd.DataFrame, budget: int | None
) -> list[Component]:
    """A trial in short: where it stands, what it costs, and its network drawn."""
    number = chosen_number(seen, table)
    if number is None:
        words = seen.snapshot.loading or "The search has begun no trial yet"
        return [html.H3("The network"), quiet(f"{words} ...")]
    row = _row(table, number)
    facts = [
        ("error", percent(row["shown_error"])),
        *((COST_LABELS[name], format_count(row[name])) for name in ("macs", "params")),
        ("activation bytes", format_count(row["activation_bytes"])),
        *([] if pd.isna(row[LATENCY]) else [("latency", format_cost(LATENCY, row[LATENCY]))]),
    ]
    return [
        html.Div(
            [
                html.H3([f"Trial {number}", *badges(badge_words(seen, row, picks, budget))]),
                html.Dl(
                    [html.Div([html.Dt(label), html.Dd(value)]) for label, value in facts],
                    className="inline",
                ),
                dcc.Link(
                    "Layers, curve and export",
                    href=seen.state.href(view="architecture", trial=number),
                    className="button",
                ),
            ],
            className="head",
        ),
        *([html.P(why(row), className="why")] if why(row) else []),
        drawing(seen, number),
    ]


def badge_words(
    seen: Seen, row: dict[Any, Any], picks: pd.DataFrame, budget: int | None
) -> dict[str, str]:
    """Where a trial stands, by kind: also which picks it is, at that budget, and which preset."""
    standing, number, x = str(row["standing"]), int(row["number"]), seen.state.x
    words = {standing: "on the front" if standing == "front" else MARKS[standing].label}
    words |= {name: name for name in _pick_names(picks)[number]}
    if budget is not None and best_under(seen, budget) == number:
        words["budget"] = f"best under {format_count(budget)} {COST_LABELS[x]}"
    if row["landmark"]:
        words["preset"] = f"preset {row['landmark']}"
    return words


def badges(words: dict[str, str]) -> list[Component]:
    """The :func:`badge_words`, one a badge."""
    return [html.Span(word, className=f"badge is-{kind}") for kind, word in words.items()]


def best_under(seen: Seen, budget: int) -> int | str:
    """The best trial within a budget, or why there is none.

    Computed once a version: it goes through all trials, and is asked for with every click.
    """
    x = seen.state.x

    def pick(snapshot: Snapshot) -> int | str:
        try:
            return resolve_pick(snapshot.trials, snapshot.objectives, f"{x}<={budget}")
        except ValueError as error:
            return str(error)

    found: int | str = seen.snapshot.computed(("best_under", x, budget), pick)
    return found


def why(row: dict[Any, Any]) -> str:
    """Why a trial is off the front, in a sentence; "" for one on it."""
    parts = []
    if row["dominated_by"]:
        several = "," in row["dominated_by"]
        better = "Trials" if several else "Trial"
        parts.append(
            f"{better} {row['dominated_by']} {'are' if several else 'is'} no worse in any "
            f"objective and better in at least one."
        )
    if row["reason"]:
        reason = str(row["reason"])
        parts.append(f"{reason[:1].upper()}{reason[1:]}.")
    return " ".join(parts)


def drawing(seen: Seen, number: int) -> html.Div:
    """The network as an image, in one column where the page is narrow."""
    run = seen.snapshot.name
    wide, narrow = (
        diagram_address(run, number, theme=seen.theme, columns=columns, version=_made(seen))
        for columns in (3, 1)
    )
    label = f"The network of trial {number}: stem, cells with their branches, reductions, head"
    return html.Div(
        html.Picture([html.Source(srcSet=narrow, media=NARROW), html.Img(src=wide, alt=label)]),
        className="drawing",
    )


def _made(seen: Seen) -> str:
    # A run that is deleted and made anew has other networks under the same numbers.
    return seen.snapshot.settings.created


def _row(frame: pd.DataFrame, number: int) -> dict[Any, Any]:
    return frame[frame["number"] == number].to_dict("records")[0]
