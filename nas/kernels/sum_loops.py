"""Compiled loops over whole tensors, element by element.

All arguments are addresses or counts; see :mod:`nas.kernels.memory` for ``tag``. What is written
must lie elsewhere than what is read: a compiler that sees them apart uses vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.kernels.memory import FLOAT32, compiled, load, load_long, store

BLOCK = 2048
"""Elements whose float32 sums stay in the fastest cache."""


@compiled
def total(
    tensors: int, num_tensors: int, out: int, item: int, count: int, sums: int, tag: Any
) -> None:
    """The sum of several tensors, whose addresses lie at ``tensors``; rounded once.

    ``sums``: BLOCK float32.
    """
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        here = load_long(tensors, 0) + item * start
        for i in range(size):
            store(sums, i, load(here, i, tag), FLOAT32)
        for number in range(1, num_tensors - 1):
            here = load_long(tensors, number) + item * start
            for i in range(size):
                store(sums, i, load(sums, i, FLOAT32) + load(here, i, tag), FLOAT32)
        here, there = load_long(tensors, num_tensors - 1) + item * start, out + item * start
        for i in range(size):
            store(there, i, load(sums, i, FLOAT32) + load(here, i, tag), tag)


@compiled
def add_relu(first: int, second: int, out: int, count: int, tag: Any) -> None:
    """ReLU of the sum of two; NaN stays NaN."""
    zero = np.float32(0)
    for i in range(count):
        value = load(first, i, tag) + load(second, i, tag)
        store(out, i, zero if value <= zero else value, tag)


@compiled
def relu_gradient(gradient: int, output: int, out: int, count: int, tag: Any) -> None:
    """The gradient where ReLU's output is above zero."""
    zero = np.float32(0)
    for i in range(count):
        slope = load(gradient, i, tag)
        store(out, i, zero if load(output, i, tag) <= zero else slope, tag)
