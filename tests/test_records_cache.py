"""Large runs through the cache: the same tables, what is read anew, and what may go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from records_by_optuna import tables_by_optuna

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from make_large_study import (
    add_trials,
    create_large_study,
    finish_running,
    forty_choices,
    make_large_study,
)
from postgres_server import postgres_server

from nas.records import Location, Run, locate, open_run, store
from nas.records.cache import cache_directory

TABLES = ("trials", "curves", "choices")
ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "results" / "quickstart"
TRIALS = 130


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Large runs begin at fifty trials, files at twenty: the same code for a thousandth."""
    for name, value in (("CACHED_FROM", 50), ("BATCH", 30), ("SEGMENT", 50), ("SAVE_FROM", 10)):
        monkeypatch.setattr(store, name, value)
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "user-cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 130 trials, the last five running; tests copy it."""
    location = locate("large", tmp_path_factory.mktemp("made"))
    list(make_large_study(location, TRIALS, running=5))
    return location.path


@pytest.fixture
def large(made: Path, tmp_path: Path) -> Path:
    """A copy of the run for one test."""
    return Path(shutil.copytree(made, tmp_path / "large"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def location_of(path: Path) -> Location:
    return Location(f"sqlite:///{path}/study.db", "large", path)


def add(path: Path, trials: int, first: int = TRIALS, **more: Any) -> None:
    list(add_trials(location_of(path), trials, first=first, **more))


def check_equal(run: Run, *tables: str) -> None:
    """The run's tables are what Optuna reads, types and all."""
    expected = tables_by_optuna(run)
    for table in tables or TABLES:
        found = getattr(run, table)
        pd.testing.assert_frame_equal(found, expected[table], check_exact=True)
        assert isinstance(found.index, pd.RangeIndex)


def change(path: Path, sql: str, *values: Any) -> None:
    with sqlite3.connect(path / "study.db") as database:
        database.execute(sql, values)
    database.close()


def spoil(path: Path, last: int = 120) -> None:
    """Change finished trials behind Optuna's back: who reads them again gives other tables."""
    change(path, "UPDATE trial_values SET value = 0.125 WHERE trial_id <= ?", last)
    change(
        path,
        "UPDATE trial_user_attributes SET value_json = '[]' WHERE key = 'curve' AND trial_id <= ?",
        last,
    )
    change(path, "UPDATE trial_params SET param_value = 0 WHERE trial_id <= ?", last)


def files(path: Path, table: str = "trials") -> dict[str, bytes]:
    found = sorted((path / "cache" / table).iterdir())
    return {file.name: file.read_bytes() for file in found if file.name != "lock"}


def frames(run: Run) -> dict[str, pd.DataFrame]:
    return {table: getattr(run, table) for table in TABLES}


def check_same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for table in TABLES:
        pd.testing.assert_frame_equal(found[table], expected[table], check_exact=True)


# ------------------------------------------------------------------------------ the same tables


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_real_run_reads_as_optuna_reads_it(
    tmp_path: Path, is_cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(QUICKSTART, tmp_path / "quickstart"))
    monkeypatch.setattr(store, "CACHED_FROM", 50 if is_cached else 1000)
    for _ in range(2):
        run = open_run(path)
        check_equal(run)
        assert run.notes == ()
    assert (path / "cache").is_dir() == is_cached


def test_a_generated_run_cold_warm_and_refreshed(large: Path) -> None:
    run = open_run(large)
    check_equal(run)
    check_equal(run.refresh())
    check_equal(open_run(large))
    assert run.trials["state"].value_counts()["running"] == 5


def test_postgresql(server: str) -> None:
    location = locate("large", storage=server)
    list(make_large_study(location, TRIALS, running=5))
    run = open_run(server, "large")
    check_equal(run)
    check_equal(open_run(server, "large"))
    directory = cache_directory(location)
    assert directory is not None
    assert (directory / "choices" / "manifest.json").is_file()
    finish_running(location)
    list(add_trials(location, 40, first=TRIALS, running=2))
    check_equal(run.refresh())
    check_equal(open_run(server, "large"))
    with run.database.snapshot() as connection, pytest.raises(Exception, match="read-only"):
        connection.exec_driver_sql("DELETE FROM trials")


def test_a_lost_trial_and_seconds_are_those_of_the_small_run(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(
        large,
        "UPDATE trial_user_attributes SET value_json = "
        "'{\"lost\": true, \"elapsed_seconds\": 99999}' WHERE key = 'result' AND trial_id = 8",
    )
    cached = open_run(large)
    assert (cached.lost, cached.elapsed_seconds) == (frozenset({7}), 99999.0)
    monkeypatch.setattr(store, "CACHED_FROM", 1000)
    plain = open_run(large)
    assert (plain.lost, plain.elapsed_seconds) == (frozenset({7}), 99999.0)


def test_commands_print_the_same_with_and_without_a_cache(
    large: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from command_line import nas

    def printed() -> list[str]:
        lines = [("show", large), ("show", large, "--trial", 7), ("show", large, "--json")]
        results = [nas(*words) for words in lines]
        assert [result.code for result in results] == [0, 0, 0], results
        report = tmp_path / "report.html"
        assert nas("report", large, "--out", report).code == 0
        return [*(result.out for result in results), report.read_text()]

    monkeypatch.setattr(store, "CACHED_FROM", 1000)
    plain = printed()
    assert not (large / "cache").exists()
    monkeypatch.setattr(store, "CACHED_FROM", 50)
    for _ in range(2):
        assert printed() == plain
    assert (large / "cache" / "trials").is_dir()


# ------------------------------------------------------------------------------ what is read


def test_only_new_and_unfinished_trials_are_read_again(large: Path) -> None:
    run = open_run(large)
    before = frames(run)
    spoil(large)
    add(large, 20, running=3)
    change(
        large,
        "UPDATE trial_user_attributes SET value_json = '[[1, 2, 3, 0.5, 4, 5]]' "
        "WHERE key = 'curve' AND trial_id = ?",
        TRIALS,
    )
    for fresh in (run.refresh(), open_run(large)):
        assert len(fresh.trials) == TRIALS + 20
        pd.testing.assert_frame_equal(fresh.trials[:125], before["trials"][:125])
        pd.testing.assert_frame_equal(
            fresh.choices.astype(object)[:125], before["choices"].astype(object)[:125]
        )
        assert fresh.curves.query(f"number == {TRIALS - 1}")["error"].tolist() == [0.5]
        assert fresh.trials["state"].value_counts()["running"] == 8


def test_trials_that_end_out_of_order_stand_in_order(large: Path) -> None:
    run = open_run(large)
    assert len(run.trials) == TRIALS
    add(large, 60)
    run = run.refresh()
    check_equal(run)
    finish_running(location_of(large))
    check_equal(run.refresh())
    check_equal(open_run(large))


def test_each_table_is_filled_when_it_is_asked_for(large: Path) -> None:
    run = open_run(large)
    assert not (large / "cache").exists()
    assert len(run.trials) == TRIALS
    assert {item.name for item in (large / "cache").iterdir()} == {"trials"}


def test_progress_tells_how_far_the_first_reading_is(large: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run = open_run(large, progress=lambda *words: told.append(words))
    assert len(run.trials) == TRIALS
    assert told == [("trials", done, TRIALS) for done in (30, 60, 90, 120, TRIALS)]
    assert len(run.refresh().trials) == TRIALS
    assert len(told) == 5


def test_small_steps_grow_one_file_until_it_is_full(large: Path) -> None:
    run = open_run(large)
    for step in range(8):
        assert len(run.trials) == TRIALS + 12 * step
        add(large, 12, first=TRIALS + 12 * step)
        run = run.refresh()
    manifest = json.loads(files(large)["manifest.json"])
    counts = [segment["trials"] for segment in manifest["segments"]]
    assert all(count >= 50 for count in counts[:-1])
    assert len(files(large)) == len(counts) + 1, "files that no manifest names are removed"
    check_equal(open_run(large), "trials")


def test_a_version_changes_when_anything_does(large: Path) -> None:
    run = open_run(large)
    seen = [run.version]
    assert run.refresh().version == seen[0]
    steps: tuple[Callable[[], None], ...] = (
        lambda: add(large, 1),
        lambda: change(
            large,
            "UPDATE trial_user_attributes SET value_json = '[[1, 2, 3, 0.5, 4, 5]]' "
            "WHERE key = 'curve' AND trial_id = ?",
            TRIALS,
        ),
        lambda: assert_some(finish_running(location_of(large))),
        lambda: change(
            large, "UPDATE study_user_attributes SET value_json = 'null' WHERE key = 'ended'"
        ),
    )
    for step in steps:
        step()
        run = run.refresh()
        assert run.version not in seen
        seen.append(run.version)


def assert_some(count: int) -> None:
    assert count


# ------------------------------------------------------------------------------ another study


@pytest.mark.parametrize("trials", [TRIALS, 60, 170])
def test_a_study_created_anew_is_noticed(large: Path, trials: int) -> None:
    run = open_run(large)
    old = frames(run)
    optuna.delete_study(study_name="large", storage=run.url)
    with pytest.raises(OSError, match="run 'large': its study was deleted"):
        run._store.read("trials")
    create_large_study(location_of(large), forty_choices(), seed=9)
    add(large, trials, first=0, seed=9)
    assert not open_run(large).trials.equals(old["trials"])
    check_equal(open_run(large))
    check_equal(run.refresh())


def test_another_database_in_its_place_is_noticed(large: Path, tmp_path: Path) -> None:
    run = open_run(large)
    assert len(run.trials) == TRIALS
    other = locate("large", tmp_path / "other")
    list(make_large_study(other, TRIALS, seed=5))
    os.replace(other.path / "study.db", large / "study.db")
    check_equal(run.refresh())
    check_equal(open_run(large))


def test_a_trial_taken_out_by_hand_is_noticed(large: Path) -> None:
    run = open_run(large)
    assert len(run.trials) == TRIALS
    change(large, "DELETE FROM trials WHERE number = 17")
    for fresh in (run.refresh(), open_run(large)):
        assert 17 not in fresh.trials["number"].tolist()
        assert len(fresh.trials) == TRIALS - 1


# ------------------------------------------------------------------------------ damaged files


def damage_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"format": 1, "identity"')


def damage_nothing_left(path: Path) -> None:
    (path / "manifest.json").write_text("")


def damage_format(path: Path) -> None:
    data = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**data, "format": 99}))


def damage_name(path: Path) -> None:
    """A manifest that leads out of its directory."""
    data = json.loads((path / "manifest.json").read_text())
    shutil.copy(path / data["segments"][0]["file"], path.parent.parent / "outside.parquet")
    data["segments"][0]["file"] = "../../outside.parquet"
    (path / "manifest.json").write_text(json.dumps(data))


def damage_byte(path: Path) -> None:
    file = next(path.glob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def damage_length(path: Path) -> None:
    file = next(path.glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:100])


def damage_absent(path: Path) -> None:
    next(path.glob("*.parquet")).unlink()


def damage_kind(path: Path) -> None:
    """A directory where the manifest should be."""
    (path / "manifest.json").unlink()
    (path / "manifest.json").mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        damage_manifest,
        damage_nothing_left,
        damage_format,
        damage_name,
        damage_byte,
        damage_length,
        damage_absent,
    ],
    ids=lambda function: function.__name__,
)
def test_damaged_files_are_made_again(large: Path, damage: Callable[[Path], None]) -> None:
    expected = frames(open_run(large))
    for table in TABLES:
        damage(large / "cache" / table)
    check_same(frames(open_run(large)), expected)
    spoil(large)
    healed = open_run(large)
    check_same(frames(healed), expected)
    assert healed.notes == ()


