"""The recipe as the baselines know it: schedule, groups, loss, order of images, augmentation.

The same formulas and hyperparameters as the product's, written again: no line is shared.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.architecture import Architecture
from nas.task import Recipe, Steps, Task

from .network import PlainNetwork


def rate_factor(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a 0-based step, as a part of the peak."""
    schedule = recipe.schedule
    if isinstance(schedule, Steps):
        return float(schedule.factor ** (step // (steps_per_epoch * schedule.epochs)))
    done = (step + 0.5) / (steps_per_epoch * epochs)
    if done < schedule.warmup:
        return done / schedule.warmup
    return (1 - done) / (1 - schedule.warmup)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights of convolutions and linear layers decay; norms and biases do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def training_loss(
    network: PlainNetwork,
    architecture: Architecture,
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """The main classifier's loss, and the sum with the weighted auxiliary ones."""
    logits, others = network(images)
    smoothing = recipe.label_smoothing
    main = total = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    for head, other in zip(architecture.auxiliary, others, strict=True):
        loss = functional.cross_entropy(other.float(), labels, label_smoothing=smoothing)
        total = total + head.weight * loss
    return main, total


def epoch_sizes(task: Task, num_images: int) -> tuple[int, int]:
    """Images a batch and batches an epoch; an epoch's incomplete last batch is left out."""
    wanted = task.proxy.images or num_images
    size = min(task.recipe.batch_size, wanted)
    return size, wanted // size


def endless_order(num_images: int, seed: int) -> Iterator[Tensor]:
    """Permutations of all images, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(num_images, generator=generator)


def epoch_orders(num_images: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """The rows of each epoch (steps, size): an epoch goes on where the last one ended."""
    permutations = endless_order(num_images, seed)
    left = torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) < size * steps:
            left = torch.cat((left, next(permutations)))
        yield left[: size * steps].view(steps, size)
        left = left[size * steps :]


def augmented(batch: Tensor, policy: str) -> Tensor:
    """A random flip and crop of each image; ``batch`` is N, C, H, W, of any dtype.

    Zero is what a crop sees outside, so a batch is augmented before it is normalised, or its
    images are shifted so that black is zero.
    """
    if "crop" in policy:
        batch = _cropped(batch)
    if "flip" in policy:
        flips = torch.rand(len(batch), device=batch.device) < 0.5
        batch = torch.where(flips.view(-1, 1, 1, 1), batch.flip(3), batch)
    return batch


def _cropped(batch: Tensor) -> Tensor:
    count, channels, height, width = batch.shape
    margin = max(1, round(min(height, width) / 8))
    padded = functional.pad(batch, (margin, margin, margin, margin))
    tops, lefts = torch.randint(0, 2 * margin + 1, (2, count, 1), device=batch.device)
    rows = (tops + torch.arange(height, device=batch.device)).view(count, 1, height, 1)
    columns = (lefts + torch.arange(width, device=batch.device)).view(count, 1, 1, width)
    images = torch.arange(count, device=batch.device).view(count, 1, 1, 1)
    depth = torch.arange(channels, device=batch.device).view(1, channels, 1, 1)
    return padded[images, depth, rows, columns]
