"""What a place with images must answer, so that the rest need not know which place it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nas.datasets.split import DataInfo

SplitName: TypeAlias = Literal["train", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "test")
Labels: TypeAlias = npt.NDArray[np.int64]
Pixels: TypeAlias = npt.NDArray[np.uint8]

TEST_NAMES = ("test", "val", "validation", "valid")
"""What a test split is called, the first that exists; sets that hide their test labels publish
the validation split for it."""


class EncodedImage(NamedTuple):
    """An image that is not decoded yet: a file, a file's bytes, or grey pixels (H, W)."""

    name: str
    content: Path | bytes | Pixels


class Source(Protocol):
    """A data set where it lies. It looks nothing up before it is asked."""

    def describe(self) -> DataInfo:
        """Shape, classes and counts; reads headers and metadata, decodes no image."""
        ...

    def labels(self, split: SplitName) -> Labels:
        """The labels (N,) of a split, each within the classes."""
        ...

    def chunks(self, split: SplitName) -> Iterator[list[EncodedImage]]:
        """The images of a split in the order of its labels, some hundreds at a time."""
        ...

    def pixels(self, split: SplitName) -> Pixels | None:
        """All images (N, C, H, W) of the shape described, where that is immediate; else None."""
        ...

    def identity(self, split: SplitName) -> str | None:
        """Changes whenever the images of the split do; None where a cache is not worth it."""
        ...


def no_test_split(name: str, known: str) -> ValueError:
    """The error for a set whose test split is asked for and that has none."""
    return ValueError(f"{name} has no test split: {known}")


def file_identity(files: list[tuple[str, Path]]) -> str:
    """Names, sizes and times of change of files, as one text; ``files``: (name, path)."""
    lines = []
    for name, path in files:
        stat = path.stat()
        lines.append(f"{name}\t{stat.st_size}\t{stat.st_mtime_ns}")
    return "\n".join(lines)
