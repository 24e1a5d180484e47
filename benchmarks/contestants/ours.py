"""Contestant (c), ours: the product's executor and proxy training as a search uses them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from nas.datasets import Statistics, TrainValidation
from nas.search.executor import Job, Report
from nas.search.local_executor import LocalExecutor
from nas.search.work import Begin, ProxyTraining

from .trials import Outcome, Trial

POLL_SECONDS = 60.0


@dataclass(frozen=True)
class WatchedTraining(ProxyTraining):
    """The product's work; ``peak`` (1 int64, shared) gets the memory that torch reserved."""

    peak: torch.Tensor = field(kw_only=True)

    def open(self, device: str, *, own_process: bool) -> Begin:
        """As the product does; on a GPU a thread notes the peak twice a second."""
        begin = super().open(device, own_process=own_process)
        if device != "cpu":
            watch = threading.Thread(target=_watch, args=(self.peak, device), daemon=True)
            watch.start()
        return begin


def _watch(peak: torch.Tensor, device: str) -> None:
    while True:
        peak[0] = torch.cuda.max_memory_reserved(device)
        time.sleep(0.5)


class Ours:
    """The product's local executor: a worker for each of ``devices``.

    ``concurrency`` is K on a GPU, None for the automatic one. ``warm_up`` are trials that are run
    before any that counts, at once as far as the executor takes them.
    """

    def __init__(
        self,
        devices: list[str],
        data: TrainValidation,
        statistics: Statistics,
        warm_up: Sequence[Trial],
        concurrency: int | None = None,
    ) -> None:
        start = time.perf_counter()
        self._peak = torch.zeros(1, dtype=torch.int64)
        self._peak.share_memory_()  # type: ignore[no-untyped-call]
        work = WatchedTraining(data.share_memory(), statistics, concurrency, peak=self._peak)
        self._executor = LocalExecutor(work, devices)
        self._next = 0
        # An executor takes jobs before its workers are ready: the first start tells.
        self._first_start = 0.0
        self.run(warm_up)
        self.startup_seconds = self._first_start - start

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return self._executor.pids

    @property
    def device_bytes(self) -> int:
        """The most that torch reserved on a GPU; 0 without one."""
        return int(self._peak[0])

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
                running[self._submit(trial)] = trial
            for report in self._executor.poll(POLL_SECONDS):
                if report.kind == "started":
                    self._first_start = self._first_start or time.perf_counter()
                elif report.kind in ("done", "failed"):
                    outcomes.append(_outcome(running.pop(report.number), report))
                elif report.kind == "lost":
                    raise RuntimeError(f"a worker of ours was lost: {report.reason}")
        return outcomes

    def close(self) -> None:
        """End the workers."""
        self._executor.close()

    def _submit(self, trial: Trial) -> int:
        self._next += 1
        self._executor.submit(Job(self._next, trial.architecture, trial.task, trial.seed))
        return self._next


def _outcome(trial: Trial, report: Report) -> Outcome:
    if report.result is None:
        return Outcome(trial.index, trial.seed, math.nan, math.nan, 0)
    result = report.result
    return Outcome(trial.index, trial.seed, result.train_seconds, result.error, result.images_seen)
