"""Encoded images to one uint8 array: decoded by Pillow on all cores, resized once.

- Colour: three channels, or one where most of the sampled images are grey. Transparent pixels
  become black over black; 16-bit grey keeps its upper eight bits.
- Size: an image that is not of the asked shape is resized so that it covers it (bicubic,
  antialiased) and its centre is cut out; the aspect ratio is kept.
- Upright: the EXIF orientation of photographs is obeyed, as Hugging Face datasets does.

Pillow is imported when the first image is.
"""

from __future__ import annotations

import io
import math
import statistics
import struct
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import psutil

from nas.architecture import Shape
from nas.cores import usable_cores
from nas.datasets.progress import progress_bar
from nas.datasets.source import EncodedImage, Pixels
from nas.quantities import format_count

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Tried in this order; Pillow's readers for rarer forms are not let near the files."""

_ORIENTATION = 0x0112
_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_SHOWN = 3
_PER_TASK = 32  # images a thread decodes at a time

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error, zlib.error)
"""What Pillow's readers raise for a damaged file."""


def common_shape(name: str, sample: Iterable[EncodedImage]) -> Shape:
    """The shape for a data set, from the headers of some of its images.

    Their own size where they agree; else a square of the median shorter side. One channel where
    more than half of them are grey.

    Raises:
        ValueError: an image is unreadable, or there is none.
    """
    sizes, greys, failures = [], [], []
    for item in sample:
        try:
            height, width, is_grey = _header(item)
        except _unreadable() as error:
            failures.append((item.name, error))
            continue
        sizes.append((height, width))
        greys.append(is_grey)
    if not sizes:
        if failures:
            raise _unreadable_error(name, failures, len(failures))
        raise ValueError(f"{name}: there is no image")
    channels = 1 if 2 * sum(greys) > len(greys) else 3
    if len(set(sizes)) == 1:
        return Shape(channels, *sizes[0])
    side = statistics.median_low(min(size) for size in sizes)
    return Shape(channels, side, side)


def decode_images(
    name: str,
    chunks: Iterator[list[EncodedImage]],
    num_images: int,
    shape: Shape,
    *,
    progress: bool = True,
) -> Pixels:
    """All images as one array (N, C, H, W) of ``shape``; ``name`` stands in messages.

    Raises:
        ValueError: some images are unreadable (the first are named, all are counted), or their
            number is not ``num_images``.
        OSError: the array does not fit the memory that is free.
    """
    _check_memory(name, num_images, shape)
    images = np.empty((num_images, *shape), dtype=np.uint8)
    failures: list[tuple[str, BaseException]] = []
    done = 0

    def decode(first: int, items: list[EncodedImage]) -> int:
        for index, item in enumerate(items, first):
            try:
                images[index] = decode_image(item, shape)
            except _unreadable() as error:
                failures.append((item.name, error))
        return len(items)

    with (
        ThreadPoolExecutor(usable_cores()) as pool,
        progress_bar(f"Decoding {name}", num_images, enabled=progress) as advance,
    ):
        for items in chunks:
            if done + len(items) > num_images:
                raise ValueError(f"{name} has more images than its {num_images:,} labels")
            starts = range(0, len(items), _PER_TASK)
            parts = [items[start : start + _PER_TASK] for start in starts]
            for count in pool.map(decode, [done + start for start in starts], parts):
                advance(count)
            done += len(items)
    if done != num_images:
        raise ValueError(f"{name} has {done:,} images for {num_images:,} labels")
    if failures:
        raise _unreadable_error(name, failures, num_images)
    return images


def decode_image(item: EncodedImage, shape: Shape) -> Pixels:
    """One image as an array of ``shape``."""
    from PIL import Image

    channels, height, width = shape
    with _open(item) as opened:
        # JPEG can skip most of the work of a photograph that is going to be much smaller.
        opened.draft(None, (2 * max(height, width), 2 * max(height, width)))
        image = _convert(_upright(opened), "L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize(
            (width, height),
            Image.Resampling.BICUBIC,
            box=_centre_box(image.size, (width, height)),
            reducing_gap=3.0,
        )
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _open(item: EncodedImage) -> Image:
    from PIL import Image

    content = item.content
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    return Image.open(file, formats=FORMATS)


def _header(item: EncodedImage) -> tuple[int, int, bool]:
    with _open(item) as image:
        width, height = image.size
        # 5 to 8 lie on their side.
        if image.getexif().get(_ORIENTATION, 1) >= 5:
            width, height = height, width
        return height, width, image.mode in _GREY_MODES


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _convert(image: Image, mode: str) -> Image:
    """``image`` in ``mode`` (L or RGB), loaded."""
    from PIL import Image

    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}, whose range is unknown")
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert(mode)


def _centre_box(
    size: tuple[int, int], target: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The largest central part of ``size`` with the aspect ratio of ``target`` (width, height)."""
    scale = min(size[0] / target[0], size[1] / target[1])
    width, height = target[0] * scale, target[1] * scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return (left, top, min(left + width, size[0]), min(top + height, size[1]))


def _unreadable() -> tuple[type[BaseException], ...]:
    from PIL import Image

    return (*_UNREADABLE, Image.DecompressionBombError)


def _unreadable_error(
    name: str, failures: list[tuple[str, BaseException]], total: int
) -> ValueError:
    failures = sorted(failures, key=lambda failure: failure[0])
    shown = "; ".join(f"{item} ({_reason(error)})" for item, error in failures[:_SHOWN])
    more = f"; and {len(failures) - _SHOWN:,} more" if len(failures) > _SHOWN else ""
    return ValueError(
        f"{name}: {len(failures):,} of {total:,} images cannot be read: {shown}{more}. "
        "Repair or remove them"
    )


def _reason(error: BaseException) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"not an image of {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _check_memory(name: str, num_images: int, shape: Shape) -> None:
    needed = num_images * math.prod(shape)
    free = psutil.virtual_memory().available
    if needed > free:
        raise OSError(
            f"{name}: {num_images:,} images of {shape} need {format_count(needed)} bytes of "
            f"memory and {format_count(free)} are free: choose a lower resolution"
        )
