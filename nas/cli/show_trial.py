"""``nas show RUN --trial N``: one trial, and why it was chosen, beaten, stopped, or failed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas.cli.standing import (
    proposed_words,
    share_words,
    standing_words,
    state_word,
    trial_words,
)

SHOWN = 5
"""So many of the trials that it dominates are named, and rows of those that dominate it."""

UNITS = {
    "macs": (">MACs (M)", 1e6),
    "params": (">params (K)", 1e3),
    "activation_bytes": (">memory (KiB)", 1024),
    "latency_ms": (">latency (ms)", 1),
}
"""Costs as the tables show them: header and unit."""


def print_trial(data: Mapping[str, Any]) -> None:
    """One trial: where it stands and why, its rivals, its network, its learning curve."""
    from nas.architecture import Architecture
    from nas.cli.console import print_commands, print_facts, print_text

    print_facts(_facts(data))
    _print_rivals(data)
    print_text()
    print_text(str(Architecture.from_json(json.dumps(data["architecture"]))))
    _print_curve(data["curve"])
    print_commands("Next", data["next"])


def _facts(data: Mapping[str, Any]) -> dict[str, str]:
    from nas.quantities import format_milliseconds, format_seconds

    facts = {
        "trial": f"{data['number']} of {data['run']}, seed {data['seed']}",
        "proposed": proposed_words(data),
        "standing": standing_words(data),
    }
    if data["standing"] in ("front", "dominated"):
        numbers = data["dominates"]
        facts["dominates"] = trial_words(numbers, SHOWN) if numbers else "no other trial"
    if data["hypervolume_share"] is not None:
        facts["adds"] = (
            f"{share_words(data['hypervolume_share'])} of the front's hypervolume, "
            f"which no other trial covers"
        )
    facts |= {
        "error": _error(data),
        "MACs": f"{data['macs']:,}",
        "parameters": f"{data['params']:,}",
        "memory": f"{data['activation_bytes']:,} bytes of activations, "
        f"{data['peak_activation_bytes']:,} at the peak",
    }
    if not math.isnan(data["latency_ms"]):
        facts["latency"] = f"{format_milliseconds(data['latency_ms'])}, predicted"
    if data["curve"]:
        seconds = data["curve"][-1]["train_seconds"]
        facts["time"] = (
            f"{format_seconds(seconds)} of training and validation, of them "
            f"{data['setup_seconds']:.2f}s of set-up before the first step"
        )
    return facts


def _error(data: Mapping[str, Any]) -> str:
    if not math.isnan(data["error"]):
        return f"{100 * data['error']:.2f} %"
    if not data["curve"]:
        return "not known"
    last = data["curve"][-1]
    return f"{100 * last['error']:.2f} % at epoch {last['epoch']}, its last"


def _print_rivals(data: Mapping[str, Any]) -> None:
    """Tables of the trials that decided where it stands."""
    stop = data["stop"]
    if data["neighbours"]:
        rows = [(row["beside"], *_compared(row, data)) for row in data["neighbours"]]
        _print_compared(("",), rows, data, "Beside it on the front")
    elif data["dominators"]:
        rows = [_compared(row, data) for row in data["dominators"][:SHOWN]]
        _print_compared((), rows, data, "What dominates it on the front")
    elif stop is not None and data["rivals"]:
        it = "it" if stop["judged"] == data["number"] else f"trial {stop['judged']}"
        rows = [
            (
                str(row["number"]),
                _number(row["rung_loss"], ".3f"),
                _number(row["loss_change"], "+.3f"),
                *_cost_words(row, data),
                _became(row, data["run_state"]),
            )
            for row in data["rivals"]
        ]
        title = f"What dominated {it} at epoch {stop['epoch']}"
        _print_compared((), rows, data, title, ("in the end",), measure=">validation loss")


def _print_compared(
    before: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    data: Mapping[str, Any],
    title: str,
    after: tuple[str, ...] = (),
    measure: str = ">error (%)",
) -> None:
    from nas.cli.console import print_table, print_text

    costs = [header for name in _costs(data) for header in (UNITS[name][0], ">times")]
    print_text()
    print_table((*before, ">trial", measure, ">difference", *costs, *after), rows, title=title)


def _costs(data: Mapping[str, Any]) -> list[str]:
    return [name for name in data["objectives"] if name != "error"]


def _compared(row: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, ...]:
    """Another trial, and how it differs from this one: in points of error, and times the cost."""
    error, change = 100 * row["error"], 100 * row["error_change"]
    return (
        str(row["number"]),
        _number(error, ".2f"),
        _number(change, "+.2f"),
        *_cost_words(row, data),
    )


def _cost_words(row: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    return [
        text
        for name in _costs(data)
        for text in (f"{row[name] / UNITS[name][1]:,.2f}", f"{row[f'{name}_ratio']:.2f}")
    ]


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _became(row: Mapping[str, Any], run_state: str) -> str:
    word = state_word(row["state"], run_state)
    return f"{word}, {100 * row['error']:.2f} %" if row["state"] == "complete" else word


def _print_curve(curve: Sequence[Mapping[str, Any]]) -> None:
    from nas.cli.console import print_table, print_text

    if not curve:
        return
    print_text()
    print_table(
        (">epoch", ">train loss", ">validation loss", ">error (%)", ">seconds"),
        [
            (
                str(row["epoch"]),
                f"{row['train_loss']:.4f}",
                f"{row['validation_loss']:.4f}",
                f"{100 * row['error']:.2f}",
                f"{row['train_seconds']:,.1f}",
            )
            for row in curve
        ],
    )
