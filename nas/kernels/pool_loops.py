"""Compiled loops of 3x3 pooling with stride and padding 1 over channels_last maps.

Image by image, the maps are copied into a frame with a border of one pixel, so that all pixels of
a row are treated alike: one long inner loop over the row's pixels and channels. A frame has
(height + 2) (width + 2) channels elements of what the loop says.

All arguments are addresses or counts; see :mod:`nas.kernels.memory` for ``tag``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.kernels.memory import (
    FLOAT32,
    compiled,
    load,
    load_byte,
    load_half,
    load_word,
    part_of_loops,
    store,
    store_byte,
    store_half,
    store_word,
)

NOWHERE = np.uint8(255)
"""Instead of a place in a window: no window has its centre here."""

LEAST = np.int32(-(2**31))
"""Below every key."""


@compiled
def max_of_bfloat16(
    maps: int,
    out: int,
    places: int,
    frame: int,
    images: int,
    height: int,
    width: int,
    channels: int,
) -> None:
    """The largest of each window and its place there (0 to 8, the first of equal ones).

    A number and its place make one 32-bit key that sorts as they do, so that a window takes nine
    maxima and no selection: the number's bits (of negative ones inverted, plus one, so that both
    zeros are equal), then 8 - place. ``frame`` holds keys. NaN is the largest.
    """
    line = (width + 2) * channels
    for i in range((height + 2) * line):
        store_word(frame, i, LEAST)
    for image in range(images):
        for y in range(height):
            here = maps + 2 * (image * height + y) * width * channels
            there = frame + 4 * ((y + 1) * line + channels)
            for i in range(width * channels):
                bits = np.int32(load_half(here, i))
                sign = bits >> 31
                store_word(there, i, ((bits ^ (sign & 0x7FFF)) - sign) << 16)
        for y in range(height):
            number = (image * height + y) * width * channels
            _largest_keys(
                frame + 4 * y * line, out + 2 * number, places + number,
                line, width * channels, channels,
            )  # fmt: skip


@part_of_loops
def _largest_keys(first: int, out: int, places: int, line: int, count: int, step: int) -> None:
    second, third = first + 4 * line, first + 8 * line
    for i in range(count):
        j, k = i + step, i + 2 * step
        top = max(load_word(first, i) | 8, load_word(first, j) | 7)
        top = max(top, load_word(first, k) | 6)
        middle = max(load_word(second, i) | 5, load_word(second, j) | 4)
        middle = max(middle, load_word(second, k) | 3)
        bottom = max(load_word(third, i) | 2, load_word(third, j) | 1)
        bottom = max(bottom, load_word(third, k))
        key = np.int32(max(max(top, middle), bottom))  # noqa: PLW3301 - pairs become vector instructions
        bits = key >> 16
        sign = bits >> 31
        store_half(out, i, np.int16((bits + sign) ^ (sign & 0x7FFF)))
        store_byte(places, i, np.uint8(8 - (key & 15)))


@compiled
def max_of_float32(
    maps: int,
    out: int,
    places: int,
    frame: int,
    images: int,
    height: int,
    width: int,
    channels: int,
) -> None:
    """As for bfloat16. ``frame`` holds float32. NaN wins where it comes first."""
    line = (width + 2) * channels
    for i in range((height + 2) * line):
        store(frame, i, np.float32(-np.inf), FLOAT32)
    for image in range(images):
        for y in range(height):
            here = maps + 4 * (image * height + y) * width * channels
            there = frame + 4 * ((y + 1) * line + channels)
            for i in range(width * channels):
                store(there, i, load(here, i, FLOAT32), FLOAT32)
        for y in range(height):
            number = (image * height + y) * width * channels
            _largest(
                frame + 4 * y * line, out + 4 * number, places + number,
                line, width * channels, channels,
            )  # fmt: skip


@part_of_loops
def _largest(first: int, out: int, places: int, line: int, count: int, step: int) -> None:
    second, third = first + 4 * line, first + 8 * line
    for i in range(count):
        j, k = i + step, i + 2 * step
        best, place = load(first, i, FLOAT32), np.int32(0)
        value = load(first, j, FLOAT32)
        place, best = (np.int32(1) if value > best else place), max(best, value)
        value = load(first, k, FLOAT32)
        place, best = (np.int32(2) if value > best else place), max(best, value)
        value = load(second, i, FLOAT32)
        place, best = (np.int32(3) if value > best else place), max(best, value)
        value = load(second, j, FLOAT32)
        place, best = (np.int32(4) if value > best else place), max(best, value)
        value = load(second, k, FLOAT32)
        place, best = (np.int32(5) if value > best else place), max(best, value)
        value = load(third, i, FLOAT32)
        place, best = (np.int32(6) if value > best else place), max(best, value)
        value = load(third, j, FLOAT32)
        place, best = (np.int32(7) if value > best else place), max(best, value)
        value = load(third, k, FLOAT32)
        place, best = (np.int32(8) if value > best else place), max(best, value)
        store(out, i, best, FLOAT32)
        store_byte(places, i, np.uint8(place))


@compiled
def max_gradient(
    gradient: int,
    places: int,
    out: int,
    frame: int,
    frame_places: int,
    item: int,
    images: int,
    height: int,
    width: int,
    channels: int,
    tag: Any,
) -> None:
    """Each pixel's sum of the gradients of the windows whose largest it was.

    ``frame`` holds elements of the maps, ``frame_places`` bytes.
    """
    line = (width + 2) * channels
    for i in range((height + 2) * line):
        store(frame, i, np.float32(0), tag)
        store_byte(frame_places, i, NOWHERE)
    for image in range(images):
        for y in range(height):
            number = (image * height + y) * width * channels
            start = (y + 1) * line + channels
            for i in range(width * channels):
                store(frame, start + i, load(gradient, number + i, tag), tag)
            for i in range(width * channels):
                store_byte(frame_places, start + i, load_byte(places, number + i))
        for y in range(height):
            _received(
                frame + item * y * line, frame_places + y * line,
                out + item * (image * height + y) * width * channels,
                item, line, width * channels, channels, tag,
            )  # fmt: skip


@part_of_loops
def _received(
    frame: int, places: int, out: int, item: int, line: int, count: int, step: int, tag: Any
) -> None:
    """The pixel is at place 8 of the window whose centre is up left of it, at 0 down right."""
    second, third = frame + item * line, frame + 2 * item * line
    second_places, third_places = places + line, places + 2 * line
    zero = np.float32(0)
    for i in range(count):
        j, k = i + step, i + 2 * step
        total = load(frame, i, tag) if load_byte(places, i) == 8 else zero
        total += load(frame, j, tag) if load_byte(places, j) == 7 else zero
        total += load(frame, k, tag) if load_byte(places, k) == 6 else zero
        total += load(second, i, tag) if load_byte(second_places, i) == 5 else zero
        total += load(second, j, tag) if load_byte(second_places, j) == 4 else zero
        total += load(second, k, tag) if load_byte(second_places, k) == 3 else zero
        total += load(third, i, tag) if load_byte(third_places, i) == 2 else zero
        total += load(third, j, tag) if load_byte(third_places, j) == 1 else zero
        total += load(third, k, tag) if load_byte(third_places, k) == 0 else zero
        store(out, i, total, tag)


@compiled
def average(
    maps: int,
    out: int,
    frame: int,
    shares: int,
    item: int,
    images: int,
    height: int,
    width: int,
    channels: int,
    is_gradient: bool,
    tag: Any,
) -> None:
    """Means of the windows, padding not counted, or the gradient of that.

    ``frame`` holds float32, ``shares`` width x channels of them.
    """
    line = (width + 2) * channels
    for x in range(width):
        columns = min(x + 2, width) - max(x - 1, 0)
        for i in range(channels):
            store(shares, x * channels + i, np.float32(1 / columns), FLOAT32)
    for i in range((height + 2) * line):
        store(frame, i, np.float32(0), FLOAT32)
    for image in range(images):
        for y in range(height):
            here = maps + item * (image * height + y) * width * channels
            there = frame + 4 * ((y + 1) * line + channels)
            share = np.float32(1 / (min(y + 2, height) - max(y - 1, 0)))
            for i in range(width * channels):
                # A window's gradient is shared out among its pixels.
                part = load(shares, i, FLOAT32) * share if is_gradient else np.float32(1)
                store(there, i, load(here, i, tag) * part, FLOAT32)
        for y in range(height):
            there = out + item * (image * height + y) * width * channels
            share = np.float32(1 / (min(y + 2, height) - max(y - 1, 0)))
            first = frame + 4 * y * line
            second, third = first + 4 * line, first + 8 * line
            for i in range(width * channels):
                j, k = i + channels, i + 2 * channels
                total = load(first, i, FLOAT32) + load(first, j, FLOAT32) + load(first, k, FLOAT32)
                total += load(second, i, FLOAT32) + load(second, j, FLOAT32)
                total += load(second, k, FLOAT32) + load(third, i, FLOAT32)
                total += load(third, j, FLOAT32) + load(third, k, FLOAT32)
                part = np.float32(1) if is_gradient else load(shares, i, FLOAT32) * share
                store(there, i, total * part, tag)
