"""Several drivers on one study, in processes of their own: nothing lost, repeated, half-written.

``NAS_SHARED_TRIALS=500 NAS_SHARED_KILLS=10 pytest tests/test_shared_search.py`` is the long form;
``-s`` shows what each driver did.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from postgres_server import postgres_server
from shared_driver import TINY, narrow_task
from small_search import error_of

from nas.records import Run, locate

ROOT = Path(__file__).parent.parent
TRIALS = int(os.environ.get("NAS_SHARED_TRIALS", "120"))
KILLS = int(os.environ.get("NAS_SHARED_KILLS", "3"))
WIDTH = 0.25 if TRIALS <= 150 else 0.5  # the space has 204 proxies at the one, 1,080 at the other
LIMIT_SECONDS = 600


class Drivers:
    """Driver processes of one run, and what they were given to train."""

    def __init__(self, path: Path, url: str | None, trials: int, **settings: Any) -> None:
        self.path, self.url = path, url
        self.log = path / "log"
        self.settings = {
            "name": "run",
            "results": str(path),
            "storage": url,
            "trials": trials,
            "sampler": "random",
            "log": str(self.log),
            "width": WIDTH,
            **settings,
        }
        self.running: list[psutil.Popen] = []
        self.killed: set[int] = set()
        self.outputs: list[tuple[str, str]] = []

    def start(self, **settings: Any) -> psutil.Popen:
        command = [sys.executable, str(ROOT / "tests" / "shared_driver.py")]
        given = {"capacity": 3, **self.settings, **settings}
        process = psutil.Popen(
            [*command, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )
        self.running.append(process)
        return process

    def submitted(self) -> list[tuple[int, int]]:
        """The numbers of the trials that were given to train, with the processes'."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(number), int(pid)) for number, pid in map(str.split, lines)]

    def start_three(self) -> None:
        """Three drivers with eight workers, all of which have a trial before one ends."""
        for capacity in (3, 3, 2):
            self.start(capacity=capacity)
        self.wait_for(lambda: len(self.submitted()) == 8)
        (self.path / "go").touch()

    def kill(self, process: psutil.Popen) -> None:
        self.running.remove(process)
        self.killed.add(process.pid)
        process.kill()
        process.communicate()

    def join(self) -> None:
        """Wait for all to end by themselves."""
        for process in self.running:
            output, errors = process.communicate(timeout=LIMIT_SECONDS)
            assert process.returncode == 0, errors
            self.outputs.append((output, errors))
        self.running = []

    def close(self) -> None:
        for process in self.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            process.communicate()

    @property
    def run(self) -> Run:
        return Run(locate("run", self.path, self.url))

    def done(self) -> int:
        """Trials that have ended so far."""
        try:
            return int((self.run.trials["state"] != "running").sum())
        except (ValueError, OSError):
            return 0

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while not condition():
            for process in self.running:
                assert process.poll() in (None, 0), process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)


@contextlib.contextmanager
def drivers(path: Path, url: str | None, trials: int, **settings: Any) -> Iterator[Drivers]:
    path.mkdir(parents=True, exist_ok=True)
    group = Drivers(path, url, trials, **settings)
    try:
        yield group
    finally:
        group.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres(server: str, request: pytest.FixtureRequest) -> str:
    """A database of its own, and empty."""
    import sqlalchemy

    name = f"test{abs(hash(request.node.name)) % 10**9}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


