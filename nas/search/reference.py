"""The reference point of a run's hypervolume, chosen once, when the run is created.

For the error it is that of guessing, 1 - 1/classes. For a cost it is the largest that the space
has at the target, found by coordinate ascent from several random networks, or the budget where
one is smaller. It depends on space, task and budgets alone, so that runs with other samplers,
seeds and lengths compare; a network beyond it (the ascent is a search, too) adds no volume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from nas.architecture import Architecture
from nas.cost import LATENCY, count_cost
from nas.latency import LatencyTable
from nas.space import SearchSpace
from nas.task import Task

Cost: TypeAlias = Callable[[Architecture], float]

NUM_STARTS = 3
MOST_VALUES = 5
"""Values of a wide parameter that the ascent tries."""


def reference_point(
    space: SearchSpace,
    task: Task,
    objectives: Sequence[str],
    budgets: Mapping[str, float],
    latency: LatencyTable | None = None,
) -> tuple[float, ...]:
    """One value an objective, in their order; ``latency`` predicts where that is one."""
    chance = 1 - 1 / task.target.classes
    costs = {name: _cost(task, name, latency) for name in objectives if name != "error"}
    largest = {name: largest_cost(space, cost) for name, cost in costs.items()}
    return tuple(
        chance if name == "error" else float(min(largest[name], budgets.get(name, largest[name])))
        for name in objectives
    )


def largest_cost(space: SearchSpace, cost: Cost) -> float:
    """The largest cost found in the space; the same for every seed."""
    starts = [space.random(np.random.default_rng([1, index])) for index in range(NUM_STARTS)]
    return max(_ascend(space, cost, dict(space.encode(start))) for start in starts)


def _ascend(space: SearchSpace, cost: Cost, values: dict[str, Any]) -> float:
    best = _cost_of(space, cost, values)
    improved = True
    while improved:
        improved = False
        for parameter, domain in space.parameters.items():
            for value in _tried(domain.values):
                changed = {**values, parameter: value}
                larger = _cost_of(space, cost, changed)
                if larger > best:
                    best, values, improved = larger, changed, True
    return best


def _tried(values: Sequence[Any]) -> list[Any]:
    """The ends and some between: the largest cost is nearly always at an end."""
    places = np.linspace(0, len(values) - 1, min(MOST_VALUES, len(values))).round().astype(int)
    return [values[int(place)] for place in places]


def _cost(task: Task, name: str, latency: LatencyTable | None) -> Cost:
    """A cost at the task's target as a function of the network."""
    if name == LATENCY:
        assert latency is not None, "who minimises latency has a table"
        return latency.predict_ms
    image, classes = task.target.image, task.target.classes
    return lambda architecture: int(getattr(count_cost(architecture, image, classes), name))


def _cost_of(space: SearchSpace, cost: Cost, values: dict[str, Any]) -> float:
    try:
        return cost(space.decode(values))
    except ValueError:
        # It does not fit the target: smaller than anything that does.
        return 0
