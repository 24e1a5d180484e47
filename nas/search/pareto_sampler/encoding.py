"""What a surrogate sees of a point: parameters, counts over like parameters, costs, features.

Two matrices come out. ``near`` has blocks of columns whose squared distance is 1 between two
values of a categorical (scaled one-hot) and the squared difference of a number between 0 and 1;
each block has a length scale of its own. ``linear`` has columns for a linear model, in kinds that
share one prior variance: categories, numbers, counts, costs and features.

Parameters with the same distribution are often the same choice at several places (the operations
on a cell's edges): how often each choice is taken, or the mean of numbers, then says much after
few trials. An absent parameter of a conditional study is a category of its own.

Left out: the surrogate itself (:mod:`~nas.search.pareto_sampler.surrogate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto_sampler.forms import Form, Parameter, Rows

Matrix = NDArray[np.float64]
KINDS = ("categories", "numbers", "counts", "costs", "features")


@dataclass(frozen=True)
class Encoded:
    """Points as a surrogate sees them; the blocks and kinds are equal for all of one encoder."""

    near: Matrix
    linear: Matrix


class Encoder:
    """Encodes rows of any of the forms given; scales come from the points of the first call."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self._slots: dict[tuple[str, str], Parameter] = {}
        for form in forms:
            for one in form.parameters:
                if one.num_levels != 1 or len(forms) > 1:
                    self._slots.setdefault((one.name, repr(one.distribution)), one)
        self._slot = {key: slot for slot, key in enumerate(self._slots)}
        self._groups: dict[str, list[int]] = {}
        for slot, (_, text) in enumerate(self._slots):
            self._groups.setdefault(text, []).append(slot)
        self._can_miss = len(forms) > 1
        self.blocks: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.kinds: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._scale: tuple[Matrix, Matrix] | None = None

    def encode(self, points: Sequence[tuple[Form, Rows]], extra: Matrix, num_costs: int) -> Encoded:
        """Encode points; ``extra`` has their costs, then their features."""
        codes = self._codes(points)
        near: list[tuple[int, Matrix]] = []
        linear: list[tuple[int, Matrix]] = []
        block = 0
        for slot, one in enumerate(self._slots.values()):
            block = self._add_parameter(one, codes[:, slot], block, near, linear)
        for slots in self._groups.values():
            if len(slots) > 1:
                counts = self._counts(slots, codes)
                linear.append((2, counts))
                near.append((block, counts / np.sqrt(counts.shape[1])))
                block += 1
        scaled = self._scaled(extra)
        for column in range(scaled.shape[1]):
            near.append((block, 0.25 * scaled[:, column : column + 1]))
            block += 1
        costs, features = scaled[:, :num_costs], scaled[:, num_costs:]
        linear += [(3, costs), (3, costs**2 / 2), (4, features)]
        self.blocks = np.concatenate([np.full(m.shape[1], b) for b, m in near]).astype(np.int64)
        self.kinds = np.concatenate([np.full(m.shape[1], k) for k, m in linear]).astype(np.int64)
        return Encoded(
            np.concatenate([m for _, m in near], axis=1),
            np.concatenate([m for _, m in linear], axis=1),
        )

    def _add_parameter(
        self,
        one: Parameter,
        codes: Rows,
        block: int,
        near: list[tuple[int, Matrix]],
        linear: list[tuple[int, Matrix]],
    ) -> int:
        if one.is_categorical:
            hot = (codes[:, None] == np.arange(one.num_levels)).astype(float)
            near.append((block, self._with_missing(hot, codes) / np.sqrt(2)))
            linear.append((0, hot - 1 / one.num_levels))
            place = _numeric_places(one, codes)
            if place is None:
                return block + 1
            near.append((block + 1, place[:, None]))
            linear.append((1, 2 * place[:, None] - 1))
            return block + 2
        place = np.where(codes < 0, 0.5, one.unit(np.maximum(codes, 0.0)))
        near.append((block, self._with_missing(place[:, None], codes)))
        linear.append((1, np.stack([2 * place - 1, (2 * place - 1) ** 2 - 1 / 3], axis=1)))
        return block + 1

    def _with_missing(self, columns: Matrix, codes: Rows) -> Matrix:
        if not self._can_miss:
            return columns
        return np.concatenate([columns, (codes < 0).astype(float)[:, None]], axis=1)

    def _codes(self, points: Sequence[tuple[Form, Rows]]) -> Rows:
        codes = np.full((len(points), len(self._slots)), -1.0)
        by_form: dict[int, list[int]] = {}
        for index, (form, _) in enumerate(points):
            by_form.setdefault(form.index, []).append(index)
        for indices in by_form.values():
            form = points[indices[0]][0]
            rows = np.array([points[index][1] for index in indices])
            for column, one in enumerate(form.parameters):
                slot = self._slot.get((one.name, repr(one.distribution)))
                if slot is not None:
                    codes[indices, slot] = rows[:, column]
        return codes

    def _counts(self, slots: Sequence[int], codes: Rows) -> Matrix:
        """Shares of each choice, or the mean of numbers, over parameters that are alike."""
        one = list(self._slots.values())[slots[0]]
        chosen = codes[:, slots]
        if one.is_categorical and one.num_levels <= 32:
            shares = [(chosen == level).mean(axis=1) for level in range(one.num_levels)]
            return np.asarray(2 * (np.stack(shares, axis=1) - 1 / one.num_levels))
        units = np.where(chosen < 0, 0.5, one.unit(np.maximum(chosen, 0.0)))
        return np.asarray(2 * units.mean(axis=1, keepdims=True) - 1)

    def _scaled(self, extra: Matrix) -> Matrix:
        if self._scale is None:
            if not len(extra):
                return extra
            spread = extra.std(axis=0)
            self._scale = (extra.mean(axis=0), np.where(spread > 1e-12, spread, 1.0))
        return np.clip((extra - self._scale[0]) / self._scale[1], -6.0, 6.0)


def _numeric_places(one: Parameter, codes: Rows) -> Rows | None:
    """Places of a categorical whose choices are three numbers or more, between 0 and 1."""
    choices = getattr(one.distribution, "choices", ())
    if len(choices) < 3 or any(
        isinstance(choice, bool) or not isinstance(choice, (int, float)) for choice in choices
    ):
        return None
    order = np.argsort(np.argsort(np.asarray(choices, dtype=float))) / (len(choices) - 1)
    return np.where(codes < 0, 0.5, order[np.maximum(codes, 0).astype(int)])
