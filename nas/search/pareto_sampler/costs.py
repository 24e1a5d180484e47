"""What is known of a point before it is tried: its costs, its features, whether it may be tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto_sampler.forms import Form, Rows

Matrix = NDArray[np.float64]
Known = Mapping[int, Callable[[dict[str, Any]], float]]

MOST_KEPT = 200_000


class Space(Protocol):
    """What a sampler may be told of a space beyond its parameters.

    Features and known objectives are asked for canonical points alone.
    """

    def features(self, params: dict[str, Any], /) -> Sequence[float]:
        """Numbers that say something of the unknown objective, equally many for all points."""

    def mutate(self, params: dict[str, Any], generator: np.random.Generator, /) -> dict[str, Any]:
        """Another point near this one, with the same parameters."""

    def canonical(self, params: dict[str, Any], /) -> dict[str, Any] | None:
        """The parameters that stand for this point: equal for all that mean the same.

        None where the point may not be tried.
        """


class Costs:
    """Known objectives in the study's units, then features; each point is asked for once."""

    def __init__(self, known: Known, space: Space | None) -> None:
        self.known = dict(sorted(known.items()))
        self._space = space
        self._kept: dict[tuple[int, bytes], NDArray[np.float64] | None] = {}

    def of(self, form: Form, row: Rows, *, is_tried: bool = False) -> NDArray[np.float64] | None:
        """Costs and features of a row; None where it is not feasible.

        ``is_tried`` says that a trial had it: a function that then lacks a parameter is wrong. It
        may well lack one at a point that only seems to be of this form.
        """
        return self._of(form, row, form.key(row), is_tried)

    def _of(
        self, form: Form, row: Rows, place: bytes, is_tried: bool
    ) -> NDArray[np.float64] | None:
        key = (form.index, place)
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            try:
                self._kept[key] = self._ask(form.values(row))
            except KeyError:
                if is_tried:
                    raise
                self._kept[key] = None
        return self._kept[key]

    def of_all(self, form: Form, rows: Rows) -> tuple[Rows, Matrix]:
        """The feasible ones of some rows, and their costs and features."""
        pairs = zip(rows, form.keys(rows), strict=True)
        found = [self._of(form, row, key, is_tried=False) for row, key in pairs]
        kept = [index for index, one in enumerate(found) if one is not None]
        width = max((len(one) for one in found if one is not None), default=len(self.known))
        extra = [one for one in found if one is not None]
        return rows[kept], np.array(extra).reshape(len(kept), width)

    def _ask(self, params: dict[str, Any]) -> NDArray[np.float64] | None:
        costs = []
        for function in self.known.values():
            try:
                costs.append(float(function(dict(params))))
            except ValueError:
                return None
            if not math.isfinite(costs[-1]):
                return None
        features = self._space.features(dict(params)) if self._space is not None else ()
        return np.array([*costs, *features], dtype=float)
