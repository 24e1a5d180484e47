"""The only part of the dashboard that reads runs: frames as they were a moment ago.

A :class:`Source` looks every second or so at the runs that somebody looks at, in a thread a run
for all who look, and reads what changed. A run that cannot be read just now (its file gone, its
database locked or away) keeps the last good frames, with the error beside them.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from nas.records import (
    CURVE_COLUMNS,
    TRIAL_COLUMNS,
    Location,
    Run,
    RunSettings,
    driver_of,
    open_run,
    run_names,
)

SECONDS = 1.0
"""Between two looks at the runs."""

FIRST_WAIT = 2.0
"""Seconds that a request waits for the first reading of a run before it says so."""

LIVE_SECONDS = 60.0
"""After a change, while a run counts as live though its driver is on another machine."""

FORGOTTEN_SECONDS = 900.0
"""After which a run that nobody asked for is not looked at any more, until somebody does."""

NO_CHOICES = {"number": "int64"}

T = TypeVar("T")


class Snapshot:
    """A run as it was when last read: frames that nobody may change.

    ``version`` changes when anything did, ``is_live`` says that a search is writing, ``error`` why
    the run cannot be read just now, and ``loading`` that it has not been read yet. ``read_seconds``
    is what the reading took.
    """

    read_seconds = 0.0

    def __init__(
        self,
        name: str,
        run: Run,
        version: str,
        *,
        is_live: bool = False,
        error: str | None = None,
        loading: str | None = None,
    ) -> None:
        self.name, self.run, self.version = name, run, version
        self.is_live, self.error, self.loading = is_live, error, loading
        self._lock = threading.RLock()
        self._computed: dict[Any, Any] = {}

    @property
    def settings(self) -> RunSettings:
        """What the run was created with."""
        return self.run.settings

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is minimised."""
        return self.run.settings.objectives

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, as ``Run.trials``."""
        return _empty(TRIAL_COLUMNS) if self.loading else self.computed("_trials", _trials)

    @property
    def curves(self) -> pd.DataFrame:
        """One row a trial and rung, as ``Run.curves``."""
        return _empty(CURVE_COLUMNS) if self.loading else self.computed("_curves", _curves)

    @property
    def choices(self) -> pd.DataFrame:
        """``number`` and a column a choice, as ``Run.choices``; read when first asked for."""
        return _empty(NO_CHOICES) if self.loading else self.computed("_choices", _choices)

    def computed(self, key: Any, function: Callable[[Snapshot], T]) -> T:
        """``function(self)``, computed once for this version and whoever asks."""
        with self._lock:
            if key not in self._computed:
                self._computed[key] = function(self)
            result: T = self._computed[key]
            return result

    def has(self, key: Any) -> bool:
        """Whether that was computed for this version already."""
        return key in self._computed

    def but(self, version: str, *, error: str | None, is_live: bool) -> Snapshot:
        """The same frames under another version, with an error or without."""
        other = Snapshot(self.name, self.run, version, is_live=is_live, error=error)
        other.loading, other._computed = self.loading, self._computed
        if is_live != self.is_live:
            # What was read stays; where trials stand depends on whether a search is at work.
            read = {key: value for key, value in self._computed.items() if key in _READ}
            other._computed = read
        other.read_seconds = self.read_seconds
        other._lock = self._lock
        return other


_READ = ("_trials", "_curves", "_choices")


def _trials(snapshot: Snapshot) -> pd.DataFrame:
    return snapshot.run.trials


def _curves(snapshot: Snapshot) -> pd.DataFrame:
    return snapshot.run.curves


def _choices(snapshot: Snapshot) -> pd.DataFrame:
    return snapshot.run.choices


def _empty(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


class _Watched:
    """One run, read again where it has changed."""

    def __init__(self, name: str, run: Run, versions: Callable[[], str]) -> None:
        self.name, self._run, self._versions = name, run, versions
        self._mark: object = None
        self._seen = ""
        self._changed = -LIVE_SECONDS
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.first = threading.Event()
        self.asked = time.monotonic()
        self.snapshot = Snapshot(name, run, versions(), loading="reading the trials")
        run.progress = self._tell

    def look(self) -> None:
        """Read the run again if it has changed; what goes wrong is kept beside the old frames."""
        with self._lock:
            try:
                self._look()
            except (OSError, ValueError) as error:
                self._fail(str(error))
            finally:
                self.first.set()

    def watch(self, seconds: float, stop: threading.Event) -> None:
        """Look again and again, in a thread of its own, which is started once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, args=(seconds, stop), name=f"run {self.name}", daemon=True
                )
                self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _watch(self, seconds: float, stop: threading.Event) -> None:
        while not stop.is_set():
            begun = time.monotonic()
            if begun - self.asked < FORGOTTEN_SECONDS:
                self.look()
            # Where reading is slow, half of the time is left to those who ask.
            stop.wait(max(seconds, time.monotonic() - begun))

    def _look(self) -> None:
        begun = time.monotonic()
        driver = driver_of(self._run)
        mark = (_stats(self._run), driver)
        is_quiet = self._mark == mark and mark[0] is not None and self.snapshot.error is None
        if not is_quiet:
            run = self._run.refresh()
            if run.version != self._seen or self.snapshot.error is not None:
                self._take(run, driver is not None, begun)
            self._mark = mark
        is_live = driver is not None or time.monotonic() - self._changed < LIVE_SECONDS
        if is_live != self.snapshot.is_live:
            self.snapshot = self.snapshot.but(self._versions(), error=None, is_live=is_live)

    def _take(self, run: Run, is_live: bool, begun: float) -> None:
        fresh = Snapshot(self.name, run, self._versions(), is_live=is_live)
        # Read here, not in the request: whoever looks at the page finds the frames ready.
        _ = fresh.trials, fresh.curves, run.rejections, run.ended, run.given_up_seconds
        if self.snapshot.has("_choices"):
            _ = fresh.choices
        if self._seen and run.version != self._seen:
            self._changed = time.monotonic()
            fresh.is_live = True
        fresh.read_seconds = time.monotonic() - begun
        self._run, self._seen, self.snapshot = run, run.version, fresh

    def _fail(self, error: str) -> None:
        if self.snapshot.error != error:
            old = self.snapshot
            self.snapshot = old.but(self._versions(), error=error, is_live=old.is_live)

    def _tell(self, table: str, done: int, of: int) -> None:
        if self.snapshot.loading:
            self.snapshot.loading = f"reading {table}: {done:,} of {of:,}"


