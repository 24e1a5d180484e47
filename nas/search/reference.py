"""The reference point of a run's hypervolume, chosen once, when the run is created.

For the error it is that of guessing, 1 - 1/classes. For a cost it is the largest that the space
has at the target, found by coordinate ascent from several random networks, or the budget where
one is smaller. It depends on space, task and budgets alone, so that runs with other samplers,
seeds and lengths compare; a network beyond it (the ascent is a search, too) adds no volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.cost import count_cost
from nas.space import SearchSpace
from nas.task import Task

NUM_STARTS = 3
MOST_VALUES = 5
"""Values of a wide parameter that the ascent tries."""


def reference_point(
    space: SearchSpace, task: Task, objectives: Sequence[str], budgets: Mapping[str, int]
) -> tuple[float, ...]:
    """One value an objective, in their order."""
    chance = 1 - 1 / task.target.classes
    return tuple(
        chance if name == "error" else float(_cost_reference(space, task, name, budgets))
        for name in objectives
    )


def _cost_reference(space: SearchSpace, task: Task, name: str, budgets: Mapping[str, int]) -> int:
    largest = largest_cost(space, task, name)
    return min(largest, budgets.get(name, largest))


def largest_cost(space: SearchSpace, task: Task, name: str) -> int:
    """The largest cost found in the space at the task's target; the same for every seed."""
    starts = [space.random(np.random.default_rng([1, index])) for index in range(NUM_STARTS)]
    return max(_ascend(space, task, name, dict(space.encode(start))) for start in starts)


def _ascend(space: SearchSpace, task: Task, name: str, values: dict[str, Any]) -> int:
    best = _cost(space, task, name, values)
    improved = True
    while improved:
        improved = False
        for parameter, domain in space.parameters.items():
            for value in _tried(domain.values):
                changed = {**values, parameter: value}
                cost = _cost(space, task, name, changed)
                if cost > best:
                    best, values, improved = cost, changed, True
    return best


def _tried(values: Sequence[Any]) -> list[Any]:
    """The ends and some between: the largest cost is nearly always at an end."""
    places = np.linspace(0, len(values) - 1, min(MOST_VALUES, len(values))).round().astype(int)
    return [values[int(place)] for place in places]


def _cost(space: SearchSpace, task: Task, name: str, values: dict[str, Any]) -> int:
    try:
        cost = count_cost(space.decode(values), task.target.image, task.target.classes)
    except ValueError:
        # It does not fit the target: smaller than anything that does.
        return 0
    return int(getattr(cost, name))
