"""Loss and error of a network on a split, without augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas.datasets import Split, Statistics
from nas.datasets.augment import normalise
from nas.model import Network
from nas.task import Precision
from nas.training.step import autocast

BATCH = 250
"""Images a validation batch: maps of small images then stay in a processor's cache."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean cross-entropy (without label smoothing) and error (1 - top-1)."""

    loss: float
    error: float


def validate(
    network: Network, split: Split, statistics: Statistics, precision: Precision
) -> Validation:
    """Run ``network`` in evaluation mode over all images of ``split``; its mode is put back."""
    was_training = network.training
    network.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.images.device)
    wrong = torch.zeros((), dtype=torch.int64, device=split.images.device)
    with torch.inference_mode():
        for first in range(0, len(split.labels), BATCH):
            labels = split.labels[first : first + BATCH]
            logits = _logits(network, split.images[first : first + BATCH], statistics, precision)
            loss += functional.cross_entropy(logits, labels, reduction="sum")
            wrong += (logits.argmax(1) != labels).sum()
    network.train(was_training)
    count = len(split.labels)
    return Validation(loss.item() / count, wrong.item() / count)


def _logits(
    network: Network, images: Tensor, statistics: Statistics, precision: Precision
) -> Tensor:
    batch = normalise(images, statistics, torch.float32, channels_last=True)
    with autocast(images.device, precision):
        logits: Tensor = network(batch)
    return logits.float()
