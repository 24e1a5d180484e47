"""Trials an hour of this framework beside plain PyTorch and strong eager PyTorch: one table.

    python benchmarks/throughput.py [--widths 0.125 0.25] [--seeds 3] [--architectures 16]

The same random architectures and seeds for every contestant, end to end per trial (build,
warm-up, training, validation at the task's rungs), in blocks: each contestant in turn trains
the block's trials, so that what slows the machine for a while slows all. Every contestant lives
in processes of its own, which wait while others run; their start is not in the times. Rows are
written after each turn: stop it with Ctrl-C, and the same command goes on. docs/throughput.md
says who the contestants are and how to read the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from contestants import launches, overhead, table
from contestants.hardware import describe_hardware
from contestants.ours import Ours
from contestants.processes import Kind, Processes
from contestants.rows import Row, RowFile
from contestants.trials import Block, Outcome, Trial, cut_blocks, draw_architectures, proxy_macs
from contestants.usage import cpu_seconds, peak_bytes, reset_peaks

from nas.cores import usable_cores
from nas.datasets import Statistics, TrainValidation, describe_data, measure_statistics
from nas.quantities import format_seconds, parse_size
from nas.search.workers import load_training_data, resolve_device
from nas.space import SearchSpace
from nas.task import Task, create_task
from nas.training.precision import resolve_precision
from nas.training.seeds import derive_seed

CPU_CONTESTANTS = ("a", "a1", "b", "b2", "c1", "c2")
GPU_CONTESTANTS = ("a", "b", "k1", "k2", "k4", "k8", "k16", "auto", "d2", "d4", "d8")
AUTOMATIC_WARM_UP = 16
"""Long trials that are run before the automatic K's first turn counts, to find it."""

SAMPLERS = ("nsga2", "random")


