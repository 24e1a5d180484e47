"""What a trial costs beside its training: proposing, judging, storing, the driver's loop.

A real search on SQLite whose trials take no time. Left out: a worker's pipe.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass

from nas.architecture import Architecture
from nas.evaluate import RungResult
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search
from nas.task import Task

BAR_MS = 250


@dataclass(frozen=True)
class Overhead:
    """Milliseconds a trial of one search; ``rungs`` are those that each trial reports."""

    sampler: str
    rungs: int
    trials: int
    cpu_ms: float
    wall_ms: float


def error_at_once(architecture: Architecture, task: Task, seed: int) -> float:
    """An error that depends on the network, so that a sampler has something to learn."""
    return int(architecture.fingerprint[:4], 16) / 2**16


def measure_overhead(space: str, task: Task, sampler: str, trials: int, max_macs: int) -> Overhead:
    """Search with an own function that returns at once: one rung a trial."""
    with tempfile.TemporaryDirectory() as directory:
        wall, cpu = time.perf_counter(), time.process_time()
        run_search(
            space,
            task,
            name="overhead",
            results=directory,
            sampler=sampler,
            trials=trials,
            budgets={"macs": max_macs},
            evaluate=error_at_once,
        )
        return _overhead(sampler, 1, trials, wall, cpu)


def measure_overhead_of_rungs(
    space: str, task: Task, sampler: str, trials: int, max_macs: int
) -> Overhead:
    """The same with a scripted executor whose trials report all of the task's rungs."""

    def script(job: Job) -> list[Report]:
        error = error_at_once(job.architecture, job.task, job.seed)
        results = [
            RungResult(
                epoch=epoch,
                train_loss=1.0,
                validation_loss=1.0,
                error=error,
                train_seconds=0.1 * epoch,
                images_seen=epoch,
            )
            for epoch in job.task.rungs
        ]
        reports = [Report(job.number, "rung", result) for result in results]
        return [
            Report(job.number, "started"),
            *reports,
            Report(job.number, "done", results[-1]),
        ]

    with tempfile.TemporaryDirectory() as directory:
        wall, cpu = time.perf_counter(), time.process_time()
        run_search(
            space,
            task,
            name="overhead",
            results=directory,
            sampler=sampler,
            trials=trials,
            budgets={"macs": max_macs},
            executor=ScriptedExecutor(script),
        )
        return _overhead(sampler, len(task.rungs), trials, wall, cpu)


def _overhead(sampler: str, rungs: int, trials: int, wall: float, cpu: float) -> Overhead:
    cpu_ms = 1000 * (time.process_time() - cpu) / trials
    return Overhead(sampler, rungs, trials, cpu_ms, 1000 * (time.perf_counter() - wall) / trials)


def markdown(measured: list[Overhead]) -> str:
    """The figures as a table."""
    lines = ["sampler | rungs | trials | CPU ms a trial | wall ms a trial"]
    lines.append(" | ".join(["---"] * 5))
    lines += [
        f"{item.sampler} | {item.rungs} | {item.trials} | {item.cpu_ms:.0f} | {item.wall_ms:.0f}"
        for item in measured
    ]
    caption = f"CPU overhead of a trial beyond training, storage included (bar {BAR_MS} ms)"
    return "\n".join([caption, "", *(f"| {line} |" for line in lines)])
