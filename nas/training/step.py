"""One training step: batch, augmentation, forward with auxiliary losses, backward, update.

The step reads nothing back from the device and takes nothing from the host: what varies lies in
tensors on the device. So it can be called as it is, or captured whole (:mod:`nas.training.graph`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from nas.datasets import Split, Statistics
from nas.datasets.augment import augment, normalise, scale_and_shift
from nas.datasets.augment_operations import blank, blank_side, move, recolour
from nas.model import Network
from nas.task import Precision, Recipe
from nas.training.averaging import AverageWeights
from nas.training.epoch import EpochTensors
from nas.training.optimizer import create_optimizer, momentum_buffers, rate_of
from nas.training.processes import ALONE, Processes


class TrainingStep:
    """A network with its optimiser; calling it makes one step on a batch.

    ``auxiliary_weights`` are those of the network's auxiliary heads in their order. With several
    ``processes`` the batch is this one's part, and the step is that of the whole.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        precision: Precision,
        auxiliary_weights: tuple[float, ...] = (),
        processes: Processes = ALONE,
    ) -> None:
        self.network = network
        self.optimizer = create_optimizer(network, recipe)
        self._precision = precision
        losses: nn.Module = _Losses(network, recipe.label_smoothing, auxiliary_weights)
        if processes.count > 1:
            # Running statistics are averaged at the epoch's end, not overwritten by the first's.
            losses = DistributedDataParallel(losses, broadcast_buffers=False)
        self._losses = losses

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make a step on normalised ``images`` (N, C, H, W) and ``labels`` (N).

        Returns the main classifier's loss, a scalar on the device, detached.
        """
        with autocast(images.device, self._precision):
            main, total = self._losses(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        loss: Tensor = main.detach()
        return loss


class _Losses(nn.Module):
    """A network's losses on a batch: a module, because several processes share its backward."""

    def __init__(
        self, network: Network, smoothing: float, auxiliary_weights: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.network = network
        self._smoothing, self._auxiliary_weights = smoothing, auxiliary_weights

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
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

    Calling it makes the step, takes the weights into ``average`` where there is one, adds the
    loss to the epoch's and raises the counter. ``cutout`` is the recipe's.
    """

    def __init__(
        self,
        step: TrainingStep,
        split: Split,
        statistics: Statistics,
        epoch: EpochTensors,
        average: AverageWeights | None = None,
        cutout: float = 0.0,
    ) -> None:
        self.epoch = epoch
        self._train, self._average = step, average
        self._split, self._statistics = split, statistics
        self._blank_side = blank_side(cutout, split.image.height, split.image.width)
        self._rate = rate_of(step.optimizer)
        # Held, because a captured step goes on reading them.
        self._normalising = scale_and_shift(statistics, split.images.device)

    def __call__(self) -> None:
        """Make the step; everything happens on the device."""
        epoch, step = self.epoch, self.epoch.step
        rows = epoch.rows.index_select(0, step).squeeze(0)
        labels = self._split.labels.index_select(0, rows)
        torch.index_select(epoch.rates, 0, step, out=self._rate)
        epoch.loss.add_(self._train(self._batch(rows), labels))
        if self._average is not None:
            assert epoch.decays is not None
            self._average.update(epoch.decays.index_select(0, step).squeeze(0))
        step.add_(1)

    def _batch(self, rows: Tensor) -> Tensor:
        """The images at ``rows``, augmented and normalised."""
        epoch = self.epoch
        flips, crops, blanks, strengths = (
            None if drawn is None else drawn.index_select(0, epoch.step).squeeze(0)
            for drawn in (epoch.flips, epoch.crops, epoch.blanks, epoch.strengths)
        )
        images = augment(self._split.images.index_select(0, rows), flips, crops)
        if strengths is not None:
            images = recolour(images, strengths)
        batch = normalise(images, self._statistics, torch.float32, channels_last=True)
        # After normalising: what they bring in is the mean of the images, not black.
        if strengths is not None:
            batch = move(batch, strengths).contiguous(memory_format=torch.channels_last)
        return batch if blanks is None else blank(batch, blanks, self._blank_side)

    def changed_tensors(self) -> list[Tensor]:
        """All that a step changes and the next one reads."""
        network = self._train.network
        return [
            *(item.detach() for item in network.parameters()),
            *network.buffers(),
            *momentum_buffers(self._train.optimizer),
            *(self._average.changed_tensors() if self._average is not None else ()),
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
