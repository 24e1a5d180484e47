"""Which of several runs can stand beside each other, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.analysis.run_groups import run_groups
from nas.records import RunSettings
from nas.task import Task


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
