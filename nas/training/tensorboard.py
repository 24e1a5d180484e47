"""A training's curves for TensorBoard; ``tensorboard`` is imported here alone.

The curves are in the checkpoint, and the log is written from them: whenever a training begins or
goes on, what an interrupted one left in the log is removed and all epochs so far are written
again. So no step is there twice, and none is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.task import Recipe
from nas.training.history import History
from nas.training.order import Batches
from nas.training.schedule import learning_rate

FOLDER = "tensorboard"
"""Within the directory of a training."""


class CurveLog:
    """Scalars by epoch: losses, accuracy, the epoch's last learning rate, images a second.

    Raises:
        ValueError: TensorBoard is not installed.
        OSError: the log cannot be written.
    """

    def __init__(self, folder: Path, recipe: Recipe, batches: Batches, epochs: int) -> None:
        self._recipe, self._batches, self._epochs = recipe, batches, epochs
        writer_class = _writer_class()
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        # For a TensorBoard that watches: forget what it read from the removed files.
        self._writer = writer_class(str(folder), purge_step=0)

    def write(self, history: History, first: int = 1) -> None:
        """Write the epochs from the 1-based ``first`` on."""
        for epoch in range(first, len(history.train_losses) + 1):
            for name, value in self._scalars(history, epoch - 1).items():
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def write_measured(self, split: str, accuracy: float, loss: float) -> None:
        """Write what was measured at the end, at the last epoch."""
        self._writer.add_scalar(f"accuracy/{split}", accuracy, self._epochs)
        self._writer.add_scalar(f"loss/{split}", loss, self._epochs)
        self._writer.flush()

    def close(self) -> None:
        """End the log."""
        self._writer.close()

    def _scalars(self, history: History, index: int) -> dict[str, float]:
        steps = self._batches.steps
        scalars = {
            "loss/train": history.train_losses[index],
            "learning_rate": learning_rate(
                self._recipe, (index + 1) * steps - 1, steps, self._epochs
            ),
            "images_per_second": self._batches.images_per_epoch / history.seconds[index],
        }
        if history.validation_losses:
            scalars["loss/validation"] = history.validation_losses[index]
            scalars["accuracy/validation"] = history.validation_accuracies[index]
        return scalars


def check_tensorboard() -> None:
    """Refuse before anything is trained.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    _writer_class()


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "TensorBoard is not installed: pip install 'inception-nas[tensorboard]'"
        ) from None
    return SummaryWriter
