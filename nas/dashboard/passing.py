"""The trials that pass the brush in the address: which they are, and what is said of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from nas.analysis.figures import percent
from nas.cost import COST_LABELS, COSTS
from nas.dashboard.blocks import count_of
from nas.dashboard.brush import Brush, read_brush
from nas.dashboard.seen import Seen
from nas.dashboard.source import Snapshot
from nas.dashboard.state import State as Address
from nas.dashboard.views.front import standings
from nas.quantities import format_count

NUMBERS = (*COSTS, "error")
"""What has a range on a brush, not values."""

MAX_NAMED = 12
"""Passing trials of the front that are named one by one."""


def choice_names(snapshot: Snapshot) -> list[str]:
    """The choices of the run's space that differ between its trials."""
    names: list[str] = snapshot.computed(
        "choices-names",
        lambda one: [
            str(name)
            for name in one.choices.columns
            if name != "number" and one.choices[name].nunique(dropna=False) > 1
        ],
    )
    return names


def brush_of(state: Address, snapshot: Snapshot) -> Brush:
    """The brush in the address, as far as this run has what it names."""
    text = state.more.get("brush", "")
    return read_brush(text, choice_names(snapshot), NUMBERS) if text else Brush({}, {})


def passing(snapshot: Snapshot, brush: Brush) -> pd.DataFrame:
    """The trials that pass, a row each as in ``trials_table``, by their last error seen."""
    table = standings(snapshot)
    table = table.assign(error=table["shown_error"])
    if brush.words:
        wanted = ["number", *(name for name in brush.words if name in snapshot.choices.columns)]
        table = table.merge(snapshot.choices[wanted], on="number", how="left")
    return table[brush.passing(table)].reset_index(drop=True)


def passing_part(seen: Seen, brush: Brush) -> Component | None:
    """What the brush says, rule by rule, and how many trials pass it."""
    if not brush:
        return None
    table = passing(seen.snapshot, brush)
    few = table[table["standing"] == "front"]
    total = len(seen.snapshot.trials)
    rules = [
        html.Li(
            [
                words,
                dcc.Link(
                    "\N{MULTIPLICATION SIGN}",
                    href=_with_brush(seen.state, brush.without(name)),
                    className="away",
                    title=f"Without this: {name}",
                ),
            ],
            className="rule",
        )
        for name, words in rule_words(brush).items()
    ]
    links = [
        dcc.Link(str(number), href=seen.state.href(view="architecture", trial=int(number)))
        for number in few["number"].head(MAX_NAMED)
    ]
    named_ones: list[Any] = []
    for link in links:
        named_ones += [", " if named_ones else ": trials " if len(links) > 1 else ": trial ", link]
    if len(few) > MAX_NAMED:
        named_ones.append(f" and {len(few) - MAX_NAMED:,} more")
    return html.Div(
        [
            html.Ul([*rules, html.Li(dcc.Link("clear all", href=_with_brush(seen.state, None)))]),
            html.P(
                [
                    html.Strong(f"{len(table):,} of {count_of(total, 'trial')}"),
                    f" pass, {len(few):,} of them on the front",
                    *named_ones,
                    ". ",
                    dcc.Link("See them on the front", href=seen.state.href(view="front")),
                ]
            ),
        ],
    )


def rule_words(brush: Brush) -> dict[str, str]:
    """Each rule of a brush in words."""
    words = {name: f"{name}: {' or '.join(few)}" for name, few in brush.words.items()}
    for name, (low, high) in brush.ranges.items():
        if name == "error":
            words[name] = f"error: {percent(low)} to {percent(high)}"
        else:
            words[name] = f"{COST_LABELS[name]}: {format_count(low)} to {format_count(high)}"
    return words


def _with_brush(state: Address, brush: Brush | None) -> str:
    more = {name: text for name, text in state.more.items() if name != "brush"}
    text = brush.to_text() if brush else ""
    return state.href(more={**more, "brush": text} if text else more)
