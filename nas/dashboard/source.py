"""The only part of the dashboard that reads runs: frames as they were a moment ago.

A :class:`Source` looks at its runs every second or so, in one thread for all who look at the page,
and reads a run again where something changed. A run that cannot be read just now (its file gone,
its database locked or away) keeps the last good frames, with the error beside them.
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

T = TypeVar("T")


class Snapshot:
    """A run as it was when last read: frames that nobody may change.

    ``version`` changes when anything did, ``is_live`` says that a search is writing, ``error`` why
    the run cannot be read just now, and ``loading`` that it has not been read yet.
    """

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
        return self.computed("_choices", _choices)

    def computed(self, key: Any, function: Callable[[Snapshot], T]) -> T:
        """``function(self)``, computed once for this version and whoever asks."""
        with self._lock:
            if key not in self._computed:
                self._computed[key] = function(self)
            result: T = self._computed[key]
            return result

    def but(self, version: str, *, error: str | None, is_live: bool) -> Snapshot:
        """The same frames under another version, with an error or without."""
        other = Snapshot(self.name, self.run, version, is_live=is_live, error=error)
        other.loading, other._computed = self.loading, self._computed
        other._lock = self._lock
        return other


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
        self._lock = threading.Lock()
        self.first = threading.Event()
        self.snapshot = Snapshot(name, run, versions(), loading="reading the trials")

    def look(self) -> None:
        """Read the run again if it has changed; what goes wrong is kept beside the old frames."""
        with self._lock:
            try:
                self._look()
            except (OSError, ValueError) as error:
                self._fail(str(error))
            finally:
                self.first.set()

    def _look(self) -> None:
        is_live = driver_of(self._run) is not None
        mark = (_mark(self._run), is_live)
        if mark == self._mark and self.snapshot.error is None:
            return
        run = self._run.refresh()
        fresh = Snapshot(self.name, run, self._versions(), is_live=is_live)
        # Read here, not in the request: whoever looks at the page finds the frames ready.
        _ = fresh.trials, fresh.curves
        if "_choices" in self.snapshot._computed:
            _ = fresh.choices
        self._run, self._mark, self.snapshot = run, mark, fresh

    def _fail(self, error: str) -> None:
        if self.snapshot.error != error:
            old = self.snapshot
            self.snapshot = old.but(self._versions(), error=error, is_live=False)


def _mark(run: Run) -> object:
    """Something that differs once the run's storage has been written to."""
    database = Path(run.path) / "study.db"
    if run.url.startswith("sqlite") and database.is_file():
        return [_stat(database), _stat(database.with_name("study.db-wal"))]
    rows = run._query(
        "SELECT t.state, COUNT(*), MAX(t.trial_id), MAX(t.datetime_complete) FROM trials t "
        "WHERE t.study_id = :study GROUP BY t.state"
    )
    written = run._query(
        "SELECT COUNT(*), SUM(LENGTH(a.value_json)) FROM trial_user_attributes a "
        "JOIN trials t ON t.trial_id = a.trial_id WHERE t.study_id = :study"
    )
    return [sorted(map(str, rows)), str(written)]


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
        for run in runs:
            self._add(run)

    @property
    def names(self) -> tuple[str, ...]:
        """The runs' names, which tell them apart; the address uses them."""
        return tuple(self._watched)

    def snapshot(self, name: str) -> Snapshot:
        """The run of that name as last seen.

        Raises:
            KeyError: there is no such run.
        """
        watched = self._watched[name]
        if self._thread is None:
            watched.look()
        else:
            watched.first.wait(FIRST_WAIT)
        return watched.snapshot

    def start(self) -> None:
        """Look at the runs in a thread from now on, until :meth:`stop`."""
        self._thread = threading.Thread(target=self._watch, name="runs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
            self._thread = None

    def refresh(self) -> None:
        """Look at all runs once, here and now."""
        if self._results is not None:
            self._find_new(self._results)
        for watched in list(self._watched.values()):
            watched.look()

    def _watch(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            self.refresh()
            # Where reading is slow, half of the time is left to those who ask.
            self._stop.wait(max(self._seconds, time.monotonic() - begun))

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
        self._watched[name] = _Watched(name, run, self._versions)
