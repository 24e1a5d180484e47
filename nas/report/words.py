"""The sentences of the page: what was searched, what came of it, what to be careful about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from nas.analysis.figures import percent
from nas.cost import COST_LABELS, describe_cost, format_cost
from nas.latency import LatencyTable
from nas.quantities import format_count, format_seconds
from nas.records import Run, RunSettings
from nas.task import Task


def search_sentence(settings: RunSettings, task: Task, table: pd.DataFrame) -> str:
    """What was searched, on what data, by which proxy."""
    space = str(json.loads(settings.space).get("name", "")) or "unnamed"
    image = task.proxy_image
    images = f"{task.proxy.images:,}" if task.proxy.images else "all"
    epochs = _counted(task.proxy.epochs, "epoch")
    judged = (
        f"each as a proxy of {task.proxy.width:g} times the width on {image.height} x "
        f"{image.width} pixels for {epochs} of {images} images"
        if settings.evaluate is None
        else f"each by the caller's own function {settings.evaluate}"
    )
    goals = " and ".join(COST_LABELS.get(name, name) for name in settings.objectives)
    return (
        f"{_counted(len(table), 'network')} of the space {space} on {task.data}, {judged}; "
        f"minimised: {goals}."
    )


def outcome_sentence(
    table: pd.DataFrame, front: pd.DataFrame, picks: pd.DataFrame, objectives: Sequence[str]
) -> str:
    """What came of it: the front, its ends and its knee, or why there is none."""
    if front.empty:
        return _no_front(table)
    knee = front[front["is_knee"]].to_dict("records")[0]
    chosen = (
        f"trial {knee['number']} with an error of {percent(knee['error'])} at "
        f"{format_count(knee['macs'])} MACs and {format_count(knee['params'])} parameters"
    )
    if len(objectives) == 1:
        return f"The smallest error is that of {chosen}."
    if len(front) == 1:
        return f"One network beats all others in every objective: {chosen}."
    by_pick = {row["pick"]: row for row in picks.to_dict("records")}
    low, best = by_pick["cheapest"], by_pick["best"]
    return (
        f"{_counted(len(front), 'network')} form the front, from {percent(low['error'])} error at "
        f"{format_count(low['macs'])} MACs to {percent(best['error'])} at "
        f"{format_count(best['macs'])}. The knee, where more cost begins to buy "
        f"little, is {chosen}."
    )


def _no_front(table: pd.DataFrame) -> str:
    if table.empty:
        return "No trial has been started yet: there is nothing to choose from."
    counts = table["standing"].value_counts()
    ended = ", ".join(f"{count} {standing}" for standing, count in counts.items())
    reasons = [reason for reason in table["reason"] if reason]
    first = f" The first reason: {reasons[0]}" if reasons else ""
    return (
        f"There is no front: none of {_counted(len(table), 'trial')} is complete ({ended}).{first}"
    )


def warnings(run: Run, table: pd.DataFrame, front: pd.DataFrame) -> list[str]:
    """What a reader should know before trusting the page."""
    found = []
    if run.state == "running":
        found.append("The search was still running when this page was written.")
    if run.state == "interrupted":
        found.append("The search was interrupted before its end; --resume goes on with it.")
    failed = int((table["standing"] == "failed").sum())
    if failed and 2 * failed >= len(table):
        found.append(f"{failed} of {_counted(len(table), 'trial')} failed; see the reasons below.")
    if table.empty and run.rejections.total:
        found.append(
            f"All {run.rejections.total:,} proposals were rejected before training; "
            f"see the reasons below and widen the budgets or the space."
        )
    if 0 < len(front) < 3 and len(run.settings.objectives) > 1:
        found.append(
            "With fewer than three networks a front has no bend: the knee is then the one with "
            "the smaller error."
        )
    return found


def settings_rows(run: Run, task: Task) -> list[tuple[str, str]]:
    """What the run was created with, as label and text."""
    settings = run.settings
    reference = ", ".join(
        percent(value) if name == "error" else describe_cost(name, value)
        for name, value in zip(settings.objectives, settings.reference, strict=True)
    )
    budgets = ", ".join(
        f"{name} <= {format_cost(name, value)}" for name, value in settings.budgets.items()
    )
    versions = ", ".join(f"{name} {value}" for name, value in settings.versions.items())
    target = task.target
    rows: list[tuple[str, Any]] = [
        ("data", task.data),
        ("target, what cost is counted for", f"{target.image}, {target.classes} classes"),
        ("validation", f"{task.validation_images:,} images carved from the training split"),
        ("recipe", task.recipe.name),
        ("precision", settings.precision),
        ("objectives, minimised", ", ".join(settings.objectives)),
        ("reference point of the hypervolume", reference),
        ("budgets", budgets or "none"),
        ("sampler", settings.sampler),
        ("seed", settings.seed),
        ("device", settings.device),
        ("created", settings.created),
        *_latency_row(run),
        ("state", run.state),
        ("directory", run.path),
        ("versions", versions),
    ]
    if run.ended is not None:
        rows.insert(-2, ("last session", format_seconds(run.ended.seconds)))
    return [(label, str(value)) for label, value in rows]


def _latency_row(run: Run) -> list[tuple[str, str]]:
    """Where the run's latencies hold and how good they are, if it has any."""
    if run.latency is None:
        return []
    table = LatencyTable.from_data(run.latency, f"run {run.name!r}")
    error = table.error
    words = (
        f"predicted for {table.setting}; off by {percent(error.median)} in the median of "
        f"{error.n} networks that were measured"
    )
    return [("latency", words)]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
