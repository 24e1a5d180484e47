"""The images on which artefacts are compared: a data set's, else random numbers.

Comparisons read the test split, and so happen after every pick; int8 is calibrated on training
images. Where a data set has no test split, a tenth of its training images, as `nas train` holds
them out, stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.architecture import Shape

if TYPE_CHECKING:
    from torch import Tensor

    from nas.datasets import DataInfo, Split

NUM_IMAGES = 64
"""Of a data set, evenly spaced, for the comparison of what computes in float32."""

NUM_RANDOM = 8
MOST_IMAGES = 10_000
"""At most so many images of a test split measure what int8 loses, evenly spaced."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images (N, C, H, W): uint8 pixels with labels (N,), or random float32 without."""

    about: str
    pixels: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def spaced(self, number: int) -> Images:
        """At most ``number`` of them, evenly spaced."""
        import torch

        if len(self) <= number:
            return self
        places = torch.linspace(0, len(self) - 1, number).round().long()
        labels = None if self.labels is None else self.labels[places]
        return Images(self.about, self.pixels[places].contiguous(), labels)


def random_images(image: Shape, why: str = "") -> Images:
    """Normal random numbers in place of normalised images; ``why`` there are no others."""
    import torch

    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn((NUM_RANDOM, *image), generator=generator)
    return Images(f"random numbers ({why})" if why else "random numbers", numbers)


def check_data(name: str, image: Shape, classes: int, class_names: Sequence[str]) -> None:
    """Refuse a data set that is not this network's.

    Raises:
        ValueError: it cannot be read, or has other channels or classes; the message says which.
    """
    from nas.datasets import describe_data

    info = describe_data(name)
    if info.image.channels != image.channels:
        raise ValueError(
            f"{name}: its images have {info.image.channels} channels, and the network reads "
            f"{image.channels}"
        )
    _check_classes(info, classes, class_names)


def _check_classes(info: DataInfo, classes: int, class_names: Sequence[str]) -> None:
    if len(info.class_names) != classes:
        raise ValueError(
            f"{info.name}: has {len(info.class_names)} classes, and the network answers {classes}"
        )
    for index, (theirs, ours) in enumerate(zip(info.class_names, class_names, strict=False)):
        if theirs != ours:
            raise ValueError(
                f"{info.name}: has other classes than the network: number {index} is {theirs!r}, "
                f"and the network's is {ours!r}"
            )


def load_test_images(name: str, image: Shape) -> Images:
    """The test split, or what `nas train` holds out where there is none.

    Raises:
        ValueError, OSError: the data set cannot be read.
    """
    from nas.datasets import describe_data, load_data

    if describe_data(name).num_test is not None:
        split = load_data(name, resolution=_sides(image), split="test")
        return Images(f"{name}, test split", split.images, split.labels)
    held_out = _carved(name, image)[1]
    return Images(f"{name}, held out of the training images", held_out.images, held_out.labels)


def load_training_images(name: str, image: Shape) -> Images:
    """The training split, without what is held out where there is no test split.

    Raises:
        ValueError, OSError: the data set cannot be read.
    """
    from nas.datasets import describe_data, load_data

    if describe_data(name).num_test is not None:
        split = load_data(name, resolution=_sides(image), split="train")
    else:
        split = _carved(name, image)[0]
    return Images(f"{name}, training images", split.images, split.labels)


def _carved(name: str, image: Shape) -> tuple[Split, Split]:
    """Training images and those held out: the division that ``nas train`` makes."""
    from nas.datasets import carve, load_data

    train = load_data(name, resolution=_sides(image), split="train")
    parts = carve(train, max(1, len(train) // 10))
    return parts.train, parts.validation


def _sides(image: Shape) -> tuple[int, int]:
    return image.height, image.width
