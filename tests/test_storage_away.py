"""A storage that goes away while a search runs: a real server stopped, a real lock, a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from postgres_server import Server, stoppable_postgres_server
from small_search import error_of, small_task, trained
from sqlalchemy.exc import OperationalError
from test_bad_input import in_a_mount

from nas.records import Location, Outcome, Run, locate, open_run
from nas.records.journal import Journal, left_entries
from nas.records.lasting import LastingWriter, StorageAwayError
from nas.records.outages import engine_settings, is_passing, pause_seconds
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search
from nas.search.local_executor import LocalExecutor
from nas.search.work import OwnFunction
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")

AWAY_SECONDS = float(os.environ.get("NAS_AWAY_SECONDS", "3"))
"""How long the server is away; trials end meanwhile, and none of them waits for it."""


class Notes:
    """What a search says, and what it is to say at each progress."""

    def __init__(self, on_note: Callable[[str], None] = lambda line: None) -> None:
        self.lines: list[str] = []
        self.notices: set[str] = set()
        self._on_note = on_note

    def update(self, progress: Any) -> None:
        if progress.notice:
            self.notices.add(progress.notice)

    def note(self, line: str) -> None:
        self.lines.append(line)
        self._on_note(line)

    def close(self) -> None: ...

    def having(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]


def invented(architecture: Any, task: Any, seed: int) -> float:
    """Takes a moment, so that some trials end while the storage is away."""
    time.sleep(0.05)
    return error_of(architecture)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with stoppable_postgres_server() as made:
        yield made


def check_complete(run: Run, trials: int) -> None:
    """As many as asked, none twice, none half-written, and each with its own result."""
    assert (run.trials["state"] == "complete").sum() == trials == (~run.trials["reused"]).sum()
    assert run.trials["fingerprint"].is_unique
    assert list(run.trials["number"]) == list(range(len(run.trials)))
    for row in run.trials.to_dict("records"):
        assert row["error"] == error_of(run.architecture(row["number"]))
    ended = set(run.trials["number"])
    assert set(run.curves["number"]) == ended


# --------------------------------------------------------------------------- a server that returns


def test_a_server_that_is_away_for_a_while(server: Server, tmp_path: Path) -> None:
    """Stopped at the third trial, started again when the search says that it is away."""
    threads: list[threading.Thread] = []

    def on_note(line: str) -> None:
        if line.startswith("trial 3 "):
            server.stop()
        elif "does not answer" in line:
            threads.append(threading.Timer(AWAY_SECONDS, server.start))
            threads[-1].start()

    notes = Notes(on_note)
    run = run_search(
        TINY,
        small_task(),
        name="away",
        results=tmp_path,
        storage=server.url,
        trials=14,
        sampler="random",
        executor=LocalExecutor(OwnFunction(invented), ["cpu", "cpu"]),
        display=notes,
    )
    for thread in threads:
        thread.join()
    check_complete(run, 14)
    assert run.state == "finished"
    assert len(notes.having("the storage does not answer (")) == 1
    assert len(notes.having("the storage answers again, after ")) == 1
    assert any(text.startswith("the storage has not answered for ") for text in notes.notices)
    assert list((tmp_path / "away").glob("unwritten*")) == []
    gone = notes.lines.index(notes.having("the storage does not answer (")[0])
    back = notes.lines.index(notes.having("the storage answers again, after ")[0])
    assert [line for line in notes.lines[gone:back] if " complete: " in line], (
        "what was running is taken while the storage is away"
    )


def test_a_server_that_does_not_come_back(server: Server, tmp_path: Path) -> None:
    """What was finished is in the journal; a resume takes it up and trains none of it again."""
    settings: dict[str, Any] = {"name": "gone", "results": tmp_path, "storage": server.url}
    notes = Notes()
    with pytest.raises(OSError, match="the storage has not answered for ") as caught:
        run_search(
            TINY,
            small_task(),
            trials=12,
            sampler="random",
            executor=ScriptedExecutor(stopping_at(6, server), 4),
            storage_wait_seconds=2,
            display=notes,
            **settings,
        )
    journal = next((tmp_path / "gone").glob("unwritten*"))
    message = str(caught.value)
    assert f"3 trials finished since kept in {journal}; go on with --resume" in message
    assert "(--storage-wait 2.0s)" in message
    assert "\n" not in message
    server.start()
    before = open_run(server.url, "gone")
    assert (before.trials["state"] == "complete").sum() == 4
    assert (before.trials["state"] == "running").sum() == 3

    jobs: list[int] = []

    def again(job: Job) -> list[Report]:
        jobs.append(job.number)
        return trained(job)

    notes = Notes()
    run = run_search(
        None, None, executor=ScriptedExecutor(again), resume=True, display=notes, **settings
    )
    check_complete(run, 12)
    assert jobs == [7, 8, 9, 10, 11]
    assert notes.having(f"3 trials that an earlier driver finished taken up from {journal}")
    assert list((tmp_path / "gone").glob("unwritten*")) == []
    done = before.trials["state"] == "complete"
    pd.testing.assert_frame_equal(run.trials[:7][done], before.trials[done])


def stopping_at(number: int, server: Server) -> Callable[[Job], list[Report]]:
    """A script under which the server is stopped when that trial is submitted."""

    def script(job: Job) -> list[Report]:
        if job.number == number:
            server.stop()
        return trained(job)

    return script


def test_ctrl_c_while_the_server_is_away(server: Server, tmp_path: Path) -> None:
    def on_note(line: str) -> None:
        if line.startswith("trial 2 complete"):
            os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(OSError, match=r"; 1 trial finished since kept in .*unwritten-"):
            run_search(
                TINY,
                small_task(),
                name="stopped",
                results=tmp_path,
                storage=server.url,
                trials=12,
                sampler="random",
                executor=ScriptedExecutor(stopping_at(2, server), 1),
                display=Notes(on_note),
            )
    finally:
        server.start()


# --------------------------------------------------------------------------- doubtful writes


class Doubtful(LastingWriter):
    """The answer of one commit is lost after it was done, as when a cable is pulled."""

    lost: str = ""

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:  # type: ignore[override]
        with super()._writing():
            yield
        if self.lost and self._storage_has(self.lost):
            self.lost = ""
            with super()._writing():
                raise OperationalError("COMMIT", {}, Lost("the connection was lost"))

    def _storage_has(self, what: str) -> bool:
        trials = open_run(self.location.path).trials
        return bool(len(trials)) and (what == "row" or trials["state"].iloc[0] == what)


class Lost(Exception):  # noqa: N818 - as a database's driver has it
    """No state, no number: the server cannot be reached."""


@pytest.fixture
def doubtful(tmp_path: Path) -> Iterator[tuple[Doubtful, Any]]:
    from nas.search.proposals import Judge, Proposals
    from nas.search.samplers import Mirror, distributions_of

    run_search(
        TINY,
        small_task(),
        name="r",
        results=tmp_path,
        trials=1,
        sampler="random",
        executor=ScriptedExecutor(lambda job: [Report(job.number, "failed", None, "no")]),
    )
    with sqlite3.connect(tmp_path / "r" / "study.db") as database:
        for table in ("trials", "trial_params", "trial_user_attributes", "trial_system_attributes"):
            database.execute(f"DELETE FROM {table}")
    database.close()
    task = small_task()
    mirror = Mirror(TINY, ("error", "macs"), "random", 0, chance=0.9, constrained=False)
    from nas.records import Rejections

    proposals = Proposals(
        TINY, Judge(task, {}), mirror, sampler="random", seed=0, rejections=Rejections()
    )
    accepted = None
    while accepted is None:
        accepted = proposals.attempt(0)
    writer = Doubtful(
        locate("r", tmp_path),
        ("error", "macs"),
        distributions_of(TINY),
        created="now",
        note=lambda line: None,
    )
    yield writer, accepted.proposal
    writer.close()


def test_a_row_whose_answer_was_lost_is_not_written_twice(doubtful: tuple[Doubtful, Any]) -> None:
    writer, proposal = doubtful
    writer.lost = "row"
    with pytest.raises(StorageAwayError):
        writer.add(proposal)
    number = until_written(lambda: writer.add(proposal))
    trials = open_run(writer.location.path).trials
    assert list(trials["number"]) == [number] == [0]
    # The same network by another proposal is a row of its own.
    assert writer.add(proposal) == 1


def test_an_end_whose_answer_was_lost_is_not_an_error(doubtful: tuple[Doubtful, Any]) -> None:
    writer, proposal = doubtful
    number = writer.add(proposal)
    writer.lost = "complete"
    writer.finish(number, proposal.costs, Outcome("complete", 0.25, 4, 1.0), 2.0)
    assert writer.is_away
    until_written(lambda: writer.settle(lambda: False))
    assert not writer.is_away
    trials = open_run(writer.location.path).trials
    assert list(trials["error"]) == [0.25]
    with pytest.raises(RuntimeError, match="already finished"):
        writer.finish(number, proposal.costs, Outcome("complete", 0.5, 4, 1.0), 2.0)


def until_written(write: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while True:
        assert time.monotonic() < end
        try:
            return write()
        except StorageAwayError:
            time.sleep(0.05)


# --------------------------------------------------------------------------- SQLite


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    held: list[sqlite3.Connection] = []

    def on_note(line: str) -> None:
        if line.startswith("trial 2 "):
            path = tmp_path / "r" / "study.db"
            held.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
            held[0].execute("BEGIN IMMEDIATE")
        elif "does not answer" in line:
            assert "database is locked" in line
            held[0].execute("ROLLBACK")
            held[0].close()

    notes = Notes(on_note)
    run = run_search(
        TINY,
        small_task(),
        name="r",
        results=tmp_path,
        trials=6,
        sampler="random",
        executor=ScriptedExecutor(trained),
        display=notes,
    )
    check_complete(run, 6)
    assert notes.having("the storage answers again, after ")


FULL = """
import sys
sys.path.insert(0, {tests!r})
import pathlib
from small_search import error_of, small_task
from nas.search.launch import run_search

