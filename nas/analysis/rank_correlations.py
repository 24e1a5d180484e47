"""Rank correlations: Kendall's tau-b with bootstrap intervals, paired differences, Spearman's rho.

A tau is written over pairs: with the signs ``s_ij = sign(x_i - x_j)`` and ``t_ij`` of the two
rankings, tau-b is ``sum(s * t) / sqrt(sum(s * s) * sum(t * t))`` (Kendall 1945, "The treatment of
ties in ranking problems"). A bootstrap draw takes item i ``w_i`` times, so pair ij counts
``w_i * w_j`` times, and thousands of draws are a few matrix products. Intervals are over items,
not over pairs: pairs that share an item are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 4_000
"""Bootstrap draws of an interval."""

MANY_ITEMS = 500
"""With more items an interval is drawn a quarter as often: a draw takes time by their square."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % percentile interval and the number of items it is over."""

    value: float
    low: float
    high: float
    items: int

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "-"
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def tau(first: Sequence[float], second: Sequence[float], groups: Sequence[int] = ()) -> Estimate:
    """Kendall's tau-b of two rankings of the same items; items with a NaN are left out.

    With ``groups`` (a number an item) only pairs within a group count.
    """
    x, y, same = _complete(first, second, groups=groups)
    return _estimate(_taus(x, y, same, np.ones((1, len(x)))), _taus(x, y, same, _draws(len(x))), x)


def tau_difference(
    first: Sequence[float], other: Sequence[float], truth: Sequence[float]
) -> Estimate:
    """``tau(first, truth) - tau(other, truth)`` over the items that have all three.

    The interval is of the difference itself: both taus are taken on the same draws of items.
    """
    x, y, t, same = _complete(first, other, truth)
    ones, draws = np.ones((1, len(x))), _draws(len(x))
    value, drawn = (_taus(x, t, same, w) - _taus(y, t, same, w) for w in (ones, draws))
    return _estimate(value, drawn, x)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rho, ties sharing their mean rank; items with a NaN are left out.

    NaN where a ranking is all ties.
    """
    x, y, _ = _complete(first, second)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: Array) -> Array:
    """How many are less, and half of how many are equal: mean ranks but for a constant."""
    less = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(less + equal / 2, dtype=np.float64)


def _complete(*rankings: Sequence[float], groups: Sequence[int] = ()) -> list[Array]:
    """The rankings of the items that all have, and which pairs count (items, items)."""
    table = np.array(rankings, dtype=np.float64)
    kept = np.isfinite(table).all(axis=0)
    group = np.asarray(groups)[kept] if len(groups) else np.zeros(int(kept.sum()))
    return [*table[:, kept], (group[:, None] == group[None, :]).astype(np.float64)]


def _draws(items: int) -> Array:
    """How often each draw takes each item (draws, items); the same for the same number of items."""
    random = np.random.default_rng(0)
    share = np.full(items, 1 / items) if items else np.empty(0)
    draws = DRAWS if items <= MANY_ITEMS else DRAWS // 4
    return random.multinomial(items, share, size=draws).astype(np.float64)


def _taus(x: Array, y: Array, counts: Array, weights: Array) -> Array:
    """Tau-b of each row of ``weights``; NaN where a ranking is all ties."""
    s, t = (np.sign(values[:, None] - values[None, :]) * counts for values in (x, y))
    both, first, second = (((weights @ a) * weights).sum(axis=1) for a in (s * t, s * s, t * t))
    untied = np.sqrt(first * second)
    found: Array = np.divide(both, untied, out=np.full(len(both), np.nan), where=untied > 0)
    return found


def _estimate(value: Array, drawn: Array, items: Array) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or not np.isfinite(value[0]):
        return Estimate(float("nan"), float("nan"), float("nan"), len(items))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value[0]), float(low), float(high), len(items))
