"""How many workers one driver keeps busy: the product's search over simulated workers.

    python benchmarks/scaling.py                         # W = 1 to 10,000 on SQLite and PostgreSQL
    python benchmarks/scaling.py --workers 100 --storage postgresql
    python benchmarks/scaling.py --report                # the tables of the rows there are

The driver, the sampler, the halving and the storage are the real ones, and the time that the
driver takes is charged to a simulated clock on which the workers train (benchmarks/simulation).
Trainings are replayed: those of ``tiny``'s complete table, or made up from the counted costs of
``googlenet_small``, whose trials have 113 parameters. A row a simulation in OUT/rows.jsonl; a row
that is there is not made again without ``--again``. OUT/table.md has the tables.

A simulation of a driver that is never idle takes as long as it simulates: ``--limit`` ends one
after so many simulated seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from contestants.hardware import describe_hardware
from efficiency.table import Table
from simulation.curves import Curves, MadeCurves, TableCurves
from simulation.measures import summary
from simulation.search import TIMES, Setup, simulate
from simulation.tables import write_tables

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results" / "scaling"
TABLE = ROOT / "results" / "tiny_table" / "table.json.gz"
TRIALS = {1: 60, 10: 300, 100: 3_000, 1_000: 5_000}
MOST_TRIALS = 100_000
SQLITE, POSTGRESQL = "sqlite", "postgresql"
VERSIONS = ("optuna", "sqlalchemy", "psycopg", "numpy", "scipy")


@contextlib.contextmanager
def storage_url(storage: str) -> Iterator[str | None]:
    """None for a file of SQLite; the URL of a fresh server that writes to the disk, or as given."""
    if storage == POSTGRESQL:
        sys.path.insert(0, str(ROOT / "tests"))
        server = importlib.import_module("postgres_server")
        with server.postgres_server(is_durable=True) as url:
            yield url
    else:
        yield None if storage == SQLITE else storage


def curves_of(space: str) -> Curves:
    """The trainings of a space."""
    return TableCurves(Table.read(TABLE)) if space == "tiny" else MadeCurves(space)


def planned(given: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Setup]]:
    """What is asked for, as the key of a row and a simulation."""
    for storage, workers, batches in itertools.product(
        given.storage, given.workers, [word == "on" for word in given.batches]
    ):
        trials = given.trials or TRIALS.get(workers, MOST_TRIALS)
        setup = Setup(
            workers=workers,
            trials=trials,
            sampler=given.sampler,
            seconds=given.seconds,
            limit_seconds=given.limit,
            seed=given.seed,
            driver=given.driver,
            batches=batches,
        )
        yield {**asdict(setup), "space": given.space, "storage": storage}, setup


def measure(key: dict[str, Any], setup: Setup) -> dict[str, Any]:
    """One simulation; with the machine that it ran on, and how busy that was before."""
    load, start = os.getloadavg()[0], time.monotonic()
    with storage_url(key["storage"]) as url:
        found = simulate(curves_of(key["space"]), Setup(**{**asdict(setup), "storage": url}))
        row = summary(found)
    return {
        "key": key,
        **row,
        "real_seconds": round(time.monotonic() - start, 1),
        "load_before": round(load, 1),
        "hardware": describe_hardware("cpu"),
        "versions": {name: version(name) for name in VERSIONS},
        "command": f"python benchmarks/scaling.py {' '.join(sys.argv[1:])}".strip(),
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; the last of those with one key."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return list({json.dumps(row["key"]): row for row in rows}.values())


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--workers", nargs="+", type=int, default=[1, 10, 100, 1_000, 10_000])
    add("--storage", nargs="+", default=[SQLITE, POSTGRESQL], help="sqlite, postgresql or a URL")
    add("--batches", nargs="+", choices=("on", "off"), default=["on"])
    add("--space", default="googlenet_small", help="tiny has measured curves")
    add("--sampler", default="pareto")
    add("--trials", type=int, help=f"default: {TRIALS}; beyond: until the limit")
    add("--seconds", type=float, default=40.0, help="a trial's mean among random networks")
    add("--limit", type=float, default=None, help="simulated seconds")
    add("--seed", type=int, default=0)
    add("--driver", choices=sorted(TIMES), default="measured", help="what is charged to the clock")
    add("--out", type=Path, default=OUT)
    add("--again", action="store_true", help="make rows anew that are there")
    add("--report", action="store_true", help="simulate nothing, show what there is")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Simulate what has no row and write the tables."""
    given = parse_arguments(words)
    path = given.out / "rows.jsonl"
    done = {json.dumps(row["key"]) for row in read_rows(path)}
    given.out.mkdir(parents=True, exist_ok=True)
    for key, setup in [] if given.report else planned(given):
        if json.dumps(key) in done and not given.again:
            continue
        row = measure(key, setup)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{key['storage']}, {setup.workers:,} workers: {100 * row['utilisation']:.1f} % busy, "
            f"{row['reached_per_second']:.2f} of {row['offered_per_second']:.2f} trials a second, "
            f"{row['driver_ms_per_trial']['all']:.1f} ms a trial, in {row['real_seconds']:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    print(write_tables(read_rows(path), given.out))


if __name__ == "__main__":
    main()
