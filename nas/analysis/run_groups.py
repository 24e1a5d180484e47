"""Which runs repeat each other, which may be compared, and which share a seed.

Runs of one task, space, objectives and budgets that were searched in the same way are repeats of
one search, a group; the ways that differ name the groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from nas.records import RunSettings
from nas.space import SearchSpace
from nas.task import Task

_WAYS: dict[str, Callable[[RunSettings], str]] = {
    "space": lambda settings: str(SearchSpace.from_json(settings.space).name),
    "sampler": lambda settings: settings.sampler,
    "halving": lambda settings: "stops early" if settings.halving else "trains to the end",
    "budgets": lambda settings: ", ".join(f"{k} <= {v}" for k, v in settings.budgets.items()),
}


def run_groups(settings: Mapping[str, RunSettings]) -> dict[str, str]:
    """The group of each run, named by how the groups differ ("nsga2, stops early").

    Where all were searched alike there is one group, "all runs".
    """
    ways = {
        name: {way: words(one) or "no budgets" for way, words in _WAYS.items()}
        for name, one in settings.items()
    }
    differing = [way for way in _WAYS if len({found[way] for found in ways.values()}) > 1]
    return {
        name: ", ".join(found[way] for way in differing) or "all runs"
        for name, found in ways.items()
    }


def seed_pairs(
    settings: Mapping[str, RunSettings], groups: Mapping[str, str]
) -> dict[str, int] | None:
    """The seed of each run where every group has the same seeds, each once; None otherwise."""
    seeds: dict[str, list[int]] = {}
    for name, group in groups.items():
        seeds.setdefault(group, []).append(settings[name].seed)
    sets = {tuple(sorted(found)) for found in seeds.values()}
    if len(sets) != 1 or max(Counter(next(iter(sets))).values()) > 1:
        return None
    return {name: settings[name].seed for name in groups}


def incomparable(settings: Mapping[str, RunSettings]) -> str:
    """Why the runs do not compare, in a sentence; "" where they do."""
    if len({Task.from_json(one.task).fingerprint for one in settings.values()}) > 1:
        return "The runs differ in data, proxy or training: their errors do not compare."
    if len({(one.objectives, one.reference) for one in settings.values()}) > 1:
        return "The runs differ in objectives or reference point: hypervolumes do not compare."
    return ""
