"""Reading runs: types, errors that help, the list, deletion, and that reading is light."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from small_search import trained
from test_search import TINY, search, task

from nas.cli.trial_data import trial_data
from nas.records import (
    CURVE_COLUMNS,
    TRIAL_COLUMNS,
    delete_run,
    driver_of,
    list_runs,
    open_run,
)
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that tests only read: ``first`` (three trials) and ``empty`` (none yet)."""
    path = tmp_path_factory.mktemp("results")
    search(path, name="first", trials=3)

    def die(job: Job) -> list[Report]:
        raise RuntimeError("no worker")

    with pytest.raises(RuntimeError):
        search(path, die, name="broken", trials=3)
    return path


def test_types_are_the_same_with_and_without_rows(results: Path) -> None:
    for name in ("first", "broken"):
        run = open_run(results / name)
        assert {column: str(kind) for column, kind in run.trials.dtypes.items()} == TRIAL_COLUMNS
        assert {column: str(kind) for column, kind in run.curves.dtypes.items()} == CURVE_COLUMNS
        assert isinstance(run.trials.index, pd.RangeIndex)
    assert len(open_run(results / "broken").curves) == 0


def test_seconds_of_set_up_are_read_and_0_in_runs_that_have_none(tmp_path: Path) -> None:
    run = search(tmp_path, name="old", trials=2)
    assert set(run.curves["setup_seconds"]) == {0.05}
    assert trial_data(run, 0)["setup_seconds"] == 0.05
    with sqlite3.connect(run.path / "study.db") as database:
        rows = database.execute(
            "SELECT trial_user_attribute_id, value_json FROM trial_user_attributes "
            "WHERE key = 'curve'"
        ).fetchall()
        for number, text in rows:
            shorter = json.dumps([point[:5] for point in json.loads(text)])
            database.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?",
                (shorter, number),
            )
    old = run.refresh().curves
    assert set(old["setup_seconds"]) == {0.0}
    pd.testing.assert_frame_equal(
        old.drop(columns="setup_seconds"), run.curves.drop(columns="setup_seconds")
    )


def test_a_search_that_broke_says_why(results: Path) -> None:
    run = open_run(results / "broken")
    assert run.state == "interrupted"
    assert run.ended is not None
    assert run.ended.message == "no worker"


def test_a_directory_that_is_no_run(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"frist is not a run; did you mean 'first'\?"):
        open_run(results / "frist")
    with pytest.raises(ValueError, match=r"is not a run$"):
        open_run(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "study.db").write_text("no database")
    with pytest.raises(ValueError, match=r"text is not a run: .*file is not a database"):
        open_run(tmp_path / "text")
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / "study.db") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(ValueError, match=r"other is not a run: .*no such table: studies"):
        open_run(tmp_path / "other")
    with pytest.raises(ValueError, match="there is no directory /nowhere"):
        open_run("sqlite:////nowhere/study.db")


def test_a_study_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    url = f"sqlite:///{tmp_path}/run/study.db"
    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(ValueError, match="study 'theirs' was not written by"):
        open_run(tmp_path / "run")


def test_optuna_reads_the_same(results: Path) -> None:
    run = open_run(results / "first")
    study = optuna.load_study(study_name="first", storage=f"sqlite:///{run.path}/study.db")
    for number, trial in enumerate(study.trials):
        assert trial.params == run.values[number]
        assert list(trial.params) == list(TINY.parameters)
        assert trial.values == [run.trials["error"][number], run.trials["macs"][number]]


def test_a_newer_format(tmp_path: Path) -> None:
    search(tmp_path, trials=1)
    with sqlite3.connect(tmp_path / "run" / "study.db") as database:
        query = "SELECT value_json FROM study_user_attributes WHERE key = 'settings'"
        settings = json.loads(database.execute(query).fetchone()[0])
        settings["format"] = 99
        database.execute(
            "UPDATE study_user_attributes SET value_json = ? WHERE key = 'settings'",
            (json.dumps(settings),),
        )
    with pytest.raises(ValueError, match="run 'run' has format 99, newer than this version"):
        open_run(tmp_path / "run")


def test_a_renamed_directory_opens(tmp_path: Path) -> None:
    search(tmp_path, trials=2)
    os.rename(tmp_path / "run", tmp_path / "moved")
    assert len(open_run(tmp_path / "moved").trials) == 2


