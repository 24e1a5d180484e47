"""Small things that tests of the search share: networks, a task, tensors, scripted results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from nas.architecture import Architecture, Cell, Conv, Pool, Shape
from nas.datasets import Split, from_tensors
from nas.evaluate import RungResult
from nas.search.executor import Job, Report
from nas.task import RECIPES, Proxy, Target, Task

IMAGE = Shape(1, 12, 12)
CLASSES = 3


def small_architecture(width: int = 8) -> Architecture:
    cell = Cell(branches=((Conv((1, 1), width),), (Pool(), Conv((1, 1), 8))))
    return Architecture(stem=(Conv((3, 3), 8, 2),), stages=((cell,),))


def small_task(epochs: int = 2, images: int | None = 32) -> Task:
    recipe = RECIPES["default"].model_copy(update={"batch_size": 16, "augment": "none"})
    return Task(
        data="tensors",
        target=Target(image=IMAGE, classes=CLASSES),
        proxy=Proxy(resolution=None, width=0.5, images=images, epochs=epochs),
        recipe=recipe,
        precision="float32",
        validation_images=30,
    )


def small_data(num: int = 90) -> Split:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num) % CLASSES
    noise = torch.randint(0, 120, (num, *IMAGE), generator=generator)
    images = (noise + 60 * labels[:, None, None, None]).to(torch.uint8)
    return from_tensors(images, labels, [f"class {index}" for index in range(CLASSES)])


def result(epoch: int = 1, error: float = 0.5) -> RungResult:
    return RungResult(
        epoch=epoch,
        train_loss=1.0 / epoch,
        validation_loss=1.1 / epoch,
        error=error,
        train_seconds=0.1 * epoch,
        images_seen=100 * epoch,
        setup_seconds=0.05,
    )


def error_of(architecture: Architecture) -> float:
    """An error that depends on the network alone: smaller for more cells, with some noise."""
    noise = int(hashlib.sha256(architecture.to_json().encode()).hexdigest()[:4], 16) / 2**16
    return 0.1 + 0.5 / (1 + architecture.num_cells) + 0.05 * noise


def trained(job: Job, error: Callable[[Architecture], float] = error_of) -> list[Report]:
    """The reports of a job that trains through all rungs."""
    final = error(job.architecture)
    rungs = [result(epoch, final + 0.1 / epoch) for epoch in job.task.rungs[:-1]]
    rungs.append(result(job.task.rungs[-1], final))
    reports = [Report(job.number, "started")]
    reports += [Report(job.number, "rung", rung) for rung in rungs]
    return [*reports, Report(job.number, "done", rungs[-1])]
