"""Several jobs in one process, by turns: each gets a little work to do, the busy ones are passed.

On CUDA a turn queues some steps on the job's own stream and returns at once, so that one thread
keeps many networks on the device; on a processor a turn is done when it returns. A job's bits do
not depend on what runs beside it. One that fails leaves the others as they are. One for which
the memory is too small beside others is no failure: it is reported as lost and shared, and is to
run again alone.

Left out: how many jobs run at once (:mod:`nas.search.concurrency`), processes and pipes
(:mod:`nas.search.worker_process`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import torch

from nas.evaluate import RungResult
from nas.search.concurrency import Concurrency, ConcurrencyChooser, FixedConcurrency
from nas.search.executor import Job, Kind, Report
from nas.search.work import Begin, DeviceError, JobFailed, Running, Work, job_failures
from nas.training.device_queue import free_bytes

MEASURED_TURNS, MOST_MEASURED_TURNS = 2, 5
"""A job's solo step time is the least of so many turns with steps; others only end an epoch."""


TurnOf: TypeAlias = Callable[[int], AbstractContextManager[None]]


def no_turn(number: int) -> AbstractContextManager[None]:
    """Nobody wants to know whose turn it is."""
    return nullcontext()


@dataclass(eq=False)
class _Slot:
    job: Job
    running: Running | None = None
    has_started: bool = False
    is_stopping: bool = False
    is_waiting: bool = False
    result: RungResult | None = None
    counted_steps: int = 0
    step_seconds: float = 0.0


