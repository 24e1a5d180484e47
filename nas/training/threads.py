"""How many threads a training on a processor uses: as many as are faster at the moment.

A second thread helps a small network by a third at best. On a machine that others use too, the
threads wait for one another at every layer, and two then train ten times slower than one (46
against 728 images a second, seen with one busy neighbour). So the choice is measured, on steps
that are made anyway, and measured again now and then.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable

import torch

PROBE_STEPS = 6
"""Steps of a probe; the first is left out, because it chooses and compiles kernels."""

HOLD_SECONDS = 30.0
"""A choice holds at least this long, and 20 times as long as it took to make."""


class ThreadChooser:
    """Tries one thread and ``cores`` threads in turn, then keeps the faster for a while.

    Call it after every step. ``clock`` and ``set_threads`` are parameters for tests.
    """

    def __init__(
        self,
        cores: int,
        clock: Callable[[], float] = time.perf_counter,
        set_threads: Callable[[int], object] = torch.set_num_threads,
    ) -> None:
        self._choices = [cores, 1] if cores > 1 else [1]
        self._clock, self._set_threads = clock, set_threads
        self._steps: Counter[int] = Counter()
        self._last = self._hold_until = 0.0
        self._begin_probe()

    @property
    def most_used(self) -> int:
        """The number of threads that most steps ran on."""
        return self._steps.most_common(1)[0][0] if self._steps else self._threads

    def __call__(self) -> None:
        """A step is done."""
        now = self._clock()
        taken, self._last = now - self._last, now
        self._steps[self._threads] += 1
        if len(self._choices) == 1:
            return
        if not self._waiting:
            if now >= self._hold_until:
                self._begin_probe()
            return
        self._durations.append(taken)
        if len(self._durations) == PROBE_STEPS:
            # The median, because a checkpoint or a neighbour may fall into one step.
            self._medians[self._threads] = statistics.median(self._durations[1:])
            self._next_candidate()

    def _begin_probe(self) -> None:
        self._waiting = list(self._choices)
        self._medians: dict[int, float] = {}
        self._probe_start = self._last = self._clock()
        self._hold_until = 0.0
        self._use(self._waiting[0])

    def _next_candidate(self) -> None:
        self._waiting.pop(0)
        if self._waiting:
            self._use(self._waiting[0])
            return
        now = self._clock()
        self._hold_until = now + max(HOLD_SECONDS, 20 * (now - self._probe_start))
        self._use(min(self._medians, key=self._medians.__getitem__))

    def _use(self, threads: int) -> None:
        self._threads = threads
        self._durations: list[float] = []
        self._set_threads(threads)
