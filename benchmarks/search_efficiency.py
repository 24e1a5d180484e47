"""How soon searches have the whole front: contestants, with and without halving, over many seeds.

    python benchmarks/search_efficiency.py --table results/tiny_table/table.json.gz
    python benchmarks/search_efficiency.py --table results/tiny_table/table.json.gz --report

Replays every search on the table (benchmarks/replay.py has the rules), one row a search in
OUT/searches.jsonl; stop it when you like, the same command goes on. Then, and with ``--report``
from the rows there are, writes OUT/table.md, OUT/results.json and OUT/figure.html. A row is told
by table, search and the code that proposes and halves, so that changed samplers run again.

A search runs until it has the full hypervolume and 200 trials, or no architecture is left, or it
has LIMITS trials: those samplers get slow. One worker, so that no sampler is at a disadvantage
because it overlooks running trials; ours also runs with 8 workers and 1,000 trials. A contestant
``gp:trials=80`` ends sooner, where its limit costs too much for many seeds: such searches say how
soon a share is reached, not what there is in the end. Seeds 100 and
up are the reported ones: tune on others (``--seeds 0 5 --out results/tuning``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from efficiency.page import write_page
from efficiency.results import Series
from efficiency.samplers import available, check_contestant, limit_of
from efficiency.table import SIGNALS, Table
from replay import ORACLE, SIGNAL, Search, Setup, load_table, replay

from nas.quantities import format_seconds

LIMITS = {
    "nsga2": 400, "tpe": 300, "gp": 200, "evolution": 400, "pareto": 250, "pareto_space": 250
}  # fmt: skip
"""Trials at most of the samplers that take their time to ask."""

WORKERS_TOO, TRIALS_TOO, SEEDS_TOO = 8, 1_000, 5
"""The searches that are looked through for architectures that were trained twice."""

BOUND = f"signal={ORACLE},doubt=0"
"""Halving that knows every trial's end at its first rung: what better prediction can save."""

FIRST_SEED, NUM_SEEDS = 100, 20

_CODE = Path(__file__).parents[1] / "nas" / "search"


def plan(
    contestants: Sequence[str], ours: str, seeds: Sequence[int], halvings: Sequence[str]
) -> list[Setup]:
    """All searches, seed by seed, so that every series has equally many at any time."""
    series = [
        Setup(name, 0, halving=halving, trials=_limit(name), until_full=True)
        for name in contestants
        for halving in (None, *halvings)
    ]
    series += [
        Setup("random", 0, halving=words, trials=_limit("random"), until_full=True)
        for words in (*(f"signal={one}" for one in SIGNALS if one != SIGNAL), BOUND)
        if "random" in contestants and "" in halvings
    ]
    many = Setup(ours, 0, halving="", workers=WORKERS_TOO, trials=TRIALS_TOO)
    is_asked = ours in contestants and "" in halvings
    planned = []
    for place, seed in enumerate(seeds):
        with_many = [*series, many] if is_asked and place < SEEDS_TOO else series
        planned += [replace(one, seed=seed) for one in with_many]
    return planned


def _limit(contestant: str) -> int | None:
    return limit_of(contestant) or LIMITS.get(contestant.partition(":")[0])


