"""What the steps of an epoch read: tensors on the device, filled in place once an epoch.

A counter beside them, which every step raises by one, says where the epoch stands: a step takes
nothing from the host, so that replaying a captured one and calling it are the same.
"""

from __future__ import annotations

import torch

from nas.architecture import Shape
from nas.datasets.augment import draw_crops
from nas.task import Recipe
from nas.training.order import Batches, epoch_flips, epoch_order
from nas.training.schedule import learning_rate
from nas.training.seeds import generator


class EpochTensors:
    """One training's; until :meth:`fill` every step passes the first image at rate 0.

    ``rows``: int64 (steps, size), images of the split; ``flips``: bool (steps, size) and
    ``crops``: int64 (steps, size, 2), or None where the recipe has none; ``rates``: float32
    (steps,); ``step``: int64 (1,), steps done; ``loss``: float32 (1,), the sum of their losses.
    """

    def __init__(
        self, batches: Batches, image: Shape, recipe: Recipe, epochs: int, device: torch.device
    ) -> None:
        self._batches, self._image, self._recipe, self._epochs = batches, image, recipe, epochs
        shape = (batches.steps, batches.size)
        self.rows = torch.zeros(shape, dtype=torch.int64, device=device)
        self.flips = self.crops = None
        if "flip" in recipe.augment:
            self.flips = torch.zeros(shape, dtype=torch.bool, device=device)
        if "crop" in recipe.augment:
            self.crops = torch.zeros((*shape, 2), dtype=torch.int64, device=device)
        self.rates = torch.zeros(batches.steps, device=device)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        self.loss = torch.zeros(1, device=device)

    def fill(self, seed: int, epoch: int) -> None:
        """Draw the 0-based ``epoch``, on the host and so the same for every device."""
        batches = self._batches
        rows = epoch_order(batches, seed, epoch)
        self.rows.copy_(rows)
        if self.flips is not None:
            self.flips.copy_(epoch_flips(batches, seed, epoch, rows))
        if self.crops is not None:
            numbers = generator(seed, "crops", epoch)
            crops = draw_crops(rows.numel(), self._image.height, self._image.width, numbers)
            self.crops.copy_(crops.view(self.crops.shape))
        first = epoch * batches.steps
        rates = [
            learning_rate(self._recipe, first + index, batches.steps, self._epochs)
            for index in range(batches.steps)
        ]
        self.rates.copy_(torch.tensor(rates))
        self.step.zero_()
        self.loss.zero_()
