"""What a confirmation would take, before it is begun. Nothing is written.

The time is measured: each network trains on a few batches of noise, on this machine as it is now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.confirm.launch import folders_of
from nas.confirm.prepare import Prepared, prepare
from nas.confirm.request import ConfirmRequest
from nas.confirm.work import begun_training, folder_of
from nas.records import Run
from nas.records.confirmation import Finalist
from nas.search.executor import Job
from nas.search.plan import measure_trial
from nas.search.workers import worker_devices
from nas.task import Task
from nas.training.result_files import ResultFiles

MEASURED_BATCHES, LARGE_MACS = 4, 200_000_000
"""Batches that are measured; of a network with more multiply-adds a single one."""


@dataclass(frozen=True)
class PlannedNetwork:
    """A network that would be retrained, and the seconds that one training of it takes."""

    finalist: Finalist
    seconds: float


@dataclass(frozen=True)
class ConfirmPlan:
    """A confirmation that was checked and not begun.

    ``images`` are those of an epoch. ``seconds`` is the whole on all workers, one training at a
    time on each, of the epochs that are not done yet, and without the test split.
    """

    run: str
    data: str
    recipe: str
    precision: str
    device: str
    workers: int
    epochs: int
    images: int
    validation_images: int
    seeds: int
    trainings: int
    trainings_done: int
    networks: tuple[PlannedNetwork, ...]
    seconds: float


def plan_confirmation(
    run: Run,
    request: ConfirmRequest | None = None,
    *,
    on_network: Callable[[int, int], None] | None = None,
) -> ConfirmPlan:
    """Check a confirmation as ``confirm_run`` would and say what it would take.

    ``on_network`` hears how many networks were measured, of how many.

    Raises:
        ValueError: a setting is wrong.
        OSError: the data cannot be read.
    """
    asked = request or ConfirmRequest()
    prepared = prepare(run, asked)
    devices = worker_devices(prepared.device, asked.workers)
    images = _images(prepared.task)
    networks = []
    for place, finalist in enumerate(prepared.confirm.finalists):
        if on_network is not None:
            on_network(place, len(prepared.confirm.finalists))
        batches = 1 if finalist.costs["macs"] > LARGE_MACS else MEASURED_BATCHES
        seconds = measure_trial(finalist.network, prepared.task, images, devices[0], batches)
        networks.append(PlannedNetwork(finalist, seconds))
    left = _left(prepared, networks)
    return ConfirmPlan(
        run=run.name,
        data=prepared.task.data,
        recipe=prepared.task.recipe.name,
        precision=prepared.task.precision,
        device=prepared.device,
        workers=len(devices),
        epochs=prepared.task.proxy.epochs,
        images=images,
        validation_images=prepared.task.validation_images,
        seeds=prepared.confirm.seeds,
        trainings=prepared.confirm.seeds * len(networks),
        trainings_done=prepared.confirm.seeds * len(networks) - len(left),
        networks=tuple(networks),
        # The longest one is the least that it can take, however many workers there are.
        seconds=max(sum(left) / len(devices), max(left, default=0.0)),
    )


def _images(task: Task) -> int:
    from nas.datasets import describe_data

    return describe_data(task.data).num_train - task.validation_images


def _left(prepared: Prepared, networks: list[PlannedNetwork]) -> list[float]:
    """Seconds that each training which is not done still takes: its other epochs are saved."""
    done: set[tuple[str, int]] = set()
    if prepared.recorded is not None:
        rows = prepared.recorded.trainings
        rows = rows[rows["state"] == "complete"]
        done = {
            (str(name), int(seed)) for name, seed in zip(rows["name"], rows["seed"], strict=True)
        }
    folders, task = folders_of(prepared), prepared.task
    left = []
    for item in networks:
        for seed in range(prepared.confirm.seeds):
            if (item.finalist.name, seed) not in done:
                job = Job(0, item.finalist.network, task, seed)
                begun = begun_training(ResultFiles(folder_of(job, folders)), job)
                left.append(item.seconds * (1 - begun.epochs / task.proxy.epochs))
    return left
