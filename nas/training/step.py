"""One training step: batch, augmentation, forward with auxiliary losses, backward, update.

The step reads nothing back from the device and takes nothing from the host: what varies lies in
tensors on the device. So it can be called as it is, or captured whole (:mod:`nas.training.graph`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nas.datasets import Split, Statistics
from nas.datasets.augment import augment, normalise, scale_and_shift
from nas.model import Network
from nas.task import Precision, Recipe
from nas.training.epoch import EpochTensors
from nas.training.optimizer import create_optimizer, momentum_buffers, rate_of


class TrainingStep:
    """A network with its optimiser; calling it makes one step on a batch.

    ``auxiliary_weights`` are those of the network's auxiliary heads in their order.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        precision: Precision,
        auxiliary_weights: tuple[float, ...] = (),
    ) -> None:
        self.network = network
        self.optimizer = create_optimizer(network, recipe)
        self._smoothing = recipe.label_smoothing
        self._precision = precision
        self._auxiliary_weights = auxiliary_weights

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make a step on normalised ``images`` (N, C, H, W) and ``labels`` (N).

        Returns the main classifier's loss, a scalar on the device, detached.
        """
        with autocast(images.device, self._precision):
            main, total = self._losses(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return main.detach()

    def _losses(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The main classifier's loss, and the sum with the weighted auxiliary losses."""
        if not self._auxiliary_weights:
            main = self._loss(self.network(images), labels)
            return main, main
        logits = self.network.forward_with_auxiliary(images)
        main = total = self._loss(logits.main, labels)
        for weight, auxiliary in zip(self._auxiliary_weights, logits.auxiliary, strict=True):
            total = total + weight * self._loss(auxiliary, labels)
        return main, total

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=self._smoothing)


class EpochStep:
    """The next step of an epoch: a :class:`TrainingStep` on the batch that the counter points at.

    Calling it makes the step, adds its loss to the epoch's and raises the counter.
    """

    def __init__(
        self, step: TrainingStep, split: Split, statistics: Statistics, epoch: EpochTensors
    ) -> None:
        self.epoch = epoch
        self._train = step
        self._split, self._statistics = split, statistics
        self._rate = rate_of(step.optimizer)
        # Held, because a captured step goes on reading them.
        self._normalising = scale_and_shift(statistics, split.images.device)

    def __call__(self) -> None:
        """Make the step; everything happens on the device."""
        epoch, step = self.epoch, self.epoch.step
        rows = epoch.rows.index_select(0, step).squeeze(0)
        flips = None if epoch.flips is None else epoch.flips.index_select(0, step).squeeze(0)
        crops = None if epoch.crops is None else epoch.crops.index_select(0, step).squeeze(0)
        images = augment(self._split.images.index_select(0, rows), flips, crops)
        batch = normalise(images, self._statistics, torch.float32, channels_last=True)
        labels = self._split.labels.index_select(0, rows)
        torch.index_select(epoch.rates, 0, step, out=self._rate)
        epoch.loss.add_(self._train(batch, labels))
        step.add_(1)

    def changed_tensors(self) -> list[Tensor]:
        """All that a step changes and the next one reads."""
        network = self._train.network
        return [
            *(item.detach() for item in network.parameters()),
            *network.buffers(),
            *momentum_buffers(self._train.optimizer),
            self.epoch.step,
            self.epoch.loss,
            self._rate,
        ]

    def drop_gradients(self) -> None:
        """Give back the memory of the last step's gradients."""
        self._train.optimizer.zero_grad(set_to_none=True)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network runs: convolutions and linear layers in ``precision``."""
    # No cache: each weight is cast once a step anyway, and a captured step must cast its own.
    enabled = precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
