"""What all but reached the front, and the fewest networks that stand for the whole of it.

The front of a search is drawn through noisy errors, so a network just behind it may be as good.
Its *gap* is the least by which it would have to improve on every objective at once until no
trial beat it everywhere: 0 on the front. ``multiplicative`` gaps are factors less 1 (0.03: three
per cent better in error and in every cost); ``additive`` ones are shares of the front's span,
costs in decades. Networks with a gap of at most epsilon are the epsilon-front (M. Laumanns,
L. Thiele, K. Deb, E. Zitzler, "Combining convergence and diversity in evolutionary multiobjective
optimization", Evolutionary Computation 10(3), 2002: epsilon-dominance and epsilon-approximation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.analysis.tables import front_table, objective_points
from nas.cost import COSTS
from nas.pareto import CHUNK, cost_axes, factors, nondominated, scale_axes

Kind = Literal["multiplicative", "additive"]

ROUNDING = 1e-12
"""1.05 / 1 - 1 is a little over 0.05; it counts as within it."""

GAP_COLUMNS = ["number", "error", *COSTS, "gap", "is_front", "beaten_by"]
THINNED_COLUMNS = ["number", "error", *COSTS, "covers"]


def gaps_table(
    trials: pd.DataFrame, objectives: Sequence[str], *, kind: Kind = "multiplicative"
) -> pd.DataFrame:
    """How far each complete trial is from the front.

    Columns: ``number``, ``error``, the costs, ``gap``, ``is_front``, ``beaten_by`` (the front
    trial that the gap is measured to; -1 on the front).
    """
    complete = trials[list(dict.fromkeys(["number", "state", "error", *COSTS, *objectives]))]
    complete = complete[(complete["state"] == "complete") & complete["error"].notna()]
    if complete.empty:
        return pd.DataFrame(columns=GAP_COLUMNS)
    points = objective_points(complete, objectives)
    on_front = nondominated(points)
    gaps, nearest = _gaps(points, on_front, objectives, kind)
    numbers = complete["number"].to_numpy()
    beaten_by = np.where(on_front, -1, numbers[on_front][nearest])
    table = complete.assign(gap=gaps, is_front=on_front, beaten_by=beaten_by)
    return table[GAP_COLUMNS].reset_index(drop=True)


def near_front_table(
    trials: pd.DataFrame,
    objectives: Sequence[str],
    epsilon: float = 0.03,
    *,
    kind: Kind = "multiplicative",
) -> pd.DataFrame:
    """The epsilon-front: the rows of :func:`gaps_table` with a gap of at most ``epsilon``.

    Raises:
        ValueError: ``epsilon`` is below 0.
    """
    _check(epsilon)
    table = gaps_table(trials, objectives, kind=kind)
    order = [name for name in objectives if name != "error"] + ["error", "number"]
    return table[table["gap"] <= epsilon + ROUNDING].sort_values(order).reset_index(drop=True)


def thinned_front_table(
    trials: pd.DataFrame,
    objectives: Sequence[str],
    epsilon: float = 0.05,
    *,
    kind: Kind = "multiplicative",
) -> pd.DataFrame:
    """Few front trials of which one is within ``epsilon`` of any other front trial, cheapest first.

    Taken greedily, each time the one that stands for most of the rest: at most 1 + ln(n) times as
    many as the fewest (V. Chvatal, Mathematics of Operations Research 4(3), 1979). Columns:
    ``number``, ``error``, the costs, ``covers`` (how many it stands for, itself included).

    Raises:
        ValueError: ``epsilon`` is below 0.
    """
    _check(epsilon)
    front = front_table(trials, objectives)
    if front.empty:
        return pd.DataFrame(columns=THINNED_COLUMNS)
    points = front[list(objectives)].to_numpy(dtype=np.float64)
    excess = _excess(points, points, objectives, kind).max(axis=2).T
    covers = excess <= epsilon + ROUNDING
    left, counts = np.ones(len(front), dtype=bool), {}
    while left.any():
        gains = (covers & left).sum(axis=1)
        chosen = int(gains.argmax())
        counts[chosen] = int(gains[chosen])
        left &= ~covers[chosen]
    kept = sorted(counts)
    table = front.iloc[kept].assign(covers=[counts[index] for index in kept])
    return table[THINNED_COLUMNS].reset_index(drop=True)


def _check(epsilon: float) -> None:
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, not {epsilon!r}")


def _excess(
    front: NDArray[np.float64], points: NDArray[np.float64], objectives: Sequence[str], kind: Kind
) -> NDArray[np.float64]:
    """How much worse front rows are than other rows, by objective (points, front, objectives)."""
    if kind == "multiplicative":
        return factors(front, points) - 1.0
    axes = cost_axes(objectives)
    scaled = (scale_axes(values, front, log_axes=axes) for values in (front, points))
    ours, theirs = scaled
    return ours[None] - theirs[:, None]


def _gaps(
    points: NDArray[np.float64], on_front: NDArray[np.bool_], objectives: Sequence[str], kind: Kind
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The gap of each row, and which front row it is measured to."""
    front = points[on_front]
    gaps, nearest = np.zeros(len(points)), np.zeros(len(points), dtype=np.int64)
    step = max(1, CHUNK // front.size)
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        # By how much a front row is better on every axis: its smallest lead.
        if kind == "multiplicative":
            leads = 1.0 / np.maximum(factors(front, points[part]), 1e-300) - 1.0
        else:
            leads = -_excess(front, points[part], objectives, kind)
        least = leads.min(axis=2)
        gaps[part], nearest[part] = least.max(axis=1), least.argmax(axis=1)
    return np.where(on_front, 0.0, np.maximum(gaps, 0.0)), nearest
