"""Contestant (b), strong eager: everything a PyTorch user can do in a loop of his own.

Normalised images lie on the device as N, H, W, C, so that a batch is one gather and is
channels_last without a copy; flips are a select. channels_last weights, bfloat16 autocast where
the task says that it is faster, fused SGD, gradients set to None, no value read back before a
rung. Branches are separate and every op is torch's.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional

from nas.architecture import Architecture
from nas.datasets import Split, Statistics, TrainValidation
from nas.task import Recipe, Task, proxy

from .network import PlainNetwork, create_network
from .recipe import (
    augmented,
    epoch_orders,
    epoch_sizes,
    parameter_groups,
    rate_factor,
    training_loss,
)
from .trials import Outcome, Trial

VALIDATION_BATCH = 250


class ResidentImages:
    """A split on the device. Normalised once, or after cropping, which pads with black."""

    def __init__(self, split: Split, statistics: Statistics, device: torch.device) -> None:
        mean, std = (torch.tensor(values) for values in (statistics.mean, statistics.std))
        self._scale, self._shift = (1 / (255 * std)).to(device), (-mean / std).to(device)
        self._raw = split.images.permute(0, 2, 3, 1).contiguous().to(device)
        self._normalised = self._raw.float().mul_(self._scale).add_(self._shift)
        self.labels = split.labels.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def training(self, rows: Tensor, policy: str) -> tuple[Tensor, Tensor]:
        """An augmented batch, channels_last."""
        labels = self.labels.index_select(0, rows)
        if "crop" not in policy:
            images = self._normalised.index_select(0, rows).permute(0, 3, 1, 2)
            return augmented(images, policy), labels
        raw = augmented(self._raw.index_select(0, rows).permute(0, 3, 1, 2), policy)
        images = raw.permute(0, 2, 3, 1).float().mul_(self._scale).add_(self._shift)
        return images.permute(0, 3, 1, 2), labels

    def plain(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Some images in their order, as they are."""
        return self._normalised[first:last].permute(0, 3, 1, 2), self.labels[first:last]


class StrongTraining:
    """A network, its optimiser, and the step; ``total_steps`` fixes the schedule."""

    def __init__(self, architecture: Architecture, trial: Trial, device: torch.device) -> None:
        task = trial.task
        self._architecture, self._recipe = architecture, task.recipe
        self._precision_is_low = task.precision == "bfloat16"
        self._device = device
        self.network: PlainNetwork = create_network(
            architecture,
            task.proxy_image,
            task.target.classes,
            trial.weights_seed,
            task.recipe.norm_momentum,
        ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.network, task.recipe.weight_decay),
            lr=task.recipe.learning_rate,
            momentum=task.recipe.momentum,
            nesterov=task.recipe.nesterov,
            fused=True,
        )

    def step(self, images: Tensor, labels: Tensor, factor: float) -> Tensor:
        """One update at ``factor`` times the peak rate; the main classifier's loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * factor
        with self.autocast():
            main, total = training_loss(
                self.network, self._architecture, self._recipe, images, labels
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return main.detach()

    def autocast(self) -> torch.autocast:
        """bfloat16 where the task says so."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision_is_low)


class StrongTrainer:
    """Runs trials one after the other on ``device``."""

    def __init__(self, data: TrainValidation, statistics: Statistics, device: str) -> None:
        self._device = torch.device(device)
        self._train = ResidentImages(data.train, statistics, self._device)
        self._validation = ResidentImages(data.validation, statistics, self._device)

    def run(self, trial: Trial) -> Outcome:
        """Build, train, validate at the task's rungs."""
        start = time.perf_counter()
        task = trial.task
        torch.manual_seed(trial.seed)
        training = StrongTraining(proxy(trial.architecture, task), trial, self._device)
        size, steps = epoch_sizes(task, len(self._train))
        orders = epoch_orders(len(self._train), size, steps, trial.seed)
        error = float("nan")
        for epoch in range(task.proxy.epochs):
            self._train_epoch(training, task, next(orders).to(self._device), epoch)
            if epoch + 1 in task.rungs:
                _, error = self._validate(training)
        seconds = time.perf_counter() - start
        return Outcome(trial.index, trial.seed, seconds, error, size * steps * task.proxy.epochs)

    def _train_epoch(self, training: StrongTraining, task: Task, order: Tensor, epoch: int) -> None:
        recipe: Recipe = task.recipe
        training.network.train()
        for place, rows in enumerate(order):
            images, labels = self._train.training(rows, recipe.augment)
            step = epoch * len(order) + place
            factor = rate_factor(recipe, step, len(order), task.proxy.epochs)
            training.step(images, labels, factor)

    def _validate(self, training: StrongTraining) -> tuple[float, float]:
        """Mean cross-entropy and error."""
        network, count = training.network, len(self._validation)
        network.eval()
        loss = torch.zeros((), device=self._device)
        wrong = torch.zeros((), dtype=torch.int64, device=self._device)
        with torch.inference_mode():
            for first in range(0, count, VALIDATION_BATCH):
                images, labels = self._validation.plain(first, first + VALIDATION_BATCH)
                with training.autocast():
                    logits, _ = network(images)
                loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
                wrong += (logits.argmax(1) != labels).sum()
        return loss.item() / count, wrong.item() / count