def test_no_such_trial(results: Path) -> None:
    with pytest.raises(ValueError, match="run 'first' has no trial 7; it has 0 to 2"):
        open_run(results / "first").architecture(7)


def test_reading_writes_nothing(results: Path) -> None:
    files = {item: item.stat().st_mtime_ns for item in results.rglob("*")}
    run = open_run(results / "first")
    assert len(run.trials) == len(run.choices) == 3
    assert run.rejections.total >= 0
    assert {item: item.stat().st_mtime_ns for item in results.rglob("*")} == files


def test_list_and_delete(tmp_path: Path) -> None:
    search(tmp_path, name="old", trials=2)
    search(tmp_path, name="new", trials=3)
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert set(runs) == {"old", "new"}
    assert (runs["new"].state, runs["new"].trials) == ("finished", {"complete": 3})
    assert (runs["new"].space, runs["new"].data) == ("tiny", "tensors")
    size = sum(item.stat().st_size for item in (tmp_path / "old").iterdir())
    assert runs["old"].disk_bytes == size == delete_run(tmp_path / "old")
    assert [run.name for run in list_runs(tmp_path)] == ["new"]
    with pytest.raises(ValueError, match="old is not a run"):
        delete_run(tmp_path / "old")
    assert list_runs(tmp_path / "nothing") == []


def test_what_cannot_be_read_hides_no_run(tmp_path: Path) -> None:
    search(tmp_path, name="good", trials=1)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "study.db").write_text("no database")
    (tmp_path / "theirs").mkdir()
    url = f"sqlite:///{tmp_path}/theirs/study.db"
    optuna.create_study(storage=url, study_name="theirs")
    runs = list_runs(tmp_path)
    assert [(run.name, run.state) for run in runs] == [
        ("good", "finished"),
        ("bad", "unreadable"),
        ("theirs", "unreadable"),
    ]
    assert "file is not a database" in runs[1].reason
    assert "was not written by `nas search`" in runs[2].reason
    assert runs[1].disk_bytes == len("no database")


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_url_finds_the_run_and_its_driver(tmp_path: Path, is_shared: bool) -> None:
    shared = f"sqlite:///{tmp_path}/all.db" if is_shared else None
    url = shared or f"sqlite:///{tmp_path}/run/study.db"
    seen = []

    def script(job: Job) -> list[Report]:
        runs = (open_run(url), open_run(url, "run"), open_run(f"{url}#run"))
        seen.extend((run.name, run.path.name, run.state, driver_of(run)) for run in runs)
        return trained(job)

    search(tmp_path, script, trials=1, storage=shared)
    assert seen == [("run", "run", "running", os.getpid())] * 3


def test_a_run_at_work_is_not_deleted(tmp_path: Path) -> None:
    seen = []

    def script(job: Job) -> list[Report]:
        run = open_run(tmp_path / "run")
        seen.append((driver_of(run), run.state))
        with pytest.raises(ValueError, match="is being driven by process"):
            delete_run(tmp_path / "run")
        return trained(job)

    run = search(tmp_path, script, trials=1)
    assert seen == [(os.getpid(), "running")]
    assert driver_of(run) is None


def test_a_killed_creation_leaves_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.db.new").write_text("half")
    assert len(search(tmp_path, trials=2).trials) == 2


def test_optuna_stays_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("optuna").level
    search(tmp_path, trials=2, sampler="tpe")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("optuna").level == level


def test_a_failed_trial_keeps_its_curve(tmp_path: Path) -> None:
    def script(job: Job) -> list[Report]:
        return [*trained(job)[:2], Report(job.number, "failed", None, "nan")]

    executor = ScriptedExecutor(script)
    run = run_search(TINY, task(), name="r", results=tmp_path, executor=executor, trials=1)
    assert set(run.curves["number"]) == set(range(10))


def test_reading_needs_neither_torch_nor_optuna(results: Path) -> None:
    code = (
        "import sys; from nas.records import open_run, list_runs\n"
        f"run = open_run({str(results / 'first')!r})\n"
        "assert len(run.trials) == 3 and len(run.curves) and run.ended and run.state\n"
        "assert not {'torch', 'ray', 'optuna'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