def key_of(setup: Setup, table: Table) -> str:
    """What a search's result follows from."""
    described = json.dumps([asdict(setup), table.fingerprint, code_digest(setup)], default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def code_digest(setup: Setup) -> str:
    """The code that proposes and halves in a search; Optuna's own is told by its version."""
    import optuna

    files = [_CODE / "halving.py"] if setup.halving is not None else []
    name = setup.sampler.partition(":")[0]
    if name.startswith("pareto"):
        files += [*sorted(_CODE.glob("pareto_sampler/*.py")), _CODE / "pareto_sampler.py"]
    if name == "evolution":
        files.append(_CODE / "evolution.py")
    digest = hashlib.sha256(optuna.__version__.encode())
    for path in files:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def read_searches(path: Path) -> dict[str, dict[str, Any]]:
    """The searches in the file, by key; a last line that was cut off is left out."""
    rows = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            print(f"{path}: a line is not complete and left out", file=sys.stderr)
            continue
        rows[row["key"]] = row
    return rows


@lru_cache(maxsize=1)
def _table_of(path: Path | None) -> Table:
    return load_table(path)


def _run(path: Path | None, setup: Setup) -> dict[str, Any]:
    start = time.process_time()
    found = replay(_table_of(path), setup).to_data()
    return {"search": found, "cpu_seconds": round(time.process_time() - start, 2)}


def run_searches(
    setups: Iterable[Setup],
    table_path: Path | None,
    path: Path,
    rows: dict[str, dict[str, Any]],
    *,
    workers: int,
) -> None:
    """Run what has no row and append a row for each; ``rows`` gets them too."""
    table = _table_of(table_path)
    missing = {key: one for one in setups if (key := key_of(one, table)) not in rows}
    if not missing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # before a worker starts
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with (
        path.open("a") as file,
        ProcessPoolExecutor(min(workers, len(missing)), mp_context=context) as pool,
    ):
        if file.tell() and not path.read_text().endswith("\n"):
            file.write("\n")
        futures = {pool.submit(_run, table_path, one): key for key, one in missing.items()}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                key = futures[future]
                row = rows[key] = {"key": key, "series": missing[key].series, **future.result()}
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
                file.flush()
                passed = time.monotonic() - start
                left = format_seconds(passed * (len(missing) - number) / number)
                print(
                    f"{number}/{len(missing)} in {format_seconds(passed)}, about {left} left: "
                    f"{row['series']}, seed {missing[key].seed}, {row['cpu_seconds']:.0f} CPU s",
                    file=sys.stderr,
                    flush=True,
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def series_of(
    setups: Sequence[Setup], rows: dict[str, dict[str, Any]], table: Table
) -> list[Series]:
    """The searches there are, by series in the order of the plan."""
    found: dict[str, list[Search]] = {}
    first: dict[str, Setup] = {}
    for setup in setups:
        row = rows.get(key_of(setup, table))
        if row is not None:
            first.setdefault(setup.series, setup)
            found.setdefault(setup.series, []).append(Search(**row["search"]))
    return [
        Series(name, one.sampler, one.halving, one.workers, table, tuple(found[name]))
        for name, one in first.items()
    ]


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--table", type=Path, help="results/tiny_table/table.json.gz; default: a made-up one")
    add("--contestants", nargs="+", help="names, with settings: tpe:group=false, gp:trials=80")
    add("--ours", default="pareto_space", help="whose results are held against the others'")
    add("--halving", nargs="*", default=[""], help="settings of halving, beside none: eta=4")
    add("--seeds", nargs=2, type=int, metavar=("FIRST", "COUNT"), default=(FIRST_SEED, NUM_SEEDS))
    add("--workers", type=int, default=2, help="processes of one thread each")
    add("--nice", type=int, default=0, help="how far to give way to other processes (0 to 19)")
    add("--out", type=Path, default=Path("results/search_efficiency"))
    add("--report", action="store_true", help="run nothing, show what there is")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing and write the tables and the figure."""
    given = parse_arguments(words)
    os.nice(max(0, given.nice - os.nice(0)))
    contestants = [check_contestant(one) for one in given.contestants or available()]
    first, number = given.seeds
    setups = plan(contestants, given.ours, range(first, first + number), given.halving)
    path = given.out / "searches.jsonl"
    rows = read_searches(path)
    if not given.report:
        run_searches(setups, given.table, path, rows, workers=given.workers)
    table = _table_of(given.table)
    found = series_of(setups, rows, table)
    if not found:
        raise SystemExit(f"{path} has no search of this table and these contestants")
    print(write_page(found, table, given.out, given.ours))


if __name__ == "__main__":
    main()
