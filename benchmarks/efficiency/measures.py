"""What a replayed search is measured by: hypervolume by trials and by device-seconds.

A search that did not reach a target before it ended is *censored*: its time counts as infinite,
so that medians stay medians (they are infinite where half of the searches did not get there).
Intervals are 95 % percentile bootstraps over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from efficiency.table import SCALES, Array, Scale, Table, log_axes
from nas.pareto import hypervolume, hypervolume_history

DRAWS = 2_000
FULL = 1 - 1e-9


class Ended(Protocol):
    """What is read of a search: its trials in the order of their ends."""

    rows: list[int]
    rungs: list[int]
    device_seconds: list[float]


class Shares:
    """The share of the table's full hypervolume that completed rows have, one after another."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: list[int] = []
        self._shares: dict[Scale, float] = dict.fromkeys(SCALES, 0.0)

    def add(self, row: int) -> None:
        """A row is complete; only rows that change the front are kept."""
        table = self._table
        points = table.points([*self._rows, row])
        error, macs = points[-1]
        if not math.isfinite(error) or (points[:-1] <= points[-1]).all(axis=1).any():
            return
        keep = ~((points[:-1] >= [error, macs]).all(axis=1))
        self._rows = [*(one for one, kept in zip(self._rows, keep, strict=True) if kept), row]
        for scale in SCALES:
            found = hypervolume(table.points(self._rows), table.reference, log_axes=log_axes(scale))
            self._shares[scale] = found / table.full_hypervolume[scale]

    def of(self, scale: Scale) -> float:
        """The share so far."""
        return self._shares[scale]

    @property
    def is_full(self) -> bool:
        """Whether the whole front was found."""
        return all(share >= FULL for share in self._shares.values())


def shares(table: Table) -> Shares:
    """No row is complete yet."""
    return Shares(table)


def history(search: Ended, table: Table, scale: Scale) -> Array:
    """The share of the full hypervolume after each trial's end; stopped trials add nothing."""
    points = table.points(search.rows)
    points[np.array(search.rungs) < len(table.rungs), 0] = np.nan
    volumes = hypervolume_history(points, table.reference, log_axes=log_axes(scale))
    return volumes / table.full_hypervolume[scale]


def first_reach(values: Array, along: Sequence[float], target: float) -> float:
    """Where along the search a share is first reached; infinite if it is not."""
    reached = np.flatnonzero(values >= target * FULL)
    return float(along[reached[0]]) if len(reached) else math.inf


@dataclass(frozen=True)
class Median:
    """A median over seeds with its interval; infinite where too many searches are censored."""

    value: float
    low: float
    high: float
    reached: int
    seeds: int

    def to_data(self) -> dict[str, float | int | None]:
        """As JSON takes it; what is infinite is null there."""
        finite = {
            name: getattr(self, name) if math.isfinite(getattr(self, name)) else None
            for name in ("value", "low", "high")
        }
        return {**finite, "reached": self.reached, "seeds": self.seeds}


def median(values: Sequence[float]) -> Median:
    """The median of some searches' values, infinite ones included."""
    array = np.array(values, dtype=np.float64)
    low, high = _interval(np.sort(_medians(array, np.random.default_rng(0))))
    reached = int(np.isfinite(array).sum())
    return Median(float(_median(array)), low, high, reached, len(array))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Median:
    """The ratio of two medians; where both are infinite it is not known (NaN)."""
    over, under = (np.array(values, dtype=np.float64) for values in (numerator, denominator))
    random = np.random.default_rng(0)
    with np.errstate(invalid="ignore"):
        drawn = _medians(over, random) / _medians(under, random)
        value = float(_median(over) / _median(under))
    known = np.sort(drawn[~np.isnan(drawn)])
    low, high = _interval(known) if len(known) else (math.nan, math.nan)
    reached = int(min(np.isfinite(over).sum(), np.isfinite(under).sum()))
    return Median(value, low, high, reached, min(len(over), len(under)))


def _medians(values: Array, random: np.random.Generator) -> Array:
    drawn = values[random.integers(len(values), size=(DRAWS, len(values)))]
    return _median(drawn)


def _median(values: Array) -> Array:
    # Not numpy's: it would subtract infinities from one another.
    ordered = np.sort(values, axis=-1)
    size = ordered.shape[-1]
    middle: Array = (ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2
    return middle


def _interval(ordered: Array) -> tuple[float, float]:
    last = len(ordered) - 1
    return float(ordered[round(0.025 * last)]), float(ordered[round(0.975 * last)])


@dataclass(frozen=True)
class Band:
    """Quartiles over seeds along an axis, as far as all searches of the series go."""

    at: Array
    low: Array
    middle: Array
    high: Array


def by_trials(histories: Sequence[Array]) -> Band:
    """After each trial's end. A search that had the full hypervolume keeps it."""
    longest = max(len(one) for one in histories)
    rows = np.full((len(histories), longest), np.nan)
    for row, one in zip(rows, histories, strict=True):
        row[: len(one)] = one
        if one[-1] >= FULL:
            row[len(one) :] = 1.0
    return _band(np.arange(1.0, longest + 1), rows)


def by_seconds(histories: Sequence[Array], seconds: Sequence[Sequence[float]], at: Array) -> Band:
    """At some device-seconds; before a search's first trial ends it has 0."""
    rows = np.full((len(histories), len(at)), np.nan)
    for row, one, spent in zip(rows, histories, seconds, strict=True):
        index = np.searchsorted(np.array(spent), at, side="right") - 1
        row[:] = np.where(index < 0, 0.0, one[np.maximum(index, 0)])
        if one[-1] < FULL:
            row[at > spent[-1]] = np.nan
    return _band(at, rows)


def _band(at: Array, rows: Array) -> Band:
    kept = ~np.isnan(rows).any(axis=0)
    quartiles = np.percentile(rows[:, kept], [25, 50, 75], axis=0)
    return Band(at[kept], *quartiles)


def over_seeds(searches: Sequence[Ended], measure: Callable[[Ended], float]) -> list[float]:
    """One number a search."""
    return [measure(search) for search in searches]
