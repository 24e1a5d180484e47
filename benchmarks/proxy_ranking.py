"""Which cheap training ranks architectures best per second: every setting against a longer one.

    python benchmarks/proxy_ranking.py [--data fashion-mnist-mini] [--architectures 33]
    python benchmarks/proxy_ranking.py --report [--json]

Draws architectures at random under a budget, equally many of each number of stages, and trains
each by every setting of benchmarks/proxy_settings.py, one row a training in OUT/trials.jsonl. Stop
it when you like: the same command goes on, and ``--report`` shows what there is. Prints, and
writes to OUT/table.md, Kendall's tau-b against the longer training with 95 % bootstrap intervals
over architectures, beside the tau of costs alone and of a second seed. All errors are those of
the validation images that a task carves from the training data; the test split is never read.
Seconds are processor seconds of the training process (on a GPU the clock's), so that other load on
the machine hardly counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from proxy_settings import IMAGES, REFERENCE, ROUNDS, SETTINGS, Setting, reference
from ranking_tables import Study, write_tables
from trainings import Key, device_name, give_way, read_rows, run_jobs, versions

from nas.architecture import Architecture
from nas.cost import count_cost
from nas.datasets import (
    DataInfo,
    Statistics,
    TrainValidation,
    carve,
    describe_data,
    from_tensors,
    load_data,
    measure_statistics,
)
from nas.evaluate import Evaluation, EvaluationFailed
from nas.presets import cifar_googlenet
from nas.quantities import parse_size
from nas.space import SearchSpace
from nas.task import Precision, Task, create_task, narrowing, proxy
from nas.training.precision import resolve_precision


@dataclass(frozen=True)
class Job:
    """One training, as it travels to a worker."""

    setting: Setting
    task: Task
    number: int
    architecture: Architecture
    seed: int
    key: Key
    work: float


@contextmanager
def last_map(min_side: int) -> Iterator[None]:
    """Let proxies be made under another rule for the least pixels of their last map."""
    before = narrowing.MIN_SIDE
    narrowing.MIN_SIDE = min_side
    try:
        yield
    finally:
        narrowing.MIN_SIDE = before


def draw_architectures(
    space: SearchSpace, data: DataInfo, max_macs: int, count: int
) -> list[Architecture]:
    """Random architectures within the budget, taking turns through the numbers of stages.

    The space draws the number of stages evenly; the budget would not keep it even.
    """
    random = np.random.default_rng(0)
    stages = sorted({len(space.random(random).stages) for _ in range(200)})
    drawn: dict[str, Architecture] = {}
    for _ in range(1_000 * count):
        if len(drawn) == count:
            return list(drawn.values())
        architecture = space.random(random)
        if len(architecture.stages) == stages[len(drawn) % len(stages)] and _fits(
            architecture, data, max_macs
        ):
            drawn.setdefault(architecture.fingerprint, architecture)
    raise SystemExit(f"found {len(drawn)} of {count} architectures under {max_macs:,} MACs")


def _fits(architecture: Architecture, data: DataInfo, max_macs: int) -> bool:
    try:
        cost = count_cost(architecture, data.image, len(data.class_names))
    except ValueError:
        return False
    return cost.macs <= max_macs


def create_job(
    setting: Setting, task: Task, number: int, architecture: Architecture, seed: int
) -> Job | None:
    """The training, or None where the setting has no proxy for the architecture."""
    with last_map(setting.min_side):
        try:
            narrow = proxy(architecture, task)
        except ValueError:
            return None
    key = (task.fingerprint, narrow.fingerprint, seed)
    macs = count_cost(narrow, task.proxy_image, task.target.classes).macs
    images = task.proxy.epochs * (task.proxy.images or 10_000)
    # Microseconds an image, as they were seen on one core: only for the time that is left.
    work = images * (200 + 0.06e-3 * macs) * 1e-6
    return Job(setting, task, number, architecture, seed, key, work)


@lru_cache(maxsize=4)
def _data_of(
    name: str, resolution: int | None, num_validation: int, device: str
) -> tuple[TrainValidation, Statistics]:
    split = load_data(name, resolution=resolution, split="train", progress=False)
    data = carve(split, num_validation)
    return data.to(device), measure_statistics(data.train)


@lru_cache(maxsize=1)
def _warm_up(device: str, precision: Precision) -> None:
    """Train a little first: torch loads parts of itself for a second when they are first used."""
    split = from_tensors(torch.zeros(80, 1, 28, 28, dtype=torch.uint8), torch.arange(80) % 2)
    data = carve(split, 16)
    settings = {"proxy": {"width": 0.125, "epochs": 1}, "validation_images": 16}
    task = create_task(split.describe(), settings, precision=precision)
    statistics = measure_statistics(data.train)
    Evaluation(cifar_googlenet(), task, 0, data.to(device), statistics, device).advance()


def train(job: Job, *, device: str) -> dict[str, Any]:
    """Run the training in this process; what is added to the file, without what the job says."""
    torch.set_num_threads(1)
    task = job.task
    place = (task.data, task.proxy.resolution, task.validation_images, device)
    data, statistics = _data_of(*place)
    _warm_up(device, task.precision)
    start, rungs = time.process_time(), []
    failed = None
    try:
        with last_map(job.setting.min_side):
            evaluation = Evaluation(job.architecture, task, job.seed, data, statistics, device)
        while not evaluation.done:
            result = evaluation.advance()
            seconds = time.process_time() - start
            rungs.append(
                {
                    "epoch": result.epoch,
                    "error": result.error,
                    "validation_loss": result.validation_loss,
                    "seconds": seconds if device == "cpu" else result.train_seconds,
                    "clock_seconds": result.train_seconds,
                    "train_losses": list(evaluation.train_losses),
                }
            )
    except EvaluationFailed as failure:
        failed = failure.reason
    return {"rungs": rungs, "failed": failed}


def row_of(job: Job, trained: Mapping[str, Any], *, device: str) -> dict[str, Any]:
    """A training as it stands in the file."""
    return {
        "key": list(job.key),
        "setting": job.setting.name,
        "number": job.number,
        "seed": job.seed,
        "architecture": job.architecture.fingerprint,
        "stages": len(job.architecture.stages),
        "precision": job.task.precision,
        "device": device_name(device),
        "versions": versions(),
        **trained,
    }


def told(job: Job, row: Mapping[str, Any]) -> str:
    """A training in the line that says it is done."""
    result = f"error {row['rungs'][-1]['error']:.3f}" if row["rungs"] else row["failed"]
    return f"{job.setting.name}, seed {job.seed}, architecture {job.number}: {result}"


def plan_jobs(arguments: argparse.Namespace, data: DataInfo, precision: Precision) -> list[Job]:
    """Every training of the study, round by round."""
    space = SearchSpace.load(arguments.space)
    max_macs = parse_size(arguments.max_macs)
    architectures = draw_architectures(space, data, max_macs, arguments.architectures)
    images = arguments.reference_images
    long = reference(
        arguments.reference_width,
        arguments.reference_epochs,
        None if images is None else images / arguments.images,
    )
    settings = {setting.name: setting for setting in (*SETTINGS, long)}
    tasks = {name: s.task(data, precision, arguments.images) for name, s in settings.items()}
    chosen = arguments.only or list(settings)
    jobs = []
    for trainings in ROUNDS:
        for number, architecture in enumerate(architectures):
            for name, seed in trainings:
                if name in chosen or name == REFERENCE:
                    job = create_job(settings[name], tasks[name], number, architecture, seed)
                    jobs += [job] if job else []
    return jobs


def study_of(
    jobs: Sequence[Job], rows: Mapping[Key, Mapping[str, Any]], data: DataInfo, title: str
) -> Study:
    """The trainings there are, for the tables."""
    architectures = {job.number: job.architecture for job in jobs}
    costs = {
        number: count_cost(architecture, data.image, len(data.class_names))
        for number, architecture in architectures.items()
    }
    trained = {
        (job.setting.name, job.seed, job.number): rows[job.key]
        for job in jobs
        if job.key in rows and rows[job.key]["failed"] is None
    }
    numbers = sorted(architectures)
    return Study(
        title=title,
        order=list(dict.fromkeys(job.setting.name for job in jobs)),
        trained=trained,
        macs=[costs[number].macs for number in numbers],
        params=[costs[number].params for number in numbers],
        stages=[len(architectures[number].stages) for number in numbers],
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    summary = __doc__.splitlines()[0] if __doc__ else None
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("--data", default="fashion-mnist-mini", help="any data set that nas search takes")
    add("--space", default="googlenet_small")
    add("--max-macs", default="150M", help="budget of the architectures at the target")
    add("--architectures", type=int, default=33, help="how many are drawn")
    add("--only", nargs="+", metavar="SETTING", choices=[s.name for s in SETTINGS])
    add("--images", type=int, default=IMAGES, help="images an epoch of the default setting")
    add("--reference-width", type=float, default=0.5, help="of the longer training")
    add("--reference-epochs", type=int, default=6)
    add("--reference-images", type=int, help="an epoch (default: all)")
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", default="cpu")
    add("--workers", type=int, default=2, help="processes of one thread each")
    add("--nice", type=int, default=19, help="how far to give way to other processes (0 to 19)")
    add("--out", type=Path, default=Path("results/proxy_ranking"))
    add("--report", action="store_true", help="train nothing, show what there is")
    add("--json", action="store_true", help="print the tables as JSON")
    return parser.parse_args(words)


def _precision(arguments: argparse.Namespace, rows: Mapping[Key, Mapping[str, Any]]) -> Precision:
    """As recorded in the file, unless it is named: the probe need not answer alike each time."""
    recorded = {row["precision"] for row in rows.values()}
    if arguments.precision == "auto" and len(recorded) == 1:
        return recorded.pop()  # type: ignore[no-any-return]
    return resolve_precision(arguments.precision, arguments.device)


def main(words: Sequence[str] | None = None) -> None:
    """Train what is missing and print the tables."""
    arguments = parse_arguments(words)
    path = arguments.out / "trials.jsonl"
    rows = read_rows(path)
    data = describe_data(arguments.data)
    jobs = plan_jobs(arguments, data, _precision(arguments, rows))
    if not arguments.report:
        give_way(arguments.nice)
        run_jobs(
            jobs,
            path,
            rows,
            workers=arguments.workers,
            train=partial(train, device=arguments.device),
            row_of=partial(row_of, device=arguments.device),
            told=told,
        )
    title = f"{arguments.data.rpartition('/')[2]}, {arguments.space}, MACs <= {arguments.max_macs}"
    write_tables(study_of(jobs, rows, data, title), arguments.out / "table.md", arguments.json)


if __name__ == "__main__":
    main()
