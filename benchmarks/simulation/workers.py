"""The executor of a simulation: W workers that only wait until their trainings would be done.

A worker is idle from the end of a training, or from the stop of one that waited, until it is
given the next; and from a rung until it is told to go on or to stop. What moves a job or a report
between the driver and a worker takes no time, and no worker fails.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

from nas.evaluate import RungResult
from nas.search.executor import Job, Report
from simulation.clock import NOTHING, Meter
from simulation.curves import Curves

Cause = Literal["proposal", "decision"]


@dataclass(frozen=True)
class Idle:
    """A worker had nothing to do, from ``begin`` to ``end``, and waited for this."""

    cause: Cause
    begin: float
    end: float


@dataclass
class _Running:
    """A training and the rungs that it has still to reach."""

    job: Job
    rungs: deque[RungResult]
    begin: float
    passed: float = 0.0
    waits_since: float | None = None


@dataclass
class Log:
    """What the workers did: seconds of training, and every wait that has ended."""

    submitted: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    num_stopped: int = 0


class SimulatedExecutor:
    """Implements :class:`nas.search.executor.Executor` on a simulated clock."""

    def __init__(self, curves: Curves, scale: float, workers: int, meter: Meter) -> None:
        self.capacity = workers
        self.log = Log()
        self._curves, self._scale = curves, scale
        self._meter, self._clock = meter, meter.clock
        self._running: dict[int, _Running] = {}
        self._events: list[tuple[float, int, int]] = []
        self._order = count()
        self._reports: list[Report] = []
        self._free: deque[float] = deque([self._clock.monotonic()] * workers)

    def submit(self, job: Job) -> None:
        """A free worker takes the job, the one that is free the longest."""
        with self._meter.part(NOTHING), self._clock.paused():
            now = self._clock.monotonic()
            self.log.submitted.append(now)
            self.log.idle.append(Idle("proposal", self._free.popleft(), now))
            rungs = deque(
                replace(one, train_seconds=self._scale * one.train_seconds)
                for one in self._curves.training(job.architecture)
            )
            assert all(math.isfinite(one.error) for one in rungs), "no simulated training fails"
            self._running[job.number] = _Running(job, rungs, now)
            self._reports.append(Report(job.number, "started"))
            self._train(job.number, now)

    def poll(self, timeout: float) -> list[Report]:
        """What has happened by now; where nothing has, the clock jumps to what is next."""
        with self._meter.part(NOTHING), self._clock.paused():
            now = self._clock.monotonic()
            if not self._reports and timeout > 0:
                first = self._events[0][0] if self._events else math.inf
                self._clock.skip_to(min(first, now + timeout))
                now = self._clock.monotonic()
            while self._events and self._events[0][0] <= now:
                moment, _, number = heapq.heappop(self._events)
                if number in self._running:
                    self._reach(number, moment)
            reports, self._reports = self._reports, []
            return reports

    def go_on(self, number: int) -> None:
        """A worker that waits trains on."""
        running = self._running.get(number)
        if running is None or running.waits_since is None:
            return
        with self._meter.part(NOTHING), self._clock.paused():
            now = self._clock.monotonic()
            self.log.idle.append(Idle("decision", running.waits_since, now))
            running.waits_since = None
            self._train(number, now)

    def stop(self, number: int) -> None:
        """The worker is free; what it had begun of an epoch is lost."""
        running = self._running.get(number)
        if running is None:
            return
        with self._meter.part(NOTHING), self._clock.paused():
            now = self._clock.monotonic()
            if running.waits_since is None:
                self.log.busy.append((running.begin, now))
            else:
                self.log.idle.append(Idle("decision", running.waits_since, now))
            self.log.num_stopped += 1
            self._reports = [one for one in self._reports if one.number != number]
            self._release(number, now)

    def is_held(self, number: int) -> bool:
        """No job hangs here."""
        return False

    def discard(self, number: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Those that are free wait until the end."""
        now = self._clock.monotonic()
        for number in list(self._running):
            self.stop(number)
        self.log.idle += [Idle("proposal", since, now) for since in self._free]
        self._free.clear()

    def _train(self, number: int, now: float) -> None:
        running = self._running[number]
        running.begin = now
        lasts = running.rungs[0].train_seconds - running.passed
        heapq.heappush(self._events, (now + lasts, next(self._order), number))

    def _reach(self, number: int, moment: float) -> None:
        running = self._running[number]
        result = running.rungs.popleft()
        self.log.busy.append((running.begin, moment))
        running.passed = result.train_seconds
        self._reports.append(Report(number, "rung", result))
        if not running.rungs:
            self._reports.append(Report(number, "done", result))
            self._release(number, moment)
        elif running.job.waits:
            running.waits_since = moment
        else:
            self._train(number, moment)

    def _release(self, number: int, moment: float) -> None:
        del self._running[number]
        self.log.ended.append(moment)
        self._free.append(moment)
