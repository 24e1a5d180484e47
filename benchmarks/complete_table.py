"""Train every architecture of the space `tiny` at all rungs: a table that searches are tried on.

    python benchmarks/complete_table.py            # goes on where it was stopped, packs at the end
    python benchmarks/complete_table.py --first 12 # only so many, to see how long it takes

Trains all 1,080 networks with seed 0, and 50 of them with seeds 1 and 2: so the noise is known.
One row a training is appended to OUT/trainings.jsonl; stop it when you like, the same command goes
on. When nothing is missing, OUT/table.json.gz is written (benchmarks/efficiency/table.py says what
is in it). Networks whose proxies are equal train once. Errors are those of validation images carved
from the training data; the test split is never read. Seconds are processor seconds of one thread.

The task is spelled out in full in TASK: other defaults in nas/task do not change the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficiency.table import COSTS, Curves, Table
from trainings import Key, device_name, give_way, read_rows, run_jobs, versions

from nas.architecture import Architecture
from nas.cost import count_cost
from nas.datasets import Statistics, TrainValidation, carve, load_data, measure_statistics
from nas.evaluate import Evaluation, EvaluationFailed
from nas.space import SearchSpace
from nas.task import Task, proxy
from nas.training.allocator import keep_freed_memory

SPACE = "tiny"

TASK: dict[str, Any] = {
    "data": "fashion-mnist-mini",
    "target": {"image": [1, 28, 28], "classes": 10},
    # The networks themselves: at a smaller width most of them would have the same proxy.
    "proxy": {"resolution": None, "width": 1.0, "images": 1024, "epochs": 16, "stem": "own"},
    "recipe": {
        "name": "default",
        "batch_size": 64,
        "learning_rate": 0.2,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": {"kind": "triangle", "warmup": 0.1},
        "label_smoothing": 0.1,
        "norm_momentum": 0.3,
        "augment": "flip",
        "auxiliary": True,
        "auxiliary_weight": None,
        "dropout": None,
    },
    "precision": "bfloat16",
    "validation_images": 2000,
    "eta": 2,
}

NOISE_SEEDS, NOISE_ROWS = (1, 2), 50
"""Other seeds, and how many architectures train with them."""


@dataclass(frozen=True)
class Job:
    """One training; ``row`` is the architecture's place in the space, ``work`` some seconds."""

    row: int
    architecture: Architecture
    seed: int
    key: Key
    work: float


def the_task() -> Task:
    return Task.from_json(json.dumps(TASK))


def plan_jobs(space: SearchSpace, task: Task) -> list[Job]:
    """All trainings: seed 0 in a shuffled order, so that a part of them is a fair sample."""
    architectures = list(space.enumerate())
    order = np.random.default_rng(0).permutation(len(architectures)).tolist()
    noisy = sorted(order[:NOISE_ROWS])
    return [
        _job(row, architectures[row], task, seed)
        for seed, rows in [(0, order), *((seed, noisy) for seed in NOISE_SEEDS)]
        for row in rows
    ]


def _job(row: int, architecture: Architecture, task: Task, seed: int) -> Job:
    narrow = proxy(architecture, task)
    macs = count_cost(narrow, task.proxy_image, task.target.classes).macs
    images = task.proxy.epochs * (task.proxy.images or 8_000) + 0.4 * (
        len(task.rungs) * task.validation_images
    )
    # Microseconds an image on one core: only for the time that is left.
    work = images * (100 + 0.1e-3 * macs) * 1e-6
    return Job(row, architecture, seed, (task.fingerprint, narrow.fingerprint, seed), work)


@lru_cache(maxsize=1)
def _data_of(task: Task) -> tuple[TrainValidation, Statistics]:
    split = load_data(task.data, resolution=task.proxy.resolution, split="train", progress=False)
    data = carve(split, task.validation_images)
    return data, measure_statistics(data.train)


@lru_cache(maxsize=1)
def _warm_up(task: Task, architecture: Architecture) -> None:
    """Train to the first rung and forget it: torch and numba load parts when first used."""
    keep_freed_memory()
    Evaluation(architecture, task, 0, *_data_of(task)).advance()


