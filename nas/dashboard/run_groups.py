"""Which of several runs can be compared, and which are repeats of one search with other seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from nas.cost import COST_LABELS
from nas.quantities import format_count, format_seconds
from nas.records import RunSettings
from nas.task import Task

ALONE = "all runs"
"""The group of runs that differ in nothing but their seeds."""


@dataclass(frozen=True)
class Comparable:
    """Runs that measure the same, in their order, their groups, and why others are left out."""

    names: tuple[str, ...]
    groups: dict[str, str]
    left_out: dict[str, str]


def comparable_runs(runs: Mapping[str, RunSettings]) -> Comparable:
    """Those of ``runs`` that minimise the same on the same task as the first one.

    Errors of different tasks or proxies say nothing about each other.
    """
    if not runs:
        return Comparable((), {}, {})
    first = next(iter(runs))
    left_out = {}
    for name, settings in runs.items():
        why = _difference(runs[first], settings)
        if why:
            left_out[name] = f"{why} than that of {first}"
    kept = {name: settings for name, settings in runs.items() if name not in left_out}
    return Comparable(tuple(kept), run_groups(kept), left_out)


def _difference(first: RunSettings, other: RunSettings) -> str:
    if Task.from_json(first.task).fingerprint != Task.from_json(other.task).fingerprint:
        return "another task or proxy"
    if first.objectives != other.objectives:
        return "other objectives"
    return ""


def run_groups(runs: Mapping[str, RunSettings]) -> dict[str, str]:
    """A label a run that says what sets its search apart; runs of one label are repeats.

    What counts: space, sampler, halving, budgets, limits. Seeds, dates, versions and machines do
    not: they are what repeats differ in.
    """
    words = {name: _words(settings) for name, settings in runs.items()}
    differing = [
        key
        for key in next(iter(words.values()), {})
        if len({known[key] for known in words.values()}) > 1
    ]
    return {
        name: ", ".join(known[key] for key in differing) or ALONE for name, known in words.items()
    }


def _words(settings: RunSettings) -> dict[str, str]:
    """What a search is, by kind, in words for a legend."""
    space = json.loads(settings.space)
    return {
        "space": str(space.get("name", "")) or "its own space",
        "sampler": settings.sampler,
        "halving": "stopped at rungs" if settings.halving else "trained in full",
        "budgets": _budgets(settings) or "no budget",
        "limits": _limits(settings) or "no limit",
    }


def _budgets(settings: RunSettings) -> str:
    return ", ".join(
        f"at most {format_count(limit)} {COST_LABELS.get(name, name)}"
        for name, limit in sorted(settings.budgets.items())
    )


def _limits(settings: RunSettings) -> str:
    parts = []
    if settings.trials is not None:
        parts.append(f"{settings.trials:,} trials")
    if settings.seconds is not None:
        parts.append(format_seconds(settings.seconds))
    if settings.device_seconds is not None:
        parts.append(f"{format_seconds(settings.device_seconds)} of device time")
    return ", ".join(parts)
