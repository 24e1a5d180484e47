"""Fronts, ranks, hypervolume and the knee, over plain arrays; everything is minimised.

``points`` is an array of n rows (trials) by m columns (objectives). A row with a NaN or an
infinite value is a trial without a result: it is never on a front and adds no hypervolume. Equal
rows do not dominate each other, so duplicates and ties stay on the front together.

Costs span decades, so their axes are logarithmic wherever a distance or a volume is taken:
``log_axes=cost_axes(objectives)`` says which columns. Dominance does not depend on it.

moocore does the work (https://multi-objective.github.io/moocore/python); this module fixes the
rules above. Left out: what a trial is (:mod:`nas.analysis.tables`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-9
"""Normalised distances closer than this are equal to :func:`knee_index`."""

CHUNK = 2_000_000
"""Differences that are held at once where each row is set against each other one."""


def cost_axes(objectives: Sequence[str]) -> tuple[int, ...]:
    """The columns that are costs, hence logarithmic: every objective but ``error``."""
    return tuple(index for index, name in enumerate(objectives) if name != "error")


def nondominated(points: ArrayLike) -> NDArray[np.bool_]:
    """A mask, n, of the rows on the front: no other row is as good everywhere and better once."""
    values = _points(points)
    known = np.isfinite(values).all(axis=1)
    mask = np.zeros(len(values), dtype=bool)
    if known.any():
        mask[known] = moocore.is_nondominated(values[known], keep_weakly=True)
    return mask


def ranks(points: ArrayLike) -> NDArray[np.int64]:
    """The number of fronts, n, to peel off before a row is on one; 0 is the front itself.

    Rows without a result come after all others, in a rank of their own.
    """
    values = _points(points)
    known = np.isfinite(values).all(axis=1)
    result = np.zeros(len(values), dtype=np.int64)
    if known.any():
        result[known] = moocore.pareto_rank(values[known])
        result[~known] = result[known].max() + 1
    return result


def hypervolume(
    points: ArrayLike, reference: ArrayLike, *, log_axes: Collection[int] = ()
) -> float:
    """The volume that the rows dominate, up to the reference point, m.

    A row that is not better than the reference on every axis adds nothing. Logarithmic axes are
    measured in decades (log10).

    Raises:
        ValueError: the reference has another number of objectives or is not finite; a value on
            a logarithmic axis is not above 0.
    """
    values, limit = _with_reference(points, reference, log_axes)
    inside = values[(values < limit).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=limit)) if len(inside) else 0.0


def hypervolume_history(
    points: ArrayLike, reference: ArrayLike, *, log_axes: Collection[int] = ()
) -> NDArray[np.float64]:
    """The hypervolume, n, of the rows up to and including each one, in the order given.

    Raises:
        ValueError: as :func:`hypervolume`.
    """
    values, limit = _with_reference(points, reference, log_axes)
    history = np.zeros(len(values))
    inside: NDArray[np.bool_] = np.all(values < limit, axis=1)
    front = values[:0]
    volume = 0.0
    for index, row in enumerate(values):
        # Only a row that nothing so far equals or dominates can change the volume.
        if inside[index] and not (front <= row).all(axis=1).any():
            front = np.vstack([front[~(row <= front).all(axis=1)], row])
            volume = float(moocore.hypervolume(front, ref=limit))
        history[index] = volume
    return history


def coverage(points: ArrayLike, other: ArrayLike) -> float:
    """The share of the other rows that some row here equals or dominates; NaN where there is none.

    The C-metric of E. Zitzler and L. Thiele ("Multiobjective optimization using evolutionary
    algorithms: a comparative case study", PPSN V, 1998). Rows without a result count on neither
    side. ``coverage(a, b)`` and ``coverage(b, a)`` need not sum to 1: give both.
    """
    ours, theirs = (_finite(values) for values in (points, other))
    if not len(theirs):
        return float("nan")
    front = ours[nondominated(ours)]
    step = max(1, CHUNK // max(1, front.size))
    covered = 0
    for start in range(0, len(theirs), step):
        part = theirs[start : start + step]
        is_covered: NDArray[np.bool_] = np.all(front[None] <= part[:, None], axis=2)
        covered += int(is_covered.any(axis=1).sum())
    return covered / len(theirs)


def additive_epsilon(points: ArrayLike, other: ArrayLike) -> float:
    """By how much every value here must fall until each other row is equalled or dominated.

    The additive epsilon indicator of E. Zitzler et al. ("Performance assessment of multiobjective
    optimizers: an analysis and review", IEEE TEVC 7(2), 2003); rows are taken as they are, so put
    them on axes of one scale first (:func:`scale_axes`). NaN where either has no result.
    """
    ours, theirs = (_finite(values) for values in (points, other))
    if not len(ours) or not len(theirs):
        return float("nan")
    return float(moocore.epsilon_additive(ours, ref=theirs))


def multiplicative_epsilon(points: ArrayLike, other: ArrayLike) -> float:
    """By what factor every value here must be divided until each other row is covered.

    As :func:`additive_epsilon`, but free of units: 1.05 is five per cent on every axis. NaN where
    either has no result.

    Raises:
        ValueError: a value is below 0: a factor says nothing across 0.
    """
    ours, theirs = (_finite(values) for values in (points, other))
    for values in (ours, theirs):
        if (values < 0).any():
            raise ValueError(f"a factor needs values of at least 0, not {values.min():g}")
    if not len(ours) or not len(theirs):
        return float("nan")
    step = max(1, CHUNK // ours.size)
    parts = [theirs[start : start + step] for start in range(0, len(theirs), step)]
    return max(float(factors(ours, part).max(axis=2).min(axis=1).max()) for part in parts)


def factors(points: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value here over each other row's (others, points, objectives); 0 over 0 is 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = points[None] / other[:, None]
    return np.where(np.isnan(found), 1.0, found)


def scale_axes(
    points: ArrayLike, front: ArrayLike, *, log_axes: Collection[int] = ()
) -> NDArray[np.float64]:
    """The rows on axes where ``front`` spans 0 to 1, logarithmic ones in decades before that.

    An axis on which the whole front agrees keeps its own unit. Rows without a result are NaN.

    Raises:
        ValueError: a value on a logarithmic axis is not above 0.
    """
    bounds = _scaled(_points(front), log_axes)
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    values = _scaled(_points(points), log_axes)
    if not len(bounds):
        return values
    low, span = bounds.min(axis=0), np.ptp(bounds, axis=0)
    scaled: NDArray[np.float64] = (values - low) / np.where(span > 0, span, 1.0)
    return scaled


def knee_index(points: ArrayLike, log_axes: Collection[int] = ()) -> int | None:
    """The row where the front bends most; None where no row has a result.

    Axes are scaled so that the front spans 0 to 1 on each. With two objectives the knee is the
    front point farthest below the line between the front's two ends (I. Das, "On characterizing
    the 'knee' of the Pareto curve based on normal-boundary intersection", Structural
    Optimization 18, 1999). On scaled axes that line is ``x + y = 1``, so the farthest point is
    the one with the smallest sum of coordinates; with three or more objectives that sum is what
    is minimised (W.-Y. Chiu, G. Yen, T.-K. Juan, "Minimum Manhattan distance approach to
    multiple criteria decision making", IEEE TEVC 20(6), 2016), because a plane through the
    extremes need not exist when one network is the best in two costs.

    Ties go to the smaller first objective, then to the next ones, then to the earlier row. So
    one point is its own knee, of two points (both are ends) the one with the smaller error is
    taken, as on a front that bends outwards; one objective has its minimum as the knee.

    Raises:
        ValueError: a value on a logarithmic axis is not above 0.
    """
    plain = _points(points)
    values = _scaled(plain, log_axes)
    on_front = np.flatnonzero(nondominated(plain))
    if not len(on_front):
        return None
    front = values[on_front]
    low = front.min(axis=0)
    span = front.max(axis=0) - low
    # An axis on which the whole front agrees does not tell its points apart.
    sums = ((front - low) / np.where(span > 0, span, 1.0)).sum(axis=1)
    best = on_front[sums <= sums.min() + TIE]
    return int(min(best, key=lambda index: (*plain[index], index)))


def _points(points: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"points must be n rows by m objectives, not of shape {values.shape}")
    return np.ascontiguousarray(values)


def _finite(points: ArrayLike) -> NDArray[np.float64]:
    """The rows that have a result."""
    values = _points(points)
    return values[np.isfinite(values).all(axis=1)]


def _scaled(values: NDArray[np.float64], log_axes: Collection[int]) -> NDArray[np.float64]:
    """``values`` with log10 on the logarithmic axes and NaN in every row without a result."""
    scaled = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)
    for axis in log_axes:
        column = scaled[:, axis]
        if (column <= 0).any():
            raise ValueError(
                f"objective {axis} is on a logarithmic axis and must be above 0, "
                f"not {np.nanmin(column):g}"
            )
        scaled[:, axis] = np.log10(column)
    return scaled


def _with_reference(
    points: ArrayLike, reference: ArrayLike, log_axes: Collection[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = _points(points)
    limit = np.asarray(reference, dtype=np.float64)
    if limit.shape != (values.shape[1],) or not np.isfinite(limit).all():
        raise ValueError(
            f"the reference point must be {values.shape[1]} finite numbers, not {reference!r}"
        )
    return _scaled(values, log_axes), _scaled(limit[None], log_axes)[0]
