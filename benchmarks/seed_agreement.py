"""How far a run's proxy errors agree with those of another seed: the ceiling of any ranking.

    python benchmarks/seed_agreement.py results/NAME [--seed 1] [--workers 2]

Trains the run's complete trials again, on the run's own task, with another seed. Prints the
spread of the difference and Kendall's tau with a 95 % bootstrap interval, and the tau of MACs
and of parameters alone beside it.
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
import torch
from scipy.stats import kendalltau

from nas.records import Run, open_run
from nas.search.executor import Job
from nas.search.workers import create_executor
from nas.task import Task


def errors_of_seed(run: Run, seed: int, workers: int) -> dict[int, float]:
    """Each complete trial's error with that seed, by trial number."""
    task = Task.from_json(run.settings.task)
    numbers = run.trials.query("state == 'complete' and not reused")["number"].tolist()
    waiting = [Job(number, run.architecture(number), task, seed) for number in numbers]
    executor = create_executor(task, run.settings.device, workers)
    errors: dict[int, float] = {}
    running = 0
    try:
        while waiting or running:
            while waiting and running < executor.capacity:
                executor.submit(waiting.pop(0))
                running += 1
            for report in executor.poll(1.0):
                if report.kind in ("failed", "lost"):
                    raise SystemExit(f"trial {report.number}: {report.reason}")
                if report.kind == "done":
                    assert report.result is not None
                    errors[report.number] = report.result.error
                    running -= 1
                    print(f"\r{len(errors)}/{len(numbers)} trials", end="", flush=True)
    finally:
        executor.close()
    print()
    return errors


def tau_with_interval(first: np.ndarray, second: np.ndarray) -> str:
    """Kendall's tau-b and its 95 % percentile bootstrap interval (2,000 draws of trials)."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(first), (2_000, len(first)))
    taus = [kendalltau(first[draw], second[draw]).statistic for draw in draws]
    low, high = np.nanpercentile(taus, [2.5, 97.5])
    return f"{kendalltau(first, second).statistic:+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> None:
    """Print the agreement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    start = time.perf_counter()
    again = errors_of_seed(run, arguments.seed, arguments.workers)
    seconds = time.perf_counter() - start
    trials = run.trials.set_index("number").loc[sorted(again)]
    first = trials["error"].to_numpy()
    second = np.array([again[number] for number in sorted(again)])
    print(f"n = {len(first)} trials of {run.name}, seed {run.settings.seed} and {arguments.seed}")
    print(f"error           {first.min():.3f} to {first.max():.3f}, deviation {first.std():.4f}")
    print(f"between seeds   deviation {(second - first).std() / 2**0.5:.4f}")
    print(f"tau of seeds    {tau_with_interval(first, second)}")
    for cost in ("macs", "params"):
        print(f"tau of -{cost:<7} {tau_with_interval(-trials[cost].to_numpy(), second)}")
    print(
        f"{seconds:.0f} s, {arguments.workers} workers, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
