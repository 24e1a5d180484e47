"""A study that several drivers write: turns, claims, heartbeats, an empty database, refusals."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy
from command_line import nas
from postgres_server import postgres_server
from shared_driver import TINY, narrow_task
from small_search import trained
from started_processes import started, wait_for
from test_readme import relative_links

from nas.records import (
    Location,
    Outcome,
    Proposal,
    Rejections,
    Run,
    RunSettings,
    list_runs,
    locate,
    open_run,
)
from nas.records.drivers import Driver, Drivers, this_driver
from nas.records.heartbeat import Heartbeat
from nas.records.news import NewsReader
from nas.records.sharing import NotOwner, SharedWriter, check_shareable
from nas.records.tables import open_storage
from nas.records.writing import RunExists, RunWriter, create_run
from nas.search.executor import ScriptedExecutor
from nas.search.launch import run_search
from nas.search.samplers import distributions_of
from nas.search.study import DriverLock


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


NAMES = iter(range(1000))


@pytest.fixture
def postgres(server: str) -> str:
    """A database of its own, and empty."""
    name = f"test{next(NAMES)}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["postgres", "sqlite"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Location:
    """Where a run of two trials is."""
    url = request.getfixturevalue("postgres") if request.param == "postgres" else None
    search(tmp_path, url, trials=2)
    return locate("run", tmp_path, url)


def search(path: Path, url: str | None, capacity: int = 1, **settings: Any) -> Run:
    given: dict[str, Any] = {"name": "run", "sampler": "random", "trials": 2, **settings}
    executor = ScriptedExecutor(given.pop("script", trained), capacity)
    return run_search(TINY, narrow_task(0.5), results=path, storage=url, executor=executor, **given)


def writer_of(location: Location, name: str) -> SharedWriter:
    driver = this_driver(name, is_alone=False, workers=1)
    return SharedWriter(location, Run(location).settings, distributions_of(TINY), driver)


@pytest.fixture
def two(place: Location) -> Iterator[tuple[SharedWriter, SharedWriter]]:
    writers = writer_of(place, "one"), writer_of(place, "two")
    yield writers
    for writer in writers:
        writer.close()


def proposal(run: Run, number: int = 0) -> Proposal:
    """Another network of the space, with what else a trial needs."""
    known = set(run.trials["fingerprint"])
    new = [item for item in TINY.enumerate() if item.fingerprint not in known][number]
    values = dict(TINY.encode(new))
    costs = {"macs": 5, "params": 5, "activation_bytes": 5, "peak_activation_bytes": 5}
    return Proposal(new, values, costs, new.fingerprint, 0, "random")


def add(writer: SharedWriter, *proposals: Proposal) -> list[int]:
    with writer.turn(5) as turn:
        assert turn is not None
        turn.news()
        return turn.add(proposals)


SETTINGS = RunSettings(
    space=TINY.to_json(),
    task=narrow_task().to_json(),
    objectives=("error", "macs"),
    reference=(0.9, 1e9),
    seed=0,
    sampler="random",
    budgets={},
    created="2026-01-01T00:00:00",
    versions={},
    device="cpu",
    precision="float32",
)
DONE = Outcome("complete", error=0.25, epochs=4, train_seconds=1.0)


# ------------------------------------------------------------------------------ ownership


def test_of_two_claims_one_wins(two: tuple[SharedWriter, SharedWriter], place: Location) -> None:
    first, second = two
    (number,) = add(first, proposal(Run(place)))
    (news,) = [item for item in second.look().trials if item.number == number]
    assert (news.owner, news.outcome) == ('"one"', None)
    third = writer_of(place, "three")
    third.look()
    for writer, wins in ((second, True), (third, False), (second, False)):
        with writer.turn(5) as turn:
            assert turn is not None
            assert turn.claim(number, news.owner) is wins
    (now,) = [item for item in third.look().trials if item.number == number]
    assert now.owner == '"two"'
    third.close()


def test_a_late_write_of_a_former_owner_is_refused(
    two: tuple[SharedWriter, SharedWriter], place: Location
) -> None:
    first, second = two
    (number,) = add(first, proposal(Run(place)))
    first.set_curve(number, [[1, 0.5, 0.5, 0.5, 1.0, 0.0]])
    owner = next(item.owner for item in second.look().trials if item.number == number)
    with second.turn(5) as turn:
        assert turn is not None
        assert turn.claim(number, owner)
    assert not (Run(place).curves["number"] == number).any(), "its curve begins anew"
    late: list[Any] = [
        lambda: first.set_curve(number, [[1, 9.0, 9.0, 0.9, 1.0, 0.0]]),
        lambda: first.finish(number, {"macs": 5}, replace(DONE, error=0.9), 1.0),
        lambda: first.interrupt(number),
    ]
    for write in late:
        with pytest.raises(NotOwner):
            write()
    assert not (Run(place).curves["number"] == number).any()
    second.finish(number, {"macs": 5}, DONE, 1.0, [[1, 0.5, 0.5, 0.5, 1.0, 0.0]])
    for write in late:
        with pytest.raises(NotOwner):
            write()
    row = Run(place).trials.set_index("number").loc[number]
    assert (row["state"], row["error"], row["reason"]) == ("complete", 0.25, "")
    assert list(Run(place).curves.query("number == @number")["error"]) == [0.5]


def test_a_trial_that_has_ended_meanwhile_is_not_claimed(postgres: str, tmp_path: Path) -> None:
    """Between the look and the claim of a turn; a SQLite file has one writer at a time."""
    search(tmp_path, postgres)
    place = locate("run", tmp_path, postgres)
    first, second = writer_of(place, "one"), writer_of(place, "two")
    (number,) = add(first, proposal(Run(place)))
    owner = next(item.owner for item in second.look().trials if item.number == number)
    with second.turn(5) as turn:
        assert turn is not None
        first.finish(number, {"macs": 5}, DONE, 1.0)
        assert not turn.claim(number, owner)
    rows = {item.number: item for item in second.look().trials}
    assert (rows[number].owner, rows[number].outcome) == ('"one"', DONE)
    first.close()
    second.close()


def test_who_gives_up_a_trial_leaves_it_to_anybody(
    two: tuple[SharedWriter, SharedWriter], place: Location
) -> None:
    first, second = two
    (number,) = add(first, proposal(Run(place)))
    first.interrupt(number)
    news = next(item for item in second.look().trials if item.number == number)
    assert news.owner == '""'
    assert Run(place).trials["reason"].iloc[number] == "interrupted"
    with second.turn(5) as turn:
        assert turn is not None
        assert turn.claim(number, news.owner)


def test_a_trial_of_a_driver_that_was_alone_can_be_claimed(
    two: tuple[SharedWriter, SharedWriter], place: Location
) -> None:
    alone = RunWriter(place, ("error", "macs"), distributions_of(TINY))
    number = alone.add(proposal(Run(place)))
    alone.close()
    for writer, wins in zip(two, (True, False), strict=True):
        news = next(item for item in writer.look().trials if item.number == number)
        with writer.turn(5) as turn:
            assert turn is not None
            assert turn.claim(number, None) is wins
        assert news.owner == (None if wins else '"one"')


# ------------------------------------------------------------------------------ turns


def test_one_driver_at_a_time_has_the_turn(
    two: tuple[SharedWriter, SharedWriter], place: Location
) -> None:
    first, second = two
    with first.turn(5) as turn:
        assert turn is not None
        with second.turn(0.05) as other:
            assert other is None
    with second.turn(5) as turn:
        assert turn is not None


def test_what_fails_in_a_turn_leaves_nothing(
    two: tuple[SharedWriter, SharedWriter], place: Location
) -> None:
    first, second = two
    before = Run(place).trials
    with pytest.raises(RuntimeError, match="in the middle"), first.turn(5) as turn:  # noqa: PT012
        assert turn is not None
        turn.news()
        turn.add([proposal(Run(place))])
        turn.add_rejections(Rejections({"macs": 1}))
        raise RuntimeError("in the middle")
    assert Run(place).trials.equals(before)
    assert Run(place).rejections.total == 0
    assert add(second, proposal(Run(place))) == [2], "the turn is free, and so is the number"


HOLDER = """
import sys
from nas.records import Run, locate
from nas.records.drivers import this_driver
from nas.records.sharing import SharedWriter
from nas.space import SearchSpace
from nas.search.samplers import distributions_of
from nas.search.study import DriverLock

