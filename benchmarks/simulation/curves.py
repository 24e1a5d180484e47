"""What a training would report and how long it would take, without one.

:class:`TableCurves` has the measured curves of a complete table. :class:`MadeCurves` are made up
from an architecture's counted costs, for spaces that nobody can train whole: errors fall with a
power of the MACs as small image data do, with a share that the structure does not explain; they
come down over the rungs and cross in the early ones. Seconds grow with the MACs; their spread is
set to the table's. Equal architectures always have equal curves. Made-up curves are good for
loads and waiting, not for saying how good a search is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from efficiency.table import Table

from nas.architecture import Architecture
from nas.cost import count_cost
from nas.datasets import describe_data
from nas.evaluate import RungResult
from nas.search.halving import Halving
from nas.space import SearchSpace
from nas.task import Task, create_task

SPREAD = 0.22
"""Of the logarithm of a made-up training's seconds beside what the MACs say of them.

With the MACs' share the deviation over the mean is that of the table of ``tiny``, 0.30; a test
compares the two.
"""

PILOT = 400
"""Trials of which the mean duration is taken before a simulation."""


class Curves(Protocol):
    """Trainings of one space under one task."""

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        ...

    @property
    def task(self) -> Task:
        """What is trained for."""
        ...

    def training(self, architecture: Architecture) -> list[RungResult]:
        """The rungs of a training, from the first to the last."""
        ...


class TableCurves:
    """The trainings of a complete table (benchmarks/complete_table.py)."""

    def __init__(self, table: Table) -> None:
        self.space, self.task = table.space, Task.from_json(json.dumps(table.about["task"]))
        self._table = table

    def training(self, architecture: Architecture) -> list[RungResult]:
        """The measured rungs."""
        row = self._table.row_by_fingerprint[architecture.fingerprint]
        curves = self._table.curves[0]
        return [
            RungResult(
                epoch=epoch,
                train_loss=float(curves.train_loss_sum[row, place]) / epoch,
                validation_loss=float(curves.validation_loss[row, place]),
                error=float(curves.error[row, place]),
                train_seconds=float(curves.seconds[row, place]),
                images_seen=epoch * (self.task.proxy.images or 0),
            )
            for place, epoch in enumerate(self._table.rungs)
        ]


class MadeCurves:
    """Trainings made up from costs."""

    def __init__(self, space: str = "googlenet_small") -> None:
        self.space = SearchSpace.load(space)
        self.task = create_task(describe_data("fashion-mnist-mini"))

    def training(self, architecture: Architecture) -> list[RungResult]:
        """The rungs that follow from the costs and the fingerprint."""
        target = self.task.target
        macs = count_cost(architecture, target.image, target.classes).macs
        random = np.random.default_rng(int(architecture.fingerprint, 16))
        luck, pace = random.normal(0, 0.12), math.exp(random.normal(0, SPREAD))
        last = min(0.05 + 0.2 * (macs / 5e6) ** -0.25 * math.exp(luck), 0.85)
        rungs = self.task.rungs
        seconds = (0.5 + (macs / 2e7) ** 0.3) * pace
        behind = 0.35 * math.exp(random.normal(0, 0.2))
        results = []
        for place, epoch in enumerate(rungs):
            left = 1 - (place + 1) / len(rungs)
            error = last + behind * left**1.5 + random.normal(0, 0.006 * (1 + 3 * left))
            results.append(
                RungResult(
                    epoch=epoch,
                    train_loss=2.5 * max(error, 0.01),
                    validation_loss=2.6 * max(error, 0.01) + random.normal(0, 0.01),
                    error=min(max(error, 0.01), 0.9),
                    train_seconds=seconds * epoch / rungs[-1],
                    images_seen=epoch * (self.task.proxy.images or 0),
                )
            )
        return results


def _pilot(curves: Curves, halving: Halving | None) -> Iterator[float]:
    """The seconds of trials drawn at random one by one, to the rung where halving stops them."""
    random = np.random.default_rng(0)
    target = curves.task.target
    for number in range(PILOT):
        architecture = curves.space.random(random)
        costs = [float(count_cost(architecture, target.image, target.classes).macs)]
        for rung in curves.training(architecture):
            seconds = rung.train_seconds
            if halving is None:
                continue
            report = (number, rung.epoch, rung.validation_loss, costs)
            if not halving.report(*report).goes_on:
                break
        yield seconds


def scale_for(curves: Curves, halving: Halving | None, seconds: float) -> float:
    """The scale at which a trial takes so many seconds in the mean, stopped ones included.

    It is taken from trials drawn at random, so those of a search that finds dearer networks take
    somewhat longer; the report says what they took.
    """
    return seconds / float(np.mean(list(_pilot(curves, halving))))
