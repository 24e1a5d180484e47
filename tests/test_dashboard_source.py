"""Runs that grow, vanish, are locked and come back, as the dashboard sees them."""

import shutil
import sqlite3
import threading

import numpy as np
import pytest
from synthetic_runs import OBJECTIVES, TASK, distributions, make_run
from synthetic_runs import _write_trial as write_trial

from nas.dashboard.source import LIVE_SECONDS, Source
from nas.dashboard.views.front import standings
from nas.records import Outcome, locate
from nas.records.writing import RunWriter
from nas.space import SearchSpace


def add_trial(run):
    """A new row of a run that is there, as its driver writes one."""
    space = SearchSpace.load("googlenet_small")
    writer = RunWriter(locate(run.name, run.path.parent), OBJECTIVES, distributions(space))
    number = len(run.refresh().trials)
    rng = np.random.default_rng(number)
    write_trial(writer, space, TASK, rng, number, lambda *_: Outcome("running"))
    writer.close()
    return number


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, "first", trials=6)


def test_a_snapshot_has_the_runs_frames(run):
    snapshot = Source([run]).snapshot("first")
    assert snapshot.trials.equals(run.trials)
    assert snapshot.curves.equals(run.curves)
    assert snapshot.choices.equals(run.choices)
    assert (snapshot.error, snapshot.loading, snapshot.is_live) == (None, None, False)


def test_the_version_changes_with_the_run_and_not_without(run):
    source = Source([run])
    before = source.snapshot("first")
    assert source.snapshot("first") is before
    number = add_trial(run)
    after = source.snapshot("first")
    assert after.version != before.version
    assert number in set(after.trials["number"])
    assert number not in set(before.trials["number"])
    assert after.is_live, "what changes is being written to"


def test_what_nobody_trains_is_unfinished_and_not_running(run):
    source = Source([run])
    source.snapshot("first")
    number = add_trial(run)

    def standing(snapshot):
        table = standings(snapshot)
        return table.loc[table["number"] == number, "standing"].item()

    live = source.snapshot("first")
    assert standing(live) == "running"
    # The search has ended: the same frames, under another version, since words have changed.
    source._watched["first"]._changed = -LIVE_SECONDS
    still = source.snapshot("first")
    assert not still.is_live
    assert still.version != live.version
    assert still.trials is live.trials
    assert standing(still) == "unfinished"
    # A database that cannot be read for a moment says nothing about the search.
    shutil.move(run.path, run.path.with_name("away"))
    assert standing(source.snapshot("first")) == "unfinished"


def test_tables_are_computed_once_a_version(run):
    source, calls = Source([run]), []
    for _ in range(3):
        source.snapshot("first").computed("mine", calls.append)
    assert len(calls) == 1
    add_trial(run)
    source.snapshot("first").computed("mine", calls.append)
    assert len(calls) == 2


def test_a_run_that_vanishes_keeps_its_last_frames_and_comes_back(run, tmp_path):
    source = Source([run])
    before = source.snapshot("first")
    shutil.move(run.path, tmp_path / "away")
    gone = source.snapshot("first")
    assert gone.error
    assert gone.version != before.version
    assert gone.trials.equals(before.trials)
    assert source.snapshot("first").version == gone.version, "said once, not each second"
    shutil.move(tmp_path / "away", run.path)
    back = source.snapshot("first")
    assert (back.error, len(back.trials)) == (None, 6)
    assert back.version != gone.version


def test_a_locked_database_keeps_the_last_frames_and_comes_back(run):
    source = Source([run])
    before = source.snapshot("first")
    add_trial(run)
    connection = sqlite3.connect(run.path / "study.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    locked = source.snapshot("first")
    assert "locked" in locked.error
    assert locked.trials.equals(before.trials)
    connection.execute("ROLLBACK")
    connection.close()
    back = source.snapshot("first")
    assert (back.error, len(back.trials)) == (None, 7)


def test_equal_names_are_told_apart_by_their_paths(run, tmp_path):
    other = make_run(tmp_path / "elsewhere", "first", trials=2)
    source = Source([run, other])
    assert source.names == ("first", f"first ({other.path})")
    assert [len(source.snapshot(name).trials) for name in source.names] == [6, 2]


def test_threads_look_at_what_is_asked_for_and_find_new_runs(run, tmp_path):
    source = Source([run], results=tmp_path, seconds=0.05)
    source.start()
    try:
        assert len(source.snapshot("first").trials) == 6
        add_trial(run)
        make_run(tmp_path, "second", trials=3)
        until(lambda: len(source.snapshot("first").trials) == 7)
        until(lambda: "second" in source.names)
        until(lambda: len(source.snapshot("second").trials) == 3)
    finally:
        source.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("run")]


def until(condition):
    waited = threading.Event()
    for _ in range(600):
        if condition():
            return
        waited.wait(0.05)
    pytest.fail("it never happened")
