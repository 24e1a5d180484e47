"""How launch-bound a GPU is: the eager step's time over the captured step's, by width and batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nas.architecture import Architecture
from nas.datasets import Statistics, TrainValidation
from nas.task import Task, proxy
from nas.training.loop import Plan, Training

WIDTHS, BATCHES = (0.125, 0.25, 0.5), (64, 128, 512)
STEPS, ROUNDS = 20, 3


@dataclass(frozen=True)
class Launches:
    """Milliseconds of a step called op by op, and of its replay (on a CPU: called again)."""

    width: float
    batch: int
    eager_ms: float
    replay_ms: float


def measure_launches(
    architecture: Architecture,
    task: Task,
    data: TrainValidation,
    statistics: Statistics,
    device: str,
) -> list[Launches]:
    """The best of three rounds of 20 steps each, for every width and batch."""
    on_device = data.to(device)
    return [
        _measure(architecture, _changed(task, width, batch), on_device, statistics)
        for width in WIDTHS
        for batch in BATCHES
    ]


def _changed(task: Task, width: float, batch: int) -> Task:
    proxy_settings = task.proxy.model_copy(update={"width": width, "epochs": 1})
    recipe = task.recipe.model_copy(update={"batch_size": batch})
    return task.model_copy(update={"proxy": proxy_settings, "recipe": recipe})


def _measure(
    architecture: Architecture, task: Task, data: TrainValidation, statistics: Statistics
) -> Launches:
    batch = task.recipe.batch_size
    plan = Plan(task.recipe, task.precision, task.target.classes, 1, images=batch * STEPS)
    training = Training(proxy(architecture, task), data.train, statistics, plan, seed=0)
    try:
        replay = _best_ms(training, training.step)
        eager = _best_ms(training, _eager_step(training))
    finally:
        training.close()
    return Launches(task.proxy.width, batch, eager, replay)


def _eager_step(training: Training) -> Callable[[], None]:
    """The step that was captured, called as it is: the product itself never does so on a GPU."""

    def step() -> None:
        with training.queue.active():
            training._step()

    return step


def _best_ms(training: Training, step: Callable[[], None]) -> float:
    best = math.inf
    for _ in range(ROUNDS):
        training.begin_epoch()
        training.queue.wait()
        start = time.perf_counter()
        for _ in range(training.batches.steps):
            step()
        if training.queue.stream is not None:
            torch.cuda.synchronize(training.queue.stream.device)
        best = min(best, (time.perf_counter() - start) / training.batches.steps)
    return 1000 * best


def markdown(measured: list[Launches]) -> str:
    """The figures as a table."""
    lines = ["width | batch | eager ms | replay ms | eager / replay"]
    lines.append(" | ".join(["---"] * 5))
    lines += [
        f"{item.width:g} | {item.batch} | {item.eager_ms:.2f} | {item.replay_ms:.2f} | "
        f"{item.eager_ms / item.replay_ms:.2f}"
        for item in measured
    ]
    caption = "How launch-bound: one training step, eager over replay"
    return "\n".join([caption, "", *(f"| {line} |" for line in lines)])
