"""Runs as typed tables: SQL straight to Optuna's tables, without Optuna and without torch.

Optuna's own ``get_trials`` takes a hundred times as long on 20,000 trials. Left out: what is
worth looking at (:mod:`nas.analysis`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import psutil
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from nas.architecture import Architecture
from nas.quantities import nearest
from nas.records.databases import check_storage
from nas.records.stored import (
    COSTS,
    CURVE_COLUMNS,
    DATABASE,
    RESULTS,
    STATES,
    TRIAL_COLUMNS,
    Ended,
    Location,
    Rejections,
    RunSettings,
    RunState,
    State,
    Stop,
    cause,
    locate,
)


class Run:
    """A run as typed tables; each is read once, when first asked for (:meth:`refresh` forgets)."""

    def __init__(self, location: Location) -> None:
        self.name, self.path, self.url = location.name, location.path, location.url
        self._lock = location.lock
        self._engine = _reading_engine(location)
        self._study_id = self._find_study()
        self.settings = self._read_settings()

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {str(self.path)!r})"

    def refresh(self) -> Run:
        """The same run, read anew."""
        return Run(Location(self.url, self.name, self.path))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, columns as in :data:`TRIAL_COLUMNS`; NaN and NaT where not known."""
        rows = self._query(
            "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials "
            "WHERE study_id = :study ORDER BY number"
        )
        attributes, errors = self._attributes, self._errors()
        table = [_trial_row(row, attributes.get(row[0], {}), errors.get(row[0])) for row in rows]
        return _frame(table, TRIAL_COLUMNS)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row a trial and rung, columns as in :data:`CURVE_COLUMNS`."""
        rows = self._query(
            "SELECT t.number, a.value_json FROM trial_user_attributes a "
            "JOIN trials t ON t.trial_id = a.trial_id "
            "WHERE t.study_id = :study AND a.key = 'curve' ORDER BY t.number"
        )
        table = [_curve_row(number, point) for number, text in rows for point in json.loads(text)]
        return _frame(table, CURVE_COLUMNS)

    @cached_property
    def values(self) -> dict[int, dict[str, Any]]:
        """The sampler's raw parameters by trial number, inactive choices included."""
        rows = self._query(
            "SELECT t.number, p.param_name, p.param_value, p.distribution_json FROM trial_params p "
            "JOIN trials t ON t.trial_id = p.trial_id "
            "WHERE t.study_id = :study ORDER BY t.number, p.param_id"
        )
        readers: dict[str, Callable[[float], Any]] = {}
        values: dict[int, dict[str, Any]] = {}
        for number, name, value, text in rows:
            if text not in readers:
                readers[text] = _reader(text)
            values.setdefault(number, {})[name] = readers[text](value)
        return values

    @cached_property
    def choices(self) -> pd.DataFrame:
        """``number`` and a column a choice; missing where the choice is inactive in the trial."""
        from nas.space import SearchSpace

        space = SearchSpace.from_json(self.settings.space)
        table = []
        for number, values in self.values.items():
            active = space.active(values)
            shown = {name: value for name, value in values.items() if name in active}
            table.append({"number": number, **shown})
        return pd.DataFrame(table, columns=["number", *space.parameters])

    @cached_property
    def rejections(self) -> Rejections:
        """Proposals that cost no training: counts by reason, and the last hundred."""
        data = self._study_attribute("rejections") or {"counts": {}, "last": []}
        return Rejections(data["counts"], tuple(data["last"]))

    @cached_property
    def ended(self) -> Ended | None:
        """Why the last driver stopped; None while one is at work and before there was one."""
        return None if driver_of(self) is not None else self._ended

    @cached_property
    def _ended(self) -> Ended | None:
        """What the last driver, or the one at work, left to be read should it be killed."""
        data = self._study_attribute("ended")
        return Ended(**data) if data else None

    @cached_property
    def elapsed_seconds(self) -> float:
        """Seconds that drivers spent on the run so far, as far as is recorded."""
        results = (json.loads(texts.get("result", "{}")) for texts in self._attributes.values())
        recorded = [float(result.get("elapsed_seconds", 0.0)) for result in results]
        return max([*recorded, self._ended.seconds if self._ended else 0.0])

    @cached_property
    def given_up_seconds(self) -> float:
        """Device-seconds spent on trials that had to begin again."""
        return float(self._study_attribute("given_up_seconds") or 0.0)

    @property
    def state(self) -> RunState:
        """Whether a driver is at work, the search came to its end, or it can be resumed."""
        if driver_of(self) is not None:
            return "running"
        ended = self.ended
        # A row of failures is no end: it can be put right and gone on with.
        is_open = ended is None or ended.kind in ("interrupted", "failures")
        return "interrupted" if is_open else "finished"

    @property
    def stops(self) -> dict[int, Stop]:
        """The rungs where trials were stopped, by number; older runs recorded none."""
        stops = {number: result.get("stop") for number, result in self._results.items()}
        return {
            number: Stop(**{**stop, "dominated_by": tuple(stop["dominated_by"])})
            for number, stop in stops.items()
            if stop
        }

    @property
    def lost(self) -> frozenset[int]:
        """The failed trials whose workers died: their networks may be trained again."""
        return frozenset(number for number, result in self._results.items() if result.get("lost"))

    def architecture(self, number: int) -> Architecture:
        """The architecture of a trial.

        Raises:
            ValueError: there is no trial of that number; the message says which there are.
        """
        rows = self.trials
        found = rows.loc[rows["number"] == number, "architecture"]
        if found.empty:
            last = f"0 to {rows['number'].max()}" if len(rows) else "none yet"
            raise ValueError(f"run {self.name!r} has no trial {number}; it has {last}")
        return Architecture.from_json(str(found.iloc[0]))

    def sampler_states(self) -> dict[int, dict[str, Any]]:
        """What the sampler left with each trial, by number."""
        rows = self._query(
            "SELECT t.number, a.key, a.value_json FROM trial_system_attributes a "
            "JOIN trials t ON t.trial_id = a.trial_id WHERE t.study_id = :study"
        )
        states: dict[int, dict[str, Any]] = {}
        for number, key, text in rows:
            states.setdefault(number, {})[key] = json.loads(text)
        return states

    def _query(self, sql: str, **values: Any) -> Sequence[Any]:
        try:
            with self._engine.connect() as connection:
                statement = sqlalchemy.text(sql)
                return connection.execute(statement, {"study": self._study_id, **values}).all()
        except SQLAlchemyError as error:
            raise OSError(f"cannot read run {self.name!r} ({self.path}): {cause(error)}") from None

    def _find_study(self) -> int:
        self._study_id = -1
        try:
            rows = self._query("SELECT study_id, study_name FROM studies ORDER BY study_id")
        except OSError as error:
            raise ValueError(f"{self.path} is not a run: {error}") from None
        studies = {str(name): int(number) for number, name in rows}
        if len(studies) == 1 and not self.name:
            self.name = next(iter(studies))
        if self.name not in studies:
            rule = f"holds no study {self.name!r}" if self.name else "holds several studies"
            raise ValueError(f"{_shown_url(self.url)} {rule}{_nearest(self.name, studies)}")
        return studies[self.name]

    def _read_settings(self) -> RunSettings:
        data = self._study_attribute("settings")
        if data is None:
            raise ValueError(f"study {self.name!r} was not written by `nas search`: no settings")
        return RunSettings.from_data(data, f"run {self.name!r}")

    def _study_attribute(self, key: str) -> Any:
        rows = self._query(
            "SELECT value_json FROM study_user_attributes WHERE study_id = :study AND key = :key",
            key=key,
        )
        return json.loads(rows[0][0]) if rows else None

    @cached_property
    def _attributes(self) -> dict[int, dict[str, str]]:
        rows = self._query(
            "SELECT a.trial_id, a.key, a.value_json FROM trial_user_attributes a "
            "JOIN trials t ON t.trial_id = a.trial_id "
            "WHERE t.study_id = :study AND a.key <> 'curve'"
        )
        attributes: dict[int, dict[str, str]] = {}
        for trial_id, key, text in rows:
            attributes.setdefault(trial_id, {})[key] = text
        return attributes

    @cached_property
    def _results(self) -> dict[int, dict[str, Any]]:
        """What was recorded of the ends of trials, by number."""
        rows = self._query("SELECT trial_id, number FROM trials WHERE study_id = :study")
        return {
            int(number): json.loads(self._attributes.get(trial_id, {}).get("result", "{}"))
            for trial_id, number in rows
        }

    def _errors(self) -> dict[int, float]:
        rows = self._query(
            "SELECT v.trial_id, v.value FROM trial_values v JOIN trials t "
            "ON t.trial_id = v.trial_id WHERE t.study_id = :study AND v.objective = :objective",
            objective=self.settings.objectives.index("error"),
        )
        return {trial_id: float(value) for trial_id, value in rows}


