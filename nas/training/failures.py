"""What ends a training for good, with a reason that can be shown: numbers or memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nas.architecture import Architecture, Shape
from nas.cost import count_cost
from nas.task import Precision


class TrainingFailed(Exception):  # noqa: N818 - a training that fails is a result, not a bug
    """The training cannot go on; ``reason`` says why in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def memory_failures(need: Callable[[], str]) -> Iterator[None]:
    """Turn a device's or the host's "out of memory" into :class:`TrainingFailed`.

    ``need`` says what the training needs in all; the allocator's own request is added to it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        request = _refused_request(error)
        if request is None:
            raise
        raise TrainingFailed(f"out of memory: {request}; {need()}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host had too little memory."""
    return _refused_request(error) is not None


def memory_need(
    architecture: Architecture, image: Shape, classes: int, batch: int, precision: Precision
) -> str:
    """What a training keeps for its backward pass, in words for :func:`memory_failures`."""
    cost = count_cost(architecture, image, classes, auxiliary=True, dtype=precision)
    mebibytes = cost.activation_bytes * batch / 2**20
    return f"a batch of {batch} images has about {mebibytes:,.0f} MiB of activations"


def _refused_request(error: BaseException) -> str | None:
    """What the allocator was asked for, or None where the error is about something else."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        found = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
        return f"{found[1]} were refused" if found else "the device refused"
    # Not torch's allocator but the driver (a graph's own memory), cuDNN or cuBLAS was refused.
    if "CUDA error: out of memory" in text or re.search(r"CU\w+_STATUS_ALLOC_FAILED", text):
        return "the device refused"
    # The processor's allocator raises a plain RuntimeError.
    found = re.search(r"can't allocate memory: you tried to allocate (\d+) bytes", text)
    if found:
        return f"{int(found[1]) / 2**20:,.0f} MiB were refused"
    return "the host refused" if isinstance(error, MemoryError) else None