class Contestant(Protocol):
    """Trains trials in processes of its own."""

    startup_seconds: float

    @property
    def pids(self) -> list[int]:
        """The processes' ids, without those of their children."""
        ...

    @property
    def device_bytes(self) -> int:
        """The most that was reserved on a GPU so far; 0 without one."""
        ...

    def run(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Train all trials."""
        ...

    def close(self) -> None:
        """End the processes."""
        ...


class Field:
    """The contestants, each started at its first turn.

    On a CPU they stay: the waiting ones take memory and no time. On a GPU each is ended after its
    turn, because the memory that it holds would be missing where K follows the free memory.
    """

    def __init__(self, starts: dict[str, Callable[[], Contestant]], *, keeps: bool) -> None:
        self._starts, self._keeps = starts, keeps
        self._running: dict[str, Contestant] = {}

    def get(self, name: str) -> Contestant:
        """The contestant, ready and warm."""
        if name not in self._running:
            if not self._keeps:
                self.close()
            self._running[name] = self._starts[name]()
        return self._running[name]

    def close(self) -> None:
        """End all processes."""
        for contestant in self._running.values():
            contestant.close()
        self._running = {}


def create_tasks(arguments: argparse.Namespace, device: str) -> list[Task]:
    """The product's default task for the data, at each width."""
    precision = resolve_precision(arguments.precision, device)
    given = {"epochs": arguments.epochs, "images": arguments.images}
    changes = {key: value for key, value in given.items() if value is not None}
    data = describe_data(arguments.data)
    return [
        create_task(data, {"proxy": {"width": width, **changes}}, precision=precision)
        for width in arguments.widths
    ]


def create_trials(arguments: argparse.Namespace, tasks: list[Task]) -> tuple[list[Block], Trial]:
    """All blocks, widths in turn, and a short trial of another network to warm up with."""
    space = SearchSpace.load(arguments.space)
    drawn = draw_architectures(
        space, tasks, arguments.architectures + 1, parse_size(arguments.max_macs)
    )
    by_width = []
    for task in tasks:
        trials = [
            Trial(index, architecture, task, seed, derive_seed(seed, "weights"))
            for seed in range(arguments.seeds)
            for index, architecture in enumerate(drawn[:-1])
        ]
        by_width.append(cut_blocks(trials, arguments.block, arguments.repeats))
    blocks = [block for turn in zip(*by_width, strict=True) for block in turn]
    return blocks, _warm_up(drawn[-1], tasks[0])


def _warm_up(architecture: Any, task: Task) -> Trial:
    few = {"images": 2 * task.recipe.batch_size, "epochs": 1}
    short = task.model_copy(update={"proxy": task.proxy.model_copy(update=few)})
    return Trial(-1, architecture, short, 0, derive_seed(0, "weights"))


def _long(trial: Trial) -> Trial:
    """A trial of 2,048 steps: a short one is over before anything can be measured beside it."""
    task = trial.task
    many = {"images": 32 * task.recipe.batch_size, "epochs": 64}
    long = task.model_copy(update={"proxy": task.proxy.model_copy(update=many)})
    return replace(trial, task=long)


def create_field(
    data: TrainValidation, statistics: Statistics, device: str, warm_up: Trial
) -> Field:
    """How each contestant starts; the data is loaded once and shared."""
    cores = usable_cores()

    def baseline(kind: Kind, number: int, threads: int) -> Callable[[], Contestant]:
        def start() -> Contestant:
            processes = Processes(kind, number, threads, data, statistics, device)
            processes.run([warm_up] * number)
            return processes

        return start

    def ours(devices: list[str], concurrency: int | None = None) -> Callable[[], Contestant]:
        first = [warm_up] * (concurrency or len(devices))
        if device != "cpu" and concurrency is None:
            # The automatic K looks for its value in the first trials; a search does so once.
            first = [_long(warm_up)] * AUTOMATIC_WARM_UP
        return lambda: Ours(devices, data, statistics, first, concurrency)

    starts: dict[str, Callable[[], Contestant]] = {
        "a": baseline("plain", 1, cores),
        "b": baseline("strong", 1, cores),
    }
    if device == "cpu":
        starts |= {
            "a1": baseline("plain", 1, 1),
            "b2": baseline("strong", 2, 1),
            "c1": ours(["cpu"]),
            "c2": ours(["cpu", "cpu"]),
        }
    else:
        starts |= {f"k{number}": ours(["cuda:0"], number) for number in (1, 2, 4, 8, 16)}
        starts["auto"] = ours(["cuda:0"])
        starts |= {f"d{number}": baseline("strong", number, 1) for number in (2, 4, 8)}
    return Field(starts, keeps=device == "cpu")


def run_turn(name: str, contestant: Contestant, block: Block) -> list[Row]:
    """Let a contestant train a block; its rows."""
    pids = contestant.pids
    reset_peaks(pids)
    cpu, start = cpu_seconds(pids), time.perf_counter()
    outcomes = contestant.run(block.trials)
    seconds = time.perf_counter() - start
    turn: dict[str, Any] = {
        "block": block.key,
        "contestant": name,
        "width": block.width,
        "turn_trials": len(outcomes),
        "turn_seconds": seconds,
        "turn_cpu_seconds": cpu_seconds(pids) - cpu,
        "peak_bytes": peak_bytes(pids),
        "device_bytes": contestant.device_bytes,
        "startup_seconds": contestant.startup_seconds,
    }
    return [
        Row(
            index=outcome.index,
            seed=outcome.seed,
            seconds=outcome.seconds,
            error=outcome.error,
            images=outcome.images,
            **turn,
        )
        for outcome in outcomes
    ]


def run_blocks(file: RowFile, field: Field, blocks: list[Block], names: Sequence[str]) -> None:
    """Measure what is not measured yet; the contestants' order moves on from block to block."""
    for number, block in enumerate(blocks):
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            if file.has(block.key, name):
                continue
            rows = run_turn(name, field.get(name), block)
            file.append(rows)
            left = seconds_left(file, blocks, names)
            print(
                f"block {block.key} ({number + 1}/{len(blocks)})  {name:<4} "
                f"{len(rows)} trials in {rows[0].turn_seconds:.1f} s   "
                f"about {format_seconds(left)} left",
                flush=True,
            )


def seconds_left(file: RowFile, blocks: list[Block], names: Sequence[str]) -> float:
    """What the missing turns will take, from each contestant's mean so far."""
    turns = file.rows.drop_duplicates(["block", "contestant"])
    means = turns.groupby(["width", "contestant"])["turn_seconds"].mean().to_dict()
    overall = float(turns["turn_seconds"].mean())
    done = set(zip(turns["block"], turns["contestant"], strict=True))
    return sum(
        float(means.get((block.width, name), overall))
        for block in blocks
        for name in names
        if (block.key, name) not in done
    )


def measure_overheads(arguments: argparse.Namespace, task: Task) -> list[overhead.Overhead]:
    """CPU time of a trial beside training, for each sampler, with one rung and with all."""
    measured = []
    for sampler in SAMPLERS:
        for measure in (overhead.measure_overhead, overhead.measure_overhead_of_rungs):
            print(f"overhead: {arguments.overhead_trials} trials, {sampler}", flush=True)
            macs = parse_size(arguments.max_macs)
            measured.append(
                measure(arguments.space, task, sampler, arguments.overhead_trials, macs)
            )
    return measured


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add("--data", default="fashion-mnist-mini")
    add("--space", default="googlenet_small")
    add("--max-macs", default="150M", help="at the target")
    add("--architectures", type=int, default=16)
    add("--seeds", type=int, default=3)
    add("--widths", type=float, nargs="+", default=[0.125, 0.25])
    add("--epochs", type=int, help="default: the proxy's")
    add("--images", type=int, help="an epoch; default: the proxy's")
    add("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    add("--contestants", nargs="+", help="default: all of the device")
    add("--block", type=int, help="trials a turn; default 8, on a GPU 48")
    add("--repeats", type=int, help="passes over all trials; default 1, on a GPU 3")
    add("--overhead-trials", type=int, default=60, help="0: not measured")
    add("--out", type=Path, help="default results/throughput/cpu or cuda")
    add("--json", type=Path, help="a copy of the results")
    return parser.parse_args(given)


def settings_of(
    arguments: argparse.Namespace, tasks: list[Task], blocks: list[Block], device: str
) -> dict[str, Any]:
    """What rows must share to stand in one table."""
    fingerprints = {trial.index: trial.architecture.fingerprint for trial in blocks[0].trials}
    for block in blocks:
        fingerprints |= {trial.index: trial.architecture.fingerprint for trial in block.trials}
    return {
        "device": device,
        "hardware": describe_hardware(device),
        "tasks": [json.loads(task.to_json()) for task in tasks],
        "architectures": [fingerprints[index] for index in sorted(fingerprints)],
        "space": arguments.space,
        "max_macs": parse_size(arguments.max_macs),
        "seeds": arguments.seeds,
        "block": arguments.block,
        "repeats": arguments.repeats,
    }


def chosen_contestants(arguments: argparse.Namespace, device: str) -> tuple[str, ...]:
    """The contestants to run, in the table's order."""
    known = CPU_CONTESTANTS if device == "cpu" else GPU_CONTESTANTS
    wanted = arguments.contestants or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"contestants on {device} are {', '.join(known)}, not {unknown[0]!r}")
    return tuple(name for name in known if name in wanted)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, write and print everything; what was written."""
    device = resolve_device(arguments.device)
    is_gpu = device == "cuda"
    arguments.block = arguments.block or (48 if is_gpu else 8)
    arguments.repeats = arguments.repeats or (3 if is_gpu else 1)
    out = arguments.out or Path("results/throughput") / device
    names = chosen_contestants(arguments, device)
    tasks = create_tasks(arguments, device)
    blocks, warm_up = create_trials(arguments, tasks)
    settings = settings_of(arguments, tasks, blocks, device)
    file = RowFile(out, settings)
    data = load_training_data(tasks[0], None).share_memory()
    statistics = measure_statistics(data.train)
    field = create_field(data, statistics, device, warm_up)
    try:
        run_blocks(file, field, blocks, names)
    finally:
        field.close()
    table.check_equal_work(file.rows)
    summary = table.summarise(file.rows, names)
    overheads = measure_overheads(arguments, tasks[0]) if arguments.overhead_trials else []
    bound = []
    if is_gpu:
        middle = sorted(blocks[0].trials, key=proxy_macs)[len(blocks[0].trials) // 2]
        bound = launches.measure_launches(middle.architecture, tasks[0], data, statistics, device)
    hardware = ", ".join(f"{key} {value}" for key, value in settings["hardware"].items())
    parts = [hardware, f"precision {tasks[0].precision}", table.markdown(summary)]
    parts += [overhead.markdown(overheads)] if overheads else []
    parts += [launches.markdown(bound)] if bound else []
    text = "\n\n".join(parts)
    print(f"\n{text}\n\nrows in {file.path}")
    (out / "table.md").write_text(text + "\n")
    result = {
        "settings": settings,
        "table": json.loads(summary.to_json(orient="records")),
        "overhead": [vars(item) for item in overheads],
        "launches": [vars(item) for item in bound],
    }
    for path in (out / "table.json", *([arguments.json] if arguments.json else [])):
        path.write_text(json.dumps(result, indent=2) + "\n")
    return result


def main() -> None:
    try:
        run(parse_arguments())
    except ValueError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on")


if __name__ == "__main__":
    main()
