"""Parameter sets as rows of numbers: one form for each set of parameters that a study has shown.

A study with conditional parameters has trials of several forms. Within a form a point is a row of
codes, one for each parameter: the index of a categorical choice, the index of a number's step, or
the place between 0 and 1 of a float without steps. Rows are what is drawn, mutated, crossed and
compared; Optuna's values are what objectives and cost functions get.

Left out: what the numbers say about an error (:mod:`~nas.search.pareto_sampler.encoding`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Rows = NDArray[np.float64]
FormKey = tuple[tuple[str, str], ...]


class Parameter:
    """One parameter's distribution: codes from values and back.

    ``num_levels`` is 0 for a float without steps.
    """

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        self.name, self.distribution = name, distribution
        self.is_categorical = isinstance(distribution, CategoricalDistribution)
        self._low = self._step = 0.0
        self._log_low = self._log_span = 0.0
        self.is_log = False
        if isinstance(distribution, CategoricalDistribution):
            self.num_levels = len(distribution.choices)
        elif isinstance(distribution, (IntDistribution, FloatDistribution)):
            self._read_range(distribution)
        else:
            raise TypeError(f"parameter {name!r} has an unknown distribution {distribution!r}")

    def _read_range(self, distribution: IntDistribution | FloatDistribution) -> None:
        low, high, step = distribution.low, distribution.high, distribution.step
        self._low, self._high, self.is_log = float(low), float(high), bool(distribution.log)
        if high <= low:
            self.num_levels = 1
        elif step is None:
            self.num_levels = 0
        else:
            self._step = float(step)
            self.num_levels = math.floor((high - low) / step + 1e-9) + 1
        if self.is_log and self.num_levels != 1:
            self._log_low = math.log(low)
            self._log_span = math.log(high) - self._log_low

    def value(self, code: float) -> Any:
        """The parameter's value, as an objective gets it."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(code)]
        if isinstance(distribution, IntDistribution):
            return distribution.low + int(code) * distribution.step
        if self.num_levels:
            return min(self._low + int(code) * self._step, self._high)
        if self.is_log:
            value = math.exp(self._log_low + code * self._log_span)
            return min(max(value, self._low), self._high)
        return self._low + code * (self._high - self._low)

    def code(self, value: Any) -> float:
        """The code of a value."""
        if self.is_categorical:
            return float(self.distribution.to_internal_repr(value))
        if self.num_levels == 1:
            return 0.0
        if self.num_levels:
            return float(round((value - self._low) / self._step))
        if self.is_log:
            return (math.log(value) - self._log_low) / self._log_span
        return float((value - self._low) / (self._high - self._low))

    def unit(self, codes: Rows) -> Rows:
        """Places of codes between 0 and 1; on a logarithmic parameter, of the logarithms."""
        if not self.num_levels:
            return codes
        if self.num_levels == 1:
            return np.full(codes.shape, 0.5)
        if self.is_log:
            return (np.log(self._low + codes * self._step) - self._log_low) / self._log_span
        return codes / (self.num_levels - 1)

    def from_unit(self, units: Rows) -> Rows:
        """The codes nearest to places between 0 and 1; of a categorical, equal shares."""
        units = np.clip(units, 0.0, 1.0)
        if not self.num_levels:
            return units
        if self.is_log and self.num_levels > 1:
            values = np.exp(self._log_low + units * self._log_span)
            codes = np.rint((values - self._low) / self._step)
        elif self.is_categorical:
            codes = np.floor(units * self.num_levels)
        else:
            codes = np.floor(units * self.num_levels)
        return np.clip(codes, 0, self.num_levels - 1)

    def moved(self, codes: Rows, generator: np.random.Generator) -> Rows:
        """Other codes: any other of a categorical; of a number mostly a near one."""
        if self.num_levels == 1:
            return codes
        if self.is_categorical:
            return (codes + generator.integers(1, self.num_levels, codes.shape)) % self.num_levels
        width = np.where(generator.random(codes.shape) < 0.5, 0.08, 0.4)
        moved = self.unit(codes) + width * generator.standard_normal(codes.shape)
        moved = np.abs(moved) % 2.0
        moved = self.from_unit(np.where(moved > 1.0, 2.0 - moved, moved))
        if self.num_levels:
            side = np.where(generator.random(codes.shape) < 0.5, -1.0, 1.0)
            side = np.where(codes == 0, 1.0, np.where(codes == self.num_levels - 1, -1.0, side))
            moved = np.where(moved == codes, codes + side, moved)
        return moved