place = locate("run", sys.argv[1], sys.argv[2] or None)
driver = this_driver("holder", is_alone=False, workers=1)
writer = SharedWriter(
    place, Run(place).settings, distributions_of(SearchSpace.load("tiny")), driver
)
with writer.turn(30) as turn:
    turn.add_given_up_seconds(5.0)
    print("it is mine", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_the_turn_of_a_driver_that_dies_is_free(place: Location, tmp_path: Path) -> None:
    """kill -9 in the middle of a turn: the lock goes with the process, and so does what it did."""
    url = "" if place.database is not None else place.url
    writer = writer_of(place, "one")
    command = [sys.executable, "-c", HOLDER, str(tmp_path), url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "it is mine\n"
        with writer.turn(0.05) as turn:
            assert turn is None
        process.kill()
        process.wait()
        with writer.turn(60) as turn:
            assert turn is not None
    assert Run(place).given_up_seconds == 0
    writer.close()


def test_sums_of_several_writers_are_right(place: Location) -> None:
    """Eight threads add to the same counts at the same time."""

    def work(name: int) -> None:
        writer = writer_of(place, str(name))
        for place_ in range(5):
            with writer.turn(60) as turn:
                assert turn is not None
                turn.add_given_up_seconds(1.0)
                last = {"number": place_, "kind": "macs", "reason": "too many", "values": []}
                turn.add_rejections(Rejections({"macs": 2}, (last,)))
        writer.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    run = Run(place)
    assert run.given_up_seconds == 40
    assert run.rejections.counts == {"macs": 80}
    assert len(run.rejections.last) == 40


# ------------------------------------------------------------------------------ databases


@pytest.mark.parametrize("round_", range(3))
def test_many_find_the_same_database_empty(postgres: str, round_: int, tmp_path: Path) -> None:
    """Optuna alone falls over the others' CREATE TABLE."""
    barrier = threading.Barrier(8)

    def work(number: int) -> str:
        barrier.wait()
        location = locate(f"run{number % 2}", tmp_path, postgres)
        settings = replace(SETTINGS, seed=number)
        try:
            create_run(location, settings)
        except RunExists:
            return "there"
        return "created"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert sorted(found) == ["created"] * 2 + ["there"] * 6
    storage = optuna.storages.RDBStorage(postgres)
    assert storage.get_current_version() == storage.get_head_version()
    names = {study.study_name for study in storage.get_all_studies()}
    storage.remove_session()
    storage.engine.dispose()
    assert names == {"run0", "run1"}


def test_many_find_no_file(tmp_path: Path) -> None:
    """Two runs that begin at the same time in one file: none takes the other's away."""
    url = f"sqlite:///{tmp_path}/runs.db"
    barrier = threading.Barrier(6)

    def work(number: int) -> bool:
        barrier.wait()
        try:
            create_run(locate(f"run{number % 3}", tmp_path, url), SETTINGS)
        except RunExists:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 3
    for number in range(3):
        assert open_run(url, f"run{number}").settings == SETTINGS


def test_a_study_appears_whole(postgres: str, tmp_path: Path) -> None:
    """Who is killed while a run is created leaves none, not one without settings."""
    location = locate("run", tmp_path, postgres)
    with pytest.raises(TypeError):
        create_run(location, SETTINGS, {"settings": {}, "latency": object()})
    with pytest.raises(ValueError, match="holds no study 'run'"):
        Run(location)
    create_run(location, SETTINGS)
    assert Run(location).settings == SETTINGS


def test_many_runs_in_one_database(postgres: str, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        search(tmp_path, postgres, name=name, seed=seed, trials=3, join=name == "two")
    runs = {name: open_run(f"{postgres}#{name}") for name in ("one", "two")}
    assert {name: len(run.trials) for name, run in runs.items()} == {"one": 3, "two": 3}
    assert [run.settings.seed for run in runs.values()] == [1, 2]
    assert runs["one"].trials["number"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("url", "named"),
    [("mysql+pymysql://me@here/runs", "mysql"), ("sqlite://", "SQLite in memory")],
)
def test_a_database_that_cannot_keep_drivers_apart_is_refused(
    url: str, named: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"not in {named}: its locks are not known"):
        check_shareable(locate("run", tmp_path, url))


# ------------------------------------------------------------------------------ who is there


def entered(location: Location, driver: Driver) -> Heartbeat:
    storage = open_storage(location)
    study = storage.get_study_id_from_name(location.name)
    storage.remove_session()
    storage.engine.dispose()
    heartbeat = Heartbeat(location, study, driver, seconds=lambda: 7.0, workers=lambda: 3)
    heartbeat.enter()
    return heartbeat


def test_a_driver_is_heard_of_while_it_lives(place: Location) -> None:
    driver = this_driver("one", is_alone=False, workers=1, grace_seconds=1.2)
    heartbeat = entered(place, driver)
    first = Run(place).drivers.known[0]
    assert (first.workers, first.seconds, first.pid) == (3, 7.0, driver.pid)
    wait_until(lambda: Run(place).drivers.known[0].heard > first.heard)
    run = Run(place)
    assert run.state == "running"
    assert run.elapsed_seconds >= 7
    heartbeat.stop()
    wait_until(lambda: Run(place).drivers.alive == ())
    assert Run(place).state == "finished"


def test_who_is_dead_and_who_may_be() -> None:
    here = this_driver("here", is_alone=False, workers=1, grace_seconds=60)
    assert here.at(100, 0, 1).is_alive(160)
    assert not here.at(100, 0, 1).is_alive(161)
    gone = replace(here, name="gone", started=here.started - 50).at(100, 0, 1)
    assert not gone.is_alive(100), "another process has its id now"
    far = replace(gone, name="far", place="elsewhere")
    assert far.is_alive(160)
    assert not far.is_alive(161)
    # Whoever comes back after the database was away gives the others the time for two beats.
    drivers = Drivers((here.at(100, 5, 1), gone, far), now=500)
    assert [driver.name for driver in drivers.presumed(0)] == ["here", "far"]
    assert [driver.name for driver in drivers.presumed(19)] == ["here", "far"]
    assert drivers.presumed(20.1) == ()
    assert Drivers((here.at(100, 5, 1),), now=110).seconds == 15
    assert drivers.seconds == 5, "nobody drove it since"


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_who_is_alone_and_who_is_not_do_not_mix(postgres: str, tmp_path: Path) -> None:
    """On a server, where no lock of a directory tells: as from two machines."""
    first, second = tmp_path / "a", tmp_path / "b"
    search(first, postgres)
    location = locate("run", first, postgres)
    other = this_driver("other", is_alone=False, workers=1)
    heartbeat = entered(location, other)
    for settings, message in (
        (
            {"resume": True},
            rf"is driven by process {other.pid} on .*; work beside them with --join",
        ),
        ({"join": True, "trials": 5}, r"with trials 2, not 5: leave it out, or change it when"),
    ):
        with pytest.raises(ValueError, match=message):
            search(second, postgres, **settings)
    heartbeat.stop()
    heartbeat = entered(location, replace(other, is_alone=True))
    with pytest.raises(ValueError, match=r"is driven alone by process .*; stop it first, or"):
        search(second, postgres, join=True)
    heartbeat.stop()


def test_a_file_lock_keeps_who_is_alone_and_who_is_not_apart(tmp_path: Path) -> None:
    """On one machine; several who share are let in together."""
    location = locate("run", tmp_path)
    shared = [DriverLock(location, is_shared=True) for _ in range(2)]
    with pytest.raises(ValueError, match=r"driven by several drivers; work with them \(--join\)"):
        DriverLock(location)
    for lock in shared:
        lock.release()
    alone = DriverLock(location)
    with pytest.raises(ValueError, match=f"driven by process {os.getpid()}; stop that first"):
        DriverLock(location, is_shared=True)
    alone.release()


def test_limits_may_change_while_nobody_else_is_there(tmp_path: Path) -> None:
    search(tmp_path, None, join=True, trials=3)
    run = search(tmp_path, None, join=True, trials=5)
    assert (len(run.trials), run.settings.trials) == (5, 5)
    assert len(search(tmp_path, None, join=True, trials=None).trials) == 5
    with pytest.raises(ValueError, match="cannot go on with another seed"):
        search(tmp_path, None, join=True, seed=9)


# ------------------------------------------------------------------------------ searching


@pytest.mark.parametrize("sampler", ["random", "nsga2", "qmc", "evolution"])
def test_who_joins_alone_searches_as_who_is_alone(tmp_path: Path, sampler: str) -> None:
    alone = search(tmp_path / "a", None, sampler=sampler, trials=10)
    joined = search(tmp_path / "b", None, sampler=sampler, trials=10, join=True)
    columns = ["number", "state", "architecture", "error", "origin", "epochs", "train_seconds"]
    assert joined.trials[columns].equals(alone.trials[columns])
    assert joined.curves.equals(alone.curves)
    assert joined.rejections == alone.rejections
    assert joined.ended is not None
    assert joined.ended.message == "10 trials trained, as asked"


def test_halving_sees_the_others_rungs(tmp_path: Path) -> None:
    """Two drivers in threads; a stop names rivals that the other one ran."""
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(search, tmp_path, None, capacity=2, trials=40, halving=True, join=True)
            for _ in range(2)
        ]
        done = [each.result() for each in runs]
    run = done[0].refresh()
    trials = run.trials
    assert (trials["state"] == "pruned").sum() >= 3
    assert (trials["state"].isin(["complete", "pruned"]) & ~trials["reused"]).sum() == 40
    seen = max(stop.seen for stop in run.stops.values() if stop.epoch == 1)
    # Neither has run as many by itself as it has seen at the first rung.
    assert seen > 20
    assert run.state == "finished"


def test_failures_in_one_driver_are_made_up_for(tmp_path: Path) -> None:
    from nas.search.executor import Report

    def script(job: Any) -> Any:
        if job.number % 4 == 1:
            return [Report(job.number, "failed", None, "no memory")]
        return trained(job)

    run = search(tmp_path, None, capacity=3, trials=9, join=True, script=script)
    assert (run.trials["state"] == "complete").sum() == 9
    assert set(run.trials.loc[run.trials["state"] == "failed", "reason"]) == {"no memory"}


# ------------------------------------------------------------------------------ the command


def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    base = ["search", "--name", "run", "--results", str(tmp_path)]
    new = ["search", "tiny", "--data", "fashion-mnist-mini", *base[1:]]
    for words, message in (
        ([*base, "--join"], "there is no run 'run' in"),
        ([*base, "--join", "--resume"], "--join goes on with a run, too: leave out --resume"),
        ([*new, "--grace", "5s"], "--grace is for --join"),
        ([*new, "--join", "--grace", "0.1s"], "the grace must be 1 second or more, not 0.1"),
        ([*new, "--join", "--plan"], "--plan is for a new search; leave out --join"),
    ):
        result = nas(*words)
        assert result.code == 2
        assert message in result.err
        assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_with_real_training(tmp_path: Path) -> None:
    """Two drivers with a worker each share a run in its own directory."""
    small = ["--epochs", "1", "--images", "256", "--max-macs", "4M", "--workers", "1"]
    base = ["--name", "run", "--results", str(tmp_path), "--join"]
    new = ["search", "tiny", "--data", "fashion-mnist-mini", *base, "--trials", "12", *small]
    command = [sys.executable, "-m", "nas"]
    with started(*command, *new) as first:
        wait_for((tmp_path / "run" / "study.db").exists, first)
        result = nas("search", *base, "--workers", "1")
        assert result.code == 0, result.err
        output, errors = first.communicate(timeout=240)
        assert first.returncode == 0, errors
    assert "12 trials trained, as asked" in output + errors
    run = open_run(tmp_path / "run")
    assert (~run.trials["reused"]).sum() == 12
    assert run.state == "finished"
    assert [item.state for item in list_runs(tmp_path)] == ["finished"]
    assert not psutil.pid_exists(first.pid) or first.status() == psutil.STATUS_ZOMBIE


PAGE = Path(__file__).parent.parent / "docs" / "shared_storage.md"


@pytest.mark.slow
def test_the_commands_of_the_page(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand, with the test's database and less to train."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 3
    small = ["--epochs", "1", "--images", "256", "--max-macs", "4M", "--workers", "1"]
    for line in commands:
        assert line.startswith("$ nas ")
        words = shlex.split(line[len("$ nas ") :].split("  #")[0])
        words = [word.replace("postgresql+psycopg://nas@db/nas", postgres) for word in words]
        words = ["4" if word == "500" else word for word in words]
        result = nas(*words, *(small if "--data" in words else []))
        assert result.code == 0, result.err
    assert "4 trials" in result.out
    assert "postgresql+psycopg://nas@db/nas" in text
    links = relative_links(text)
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_a_turn_whose_end_was_not_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are there though the driver was told that they are not: it finds and claims them."""
    know, calls = NewsReader.know, []

    def deaf(self: NewsReader, trial_ids: dict[int, int], *, is_open: bool) -> None:
        calls.append(is_open and bool(trial_ids))
        if sum(calls) == 3 and calls[-1]:  # the rows are there: this comes after the commit
            origin = sqlalchemy.exc.OperationalError("COMMIT", None, Exception("server closed"))
            raise OSError("cannot write") from origin
        know(self, trial_ids, is_open=is_open)

    monkeypatch.setattr(NewsReader, "know", deaf)
    run = search(tmp_path, None, capacity=2, trials=12, join=True)
    assert sum(calls) >= 3
    assert list(run.trials["state"]) == ["complete"] * 12
    assert run.trials["fingerprint"].is_unique
    assert run.state == "finished"
