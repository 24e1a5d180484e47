"""Data sets by name: what they are, and their images on the training device."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from nas.architecture import Shape
from nas.datasets.cache import cached_images
from nas.datasets.decoding import decode_images
from nas.datasets.fashion_mnist import DebianFashionMnist, EmbeddedFashionMnist, has_debian_files
from nas.datasets.folder import FolderSource
from nas.datasets.hugging_face import HuggingFaceSource
from nas.datasets.parquet import ParquetSource
from nas.datasets.source import SPLIT_NAMES, Pixels, Source, SplitName
from nas.datasets.split import DataInfo, Split
from nas.quantities import unknown_name

DATA_NAMES = (
    "fashion-mnist-mini",
    "fashion-mnist",
    "hf:OWNER/NAME",
    "folder:DIR",
    "parquet:DIR",
)
"""The names there are; capitals stand for what you fill in."""

MAX_RESOLUTION = 4_096
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*(:\w[\w.-]*)?", re.ASCII)


def find_source(name: str) -> Source:
    """The data set of that name; nothing is looked up yet.

    Raises:
        ValueError: the name is none of :data:`DATA_NAMES`; the message has the nearest.
    """
    if name == "fashion-mnist-mini":
        return EmbeddedFashionMnist()
    if name == "fashion-mnist":
        if has_debian_files():
            return DebianFashionMnist()
        hint = "; install Debian's dataset-fashion-mnist, or take fashion-mnist-mini"
        return HuggingFaceSource("zalando-datasets/fashion_mnist", name=name, hint=hint)
    kind, colon, rest = name.partition(":")
    if colon and kind == "hf":
        if not _REPOSITORY.fullmatch(rest):
            raise ValueError(f"data set {name!r} must be hf:OWNER/NAME or hf:OWNER/NAME:CONFIG")
        return HuggingFaceSource(rest)
    if colon and kind in ("folder", "parquet"):
        if not rest:
            raise ValueError(f"data set {name!r} must be {kind}:DIR, with a directory")
        path = Path(rest).expanduser()
        return FolderSource(path) if kind == "folder" else ParquetSource(path)
    if name and Path(name).is_dir():
        raise ValueError(f"data set {name!r} is a directory: say folder:{name} or parquet:{name}")
    raise ValueError(unknown_name("data set", name, DATA_NAMES))


def describe_data(name: str) -> DataInfo:
    """Shape, classes and counts of a data set, without decoding its images.

    Raises:
        ValueError: the name is unknown, or the data set is not as it must be.
        OSError: it cannot be read or reached.
    """
    return find_source(name).describe()


def load_data(
    name: str,
    *,
    resolution: int | tuple[int, int] | None = None,
    split: SplitName = "train",
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Split:
    """One split of a data set as uint8 tensors on ``device``; the other is not touched.

    Images are resized once, to ``resolution`` (the side of a square, or height and width; they
    keep their aspect ratio: what sticks out is cut off evenly) or to the shape that
    :func:`describe_data` gives, and kept in a cache on disk. ``progress`` allows a bar on
    standard error.

    Raises:
        ValueError: the name is unknown, the data set is not as it must be, or it has no such
            split; images that cannot be read are named and counted.
        OSError: it cannot be read or reached, or does not fit the memory.
    """
    if split not in SPLIT_NAMES:
        raise ValueError(unknown_name("split", split, SPLIT_NAMES))
    _check_resolution(resolution)
    source = find_source(name)
    info = source.describe()
    shape = resized(info.image, resolution)
    labels = source.labels(split)
    images = _images(source, info, split, shape, len(labels), progress)
    loaded = Split(images, torch.from_numpy(labels), info.class_names)
    return loaded.to(device)


def resized(image: Shape, resolution: int | tuple[int, int] | None) -> Shape:
    """The shape that :func:`load_data` gives images of the shape ``image``."""
    if resolution is None:
        return image
    sides = (resolution, resolution) if isinstance(resolution, int) else resolution
    return Shape(image.channels, *sides)


def _check_resolution(resolution: int | tuple[int, int] | None) -> None:
    if resolution is None:
        return
    sides = resolution if isinstance(resolution, tuple) and len(resolution) == 2 else (resolution,)
    for side in sides:
        whole = isinstance(side, int) and not isinstance(side, bool)
        if not whole or not 1 <= side <= MAX_RESOLUTION:
            raise ValueError(
                f"resolution must be a whole number of pixels from 1 to {MAX_RESOLUTION:,}, "
                f"not {resolution!r}"
            )


def _images(
    source: Source, info: DataInfo, split: SplitName, shape: Shape, count: int, progress: bool
) -> torch.Tensor:
    if shape == info.image and (pixels := source.pixels(split)) is not None:
        return torch.from_numpy(pixels)
    label = f"{info.name} {split} {shape}"

    def build() -> Pixels:
        where = f"{info.name} {split}"
        return decode_images(where, source.chunks(split), count, shape, progress=progress)

    identity = source.identity(split)
    if identity is None:
        return torch.from_numpy(build())
    return cached_images(label, identity, build)
