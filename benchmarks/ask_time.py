"""How long the learning sampler takes for a proposal, in the product's own space and study.

    python benchmarks/ask_time.py [--trials 100 1000 10000] [--asks 40] [--space googlenet_small]
        [--running 0 100 1000]

A search's mirror is filled with so many finished trials: networks drawn at random from the space,
their exact costs, and a made-up error that falls with the logarithm of the MACs. Then proposals
are asked for one by one, each finished before the next; with ``--running`` beside so many others
that run. Processor milliseconds of the one thread; more trials share a fit, so the mean is what a
search pays and the largest what a worker may wait.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna

from nas.datasets import describe_data
from nas.search.known_space import KnownSpace
from nas.search.proposals import Judge, Refusal
from nas.search.samplers import SAMPLERS, Mirror
from nas.space import SearchSpace
from nas.task import create_task


def measure(
    sampler: str, space: SearchSpace, judge: Judge, trials: int, asks: int, running: int = 0
) -> dict[str, Any]:
    """Fill a mirror and ask: the processor milliseconds of each ask."""
    known = KnownSpace(space, judge)
    mirror = Mirror(space, ("error", "macs"), sampler, 0, chance=0.9, constrained=True, known=known)
    random = np.random.default_rng(0)
    number = 0
    while number < trials + running:
        architecture = space.random(random)
        costs = judge.count(architecture)
        if not isinstance(costs, Refusal):
            handle = mirror.add(space.encode(architecture))
            if number < trials:
                mirror.learn(handle, _error(costs["macs"], random), costs)
            number += 1
    spent = []
    for place in range(asks):
        start = time.process_time()
        handle, values = mirror.ask(number + place, 0, number + place)
        spent.append(1000 * (time.process_time() - start))
        found = judge.count(space.decode(values))
        if isinstance(found, Refusal):
            mirror.refuse(handle, None, 1.0)
        else:
            mirror.learn(handle, _error(found["macs"], random), found)
    ordered = np.array(spent)
    return {
        "sampler": sampler,
        "trials": trials,
        "running": running,
        "asks": asks,
        "first_ms": round(spent[0], 1),
        "median_ms": round(float(np.median(ordered[1:])), 1),
        "mean_ms": round(float(ordered[1:].mean()), 1),
        "largest_ms": round(float(ordered[1:].max()), 1),
    }


def _error(macs: float, random: np.random.Generator) -> float:
    return float(np.clip(1.3 - 0.13 * np.log10(macs) + 0.03 * random.standard_normal(), 0, 0.9))


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--samplers", nargs="+", default=["pareto"], choices=SAMPLERS)
    add("--trials", nargs="+", type=int, default=[100, 1_000, 10_000])
    add("--asks", type=int, default=40)
    add("--running", nargs="+", type=int, default=[0], help="trials that run beside")
    add("--space", default="googlenet_small")
    add("--out", type=Path, help="append the rows to this file of JSON lines")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print one line a number of trials."""
    given = parse_arguments(words)
    space = SearchSpace.load(given.space)
    judge = Judge(create_task(describe_data("fashion-mnist-mini")), {"macs": 150_000_000})
    about = {
        "space": space.name,
        "choices": len(space.parameters),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
        "python": platform.python_version(),
        "optuna": optuna.__version__,
        "numpy": np.__version__,
    }
    print(json.dumps(about))
    for sampler in given.samplers:
        for trials, running in itertools.product(given.trials, given.running):
            row = measure(sampler, space, judge, trials, given.asks, running)
            print(json.dumps(row), flush=True)
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps({**about, **row}) + "\n")


if __name__ == "__main__":
    main()
