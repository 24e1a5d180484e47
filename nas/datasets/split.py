"""Images and labels as tensors: what every data set becomes, and how validation is carved off.

Images stay uint8 (N, C, H, W) and travel to the training device once; normalising and augmenting
happen there, batch by batch (:mod:`nas.datasets.augment`). Left out: where images come from.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nas.architecture import Shape
from nas.quantities import format_count

_SHARED_MEMORY = Path("/dev/shm")
_BLOCK = 8_192  # images whose pixels are counted at a time


@dataclass(frozen=True)
class DataInfo:
    """What a data set says of itself before its images are decoded.

    ``image`` is the shape that :func:`nas.datasets.load_data` gives without a resolution.
    ``num_test`` is None where the set has no test split.
    """

    name: str
    image: Shape
    class_names: tuple[str, ...]
    num_train: int
    num_test: int | None


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, of pixels divided by 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images: ``images`` uint8 (N, C, H, W), contiguous; ``labels`` int64 (N,)."""

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        # Both come from our own readers; `from_tensors` checks what users give.
        assert self.images.dtype == torch.uint8, self.images.dtype
        assert self.images.dim() == 4, self.images.shape
        assert self.images.is_contiguous()
        assert self.labels.dtype == torch.int64, self.labels.dtype
        assert self.labels.shape == self.images.shape[:1], (self.labels.shape, self.images.shape)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image(self) -> Shape:
        """Channels, height and width of every image."""
        return Shape(*self.images.shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has an image here."""
        return len(self.class_names)

    def to(self, device: str | torch.device) -> Self:
        """The same images on ``device``; itself where they lie there already."""
        if self.images.device == torch.device(device):
            return self
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, indices: torch.Tensor) -> Self:
        """The images at ``indices`` (int64), in that order, copied."""
        indices = indices.to(self.images.device)
        return replace(
            self,
            images=self.images.index_select(0, indices),
            labels=self.labels.index_select(0, indices),
        )

    def share_memory(self) -> Self:
        """Move CPU tensors into shared memory, in place, so that worker processes share one copy.

        Pass the split to a process as an argument after this: only handles are pickled. Tensors on
        a GPU are left as they are (PyTorch shares them over CUDA IPC).

        Raises:
            OSError: the shared memory is too small; writing past it would kill the process.
        """
        parts: tuple[Any, ...] = (self.images, self.labels)  # torch does not type these methods
        private = [part for part in parts if not part.is_shared()]
        _check_shared_memory(sum(part.nbytes for part in private))
        for part in private:
            part.share_memory_()
        return self

    def describe(self, name: str = "tensors", num_test: int | None = None) -> DataInfo:
        """What a task needs to know of these images, when they are the training split."""
        return DataInfo(name, self.image, self.class_names, len(self), num_test)


def _check_shared_memory(needed: int) -> None:
    # Containers often have 64 MB of it, and touching more is a bus error, not an exception.
    if sys.platform != "linux" or not _SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < needed:
        raise OSError(
            f"{_SHARED_MEMORY} has {format_count(free)} bytes free and the images need "
            f"{format_count(needed)}: enlarge it (Docker: --shm-size) or lower the resolution"
        )


@dataclass(frozen=True, eq=False)
class TrainValidation:
    """The training data in two parts: one to train on, one to measure the error on."""

    train: Split
    validation: Split

    def to(self, device: str | torch.device) -> Self:
        """Both parts on ``device``."""
        return replace(self, train=self.train.to(device), validation=self.validation.to(device))

    def share_memory(self) -> Self:
        """Both parts in shared memory: see :meth:`Split.share_memory`."""
        self.train.share_memory()
        self.validation.share_memory()
        return self


def carve(split: Split, num_validation: int, seed: int = 0) -> TrainValidation:
    """Carve ``num_validation`` images off for validation, each class in its proportion.

    The same split, number and seed give the same images on every device. Both parts keep the
    order of ``split``.

    Raises:
        ValueError: there are too few images for it, or a class would lose its last one.
    """
    if not 1 <= num_validation < len(split):
        raise ValueError(
            f"validation images must be from 1 to {len(split) - 1:,} of the {len(split):,} "
            f"training images, not {num_validation:,}"
        )
    labels = split.labels.cpu().numpy()
    quotas = _quotas(np.bincount(labels, minlength=split.num_classes), num_validation)
    # RandomState because NumPy promises that its numbers never change: a run that is resumed
    # after an upgrade must not see other images.
    random = np.random.RandomState(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas):
        members = np.flatnonzero(labels == label)
        if 0 < len(members) == quota:
            raise ValueError(
                f"{num_validation:,} validation images would leave no training image of class "
                f"{split.class_names[label]!r}, which has {len(members)}: take fewer"
            )
        chosen[random.permutation(members)[:quota]] = True
    return TrainValidation(
        train=split.take(torch.from_numpy(np.flatnonzero(~chosen))),
        validation=split.take(torch.from_numpy(np.flatnonzero(chosen))),
    )


def _quotas(counts: np.ndarray, total: int) -> list[int]:
    """``total`` shared out in proportion to ``counts``, by largest remainder; ties to the first."""
    shares = [total * int(count) for count in counts]
    size = int(counts.sum())
    quotas = [share // size for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda label: -(shares[label] % size))
    for label in by_remainder[: total - sum(quotas)]:
        quotas[label] += 1
    return quotas


def measure_statistics(split: Split) -> Statistics:
    """Mean and standard deviation of each channel of the training images, of pixels / 255.

    Counted exactly from histograms, so that every device gives the same bits. A deviation is at
    least one grey level, so that normalising a constant channel stays finite.
    """
    levels = np.arange(256, dtype=np.float64) / 255
    moments = [_moments(histogram, levels) for histogram in _histograms(split.images)]
    return Statistics(
        mean=tuple(mean for mean, _ in moments),
        std=tuple(max(std, 1 / 255) for _, std in moments),
    )


def _histograms(images: torch.Tensor) -> Iterable[np.ndarray]:
    for channel in range(images.shape[1]):
        counts = torch.zeros(256, dtype=torch.int64, device=images.device)
        for first in range(0, len(images), _BLOCK):
            block = images[first : first + _BLOCK, channel]
            counts += torch.bincount(block.reshape(-1), minlength=256)
        yield counts.cpu().numpy()


def _moments(histogram: np.ndarray, levels: np.ndarray) -> tuple[float, float]:
    weights = histogram / histogram.sum()
    mean = float((weights * levels).sum())
    return mean, float(np.sqrt((weights * (levels - mean) ** 2).sum()))
