"""Many trainings in worker processes of one thread, a row of a file each; what is there is kept.

For benchmarks that train for hours: stop one when you like, the same command goes on. A job is any
object with a ``key`` that its result follows from, and its ``work``, about the seconds it takes.
Rows are lines of JSON with that key. Left out: what is trained, and what stands in a row.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import torch

from nas.quantities import format_seconds

Key: TypeAlias = tuple[str, str, int]
"""Fingerprints of task and proxy, and the seed: what a training's result follows from."""

Row: TypeAlias = dict[str, Any]


class Job(Protocol):
    """One training, as it travels to a worker."""

    @property
    def key(self) -> Key:
        """What its result follows from."""
        ...

    @property
    def work(self) -> float:
        """About the seconds it takes; only their ratios count."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


def read_rows(path: Path) -> dict[Key, Row]:
    """The trainings in the file, by key; a last line that was cut off is left out."""
    rows: dict[Key, Row] = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            print(f"{path}, line {number} is not complete and left out", file=sys.stderr)
            continue
        task, narrow, seed = row["key"]
        rows[task, narrow, seed] = row
    return rows


def run_jobs(
    jobs: Sequence[AnyJob],
    path: Path,
    rows: dict[Key, Row],
    *,
    workers: int,
    train: Callable[[AnyJob], Row],
    row_of: Callable[[AnyJob, Row], Row],
    told: Callable[[AnyJob, Row], str],
) -> None:
    """Train what has no row, in order, and append a row for each; ``rows`` gets them too.

    ``train`` runs in a worker, which imports its module; ``row_of`` makes a row of its result,
    and ``told`` says in a few words which training it was and what came of it.
    """
    missing = list({job.key: job for job in jobs if job.key not in rows}.values())
    if not missing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    progress = _Progress(missing)
    # Before a worker starts: torch's and numba's threads would be made when they are imported.
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with (
        path.open("a") as file,
        ProcessPoolExecutor(min(workers, len(missing)), mp_context=context) as pool,
    ):
        if file.tell() and not path.read_text().endswith("\n"):
            file.write("\n")
        running: dict[Future[Row], AnyJob] = {pool.submit(train, job): job for job in missing}
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    row = rows[job.key] = row_of(job, future.result())
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    progress.show(job, told(job, row))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Progress:
    """A line a training on standard error: how many are done, and the time that is left."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._start = time.monotonic()
        self._count, self._left = len(jobs), sum(job.work for job in jobs)
        self._number, self._done = 0, 0.0

    def show(self, job: Job, told: str) -> None:
        """A training is done."""
        self._number += 1
        self._done += job.work
        self._left -= job.work
        seconds = time.monotonic() - self._start
        left = format_seconds(max(0.0, self._left) * seconds / self._done)
        print(
            f"{self._number}/{self._count} in {format_seconds(seconds)}, about {left} left: {told}",
            file=sys.stderr,
            flush=True,
        )


def give_way(niceness: int) -> None:
    """Let other processes go first, 0 to 19; workers inherit it."""
    os.nice(max(0, niceness - os.nice(0)))


def device_name(device: str) -> str:
    """The processor or the GPU, for people."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} CPUs, one thread"


def versions() -> dict[str, str]:
    """The versions that a training's bits depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__}