class Form:
    """A set of parameters that trials have shown together."""

    def __init__(self, index: int, distributions: Mapping[str, BaseDistribution]) -> None:
        self.index = index
        self.distributions = dict(sorted(distributions.items()))
        self.parameters = [Parameter(*item) for item in self.distributions.items()]
        self.size = math.prod(parameter.num_levels or 10**9 for parameter in self.parameters)
        """How many points it has; enormous with a float without steps."""
        self.is_finite = all(parameter.num_levels for parameter in self.parameters)
        self.free = [i for i, one in enumerate(self.parameters) if one.num_levels != 1]
        self.seen: dict[bytes, Rows] = {}
        """The rows that are tried or proposed, by :meth:`key`."""
        self.observed: list[Rows] = []
        """The rows of finished trials: a proposal may turn out to be of another form."""

    @staticmethod
    def key_of(distributions: Mapping[str, BaseDistribution]) -> FormKey:
        """What makes two trials of one form: the same parameters with the same distributions."""
        return tuple((name, repr(distributions[name])) for name in sorted(distributions))

    def row(self, values: Mapping[str, Any]) -> Rows:
        """The row of a trial's values."""
        return np.array([one.code(values[one.name]) for one in self.parameters])

    def values(self, row: Rows) -> dict[str, Any]:
        """The values of a row."""
        return {one.name: one.value(code) for one, code in zip(self.parameters, row, strict=True)}

    @staticmethod
    def key(row: Rows) -> bytes:
        """Equal for equal rows; a float's last bits do not count."""
        return np.round(row, 9).tobytes()

    def has_seen(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial had these values."""
        return self.key(self.row(values)) in self.seen

    @staticmethod
    def keys(rows: Rows) -> list[bytes]:
        """:meth:`key` of many rows."""
        return [row.tobytes() for row in np.round(rows, 9)]

    def random(self, number: int, generator: np.random.Generator) -> Rows:
        """Rows drawn evenly."""
        units = generator.random((number, len(self.parameters)))
        columns = [one.from_unit(units[:, i]) for i, one in enumerate(self.parameters)]
        return np.stack(columns, axis=1) if columns else np.zeros((number, 0))

    def mutated(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """Rows with one to a few parameters changed; at least one."""
        if not self.free:
            return rows.copy()
        rows = rows.copy()
        count = np.minimum(generator.geometric(0.5, len(rows)), len(self.free))
        order = generator.random((len(rows), len(self.free))).argsort(axis=1)
        for position, column in enumerate(self.free):
            chosen = order[:, position] < count
            if chosen.any():
                one = self.parameters[column]
                rows[chosen, column] = one.moved(rows[chosen, column], generator)
        return rows

    def crossed(self, first: Rows, second: Rows, generator: np.random.Generator) -> Rows:
        """Rows that take each parameter from one of two parents."""
        share = generator.uniform(0.1, 0.9, (len(first), 1))
        return np.where(generator.random(first.shape) < share, first, second)

    def all_rows(self) -> Rows:
        """Every row of a finite form, in order; only for small ones."""
        levels = [np.arange(one.num_levels, dtype=float) for one in self.parameters]
        grid = np.meshgrid(*levels, indexing="ij") if levels else []
        return np.stack([axis.ravel() for axis in grid], axis=1) if grid else np.zeros((1, 0))


def branch_columns(form: Form, others: Sequence[Form]) -> list[int]:
    """Which of a form's parameters may decide that a trial has this form and not another.

    For each other form: the parameters that both have and whose values seen so far differ, or,
    where no such one tells them apart, all that both have. Only values seen together in this
    form keep a new point in it for certain.
    """
    found: set[int] = set()
    mine = np.array(form.observed)
    columns = {one.name: i for i, one in enumerate(form.parameters)}
    for other in others:
        theirs = np.array(other.observed)
        shared = [
            (columns[one.name], i) for i, one in enumerate(other.parameters) if one.name in columns
        ]
        telling = {
            here
            for here, there in shared
            if _differ(
                form.parameters[here], mine[:, here], other.parameters[there], theirs[:, there]
            )
        }
        found |= telling or {here for here, _ in shared}
    return sorted(found)


def _differ(first: Parameter, mine: Rows, second: Parameter, theirs: Rows) -> bool:
    if first.is_categorical or second.is_categorical or (first.num_levels and second.num_levels):
        left = {repr(first.value(code)) for code in np.unique(mine)}
        return left.isdisjoint(repr(second.value(code)) for code in np.unique(theirs))
    left_values = [first.value(code) for code in (mine.min(), mine.max())]
    right_values = [second.value(code) for code in (theirs.min(), theirs.max())]
    return bool(left_values[1] < right_values[0] or right_values[1] < left_values[0])
