"""Fashion-MNIST: the part that is embedded in the package, and Debian's files of all of it.

Xiao, Rasul, Vollgraf, Fashion-MNIST, arXiv 1708.07747; MIT licence, see NOTICE beside this file.
28x28 grey, ten classes, 60,000 training and 10,000 test images.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.architecture import Shape
from nas.datasets.source import EncodedImage, Labels, Pixels, SplitName, file_identity
from nas.datasets.split import DataInfo

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IMAGE = Shape(1, 28, 28)
DEBIAN_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
EMBEDDED_DIRECTORY = Path(__file__).with_name("fashion_mnist_mini")

PER_CLASS: dict[SplitName, int] = {"train": 1_000, "test": 200}
"""Embedded images of each class: the first of the official order."""

TILES_PER_ROW = 100
"""Embedded images lie side by side in one PNG a split, sorted by class: the smallest form."""

_COUNTS: dict[SplitName, int] = {"train": 60_000, "test": 10_000}
_PREFIXES: dict[SplitName, str] = {"train": "train", "test": "t10k"}
_CHUNK = 512


class EmbeddedFashionMnist:
    """10,000 training and 2,000 test images of Fashion-MNIST, balanced, inside the package."""

    name = "fashion-mnist-mini"

    def describe(self) -> DataInfo:
        """All constants."""
        counts = [len(CLASS_NAMES) * PER_CLASS[split] for split in ("train", "test")]
        return DataInfo(self.name, IMAGE, CLASS_NAMES, *counts)

    def labels(self, split: SplitName) -> Labels:
        """0 to 9, again and again: any first part is balanced too."""
        return np.tile(np.arange(len(CLASS_NAMES), dtype=np.int64), PER_CLASS[split])

    def pixels(self, split: SplitName) -> Pixels:
        """The tiles, one of each class in turn."""
        return read_sheet(EMBEDDED_DIRECTORY / f"{split}.png", PER_CLASS[split])

    def chunks(self, split: SplitName) -> Iterator[list[EncodedImage]]:
        """From the tiles."""
        return _array_chunks(self.name, self.pixels(split))

    def identity(self, split: SplitName) -> None:
        """Resizing so few small images takes less time than a cache is worth."""
        return


def read_sheet(path: Path, per_class: int) -> Pixels:
    """Tiles sorted by class as (N, 1, 28, 28), one of each class in turn."""
    from PIL import Image

    with Image.open(path) as image:
        sheet = np.asarray(image)
    _, height, width = IMAGE
    tiles = sheet.reshape(-1, height, TILES_PER_ROW, width).transpose(0, 2, 1, 3)
    by_class = tiles.reshape(len(CLASS_NAMES), per_class, 1, height, width)
    return np.ascontiguousarray(by_class.swapaxes(0, 1)).reshape(-1, 1, height, width)


def has_debian_files() -> bool:
    """Whether Debian's package dataset-fashion-mnist is installed."""
    return DEBIAN_DIRECTORY.is_dir()


class DebianFashionMnist:
    """All of Fashion-MNIST, from the gzipped IDX files of Debian's dataset-fashion-mnist."""

    name = "fashion-mnist"

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = DEBIAN_DIRECTORY if directory is None else directory

    def describe(self) -> DataInfo:
        """All constants."""
        return DataInfo(self.name, IMAGE, CLASS_NAMES, _COUNTS["train"], _COUNTS["test"])

    def labels(self, split: SplitName) -> Labels:
        """From the labels file.

        Raises:
            ValueError: the file is damaged.
        """
        labels = read_idx(self._file(split, "labels-idx1"), (_COUNTS[split],))
        return labels.astype(np.int64)

    def pixels(self, split: SplitName) -> Pixels:
        """From the images file.

        Raises:
            ValueError: the file is damaged.
        """
        return read_idx(self._file(split, "images-idx3"), (_COUNTS[split], *IMAGE[1:]))[:, None]

    def chunks(self, split: SplitName) -> Iterator[list[EncodedImage]]:
        """From the images file."""
        return _array_chunks(self.name, self.pixels(split))

    def identity(self, split: SplitName) -> str:
        """The images file's size and time of change."""
        path = self._file(split, "images-idx3")
        return file_identity([(path.name, path)])

    def _file(self, split: SplitName, content: str) -> Path:
        return self._directory / f"{_PREFIXES[split]}-{content}-ubyte.gz"


def read_idx(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """The bytes of a gzipped IDX file (http://yann.lecun.com/exdb/mnist) that must have ``shape``.

    Raises:
        ValueError: it is damaged, or of another shape.
        OSError: it cannot be opened.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    header = struct.pack(f">HBB{len(shape)}I", 0, 0x08, len(shape), *shape)
    if not content.startswith(header) or len(content) != len(header) + int(np.prod(shape)):
        raise ValueError(f"{path} is not an IDX file of {' x '.join(map(str, shape))} bytes")
    # A copy, because tensors must be writable and what comes from bytes is not.
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape).copy()


def _array_chunks(name: str, images: Pixels) -> Iterator[list[EncodedImage]]:
    for start in range(0, len(images), _CHUNK):
        yield [
            EncodedImage(f"{name} image {index}", image[0])
            for index, image in enumerate(images[start : start + _CHUNK], start)
        ]
