"""Searches that are killed at random moments and resumed: what was finished stays as it is.

``python tests/killing.py --kills 50 --out summary.json`` runs real searches (``nas search`` on the
embedded data, two worker processes), sends SIGKILL to the driver or to a worker at random moments,
resumes, and looks at the database each time. :mod:`test_killing` does so a few times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import psutil

ROOT = Path(__file__).parents[1]

SEARCH = [
    *("search", "tiny", "--data", "fashion-mnist-mini", "--name", "run", "--sampler", "random"),
    *("--epochs", "2", "--images", "512", "--resolution", "14", "--width", "0.5"),
    *("--precision", "float32", "--device", "cpu", "--workers", "2"),
]

Row: TypeAlias = tuple[Any, ...]


@dataclass
class Killing:
    """What was killed, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    searches: int = 0
    trials: int = 0
    comparisons: int = 0
    orphans: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def finished_rows(database: Path) -> dict[int, Row]:
    """All that the database holds of each finished trial, by number."""
    if not database.exists():
        return {}
    with contextlib.closing(
        sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)
    ) as connection:
        # One state of the database, whatever is written meanwhile.
        connection.execute("BEGIN")
        found: dict[int, Row] = {}
        for trial, number, *row in connection.execute(
            "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials "
            "WHERE state NOT IN ('RUNNING', 'WAITING')"
        ):
            parts = [
                tuple(connection.execute(f"{query} WHERE trial_id = ? ORDER BY 1, 2", (trial,)))
                for query in PARTS
            ]
            found[number] = (trial, *row, *parts)
    return found


PARTS = (
    "SELECT param_name, param_value, distribution_json FROM trial_params",
    "SELECT key, value_json FROM trial_user_attributes",
    "SELECT key, value_json FROM trial_system_attributes",
    "SELECT objective, value, value_type FROM trial_values",
)


class Searching:
    """One search of so many trials, however often it has to be started."""

    def __init__(self, place: Path, trials: int, rng: random.Random, killing: Killing) -> None:
        self.place, self.trials, self._rng, self._killing = place, trials, rng, killing
        self.database = place / "run" / "study.db"
        self.process: psutil.Popen | None = None
        self._known: dict[int, Row] = {}
        self._log = place / "output.log"

    def start(self) -> None:
        """Begin, or go on with what there is."""
        words = [*SEARCH, "--trials", str(self.trials)]
        if self.database.exists():
            words = ["search", "--name", "run", "--resume"]
        words += ["--results", str(self.place)]
        with self._log.open("ab") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "nas", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def look(self) -> int:
        """Compare what was finished with what it was; how many trials have finished."""
        rows = finished_rows(self.database)
        for number, row in self._known.items():
            self._killing.comparisons += 1
            if rows.get(number) != row:
                self._killing.faults.append(f"trial {number} was {row} and is {rows.get(number)}")
        self._known = rows
        return len(rows)

    def is_over(self) -> bool:
        """Whether the process has ended by itself."""
        assert self.process is not None
        return self.process.poll() is not None

    def wait_for_moment(self) -> str:
        """Wait for a random moment; what it is called, or "" where the search ended before."""
        more = self._rng.choice([0, 0, 1, 2, 3])
        before, limit = self.look(), time.monotonic() + 300
        while more and len(finished_rows(self.database)) < before + more:
            if self.is_over():
                return ""
            assert time.monotonic() < limit, self._log.read_text()[-2_000:]
            time.sleep(0.02)
        time.sleep(self._rng.uniform(0, 1.0 if more else 8.0))
        if self.is_over():
            return ""
        return "while trials finish" if more else "in the first seconds"

    def kill(self) -> str:
        """SIGKILL to the driver or to one of its workers; which of them."""
        assert self.process is not None
        children = self.process.children(recursive=True)
        workers = [child for child in children if _is_worker(child)]
        victim = self.process
        if workers and self._rng.random() < 0.5:
            victim = self._rng.choice(workers)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
        if victim is not self.process:
            return "worker"
        self.process.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        self._killing.orphans += len(alive)
        return "driver"

    def end(self) -> None:
        """Let the search come to its end, and check what it leaves."""
        if self.process is None or self.is_over():
            self.start()
        assert self.process is not None
        children = self.process.children(recursive=True)
        self.process.wait(timeout=600)
        self.look()
        self._check(self.process.returncode)
        _, alive = psutil.wait_procs(children, timeout=60)
        self._killing.orphans += len(alive)

    def _check(self, code: int) -> None:
        from nas.records import open_run

        run = open_run(self.place / "run")
        trials, faults = run.trials, self._killing.faults
        trained = (trials["state"] == "complete") & ~trials["reused"]
        self._killing.trials += int(trained.sum())
        found = {
            "exit code": (code, 0),
            "trained trials": (int(trained.sum()), self.trials),
            "trials that are not complete": (int((trials["state"] != "complete").sum()), 0),
            "repeated networks": (int(trials["fingerprint"].duplicated().sum()), 0),
            "numbers": (trials["number"].tolist(), list(range(len(trials)))),
            "state": (run.state, "finished"),
            "journals": ([path.name for path in run.path.glob("unwritten*")], []),
        }
        for what, (is_so, asked) in found.items():
            if is_so != asked:
                faults.append(f"{what}: {is_so} and not {asked}")
        curves = run.curves.groupby("number")["epoch"].agg(list)
        for number in trials.loc[trained, "number"]:
            if curves.get(number) != [1, 2]:
                faults.append(f"trial {number}: its rungs are {curves.get(number)}")
        errors = dict(zip(trials["fingerprint"], trials["error"], strict=True))
        known = _ERRORS.setdefault(self.trials, errors)
        # Every search has the same seed, hence the same networks and the same errors to the bit.
        if known != errors:
            faults.append(f"another search of this seed had other errors: {known} and {errors}")