def train(architecture: Architecture, task: Task, seed: int) -> dict[str, Any]:
    """Train to the last rung in this process: the curve, and why it failed where it did."""
    torch.set_num_threads(1)
    data, statistics = _data_of(task)
    _warm_up(task, architecture)
    start, rungs, failed = time.process_time(), [], None
    try:
        evaluation = Evaluation(architecture, task, seed, data, statistics)
        while not evaluation.done:
            result = evaluation.advance()
            rungs.append(
                {
                    "epoch": result.epoch,
                    "error": result.error,
                    "validation_loss": result.validation_loss,
                    "train_loss_sum": sum(evaluation.train_losses),
                    "seconds": time.process_time() - start,
                }
            )
    except EvaluationFailed as failure:
        failed = failure.reason
    return {"rungs": rungs, "failed": failed}


def _train_job(job: Job, *, task: Task) -> dict[str, Any]:
    return train(job.architecture, task, job.seed)


def row_of(job: Job, trained: Mapping[str, Any]) -> dict[str, Any]:
    """A training as it stands in the file."""
    return {
        "key": list(job.key),
        "row": job.row,
        "architecture": job.architecture.fingerprint,
        "device": device_name("cpu"),
        "versions": versions(),
        **trained,
    }


def told(job: Job, row: Mapping[str, Any]) -> str:
    """A training in the line that says it is done."""
    result = row["failed"]
    if result is None:
        last = row["rungs"][-1]
        result = f"error {last['error']:.3f} in {last['seconds']:.1f} CPU seconds"
    return f"row {job.row}, seed {job.seed}: {result}"


def pack(
    space: SearchSpace, task: Task, jobs: Sequence[Job], rows: Mapping[Key, Mapping[str, Any]]
) -> Table:
    """The table of all trainings.

    Raises:
        ValueError: some are missing.
    """
    lacking = sum(job.key not in rows for job in jobs)
    if lacking:
        raise ValueError(f"{lacking:,} of {len(jobs):,} trainings are missing")
    target = task.target
    costs = [count_cost(one, target.image, target.classes) for one in space.enumerate()]
    used = [rows[job.key] for job in jobs]
    trained = list({tuple(row["key"]): row for row in used}.values())
    final = [row["rungs"][-1]["seconds"] for row in trained if row["failed"] is None]
    return Table(
        space=space,
        rungs=task.rungs,
        num_classes=target.classes,
        curves={seed: _curves(jobs, rows, seed, task) for seed in (0, *NOISE_SEEDS)},
        about={
            "command": "python benchmarks/complete_table.py",
            "task": json.loads(task.to_json()),
            "devices": sorted({row["device"] for row in used}),
            "versions": [
                json.loads(text)
                for text in sorted({json.dumps(row["versions"], sort_keys=True) for row in used})
            ],
            "trainings": len(trained),
            "failed": len(trained) - len(final),
            "cpu_seconds": round(sum(final), 1),
            "longest_seconds": round(max(final), 2),
        },
        **{name: np.array([getattr(one, name) for one in costs], dtype=float) for name in COSTS},
    )


def _curves(
    jobs: Sequence[Job], rows: Mapping[Key, Mapping[str, Any]], seed: int, task: Task
) -> Curves:
    mine = sorted((job.row, job.key) for job in jobs if job.seed == seed)
    curves = [rows[key]["rungs"] for _, key in mine]
    return Curves.of([row for row, _ in mine], curves, len(task.rungs))


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    summary = __doc__.splitlines()[0] if __doc__ else None
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("--out", type=Path, default=Path("results/tiny_table"))
    add("--workers", type=int, default=2, help="processes of one thread each")
    add("--nice", type=int, default=0, help="how far to give way to other processes (0 to 19)")
    add("--first", type=int, metavar="N", help="do only the first N trainings")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Train what is missing, and pack the table where nothing is."""
    arguments = parse_arguments(words)
    give_way(arguments.nice)
    space, task = SearchSpace.load(SPACE), the_task()
    path = arguments.out / "trainings.jsonl"
    rows = read_rows(path)
    jobs = plan_jobs(space, task)
    run_jobs(
        jobs[: arguments.first],
        path,
        rows,
        workers=arguments.workers,
        train=partial(_train_job, task=task),
        row_of=row_of,
        told=told,
    )
    lacking = sum(job.key not in rows for job in jobs)
    if lacking:
        print(f"{lacking:,} of {len(jobs):,} trainings are left; the same command goes on")
        return
    table = pack(space, task, jobs, rows)
    table.write(arguments.out / "table.json.gz")
    size = (arguments.out / "table.json.gz").stat().st_size
    print(f"{arguments.out / 'table.json.gz'}: {size:,} bytes; {json.dumps(table.about)}")


if __name__ == "__main__":
    main()