def _stats(run: Run) -> object:
    """Size and time of a SQLite run's files, which change with it; None for a server."""
    database = Location(run.url, run.name, run.path).database
    if database is None:
        return None
    return [_stat(database.with_name(database.name + end)) for end in ("", "-wal", "-journal")]


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size


class Source:
    """The runs that are served. With ``results`` set, runs that appear there later join them."""

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        results: str | Path | None = None,
        seconds: float = SECONDS,
    ) -> None:
        start, counter = secrets.token_hex(4), itertools.count()
        self._versions = lambda: f"{start}-{next(counter)}"
        self._results = None if results is None else Path(results)
        self._seconds = seconds
        self._watched: dict[str, _Watched] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_watching = False
        for run in runs:
            self._add(run)

    @property
    def names(self) -> tuple[str, ...]:
        """The runs' names, which tell them apart; the address uses them."""
        return tuple(self._watched)

    def snapshot(self, name: str) -> Snapshot:
        """The run of that name as last seen; from now on it is looked at.

        Raises:
            KeyError: there is no such run.
        """
        watched = self._watched[name]
        watched.asked = time.monotonic()
        if not self._is_watching:
            watched.look()
        else:
            watched.watch(self._seconds, self._stop)
            watched.first.wait(FIRST_WAIT)
        return watched.snapshot

    def version(self, name: str) -> str:
        """The version of a run as last seen, without looking at it.

        Raises:
            KeyError: there is no such run.
        """
        return self._watched[name].snapshot.version

    def start(self) -> None:
        """Look at the runs in threads from now on, until :meth:`stop`.

        The first one, which a page opens with, is read at once: it may be there before the page.
        """
        self._is_watching = True
        for watched in list(self._watched.values())[:1]:
            watched.asked = time.monotonic()
            watched.watch(self._seconds, self._stop)
        if self._results is not None:
            self._thread = threading.Thread(target=self._find, name="runs", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for watched in self._watched.values():
            watched.join(10)
        if self._thread is not None:
            self._thread.join(10)

    def _find(self) -> None:
        while not self._stop.wait(2 * self._seconds):
            assert self._results is not None
            self._find_new(self._results)

    def _find_new(self, results: Path) -> None:
        known = {watched.snapshot.run.path.resolve() for watched in self._watched.values()}
        for name in run_names(results):
            path = results / name
            if path.resolve() not in known:
                try:
                    self._add(open_run(path))
                except (OSError, ValueError):
                    continue  # just being created, or not for this version: `nas runs` says why

    def _add(self, run: Run) -> None:
        name = run.name if run.name not in self._watched else f"{run.name} ({run.path})"
        # Those who ask go through the names while others join: the old ones stay as they are.
        self._watched = {**self._watched, name: _Watched(name, run, self._versions)}
