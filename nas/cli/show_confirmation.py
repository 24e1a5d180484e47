"""A confirmation on the screen: the table, how far the proxy ranks, the verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.records.confirmation import Confirmation

WIDE = 110
"""Columns of a terminal from which on the table says more."""

LONGEST = 10
"""Letters of what a network is there as that keep to one line."""

ROLES = {
    "front": "front",
    "control": "dominated",
    "preset": "landmark",
    "random": "landmark",
}


def confirmation_data(confirmation: Confirmation) -> dict[str, Any]:
    """What is shown of a confirmation, as plain data with stable keys."""
    from nas.analysis.confirmed import agreement_table, confirmed_table
    from nas.analysis.next_steps import run_word
    from nas.analysis.verdict import give_verdict
    from nas.task import Task

    settings, study = confirmation.settings, confirmation.study
    objectives = confirmation.objectives
    table = confirmed_table(confirmation.finalists, confirmation.trainings, objectives)
    agreement = agreement_table(table)
    trained = len(confirmation.complete_rows)
    wanted = settings.seeds * len(settings.finalists)
    verdict = give_verdict(table, agreement, objectives, trained=trained, wanted=wanted)
    task = Task.from_json(study.settings.task)
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
        "seeds": settings.seeds,
        "validation_images": task.validation_images,
        "test_images": confirmation.test_images,
        "trained": trained,
        "trainings": wanted,
        "failed": int((confirmation.trainings["state"] == "failed").sum()),
        "train_seconds": float(confirmation.trainings["train_seconds"].sum()),
        "spread": str(table["spread"].iloc[0]),
        "spread_sd": float(table["sd"].mean()),
        "networks": _records(table),
        "agreement": {str(row["predictor"]): row for row in _records(agreement)},
        "survivors": verdict.survivors,
        "front": verdict.finalists,
        "pick": verdict.pick,
        "verdict": verdict.text,
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

    wide = stdout().width >= WIDE
    headers, rows = _table(data, wide)
    title = (
        f"Confirmed: {len(data['networks'])} networks, {data['epochs']} epochs of {data['data']}, "
        f"{data['seeds']} seed{'' if data['seeds'] == 1 else 's'}; errors in %"
    )
    short = max(len(row[1]) for row in rows) <= LONGEST
    print_table(headers, rows, title=title, unbroken=("network", *(["as"] if short else [])))
    print_text(_basis(data))
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
    headers = ["network", "as", ">MACs (M)", ">proxy", ">error", ">P(front)"]
    headers += [">test"] if has_test else []
    headers += [">shrunk", ">params (K)", ">seeds", ">time"] if wide else []
    return headers, [_row(item, has_test, wide) for item in data["networks"]]


def _row(item: dict[str, Any], has_test: bool, wide: bool) -> list[str]:
    from nas.quantities import format_seconds

    cells = [
        network_words(item["name"]),
        item["picks"] or ROLES[item["role"]],
        f"{item['macs'] / 1e6:,.2f}",
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
            f"{item['params'] / 1e3:,.1f}",
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


def _basis(data: dict[str, Any]) -> str:
    """What the numbers rest on."""
    spread = {
        "pooled": f"±: 95 % interval of the mean over seeds by Student's t, with one spread for "
        f"all networks (sd {100 * data['spread_sd']:.2f} %)",
        "own": "±: 95 % interval of the mean over seeds by Student's t, each with its own spread",
        "none": "One seed says nothing of chance: there are no intervals",
    }[data["spread"]]
    test = (
        f"test: {data['test_images']:,} images, measured once, part of no choice"
        if data["test_images"]
        else "the test split was not measured"
    )
    return f"{spread}. Judged on {data['validation_images']:,} validation images; {test}."
