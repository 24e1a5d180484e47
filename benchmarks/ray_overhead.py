"""What a trial on Ray takes beyond its training: ours, and plain Tune with an actor a trial.

    python benchmarks/ray_overhead.py [--rounds 3] [--trials 24] [--plain 8] [--workers 2]

Both train the same proxies of the space `tiny` on the same images, by the same code, on the same
Ray, in turns: a block of ours (its jobs wait at each rung for a word and write a checkpoint there,
as with halving), then a block of plain Tune (a class trainable, FIFO, no reuse of actors). A
worker's overhead a trial is (workers x wall time - sum of the trials' own seconds) / trials. Both
are warm: ours after two trials a worker, plain Tune after a trial in a block that is not counted;
its blocks are timed from the first turn of Tune's loop to the last trial's end. Writing trials to
a study is no part of it. Writes results/ray_overhead/<name>.json and .txt.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from nas.datasets import describe_data, measure_statistics
from nas.search.checkpoints import Checkpoints
from nas.search.executor import Job
from nas.search.ray_executor import RayExecutor, Resources, connect, disconnect
from nas.search.ray_options import RayOptions
from nas.search.work import ProxyTraining
from nas.search.workers import load_training_data
from nas.space import SearchSpace
from nas.task import Task, create_task

SETTINGS: dict[str, Any] = {
    "proxy": {"resolution": 14, "width": 0.5, "images": 512, "epochs": 4},
    "validation_images": 200,
}


@dataclass
class Block:
    """``seconds`` of the wall for trials that trained for ``trained`` seconds each."""

    seconds: float
    trained: list[float]

    def overhead_ms(self, workers: int) -> float:
        """Milliseconds of a worker a trial beyond its training."""
        return 1000 * (workers * self.seconds - sum(self.trained)) / len(self.trained)


def make_jobs(task: Task, count: int) -> list[Job]:
    """Different networks, the same for both."""
    space = SearchSpace.load("tiny")
    rng = np.random.default_rng(0)
    return [Job(number, space.random(rng), task, number, waits=True) for number in range(count)]


def run_ours(executor: RayExecutor, jobs: list[Job], workers: int) -> Block:
    """Keep the workers busy; each rung's word comes at once."""
    waiting, running, trained = list(jobs), 0, []
    start = time.perf_counter()
    while waiting or running:
        while waiting and running < workers:
            executor.submit(waiting.pop(0))
            running += 1
        for report in executor.poll(1.0):
            if report.kind in ("failed", "lost"):
                raise SystemExit(f"trial {report.number}: {report.reason}")
            if report.kind == "rung":
                executor.go_on(report.number)
            elif report.kind == "done":
                assert report.result is not None
                trained.append(report.result.train_seconds)
                executor.discard(report.number)
                running -= 1
    return Block(time.perf_counter() - start, trained)


def run_plain(work: ProxyTraining, jobs: list[Job], workers: int) -> Block:
    """The same trainings by Tune as it comes: an actor is started for each."""
    from ray import tune

    from nas.search.ray_executor import _placed

    class Plain(tune.Trainable):
        def setup(self, config: dict[str, Any], placed: Any) -> None:
            self.running = placed.restored().open("cpu", own_process=True)(config["job"][0])

        def step(self) -> dict[str, Any]:
            result = None
            while result is None:
                result = self.running.turn()
            return {"seconds": result.train_seconds, "done": self.running.done}

    class Clock(tune.Callback):
        first = last = 0.0

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self.first = self.first or time.perf_counter()

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **_: Any
        ) -> None:
            self.last = time.perf_counter()

    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        done = tune.run(
            tune.with_parameters(Plain, placed=_placed(work)),
            config={"job": tune.grid_search([[job] for job in jobs])},
            resources_per_trial={"cpu": 1},
            max_concurrent_trials=workers,
            storage_path=directory,
            trial_dirname_creator=lambda trial: trial.trial_id,
            callbacks=[clock],
            reuse_actors=False,
            verbose=0,
        )
        trained = [trial.last_result["seconds"] for trial in done.trials]
    return Block(clock.last - clock.first, trained)


def shown(name: str, blocks: list[Block], workers: int) -> str:
    each = [block.overhead_ms(workers) for block in blocks]
    count = sum(len(block.trained) for block in blocks)
    trained = statistics.fmean(seconds for block in blocks for seconds in block.trained)
    return (
        f"{name:12} {statistics.median(each):8.0f} ms a trial (blocks {min(each):.0f} to "
        f"{max(each):.0f}), n = {count} trials of {trained:.2f} s in {len(each)} blocks"
    )


def main(arguments: argparse.Namespace) -> None:
    task = create_task(describe_data("fashion-mnist-mini"), {**SETTINGS, "precision": "float32"})
    data = load_training_data(task, None)
    work = ProxyTraining(data, measure_statistics(data.train), precision=task.precision)
    workers, resources = arguments.workers, Resources(1, 0)
    # Our idle actors keep their places while plain Tune's turn is.
    connect(RayOptions(), resources, most=2 * workers)
    jobs = make_jobs(task, arguments.trials)
    ours: list[Block] = []
    plain: list[Block] = []
    with tempfile.TemporaryDirectory() as directory:
        kept = Checkpoints(directory)
        executor = RayExecutor(work, "cpu", RayOptions(), most=workers, checkpoints=kept)
        try:
            run_ours(executor, jobs[: 2 * workers], workers)
            run_plain(work, jobs[:1], workers)
            for turn in range(arguments.rounds):
                ours.append(run_ours(executor, jobs, workers))
                plain.append(run_plain(work, jobs[: arguments.plain], workers))
                print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
        finally:
            executor.close()
            disconnect()
    lines = [shown("ours", ours, workers), shown("plain Tune", plain, workers)]
    facts = {
        "command": "python benchmarks/ray_overhead.py " + " ".join(sys.argv[1:]),
        "workers": workers,
        "cores": psutil.cpu_count(),
        "processor": processor(),
        "versions": {name: version(name) for name in ("ray", "torch")}
        | {"python": platform.python_version()},
    }
    data_ = {
        **facts,
        **{
            name: [
                {
                    "seconds": block.seconds,
                    "train_seconds": block.trained,
                    "overhead_ms": block.overhead_ms(workers),
                }
                for block in blocks
            ]
            for name, blocks in (("ours", ours), ("plain", plain))
        },
    }
    text = "\n".join(
        [
            "Overhead of a trial on Ray beyond its training, after warm-up, storage apart:",
            *lines,
            f"{facts['processor']}, {facts['cores']} cores, {workers} workers; "
            + ", ".join(f"{name} {value}" for name, value in facts["versions"].items()),
            facts["command"],
        ]
    )
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(data_, indent=1) + "\n")
    out.with_suffix(".txt").write_text(text + "\n")
    print(text)


def processor() -> str:
    """The processor's name where the system tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24, help="of ours a block")
    parser.add_argument("--plain", type=int, default=8, help="of plain Tune's a block")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", default="results/ray_overhead/cpu", help="without its ending")
    main(parser.parse_args())