class Rotation:
    """Gives turns to the jobs that ``begin`` makes; ``concurrency`` is told what is measured.

    ``free_bytes()`` is the memory that further jobs could have. ``turn_of(number)`` is entered for
    each turn.
    """

    def __init__(
        self,
        begin: Begin,
        concurrency: Concurrency,
        *,
        free_bytes: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.perf_counter,
        turn_of: TurnOf = no_turn,
    ) -> None:
        self._begin, self._concurrency = begin, concurrency
        self._free_bytes, self._clock, self._turn_of = free_bytes, clock, turn_of
        self._slots: deque[_Slot] = deque()
        self._last = 0.0

    @property
    def capacity(self) -> int:
        """How many jobs should run at once now; it may change after any turn."""
        return self._concurrency.trials

    @property
    def numbers(self) -> list[int]:
        """The jobs that are not over."""
        return [slot.job.number for slot in self._slots]

    @property
    def is_idle(self) -> bool:
        """Whether nothing can be done before a message comes: no jobs, or all wait at a rung."""
        return all(slot.is_waiting for slot in self._slots)

    @property
    def is_busy(self) -> bool:
        """Whether there is nothing to do but to wait for the device.

        Raises:
            DeviceError: nothing can be computed in this process any more.
        """
        return all(_is_busy(slot) for slot in self._slots)

    def add(self, job: Job) -> None:
        """Take a job; it begins at its first turn."""
        if not self._slots:
            self._last = self._clock()
        self._slots.append(_Slot(job))

    def go_on(self, number: int) -> None:
        """Give a job that waits at a rung its turns again."""
        for slot in self._slots:
            if slot.job.number == number:
                slot.is_waiting = False

    def stop(self, number: int) -> None:
        """Give a job up: its next turn is its last, and reports it as failed."""
        for slot in self._slots:
            if slot.job.number == number:
                slot.is_stopping, slot.is_waiting = True, False

    def turn(self) -> list[Report]:
        """Give the next job that is not busy its turn; its reports in order, often none.

        Raises:
            DeviceError: nothing can be computed in this process any more.
        """
        for _ in range(len(self._slots)):
            slot = self._slots[0]
            self._slots.rotate(-1)
            if not _is_busy(slot):
                with self._turn_of(slot.job.number):
                    return self._turn(slot)
        return []

    def _turn(self, slot: _Slot) -> list[Report]:
        if slot.is_stopping:
            return [self._end(slot, "failed", "stopped")]
        if not slot.has_started:
            slot.has_started = True
            return [Report(slot.job.number, "started")]
        if slot.running is None:
            return self._set_up(slot)
        running, count = slot.running, len(self._begun())
        reports = self._advance(slot, running)
        now = self._clock()
        work = (running.steps_done - slot.counted_steps) * slot.step_seconds
        self._concurrency.observe(now - self._last, work, count)
        self._last, slot.counted_steps = now, running.steps_done
        return reports

    def _advance(self, slot: _Slot, running: Running) -> list[Report]:
        try:
            with job_failures():
                result = running.turn()
        except JobFailed as failure:
            return [self._fail(slot, failure)]
        if result is None:
            return []
        slot.result = result
        reports = [Report(slot.job.number, "rung", result)]
        if running.done:
            work = running.steps_done * slot.step_seconds
            self._concurrency.ended(running.setup_seconds, work)
            reports.append(self._end(slot, "done"))
        else:
            slot.is_waiting = slot.job.waits
        return reports

    # ------------------------------------------------------------------ beginning

    def _set_up(self, slot: _Slot) -> list[Report]:
        try:
            with job_failures():
                running = slot.running = self._begin(slot.job)
        except JobFailed as failure:
            return [self._fail(slot, failure)]
        reports = self._measure(slot, running) if self._concurrency.is_measuring else []
        self._share_out()
        # The rate is that of training: whatever their number, jobs are set up one by one.
        self._last = self._clock()
        return reports

    def _measure(self, slot: _Slot, running: Running) -> list[Report]:
        """Find how long a step takes with the device to itself."""
        reports: list[Report] = []
        while any(_is_busy(other) for other in self._slots if not other.is_waiting):
            time.sleep(0)
        measured = 0
        for _ in range(MOST_MEASURED_TURNS):
            before, start = running.steps_done, self._clock()
            reports += self._advance(slot, running)
            if slot not in self._slots:
                return reports
            while _is_busy(slot) and not slot.is_waiting:
                time.sleep(0)  # a few milliseconds in all; a longer sleep would be measured, too
            steps = running.steps_done - before
            if steps:
                seconds = (self._clock() - start) / steps
                slot.step_seconds = min(slot.step_seconds or seconds, seconds)
                measured += 1
            if measured == MEASURED_TURNS or slot.is_waiting:
                break
        slot.counted_steps = running.steps_done
        self._concurrency.set_up(
            slot.step_seconds, running.device_bytes, self._free_bytes(), len(self._begun())
        )
        return reports

    def _begun(self) -> list[Running]:
        return [slot.running for slot in self._slots if slot.running is not None]

    def _share_out(self) -> None:
        """Charge each job its part of the device's time."""
        begun = self._begun()
        for running in begun:
            running.share = 1 / len(begun)

    # ------------------------------------------------------------------ ending

    def _fail(self, slot: _Slot, failure: JobFailed) -> Report:
        others = len(self._begun()) - (slot.running is not None)
        if not failure.is_memory or not others:
            return self._end(slot, "failed", failure.reason)
        self._concurrency.out_of_memory(others + 1)
        report = self._end(slot, "lost", failure.reason)
        return Report(report.number, "lost", None, report.reason, is_shared=True)

    def _end(self, slot: _Slot, kind: Kind, reason: str = "") -> Report:
        self._slots.remove(slot)
        if slot.running is not None:
            try:
                with job_failures():
                    slot.running.close()
            except JobFailed as failure:
                raise DeviceError(f"what a job held cannot be freed: {failure.reason}") from failure
            slot.running = None
        self._share_out()
        return Report(slot.job.number, kind, slot.result, reason)


def create_rotation(
    work: Work,
    device: str,
    *,
    own_process: bool,
    turn_of: TurnOf = no_turn,
) -> Rotation:
    """Open ``work`` on a device of this process, with as many jobs at once as it says."""
    concurrency: Concurrency
    if work.concurrency is not None or device == "cpu":
        concurrency = FixedConcurrency(work.concurrency or 1)
    else:
        concurrency = ConcurrencyChooser()
    begin = work.open(device, own_process=own_process)
    return Rotation(
        begin,
        concurrency,
        free_bytes=lambda: free_bytes(torch.device(device)),
        turn_of=turn_of,
    )


def _is_busy(slot: _Slot) -> bool:
    if slot.is_waiting:
        return True
    try:
        with job_failures():
            return slot.running is not None and slot.running.is_busy
    except JobFailed:
        return False  # its turn will say why
