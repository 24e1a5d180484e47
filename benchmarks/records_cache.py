"""How long it takes to read a large run: with an empty cache, with a full one, and what is new.

    python benchmarks/make_large_study.py /tmp/large --trials 100000 --running 4
    python benchmarks/records_cache.py /tmp/large [--repeats 3] [--new 100]

Works on a copy of the run. Each reading is a process of its own, but for the increments: there
one process reads the run, trials are written to it, and the refreshed run is read. Times are from
``open_run`` to the last frame, without the import of the packages (said apart). The database is
in the system's page cache in all of them. Where other programs take the processor, compare the
processor's seconds: they are of all threads. Optuna's own reading is measured with ``--optuna``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contestants.hardware import describe_hardware

TABLES = ("trials", "curves", "choices")
STEPS = 3
"""Increments, one after another."""


def read_once(path: Path) -> dict[str, Any]:
    """Open the run and read its tables; seconds of each, and the process's largest memory."""
    begun = time.perf_counter()
    from nas.records import open_run

    imported = time.perf_counter()
    told = []
    run = open_run(path, progress=lambda *words: told.append(words))
    seconds = {"open": time.perf_counter() - imported}
    started = time.process_time()
    before = _memory()
    for table in TABLES:
        start = time.perf_counter()
        getattr(run, table)
        seconds[table] = time.perf_counter() - start
    total = time.perf_counter() - imported
    return {
        **seconds,
        "total": total,
        "of it processor": time.process_time() - started,
        "import": imported - begun,
        "trials read": len(run.trials),
        "points read": len(run.curves),
        "progress calls": len(told),
        "MB before": before,
        "MB at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "MB after": _memory(),
        "notes": list(run.notes),
    }


def read_increments(path: Path, new: int) -> list[dict[str, Any]]:
    """Read the run; then write new trials, refresh it and read its tables, a few times."""
    from make_large_study import add_trials, finish_running

    from nas.records import Location, open_run

    location = Location(f"sqlite:///{path}/study.db", path.name, path)
    run = open_run(path)
    for table in TABLES:
        getattr(run, table)
    rows = []
    for _ in range(STEPS):
        version = run.version
        finish_running(location)
        list(add_trials(location, new, first=len(run.trials), running=4))
        start, started = time.perf_counter(), time.process_time()
        fresh = run.refresh()
        assert fresh.version != version
        row: dict[str, Any] = {"version": time.perf_counter() - start}
        for table in TABLES:
            since = time.perf_counter()
            getattr(fresh, table)
            row[table] = time.perf_counter() - since
        row["total"] = time.perf_counter() - start
        row["of it processor"] = time.process_time() - started
        assert len(fresh.trials) == len(run.trials) + new
        run = fresh
        start, version = time.perf_counter(), run.version
        assert run.refresh().version == version
        row["nothing new"] = time.perf_counter() - start
        rows.append(row)
    return rows


def read_by_optuna(path: Path) -> dict[str, Any]:
    """All trials through Optuna's own storage."""
    import optuna

    start = time.perf_counter()
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{path}/study.db")
    return {"trials read": len(study.get_trials(deepcopy=False)), "total": _since(start)}


def _since(start: float) -> float:
    return time.perf_counter() - start


def _memory() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss / 2**20)


def in_a_process(what: str, path: Path, *words: object) -> Any:
    """What this script prints as JSON when it does one thing in a process of its own."""
    command = [sys.executable, __file__, str(path), "--only", what, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """The median of each figure, and the range of the whole time."""
    print(f"\n{title} (n = {len(rows)})")
    for name in rows[0]:
        values = [row[name] for row in rows]
        if not isinstance(values[0], int | float):
            print(f"  {name:16} {values[0]}")
            continue
        spread = f"  ({min(values):.3f} to {max(values):.3f})" if name == "total" else ""
        text = f"{statistics.median(values):12,.3f}" if isinstance(values[0], float) else ""
        print(f"  {name:16} {text or format(values[0], '12,')}{spread}")


def main() -> None:
    """Measure, or do one thing for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--optuna", action="store_true")
    parser.add_argument("--only", choices=("read", "increments", "optuna"))
    options = parser.parse_args()
    if options.only is not None:
        one: dict[str, Any] = {
            "read": lambda: read_once(options.run),
            "increments": lambda: read_increments(options.run, options.new),
            "optuna": lambda: read_by_optuna(options.run),
        }
        print(json.dumps(one[options.only]()))
        return
    packages = ("optuna", "pandas", "pyarrow", "SQLAlchemy", "numpy")
    print("load", *os.getloadavg())
    print(", ".join(f"{name} {value}" for name, value in describe_hardware("cpu").items()))
    print(*(f"{name} {version(name)}" for name in packages))
    with tempfile.TemporaryDirectory(dir=options.run.parent) as place:
        path = Path(place) / options.run.name
        path.mkdir()
        shutil.copy(options.run / "study.db", path / "study.db")
        print(f"database {(path / 'study.db').stat().st_size / 1e6:,.0f} MB")
        cold, warm = [], []
        for _ in range(options.repeats):
            shutil.rmtree(path / "cache", ignore_errors=True)
            cold.append(in_a_process("read", path))
        show("empty cache: seconds, MB", cold)
        size = sum(file.stat().st_size for file in (path / "cache").rglob("*.parquet"))
        print(f"  the cache has    {size / 1e6:12,.1f} MB")
        warm = [in_a_process("read", path) for _ in range(options.repeats)]
        show("full cache: seconds, MB", warm)
        steps = in_a_process("increments", path, "--new", options.new)
        show(f"{options.new} new trials and 4 that ended: seconds", steps)
        if options.optuna:
            show("Optuna's get_trials: seconds", [in_a_process("optuna", path)])


if __name__ == "__main__":
    main()