def test_a_manifest_that_cannot_be_read_is_said(large: Path) -> None:
    expected = frames(open_run(large))
    damage_kind(large / "cache" / "trials")
    run = open_run(large)
    check_same(frames(run), expected)
    assert len(run.notes) == 1
    assert "kept in memory: Is a directory" in run.notes[0]


def test_a_cache_that_leads_elsewhere_is_not_followed(large: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (large / "cache").symlink_to(tmp_path / "elsewhere")
    run = open_run(large)
    check_equal(run, "trials")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert "leads to another place" in run.notes[0]


FILL = """
import os, signal, sys
from nas.records import open_run, store
store.CACHED_FROM, store.BATCH, store.SEGMENT, store.SAVE_FROM = 50, 10, 20, 5
stop = int(sys.argv[2])
def progress(table, done, total):
    if done >= stop:
        os.kill(os.getpid(), signal.SIGKILL)
run = open_run(sys.argv[1], progress=progress if stop else None)
import hashlib
import pandas as pd
frames = (run.trials, run.curves, run.choices)
print(hashlib.sha256(repr([frame.to_csv() for frame in frames]).encode()).hexdigest())
"""


def fill(path: Path, stop: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FILL, str(path), str(stop)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_what_it_had_read(large: Path) -> None:
    process = fill(large, stop=70)
    assert process.communicate()[0] == ""
    assert process.returncode == -signal.SIGKILL
    cache = large / "cache" / "trials"
    assert sum(one["trials"] for one in json.loads(files(large)["manifest.json"])["segments"]) == 60
    (cache / f".{'0' * 16}.tmp").write_bytes(b"half")
    (cache / f"000007-{'0' * 16}.parquet").write_bytes(b"not named yet")
    (cache / "somebody's notes.txt").write_text("kept")
    told: list[int] = []
    run = open_run(large, progress=lambda _, done, __: told.append(done))
    check_equal(run)
    assert told[0] == 90, "the first sixty come from the files"
    assert not {name for name in files(large) if "0" * 16 in name}
    assert (cache / "somebody's notes.txt").exists()


def test_several_processes_read_at_once(large: Path) -> None:
    processes = [fill(large) for _ in range(4)]
    printed = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(printed) == 1
    run = open_run(large)
    texts = repr([frame.to_csv() for frame in frames(run).values()])
    assert printed == {hashlib.sha256(texts.encode()).hexdigest() + "\n"}
    spoil(large)
    check_same(frames(open_run(large)), frames(run))


def test_who_came_second_writes_when_the_first_is_gone(large: Path) -> None:
    first, second = open_run(large), open_run(large)
    assert len(first.trials) == len(second.trials) == TRIALS
    before = files(large)
    add(large, 20)
    second = second.refresh()
    assert len(second.trials) == TRIALS + 20
    assert files(large) == before, "one process writes at a time"
    del first
    add(large, 20, first=TRIALS + 20)
    assert len(second.refresh().trials) == TRIALS + 40
    assert files(large) != before
    expected = second.refresh().trials
    spoil(large)
    pd.testing.assert_frame_equal(open_run(large).trials, expected)


def test_threads_share_a_run(large: Path) -> None:
    run = open_run(large)
    assert len(run.trials) == TRIALS
    found: list[pd.DataFrame] = []

    def read() -> None:
        found.append(run.refresh().trials)

    add(large, 30)
    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for frame in found:
        pd.testing.assert_frame_equal(frame, found[0])
    check_equal(run.refresh(), "trials")


# ------------------------------------------------------------------------------ places


READ = """
import sys
from nas.records import open_run, store
store.CACHED_FROM, store.SAVE_FROM = 50, 5
run = open_run(sys.argv[1])
print(len(run.trials), len(run.curves) > 0, len(run.choices))
print(*run.notes, sep="\\n")
"""


def on_a_read_only_disk(large: Path, tmp_path: Path, environment: str, twice: str = "") -> str:
    """What a reader prints of the run on a disk that was made read-only."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting a disk needs root and unshare")
    (tmp_path / "disk").mkdir()
    (tmp_path / "read.py").write_text(READ)
    read = f"{environment} {sys.executable} {tmp_path}/read.py {tmp_path}/disk/large"
    script = f"""
        mount -t tmpfs none {tmp_path}/disk || exit 77
        cp -r {large} {tmp_path}/disk/large
        {twice and read}
        mount -o remount,ro {tmp_path}/disk
        {read}
        ls {tmp_path}/disk/large
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this machine does not let us mount")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_read_only_disk_has_its_cache_elsewhere(large: Path, tmp_path: Path) -> None:
    found = on_a_read_only_disk(large, tmp_path, f"NAS_CACHE={tmp_path}/own")
    assert found.splitlines() == [f"{TRIALS} True {TRIALS}", "", "study.db"]
    assert len(list((tmp_path / "own" / "runs").glob("*/*/manifest.json"))) == 3


def test_without_any_place_all_is_kept_in_memory_and_said(large: Path, tmp_path: Path) -> None:
    found = on_a_read_only_disk(large, tmp_path, f"NAS_CACHE={tmp_path}/disk")
    first, note, listed = found.splitlines()
    assert (first, listed) == (f"{TRIALS} True {TRIALS}", "study.db")
    assert note.startswith(str(tmp_path / "disk"))
    assert note.endswith("cannot be used, what is read is kept in memory: Read-only file system")


def test_a_cache_on_a_disk_that_became_read_only_is_used(large: Path, tmp_path: Path) -> None:
    found = on_a_read_only_disk(large, tmp_path, f"NAS_CACHE={tmp_path}/own", twice="yes")
    lines = [f"{TRIALS} True {TRIALS}", ""]
    assert found.splitlines() == [*lines, *lines, "cache", "study.db"]
    assert not (tmp_path / "own").exists()


def test_a_shared_database_has_its_cache_with_the_user(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    for name, seed in (("one", 0), ("two", 1)):
        list(make_large_study(locate(name, storage=url), 60, seed=seed))
    for _ in range(2):
        for name in ("one", "two"):
            check_equal(open_run(url, name))
    assert {item.name for item in tmp_path.iterdir()} == {"all.db", "user-cache"}
    assert len(list((tmp_path / "user-cache" / "runs").iterdir())) == 2


def test_a_run_that_was_deleted_does_not_come_back(large: Path) -> None:
    run = open_run(large)
    assert len(run.trials) == TRIALS
    database = (large / "study.db").read_bytes()
    shutil.rmtree(large)
    with pytest.raises((OSError, ValueError), match=r"there is no database .* any more"):
        run.refresh()
    assert not large.exists()
    large.mkdir()
    (large / "study.db").write_bytes(database)
    add(large, 30)
    check_equal(run.refresh())


# ------------------------------------------------------------------------------ the storage


def test_a_database_that_goes_while_it_is_read(large: Path) -> None:
    def remove(table: str, done: int, total: int) -> None:
        (large / "study.db").unlink(missing_ok=True)

    run = open_run(large, progress=remove)
    with pytest.raises(OSError, match=r"cannot read run 'large' .*there is no database .*any more"):
        _ = run.trials


def test_a_study_that_goes_while_it_is_read(large: Path) -> None:
    url = f"sqlite:///{large}/study.db"

    def remove(table: str, done: int, total: int) -> None:
        optuna.delete_study(study_name="large", storage=url)

    run = open_run(large, progress=remove)
    with pytest.raises(OSError, match="cannot read run 'large': its study was deleted"):
        _ = run.trials


def test_a_study_that_is_replaced_while_it_is_read(large: Path) -> None:
    url = f"sqlite:///{large}/study.db"
    done: list[int] = []

    def replace(*_: Any) -> None:
        if not done:
            done.append(1)
            optuna.delete_study(study_name="large", storage=url)
            create_large_study(location_of(large), forty_choices(), seed=7)
            add(large, 100, first=0, seed=7)

    run = open_run(large, progress=replace)
    assert len(run.trials) == 100
    check_equal(open_run(large))
    check_equal(run, "trials")
