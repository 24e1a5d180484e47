"""(architecture, task, seed) -> an error, rung by rung: what every executor runs.

An :class:`Evaluation` trains the architecture's proxy. It can be stopped at any rung, saved,
loaded in another process and taken up again: the bits that follow are the same. Left out: which
trials go on (:mod:`nas.search`) and full training (:mod:`nas.training.full`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from nas.architecture import Architecture
from nas.datasets import Statistics, TrainValidation
from nas.task import Task, proxy
from nas.training.failures import TrainingFailed, memory_failures, memory_need
from nas.training.loop import Plan, Training


@dataclass(frozen=True, slots=True)
class RungResult:
    """What is known at a rung.

    ``epoch`` is 1-based; ``train_loss`` is the last epoch's mean (main classifier, with label
    smoothing, while it learnt); ``validation_loss`` is without smoothing; ``error`` is 1 - top-1.
    ``train_seconds`` and ``images_seen`` add up from the start; the seconds hold all that the
    trial took: building, training and validation. ``setup_seconds`` of them went before the
    first step: building, and on CUDA warming up and capturing the step.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    error: float
    train_seconds: float
    images_seen: int
    setup_seconds: float = 0.0


SLICE_STEPS = 32
"""Training steps a turn: on a GPU some tens of milliseconds of queued work."""


