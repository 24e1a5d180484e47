"""What a search would take, before it is begun: ``plan_search``. Nothing is written.

The time is measured, not guessed: the proxy of a middling network trains on a few batches of
noise. It stands for this machine as it is now, and for networks as chance draws them; a sampler
that likes larger ones takes longer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nas.architecture import Architecture
from nas.cost import SEARCHED_COSTS, count_cost
from nas.search.prepare import NUM_DRAWN, Prepared, prepare
from nas.search.proposals import Judge, Judged
from nas.search.request import SearchRequest
from nas.search.workers import check_concurrency, worker_devices
from nas.space import SearchSpace
from nas.task import Task, proxy

if TYPE_CHECKING:
    from nas.datasets import Split, TrainValidation

MEASURED_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """A search that was checked and not begun.

    ``accepted`` is the share of random networks that fit and meet the budgets; ``costs`` holds
    (least, median, largest) of them by cost. ``images`` are what a trial's training passes.
    ``seconds`` is the whole search on all workers with one trial at a time on each and none
    stopped early, None where only the time is limited. ``concurrency`` is how many trials run at
    once on each, None where measurements during the search decide. ``unmeasured`` names
    objectives or budgets that the plan leaves out, because a table would have to be measured
    first, for about ``measure_seconds``.
    """

    space: str
    size: int
    num_parameters: int
    data: str
    objectives: tuple[str, ...]
    reference: tuple[float, ...]
    budgets: dict[str, float]
    sampler: str
    trials: int | None
    limit_seconds: float | None
    limit_device_seconds: float | None
    limit_trial_seconds: float | None
    halving: bool
    device: str
    workers: int
    concurrency: int | None
    accepted: float
    costs: dict[str, tuple[float, float, float]]
    proxy_macs: int
    images: int
    trial_seconds: float
    seconds: float | None
    unmeasured: tuple[str, ...] = ()
    measure_seconds: float = 0.0


def plan_search(
    space: SearchSpace | str,
    task: Task,
    request: SearchRequest,
    data: Split | TrainValidation | None = None,
) -> Plan:
    """Check a search as ``run_search`` would and say what it would take.

    Raises:
        ValueError: a setting is wrong.
    """
    prepared = prepare(space, task, request)
    limits = prepared.limits
    devices = worker_devices(prepared.device, request.workers)
    check_concurrency(prepared.device, request.concurrency)
    accepted = _accepted(prepared)
    middling = _middling(accepted, prepared.task)
    images = _images(prepared.task, data)
    trial_seconds = measure_trial(middling, prepared.task, images, devices[0])
    ends = [limits.seconds]
    if limits.trials is not None:
        ends.append(math.ceil(limits.trials / len(devices)) * trial_seconds)
    if limits.device_seconds is not None:
        ends.append(limits.device_seconds / len(devices))
    known = [end for end in ends if end is not None]
    total = min(known) if ends[1:] else None
    settings = prepared.settings
    return Plan(
        space=prepared.space.name,
        size=prepared.space.size,
        num_parameters=len(prepared.space.parameters),
        data=prepared.task.data,
        objectives=(*settings.objectives, *_left_out(prepared, request.objectives or ())),
        reference=settings.reference,
        budgets=settings.budgets,
        sampler=settings.sampler,
        trials=limits.trials,
        limit_seconds=limits.seconds,
        limit_device_seconds=limits.device_seconds,
        limit_trial_seconds=limits.trial_seconds,
        halving=settings.halving,
        device=prepared.device,
        workers=len(devices),
        concurrency=1 if prepared.device == "cpu" else request.concurrency,
        accepted=len(accepted) / NUM_DRAWN,
        costs=_spread(accepted or [middling], prepared.judge),
        proxy_macs=_proxy_macs(middling, prepared.task),
        images=images * prepared.task.rungs[-1],
        trial_seconds=trial_seconds,
        seconds=total,
        unmeasured=prepared.unmeasured,
        measure_seconds=_measure_seconds() if prepared.unmeasured else 0.0,
    )


def _accepted(prepared: Prepared) -> list[Architecture]:
    """Random networks that a search would train; those to begin with where there are none."""
    drawn = (prepared.space.random(np.random.default_rng([0, i])) for i in range(NUM_DRAWN))
    return [item for item in drawn if isinstance(prepared.judge.judge(item), Judged)] or [
        item for _, item in prepared.given
    ]


def _proxy_macs(architecture: Architecture, task: Task) -> int:
    return count_cost(proxy(architecture, task), task.proxy_image, task.target.classes).macs


def _middling(architectures: Sequence[Architecture], task: Task) -> Architecture:
    by_size = sorted(architectures, key=lambda item: _proxy_macs(item, task))
    return by_size[len(by_size) // 2]


def _left_out(prepared: Prepared, asked: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in prepared.unmeasured if name in asked)


def _measure_seconds() -> float:
    from nas.latency.building import expected_seconds

    return expected_seconds()


def _spread(
    architectures: Sequence[Architecture], judge: Judge
) -> dict[str, tuple[float, float, float]]:
    counted = [judge.costs(item) for item in architectures]
    return {
        name: (
            min(cost[name] for cost in counted),
            statistics.median(cost[name] for cost in counted),
            max(cost[name] for cost in counted),
        )
        for name in SEARCHED_COSTS
        if name in counted[0]
    }


def _images(task: Task, data: Split | TrainValidation | None) -> int:
    """Training images an epoch passes."""
    from nas.datasets import TrainValidation, describe_data

    if isinstance(data, TrainValidation):
        available = len(data.train)
    else:
        known = describe_data(task.data).num_train if data is None else len(data)
        available = known - task.validation_images
    return min(available, task.proxy.images or available)


def measure_trial(
    architecture: Architecture,
    task: Task,
    images: int,
    device: str,
    batches: int = MEASURED_BATCHES,
) -> float:
    """Seconds of one trial, from a few batches of noise after a first run that warms up.

    ``images`` are what an epoch passes.
    """
    import torch

    from nas.datasets import TrainValidation, from_tensors, measure_statistics
    from nas.evaluate import Evaluation

    count = batches * task.recipe.batch_size
    noise = torch.randint(0, 256, (count, *task.proxy_image), dtype=torch.uint8)
    labels = torch.arange(count) % task.target.classes
    names = [str(index) for index in range(task.target.classes)]
    split = from_tensors(noise, labels, names)
    short = task.model_copy(
        update={"proxy": task.proxy.model_copy(update={"images": count, "epochs": 1})}
    )
    few = TrainValidation(
        split, replace(split, images=noise[:1].clone(), labels=labels[:1].clone())
    )
    statistics_ = measure_statistics(split)
    seconds = []
    for _ in range(2):
        evaluation = Evaluation(architecture, short, 0, few, statistics_, device)
        seconds.append(evaluation.advance().train_seconds)
    each = seconds[-1] / count
    # A forward pass takes about a third of a training step.
    passes = images * task.rungs[-1] + task.validation_images * len(task.rungs) / 3
    return each * passes
