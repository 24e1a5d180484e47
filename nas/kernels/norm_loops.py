"""Compiled loops of batch norm with ReLU over channels_last maps.

Maps are read as ``rows`` x ``width`` numbers, a row being some pixels with all their channels: a
long inner loop of independent lanes whatever the number of channels. All numbers by channel are
float32 and repeated over the ``width``; ``lanes`` is the address of as many such rows as a
loop needs. Sums are taken in float32 over blocks of rows and added up in float64.

All arguments are addresses, counts or numbers; see :mod:`nas.kernels.memory` for ``tag``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.kernels.memory import FLOAT32, compiled, load, part_of_loops, store

BLOCK = 32
"""Rows that are summed in float32."""

# Rows of ``lanes``, each of ``width`` float32.
SCALE, SHIFT, CENTRE, FIRST, SECOND = 0, 1, 2, 3, 4
NUM_LANES = 5


@compiled
def collect(
    maps: int,
    item: int,
    rows: int,
    width: int,
    channels: int,
    lanes: int,
    means: int,
    inverses: int,
    eps: float,
    momentum: float,
    running_mean: int,
    running_var: int,
    tag: Any,
) -> None:
    """Write each channel's mean and 1 / sqrt(variance + eps); the running statistics move on.

    The first pixel is subtracted before summing, so that a large mean does not swallow a small
    variance.
    """
    repeats = width // channels
    centre = lanes + 4 * CENTRE * width
    first, second = lanes + 4 * FIRST * width, lanes + 4 * SECOND * width
    for i in range(width):
        store(centre, i, load(maps, i % channels, tag), FLOAT32)
    totals = np.zeros((2, width))
    for start in range(0, rows, BLOCK):
        for i in range(width):
            store(first, i, np.float32(0), FLOAT32)
            store(second, i, np.float32(0), FLOAT32)
        for row in range(start, min(start + BLOCK, rows)):
            here = maps + item * row * width
            for i in range(width):
                away = load(here, i, tag) - load(centre, i, FLOAT32)
                store(first, i, load(first, i, FLOAT32) + away, FLOAT32)
                store(second, i, load(second, i, FLOAT32) + away * away, FLOAT32)
        for i in range(width):
            totals[0, i] += load(first, i, FLOAT32)
            totals[1, i] += load(second, i, FLOAT32)
    count = rows * repeats
    for channel in range(channels):
        away, square = 0.0, 0.0
        for repeat in range(repeats):
            away += totals[0, repeat * channels + channel]
            square += totals[1, repeat * channels + channel]
        away /= count
        variance = max(square / count - away * away, 0.0)
        mean = away + load(centre, channel, FLOAT32)
        store(means, channel, np.float32(mean), FLOAT32)
        store(inverses, channel, np.float32(1 / np.sqrt(variance + eps)), FLOAT32)
        _move(running_mean, channel, mean, momentum)
        _move(running_var, channel, variance * count / (count - 1), momentum)


@part_of_loops
def _move(values: int, index: int, target: float, momentum: float) -> None:
    value = load(values, index, FLOAT32)
    store(values, index, np.float32(value + momentum * (target - value)), FLOAT32)


@compiled
def prepare(
    width: int, channels: int, lanes: int, means: int, inverses: int, weight: int, bias: int
) -> None:
    """Fill the lanes SCALE, SHIFT (output = maps * scale + shift) and CENTRE (the means)."""
    for i in range(width):
        channel = i % channels
        mean = load(means, channel, FLOAT32)
        scale = load(weight, channel, FLOAT32) * load(inverses, channel, FLOAT32)
        store(lanes, SCALE * width + i, scale, FLOAT32)
        store(lanes, SHIFT * width + i, load(bias, channel, FLOAT32) - mean * scale, FLOAT32)
        store(lanes, CENTRE * width + i, mean, FLOAT32)


@compiled
def apply(
    maps: int, out: int, item: int, rows: int, width: int, lanes: int, floor: float, tag: Any
) -> None:
    """``max(maps * scale + shift, floor)``; NaN stays NaN."""
    least = np.float32(floor)
    scale, shift = lanes + 4 * SCALE * width, lanes + 4 * SHIFT * width
    for row in range(rows):
        here, there = maps + item * row * width, out + item * row * width
        for i in range(width):
            value = load(here, i, tag) * load(scale, i, FLOAT32) + load(shift, i, FLOAT32)
            store(there, i, least if value <= least else value, tag)


@compiled
def differentiate(
    maps: int,
    gradient: int,
    out: int,
    item: int,
    rows: int,
    width: int,
    channels: int,
    lanes: int,
    inverses: int,
    weight_gradient: int,
    bias_gradient: int,
    floor: float,
    tag: Any,
) -> None:
    """The gradients of maps, weight and bias (arXiv:1502.03167, section 3).

    With g the gradient where the output is above ``floor``, n pixels and x the maps:
    bias: sum g; weight: sum g (x - mean) inverse;
    maps: scale (g - sum g / n - (x - mean) inverse^2 sum g (x - mean) / n).
    """
    least = np.float32(floor)
    repeats = width // channels
    scale, shift = lanes + 4 * SCALE * width, lanes + 4 * SHIFT * width
    centre = lanes + 4 * CENTRE * width
    first, second = lanes + 4 * FIRST * width, lanes + 4 * SECOND * width
    totals = np.zeros((2, width))
    for start in range(0, rows, BLOCK):
        for i in range(width):
            store(first, i, np.float32(0), FLOAT32)
            store(second, i, np.float32(0), FLOAT32)
        for row in range(start, min(start + BLOCK, rows)):
            here, there = maps + item * row * width, gradient + item * row * width
            for i in range(width):
                value, slope = load(here, i, tag), load(there, i, tag)
                output = value * load(scale, i, FLOAT32) + load(shift, i, FLOAT32)
                slope = np.float32(0) if output <= least else slope
                away = value - load(centre, i, FLOAT32)
                store(first, i, load(first, i, FLOAT32) + slope, FLOAT32)
                store(second, i, load(second, i, FLOAT32) + slope * away, FLOAT32)
        for i in range(width):
            totals[0, i] += load(first, i, FLOAT32)
            totals[1, i] += load(second, i, FLOAT32)
    count = rows * repeats
    for channel in range(channels):
        one, two = 0.0, 0.0
        for repeat in range(repeats):
            one += totals[0, repeat * channels + channel]
            two += totals[1, repeat * channels + channel]
        inverse = np.float64(load(inverses, channel, FLOAT32))
        store(weight_gradient, channel, np.float32(two * inverse), FLOAT32)
        store(bias_gradient, channel, np.float32(one), FLOAT32)
        mean = np.float64(load(centre, channel, FLOAT32))
        factor = np.float64(load(scale, channel, FLOAT32))
        slope_of_maps = -factor * inverse * inverse * two / count
        constant = -factor * one / count - mean * slope_of_maps
        for repeat in range(repeats):
            store(first, repeat * channels + channel, np.float32(slope_of_maps), FLOAT32)
            store(second, repeat * channels + channel, np.float32(constant), FLOAT32)
    for row in range(rows):
        here, there = maps + item * row * width, gradient + item * row * width
        result = out + item * row * width
        for i in range(width):
            value, slope = load(here, i, tag), load(there, i, tag)
            output = value * load(scale, i, FLOAT32) + load(shift, i, FLOAT32)
            slope = np.float32(0) if output <= least else slope
            total = slope * load(scale, i, FLOAT32) + value * load(first, i, FLOAT32)
            store(result, i, total + load(second, i, FLOAT32), tag)
