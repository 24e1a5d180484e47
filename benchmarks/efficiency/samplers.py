"""The contestants: Optuna's samplers and ours, by name, on the flat parameters of a table's space.

All of them learn through the plain Optuna interface: (error, log10 MACs), both minimised, as the
product's search tells them. A setting can follow the name: ``nsga2:population_size=50``.
"""

from __future__ import annotations

import importlib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from efficiency.table import Table
from nas.search.samplers import POPULATION

Known = Callable[[dict[str, Any]], float]

OPTUNA = ("nsga2", "tpe", "gp")
"""Optuna's learning samplers; the best of them is the one to beat."""

_OURS = {
    "pareto": ("nas.search.pareto_sampler", "ParetoSampler"),
    "pareto_space": ("nas.search.pareto_sampler", "ParetoSampler"),
    "evolution": ("nas.search.evolution", "EvolutionSampler"),
}

CONTESTANTS = ("random", *OPTUNA, "evolution", "pareto", "pareto_space")
"""``pareto`` sees parameters alone; ``pareto_space`` and ``evolution`` are given the space too."""


class Rows:
    """From parameters to the table's row, in no time for those met before."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._names = tuple(table.space.parameters)
        self._known: dict[tuple[Any, ...], int] = {}
        self._canonical = [table.space.encode(one) for one in table.space.enumerate()]

    def __call__(self, values: Mapping[str, Any]) -> int:
        """The row that the values stand for."""
        key = tuple(values[name] for name in self._names)
        row = self._known.get(key)
        if row is None:
            architecture = self._table.space.decode(values)
            row = self._known[key] = self._table.row_by_fingerprint[architecture.fingerprint]
        return row

    def canonical(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same network with the first of all answers that do not matter."""
        return dict(self._canonical[self(values)])


class _Structure:
    """What ours is told of the space: sizes, mutation, and which answers give the same network."""

    def __init__(self, table: Table, rows: Rows) -> None:
        self._table, self._rows = table, rows
        sizes = [table.params, table.activation_bytes]
        self._features = np.log10(np.column_stack(sizes)).tolist()

    def features(self, params: dict[str, Any], /) -> Sequence[float]:
        """Parameters and activation bytes, in decades."""
        features: list[float] = self._features[self._rows(params)]
        return features

    def mutate(self, params: dict[str, Any], generator: np.random.Generator, /) -> dict[str, Any]:
        """Another answer to one question that matters, in the canonical encoding."""
        space = self._table.space
        return dict(space.encode(space.mutate(space.decode(params), generator)))

    def canonical(self, params: dict[str, Any], /) -> dict[str, Any]:
        """The first of all answers that give the same network."""
        return self._rows.canonical(params)


def check_contestant(text: str) -> str:
    """The name with its settings, if there is such a contestant here.

    Raises:
        ValueError: there is none, or its module is not there.
    """
    name = text.partition(":")[0]
    if name not in CONTESTANTS:
        raise ValueError(f"contestant must be one of {', '.join(CONTESTANTS)}, not {name!r}")
    if name in _OURS:
        _class_of(name)
    return text


def available() -> list[str]:
    """The contestants whose modules are there."""
    found = []
    for name in CONTESTANTS:
        try:
            found.append(check_contestant(name))
        except ValueError:
            continue
    return found


LIMIT = "trials"
"""The word that ends a contestant's searches early; the sampler itself does not get it."""


def make_sampler(text: str, table: Table, rows: Rows, seed: int) -> BaseSampler:
    """The contestant's sampler; same seed, same proposals."""
    name, settings = _parse(text)
    settings.pop(LIMIT, None)
    with warnings.catch_warnings():
        # TPE's `group` is marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "random":
            return RandomSampler(seed=seed, **settings)
        if name == "nsga2":
            return NSGAIISampler(seed=seed, **{"population_size": POPULATION, **settings})
        if name == "tpe":
            given = {"multivariate": True, "group": True, "constant_liar": True, **settings}
            return TPESampler(seed=seed, **given)
        if name == "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False, **settings)
        known = {1: lambda values: math.log10(table.macs[rows(values)])}
        if name != "pareto":
            settings = {"space": _Structure(table, rows), **settings}
        sampler: BaseSampler = _class_of(name)(known, seed=seed, **settings)
    return sampler


def limit_of(text: str) -> int | None:
    """The trials at most that a contestant is given in its words, such as ``gp:trials=80``."""
    limit = _parse(text)[1].get(LIMIT)
    return None if limit is None else int(limit)


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    name, _, rest = text.partition(":")
    settings = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        settings[key] = json.loads(value)
    return name, settings


def _class_of(name: str) -> Any:
    module, attribute = _OURS[name]
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"contestant {name}: {error}") from None
