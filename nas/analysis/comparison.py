"""Runs set against each other: indicators of their fronts, and whether a difference is chance.

``runs`` are the trials of runs of one task by name. The *joint front* is that of all of them put
together: what is best known. Additive epsilons are measured on axes where the joint front spans 0
to 1 (costs in decades): 0.1 is a tenth of what there was to gain. Significance is over repeated
runs (seeds) of each group; one run a group shows nothing but itself, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.analysis.tables import objective_points, picks_table
from nas.cost import COSTS
from nas.pareto import (
    additive_epsilon,
    cost_axes,
    coverage,
    hypervolume,
    multiplicative_epsilon,
    nondominated,
    scale_axes,
)

ALPHA = 0.05
SMALLER_IS_BETTER = ("epsilon_additive", "epsilon_multiplicative", "error", "best_error")
TOO_FEW = "too few runs"
NOTHING_SHOWN = "no difference shown"

INDICATOR_COLUMNS = [
    "run", "trials", "front", "hypervolume", "hypervolume_ratio", "epsilon_additive",
    "epsilon_multiplicative", "joint_share",
]  # fmt: skip
PAIR_COLUMNS = [
    "run", "other", "hypervolume_ratio", "epsilon_additive", "epsilon_multiplicative", "coverage",
]  # fmt: skip
SIGNIFICANCE_COLUMNS = [
    "group", "other", "runs", "other_runs", "test", "median", "other_median", "superiority",
    "p_value", "p_adjusted", "verdict",
]  # fmt: skip
DIFFERENCE_COLUMNS = ["pick", "run", "number", "error", *COSTS, "error_difference", "macs_ratio"]


@dataclass(frozen=True)
class _Fronts:
    """The fronts of runs as they are and on the joint front's axes, and the joint front."""

    plain: dict[str, NDArray[np.float64]]
    scaled: dict[str, NDArray[np.float64]]
    joint: NDArray[np.float64]
    joint_scaled: NDArray[np.float64]


def _fronts(runs: Mapping[str, pd.DataFrame], objectives: Sequence[str]) -> _Fronts:
    plain = {}
    for name, trials in runs.items():
        points = objective_points(trials, objectives)
        plain[name] = points[nondominated(points)]
    every = np.vstack([*plain.values(), np.zeros((0, len(objectives)))])
    joint = every[nondominated(every)]
    axes = cost_axes(objectives)
    scaled = {name: scale_axes(front, joint, log_axes=axes) for name, front in plain.items()}
    return _Fronts(plain, scaled, joint, scale_axes(joint, joint, log_axes=axes))


def indicators_table(
    runs: Mapping[str, pd.DataFrame], objectives: Sequence[str], reference: Sequence[float]
) -> pd.DataFrame:
    """Each run against the joint front, a row a run.

    Columns: ``run``, ``trials`` (ended), ``front`` (its size), ``hypervolume`` (costs in decades),
    ``hypervolume_ratio`` (of the joint front's; 1 is all), ``epsilon_additive`` and
    ``epsilon_multiplicative`` (to the joint front: 0 and 1 are all; NaN without a front),
    ``joint_share`` (of the joint front's points, those that the run has).
    """
    fronts, axes = _fronts(runs, objectives), cost_axes(objectives)
    best = hypervolume(fronts.joint, reference, log_axes=axes)
    joint = np.unique(fronts.joint, axis=0)
    rows = []
    for name, front in fronts.plain.items():
        volume = hypervolume(front, reference, log_axes=axes)
        own = sum(bool((front == point).all(axis=1).any()) for point in joint)
        rows.append(
            {
                "run": name,
                "trials": int((runs[name]["state"] != "running").sum()),
                "front": len(front),
                "hypervolume": volume,
                "hypervolume_ratio": volume / best if best else float("nan"),
                "epsilon_additive": additive_epsilon(fronts.scaled[name], fronts.joint_scaled),
                "epsilon_multiplicative": multiplicative_epsilon(front, fronts.joint),
                "joint_share": own / len(joint) if len(joint) else float("nan"),
            }
        )
    return pd.DataFrame(rows, columns=INDICATOR_COLUMNS)


