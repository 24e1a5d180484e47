"""Times one call on a device: warm, and undisturbed as far as the system tells.

On a processor a call is timed by the clock, and Linux says how long this process's threads waited
for a core meanwhile: a call that did is timed again. On a GPU a CUDA graph of the call is replayed
between two events, so that neither Python nor launches are in the time.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

MOST_TRIES = 3
"""So often a call is timed at a visit, if others disturb it."""

DISTURBED_SHARE, DISTURBED_SECONDS = 0.03, 5e-6
"""A timing is disturbed where threads waited longer than this, for a core that others had."""

GRAPH_REPEATS = 16
"""Calls of a layer in one CUDA graph: events resolve half a microsecond."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, and whether other processes disturbed it."""

    seconds: float
    is_disturbed: bool


@dataclass(frozen=True)
class Spread:
    """What repeated timings of one thing came to, in microseconds: median and quartiles of ``n``.

    ``disturbed`` is the share of visits that others disturbed each time; they count only where
    fewer than a third of the visits were left alone.
    """

    median: float
    low: float
    high: float
    n: int
    disturbed: float

    @property
    def relative(self) -> float:
        """The distance of the quartiles as a share of the median."""
        return (self.high - self.low) / self.median


def spread_of(timings: Sequence[Timing]) -> Spread:
    """Median and quartiles of the timings that nobody disturbed, or of all if those are few."""
    alone = [timing.seconds for timing in timings if not timing.is_disturbed]
    used = alone if 3 * len(alone) >= len(timings) else [timing.seconds for timing in timings]
    low, high = np.quantile(used, [0.25, 0.75]) * 1e6
    return Spread(
        median=statistics.median(used) * 1e6,
        low=float(low),
        high=float(high),
        n=len(used),
        disturbed=1 - len(alone) / len(timings),
    )


class Stopwatch(Protocol):
    """Times modules on one device."""

    def prepare(self, module: nn.Module, x: Tensor, repeats: int = 1) -> Callable[[], Timing]:
        """Warm a module up; what comes back times one call of it on ``x``.

        ``repeats`` calls may be timed as one where single ones are too short.
        """


@contextmanager
def stopwatch(device: str, threads: int) -> Iterator[Stopwatch]:
    """A stopwatch for ``cpu`` or ``cuda``, with torch at so many threads and without gradients."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield _Cpu() if device == "cpu" else _Cuda()
    finally:
        torch.set_num_threads(before)


class _Cpu:
    def __init__(self) -> None:
        self._waiting = _Waiting()

    def prepare(self, module: nn.Module, x: Tensor, repeats: int = 1) -> Callable[[], Timing]:
        del repeats  # the clock resolves a tenth of a microsecond
        return lambda: self._time(module, x)

    def _time(self, module: nn.Module, x: Tensor) -> Timing:
        module(x)  # its weights, and what was compiled for its sizes, are at hand
        best = Timing(float("inf"), is_disturbed=True)
        for _ in range(MOST_TRIES):
            x.clamp_(0, 1)  # just written, as by the layer before; and sums do not grow
            waited = self._waiting.seconds()
            start = time.perf_counter()
            module(x)
            seconds = time.perf_counter() - start
            waited = self._waiting.seconds() - waited
            is_disturbed = waited > DISTURBED_SECONDS + DISTURBED_SHARE * seconds
            if not is_disturbed:
                return Timing(seconds, is_disturbed=False)
            best = min(best, Timing(seconds, is_disturbed=True), key=lambda one: one.seconds)
        return best


class _Waiting:
    """How long this process's threads have waited for a core so far; 0 where nobody tells."""

    def __init__(self) -> None:
        # torch's threads start with the first call that uses them.
        torch.ones(64, 64) @ torch.ones(64, 64)
        torch.rand(1 << 20).add_(1)
        self._files = [os.open(path, os.O_RDONLY) for path in _schedule_files()]

    def seconds(self) -> float:
        nanoseconds = 0
        for file in self._files:
            nanoseconds += int(os.pread(file, 100, 0).split()[1])
        return nanoseconds / 1e9

    def __del__(self) -> None:
        for file in self._files:
            os.close(file)


def _schedule_files() -> list[Path]:
    """Time on a core, time waiting for one, slices: a file a thread (Linux, sched-stats.rst)."""
    return sorted(Path("/proc/self/task").glob("*/schedstat"))


class _Cuda:
    def __init__(self) -> None:
        # One for all: graphs are replayed one after another, and nobody reads what they wrote.
        self._pool = torch.cuda.graph_pool_handle()

    def prepare(self, module: nn.Module, x: Tensor, repeats: int = 1) -> Callable[[], Timing]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                module(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            for _ in range(repeats):
                module(x)
        start, end = (_event() for _ in range(2))

        def time_once() -> Timing:
            graph.replay()
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            return Timing(start.elapsed_time(end) / 1000 / repeats, is_disturbed=False)

        return time_once


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
