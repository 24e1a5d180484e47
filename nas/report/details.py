"""A front point in full: its facts, its drawings, its layers, its choices, its commands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from nas.analysis.diagrams import diagram_svg
from nas.analysis.figures import percent
from nas.analysis.next_steps import Step, pick_steps
from nas.analysis.tables import layers_table
from nas.architecture import Architecture
from nas.quantities import format_milliseconds, format_seconds
from nas.records import Run
from nas.task import Target, Task

Row = dict[Any, Any]


@dataclass(frozen=True)
class Detail:
    """A front point: what it is, its drawings (for a wide and a narrow screen), its layers."""

    number: int
    picks: tuple[str, ...]
    facts: list[tuple[str, str]]
    wide: Markup
    narrow: Markup
    layers: list[Row]
    totals: Row
    choices: list[tuple[str, str]]
    has_curve: bool
    commands: list[Step]


def front_detail(run: Run, task: Task, row: Row, picks: tuple[str, ...], name: str) -> Detail:
    """The detail of a row of ``front_table``; ``name`` is what the page calls the run."""
    number = row["number"]
    architecture = run.architecture(number)
    layers = layers_table(architecture, task.target)
    title = f"Trial {number} of {name}: the network, drawn"
    wide, narrow = (
        # The drawing escapes its own text.
        Markup(
            diagram_svg(
                architecture, task.target.image, task.target.classes, columns=columns, title=title
            )
        )
        for columns in (3, 1)
    )
    return Detail(
        number=number,
        picks=picks,
        facts=_facts(row, architecture, task.target),
        wide=wide,
        narrow=narrow,
        layers=[_layer_row(layer, layers) for layer in layers.to_dict("records")],
        totals=_layer_totals(layers),
        choices=_choices(run.choices, number),
        has_curve=bool((run.curves["number"] == number).any()),
        commands=pick_steps(run, f"trial:{number}"),
    )


def _facts(row: Row, architecture: Architecture, target: Target) -> list[tuple[str, str]]:
    stages = " + ".join(str(len(stage)) for stage in architecture.stages)
    return [
        ("validation error (proxy, one seed)", percent(row["error"])),
        ("MACs", f"{row['macs']:,}"),
        ("parameters", f"{row['params']:,}"),
        ("activation bytes", f"{row['activation_bytes']:,}"),
        ("peak activation bytes", f"{row['peak_activation_bytes']:,}"),
        *_latency(row),
        ("counted at", f"{target.image}, {target.classes} classes"),
        ("cells", f"{architecture.num_cells} ({stages})"),
        ("trained", f"{row['epochs']} epochs, {format_seconds(row['train_seconds'])}"),
        ("origin", row["origin"]),
        ("seed", str(row["seed"])),
        ("fingerprint", row["fingerprint"]),
    ]


def _latency(row: Row) -> list[tuple[str, str]]:
    known = row["latency_ms"]
    return [] if math.isnan(known) else [("latency (predicted)", format_milliseconds(known))]


def _choices(choices: pd.DataFrame, number: int) -> list[tuple[str, str]]:
    """The choices that are active in a trial."""
    rows = choices[choices["number"] == number].drop(columns="number")
    if rows.empty:
        return []
    return [(str(name), _plain(value)) for name, value in rows.iloc[0].dropna().items()]


def _plain(value: object) -> str:
    """A choice in words, without the decimals that a column with gaps puts on its integers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _layer_row(layer: Row, layers: pd.DataFrame) -> Row:
    share = layer["macs_share"]
    return {
        "name": layer["name"],
        "kind": layer["kind"],
        "output": layer["output"],
        "params": f"{layer['params']:,}",
        "macs": f"{layer['macs']:,}",
        "share": f"{100 * share:.1f}" if layer["macs"] else "",
        "width": f"{100 * share / max(layers['macs_share'].max(), 1e-9):.1f}",
        "memory": f"{layer['activation_bytes']:,}",
    }


def _layer_totals(layers: pd.DataFrame) -> Row:
    return {
        "params": f"{layers['params'].sum():,}",
        "macs": f"{layers['macs'].sum():,}",
        "memory": f"{layers['activation_bytes'].sum():,}",
    }
