"""What is measured and how: data, target, proxy, recipe, precision; and the proxy network itself.

A :class:`Task` says on which data an architecture is judged, for which image and classes its
cost is counted (:class:`Target`), by which cheap network and training its error is estimated
(:class:`Proxy`, :class:`Recipe`). It is frozen, written to YAML and JSON, and has a fingerprint:
the same (proxy architecture, task, seed) is the same training. :func:`proxy` is the one rule by
which a network is made smaller.

Settings stand in :mod:`~nas.task.settings`, recipes in :mod:`~nas.task.recipe`, defaults for a
data set in :mod:`~nas.task.creation`, the proxy's rule in :mod:`~nas.task.narrowing`. Left out:
tensors, devices and training (:mod:`nas.training`, :mod:`nas.evaluate`).
"""

from nas.task.creation import Data, create_task, read_task_file
from nas.task.narrowing import proxy, scaled, scaled_width, with_recipe
from nas.task.recipe import (
    RECIPES,
    Cosine,
    Recipe,
    Steps,
    Triangle,
    read_recipe,
    recipe_named,
)
from nas.task.settings import Precision, Proxy, Target, Task

__all__ = [
    "RECIPES",
    "Cosine",
    "Data",
    "Precision",
    "Proxy",
    "Recipe",
    "Steps",
    "Target",
    "Task",
    "Triangle",
    "create_task",
    "proxy",
    "read_recipe",
    "read_task_file",
    "recipe_named",
    "scaled",
    "scaled_width",
    "with_recipe",
]
