"""How far a full training is, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.training.loop import Training

_TELL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is; ``train_loss`` is the last whole epoch's, None before it.

    ``validation_accuracy`` is the last epoch's too, None without a validation part.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float | None
    images_per_second: float
    seconds_left: float
    validation_accuracy: float | None = None


class Teller:
    """Turns steps into :class:`Progress`, at most five times a second and at epochs' ends.

    ``losses`` and ``accuracies`` are the epochs' so far, and grow outside.
    """

    def __init__(
        self,
        training: Training,
        tell: Callable[[Progress], None] | None,
        losses: Sequence[float],
        accuracies: Sequence[float],
    ) -> None:
        self._training, self._tell = training, tell
        self._losses, self._accuracies = losses, accuracies
        self._start = self._told = time.perf_counter()
        self._steps_before = training.epoch * training.batches.steps

    def __call__(self, step: int) -> None:
        """A step of the epoch is done."""
        now, batches = time.perf_counter(), self._training.batches
        if self._tell is None or (step < batches.steps and now - self._told < _TELL_SECONDS):
            return
        self._told = now
        epochs = self._training.plan.epochs
        done = self._training.epoch * batches.steps + step
        seconds_a_step = (now - self._start) / (done - self._steps_before)
        self._tell(
            Progress(
                epoch=self._training.epoch + 1,
                epochs=epochs,
                step=step,
                steps=batches.steps,
                train_loss=self._losses[-1] if self._losses else None,
                images_per_second=batches.size / seconds_a_step,
                seconds_left=seconds_a_step * (epochs * batches.steps - done),
                validation_accuracy=self._accuracies[-1] if self._accuracies else None,
            )
        )
