"""Runs trials in worker processes of this machine, started once; or in this process.

Workers are spawned, never forked, and get the data through shared memory: they do not copy it.
On the CPU each computes with one thread, so that bits do not depend on how many there are; on
CUDA there is one worker a device. A worker never opens the study: jobs go in and reports come
out through its own pipe. It ignores Ctrl-C (the driver decides) and ends itself the moment the
driver is gone.

Left out: what a trial is (:mod:`nas.search.work`), retries (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from nas.search.executor import LAST, Job, Report
from nas.search.work import DeviceError, Steps, Work, reports_of

MOST_DEATHS_AT_START = 3
"""So many workers in a row that die before they are ready end the search."""


@dataclass
class _Worker:
    device: str
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    is_stopping: bool = False
    is_ready: bool = False
    last_words: str = ""
    reports: list[Report] = field(default_factory=list)


class LocalExecutor:
    """One worker process for each of ``devices``, such as ``["cpu", "cpu"]`` or ``["cuda:0"]``."""

    def __init__(self, work: Work, devices: list[str]) -> None:
        self._work = work
        self._context = multiprocessing.get_context("spawn")
        self._deaths_at_start = 0
        self._workers = [self._start(device) for device in devices]

    @property
    def capacity(self) -> int:
        """One job a worker."""
        return len(self._workers)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def submit(self, job: Job) -> None:
        """Give the job to a free worker, one that is ready before one that still starts."""
        free = [worker for worker in self._workers if worker.job is None]
        assert free, "more jobs than workers"
        worker = next((worker for worker in free if worker.is_ready), free[0])
        worker.job, worker.is_stopping = job, False
        with contextlib.suppress(OSError):  # it has died: the next poll reports the job as lost
            worker.connection.send(job)

    def poll(self, timeout: float) -> list[Report]:
        """Reports since the last call; waits at most ``timeout`` seconds for the first."""
        end = time.monotonic() + timeout
        while True:
            reports = self._collect()
            left = end - time.monotonic()
            if reports or left <= 0:
                return reports
            sources = [worker.connection for worker in self._workers]
            wait([*sources, *(worker.process.sentinel for worker in self._workers)], left)

    def stop(self, number: int) -> None:
        """Give a job up; its worker is free again at the end of the rung that it trains now."""
        for worker in self._workers:
            if worker.job is not None and worker.job.number == number:
                worker.is_stopping = True
                with contextlib.suppress(OSError):
                    worker.connection.send(number)

    def close(self) -> None:
        """Kill all workers; they hold nothing that is not elsewhere."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []

    def _collect(self) -> list[Report]:
        reports: list[Report] = []
        for index, worker in enumerate(self._workers):
            # Asked before the pipe is read: what a worker sent before it died still counts.
            is_dead = not worker.process.is_alive()
            self._read(worker)
            if is_dead:
                self._bury(worker)
                self._workers[index] = self._start(worker.device)
            reports += worker.reports
            worker.reports = []
        return reports

    def _read(self, worker: _Worker) -> None:
        try:
            while worker.connection.poll():
                self._take(worker, worker.connection.recv())
        except (EOFError, OSError):
            # It died, perhaps within a message; its exit code follows.
            worker.process.join(5)

    def _take(self, worker: _Worker, message: object) -> None:
        if message == _READY:
            worker.is_ready, self._deaths_at_start = True, 0
        elif isinstance(message, str):
            raise RuntimeError(f"a worker on {worker.device} cannot start: {message}")
        elif isinstance(message, _LastWords):
            worker.last_words = f": {message.reason}"
        elif isinstance(message, Report):
            if not worker.is_stopping:
                worker.reports.append(message)
            if message.kind in LAST:
                worker.job = None

    def _bury(self, worker: _Worker) -> None:
        worker.process.join()
        reason = f"the worker {_shown_exit(worker.process.exitcode)}{worker.last_words}"
        if worker.job is not None and not worker.is_stopping:
            worker.reports.append(Report(worker.job.number, "lost", reason=reason))
        worker.connection.close()
        if not worker.is_ready:
            self._deaths_at_start += 1
            if self._deaths_at_start >= MOST_DEATHS_AT_START:
                raise RuntimeError(f"workers on {worker.device} die while they start: {reason}")

    def _start(self, device: str) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_run_worker, args=(there, self._work, device), daemon=True, name="nas worker"
        )
        with _interrupts_blocked(), _main_hidden(self._work.needs_main):
            process.start()
        there.close()
        return _Worker(device, process, here)


class InProcessExecutor:
    """Runs one job at a time in this process, a rung a poll: for the caller's own functions."""

    def __init__(self, work: Work) -> None:
        self._steps: Steps = work.open("cpu", own_process=False)
        self._running: tuple[int, Iterator[Report]] | None = None

    @property
    def capacity(self) -> int:
        """One."""
        return 1

    def submit(self, job: Job) -> None:
        """Take a job; it runs in :meth:`poll`."""
        assert self._running is None, "more jobs than workers"
        self._running = job.number, reports_of(job, self._steps)

    def poll(self, timeout: float) -> list[Report]:
        """Run to the next report, however long that takes.

        Raises:
            RuntimeError: the device failed; this process cannot use it any more.
        """
        if self._running is None:
            time.sleep(timeout)
            return []
        report = next(self._running[1])
        if report.kind in LAST:
            self._running = None
        return [report]

    def stop(self, number: int) -> None:
        """Give a job up."""
        if self._running is not None and self._running[0] == number:
            self._running = None

    def close(self) -> None:
        """Give up what runs."""
        self._running = None


_READY = ("ready",)


@dataclass(frozen=True)
class _LastWords:
    """Why a worker ends itself."""

    reason: str


def _run_worker(connection: Connection, work: Work, device: str) -> None:
    _end_with_parent()
    try:
        steps = work.open(device, own_process=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver shows it and stops
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(_READY)
    while True:
        message = connection.recv()
        if isinstance(message, Job):
            try:
                _run_job(connection, message, steps)
            except DeviceError as failure:
                # Only a new process gets the device back; the driver starts one.
                connection.send(_LastWords(str(failure)))
                os._exit(1)


def _run_job(connection: Connection, job: Job, steps: Steps) -> None:
    for report in reports_of(job, steps):
        if connection.poll() and report.kind not in LAST and connection.recv() == job.number:
            # The driver drops this report; it only says that the worker is free.
            connection.send(Report(job.number, "failed", reason="stopped"))
            return
        connection.send(report)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C goes to the whole process group; a child born with it blocked never sees it."""
    # Starting this later would let the signals through again.
    resource_tracker.ensure_running()
    signals = {signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_hidden(needs_main: bool) -> Iterator[None]:
    """Keep a spawned child from running the user's script again.

    ``multiprocessing`` imports the main module in each child, so that scripts without an
    ``if __name__ == "__main__"`` would start a search within the search. Workers need nothing
    of it, unless a function of the caller's is defined there.
    """
    main = sys.modules["__main__"]
    hidden = {} if needs_main else {k: vars(main)[k] for k in _MAIN_PLACES if k in vars(main)}
    for name in hidden:
        delattr(main, name)
    if hidden:
        main.__spec__ = None
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


_MAIN_PLACES = ("__file__", "__spec__")


def _shown_exit(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
