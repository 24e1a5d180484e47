"""Which choices matter for the error beyond what they cost.

A wider network has a smaller error and costs more; that a width "matters" so is no news. Asked
here is what a choice does **at equal cost**:

1. A smooth falling curve of the error over log cost (a spline, each trial predicted from the
   others) takes away what cost explains. What is left is the error at equal cost.
2. A random forest (scikit-learn) predicts the rest from the choices and from log cost. Cost stands
   among its inputs, and is never shuffled, so that no width is credited with what cost still
   explains. An inactive choice takes its most frequent active value, so that it says nothing
   about which others are active.
3. On trials that it has not seen, the forest's squared error grows when a choice is shuffled among
   the trials where it is active (permutation importance, L. Breiman, "Random forests", Machine
   Learning 45, 2001; on held-out folds, as scikit-learn advises). **Half of that growth over the
   rest's variance** is the importance: for a choice of additive effect the growth is twice the
   variance that it causes (B. Gregorutti, B. Mialon, P. Saint-Pierre, Statistics and Computing
   27, 2017, proposition 1), so the half is its share.

The interval is a 95 % percentile bootstrap over trials of the mean loss; that the forest itself
would have been another one with other trials is in it only as far as folds are repeated. Choices
that go together share their importance, so a small value does not prove that a choice is idle,
and all of this is association in the trials that the sampler chose, not cause. ``by="kind"``
shuffles all places of a choice together (``stages.*.3x3.channels``): many places of small effect
are then seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_TRIALS = 20
"""With fewer complete trials nothing is said: an interval would span everything."""

MAX_TRIALS = 2000
"""Of more, as many are drawn: the forest's time grows with them and its answer hardly."""

FOLDS, REPEATS, TREES, DRAWS = 5, 4, 50, 1000
COLUMNS = [
    "choice", "importance", "low", "high", "active", "values", "trials", "cost_r2", "forest_r2",
]  # fmt: skip

By = Literal["choice", "kind"]
"""Whether each place of a choice is shuffled by itself, or all places of a kind together."""

_PLACE = re.compile(r"(?<=\.)\d+(?=\.)")


def importance_table(
    trials: pd.DataFrame,
    choices: pd.DataFrame,
    *,
    cost: str = "macs",
    by: By = "choice",
    seed: int = 0,
) -> pd.DataFrame:
    """The choices by what they mean for the error at equal ``cost``, the most important first.

    Columns: ``choice`` (or the kind), ``importance`` (its share of the variance at equal cost, by
    unseen trials; may fall below 0 by chance), ``low``, ``high`` (95 %),
    ``active`` (trials where it is), ``values`` (different ones among them), and the same in every
    row: ``trials``, ``cost_r2`` (share of the error's variance that cost explains), ``forest_r2``
    (share of the rest that the forest explains on unseen trials; near 0 no row means much).

    Empty with fewer than 20 complete trials, or where all errors are equal.
    """
    return importance_tables(trials, choices, cost=cost, each=(by,), seed=seed)[by]


def importance_tables(
    trials: pd.DataFrame,
    choices: pd.DataFrame,
    *,
    cost: str = "macs",
    each: Sequence[By] = ("choice", "kind"),
    seed: int = 0,
) -> dict[By, pd.DataFrame]:
    """The :func:`importance_table` of several ways to group, by one set of forests."""
    data = _data(trials, choices, cost, seed)
    empty = pd.DataFrame(columns=COLUMNS)
    if data is None:
        return {by: empty.copy() for by in each}
    rest, cost_r2 = _error_at_equal_cost(data.error, data.cost, seed)
    variance = float(rest.var())
    if variance <= 1e-18:
        return {by: empty.copy() for by in each}
    groups = [_groups(data, by) for by in each]
    losses, forest_r2 = _losses(data, rest, seed, [list(own.values()) for own in groups])
    tables = {}
    for by, own, loss in zip(each, groups, losses, strict=True):
        shares = loss / (2 * variance)
        low, high = _bootstrap(shares, seed)
        rows = [
            (name, shares[:, index].mean(), low[index], high[index], *_described(data, columns))
            for index, (name, columns) in enumerate(own.items())
        ]
        table = pd.DataFrame(rows, columns=COLUMNS[:6])
        table = table.assign(trials=len(rest), cost_r2=cost_r2, forest_r2=forest_r2)
        ranked = table.sort_values("importance", ascending=False, kind="stable")
        tables[by] = ranked.reset_index(drop=True)
    return tables


def choice_kind(name: str) -> str:
    """A choice without its places: ``stages.1.0.3x3.channels`` is ``stages.*.3x3.channels``."""
    return re.sub(r"(\.\*)+", ".*", _PLACE.sub("*", name))


@dataclass(frozen=True)
class _Data:
    """Complete trials as arrays: errors, log costs, and encoded choices by name and column."""

    error: Array
    cost: Array
    encoded: Array
    is_active: NDArray[np.bool_]
    names: list[str]
    values: list[frozenset[Any]]