def open_run(where: str | Path, name: str | None = None) -> Run:
    """Open a run to read it: a directory, its bare name under ``results/``, or a storage URL.

    A URL names its study by ``name`` or after a ``#``; where it holds one study, neither is
    needed.

    Raises:
        ValueError: there is no such run; the message names the nearest one.
        OSError: the database cannot be read.
    """
    text = str(where)
    if "://" in text:
        url, _, fragment = text.partition("#")
        study = name or fragment
        check_storage(url, "the storage URL")
        location = locate(study, storage=url)
        if location.database is not None and not location.database.is_file():
            raise ValueError(f"there is no database {location.database}")
        # The name as it was found says where the run's directory and its driver's lock are.
        return Run(_place(locate(study or Run(location).name, storage=url)))
    path = Path(where)
    if not path.exists() and (RESULTS / path / DATABASE).is_file():
        path = RESULTS / path
    if not (path / DATABASE).is_file():
        parent = path.parent if path.parent != Path() or not RESULTS.is_dir() else RESULTS
        raise ValueError(f"{path} is not a run{_nearest(path.name, run_names(parent))}")
    return Run(Location(f"sqlite:///{path / DATABASE}", name or "", path))


def _place(location: Location) -> Location:
    """The location with the run's own directory, where the URL is of the file in it."""
    database = location.database
    if database is None or (database.name, database.parent.name) != (DATABASE, location.name):
        return location
    return Location(location.url, location.name, database.parent)


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


