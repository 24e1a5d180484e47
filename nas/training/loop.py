"""A training, epoch by epoch, that can stop after any epoch and go on bit for bit.

All randomness follows from (seed, purpose, epoch): the state to save is the weights, their
average where there is one, the momentum and the number of epochs, and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.datasets import Split, Statistics
from nas.model import Dropout, Network, build
from nas.task import Precision, Recipe
from nas.training.averaging import AverageWeights, floating_buffers
from nas.training.device_queue import DeviceQueue, Reading
from nas.training.epoch import EpochTensors
from nas.training.failures import TrainingFailed
from nas.training.graph import StepGraph
from nas.training.optimizer import load_momentum, momentum_state
from nas.training.order import Batches
from nas.training.processes import ALONE, Processes
from nas.training.seeds import derive_seed
from nas.training.step import EpochStep, TrainingStep
from nas.training.validation import Validation, validation_sums

_STEPS_AHEAD = 32
"""Steps that may be queued on a device before waiting, so that progress tells what is done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and with what a training runs; ``images`` an epoch, None for all.

    ``classes`` are the classifier's, at least those of the data.
    """

    recipe: Recipe
    precision: Precision
    classes: int
    epochs: int
    images: int | None = None


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch gave: its 1-based number, mean loss of the main classifier, its seconds."""

    epoch: int
    loss: float
    seconds: float


