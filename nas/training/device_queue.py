"""Work queued on a device without waiting for it: a CUDA stream of its own, with marks to ask for.

On a processor all work is done when its call returns: nothing is ever under way, and the same
code runs. Left out: capturing (:mod:`nas.training.graph`).
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class DeviceQueue:
    """The order in which one training's work is done on its device.

    What was queued on the device's current stream before (the data's copies) is done first.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = _take_stream(device)
            weakref.finalize(self, _IDLE_STREAMS[device].append, self._stream).atexit = False
            self._stream.wait_stream(torch.cuda.current_stream(device))
            # Blocking: whoever waits leaves the core to others.
            self._mark = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    @property
    def stream(self) -> torch.cuda.Stream | None:
        """The stream on CUDA, None on a processor."""
        return self._stream

    @contextmanager
    def active(self) -> Iterator[None]:
        """Queue here what the block does; its new tensors belong to this queue."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def mark(self) -> None:
        """Let :attr:`is_busy` and :meth:`wait` mean what was queued until now."""
        if self._stream is not None:
            self._mark.record(self._stream)

    @property
    def is_busy(self) -> bool:
        """Whether the device still works on what was queued before the last mark."""
        if self._stream is None:
            return False
        return not self._mark.query()  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Sleep until what was queued before the last mark is done."""
        if self._stream is not None:
            self._mark.synchronize()

    def drain(self) -> None:
        """Sleep until all is done, marked or not."""
        if self._stream is not None:
            self._stream.synchronize()

    @property
    def reserved_bytes(self) -> int:
        """Memory that the device's allocator cannot take from this queue; 0 on a processor."""
        if self._stream is None:
            return 0
        own = self._stream.cuda_stream
        return sum(
            int(segment["total_size"])
            for segment in _segments(self.device)
            if segment["stream"] == own and not _can_be_freed(segment)
        )

    def read(self, numbers: Tensor) -> Reading:
        """Queue the copy of a few ``numbers`` to the host, and mark it."""
        if self._stream is None:
            return Reading(self, numbers)
        with self.active():
            # Pinned: a copy to other memory would wait for the device.
            host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
        self.mark()
        return Reading(self, host)


class Reading:
    """Numbers on their way to the host; only the queue's last mark may stand for them."""

    def __init__(self, queue: DeviceQueue, host: Tensor) -> None:
        self._queue, self._host = queue, host

    @property
    def is_there(self) -> bool:
        """Whether :meth:`values` answers at once."""
        return not self._queue.is_busy

    def values(self) -> list[float]:
        """The numbers, after waiting for them if need be."""
        self._queue.wait()
        return [float(item) for item in self._host.tolist()]


def free_bytes(device: torch.device) -> int:
    """What torch could still get for new tensors on a GPU; 0 on a processor."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    kept = (segment["total_size"] for segment in _segments(device) if _can_be_freed(segment))
    return int(free) + int(sum(kept))


def _segments(device: torch.device) -> list[Mapping[str, Any]]:
    """What torch's allocator got from the device, piece by piece."""
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
    return [segment for segment in segments if segment["device"] == device.index]


def _can_be_freed(segment: Mapping[str, Any]) -> bool:
    """Whether the allocator gives it back before it runs out of memory.

    What belongs to a captured step it cannot, though between two replays nothing is in use there.
    """
    return segment["segment_pool_id"] == (0, 0) and not segment["active_size"]


_IDLE_STREAMS: dict[torch.device, list[torch.cuda.Stream]] = defaultdict(list)
"""Streams of queues that are gone."""


def _take_stream(device: torch.device) -> torch.cuda.Stream:
    """A stream that no other queue has, as long as there are any.

    torch hands out 32 in turn, whether or not they are in use: two trainings would share one
    and run one after the other. And libraries keep a workspace for each that was ever used.
    """
    if _IDLE_STREAMS[device]:
        return _IDLE_STREAMS[device].pop()
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
