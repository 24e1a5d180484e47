"""What a search's driver and an engine in another thread hand each other: jobs, reports, words.

The driver's side are the methods of an :class:`~nas.search.executor.Executor`; the engine's side
takes jobs as :class:`Attempt`, reports on them, and asks what the driver decided. One lock guards
all; nothing is called while it is held. Left out: what runs the jobs
(:mod:`nas.search.ray_executor`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from nas.search.executor import LAST, Job, Report


class Closed(Exception):  # noqa: N818 - the driver is done: no error
    """The driver closed the exchange: the engine ends."""


@dataclass(eq=False)
class Attempt:
    """A job that was submitted, once: submitted again it is another attempt.

    ``awaited`` counts the rungs that the driver has not decided on yet.
    """

    job: Job
    has_started: bool = False
    is_stopped: bool = False
    awaited: int = 0


class Exchange:
    """Queues between two threads, and the number of jobs that can run at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._submitted: deque[Attempt] = deque()
        self._current: dict[int, Attempt] = {}
        self._reports: list[Report] = []
        self._failure: str | None = None
        self._is_closed = False
        self._slots = 0

    # ------------------------------------------------------------------ the driver's side

    @property
    def slots(self) -> int:
        """How many jobs can run at once, as the engine said last."""
        with self._changed:
            return self._slots

    def submit(self, job: Job) -> None:
        """Hand in a job."""
        with self._changed:
            assert not self._is_closed
            assert job.number not in self._current, "the job runs already"
            attempt = self._current[job.number] = Attempt(job)
            self._submitted.append(attempt)
            self._changed.notify_all()

    def take_reports(self, timeout: float) -> list[Report]:
        """Reports since the last call; waits for the first, or for more slots.

        Raises:
            RuntimeError: the engine failed; the message says why.
        """
        with self._changed:
            slots = self._slots
            self._changed.wait_for(
                lambda: self._reports or self._failure is not None or self._slots > slots, timeout
            )
            reports, self._reports = self._reports, []
            if self._failure is not None and not reports:
                raise RuntimeError(self._failure)
            return reports

    def go_on(self, number: int) -> None:
        """Decide that a job trains on from a rung that it reported."""
        with self._changed:
            attempt = self._current.get(number)
            if attempt is not None and attempt.awaited:
                attempt.awaited -= 1
                self._changed.notify_all()

    def stop(self, number: int) -> None:
        """Decide that a job is given up; what it has reported since is dropped."""
        with self._changed:
            attempt = self._current.pop(number, None)
            if attempt is None:
                return
            attempt.is_stopped = True
            self._submitted = deque(item for item in self._submitted if item is not attempt)
            self._reports = [report for report in self._reports if report.number != number]
            self._changed.notify_all()

    def close(self) -> None:
        """Let the engine end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    # ------------------------------------------------------------------ the engine's side

    @property
    def is_closed(self) -> bool:
        """Whether the driver wants no more."""
        with self._changed:
            return self._is_closed

    def set_slots(self, slots: int) -> None:
        """Say how many jobs can run at once from here on."""
        with self._changed:
            self._slots = slots
            self._changed.notify_all()

    def next_attempt(self, timeout: float) -> Attempt | None:
        """The oldest job that was not taken yet; waits at most ``timeout`` seconds for one.

        Raises:
            Closed: there will be none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._submitted or self._is_closed, timeout)
            if self._is_closed:
                raise Closed
            return self._submitted.popleft() if self._submitted else None

    def hand_back(self, attempt: Attempt) -> None:
        """Put a job that never started to the front again, through no fault of its own."""
        with self._changed:
            if not attempt.is_stopped:
                self._submitted.appendleft(attempt)
                self._changed.notify_all()

    def report(self, attempt: Attempt, reports: Sequence[Report]) -> None:
        """Say what became of a job; of one that was stopped nothing is passed on."""
        with self._changed:
            if attempt.is_stopped:
                return
            self._reports += reports
            if attempt.job.waits:
                attempt.awaited += sum(report.kind == "rung" for report in reports)
            if any(report.kind in LAST for report in reports):
                del self._current[attempt.job.number]
            self._changed.notify_all()

    def goes_on(self, attempt: Attempt) -> bool:
        """Wait until the driver has decided on all rungs of a job; whether it trains on.

        Raises:
            Closed: the driver decides nothing any more.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not attempt.awaited or attempt.is_stopped or self._is_closed
            )
            if self._is_closed:
                raise Closed
            return not attempt.is_stopped

    def fail(self, reason: str) -> None:
        """Tell the driver that nothing can be run any more."""
        with self._changed:
            self._failure = self._failure or reason
            self._changed.notify_all()