def _data(trials: pd.DataFrame, choices: pd.DataFrame, cost: str, seed: int) -> _Data | None:
    is_known = (trials["state"] == "complete") & trials["error"].notna()
    joined = trials[["number", "error", cost]][is_known]
    joined = joined.merge(choices, on="number", suffixes=("", "."))
    if len(joined) > MAX_TRIALS:
        joined = joined.sample(MAX_TRIALS, random_state=seed)
    names = [name for name in choices.columns if name != "number"]
    kept = [name for name in names if joined[name].nunique() > 1]
    if len(joined) < MIN_TRIALS or not kept or joined["error"].nunique() == 1:
        return None
    return _Data(
        error=joined["error"].to_numpy(float),
        cost=np.log10(joined[cost].to_numpy(float)),
        encoded=np.column_stack([_encoded(joined[name]) for name in kept]),
        is_active=joined[kept].notna().to_numpy(),
        names=kept,
        values=[frozenset(joined[name].dropna().unique()) for name in kept],
    )


def _groups(data: _Data, by: By) -> dict[str, list[int]]:
    """The columns that are shuffled together, by the name that they go under."""
    members: dict[str, list[int]] = {}
    for index, name in enumerate(data.names):
        members.setdefault(choice_kind(name) if by == "kind" else name, []).append(index)
    return members


def _described(data: _Data, columns: list[int]) -> tuple[int, int]:
    """In how many trials such a choice is active, and how many values it has there."""
    values = frozenset().union(*(data.values[index] for index in columns))
    return int(data.is_active[:, columns].any(axis=1).sum()), len(values)


def _encoded(column: pd.Series) -> Array:
    """A choice as numbers in the order of its values, its most frequent one where inactive."""
    known = column.dropna()
    order: Mapping[Any, int] = {
        value: rank for rank, value in enumerate(sorted(known.unique(), key=_sorting_key))
    }
    codes = column.map(order)
    return codes.fillna(codes.mode().iloc[0]).to_numpy(dtype=np.float64)


def _sorting_key(value: object) -> tuple[int, float, str]:
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _error_at_equal_cost(error: Array, cost: Array, seed: int) -> tuple[Array, float]:
    """What a spline over log cost leaves of the error, and the share that it explains (0 to 1)."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    if np.ptp(cost) == 0:
        return error - error.mean(), 0.0
    curve = make_pipeline(
        SplineTransformer(n_knots=5, degree=3, extrapolation="constant"),
        RidgeCV(alphas=np.logspace(-6, 2, 9)),
    )
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    rest = error - cross_val_predict(curve, cost[:, None], error, cv=folds)
    return rest, max(0.0, 1 - float((rest**2).mean() / error.var()))


def _losses(
    data: _Data, rest: Array, seed: int, groupings: Sequence[list[list[int]]]
) -> tuple[list[Array], float]:
    """By grouping, the squared error that shuffling adds (trials, groups); and the forest's R2."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    inputs = np.column_stack([data.encoded, data.cost])
    losses = [np.zeros((len(rest), len(groups))) for groups in groupings]
    squares = np.zeros(len(rest))
    for repeat in range(REPEATS):
        folds = KFold(FOLDS, shuffle=True, random_state=seed + repeat)
        for fold, (seen, unseen) in enumerate(folds.split(inputs)):
            random = np.random.default_rng([seed, repeat, fold])
            forest = RandomForestRegressor(
                TREES,
                max_features=1 / 3,
                min_samples_leaf=3,
                random_state=int(random.integers(2**31)),
            ).fit(inputs[seen], rest[seen])
            before = (forest.predict(inputs[unseen]) - rest[unseen]) ** 2
            squares[unseen] += before / REPEATS
            drawn = random.bit_generator.state
            for groups, loss in zip(groupings, losses, strict=True):
                # What one grouping draws does not depend on whether another is asked for, too.
                random.bit_generator.state = drawn
                fold_data = _Fold(inputs[unseen], rest[unseen], data.is_active[unseen])
                after = _shuffled_errors(forest, fold_data, groups, random)
                loss[unseen] += (after - before[:, None]) / REPEATS
    return losses, 1 - float(squares.mean() / rest.var())


@dataclass(frozen=True)
class _Fold:
    """The trials that a forest has not seen: its inputs, what it predicts, which are active."""

    inputs: Array
    rest: Array
    is_active: NDArray[np.bool_]


def _shuffled_errors(
    forest: Any, fold: _Fold, groups: list[list[int]], random: np.random.Generator
) -> Array:
    """Squared errors with each group shuffled (trials, groups), in one pass of the forest."""
    copies = np.repeat(fold.inputs[None], len(groups), axis=0)
    for index, columns in enumerate(groups):
        for column in columns:
            rows = np.flatnonzero(fold.is_active[:, column])
            copies[index, rows, column] = fold.inputs[random.permutation(rows), column]
    predicted = forest.predict(copies.reshape(-1, fold.inputs.shape[1]))
    errors: Array = (predicted.reshape(len(groups), -1) - fold.rest).T ** 2
    return errors


def _bootstrap(shares: Array, seed: int) -> tuple[Array, Array]:
    """The 95 % percentile interval of each column's mean over draws of the rows."""
    random = np.random.default_rng(seed)
    count = len(shares)
    weights = random.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    low, high = np.percentile(weights @ shares, [2.5, 97.5], axis=0)
    return low, high
