"""What retraining says: means with intervals, who is on the true front, how far the proxy ranks.

Errors are those of full trainings on the validation split, several seeds a network; costs are
exact. The spread over seeds is *pooled* over all networks, as in :mod:`nas.analysis.repeats`
(two or three seeds say little about one network's own), until each network has
:data:`OWN_FROM` seeds; from there on each has its own. Which of the two it was stands in the
table. Seeds stand for chance in training only: the images are the same for all, so that a
difference between two networks is known better than either error by itself.

Left out: errors on the test split enter no choice and no probability; they have a mean and an
interval and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.analysis.repeats import CONFIDENCE
from nas.pareto import nondominated

Array = NDArray[np.float64]

OWN_FROM = 5
"""Seeds from which on a network's own spread is taken: four degrees of freedom."""

DRAWS = 20_000
"""Monte Carlo draws of a front: a probability is then known to 0.004 or better."""

ESTIMATE_COLUMNS = ["seeds", "mean", "sd", "low", "high"]
AGREEMENT_COLUMNS = ["predictor", "tau", "low", "high", "p_value", "networks"]


@dataclass(frozen=True)
class Spread:
    """The standard deviation of one training over seeds: by network, with degrees of freedom.

    ``kind`` is "none" where no network has two seeds; ``sd`` and ``freedom`` are then NaN and 0.
    """

    kind: Literal["pooled", "own", "none"]
    sd: Array
    freedom: NDArray[np.int64]


def spread_of(errors: Sequence[Array]) -> Spread:
    """The spread of networks from the errors of their trainings.

    Pooled: ``sd^2 = sum((error - mean of its network)^2) / sum(seeds - 1)``, the residual of a
    one-way analysis of variance.
    """
    seeds = np.array([len(item) for item in errors], dtype=np.int64)
    squares = np.array([((item - item.mean()) ** 2).sum() if len(item) else 0 for item in errors])
    freedom = np.maximum(seeds - 1, 0)
    if not freedom.sum():
        return Spread("none", np.full(len(seeds), np.nan), freedom)
    if len(seeds) and seeds.min() >= OWN_FROM:
        return Spread("own", np.sqrt(squares / freedom), freedom)
    pooled = np.sqrt(squares.sum() / freedom.sum())
    return Spread("pooled", np.full(len(seeds), pooled), np.full(len(seeds), freedom.sum()))


def estimates(errors: Sequence[Array]) -> pd.DataFrame:
    """Mean error of each network and its 95 % interval by Student's t; NaN where not known.

    ``mean +- t(0.975, freedom) * sd / sqrt(seeds)`` (Student, Biometrika 6, 1908), cut at 0 and 1.
    Columns: ``seeds``, ``mean``, ``sd`` (that of :func:`spread_of`), ``low``, ``high``.
    """
    from scipy.stats import t

    spread = spread_of(errors)
    seeds = np.array([len(item) for item in errors], dtype=np.int64)
    means = np.array([item.mean() if len(item) else np.nan for item in errors])
    half = np.full(len(seeds), np.nan)
    known = (seeds > 0) & (spread.freedom > 0)
    quantile = t.ppf(1 - (1 - CONFIDENCE) / 2, spread.freedom[known])
    half[known] = quantile * spread.sd[known] / np.sqrt(seeds[known])
    low, high = np.clip(means - half, 0, 1), np.clip(means + half, 0, 1)
    columns = (seeds, means, spread.sd, low, high)
    return pd.DataFrame(dict(zip(ESTIMATE_COLUMNS, columns, strict=True)))


