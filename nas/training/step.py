"""One training step, eager: forward with auxiliary losses, backward, update.

The step reads nothing back from the device and takes the learning rate through the optimiser's
tensor, so that a later form may capture it whole.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nas.model import Network
from nas.task import Precision, Recipe
from nas.training.optimizer import create_optimizer


class TrainingStep:
    """A network with its optimiser; calling it makes one step.

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


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network runs: convolutions and linear layers in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
