"""What a search loses by batches of proposals, on a complete table with many workers.

    python benchmarks/batch_quality.py --table results/tiny_table/table.json.gz
        [--workers 30 100] [--seeds 3] [--trials 300]

Replays (benchmarks/replay.py) the learning sampler with halving, with batches and with a fit for
each proposal, on equal seeds. What counts is the share of the table's full hypervolume after a
number of ended trials: the clock is left out, and with it what batches are for. Also how many
decisions of halving look wrong once all trials of the search are known: stopped though in the
best 1/eta of its rung, or passed though behind it. One row a search in OUT/batches.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from efficiency.measures import shares
from efficiency.table import Table
from replay import Search, Setup, load_table, replay

from nas.pareto import ranks
from nas.search.pareto_sampler import sampler

AT = (50, 100, 200, 300)
ETA = 3


def measure(table: Table, setup: Setup, batches: bool) -> dict[str, Any]:
    """One search: shares after so many trials, and halving's hindsight."""
    with contextlib.ExitStack() as stack:
        if not batches:
            stack.enter_context(mock.patch.object(sampler, "RUNNING_SHARE", 10**9))
            stack.enter_context(mock.patch.object(sampler, "MOST_SPREAD", 1))
        search = replay(table, setup)
    found = shares(table)
    reached = {}
    for number, (row, rungs) in enumerate(zip(search.rows, search.rungs, strict=True), 1):
        if rungs == len(table.rungs):
            found.add(row)
        if number in AT:
            reached[str(number)] = round(found.of("log"), 5)
    return {
        "sampler": setup.sampler,
        "workers": setup.workers,
        "batches": batches,
        "seed": setup.seed,
        "trials": len(search.rows),
        "shares": reached,
        "ask_ms": round(float(np.mean(search.ask_ms)), 2),
        **(hindsight(table, search) if setup.halving is not None else {}),
    }


def hindsight(table: Table, search: Search) -> dict[str, float]:
    """Shares of halving's decisions that all trials of the search would not have led to.

    A trial belongs to the best where fewer than 1/eta of its rung's are on better fronts. What
    halving lets pass on purpose (small fronts, doubt) counts as passed wrongly.
    """
    rows, rungs = np.array(search.rows), np.array(search.rungs)
    signal, stopped, passed, decisions = table.curves[0].validation_loss, 0, 0, 0
    for rung in range(len(table.rungs) - 1):
        seen = rungs > rung
        points = np.column_stack([signal[rows[seen], rung], table.macs[rows[seen]]])
        fronts = ranks(points)
        better = np.array([(fronts < front).sum() for front in fronts])
        is_best = better < math.ceil(len(points) / ETA)
        went_on = rungs[seen] > rung + 1
        stopped += int((is_best & ~went_on).sum())
        passed += int((~is_best & went_on).sum())
        decisions += len(points)
    return {
        "stopped_wrongly": round(stopped / max(decisions, 1), 4),
        "passed_wrongly": round(passed / max(decisions, 1), 4),
        "decisions": decisions,
    }


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--table", type=Path, help="results/tiny_table/table.json.gz; default: a made-up one")
    add("--sampler", default="pareto_space")
    add("--workers", nargs="+", type=int, default=[30, 100])
    add("--batches", nargs="+", choices=("on", "off"), default=["on", "off"])
    add("--seeds", type=int, default=3)
    add("--trials", type=int, default=300)
    add("--out", type=Path, default=Path("results/scaling"))
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Replay what has no row yet, and print a line a search."""
    given = parse_arguments(words)
    path = given.out / "batches.jsonl"
    given.out.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(r["sampler"], r["workers"], r["batches"], r["seed"], r["trials"]) for r in rows}
    table = load_table(given.table)
    for seed, workers, word in itertools.product(range(given.seeds), given.workers, given.batches):
        if (given.sampler, workers, word == "on", seed, given.trials) in done:
            continue
        setup = Setup(given.sampler, seed, halving="", workers=workers, trials=given.trials)
        row = measure(table, setup, word == "on")
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