_ERRORS: dict[int, dict[str, float]] = {}


def _is_worker(process: psutil.Process) -> bool:
    """The resource tracker of multiprocessing is none."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@contextlib.contextmanager
def _cleared(search: Searching) -> Iterator[None]:
    try:
        yield
    finally:
        if search.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(search.process.pid, signal.SIGKILL)


def kill_searches(kills: int, trials: int, seed: int, place: Path) -> Killing:
    """Kill searches of so many trials each until ``kills`` processes were killed."""
    rng, killing, start = random.Random(seed), Killing(), time.monotonic()
    _ERRORS.clear()
    while killing.total < kills:
        killing.searches += 1
        directory = place / str(killing.searches)
        directory.mkdir(parents=True)
        search = Searching(directory, trials, rng, killing)
        with _cleared(search):
            search.start()
            while killing.total < kills and (moment := search.wait_for_moment()):
                search.look()
                killing.kills[search.kill()] += 1
                killing.moments[moment] += 1
                if search.is_over():
                    search.start()
                _say(killing, kills, start)
            search.end()
    return killing


def _say(killing: Killing, kills: int, start: float) -> None:
    seconds = time.monotonic() - start
    left = seconds / killing.total * (kills - killing.total)
    text = f"{killing.total} of {kills} killed, {len(killing.faults)} faults, {left:.0f} s left"
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill searches at random moments, and resume.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=14, help="of each search")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    parser.add_argument("--out", type=Path, help="a JSON file for the summary")
    words = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        killing = kill_searches(words.kills, words.trials, words.seed, Path(place))
    version = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    summary = {
        "command": f"python tests/killing.py {' '.join(sys.argv[1:])}",
        "version": version,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "kills": dict(killing.kills),
        "moments": dict(killing.moments),
        "searches": killing.searches,
        "trained_trials": killing.trials,
        "finished_rows_compared": killing.comparisons,
        "orphans": killing.orphans,
        "faults": killing.faults,
        "seconds": round(time.monotonic() - start),
    }
    text = json.dumps(summary, indent=1)
    print(text)
    if words.out is not None:
        words.out.parent.mkdir(parents=True, exist_ok=True)
        words.out.write_text(text + "\n")
    return 1 if killing.faults or killing.orphans else 0


if __name__ == "__main__":
    sys.exit(main())