def front_probabilities(
    errors: Sequence[Array], costs: Array, *, draws: int = DRAWS, seed: int = 0
) -> Array:
    """How probable it is that each network is on the front of the true mean errors.

    ``costs`` is networks by costs, exact. Means are drawn from their posterior under the prior
    ``1 / variance`` (Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2): first the
    variance, ``sd^2 * freedom / chi-squared(freedom)``, common to all networks where it is
    pooled, then each mean, normal with that variance over its seeds. A network is on a draw's
    front if none that costs no more has a smaller error. NaN where the spread is not known, and
    for a network without a training, which beats nobody either.
    """
    spread = spread_of(errors)
    seeds = np.array([len(item) for item in errors])
    chances = np.full(len(errors), np.nan)
    known = np.flatnonzero((seeds > 0) & (spread.freedom > 0))
    if not len(known):
        return chances
    random = np.random.default_rng(seed)
    means = np.array([errors[index].mean() for index in known.tolist()])
    drawn = means + _deviations(spread, seeds, known, draws, random)
    price = costs[known]
    # Row j may beat column i: it costs no more in anything.
    may_beat: NDArray[np.bool_] = np.all(price[:, None] <= price[None, :], axis=2)
    on_front = np.zeros(len(known))
    for index in range(len(known)):
        others = may_beat[:, index]
        others[index] = False
        rivals = drawn[:, others]
        beaten = (rivals < drawn[:, [index]]).any(axis=1) if others.any() else np.zeros(draws)
        on_front[index] = 1 - beaten.mean()
    chances[known] = on_front
    return chances


def _deviations(
    spread: Spread,
    seeds: NDArray[np.int64],
    known: NDArray[np.int64],
    draws: int,
    random: np.random.Generator,
) -> Array:
    """What is added to the means (draws, networks)."""
    freedom = spread.freedom[known]
    if spread.kind == "pooled":
        squares = np.repeat(random.chisquare(freedom[0], (draws, 1)), len(known), axis=1)
    else:
        squares = random.chisquare(freedom, (draws, len(known)))
    sd = spread.sd[known] * np.sqrt(freedom / squares)
    normal = random.standard_normal((draws, len(known)))
    return np.asarray(sd / np.sqrt(seeds[known]) * normal, dtype=np.float64)


def shrunk_means(errors: Sequence[Array], cost: Array) -> Array:
    """Mean errors drawn towards what networks of their cost have: against the winner's curse.

    The smallest of several noisy means is too small on average. The parametric empirical Bayes
    estimate of C. Morris ("Parametric empirical Bayes inference", JASA 78, 1983, section 4, a
    James-Stein estimate) draws each mean ``y_i`` with variance ``V_i = sd^2 / seeds`` towards a
    line in log10 of the cost, fitted by least squares: ``y_i - B_i * (y_i - line_i)`` with
    ``B_i = (k - 4) / (k - 2) * V_i / (V_i + A)`` and ``A = max(0, sum((y - line)^2) / (k - 2) -
    mean(V))`` for k networks. As the variance is estimated with f degrees of freedom, it enters
    as ``V * f / (f + 2)`` (B. Efron, C. Morris, "Stein's estimation rule and its competitors",
    JASA 68, 1973). With four networks it is their mean in place of a line (k - 3 over k - 1); the
    means stay as they are with fewer, or where the spread is not known.
    """
    table, spread = estimates(errors), spread_of(errors)
    means = table["mean"].to_numpy(copy=True)
    known = np.isfinite(means) & np.isfinite(spread.sd) & (spread.freedom > 0)
    k = int(known.sum())
    terms = 2 if k > 4 else 1
    if k - terms - 2 <= 0:
        return means
    y, freedom = means[known], spread.freedom[known]
    seeds = table["seeds"].to_numpy()[known]
    variances = spread.sd[known] ** 2 / seeds * freedom / (freedom + 2)
    basis = np.vander(np.log10(cost[known]), terms, increasing=True)
    line = basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
    between = max(0.0, float(((y - line) ** 2).sum()) / (k - terms) - float(variances.mean()))
    total = variances + between
    share = np.divide(variances, total, out=np.zeros(k), where=total > 0)
    means[known] = y - (k - terms - 2) / (k - terms) * share * (y - line)
    return means


