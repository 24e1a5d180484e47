"""A confirmation on the screen: the table, how far the proxy ranks, the verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.records import Run
    from nas.records.confirmation import Confirmation

WIDE = 118
"""Columns of a terminal from which on the table says more."""

COLUMNS = {
    "macs": ("MACs (M)", 1e6, 2),
    "params": ("params (K)", 1e3, 1),
    "activation_bytes": ("memory (KiB)", 1024, 0),
    "peak_activation_bytes": ("peak (KiB)", 1024, 0),
    "latency_ms": ("latency (ms)", 1, 3),
}
"""Header, unit and digits of a cost; the first that is an objective stands in the table."""

LONGEST = 10
"""Letters of what a network is there as that keep to one line."""

ROLES = {
    "front": "front",
    "control": "dominated",
    "preset": "landmark",
    "random": "landmark",
}


def confirmation_of(run: Run) -> dict[str, Any] | None:
    """What is shown of the run's confirmation; None where it has none."""
    from nas.records.confirmation import open_confirmation

    found = open_confirmation(run)
    return None if found is None else confirmation_data(found)


def confirmation_data(confirmation: Confirmation) -> dict[str, Any]:
    """What is shown of a confirmation, as plain data with stable keys."""
    from nas.analysis.confirmed_summary import summarise_confirmation
    from nas.analysis.next_steps import run_word

    summary = summarise_confirmation(confirmation)
    study, task, verdict = confirmation.study, summary.task, summary.verdict
    trainings = confirmation.trainings
    return {
        "run": confirmation.run.name,
        "word": run_word(confirmation.run),
        "path": str(confirmation.path),
        "state": study.state,
        "ended": study.ended.message if study.ended else None,
        "data": task.data,
        "epochs": task.proxy.epochs,
        "recipe": task.recipe.name,
        "precision": task.precision,
        "device": study.settings.device,
        "versions": study.settings.versions,
        "seeds": confirmation.settings.seeds,
        "validation_images": task.validation_images,
        "test_images": confirmation.test_images,
        "trained": summary.trained,
        "wanted": summary.wanted,
        "failed": int((trainings["state"] == "failed").sum()),
        "train_seconds": float(trainings["train_seconds"].sum()),
        "spread": summary.spread,
        "objectives": list(confirmation.objectives),
        "networks": _records(summary.table),
        "trainings": _records(trainings),
        "agreement": {str(row["predictor"]): row for row in _records(summary.agreement)},
        "survivors": verdict.survivors,
        "front": verdict.finalists,
        "pick": verdict.pick,
        "verdict": verdict.text,
        "basis": summary.basis,
    }


def _records(frame: Any) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def network_words(name: str) -> str:
    """A network's name as people say it: ``trial 24``, ``googlenet-narrow``."""
    return f"trial {name.removeprefix('trial')}" if name.startswith("trial") else name


def print_confirmation(data: dict[str, Any], *, with_next: bool = False) -> None:
    """The table, what it rests on, and the verdict."""
    from nas.analysis.shell import command
    from nas.cli.console import print_commands, print_table, print_text, stdout
    from nas.quantities import format_number_of

    wide = stdout().width >= WIDE
    headers, rows = _table(data, wide)
    title = (
        f"Confirmed: {format_number_of(len(data['networks']), 'network')}, "
        f"{format_number_of(data['epochs'], 'epoch')} of {data['data']}, "
        f"{format_number_of(data['seeds'], 'seed')}; errors in %"
    )
    short = max(len(row[1]) for row in rows) <= LONGEST
    print_table(headers, rows, title=title, unbroken=("network", *(["as"] if short else [])))
    print_text(data["basis"])
    print_text()
    print_text(data["verdict"], bold=True)
    if not with_next:
        return
    if data["state"] == "interrupted" or data["failed"]:
        print_commands("Next", [command("confirm", data["word"], "--resume")])
    elif data["pick"] is not None:
        folder = f"{data['path']}/trial{data['pick']}-seed0"
        print_commands("Next", [command("export", folder, "--out", f"{folder}/export")])


def _table(data: dict[str, Any], wide: bool) -> tuple[list[str], list[list[str]]]:
    """Headers and rows; test errors only where they were measured."""
    has_test = data["test_images"] > 0
    cost = next((name for name in data["objectives"] if name in COLUMNS), "macs")
    headers = ["network", "as", f">{COLUMNS[cost][0]}", ">proxy", ">error", ">P(front)"]
    headers += [">test"] if has_test else []
    headers += [">shrunk", f">{COLUMNS[_other(cost)][0]}", ">seeds", ">time"] if wide else []
    return headers, [_row(item, cost, has_test, wide) for item in data["networks"]]


def _other(cost: str) -> str:
    """The cost that stands beside the objective's own where there is room."""
    return "params" if cost == "macs" else "macs"


def _cost(item: dict[str, Any], name: str) -> str:
    _, unit, digits = COLUMNS[name]
    return f"{item[name] / unit:,.{digits}f}"


def _row(item: dict[str, Any], cost: str, has_test: bool, wide: bool) -> list[str]:
    from nas.quantities import format_seconds

    cells = [
        network_words(item["name"]),
        item["picks"] or ROLES[item["role"]],
        _cost(item, cost),
        _percent(item["proxy_error"]),
        _interval(item["mean"], item["high"]),
        _number(item["front_probability"]),
    ]
    if has_test:
        high = item["test_high"] if wide else math.nan
        cells.append(_interval(item["test_mean"], high))
    if wide:
        cells += [
            _percent(item["shrunk"]),
            _cost(item, _other(cost)),
            str(item["seeds"]),
            format_seconds(item["train_seconds"]),
        ]
    return cells


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _interval(mean: float, high: float) -> str:
    if math.isnan(mean):
        return "-"
    return _percent(mean) if math.isnan(high) else f"{100 * mean:.2f} ± {100 * (high - mean):.2f}"