def run_names(results: str | Path = RESULTS) -> list[str]:
    """The names of the runs under a directory, sorted."""
    root = Path(results)
    if not root.is_dir():
        return []
    return sorted(path.parent.name for path in root.glob(f"*/{DATABASE}"))


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


def driver_of(run: Run) -> int | None:
    """The id of the process that drives the run; None where there is none."""
    try:
        owner = json.loads(run._lock.read_text())
        started = psutil.Process(owner["pid"]).create_time()
    except (OSError, ValueError, psutil.Error):
        return None
    # A process id is used again after a restart; its start tells the two apart.
    return int(owner["pid"]) if abs(started - owner["started"]) < 1 else None


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
    rows = run._query("SELECT state, COUNT(*) FROM trials WHERE study_id = :study GROUP BY state")
    counts: dict[State, int] = {}
    for state, count in rows:
        counts[STATES[state]] = counts.get(STATES[state], 0) + int(count)
    reused = run._query(
        "SELECT COUNT(*) FROM trial_user_attributes a JOIN trials t ON t.trial_id = a.trial_id "
        "WHERE t.study_id = :study AND t.state = 'COMPLETE' AND a.key = 'result' "
        "AND a.value_json LIKE :reused",
        reused='%"reused": true%',
    )
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
        reused=int(reused[0][0]),
    )


def _disk_bytes(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def _reading_engine(location: Location) -> sqlalchemy.Engine:
    database = location.database
    if database is None:
        return sqlalchemy.create_engine(location.url, poolclass=NullPool)
    # `rw` never creates a file; it lets SQLite roll back what a killed driver left half-written.
    writable = _is_writable(database) and _is_writable(database.parent)
    mode = "rw" if writable else "ro"
    uri = f"sqlite:///file:{quote(str(database.absolute()))}?mode={mode}&uri=true"
    return sqlalchemy.create_engine(uri, poolclass=NullPool)


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK)


def _curve_row(number: int, point: list[float | None]) -> dict[str, Any]:
    # Older versions stored no seconds of set-up.
    missing = [0.0] * (len(CURVE_COLUMNS) - 1 - len(point))
    return dict(zip(CURVE_COLUMNS, (number, *point, *missing), strict=True))


def _trial_row(row: Any, attributes: Mapping[str, str], error: float | None) -> dict[str, Any]:
    _, number, state, started, finished = row
    known = json.loads(attributes.get("proposal", "{}"))
    result = json.loads(attributes.get("result", "{}"))
    ended = STATES[state] != "running"
    interrupted = "interrupted" if "interrupted" in attributes else ""
    return {
        "number": number,
        "state": STATES[state],
        "error": error if STATES[state] == "complete" else None,
        **{name: known.get("costs", {}).get(name, 0) for name in TRIAL_COLUMNS if name in COSTS},
        "fingerprint": known.get("fingerprint", ""),
        "proxy_fingerprint": known.get("proxy_fingerprint", ""),
        "seed": known.get("seed", 0),
        "epochs": result.get("epochs", 0) if ended else 0,
        "train_seconds": result.get("train_seconds", 0.0) if ended else 0.0,
        "started": started,
        "finished": finished,
        "reason": result.get("reason", "") if ended else interrupted,
        "origin": known.get("origin", ""),
        "expected_share": known.get("expected_share"),
        "reused": bool(result.get("reused", False)) if ended else False,
        "architecture": known.get("architecture", ""),
    }


def _frame(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns))
    for name, kind in columns.items():
        if kind.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name])
    return frame.astype(dict(columns))


def _reader(text: str) -> Callable[[float], Any]:
    distribution = json.loads(text)
    kind, settings = distribution["name"], distribution["attributes"]
    if kind == "CategoricalDistribution":
        return lambda value: settings["choices"][int(value)]
    return int if kind == "IntDistribution" else float


def _nearest(name: str, names: Iterable[str]) -> str:
    known = list(names)
    close = nearest(name, known)
    if close:
        return f"; did you mean {close!r}?"
    return f"; there are {', '.join(map(repr, known[:8]))}" if known else ""


def _shown_url(url: str) -> str:
    return sqlalchemy.make_url(url).render_as_string(hide_password=True)