def check_whole(group: Drivers, trials: int) -> Run:
    """Nothing is lost, repeated or half-written, whoever did it."""
    run = group.run
    rows = run.trials
    assert list(rows["number"]) == list(range(len(rows)))
    assert set(rows["state"]) == {"complete"}
    trained = rows[~rows["reused"]]
    assert len(trained) == trials, "as many as asked, over all drivers"
    assert rows["fingerprint"].is_unique, "no network is proposed twice"
    assert trained["proxy_fingerprint"].is_unique, "no proxy is trained twice"
    errors = trained.set_index("proxy_fingerprint")["error"]
    for row in rows.to_dict("records"):
        assert row["error"] == errors[row["proxy_fingerprint"]]
        if not row["reused"]:
            assert row["error"] == error_of(run.architecture(row["number"]))
    epochs = run.curves.groupby("number")["epoch"].agg(list)
    assert epochs.to_dict() == {number: [1, 2, 4] for number in trained["number"]}
    assert len(run.choices) == len(rows)
    assert all(TINY.decode(run.values[n]) == run.architecture(n) for n in rows["number"])
    # A trial is trained again only where its driver was killed.
    submitted = group.submitted()
    assert {number for number, _ in submitted} == set(trained["number"])
    kept = Counter(number for number, pid in submitted if pid not in group.killed)
    assert max(kept.values()) == 1, kept.most_common(3)
    assert run.state == "finished"
    assert run.ended is not None
    assert run.ended.message == f"{trials} trials trained, as asked"
    assert run.drivers.known == ()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_three_drivers_begin_at_once_on_nothing(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """An empty database, or no file: all three find nothing there and go on together."""
    url = request.getfixturevalue("postgres") if database == "postgres" else None
    trials = TRIALS if url else 30
    with drivers(tmp_path, url, trials) as group:
        started = time.monotonic()
        group.start_three()
        group.join()
        run = check_whole(group, trials)
        assert len(set(owners(run).values())) == 3, "each of them trained some"
        print(f"{len(run.trials)} trials in {time.monotonic() - started:.1f} s", owners_count(run))


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_drivers_are_killed_at_random_moments(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres") if database == "postgres" else None
    trials, kills = (TRIALS, KILLS) if url else (30, 1)
    generator = random.Random(5)
    with drivers(tmp_path, url, trials) as group:
        group.start_three()
        before: list[pd.DataFrame] = []
        for at in sorted(generator.sample(range(3, trials - 5), kills)):
            group.wait_for(lambda at=at: group.done() >= at)
            time.sleep(generator.uniform(0, 0.05))  # any moment of what it does
            victim = generator.choice(group.running)
            group.kill(victim)
            rows = group.run.trials
            before.append(rows[rows["state"] == "complete"])
            group.start(capacity=generator.choice((2, 3)))
            print(f"killed {victim.pid} with {len(before[-1])} of {len(rows)} done")
        group.join()
        run = check_whole(group, trials)
        for rows in before:
            after = run.trials[run.trials["number"].isin(rows["number"])]
            pd.testing.assert_frame_equal(after, rows)
        print(f"{len(run.trials)} trials", owners_count(run), f"{len(group.killed)} killed")


@pytest.mark.slow
def test_a_paused_driver_loses_its_trials_and_writes_over_nothing(
    tmp_path: Path, postgres: str
) -> None:
    """Stopped for longer than its grace, like a laptop that was closed; then it goes on."""
    with drivers(tmp_path, postgres, 12) as group:
        paused = group.start(hangs=True, capacity=2, grace_seconds=2)
        group.wait_for(lambda: len(group.submitted()) == 2)
        (group.path / "go").touch()
        paused.send_signal(signal.SIGSTOP)
        group.killed.add(paused.pid)  # in the sense that its trials run again
        other = group.start(capacity=2)
        output, errors = other.communicate(timeout=LIMIT_SECONDS)
        assert output == "12 trials trained, as asked\n", errors
        rows = group.run.trials
        assert set(rows["state"]) == {"complete"}
        paused.send_signal(signal.SIGCONT)
        output, errors = paused.communicate(timeout=LIMIT_SECONDS)
        assert paused.returncode == 0, errors
        assert output == "12 trials trained, as asked\n"
        group.running.clear()
        pd.testing.assert_frame_equal(check_whole(group, 12).trials, rows)


@pytest.mark.slow
def test_ctrl_c_ends_one_driver_and_the_others_take_its_trials(
    tmp_path: Path, postgres: str
) -> None:
    with drivers(tmp_path, postgres, 20) as group:
        stopped = group.start(hangs=True, capacity=2)
        group.wait_for(lambda: len(group.submitted()) == 2)
        (group.path / "go").touch()
        group.killed.add(stopped.pid)
        stopped.send_signal(signal.SIGINT)
        output, errors = stopped.communicate(timeout=LIMIT_SECONDS)
        assert stopped.returncode == 0, errors
        assert output == "stopped by Ctrl-C; go on with --resume\n"
        group.running.clear()
        run = group.run
        assert run.state == "interrupted"
        assert list(run.trials["reason"]) == ["interrupted"] * 2
        assert set(owners(run).values()) == {""}
        group.start()
        group.join()
        check_whole(group, 20)


def owners(run: Run) -> dict[int, str]:
    with run.database.snapshot() as connection:
        from nas.records import schema

        ids = [row.trial_id for row in schema.trials_after(connection, run.study_id, 0, 10**6)]
        found = schema.attributes(connection, ids, ("owner",))
    return {trial_id: json.loads(one["owner"]) for trial_id, one in found.items()}


def owners_count(run: Run) -> dict[str, int]:
    return dict(Counter(owners(run).values()))


def test_the_task_of_these_tests_has_equal_proxies() -> None:
    """Else they would not see that results are taken over between drivers."""
    from nas.task import proxy

    task = narrow_task(0.25)
    assert len({proxy(item, task).fingerprint for item in TINY.enumerate()}) == 204 < TINY.size