class EvaluationFailed(Exception):  # noqa: N818 - a failed trial is a result, not a bug
    """The trial cannot go on; ``reason`` says why in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Evaluation:
    """One trial: an architecture's proxy, trained to the task's rungs one after the other.

    ``data`` lies on ``device`` (it is moved there if not) at the task's proxy resolution. On a
    processor everything runs on one thread: small networks gain little from a second one, and
    the bits do not depend on the number of cores.

    :meth:`advance` works to the next rung. :meth:`turn` does a slice of that and does not wait
    for the device, so that one thread can keep many evaluations going: it passes by those that
    are busy. ``share`` is the part of the device that is this trial's (1 / trials in turn): with
    it, the seconds of all trials add up to the device's.

    Raises:
        ValueError: the architecture or the images do not fit the task.
        EvaluationFailed: the network does not fit the memory.
    """

    def __init__(
        self,
        architecture: Architecture,
        task: Task,
        seed: int,
        data: TrainValidation,
        statistics: Statistics,
        device: torch.device | str = "cpu",
    ) -> None:
        start = time.perf_counter()
        self.task = task
        self.seed = seed
        self.device = torch.device(device)
        self.proxy = proxy(architecture, task)
        _check_images(data, task)
        self._data = data.to(self.device)
        self._results: list[RungResult] = []
        self._train_losses: list[float] = []
        plan = Plan(
            task.recipe,
            task.precision,
            classes=task.target.classes,
            epochs=task.proxy.epochs,
            images=task.proxy.images,
        )
        self.share = 1.0
        with self._guarded():
            self._training = Training(self.proxy, self._data.train, statistics, plan, seed)
        self._work = self._worked()
        self._is_closed = False
        self._charged: float | None = None
        self._failure: str | None = None
        self._seconds = self._setup_seconds = time.perf_counter() - start

    @property
    def done(self) -> bool:
        """Whether the last rung was reached."""
        return len(self._results) == len(self.task.rungs)

    @property
    def results(self) -> tuple[RungResult, ...]:
        """The rungs so far: the trial's curve."""
        return tuple(self._results)

    @property
    def train_losses(self) -> tuple[float, ...]:
        """The mean training loss of every epoch so far."""
        return tuple(self._train_losses)

    @property
    def network(self) -> torch.nn.Module:
        """The proxy network as it stands, in training mode or not."""
        return self._training.network

    @property
    def judged(self) -> torch.nn.Module:
        """The network that rungs measure: the averaged one where the recipe averages weights."""
        return self._training.judged

    @property
    def is_busy(self) -> bool:
        """Whether the device still works on what was queued; never on a processor."""
        return self._training.queue.is_busy

    @property
    def epoch(self) -> int:
        """Whole epochs so far. The turn that ends one does nothing more: it can be saved then."""
        return self._training.epoch

    @property
    def steps_done(self) -> int:
        """Training steps made, or on a GPU queued, so far."""
        return self._training.steps_done

    @property
    def setup_seconds(self) -> float:
        """Seconds before the first step: building, and on CUDA warming up and capturing."""
        return self._setup_seconds

    @property
    def device_bytes(self) -> int:
        """Memory that the device holds for this evaluation alone; 0 on a processor."""
        return self._training.device_bytes

    def advance(self) -> RungResult:
        """Train to the next rung and validate there.

        Raises:
            EvaluationFailed: a loss that is not finite, or out of memory.
            ValueError: the last rung was reached before.
        """
        while (result := self.turn()) is None:
            self._training.queue.wait()
        return result

    def turn(self) -> RungResult | None:
        """Work on for a slice, without waiting; the next rung's result where it is there.

        Raises:
            EvaluationFailed: a loss that is not finite, or out of memory.
            ValueError: the last rung was reached before, or it is closed.
        """
        if self._is_closed:
            raise ValueError("the evaluation is closed")
        if self.done:
            raise ValueError(f"the evaluation is done: its last rung is {self.task.rungs[-1]}")
        if self._failure is not None:
            raise EvaluationFailed(self._failure)
        start = time.perf_counter()
        try:
            with self._guarded():
                result = next(self._work)
        except EvaluationFailed as failure:
            self._failure = failure.reason
            raise
        self._charge(start)
        if result is None:
            return None
        # What passes until the next turn is not this trial's: it may be paused for long.
        self._charged = None
        result = replace(result, train_seconds=self._seconds)
        self._results.append(result)
        return result

    def close(self) -> None:
        """Free what the device holds for further turns; results and network stay."""
        self._is_closed = True
        # Its frame refers to this evaluation, which would live until circles are looked for.
        self._work.close()
        self._training.close()

    def _charge(self, start: float) -> None:
        """Count the seconds of a turn: its own on a processor, else all since the last turn."""
        now = time.perf_counter()
        if self.device.type == "cpu":
            self._seconds += now - start
            return
        self._seconds += (now - (start if self._charged is None else self._charged)) * self.share
        self._charged = now

    def _worked(self) -> Generator[RungResult | None]:
        """The whole trial from where it stands: a slice a turn, and None where it goes on.

        Contexts stay out of here: they would be open between turns.
        """
        training = self._training
        for rung in self.task.rungs[len(self._results) :]:
            while training.epoch < rung:
                yield from self._trained_epoch()
                # Between two epochs, so that whoever gives the turns may save it here.
                yield None
            reading = training.queue_validation(self._data.validation)
            while not reading.is_there:
                yield None
            validation = training.validation(self._data.validation, reading)
            yield RungResult(
                epoch=training.epoch,
                train_loss=self._train_losses[-1],
                validation_loss=validation.loss,
                error=validation.error,
                train_seconds=0.0,
                images_seen=training.epoch * training.batches.images_per_epoch,
                setup_seconds=self._setup_seconds,
            )

    def _trained_epoch(self) -> Iterator[None]:
        training = self._training
        training.begin_epoch()
        for step in range(1, training.batches.steps + 1):
            training.step()
            if step % SLICE_STEPS == 0:
                training.queue.mark()
                yield None
        reading = training.queue_loss()
        while not reading.is_there:
            yield None
        self._train_losses.append(training.end_epoch().loss)

    def state_dict(self) -> dict[str, Any]:
        """All that the trial goes on from, copied to the host: tensors, numbers, lists, strings.

        ``torch.save`` writes it and ``torch.load(weights_only=True)`` reads it.

        Raises:
            ValueError: within an epoch; at a rung it is not.
        """
        return {
            **self._identity(),
            "training": self._training.state_dict(),
            "results": [asdict(result) for result in self._results],
            "train_losses": list(self._train_losses),
            "train_seconds": self._seconds,
            "setup_seconds": self._setup_seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was taken, bit for bit.

        Raises:
            ValueError: the state is that of another proxy, task or seed; the message says which.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ValueError(
                    f"the saved evaluation has another {name}: {state.get(name)!r}, not {value!r}"
                )
        with self._guarded():
            self._training.load_state_dict(state["training"])
        self._results = [RungResult(**result) for result in state["results"]]
        self._train_losses = list(state["train_losses"])
        self._seconds = state["train_seconds"]
        self._setup_seconds = state.get("setup_seconds", 0.0)
        self._charged = self._failure = None
        self._work = self._worked()

    def _identity(self) -> dict[str, str | int]:
        return {"proxy": self.proxy.fingerprint, "task": self.task.fingerprint, "seed": self.seed}

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread on a processor; failures of numbers and memory become the trial's."""
        try:
            with _one_thread(self.device), memory_failures(self._need):
                yield
        except TrainingFailed as failure:
            raise EvaluationFailed(failure.reason) from failure

    def _need(self) -> str:
        batch = self.task.recipe.batch_size
        image, classes = self.task.proxy_image, self.task.target.classes
        return memory_need(self.proxy, image, classes, batch, self.task.precision)


def _check_images(data: TrainValidation, task: Task) -> None:
    for split in (data.train, data.validation):
        if split.image != task.proxy_image:
            raise ValueError(f"the images are {split.image}, the task's {task.proxy_image}")


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
