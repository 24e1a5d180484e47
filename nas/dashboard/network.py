"""What the architecture view says of one trial: its facts, its layers, the way along the front."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from nas.analysis.figures import percent
from nas.analysis.tables import layers_table
from nas.architecture import Architecture
from nas.dashboard.blocks import named
from nas.dashboard.confirmed import confirmed_fact
from nas.dashboard.seen import Seen
from nas.quantities import format_count, format_milliseconds, format_seconds
from nas.task import Task


def _latency(value: float) -> list[tuple[str, str, str]]:
    return [] if math.isnan(value) else [("latency", format_milliseconds(value), "predicted")]


def facts_panel(seen: Seen, row: dict[Any, Any], why: str) -> list[Component]:
    """The numbers that one looks for first, why the trial stands where it does, the rest."""
    run, number = seen.snapshot.run, int(row["number"])
    architecture = run.architecture(number)
    task = Task.from_json(seen.snapshot.settings.task)
    trial = run.trials[run.trials["number"] == number].to_dict("records")[0]
    stages = " + ".join(str(len(stage)) for stage in architecture.stages)
    is_whole = row["standing"] in ("front", "dominated")
    large = [
        ("validation error", percent(row["shown_error"]), _measured(row, is_whole)),
        *confirmed_fact(seen.snapshot, number),
        ("MACs", format_count(row["macs"]), f"{row['macs']:,}"),
        ("parameters", format_count(row["params"]), f"{row['params']:,}"),
        (
            "activations",
            format_count(row["activation_bytes"]),
            f"bytes, {format_count(row['peak_activation_bytes'])} at the peak",
        ),
        *_latency(row["latency_ms"]),
        (
            "training",
            format_seconds(row["train_seconds"]),
            f"{row['epochs']} epochs{', taken over' if row['reused'] else ''}",
        ),
    ]
    small = [
        ("counted at", f"{task.target.image}, {task.target.classes} classes"),
        ("cells", f"{architecture.num_cells} ({stages})"),
        ("proposed by", str(row["origin"])),
        ("seed", str(trial["seed"])),
        ("fingerprint", str(trial["fingerprint"])),
    ]
    return [
        *([html.P(why, className="why")] if why else []),
        html.Dl(
            [
                html.Div([html.Dt(label), html.Dd([html.Strong(value), html.Span(remark)])])
                for label, value, remark in large
            ],
            className="facts",
        ),
        html.Dl(
            [html.Div([html.Dt(label), html.Dd(value)]) for label, value in small],
            className="inline",
        ),
    ]


def _measured(row: dict[Any, Any], is_whole: bool) -> str:
    if is_whole:
        return "of the proxy, one seed"
    return "not measured" if pd.isna(row["shown_error"]) else "at its last epoch"


def steps_panel(seen: Seen, front: pd.DataFrame, number: int) -> list[Component]:
    """Links to the neighbours on the front: the next cheaper and the next more exact network."""
    numbers = [int(other) for other in front["number"]]
    if number in numbers:
        at = numbers.index(number)
        before, after = at - 1, at + 1
    else:
        # Off the front: the neighbours in cost.
        cost = seen.snapshot.trials.set_index("number")["macs"][number]
        after = int((front["macs"] < cost).sum())
        before = after - 1
    return [
        _step(seen, numbers, before, "Cheaper"),
        _step(seen, numbers, after, "More exact"),
    ]


def _step(seen: Seen, numbers: list[int], at: int, words: str) -> Component:
    if not 0 <= at < len(numbers):
        return html.Span(words, className="button off", **named(f"{words}: there is none"))
    href = seen.state.href(trial=numbers[at])
    return dcc.Link(words, href=href, className="button", title=f"Trial {numbers[at]}")


def layers_panel(seen: Seen, number: int) -> Component:
    """Each layer with its output, parameters, MACs and their share, and activation memory."""
    architecture = seen.snapshot.run.architecture(number)
    task = Task.from_json(seen.snapshot.settings.task)
    layers = _layers(architecture, task)
    most = max(float(layers["macs_share"].max()), 1e-9)
    body = [
        html.Tr(
            [
                html.Th(row["name"], scope="row", className="layer"),
                html.Td(row["kind"]),
                html.Td(row["output"], className="n"),
                html.Td(f"{row['params']:,}", className="n"),
                html.Td(f"{row['macs']:,}", className="n"),
                html.Td(
                    [
                        html.Span(f"{100 * row['macs_share']:.1f} %" if row["macs"] else ""),
                        html.Div(
                            style={"width": f"{100 * row['macs_share'] / most:.1f}%"},
                            className="share",
                        ),
                    ],
                    className="n bar-cell",
                ),
                html.Td(f"{row['activation_bytes']:,}", className="n"),
            ]
        )
        for row in layers.to_dict("records")
    ]
    heads = ("layer", "kind", "output", "parameters", "MACs", "share of MACs", "activation bytes")
    sums = ["", "", *(f"{layers[name].sum():,}" for name in ("params", "macs"))]
    table = html.Table(
        [
            html.Caption(
                f"Cost of each layer of trial {number} at {task.target.image}", className="sr"
            ),
            html.Thead(
                html.Tr(
                    [
                        html.Th(head, scope="col", className="n" if index > 1 else "")
                        for index, head in enumerate(heads)
                    ]
                )
            ),
            html.Tbody(body),
            html.Tfoot(
                html.Tr(
                    [
                        html.Th("all layers", scope="row"),
                        *(html.Td(text, className="n") for text in sums),
                        html.Td("100 %", className="n"),
                        html.Td(f"{layers['activation_bytes'].sum():,}", className="n"),
                    ]
                )
            ),
        ],
        className="data layers",
    )
    return html.Div(
        table, className="scroll", tabIndex=0, role="region", **named("Cost by layer, scrolls")
    )


def _layers(architecture: Architecture, task: Task) -> pd.DataFrame:
    return layers_table(architecture, task.target)
