"""A directory of images: DIR/CLASS/*, or DIR/train/CLASS/* and DIR/test/CLASS/*.

The test split's directory may also be called val, validation or valid. Classes are the training
split's directories in the order of their names; images may lie deeper inside. Hidden files and
files of other types are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from nas.datasets.decoding import common_shape
from nas.datasets.source import (
    TEST_NAMES,
    EncodedImage,
    Labels,
    SplitName,
    file_identity,
    no_test_split,
)
from nas.datasets.split import DataInfo

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
_SAMPLE = 256  # images whose headers are read to find the shape
_CHUNK = 512


class FolderSource:
    """Image files sorted into directories by class."""

    def __init__(self, directory: Path) -> None:
        self.name = f"folder:{directory}"
        self._directory = directory

    def describe(self) -> DataInfo:
        """From names of files, and the headers of some of them.

        Raises:
            ValueError: there are fewer than two classes, or a class without images.
        """
        files = [path for path, _ in self._train]
        step = max(1, len(files) // _SAMPLE)
        image = common_shape(self.name, (self._encoded(path) for path in files[::step]))
        num_test = None if self._test_root is None else len(self._files("test"))
        return DataInfo(self.name, image, self._class_names, len(files), num_test)

    def labels(self, split: SplitName) -> Labels:
        """From names of directories.

        Raises:
            ValueError: there is no such split, or it has a class that training has not.
        """
        return np.array([label for _, label in self._files(split)], dtype=np.int64)

    def pixels(self, split: SplitName) -> None:
        """Files must be decoded."""
        return

    def chunks(self, split: SplitName) -> Iterator[list[EncodedImage]]:
        """Paths of the files, class by class."""
        files = [path for path, _ in self._files(split)]
        for start in range(0, len(files), _CHUNK):
            yield [self._encoded(path) for path in files[start : start + _CHUNK]]

    def identity(self, split: SplitName) -> str:
        """Names, sizes and times of change of all files."""
        files = [path for path, _ in self._files(split)]
        return file_identity([(self._relative(path), path) for path in files])

    @cached_property
    def _train_root(self) -> Path:
        train = self._directory / "train"
        if train.is_dir():
            return train
        classes = _directories(self._directory, self.name)
        if classes and all(path.name in TEST_NAMES for path in classes):
            raise ValueError(f"{self.name} has {classes[0].name}/ but no train/ beside it")
        return self._directory

    @cached_property
    def _test_root(self) -> Path | None:
        if self._train_root == self._directory:
            return None
        roots = (self._directory / name for name in TEST_NAMES)
        return next((root for root in roots if root.is_dir()), None)

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        names = tuple(path.name for path in _directories(self._train_root, self.name))
        if len(names) < 2:
            found = f"only {names[0]!r}" if names else "none"
            raise ValueError(
                f"{self.name} must hold one directory a class, at least two, and has {found} "
                f"in {self._train_root}"
            )
        return names

    @cached_property
    def _train(self) -> list[tuple[Path, int]]:
        files = self._list(self._train_root)
        counts = np.bincount([label for _, label in files], minlength=len(self._class_names))
        if not counts.all():
            empty = self._train_root / self._class_names[int(counts.argmin())]
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise ValueError(f"{self.name}: {empty} holds no image ({kinds})")
        return files

    def _files(self, split: SplitName) -> list[tuple[Path, int]]:
        return self._train if split == "train" else self._test

    @cached_property
    def _test(self) -> list[tuple[Path, int]]:
        root = self._test_root
        if root is None:
            raise no_test_split(self.name, f"put it in {self._directory}/test, beside train")
        unknown = {path.name for path in _directories(root, self.name)} - set(self._class_names)
        if unknown:
            raise ValueError(
                f"{self.name}: {root / min(unknown)} is a class that training does not have"
            )
        files = self._list(root)
        if not files:
            raise ValueError(f"{self.name}: {root} holds no images")
        return files

    def _list(self, root: Path) -> list[tuple[Path, int]]:
        return [
            (path, label)
            for label, name in enumerate(self._class_names)
            for path in _images_under(root / name)
        ]

    def _encoded(self, path: Path) -> EncodedImage:
        return EncodedImage(self._relative(path), path)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._directory).as_posix()


def _directories(root: Path, name: str) -> list[Path]:
    if not root.is_dir():
        kind = "is not a directory" if root.exists() else "does not exist"
        raise ValueError(f"{name}: {root} {kind}")
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _images_under(root: Path) -> list[Path]:
    found = []
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if name[0] != "."]
        found += [
            Path(directory, name)
            for name in files
            if name[0] != "." and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)
