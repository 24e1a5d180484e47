"""The seam between the search and what runs trials: submit, poll, go on, stop, close.

An executor knows neither the study nor the sampler. It gets jobs and reports what became of
them; the same (architecture, task, seed) gives the same bits on any executor and any number of
workers. :class:`ScriptedExecutor` is the shipped double, without processes or training.

``started``  a worker took the job up
``rung``     ``result`` is that rung's; the last rung reports, too. A job that ``waits`` trains on
             from another rung than the last when it is told to: ``go_on`` or ``stop``
``done``     all epochs are trained; ``result`` is the last rung's
``failed``   the network cannot be trained; ``reason`` says why; trying again gives the same
``lost``     the worker died; ``reason`` has its exit code. The job may be submitted again, or be
             given up by ``stop``. What the death says about the job:

             ``is_crash``      the process ended by itself, while the job had it to itself: by a
                               signal such as SIGSEGV, or by an exit of its own
             ``is_shared``     it ran beside others: the loss says nothing about it, and it runs
                               alone then
             ``is_bystander``  another job is known to be the reason (it did not end, and its
                               worker was killed): nothing is held against this one
             none of them      death came from outside: SIGKILL, as people and the kernel use it
                               where memory runs out, or the node was lost
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from nas.architecture import Architecture
from nas.task import Task

if TYPE_CHECKING:
    from nas.evaluate import RungResult

Kind: TypeAlias = Literal["started", "rung", "done", "failed", "lost"]

LAST: frozenset[Kind] = frozenset({"done", "failed", "lost"})
"""After one of these no other report of the job comes."""


@dataclass(frozen=True)
class Job:
    """One trial to run: the architecture at full width; the worker makes the proxy of it.

    ``waits``: after each rung but the last it does not train on before it is told to.
    """

    number: int
    architecture: Architecture
    task: Task
    seed: int
    waits: bool = False


@dataclass(frozen=True)
class Report:
    """What became of a job, in the order it happened."""

    number: int
    kind: Kind
    result: RungResult | None = None
    reason: str = ""
    is_shared: bool = False
    is_crash: bool = False
    is_bystander: bool = False


class Executor(Protocol):
    """Runs jobs, ``capacity`` of them at a time."""

    @property
    def capacity(self) -> int:
        """How many jobs can run at once; it may change at any poll."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job; more than ``capacity`` at a time are an error of the caller."""
        ...

    def poll(self, timeout: float) -> list[Report]:
        """Reports since the last call; waits at most ``timeout`` seconds for the first.

        Raises:
            RuntimeError: no worker can be kept alive; the message says why.
        """
        ...

    def go_on(self, number: int) -> None:
        """Let a job that waits at a rung train on. Unknown numbers are ignored."""
        ...

    def stop(self, number: int) -> None:
        """Give a job up; no report of it comes after this. Unknown numbers are ignored.

        Its place is free again soon after, even if the job hangs: an executor kills a worker that
        does not let go of a job within a grace, and replaces it. Other jobs of that worker are
        reported as lost, ``is_bystander``.
        """
        ...

    def is_held(self, number: int) -> bool:
        """Whether another job hangs and so keeps this one from its turns; unknown ones are not."""
        ...

    def close(self) -> None:
        """End all workers at once; what still runs is given up. Calling it again does nothing."""
        ...


Script: TypeAlias = Callable[[Job], Sequence[Report]]


class ScriptedExecutor:
    """Plays what ``script(job)`` returns, one report of each running job at a poll.

    After its last report a job is over. ``order`` picks which of the running jobs reports next
    (by default all of them, the oldest first). A job that waits has no report before it goes on;
    the report after a script's last rung is its end and waits for nothing.
    """

    def __init__(
        self,
        script: Script,
        capacity: int = 1,
        order: Callable[[list[int]], list[int]] | None = None,
    ) -> None:
        self.capacity = capacity
        self.submitted: list[Job] = []
        self.closed = False
        self._script = script
        self._order = order or list
        self._running: dict[int, deque[Report]] = {}
        self._waits: set[int] = set()
        self._waiting: set[int] = set()

    def submit(self, job: Job) -> None:
        """Take a job."""
        assert not self.closed
        assert len(self._running) < self.capacity
        assert job.number not in self._running
        self.submitted.append(job)
        self._running[job.number] = deque(self._script(job))
        if job.waits:
            self._waits.add(job.number)

    def poll(self, timeout: float) -> list[Report]:
        """The next report of each running job; never waits."""
        reports = []
        for number in self._order([n for n in self._running if n not in self._waiting]):
            script = self._running[number]
            if script:
                reports.append(script.popleft())
                if reports[-1].kind in LAST:
                    self._forget(number)
                elif reports[-1].kind == "rung" and number in self._waits and len(script) > 1:
                    self._waiting.add(number)
        return reports

    def go_on(self, number: int) -> None:
        """Play the next report at the next poll."""
        self._waiting.discard(number)

    def stop(self, number: int) -> None:
        """Forget a job."""
        self._forget(number)

    def is_held(self, number: int) -> bool:
        """Scripts do not hang."""
        return False

    def _forget(self, number: int) -> None:
        self._running.pop(number, None)
        self._waits.discard(number)
        self._waiting.discard(number)

    def close(self) -> None:
        """Forget all jobs."""
        self._running.clear()
        self.closed = True