def confirmed_table(
    finalists: pd.DataFrame, trainings: pd.DataFrame, objectives: Sequence[str]
) -> pd.DataFrame:
    """A row a network, in order: what it is, what it costs, and what its trainings say.

    ``finalists`` and ``trainings`` are those of :mod:`nas.records.confirmation`. Columns: those
    of ``finalists``, then ``seeds`` (trained), ``mean``, ``sd``, ``low``, ``high``, ``spread``
    ("pooled", "own" or "none"), ``shrunk``, ``on_front`` (of the means), ``front_probability``,
    ``beaten_by`` (names), ``test_mean``, ``test_low``, ``test_high``, ``train_seconds`` (of one
    training).
    """
    done = trainings[(trainings["state"] == "complete") & trainings["error"].notna()]
    errors = _by_name(finalists, done, "error")
    test = _by_name(finalists, done[done["test_error"].notna()], "test_error")
    names = [name for name in objectives if name != "error"]
    costs = finalists[names].to_numpy(dtype=np.float64)
    found, tested = estimates(errors), estimates(test)
    points = np.column_stack([found["mean"].to_numpy(), costs])
    axis = finalists[names[0] if names else "macs"].to_numpy(dtype=np.float64)
    seconds = done.groupby("name")["train_seconds"].mean()
    table = pd.concat([finalists.reset_index(drop=True), found], axis=1)
    return table.assign(
        spread=spread_of(errors).kind,
        shrunk=shrunk_means(errors, axis),
        on_front=nondominated(points) if len(points) else np.zeros(0, dtype=bool),
        front_probability=front_probabilities(errors, costs),
        beaten_by=_beaten_by(points, finalists["name"].tolist()),
        test_mean=tested["mean"],
        test_low=tested["low"],
        test_high=tested["high"],
        train_seconds=finalists["name"].map(seconds).astype(float).to_numpy(),
    )


def _by_name(finalists: pd.DataFrame, done: pd.DataFrame, column: str) -> list[Array]:
    return [
        done.loc[done["name"] == name, column].to_numpy(dtype=np.float64)
        for name in finalists["name"]
    ]


def _beaten_by(points: Array, names: list[str]) -> list[str]:
    """The networks that dominate each row, the smallest error first."""
    found = []
    order = np.argsort(points[:, 0], kind="stable")
    for row in points:
        no_worse, better = (points <= row).all(axis=1), (points < row).any(axis=1)
        found.append(", ".join(names[other] for other in order if (no_worse & better)[other]))
    return found


def agreement_table(table: pd.DataFrame) -> pd.DataFrame:
    """How far the proxy's errors, and MACs alone, rank the networks as full training does.

    ``table`` is a :func:`confirmed_table`; the networks with a proxy error and a mean count.
    Columns: ``predictor`` ("proxy" or "macs", the more the better), ``tau`` (Kendall's tau-b),
    ``low`` and ``high`` (:func:`tau_interval`), ``p_value`` (of no association, two-sided, exact
    without ties), ``networks``.
    """
    from scipy.stats import kendalltau

    known = table[table["proxy_error"].notna() & table["mean"].notna()]
    rows: list[dict[str, Any]] = []
    for name, values in (("proxy", known["proxy_error"]), ("macs", -known["macs"])):
        tau = p_value = float("nan")
        if len(known) > 1:
            found = kendalltau(values.to_numpy(), known["mean"].to_numpy(), variant="b")
            tau, p_value = float(found.statistic), float(found.pvalue)
        low, high = tau_interval(tau, len(known))
        numbers = (name, tau, low, high, p_value, len(known))
        rows.append(dict(zip(AGREEMENT_COLUMNS, numbers, strict=True)))
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def tau_interval(tau: float, items: int) -> tuple[float, float]:
    """The 95 % interval of Kendall's tau over so many items.

    ``atanh(tau)`` is nearly normal with variance ``0.437 / (items - 4)`` (E. Fieller, H. Hartley,
    E. Pearson, "Tests for rank correlation coefficients. I", Biometrika 44, 1957). Unlike a
    bootstrap it has a width where all items are in order: a tau of 1 or -1 is taken half a pair
    back, ``1 - 1 / pairs``, for the lower (upper) end. All there can be, -1 to 1, up to four items.
    """
    from scipy.stats import norm

    if not np.isfinite(tau):
        return float("nan"), float("nan")
    if items <= 4:
        return -1.0, 1.0
    most = 1 - 2 / (items * (items - 1))
    half = norm.ppf(1 - (1 - CONFIDENCE) / 2) * np.sqrt(0.437 / (items - 4))
    middle = np.arctanh(np.clip(tau, -most, most))
    low, high = float(np.tanh(middle - half)), float(np.tanh(middle + half))
    is_whole = abs(tau) > most
    return (-1.0 if is_whole and tau < 0 else low), (1.0 if is_whole and tau > 0 else high)
