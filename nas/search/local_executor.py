"""Runs trials in worker processes of this machine, started once; or in this process.

Workers get the data through shared memory: they do not copy it. On the CPU each runs one trial
at a time with one thread, so that bits do not depend on how many there are; on CUDA there is one
worker a device, with as many trials at once as it finds best. A worker never opens the study.

When a worker with several jobs dies, each of them is a suspect: submitted again, it runs alone in
its process, and only a death while it is alone is its own. A worker that does not let go of a job
that was stopped hangs within it: after a grace it is killed and replaced.

Left out: the process itself (:mod:`nas.search.worker_process`), what a trial is
(:mod:`nas.search.work`), retries (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from nas.search.deaths import is_crash, shown_exit
from nas.search.executor import LAST, Job, Report
from nas.search.rotation import create_rotation
from nas.search.turns import Turns
from nas.search.work import Work
from nas.search.worker_process import Capacity, Command, LastWords, start_worker

MOST_DEATHS_AT_START = 3
"""So many workers in a row that die before they are ready end the search."""

STOP_GRACE_SECONDS = 30.0
"""A worker that has not let go of a stopped job by then is killed: longer than a step or a set-up,
which a worker ends before it hears of anything."""


@dataclass(eq=False)
class _Worker:
    """A worker; ``suspects`` have to run alone here, whether they were submitted again or not.

    ``stopping`` are the jobs that it was told to give up, and when; ``killed_for`` those of them
    that it was killed for.
    """

    device: str
    process: BaseProcess
    connection: Connection
    turns: Turns
    capacity: int
    suspects: set[int]
    jobs: dict[int, Job] = field(default_factory=dict)
    stopping: dict[int, float] = field(default_factory=dict)
    is_ready: bool = False
    killed_for: str = ""
    last_words: LastWords | None = None
    reports: list[Report] = field(default_factory=list)

    @property
    def room(self) -> int:
        """How many jobs that are no suspects it could take now."""
        return 0 if self.suspects else max(self.capacity - len(self.jobs), 0)

    def takes(self, number: int) -> bool:
        """Whether the job can begin here now."""
        return not self.jobs if number in self.suspects else self.room > 0


class LocalExecutor:
    """One worker process for each of ``devices``, such as ``["cpu", "cpu"]`` or ``["cuda:0"]``.

    A worker that does not let go of a stopped job within ``grace_seconds`` is killed. Workers end
    with the thread that made the executor.
    """

    def __init__(
        self, work: Work, devices: list[str], *, grace_seconds: float = STOP_GRACE_SECONDS
    ) -> None:
        self._work, self._grace = work, grace_seconds
        self._deaths_at_start = 0
        self._waiting: deque[Job] = deque()
        self._workers = [self._start(device, set()) for device in devices]

    @property
    def capacity(self) -> int:
        """The jobs that it has, and those that it could take now; it may change at any poll."""
        held = sum(len(worker.jobs.keys() - worker.stopping.keys()) for worker in self._workers)
        room = sum(worker.room for worker in self._workers) - self._num_waiting_for_room
        return held + len(self._waiting) + max(room, 0) + len(self._awaited)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def submit(self, job: Job) -> None:
        """Give the job to a worker: one that is ready before one that still starts."""
        self._waiting.append(job)
        self._assign()

    def poll(self, timeout: float) -> list[Report]:
        """Reports since the last call; waits at most ``timeout`` seconds for the first."""
        end, before = time.monotonic() + timeout, self.capacity
        while True:
            reports = self._collect()
            left = end - time.monotonic()
            # Whoever waits for room has waited long enough, too.
            if reports or left <= 0 or self.capacity > before:
                return reports
            sources = [worker.connection for worker in self._workers]
            sentinels = (worker.process.sentinel for worker in self._workers)
            wait([*sources, *sentinels], min(left, self._left_of_grace()))

    def go_on(self, number: int) -> None:
        """Tell the worker that has the job to train on."""
        for worker in self._workers:
            if number in worker.jobs:
                with contextlib.suppress(OSError):  # dead: the next poll reports the job as lost
                    worker.connection.send(Command(number, goes_on=True))

    def stop(self, number: int) -> None:
        """Give a job up; its place is free again when the worker has heard of it, or is dead."""
        self._waiting = deque(job for job in self._waiting if job.number != number)
        for worker in self._workers:
            worker.suspects.discard(number)
            if number in worker.jobs:
                worker.stopping.setdefault(number, time.monotonic())
                with contextlib.suppress(OSError):
                    worker.connection.send(Command(number, goes_on=False))

    def is_held(self, number: int) -> bool:
        """Whether another job of its worker does not give the turn back."""
        return any(
            number in worker.jobs and worker.turns.keep_waiting(number) for worker in self._workers
        )

    def close(self) -> None:
        """Kill all workers; they hold nothing that is not elsewhere."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []
        self._waiting.clear()

    # ------------------------------------------------------------------ giving jobs out

    @property
    def _awaited(self) -> set[int]:
        """Suspects that were not submitted again yet: there is always a place for them."""
        known = {job.number for job in self._waiting}
        for worker in self._workers:
            known |= worker.jobs.keys()
        return {number for worker in self._workers for number in worker.suspects} - known

    @property
    def _num_waiting_for_room(self) -> int:
        suspects = {number for worker in self._workers for number in worker.suspects}
        return sum(job.number not in suspects for job in self._waiting)

    def _assign(self) -> None:
        """Give each waiting job to a worker that takes it; the others go on waiting."""
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            worker = self._worker_for(job)
            if worker is None:
                self._waiting.append(job)
                continue
            worker.jobs[job.number] = job
            with contextlib.suppress(OSError):  # it has died: the next poll reports the job as lost
                worker.connection.send(job)

    def _worker_for(self, job: Job) -> _Worker | None:
        if any(job.number in worker.jobs for worker in self._workers):
            return None  # it was stopped, and its worker has not heard of it yet
        own = [worker for worker in self._workers if job.number in worker.suspects]
        fit = [worker for worker in own or self._workers if worker.takes(job.number)]
        return min(fit, key=lambda worker: (not worker.is_ready, len(worker.jobs)), default=None)

    # ------------------------------------------------------------------ hearing from workers

    def _collect(self) -> list[Report]:
        reports: list[Report] = []
        self._kill_the_deaf()
        for index, worker in enumerate(self._workers):
            # Asked before the pipe is read: what a worker sent before it died still counts.
            is_dead = not worker.process.is_alive()
            self._read(worker)
            if is_dead:
                self._bury(worker)
                self._workers[index] = self._start(worker.device, worker.suspects)
            reports += worker.reports
            worker.reports = []
        self._assign()
        return reports

    def _left_of_grace(self) -> float:
        """Seconds until the first worker that was told to give up a job has to be killed."""
        ready = (worker for worker in self._workers if worker.is_ready)
        told = [at for worker in ready for at in worker.stopping.values()]
        return max(min(told) + self._grace - time.monotonic(), 0.0) if told else math.inf

    def _kill_the_deaf(self) -> None:
        """End the workers that hang within a job that they were told to give up."""
        latest = time.monotonic() - self._grace
        for worker in self._workers:
            self._read(worker)  # perhaps it has answered since
            deaf = [str(number) for number, told in worker.stopping.items() if told <= latest]
            if deaf and worker.is_ready:
                worker.killed_for = ", ".join(deaf)
                worker.process.kill()
                worker.process.join()

    def _read(self, worker: _Worker) -> None:
        try:
            while worker.connection.poll():
                self._take(worker, worker.connection.recv())
        except (EOFError, OSError):
            # It died, perhaps within a message; its exit code follows.
            worker.process.join(5)

    def _take(self, worker: _Worker, message: object) -> None:
        if isinstance(message, Capacity):
            worker.capacity = message.jobs
            if not worker.is_ready:  # only now it can hear of what was stopped since
                worker.stopping = dict.fromkeys(worker.stopping, time.monotonic())
            worker.is_ready, self._deaths_at_start = True, 0
        elif isinstance(message, LastWords):
            if message.is_at_start:
                raise RuntimeError(f"a worker on {worker.device} cannot start: {message.reason}")
            worker.last_words = message
        elif isinstance(message, Report):
            self._take_report(worker, message)

    def _take_report(self, worker: _Worker, report: Report) -> None:
        number = report.number
        if number not in worker.stopping:
            worker.reports.append(report)
            if report.kind == "lost":  # the memory was too small beside others
                worker.suspects.add(number)
        if report.kind in LAST:
            del worker.jobs[number]
            worker.stopping.pop(number, None)
            if report.kind != "lost":
                worker.suspects.discard(number)

    def _bury(self, worker: _Worker) -> None:
        worker.process.join()
        code, words = worker.process.exitcode, worker.last_words
        reason = f"the worker {shown_exit(code)}" + (f": {words.reason}" if words else "")
        if worker.killed_for:
            reason = f"the worker was killed, for trial {worker.killed_for} in it did not end"
        is_shared = len(worker.jobs) > 1
        # Before it is ready no job has begun.
        is_own = worker.is_ready and not is_shared
        lost = Report(
            number=-1,
            kind="lost",
            reason=reason,
            is_shared=is_shared and not worker.killed_for,
            is_crash=is_own and (words.is_crash if words else is_crash(code)),
            is_bystander=bool(worker.killed_for),
        )
        for number in worker.jobs.keys() - worker.stopping.keys():
            worker.reports.append(replace(lost, number=number))
            if worker.capacity > 1 and not worker.killed_for:
                worker.suspects.add(number)
        worker.connection.close()
        if not worker.is_ready:
            self._deaths_at_start += 1
            if self._deaths_at_start >= MOST_DEATHS_AT_START:
                raise RuntimeError(f"workers on {worker.device} die while they start: {reason}")

    def _start(self, device: str, suspects: set[int]) -> _Worker:
        process, connection, turns = start_worker(self._work, device)
        capacity = self._work.concurrency or 1
        return _Worker(device, process, connection, turns, capacity, suspects)


