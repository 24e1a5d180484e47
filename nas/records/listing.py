"""The runs there are: a line for each, and how one is deleted. No trial is read."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from nas.records import schema
from nas.records.opening import open_run, run_names
from nas.records.reading import Run, driver_of
from nas.records.stored import RESULTS, STATES, RunState, State


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


def list_runs(results: str | Path = RESULTS) -> list[RunSummary]:
    """All runs under a directory, the newest first; those that cannot be read come last."""
    root = Path(results)
    runs = [_listed(root / name) for name in run_names(root)]
    return sorted(runs, key=lambda run: run.created, reverse=True)


def delete_run(path: str | Path) -> int:
    """Delete a run's directory for good and return the bytes that it took.

    Raises:
        ValueError: it is not a run, or its driver is at work; the message has the process id.
        OSError: a file cannot be removed.
    """
    run = open_run(path)
    driver = driver_of(run)
    if driver is not None:
        raise ValueError(f"run {run.name!r} is being driven by process {driver}; stop that first")
    taken = _disk_bytes(run.path)
    shutil.rmtree(run.path)
    return taken


def _listed(path: Path) -> RunSummary:
    try:
        return _summary(open_run(path))
    except (ValueError, OSError) as error:
        return RunSummary(
            name=path.name,
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
