"""What every contestant trains: the same architectures, seeds and tasks, cut into blocks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.architecture import Architecture
from nas.cost import count_cost
from nas.space import SearchSpace
from nas.task import Task, proxy

MOST_DRAWN = 10_000
"""Random networks that are drawn at most to find enough that fit."""


@dataclass(frozen=True)
class Trial:
    """One training. ``index`` is the architecture's; ``weights_seed`` fixes the initial bits."""

    index: int
    architecture: Architecture
    task: Task
    seed: int
    weights_seed: int

    @property
    def images(self) -> int:
        """Training images asked for; 0 where an epoch passes all."""
        return (self.task.proxy.images or 0) * self.task.proxy.epochs


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its seconds from build to last validation, error, images trained.

    ``error`` is NaN where the training failed.
    """

    index: int
    seed: int
    seconds: float
    error: float
    images: int


@dataclass(frozen=True)
class Block:
    """Trials that each contestant runs in its turn; ``key`` names the block in the rows."""

    key: str
    width: float
    trials: tuple[Trial, ...]


def draw_architectures(
    space: SearchSpace, tasks: Sequence[Task], number: int, max_macs: int
) -> list[Architecture]:
    """Random architectures of at most ``max_macs`` at the target whose proxies fit all tasks.

    Raises:
        ValueError: the space has not enough of them.
    """
    found: dict[str, Architecture] = {}
    for place in range(MOST_DRAWN):
        drawn = space.random(np.random.default_rng([0, place]))
        if _is_wanted(drawn, tasks, max_macs):
            found.setdefault(drawn.fingerprint, drawn)
        if len(found) == number:
            return list(found.values())
    raise ValueError(
        f"of {MOST_DRAWN:,} random networks of {space.name} only {len(found)} have at most "
        f"{max_macs:,} MACs and a proxy that fits, not {number}"
    )


def _is_wanted(architecture: Architecture, tasks: Sequence[Task], max_macs: int) -> bool:
    target = tasks[0].target
    try:
        for task in tasks:
            proxy(architecture, task)
        return count_cost(architecture, target.image, target.classes).macs <= max_macs
    except ValueError:
        return False


def proxy_macs(trial: Trial) -> int:
    """Multiply-adds of the network that is trained, one image forward."""
    task = trial.task
    return count_cost(proxy(trial.architecture, task), task.proxy_image, task.target.classes).macs


def cut_blocks(trials: Sequence[Trial], size: int, repeats: int = 1) -> list[Block]:
    """Blocks of ``size`` trials of one task in an order of chance; each repeat is cut anew.

    Within a block the longest come first: contestants with several processes then end almost
    together, as they do in a search, which always has a next trial.
    """
    width = trials[0].task.proxy.width
    blocks = []
    for repeat in range(repeats):
        order = list(trials)
        random.Random(repeat).shuffle(order)
        for number, first in enumerate(range(0, len(order), size)):
            chosen = sorted(order[first : first + size], key=proxy_macs, reverse=True)
            blocks.append(Block(f"{width:g}/{repeat}/{number}", width, tuple(chosen)))
    return blocks
