"""Loss and error of a network on a split, without augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas.architecture import Shape
from nas.datasets import Split, Statistics
from nas.datasets.augment import normalise
from nas.model import Network
from nas.task import Precision
from nas.training.step import autocast

BATCH = 250
"""Images a validation batch: maps of small images then stay in a processor's cache."""

_PIXELS_ON_CUDA = 2**21
"""Pixels a batch has at most there: few launches where images are small, memory where large."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean cross-entropy (without label smoothing) and error (1 - top-1)."""

    loss: float
    error: float

    @staticmethod
    def of(sums: Sequence[float], count: int) -> Validation:
        """From the numbers of :func:`validation_sums` over ``count`` images."""
        loss, wrong = sums
        return Validation(loss / count, wrong / count)


def validate(
    network: Network, split: Split, statistics: Statistics, precision: Precision
) -> Validation:
    """Run ``network`` in evaluation mode over all images of ``split``; its mode is put back."""
    sums = validation_sums(network, split, statistics, precision)
    return Validation.of(sums.tolist(), len(split))


def validation_sums(
    network: Network, split: Split, statistics: Statistics, precision: Precision
) -> Tensor:
    """Sum of the losses and number of wrong answers, float64 (2,) on the device, not waited for."""
    was_training = network.training
    network.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=split.images.device)
    size = batch_size(split.image, split.images.device)
    with torch.inference_mode():
        for first in range(0, len(split.labels), size):
            labels = split.labels[first : first + size]
            logits = _logits(network, split.images[first : first + size], statistics, precision)
            sums[0] += functional.cross_entropy(logits, labels, reduction="sum")
            sums[1] += (logits.argmax(1) != labels).sum()
    network.train(was_training)
    return sums


def batch_size(image: Shape, device: torch.device) -> int:
    """Images a validation batch."""
    if device.type == "cpu":
        return BATCH
    return max(BATCH, _PIXELS_ON_CUDA // (image.height * image.width))


def _logits(
    network: Network, images: Tensor, statistics: Statistics, precision: Precision
) -> Tensor:
    batch = normalise(images, statistics, torch.float32, channels_last=True)
    with autocast(images.device, precision):
        logits: Tensor = network(batch)
    return logits.float()