calls = []

def evaluate(architecture, task, seed):
    calls.append(architecture.fingerprint)
    if len(calls) == 4 and len(sys.argv) == 1:
        with open("disk/more", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        raise RuntimeError("because " * 4_000)
    return error_of(architecture)

try:
    run = run_search("tiny", small_task(), name="r", results="disk", trials=6, sampler="random",
                     evaluate=evaluate, resume=len(sys.argv) > 1)
except OSError as error:
    print("error", error.errno, error)
else:
    print("states", *run.trials["state"])
    print("journals", *(path.name for path in run.path.glob("unwritten*")))
print("called", len(calls), len(set(calls)))
"""


def test_what_a_full_disk_left_unwritten_is_taken_up(tmp_path: Path) -> None:
    """A real full disk: what was finished has its room all the same, and is not tried again."""
    (tmp_path / "script.py").write_text(FULL.format(tests=str(Path(__file__).parent)))
    script = f"""
        {sys.executable} script.py
        ls disk/r >&2
        rm disk/more
        {sys.executable} script.py resume
    """
    done = in_a_mount(tmp_path, "size=4m", script)
    lines = done.stdout.splitlines()
    assert len(lines) == 5, (lines, done.stderr)
    assert lines[0].startswith(f"error {errno.ENOSPC} cannot write run 'r' (disk/r/study.db): ")
    assert "make room and go on with --resume; 1 trial finished since kept in disk/r/" in lines[0]
    assert "unwritten-" in done.stderr
    # Three were complete, and the fourth had failed: of it the resumed search knows.
    assert lines[1] == "called 4 4"
    assert lines[2].split()[1:] == ["complete"] * 3 + ["failed"] + ["complete"] * 3
    assert lines[3] == "journals"
    assert lines[4] == "called 3 3"


# --------------------------------------------------------------------------- the parts


def location(path: Path) -> Location:
    return locate("r", path)


def test_a_journal_keeps_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r 1")
    assert list(left_entries(tmp_path, "r 1")) == [], "its driver is at work"
    for number in range(3):
        journal.append({"number": number})
    path = journal.path
    journal.close()
    data = path.read_bytes().rstrip(b"\0")
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        ((found, entries),) = left_entries(tmp_path, "r 1")
        whole = data[:cut].count(b"\n") - 1
        assert entries == [{"number": number} for number in range(max(whole, 0))]
    path.write_bytes(data)
    assert found == path
    assert list(left_entries(tmp_path, "another")) == [(path, [])]


def test_a_journal_without_lines_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r 1")
    journal.append({"number": 1})
    journal.clear()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    run = run_search(
        TINY,
        small_task(),
        name="r",
        results=tmp_path,
        trials=2,
        sampler="random",
        executor=ScriptedExecutor(trained),
    )
    head = {"study": f"r {run.settings.created}"}
    lines = [head, {"number": 0, "outcome": {"state": "complete", "eror": 1}}]
    path = run.path / "unwritten-there-1.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=r"unwritten-there-1.jsonl is damaged: .*move it away"):
        run_search(
            None, None, name="r", results=tmp_path, executor=ScriptedExecutor(trained), resume=True
        )
    assert path.exists()


def test_pauses_grow_and_differ() -> None:
    for tries in range(40):
        pauses = [pause_seconds(tries) for _ in range(50)]
        longest = min(0.25 * 2**tries, 10)
        assert longest / 2 <= min(pauses)
        assert max(pauses) <= longest
        assert len(set(pauses)) > 1


def sqlite_error(code: int) -> OperationalError:
    origin = sqlite3.OperationalError("it failed")
    origin.sqlite_errorcode = code
    return OperationalError("INSERT", {}, origin)


def state_error(state: str) -> OperationalError:
    origin = Lost("the server said no")
    origin.sqlstate = state  # type: ignore[attr-defined]
    return OperationalError("INSERT", {}, origin)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (sqlite_error(sqlite3.SQLITE_BUSY), True),
        (sqlite_error(sqlite3.SQLITE_BUSY | 2 << 8), True),
        (sqlite_error(sqlite3.SQLITE_LOCKED), True),
        (sqlite_error(sqlite3.SQLITE_FULL), False),
        (sqlite_error(sqlite3.SQLITE_READONLY), False),
        (sqlite_error(sqlite3.SQLITE_IOERR), False),
        (state_error("57P01"), True),
        (state_error("08006"), True),
        (state_error("40P01"), True),
        (state_error("53100"), False),
        (state_error("42P01"), False),
        (OperationalError("INSERT", {}, Lost("connection refused")), True),
        (OperationalError("INSERT", {}, Lost(2006, "gone away")), True),
        (OperationalError("INSERT", {}, Lost(1114, "the table is full")), False),
        (OSError(errno.ENOSPC, "no space left"), False),
        (ValueError("ours"), False),
    ],
)
def test_what_is_waited_for(error: Exception, passes: bool) -> None:
    wrapped = OSError("cannot write")
    wrapped.__cause__ = error
    assert is_passing(wrapped) == passes


def test_a_server_that_does_not_take_connections_is_noticed_soon() -> None:
    settings = engine_settings("postgresql+psycopg://u@h/d")
    assert settings == {"connect_args": {"connect_timeout": 5, "tcp_user_timeout": 5000}}
    given = engine_settings("postgresql+psycopg://u@h/d?connect_timeout=60")
    assert given == {"connect_args": {"tcp_user_timeout": 5000}}
    assert engine_settings("sqlite:///runs.db") == {}
    assert engine_settings("no url") == {}


def test_a_wait_below_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the wait for a storage must be 0 seconds or more"):
        run_search(
            TINY,
            small_task(),
            name="r",
            results=tmp_path,
            executor=ScriptedExecutor(trained),
            storage_wait_seconds=-1,
        )


def test_drivers_that_share_a_run_wait_for_their_server_too(server: Server, tmp_path: Path) -> None:
    """Two drivers; the server is stopped in the middle, and neither takes the other for dead."""
    threads: list[threading.Thread] = []
    stopped = threading.Lock()

    def on_note(line: str) -> None:
        if "complete: " in line and not threads and stopped.acquire(blocking=False):
            server.stop()
        elif "does not answer" in line and not threads:
            threads.append(threading.Timer(AWAY_SECONDS, server.start))
            threads[-1].start()

    both = [Notes(on_note), Notes(on_note)]

    def drive(notes: Notes) -> Run:
        return run_search(
            TINY,
            small_task(),
            name="shared",
            results=tmp_path,
            storage=server.url,
            trials=24,
            sampler="random",
            executor=ScriptedExecutor(trained, 2),
            display=notes,
            join=True,
        )

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(drive, both))
    run = done[0].refresh()
    for thread in threads:
        thread.join()
    check_complete(run, 24)
    assert run.state == "finished"
    said = [line for notes in both for line in notes.lines]
    assert any("the storage answers again, after " in line for line in said)
    assert not any("another driver has taken it over" in line for line in said)


def test_a_driver_that_shares_gives_up_on_a_server_that_stays_away(
    server: Server, tmp_path: Path
) -> None:
    """What it had recorded is there, and whoever joins next trains the rest."""
    settings: dict[str, Any] = {"name": "left", "results": tmp_path, "storage": server.url}
    with pytest.raises(OSError, match="cannot write run 'left'"):
        run_search(
            TINY,
            small_task(),
            trials=12,
            sampler="random",
            executor=ScriptedExecutor(stopping_at(6, server), 2),
            storage_wait_seconds=1,
            join=True,
            grace_seconds=2,
            **settings,
        )
    server.start()
    before = Run(locate("left", tmp_path, server.url)).trials
    assert (before["state"] == "complete").sum() >= 4
    run = run_search(None, None, executor=ScriptedExecutor(trained, 2), join=True, **settings)
    check_complete(run, 12)
    done = before[before["state"] == "complete"]
    pd.testing.assert_frame_equal(run.trials[run.trials["number"].isin(done["number"])], done)
