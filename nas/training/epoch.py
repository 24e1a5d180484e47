"""What the steps of an epoch read: tensors on the device, filled in place once an epoch.

A counter beside them, which every step raises by one, says where the epoch stands: a step takes
nothing from the host, so that replaying a captured one and calling it are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.architecture import Shape
from nas.datasets.augment import draw_crops
from nas.datasets.augment_operations import OPERATIONS, draw_blanks, draw_operations
from nas.task import Recipe
from nas.training.order import Batches, epoch_flips, epoch_order
from nas.training.processes import ALONE, Processes
from nas.training.schedule import ema_decay, learning_rate
from nas.training.seeds import generator


class EpochTensors:
    """One training's; until :meth:`fill` every step passes the first image at rate 0.

    ``rows``: int64 (steps, size), images of the split; ``flips``: bool (steps, size), ``crops``
    and ``blanks``: int64 (steps, size, 2), and ``strengths`` of operations: float32 (steps, size,
    12), or None where the recipe has none; ``rates`` and ``decays`` (of averaged weights):
    float32 (steps,); ``step``: int64 (1,), steps done; ``loss``: float32 (1,), the sum of their
    losses. With several processes, ``size`` is this one's part of a batch.
    """

    def __init__(
        self,
        batches: Batches,
        image: Shape,
        recipe: Recipe,
        epochs: int,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self._batches, self._image, self._recipe, self._epochs = batches, image, recipe, epochs
        self._part = processes.part(batches.size)
        shape = (batches.steps, self._part.stop - self._part.start)
        self.rows = torch.zeros(shape, dtype=torch.int64, device=device)
        self.flips = self.crops = self.blanks = self.strengths = self.decays = None
        if "flip" in recipe.augment:
            self.flips = torch.zeros(shape, dtype=torch.bool, device=device)
        if "crop" in recipe.augment:
            self.crops = torch.zeros((*shape, 2), dtype=torch.int64, device=device)
        if recipe.cutout:
            self.blanks = torch.zeros((*shape, 2), dtype=torch.int64, device=device)
        if recipe.operations:
            self.strengths = torch.zeros((*shape, len(OPERATIONS)), device=device)
        self.rates = torch.zeros(batches.steps, device=device)
        if recipe.ema_decay is not None:
            self.decays = torch.zeros(batches.steps, device=device)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        self.loss = torch.zeros(1, device=device)

    def fill(self, seed: int, epoch: int) -> None:
        """Draw the 0-based ``epoch``, on the host and so the same for every device."""
        # Whole batches are drawn and then cut, so that they are the same for any processes.
        batches, recipe = self._batches, self._recipe
        height, width = self._image.height, self._image.width
        rows = epoch_order(batches, seed, epoch)
        self._put(self.rows, rows)
        if self.flips is not None:
            self._put(self.flips, epoch_flips(batches, seed, epoch, rows))
        if self.crops is not None:
            numbers = generator(seed, "crops", epoch)
            self._put(self.crops, draw_crops(rows.numel(), height, width, numbers))
        if self.blanks is not None:
            numbers = generator(seed, "blanks", epoch)
            self._put(self.blanks, draw_blanks(rows.numel(), height, width, numbers))
        if self.strengths is not None:
            numbers = generator(seed, "operations", epoch)
            strengths = draw_operations(rows.numel(), recipe.operations, recipe.magnitude, numbers)
            self._put(self.strengths, strengths)
        self._fill_schedule(epoch)
        self.step.zero_()
        self.loss.zero_()

    def _put(self, tensor: Tensor, drawn: Tensor) -> None:
        whole = drawn.view(self._batches.steps, self._batches.size, *tensor.shape[2:])
        tensor.copy_(whole[:, self._part])

    def _fill_schedule(self, epoch: int) -> None:
        steps, recipe = self._batches.steps, self._recipe
        numbers = range(epoch * steps, (epoch + 1) * steps)
        rates = [learning_rate(recipe, number, steps, self._epochs) for number in numbers]
        self.rates.copy_(torch.tensor(rates))
        if self.decays is not None and recipe.ema_decay is not None:
            decays = [ema_decay(recipe.ema_decay, number) for number in numbers]
            self.decays.copy_(torch.tensor(decays))
