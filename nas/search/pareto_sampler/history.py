"""What a study's trials say: their forms, rows, results, and early results brought to the end.

Finished trials never change, so each is read once. A pruned trial has no values; its curve, the
user attribute ``curve`` with pairs of epoch and value of the unknown objective, stands in: the last
value is brought to the last epoch by a line through the trials that reached both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.search.pareto_sampler.forms import Form, FormKey, Rows

Matrix = NDArray[np.float64]

CURVE = "curve"
FEWEST_PAIRS = 4
"""So many trials must have reached an epoch and the end before a line is drawn."""


@dataclass(frozen=True)
class Point:
    """A finished trial; ``values`` are None where it was pruned or failed."""

    form: Form
    row: Rows
    values: tuple[float, ...] | None
    curve: tuple[tuple[float, float], ...]
    is_bad: bool
    """Failed, or a constraint is violated: nothing is learned but to keep away."""


class History:
    """The finished trials of one study."""

    def __init__(self) -> None:
        self.forms: list[Form] = []
        self.points: list[Point] = []
        self._by_key: dict[FormKey, Form] = {}
        self._read: set[int] = set()

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Read the trials that finished since the last time."""
        failed = []
        for trial in trials:
            if trial.number in self._read or not trial.state.is_finished():
                continue
            self._read.add(trial.number)
            if trial.state == TrialState.FAIL:
                failed.append(trial)
            elif trial.params:
                self._add(self.form_of(trial.distributions), trial)
        for trial in failed:
            # One that failed half way through its suggestions has no form of its own.
            form = self._by_key.get(Form.key_of(trial.distributions))
            if form is not None:
                self._add(form, trial)

    def form_of(self, distributions: Mapping[str, BaseDistribution]) -> Form:
        """The form of these distributions, a new one where needed."""
        key = Form.key_of(distributions)
        if key not in self._by_key:
            self._by_key[key] = Form(len(self.forms), distributions)
            self.forms.append(self._by_key[key])
        return self._by_key[key]

    def known_form(self, distributions: Mapping[str, BaseDistribution]) -> Form | None:
        """The form of these distributions if a finished trial had it."""
        return self._by_key.get(Form.key_of(distributions))

    def _add(self, form: Form, trial: FrozenTrial) -> None:
        row = form.row(trial.params)
        form.seen.setdefault(form.key(row), row)
        form.observed.append(row)
        violated = any(value > 0 for value in trial.constraints.values())
        values = trial.values
        self.points.append(
            Point(
                form=form,
                row=row,
                values=tuple(values) if trial.state == TrialState.COMPLETE and values else None,
                curve=_curve(trial.user_attrs.get(CURVE)),
                is_bad=violated or trial.state == TrialState.FAIL,
            )
        )


def _curve(stored: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(stored, (list, tuple)):
        return ()
    pairs = ((float(epoch), float(value)) for epoch, value in stored)
    return tuple(sorted(pair for pair in pairs if math.isfinite(pair[1])))


@dataclass(frozen=True)
class Ending:
    """A last value expected from an early one, and its variance on the surrogate's scale."""

    value: float
    variance: float


class Endings:
    """Lines from early values to last ones, on the surrogate's scale.

    A line's slope is drawn towards 1, its level towards the shift seen, as if ten more trials
    had said so: those that reach the end were chosen by their early values.
    """

    def __init__(
        self,
        curves: Sequence[tuple[Sequence[tuple[float, float]], float]],
        warp: Callable[[Matrix], Matrix],
    ) -> None:
        self._warp = warp
        pairs: dict[float, list[tuple[float, float]]] = {}
        for curve, last in curves:
            for epoch, value in curve:
                pairs.setdefault(epoch, []).append((value, last))
        self._lines = {
            epoch: self._line(np.array(found))
            for epoch, found in pairs.items()
            if len(found) >= FEWEST_PAIRS
        }

    def expect(self, curve: Sequence[tuple[float, float]]) -> Ending | None:
        """What the last value may be; None where too little is known."""
        for epoch, value in reversed(curve):
            if epoch in self._lines:
                early, late, slope, variance = self._lines[epoch]
                warped = float(self._warp(np.array([value]))[0])
                return Ending(late + slope * (warped - early), variance)
        return None

    def _line(self, pairs: Matrix) -> tuple[float, float, float, float]:
        early, late = self._warp(pairs[:, 0]), self._warp(pairs[:, 1])
        x, y = early - early.mean(), late - late.mean()
        weight = 10.0 * max(float(x.var()), 0.05)
        slope = (float(x @ y) + weight) / (float(x @ x) + weight)
        left = float(((y - slope * x) ** 2).sum()) + 0.2
        return float(early.mean()), float(late.mean()), slope, left / len(pairs)
