"""The runs there are: a line for each, and how one is deleted. No trial is read."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas.records import schema
from nas.records.databases import Database, check_storage
from nas.records.opening import open_run, run_names
from nas.records.reading import Run, driver_of, suggestion
from nas.records.stored import CONFIRMATION, RESULTS, STATES, RunState, State, locate


@dataclass(frozen=True)
class RunSummary:
    """A line of the list of runs. ``disk_bytes`` counts all files of the run's directory.

    Of a run that is ``unreadable``, by this version at least, only name, path and disk use are
    known; ``reason`` says why. ``reused`` trials, counted in ``trials`` too, took over an
    earlier one's result.
    """

    name: str
    path: Path
    state: RunState
    space: str
    data: str
    sampler: str
    trials: dict[State, int]
    created: str
    disk_bytes: int
    reason: str = ""
    reused: int = 0


def list_runs(results: str | Path = RESULTS, storage: str | None = None) -> list[RunSummary]:
    """All runs under a directory, the newest first; those that cannot be read come last.

    With ``storage``, a URL, the runs in that database; what they left beside it is looked for
    under the directory.

    Raises:
        ValueError: ``storage`` is no URL of a database that is there.
        OSError: it cannot be read.
    """
    root = Path(results)
    if storage is None:
        runs = [
            _listed(name, root / name, partial(open_run, root / name)) for name in run_names(root)
        ]
    else:
        found = [locate(name, root, storage) for name in _stored_names(storage)]
        runs = [_listed(place.name, place.path, partial(Run, place)) for place in found]
    return sorted(runs, key=lambda run: run.created, reverse=True)


def delete_run(path: str | Path) -> int:
    """Delete a run's directory for good and return the bytes that it took.

    Raises:
        ValueError: it is not a run, or its driver is at work; the message has the process id.
        OSError: a file cannot be removed.
    """
    run = open_run(path)
    _check_idle(run)
    taken = _disk_bytes(run.path)
    shutil.rmtree(run.path)
    return taken


def delete_stored_run(name: str, storage: str, results: str | Path = RESULTS) -> int:
    """Delete a run from a database that may hold others, its confirmation and its directory.

    Returns the bytes that the directory took.

    Raises:
        ValueError: the database holds no such run, or its driver is at work.
        OSError: the database or a file cannot be written.
    """
    from nas.records.writing import delete_study  # Optuna, which reading does without

    names = _stored_names(storage)
    if name not in names:
        raise ValueError(f"{storage} holds no run {name!r}{suggestion(name, names)}")
    location = locate(name, results, storage)
    run = Run(location)
    _check_idle(run)
    confirmation = replace(location, name=name + CONFIRMATION)
    with run.database.snapshot() as connection:
        is_confirmed = confirmation.name in schema.studies(connection)
    taken = _disk_bytes(location.path)
    if is_confirmed:
        delete_study(confirmation)
    delete_study(location)
    if location.path.is_dir():
        shutil.rmtree(location.path)
    return taken


def _check_idle(run: Run) -> None:
    driver = driver_of(run)
    if driver is not None:
        raise ValueError(f"run {run.name!r} is being driven by process {driver}; stop that first")


def _stored_names(storage: str) -> list[str]:
    """The runs in a database, without their confirmations."""
    check_storage(storage, "--storage")
    location = locate("", storage=storage)
    if location.database is not None and not location.database.is_file():
        raise ValueError(f"there is no database {location.database}")
    with Database(location).snapshot() as connection:
        names = schema.studies(connection)
    return [name for name in names if not name.endswith(CONFIRMATION)]


def _listed(name: str, path: Path, opened: Callable[[], Run]) -> RunSummary:
    try:
        return _summary(opened())
    except (ValueError, OSError) as error:
        return RunSummary(
            name=name,
            path=path,
            state="unreadable",
            space="",
            data="",
            sampler="",
            trials={},
            created="",
            disk_bytes=_disk_bytes(path),
            reason=str(error),
        )


def _summary(run: Run) -> RunSummary:
    with run.database.snapshot() as connection:
        rows = schema.trial_counts(connection, run.study_id)
        reused = schema.count_reused(connection, run.study_id)
    counts: dict[State, int] = {}
    for state, count, _, _ in rows:
        counts[STATES[state]] = counts.get(STATES[state], 0) + int(count)
    space, task = json.loads(run.settings.space), json.loads(run.settings.task)
    return RunSummary(
        name=run.name,
        path=run.path,
        state=run.state,
        space=str(space.get("name", "")),
        data=str(task.get("data", "")),
        sampler=run.settings.sampler,
        trials=counts,
        created=run.settings.created,
        disk_bytes=_disk_bytes(run.path),
        reused=reused,
    )


def _disk_bytes(path: Path) -> int:
    total = 0
    for item in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a search or a cache replaces its files
            total += item.stat().st_size if item.is_file() else 0
    return total