def pairs_table(
    runs: Mapping[str, pd.DataFrame], objectives: Sequence[str], reference: Sequence[float]
) -> pd.DataFrame:
    """Each run against each other one, a row an ordered pair.

    Columns: ``run``, ``other``, ``hypervolume_ratio`` (run's over other's), ``epsilon_additive``
    and ``epsilon_multiplicative`` (by how much run must improve to cover other: at most 0 and 1
    where it does), ``coverage`` (the share of other's front that run equals or dominates).
    """
    fronts, axes = _fronts(runs, objectives), cost_axes(objectives)
    volumes = {
        name: hypervolume(front, reference, log_axes=axes) for name, front in fronts.plain.items()
    }
    rows = []
    for name in fronts.plain:
        for other in fronts.plain:
            if name == other:
                continue
            ours, theirs = fronts.plain[name], fronts.plain[other]
            ratio = volumes[name] / volumes[other] if volumes[other] else float("nan")
            additive = additive_epsilon(fronts.scaled[name], fronts.scaled[other])
            factor = multiplicative_epsilon(ours, theirs)
            rows.append((name, other, ratio, additive, factor, coverage(ours, theirs)))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def significance_table(
    scores: pd.DataFrame,
    *,
    groups: Mapping[str, str],
    pairs: Mapping[str, Hashable] | None = None,
    value: str = "hypervolume",
) -> pd.DataFrame:
    """Whether groups of runs differ in an indicator, a row a pair of groups.

    ``scores`` has a row a run with ``run`` and ``value`` (:func:`indicators_table`); ``groups``
    says which run belongs where. Without ``pairs`` the Mann-Whitney test compares them; with
    ``pairs`` (run to what it shares with one of the other group: its seed) Wilcoxon's signed-rank
    test does. Both are two-sided and exact where nothing ties. ``p_adjusted`` is Holm's over the
    rows. Where even the clearest outcome of so few runs could not fall under 5 % after that, the
    ``verdict`` is "too few runs": the test then says nothing, whatever its p.

    Columns: ``group``, ``other``, ``runs``, ``other_runs``, ``test``, ``median``,
    ``other_median``, ``superiority`` (the chance that a run of ``group`` is the better one, ties
    half: A. Vargha, H. Delaney, J. Educational and Behavioral Statistics 25(2), 2000),
    ``p_value``, ``p_adjusted``, ``verdict``.
    """
    named = [run for run in groups if pairs is None or run in pairs]
    known = scores[scores[value].notna() & scores["run"].isin(named)]
    labels = known["run"].map(groups)
    sign = -1.0 if value in SMALLER_IS_BETTER else 1.0
    rows = []
    for group, other in combinations(dict.fromkeys(groups.values()), 2):
        ours, theirs = known[labels == group], known[labels == other]
        if pairs is None:
            tested = _unpaired(ours[value].to_numpy(float), theirs[value].to_numpy(float), sign)
        else:
            first = pd.Series(ours[value].to_numpy(float), index=ours["run"].map(pairs))
            second = pd.Series(theirs[value].to_numpy(float), index=theirs["run"].map(pairs))
            matched = pd.concat([first, second], axis=1, join="inner").to_numpy(float)
            tested = _paired(matched[:, 0], matched[:, 1], sign)
        rows.append((group, other, tested))
    return _significance_frame(rows, sign)


@dataclass(frozen=True)
class _Tested:
    """One test: both samples, its p, and the least p that samples of these sizes could give."""

    test: str
    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]
    superiority: float
    p_value: float
    least: float


def _unpaired(ours: NDArray[np.float64], theirs: NDArray[np.float64], sign: float) -> _Tested:
    from scipy.stats import mannwhitneyu

    nan = float("nan")
    if not len(ours) or not len(theirs):
        return _Tested("Mann-Whitney", ours, theirs, nan, nan, 1.0)
    found = mannwhitneyu(sign * ours, sign * theirs)
    share = float(found.statistic) / (len(ours) * len(theirs))
    least = min(1.0, 2 / comb(len(ours) + len(theirs), len(ours)))
    return _Tested("Mann-Whitney", ours, theirs, share, float(found.pvalue), least)


def _paired(ours: NDArray[np.float64], theirs: NDArray[np.float64], sign: float) -> _Tested:
    from scipy.stats import wilcoxon

    name, nan = "Wilcoxon, paired", float("nan")
    if not len(ours):
        return _Tested(name, ours, theirs, nan, nan, 1.0)
    leads = sign * (ours - theirs)
    share = float((leads > 0).mean() + (leads == 0).mean() / 2)
    untied = leads[leads != 0]
    p_value = float(wilcoxon(untied).pvalue) if len(untied) else 1.0
    return _Tested(name, ours, theirs, share, p_value, min(1.0, 2 / 2 ** len(ours)))


def _significance_frame(rows: Sequence[tuple[str, str, _Tested]], sign: float) -> pd.DataFrame:
    adjusted = holm([tested.p_value for _, _, tested in rows])
    table = []
    for (group, other, tested), p_adjusted in zip(rows, adjusted, strict=True):
        medians = [float(np.median(v)) if len(v) else np.nan for v in (tested.ours, tested.theirs)]
        if tested.least * len(rows) > ALPHA:
            verdict = TOO_FEW
        elif not p_adjusted <= ALPHA:
            verdict = NOTHING_SHOWN
        else:
            verdict = f"{group if tested.superiority > 0.5 else other} is better"
        sizes = (len(tested.ours), len(tested.theirs))
        numbers = (*medians, tested.superiority, tested.p_value, p_adjusted)
        table.append((group, other, *sizes, tested.test, *numbers, verdict))
    return pd.DataFrame(table, columns=SIGNIFICANCE_COLUMNS)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number (S. Holm, Scandinavian J. of Statistics 6(2), 1979).

    NaN stays NaN but counts: a test was meant to be made.
    """
    order = sorted(range(len(p_values)), key=lambda i: (np.isnan(p_values[i]), p_values[i]))
    adjusted, highest = [float("nan")] * len(p_values), 0.0
    for rank, index in enumerate(order):
        if not np.isnan(p_values[index]):
            highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
            adjusted[index] = highest
    return adjusted


def pick_difference_table(
    runs: Mapping[str, pd.DataFrame], objectives: Sequence[str]
) -> pd.DataFrame:
    """The picks of the runs side by side and against the first run's, a row a pick and run.

    Columns: ``pick``, ``run``, ``number``, ``error``, the costs, ``error_difference`` and
    ``macs_ratio`` (to the same pick of the first run that has it).
    """
    parts = [picks_table(trials, objectives).assign(run=name) for name, trials in runs.items()]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=DIFFERENCE_COLUMNS)
    table = pd.concat(parts, ignore_index=True)
    first = table.groupby("pick")[["error", "macs"]].transform("first")
    table = table.assign(
        error_difference=table["error"] - first["error"], macs_ratio=table["macs"] / first["macs"]
    )
    order = {pick: index for index, pick in enumerate(("cheapest", "knee", "best"))}
    table = table.sort_values("pick", key=lambda picks: picks.map(order), kind="stable")
    return table[DIFFERENCE_COLUMNS].reset_index(drop=True)
