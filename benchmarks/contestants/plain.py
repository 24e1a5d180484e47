"""Contestant (a), plain PyTorch: what most scripts look like, written without mistakes.

A map-style data set that gives whole batches (``__getitems__``), a DataLoader with two
persistent workers, the default memory format, default SGD, LambdaLR. The loaders are made once
and serve all trials. float32 on a processor, autocast on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from nas.datasets import Split, Statistics, TrainValidation
from nas.task import Task, proxy

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

LOADER_WORKERS = 2
VALIDATION_BATCH = 250


class Images(Dataset[tuple[Tensor, Tensor]]):
    """A split whose batches are augmented and normalised as a whole."""

    def __init__(self, split: Split, statistics: Statistics, policy: str) -> None:
        self._split, self._policy = split, policy
        mean, std = (torch.tensor(values) for values in (statistics.mean, statistics.std))
        self._scale = (1 / (255 * std)).view(1, -1, 1, 1)
        self._shift = (-mean / std).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(indices)
        images = augmented(self._split.images[rows], self._policy)
        return images.float().mul_(self._scale).add_(self._shift), self._split.labels[rows]


class EpochSampler(Sampler[list[int]]):
    """The batches of a trial's next epoch; :meth:`restart` begins a trial."""

    def __init__(self, num_images: int) -> None:
        self._num_images, self.steps = num_images, 0
        self._orders: Iterator[Tensor] = iter(())

    def restart(self, task: Task, seed: int) -> None:
        """Begin the order of ``seed``, in the task's batches."""
        size, self.steps = epoch_sizes(task, self._num_images)
        self._orders = epoch_orders(self._num_images, size, self.steps, seed)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(next(self._orders).tolist())

    def __len__(self) -> int:
        return self.steps


class PlainTrainer:
    """Runs trials one after the other on ``device``."""

    def __init__(self, data: TrainValidation, statistics: Statistics, device: str) -> None:
        self._data, self._statistics = data, statistics
        self._device = torch.device(device)
        self._loaders: tuple[str, DataLoader[tuple[Tensor, Tensor]], EpochSampler] | None = None
        self._validation = self._loader(Images(data.validation, statistics, "none"), None)

    def run(self, trial: Trial) -> Outcome:
        """Build, train, validate at the task's rungs."""
        start = time.perf_counter()
        task = trial.task
        torch.manual_seed(trial.seed)
        loader, sampler = self._training_loader(task.recipe.augment)
        sampler.restart(task, trial.seed)
        architecture = proxy(trial.architecture, task)
        network = create_network(
            architecture,
            task.proxy_image,
            task.target.classes,
            trial.weights_seed,
            task.recipe.norm_momentum,
        ).to(self._device)
        recipe, epochs = task.recipe, task.proxy.epochs
        optimizer = torch.optim.SGD(
            parameter_groups(network, recipe.weight_decay),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(recipe, step, sampler.steps, epochs)
        )
        error, images = float("nan"), 0
        for epoch in range(1, epochs + 1):
            network.train()
            for batch, labels in loader:
                batch = batch.to(self._device, non_blocking=True)  # noqa: PLW2901
                labels = labels.to(self._device, non_blocking=True)  # noqa: PLW2901
                with self._autocast():
                    _, loss = training_loss(network, architecture, recipe, batch, labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                images += len(labels)
            if epoch in task.rungs:
                _, error = self._validate(network)
        return Outcome(trial.index, trial.seed, time.perf_counter() - start, error, images)

    def _validate(self, network: PlainNetwork) -> tuple[float, float]:
        """Mean cross-entropy and error."""
        network.eval()
        loss = torch.zeros((), device=self._device)
        wrong = torch.zeros((), dtype=torch.int64, device=self._device)
        with torch.no_grad():
            for batch, labels in self._validation:
                labels = labels.to(self._device, non_blocking=True)  # noqa: PLW2901
                with self._autocast():
                    logits, _ = network(batch.to(self._device, non_blocking=True))
                loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
                wrong += (logits.argmax(1) != labels).sum()
        count = len(self._data.validation)
        return loss.item() / count, wrong.item() / count

    def _autocast(self) -> torch.autocast:
        is_gpu = self._device.type == "cuda"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=is_gpu)

    def _training_loader(
        self, policy: str
    ) -> tuple[DataLoader[tuple[Tensor, Tensor]], EpochSampler]:
        """The loader of all trials; a new one where they augment otherwise."""
        if self._loaders is None or self._loaders[0] != policy:
            sampler = EpochSampler(len(self._data.train))
            images = Images(self._data.train, self._statistics, policy)
            self._loaders = policy, self._loader(images, sampler), sampler
        return self._loaders[1:]

    def _loader(
        self, images: Images, sampler: EpochSampler | None
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        batches: dict[str, Any] = {"batch_size": VALIDATION_BATCH}
        if sampler is not None:
            batches = {"batch_sampler": sampler}
        return DataLoader(
            images,
            num_workers=LOADER_WORKERS,
            persistent_workers=True,
            pin_memory=self._device.type == "cuda",
            collate_fn=_as_it_is,
            **batches,
        )


def _as_it_is(batch: Any) -> Any:
    """The data set gave the batch whole."""
    return batch
