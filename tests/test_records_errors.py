"""Storages that are locked, go away, are half-written or laid out otherwise: one clear line each.

And the contract with Optuna's private tables, which fails when Optuna changes them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from command_line import nas
from optuna.storages._rdb import models
from optuna.trial import TrialState

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from make_large_study import make_large_study

from nas.records import databases, list_runs, locate, open_run
from nas.records.schema import TABLES, UNFINISHED
from nas.records.stored import STATES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    location = locate("large", tmp_path_factory.mktemp("made"))
    list(make_large_study(location, 12, running=2))
    return location.path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "large"))


@pytest.fixture
def locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run whose database another program holds for itself."""
    monkeypatch.setattr(databases, "LOCK_SECONDS", 0.05)
    connection = sqlite3.connect(path / "study.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield path
    connection.rollback()
    connection.close()


def change(path: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(path / "study.db") as database:
        database.execute(sql, values)
    database.close()


# ------------------------------------------------------------------------------ locked, gone


def test_a_locked_database_is_said_and_read_when_it_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LOCK_SECONDS", 0.05)
    run = open_run(path)
    connection = sqlite3.connect(path / "study.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match=r"cannot read run 'large' .*the database is locked: another"):
        _ = run.trials
    connection.rollback()
    connection.close()
    assert len(run.trials) == 12


def test_commands_on_a_locked_database(locked: Path) -> None:
    for words in (("show", locked), ("report", locked, "--out", locked.parent / "r.html")):
        result = nas(*words)
        assert result.code in (1, 2)
        assert result.err.startswith("error: ")
        assert "the database is locked: another program has kept it" in result.err
        assert len(result.err.splitlines()) == 1
    listed = list_runs(locked.parent)
    assert [run.state for run in listed] == ["unreadable"]
    assert "locked" in listed[0].reason


def test_a_database_that_is_gone(path: Path) -> None:
    run = open_run(path)
    (path / "study.db").unlink()
    for table in ("trials", "curves", "choices", "values", "version"):
        with pytest.raises(OSError, match=r"cannot read run 'large' .*no database .* any more"):
            getattr(run, table)
    assert list(path.iterdir()) == [], "reading creates nothing"


def test_a_study_that_is_gone(path: Path) -> None:
    run = open_run(path)
    optuna.delete_study(study_name="large", storage=run.url)
    with pytest.raises(OSError, match="run 'large': its study was deleted from the storage"):
        _ = run.trials
    with pytest.raises(ValueError, match="holds no study 'large'"):
        run.refresh()


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL needs a driver")
    with pytest.raises(ValueError, match=r"is not a run: cannot read run 'x' .*connection"):
        open_run("postgresql+psycopg://nas@127.0.0.1:1/none", "x")


def test_what_a_killed_writer_left_half_written_is_undone(path: Path) -> None:
    expected = open_run(path).trials
    code = (
        "import os, signal, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA cache_size = 2')\n"  # pages go to the file before the end
        "database.execute('BEGIN')\n"
        "database.execute(\"UPDATE trial_user_attributes SET value_json = '{}'\")\n"
        "database.execute(\"UPDATE trials SET state = 'FAIL'\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    before = (path / "study.db").read_bytes()
    done = subprocess.run([sys.executable, "-c", code, path / "study.db"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (path / "study.db-journal").stat().st_size > 0
    assert (path / "study.db").read_bytes() != before
    assert open_run(path).trials.equals(expected)


def test_a_reader_cannot_write(path: Path) -> None:
    run = open_run(path)
    with pytest.raises(OSError, match="readonly"), run.database.snapshot() as connection:
        connection.exec_driver_sql("DELETE FROM trials")


def test_a_snapshot_sees_one_state(path: Path) -> None:
    run = open_run(path)
    with sqlite3.connect(path / "study.db") as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    count = "SELECT COUNT(*) FROM trials WHERE state = 'RUNNING'"
    with run.database.snapshot() as connection:
        before = connection.exec_driver_sql(count).scalar()
        change(path, "UPDATE trials SET state = 'RUNNING'")
        assert connection.exec_driver_sql(count).scalar() == before == 2


# ------------------------------------------------------------------------------ damaged trials


@pytest.mark.parametrize(
    ("key", "text", "table"),
    [
        ("proposal", '{"architecture": "{', "trials"),
        ("proposal", "[1, 2]", "trials"),
        ("result", "", "trials"),
        ("curve", "[[1, 2.5", "curves"),
        ("curve", '{"a": 1}', "curves"),
        ("curve", "[3]", "curves"),
        ("curve", "[[1, 2, 3, 4, 5, 6, 7, 8]]", "curves"),
    ],
)
def test_a_damaged_attribute_is_named(path: Path, key: str, text: str, table: str) -> None:
    change(
        path,
        "UPDATE trial_user_attributes SET value_json = ? WHERE key = ? AND trial_id = 4",
        text,
        key,
    )
    run = open_run(path)
    with pytest.raises(ValueError, match=f"run 'large': trial 3: its '{key}' is damaged: "):
        getattr(run, table)
    result = nas("show", path, "--trial", 3)
    assert result.code == 2
    assert f"trial 3: its '{key}' is damaged" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_value_of_another_type_is_named(path: Path) -> None:
    text = json.dumps({"fingerprint": "a", "seed": "not a number"})
    change(
        path,
        "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'proposal' AND trial_id = 4",
        text,
    )
    with pytest.raises(ValueError, match=r"run 'large': trial 3 holds what is no value of its"):
        _ = open_run(path).trials


def test_trials_that_others_added_are_read_as_far_as_they_go(path: Path) -> None:
    """A trial with a name and no more, one that waits, and one that is half there."""
    url = f"sqlite:///{path}/study.db"
    study = optuna.load_study(study_name="large", storage=url)
    study.ask()
    study.add_trial(optuna.trial.create_trial(values=[0.25, 7.0]))
    study.enqueue_trial({})
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    change(path, "DELETE FROM trial_user_attributes WHERE trial_id IN (3, 12)")
    change(path, "DELETE FROM trial_values WHERE trial_id = 1")
    run = open_run(path)
    trials = run.trials
    assert trials["state"].tolist()[12:] == ["running", "complete", "running", "failed"]
    assert trials["error"][13] == 0.25
    assert trials.loc[[2, 13], "architecture"].tolist() == ["", ""]
    assert len(run.choices) == 12
    assert trials["error"].isna()[0], "a complete trial without a value has no error"


# ------------------------------------------------------------------------------ the contract


def test_optunas_tables_have_what_is_read() -> None:
    """Fails when another Optuna renames what :mod:`nas.records.schema` reads."""
    for table, columns in TABLES.items():
        found = models.BaseModel.metadata.tables[table].columns
        assert set(columns) <= set(found.keys()), table
    assert models.SCHEMA_VERSION == 12, "read Optuna's changes, then say so in TABLES"
    assert set(STATES) == {state.name for state in TrialState}
    assert set(UNFINISHED) == {state.name for state in TrialState if not state.is_finished()}


def test_optuna_does_not_change_finished_trials(path: Path) -> None:
    """What the cache rests on."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}/study.db")
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(1, "proposal", {})
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(1, TrialState.FAIL)
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize(
    ("sql", "missing"),
    [
        ("ALTER TABLE trials RENAME COLUMN datetime_complete TO ended", "trials.datetime_complete"),
        ("ALTER TABLE trial_values RENAME TO trial_objectives", "trial_values.trial_id"),
    ],
)
def test_a_storage_of_another_layout_says_what_is_missing(
    path: Path, sql: str, missing: str
) -> None:
    change(path, sql)
    run = open_run(path)
    with pytest.raises(OSError, match="cannot read run 'large'") as caught:
        _ = run.trials
    message = str(caught.value)
    assert f"its tables are not those of Optuna 3.2 to 5: there is no {missing}" in message
    result = nas("show", path)
    assert result.code == 1
    assert missing in result.err
    assert len(result.err.splitlines()) == 1


def test_the_statements_of_reading_are_in_one_module() -> None:
    """So that the contract is all there is: nobody else names Optuna's tables."""
    sources = [file for file in (ROOT / "nas").rglob("*.py") if file.name != "schema.py"]
    for file in sources:
        text = file.read_text()
        for table in TABLES:
            for word in (f"FROM {table}", f"JOIN {table}"):
                assert word not in text, f"{file.relative_to(ROOT)} reads {table}"


def test_the_lock_is_waited_for(path: Path) -> None:
    """A writer at work delays a reader and does not stop it."""
    code = (
        "import sqlite3, sys, time\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "time.sleep(0.5)\n"
        "database.execute('COMMIT')"
    )
    run = open_run(path)
    command = [sys.executable, "-c", code, str(path / "study.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        assert len(run.trials) == 12
