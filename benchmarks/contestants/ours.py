"""Contestant (c), ours: the product's executor and proxy training as a search uses them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from nas.datasets import Statistics, TrainValidation
from nas.search.executor import Executor, Job, Report
from nas.search.local_executor import LocalExecutor
from nas.search.work import ProxyTraining

from .trials import Outcome, Trial

POLL_SECONDS = 60.0


class Ours:
    """The product's local executor with ``number`` workers on the CPU."""

    def __init__(
        self, number: int, data: TrainValidation, statistics: Statistics, warm_up: Trial
    ) -> None:
        start = time.perf_counter()
        work = ProxyTraining(data.share_memory(), statistics)
        self._executor: LocalExecutor = LocalExecutor(work, ["cpu"] * number)
        self._next = 0
        # An executor takes jobs before its workers are ready: they are when each began one.
        self.startup_seconds = self._begin(warm_up, number) - start

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return self._executor.pids

    @property
    def device_bytes(self) -> int:
        """Nothing: there is no GPU."""
        return 0

    def run(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Run the trials through the queue, as many at once as the executor takes.

        Raises:
            RuntimeError: a worker died.
        """
        waiting, outcomes = list(trials), list[Outcome]()
        running: dict[int, Trial] = {}
        while waiting or running:
            while waiting and len(running) < self._executor.capacity:
                trial = waiting.pop(0)
                running[self._submit(self._executor, trial)] = trial
            for report in self._executor.poll(POLL_SECONDS):
                if report.kind in ("done", "failed"):
                    outcomes.append(_outcome(running.pop(report.number), report))
                elif report.kind == "lost":
                    raise RuntimeError(f"a worker of ours was lost: {report.reason}")
        return outcomes

    def close(self) -> None:
        """End the workers."""
        self._executor.close()

    def _submit(self, executor: Executor, trial: Trial) -> int:
        self._next += 1
        executor.submit(Job(self._next, trial.architecture, trial.task, trial.seed))
        return self._next

    def _begin(self, warm_up: Trial, number: int) -> float:
        """Run ``number`` short trials at once; when the last of them began."""
        for _ in range(number):
            self._submit(self._executor, warm_up)
        started, ended, last = 0, 0, 0.0
        while ended < number:
            for report in self._executor.poll(POLL_SECONDS):
                if report.kind == "lost":
                    raise RuntimeError(f"a worker of ours was lost: {report.reason}")
                if report.kind == "started":
                    started, last = started + 1, time.perf_counter()
                ended += report.kind in ("done", "failed")
        assert started == number
        return last


def _outcome(trial: Trial, report: Report) -> Outcome:
    if report.result is None:
        return Outcome(trial.index, trial.seed, math.nan, math.nan, 0)
    result = report.result
    return Outcome(trial.index, trial.seed, result.train_seconds, result.error, result.images_seen)