class InProcessExecutor:
    """Runs one job at a time in this process, a turn a poll: for the caller's own functions."""

    def __init__(self, work: Work) -> None:
        self._rotation = create_rotation(work, "cpu", own_process=False)
        self._stopped: set[int] = set()

    @property
    def capacity(self) -> int:
        """One."""
        return 1

    def submit(self, job: Job) -> None:
        """Take a job; it runs in :meth:`poll`."""
        assert not self._rotation.numbers, "more jobs than workers"
        self._rotation.add(job)

    def poll(self, timeout: float) -> list[Report]:
        """Run to the next report, however long that takes.

        Raises:
            RuntimeError: the device failed; this process cannot use it any more.
        """
        if self._rotation.is_idle:
            time.sleep(timeout)
            return []
        reports: list[Report] = []
        while not reports:
            reports = self._rotation.turn()
        return reports

    def go_on(self, number: int) -> None:
        """Let a job that waits at a rung train on."""
        self._rotation.go_on(number)

    def stop(self, number: int) -> None:
        """Give a job up."""
        if number in self._rotation.numbers:
            self._rotation.stop(number)
            # Nothing runs between two polls: its last turn is its end, and nobody hears of it.
            self._rotation.turn()

    def is_held(self, number: int) -> bool:
        """There is no other job."""
        return False

    def close(self) -> None:
        """Give up what runs."""
        for number in self._rotation.numbers:
            self.stop(number)
