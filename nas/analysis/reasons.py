"""Why a trial stands where it does: whom it beats, who beats it, what stands beside it.

Each function takes a run's ``trials`` (``Run.trials``) and a trial's number and computes a new
frame. Left out: the reason that was recorded when a trial ended, which stands in its row, and
words for people (:mod:`nas.cli.show_trial`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.analysis.tables import front_table, objective_points
from nas.cost import SEARCHED_COSTS
from nas.pareto import cost_axes, hypervolume, nondominated

BESIDE = ("cheaper", "dearer")


def dominated_numbers(
    trials: pd.DataFrame, objectives: Sequence[str], number: int
) -> NDArray[np.int64]:
    """The numbers of the complete trials that a trial dominates."""
    points, own = _points(trials, objectives, number)
    worse = (points >= own).all(axis=1) & (points > own).any(axis=1)
    return trials["number"].to_numpy(dtype=np.int64)[worse]


def dominators_table(trials: pd.DataFrame, objectives: Sequence[str], number: int) -> pd.DataFrame:
    """The trials of the front that dominate a trial, the nearest in error first.

    Columns as :func:`neighbours_table`, with ``beside`` empty.
    """
    points, own = _points(trials, objectives, number)
    better = (points <= own).all(axis=1) & (points < own).any(axis=1) & nondominated(points)
    rivals = trials[better].assign(beside="")
    rivals = rivals.sort_values(["error", "number"], ascending=[False, True])
    return _compared(rivals, _row(trials, number))


def neighbours_table(trials: pd.DataFrame, objectives: Sequence[str], number: int) -> pd.DataFrame:
    """The next cheaper and the next dearer trial of the front, as far as there are such.

    In the order of the first objective that is a cost; a trial that ties in all objectives is no
    neighbour. Columns: ``beside`` (one of :data:`BESIDE`), ``number``, ``error``, the costs,
    ``error_change`` and, for each cost, ``COST_ratio``: the neighbour's against the trial's.
    """
    front, own = front_table(trials, objectives), _row(trials, number)
    names = list(objectives)
    others = front[(front[names] != own[names]).any(axis=1)]
    first = next((name for name in objectives if name != "error"), "error")
    # Of equal costs (with three objectives) the one of the smaller number counts as cheaper.
    is_cheaper = (others[first] < own[first]) | (
        (others[first] == own[first]) & (others["number"] < number)
    )
    sides = {"cheaper": others[is_cheaper].tail(1), "dearer": others[~is_cheaper].head(1)}
    beside = [part.assign(beside=side) for side, part in sides.items() if len(part)]
    return _compared(pd.concat(beside) if beside else front.head(0).assign(beside=""), own)


def rivals_table(
    trials: pd.DataFrame, curves: pd.DataFrame, numbers: Sequence[int], number: int, epoch: int
) -> pd.DataFrame:
    """The trials that dominated one at a rung, in the order given.

    Columns: ``number``, ``rung_loss`` (their validation loss at that epoch, which decides there),
    ``loss_change`` (less that of the trial), the costs, ``COST_ratio`` as in
    :func:`neighbours_table`, ``state`` and ``error`` (what became of them).
    """
    at_rung = curves[curves["epoch"] == epoch].set_index("number")["validation_loss"]
    rivals = trials.set_index("number").reindex(list(numbers)).dropna(subset=["state"])
    own = _row(trials, number)
    table = rivals.reset_index()[["number", *SEARCHED_COSTS, "state", "error"]]
    table.insert(1, "rung_loss", table["number"].map(at_rung).astype(float))
    table["loss_change"] = table["rung_loss"] - at_rung.get(number, np.nan)
    for name in SEARCHED_COSTS:
        table[f"{name}_ratio"] = table[name] / own[name]
    return table


def own_share(
    trials: pd.DataFrame, objectives: Sequence[str], reference: Sequence[float], number: int
) -> float:
    """The share of the front's hypervolume that is lost without a trial; 0 where it ties."""
    points, axes = objective_points(trials, objectives), cost_axes(objectives)
    whole = hypervolume(points, reference, log_axes=axes)
    without = points[(trials["number"] != number).to_numpy()]
    return 1 - hypervolume(without, reference, log_axes=axes) / whole if whole else 0.0


def _points(
    trials: pd.DataFrame, objectives: Sequence[str], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The objectives of all trials, and of this one."""
    points = objective_points(trials, objectives)
    return points, points[(trials["number"] == number).to_numpy()][0]


def _row(trials: pd.DataFrame, number: int) -> pd.Series:
    return trials[trials["number"] == number].iloc[0]


def _compared(others: pd.DataFrame, own: pd.Series) -> pd.DataFrame:
    """Other trials beside one: what they cost, and the difference to it."""
    table = others[["beside", "number", "error", *SEARCHED_COSTS]].reset_index(drop=True)
    table["error_change"] = table["error"] - own["error"]
    for name in SEARCHED_COSTS:
        table[f"{name}_ratio"] = table[name] / own[name]
    return table
