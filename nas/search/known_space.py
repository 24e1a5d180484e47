"""A search space as our samplers see it: costs, features, mutants, and one encoding a network.

Costs are exact and cheap beside a training, so a sampler may ask for those of thousands of points.
What breaks a budget or does not fit the task is not feasible: it is never proposed, and no
proposal is spent on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.architecture import Architecture, Conv
from nas.search.proposals import Judge, Refusal
from nas.search.samplers import decades
from nas.space import SearchSpace

MOST_KEPT = 100_000


@dataclass(frozen=True)
class _Known:
    """A feasible network: its canonical parameters, costs and features."""

    params: dict[str, Any]
    costs: Mapping[str, float]
    features: tuple[float, ...]


class KnownSpace:
    """Implements :class:`nas.search.pareto_sampler.Space` for a search space and a task."""

    def __init__(self, space: SearchSpace, judge: Judge) -> None:
        self._space, self._judge = space, judge
        self._names = tuple(space.parameters)
        self._kept: dict[tuple[Any, ...], _Known | None] = {}

    def features(self, params: dict[str, Any], /) -> Sequence[float]:
        """Sizes in decades, cells, stages, convolutions in a row and in all."""
        return self._feasible(params).features

    def mutate(self, params: dict[str, Any], generator: np.random.Generator, /) -> dict[str, Any]:
        """One choice that matters in this network, answered otherwise."""
        mutant = self._space.mutate(self._space.decode(params), generator)
        return dict(self._space.encode(mutant))

    def canonical(self, params: dict[str, Any], /) -> dict[str, Any] | None:
        """The encoding that its network has; None where that is refused."""
        known = self._look_up(params)
        return None if known is None else known.params

    def cost(self, name: str) -> Callable[[dict[str, Any]], float]:
        """A cost as a function of parameters, in decades.

        Raises:
            ValueError: when called for a network that is refused.
        """
        return lambda params: decades(self._feasible(params).costs[name])

    def _feasible(self, params: Mapping[str, Any]) -> _Known:
        known = self._look_up(params)
        if known is None:
            raise ValueError("the network is refused")
        return known

    def _look_up(self, params: Mapping[str, Any]) -> _Known | None:
        key = tuple(params[name] for name in self._names)
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            known = self._kept[key] = self._measure(params)
            if known is not None:
                self._kept[tuple(known.params[name] for name in self._names)] = known
        return self._kept[key]

    def _measure(self, params: Mapping[str, Any]) -> _Known | None:
        architecture = self._space.decode(params)
        # Of thousands of points few become trials: only for those a proxy is made.
        costs = self._judge.count(architecture)
        if isinstance(costs, Refusal):
            return None
        sizes = (costs["params"], costs["activation_bytes"])
        features = (*map(decades, sizes), *_structure(architecture))
        return _Known(dict(self._space.encode(architecture)), costs, features)


def _structure(architecture: Architecture) -> tuple[float, ...]:
    cells = [cell for stage in architecture.stages for cell in stage]
    branches = [branch for cell in cells for branch in cell.branches]
    convs = [op for branch in branches for op in branch if isinstance(op, Conv)]
    depth = sum(
        max(sum(isinstance(op, Conv) for op in branch) for branch in cell.branches)
        for cell in cells
    )
    wide = sum(max(op.kernel) > 1 for op in convs) / max(len(convs), 1)
    return (
        float(len(cells)),
        float(len(architecture.stages)),
        float(depth),
        math.log2(1 + len(convs)),
        len(branches) / len(cells),
        wide,
    )