class Training:
    """A network in training on a split that lies on the device it is trained on.

    An epoch is ``begin_epoch()``, ``step()`` for each of its batches and ``end_epoch()``;
    :meth:`run_epoch` is these. On CUDA they queue work on a stream of the training's own and
    return before it is done, so that one thread can keep several trainings going; a step there
    is a replay of a graph that was captured when the training was made. With several
    ``processes`` each makes the same calls, and a step there is not captured.

    Raises:
        ValueError: the processes cannot share a batch equally.
        torch.OutOfMemoryError: the network or its step does not fit the device.
    """

    def __init__(
        self,
        architecture: Architecture,
        split: Split,
        statistics: Statistics,
        plan: Plan,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        start = time.perf_counter()
        self._processes = processes
        self.plan = plan
        self.seed = seed
        self.epoch = 0
        self._statistics = statistics
        self.batches = Batches.plan(len(split.labels), plan.recipe.batch_size, plan.images)
        self.queue = DeviceQueue(split.images.device)
        self._graph: StepGraph | None = None
        self._steps = 0
        self._loss: Reading | None = None
        with self.queue.active():
            self._epoch = EpochTensors(
                self.batches, split.image, plan.recipe, plan.epochs, split.images.device, processes
            )
            self.network = _build(architecture, split, plan, seed)
            self._average: AverageWeights | None = None
            if plan.recipe.ema_decay is not None:
                copy = _build(architecture, split, plan, seed)
                self._average = AverageWeights(self.network, copy)
            self._masks = _masks_of(self.network, split.images.device)
            weights = tuple(head.weight for head in architecture.auxiliary)
            train = TrainingStep(self.network, plan.recipe, plan.precision, weights, processes)
            self._optimizer = train.optimizer
            self._step = EpochStep(
                train, split, statistics, self._epoch, self._average, plan.recipe.cutout
            )
        self._is_eager = split.images.device.type == "cpu" or processes.count > 1
        if not self._is_eager:
            self._graph = StepGraph(self._step, self.queue, self._masks)
        self.setup_seconds = time.perf_counter() - start

    def run_epoch(self, on_step: Callable[[int], None] | None = None) -> EpochResult:
        """Train one epoch; ``on_step`` hears how many of its steps are done, or nearly.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        self.begin_epoch()
        for index in range(self.batches.steps):
            if index % _STEPS_AHEAD == 0:
                self.queue.wait()
                self.queue.mark()
            self.step()
            if on_step is not None:
                on_step(index + 1)
        return self.end_epoch()

    def begin_epoch(self) -> None:
        """Draw the epoch's batches, flips, crops and masks."""
        self._start = time.perf_counter()
        self.network.train()
        with self.queue.active():
            self._epoch.fill(self.seed, self.epoch)
        if self._masks is not None:
            words = ("dropout", self.epoch)
            # Each process has images of its own, and so masks of its own.
            own = (self._processes.rank,) if self._processes.rank else ()
            self._masks.manual_seed(derive_seed(self.seed, *words, *own))
        self._steps, self._loss = 0, None

    def step(self) -> None:
        """Make the epoch's next step; on CUDA, queue it.

        Raises:
            TrainingFailed: the loss is not finite; on CUDA the epoch's end tells.
        """
        assert self._steps < self.batches.steps, "the epoch has no step left"
        if self._graph is not None:
            self._graph.replay()
        elif self._is_eager:
            with self.queue.active():
                self._step()
            # Reading a number back is free on a processor, and waits for a GPU. Of several
            # processes none may stop before the others.
            if self.queue.stream is None and self._processes.count == 1:
                self._check_finite(self._epoch.loss.item(), self._steps)
        else:
            raise ValueError("the training is closed")
        self._steps += 1

    def queue_loss(self) -> Reading:
        """Queue the reading of the epoch's loss behind its last step."""
        if self._loss is None:
            with self.queue.active():
                self._processes.average_([self._epoch.loss])
                self._loss = self.queue.read(self._epoch.loss)
        return self._loss

    def end_epoch(self) -> EpochResult:
        """Wait for the epoch's loss.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        assert self._steps == self.batches.steps, "the epoch has steps left"
        mean = self.queue_loss().values()[0] / self._steps
        self._check_finite(mean, self._steps - 1)
        with self.queue.active():
            self._processes.average_(floating_buffers(self.network))
            if self._average is not None:
                self._average.finish_epoch()
                self._processes.average_(floating_buffers(self._average.network))
        self.epoch += 1
        self._steps = 0
        return EpochResult(self.epoch, mean, time.perf_counter() - self._start)

    def _check_finite(self, loss: float, index: int) -> None:
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"the loss became {loss} in epoch {self.epoch + 1} by step {index + 1} of "
                f"{self.batches.steps}"
            )

    def validate(self, split: Split) -> Validation:
        """Loss and error on another split.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        return self.validation(split, self.queue_validation(split))

    def queue_validation(self, split: Split) -> Reading:
        """Queue a validation behind all steps; :meth:`validation` makes sense of the numbers."""
        with self.queue.active():
            own = split if self._processes.count == 1 else self._part_of(split)
            sums = validation_sums(self.judged, own, self._statistics, self.plan.precision)
            self._processes.sum_(sums)
            return self.queue.read(sums)

    def _part_of(self, split: Split) -> Split:
        rank, count = self._processes.rank, self._processes.count
        return split.take(torch.arange(rank, len(split), count))

    def validation(self, split: Split, reading: Reading) -> Validation:
        """What a queued validation on ``split`` gave, after waiting for it.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        result = Validation.of(reading.values(), len(split))
        if not math.isfinite(result.loss):
            raise TrainingFailed(
                f"the validation loss became {result.loss} after epoch {self.epoch}"
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        """Copies, on the host, of all that goes on from here: plain tensors and numbers.

        Raises:
            ValueError: within an epoch.
        """
        if self._steps:
            raise ValueError("a training cannot be saved within an epoch")
        with self.queue.active():
            average = {} if self._average is None else {"average": host_copy(self.judged)}
            return {
                "epoch": self.epoch,
                "network": host_copy(self.network),
                "momentum": momentum_state(self._optimizer),
                **average,
            }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was taken; all tensors stay where they are.

        Raises:
            RuntimeError, ValueError: the state is another network's.
        """
        with self.queue.active():
            # In place, as a captured step needs it.
            self.network.load_state_dict(state["network"])
            load_momentum(self._optimizer, state["momentum"])
            if self._average is not None:
                self._average.network.load_state_dict(state["average"])
        self.epoch = state["epoch"]
        self._steps = 0

    @property
    def judged(self) -> Network:
        """The network that is validated and kept: with averaged weights where the recipe has them.

        The same object as ``network`` where it has none.
        """
        return self.network if self._average is None else self._average.network

    @property
    def steps_done(self) -> int:
        """Steps made, or on a GPU queued, since the training began."""
        return self.epoch * self.batches.steps + self._steps

    @property
    def device_bytes(self) -> int:
        """Memory that a GPU holds for this training: its tensors, and its graph's pool."""
        return self.queue.reserved_bytes

    def close(self) -> None:
        """Free what a GPU holds for further steps; the network stays. Closing twice is fine."""
        self._is_eager = self._is_eager and self.queue.stream is None
        if self._graph is not None:
            self._graph.close()
            self._graph = None
            self._step.drop_gradients()
            torch.cuda.empty_cache()


def host_copy(network: Network) -> dict[str, Tensor]:
    """A copy, on the host, of the weights and statistics under the plain network's names."""
    return {name: item.detach().cpu().clone() for name, item in network.state_dict().items()}


def _masks_of(network: Network, device: torch.device) -> torch.Generator | None:
    """A generator that all dropouts of the network draw from; None where there are none."""
    dropouts = [module for module in network.modules() if isinstance(module, Dropout)]
    if not dropouts:
        return None
    masks = torch.Generator(device)
    for module in dropouts:
        module.generator = masks
    return masks


def _build(architecture: Architecture, split: Split, plan: Plan, seed: int) -> Network:
    """The network on the split's device, in the memory format that trains fastest there."""
    network = build(architecture, split.image, plan.classes, seed=derive_seed(seed, "weights"))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = plan.recipe.norm_momentum
    # NHWC: 1.3 to 1.9 times faster than the default on a processor, and what tensor cores read.
    network.to(split.images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
