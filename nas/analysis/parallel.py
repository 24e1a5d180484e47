"""Trials with their choices side by side: what parallel coordinates draw.

:func:`parallel_table` keeps the values as they are, for people and for filters;
:func:`dimensions` turns each column into an axis: numbers with labelled ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas.analysis.tables import trials_table
from nas.cost import COST_LABELS
from nas.quantities import format_count

LIMIT = 8
"""Choices that are shown: with more axes than about ten no line can be followed."""

INACTIVE = "not there"
MAX_TICKS = 12


@dataclass(frozen=True)
class Dimension:
    """An axis: a number for each trial (NaN where it has none), and labelled ticks."""

    name: str
    label: str
    values: list[float]
    ticks: list[float]
    labels: list[str]
    is_log: bool = False


def parallel_table(
    trials: pd.DataFrame,
    choices: pd.DataFrame,
    objectives: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    order: pd.DataFrame | None = None,
    limit: int = LIMIT,
    curves: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Trials with some choices, a row a trial.

    ``columns`` names the choices; otherwise the first ``limit`` of ``order`` (an importance table
    by choice) are taken, or, without one, those that are active in most trials. Columns:
    ``number``, ``standing``, ``error`` (the last one seen), the first cost of the objectives (or
    ``macs``), and the choices, missing where inactive.

    Raises:
        ValueError: there is no choice of that name.
    """
    there = [str(name) for name in choices.columns if name != "number"]
    unknown = [name for name in columns or () if name not in there]
    if unknown:
        raise ValueError(f"the run has no choice {unknown[0]!r}")
    if columns is None:
        ranked = list(order["choice"]) if order is not None and len(order) else _varied(choices)
        columns = [name for name in ranked if name in there][:limit]
    cost = next((name for name in objectives if name != "error"), "macs")
    table = trials_table(trials, objectives, curves)
    table = table.assign(error=table["shown_error"])[["number", "standing", "error", cost]]
    return table.merge(choices[["number", *columns]], on="number", how="left")


def _varied(choices: pd.DataFrame) -> list[str]:
    """Choices with several values, those that are active most often first."""
    there = choices.drop(columns="number")
    active = there.notna().sum().sort_values(ascending=False, kind="stable")
    return [str(name) for name in active.index if there[name].nunique() > 1]


def dimensions(table: pd.DataFrame) -> list[Dimension]:
    """The axes of a :func:`parallel_table`: its choices, then the cost, then the error."""
    names = [str(name) for name in table.columns]
    cost, choices = names[3], names[4:]
    axes = [_choice_axis(table[name], name) for name in choices]
    costs = np.log10(table[cost].to_numpy(float))
    ticks = _log_ticks(costs)
    labels = [format_count(10**tick) for tick in ticks]
    axes.append(Dimension(cost, COST_LABELS[cost], costs.tolist(), ticks, labels, is_log=True))
    errors = table["error"].to_numpy(float)
    ticks = _even_ticks(errors)
    labels = [f"{100 * tick:.3g} %" for tick in ticks]
    return [*axes, Dimension("error", "error", errors.tolist(), ticks, labels)]


def _choice_axis(column: pd.Series, name: str) -> Dimension:
    """Values at equal distances in their order, with a place of its own for inactive ones."""
    known = list(column.dropna().unique())
    is_number = all(isinstance(v, int | float | np.number) and not _is_bool(v) for v in known)
    known.sort(key=float if is_number else _words)
    words = [_words(value) for value in known]
    codes = dict(zip(words, range(1, len(words) + 1), strict=True))
    values = [0.0 if pd.isna(value) else float(codes[_words(value)]) for value in column]
    ticks, labels = [float(code) for code in codes.values()], words
    if len(ticks) > MAX_TICKS:
        step = -(-len(ticks) // MAX_TICKS)
        ticks, labels = ticks[::step], labels[::step]
    if 0.0 in values:
        ticks, labels = [0.0, *ticks], [INACTIVE, *labels]
    return Dimension(name, name, values, ticks, labels)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _words(value: object) -> str:
    if _is_bool(value):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _log_ticks(exponents: np.ndarray) -> list[float]:
    """Some round values over the range, as exponents of ten."""
    known = exponents[np.isfinite(exponents)]
    if not len(known):
        return []
    low, high = known.min(), known.max()
    digits = (1,) if high - low > 3 else (1, 2, 5) if high - low > 0.7 else (1, 1.5, 2, 3, 4, 5, 7)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [float(power + np.log10(digit)) for power in powers for digit in digits]
    return [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9] or [float(low)]


def _even_ticks(values: np.ndarray) -> list[float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    low, high = float(known.min()), float(known.max())
    if high == low:
        return [low]
    step = 10 ** np.floor(np.log10(high - low))
    step = next(step * part for part in (0.2, 0.5, 1.0, 2.0) if (high - low) / (step * part) <= 6)
    first = int(np.ceil(low / step))
    return [float(index * step) for index in range(first, int(np.floor(high / step)) + 1)]
