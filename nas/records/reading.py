"""A run as typed tables: SQL straight to Optuna's tables, without Optuna and without torch.

Optuna's own ``get_trials`` takes a hundred times as long on 20,000 trials; what was read of a
large run once is kept besides (:mod:`nas.records.store`). Left out: what is worth looking at
(:mod:`nas.analysis`), and how a run is found (:mod:`nas.records.opening`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import psutil
import sqlalchemy

from nas.architecture import Architecture
from nas.quantities import nearest
from nas.records import schema
from nas.records.columns import value_reader
from nas.records.databases import Database, shown_url
from nas.records.drivers import Drivers, read_drivers
from nas.records.frames import choices_frame, typed_frame
from nas.records.parsing import load_json, read_as, shown
from nas.records.store import Progress, Store, Study
from nas.records.stored import (
    CONFIRMATION,
    CURVE_COLUMNS,
    LATENCY_TABLE,
    TRIAL_COLUMNS,
    Ended,
    Location,
    Rejections,
    RunSettings,
    RunState,
    Stop,
)


class Run:
    """A run as typed tables; each is read once, when first asked for (:meth:`refresh` forgets).

    Frames may be shared with the runs that this one is refreshed to: change copies of them.
    ``progress`` is told how far the reading of a large run is.
    """

    def __init__(
        self,
        location: Location,
        *,
        progress: Progress | None = None,
        earlier: Store | None = None,
    ) -> None:
        self.name, self.path, self.url = location.name, location.path, location.url
        self.progress = progress
        self._lock = location.lock
        self.database = Database(location)
        self.study_id = self._find_study()
        if not location.name:
            self.database = Database(Location(self.url, self.name, self.path))
        self.settings = self._read_settings()
        self._earlier = earlier

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {str(self.path)!r})"

    def refresh(self) -> Run:
        """The same run, read anew; of a large one only trials that are new or went on."""
        location = Location(self.url, self.name, self.path)
        store = self.__dict__.get("_store", self._earlier)
        earlier = store if store is not None and store.is_large else None
        return Run(location, progress=self.progress, earlier=earlier)

    @cached_property
    def _store(self) -> Store:
        location = Location(self.url, self.name, self.path)
        study = Study(location, self.study_id, self.settings, self.database)
        earlier = self._earlier
        if earlier is not None and earlier.study.identity == study.identity:
            return earlier
        return Store(study)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the reading itself: why nothing is kept on disk."""
        return tuple(self._store.notes)

    @cached_property
    def version(self) -> str:
        """A text that is another one as soon as anything in the run is; cheap beside the tables.

        It is of the moment when it was first asked for: ask before the tables.
        """
        with self.database.snapshot() as connection:
            found = [
                self.study_id,
                schema.trial_counts(connection, self.study_id),
                sorted(schema.study_attributes(connection, self.study_id).items()),
                [tuple(row) for row in schema.unfinished_attributes(connection, self.study_id)],
                driver_of(self),
                *self._confirmation_state(connection),
            ]
        return hashlib.sha256(repr(found).encode()).hexdigest()[:32]

    def _confirmation_state(self, connection: sqlalchemy.Connection) -> list[Any]:
        """What tells a confirmation at one moment from the same one at another."""
        study = schema.studies(connection).get(self.name + CONFIRMATION)
        if study is None:
            return []
        attributes = sorted(schema.study_attributes(connection, study).items())
        return [study, schema.trial_counts(connection, study), attributes]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, columns as in :data:`TRIAL_COLUMNS`; NaN and NaT where not known."""
        return typed_frame(self._trial_table, TRIAL_COLUMNS)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row a trial and rung, columns as in :data:`CURVE_COLUMNS`."""
        return typed_frame(self._store.read("curves", self.progress), CURVE_COLUMNS)

    @cached_property
    def choices(self) -> pd.DataFrame:
        """``number`` and a column a choice; missing where the choice is inactive in the trial."""
        table = self._store.read("choices", self.progress)
        return choices_frame(table, self._store.choices.space.parameters)

    @cached_property
    def values(self) -> dict[int, dict[str, Any]]:
        """The sampler's raw parameters by trial number, inactive choices included."""
        readers: dict[str, Callable[[float], Any]] = {}
        values: dict[int, dict[str, Any]] = {}
        with self.database.snapshot() as connection:
            rows = schema.all_parameters(connection, self.study_id)
        for number, name, value, text in rows:
            try:
                if text not in readers:
                    readers[text] = value_reader(text)
                values.setdefault(number, {})[name] = readers[text](value)
            except ValueError as error:
                raise ValueError(f"run {self.name!r}: trial {number}: {error}") from None
        return values

    @cached_property
    def rejections(self) -> Rejections:
        """Proposals that cost no training: counts by reason, and the last hundred."""
        data = self._study_attribute("rejections") or {"counts": {}, "last": []}
        found = read_as(_Rejections, data, f"run {self.name!r}: its 'rejections'")
        return Rejections(found.counts, tuple(asdict(row) for row in found.last))

    @cached_property
    def ended(self) -> Ended | None:
        """Why the last driver stopped; None while one is at work and before there was one."""
        return None if driver_of(self) is not None else self._ended

    @property
    def ended_so_far(self) -> Ended | None:
        """As :attr:`ended`, whoever is at work: what is true should all drivers be killed now."""
        return self._ended

    @cached_property
    def _ended(self) -> Ended | None:
        data = self._study_attribute("ended")
        return read_as(Ended, data, f"run {self.name!r}: its 'ended'") if data else None

    @cached_property
    def elapsed_seconds(self) -> float:
        """Seconds that drivers spent on the run so far, as far as is recorded."""
        recorded = self._trial_table["elapsed_seconds"].to_numpy().max(initial=0.0)
        said = self._ended.seconds if self._ended else 0.0
        return max(float(recorded), said, self.drivers.seconds)

    @property
    def drivers(self) -> Drivers:
        """The drivers of a run that several drive, or whose database is a server; read anew."""
        with self.database.snapshot() as connection:
            return read_drivers(connection, self.study_id)

    @cached_property
    def given_up_seconds(self) -> float:
        """Device-seconds spent on trials that had to begin again."""
        data = self._study_attribute("given_up_seconds") or 0.0
        return read_as(float, data, f"run {self.name!r}: its 'given_up_seconds'")

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
        table = self._trial_table
        texts = table["stop"].to_pylist()
        found = {
            number: json.loads(text)
            for number, text in zip(table["number"].to_pylist(), texts, strict=True)
            if text
        }
        return {
            number: Stop(**{**stop, "dominated_by": tuple(stop["dominated_by"])})
            for number, stop in found.items()
        }

    @property
    def lost(self) -> frozenset[int]:
        """The failed trials whose workers died: their networks may be trained again."""
        table = self._trial_table
        return frozenset(table["number"].to_numpy()[table["is_lost"].to_numpy()].tolist())

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
        states: dict[int, dict[str, Any]] = {}
        with self.database.snapshot() as connection:
            rows = schema.system_attributes(connection, self.study_id)
        for number, key, text in rows:
            what = f"run {self.name!r}: trial {number}: its {shown(repr(key))}"
            states.setdefault(number, {})[key] = load_json(text, what)
        return states

    @cached_property
    def _trial_table(self) -> Any:
        return self._store.read("trials", self.progress)

    def _query(self, sql: str, **values: Any) -> Sequence[Any]:
        with self.database.snapshot() as connection:
            statement = sqlalchemy.text(sql)
            return connection.execute(statement, {"study": self.study_id, **values}).all()

    def _find_study(self) -> int:
        try:
            with self.database.snapshot() as connection:
                studies = schema.studies(connection)
        except OSError as error:
            raise ValueError(f"{self.path} is not a run: {error}") from None
        # A confirmation lies beside its run, and is asked for by name.
        runs = [name for name in studies if not name.endswith(CONFIRMATION)]
        if len(runs) == 1 and not self.name:
            self.name = runs[0]
        if self.name not in studies:
            rule = f"holds no study {self.name!r}" if self.name else "holds several studies"
            raise ValueError(f"{shown_url(self.url)} {rule}{suggestion(self.name, runs)}")
        return studies[self.name]

    def _read_settings(self) -> RunSettings:
        data = self._study_attribute("settings")
        if data is None:
            raise ValueError(f"study {self.name!r} was not written by `nas search`: no settings")
        return RunSettings.from_data(data, f"run {self.name!r}")

    @cached_property
    def latency(self) -> dict[str, Any] | None:
        """The table of latencies that the run began with, as JSON data; None where it has none.

        :class:`nas.latency.LatencyTable` reads it.
        """
        data: dict[str, Any] | None = self._study_attribute(LATENCY_TABLE)
        if data is not None and not isinstance(data, dict):
            raise ValueError(f"run {self.name!r}: its 'latency' is damaged: it is no table")
        return data

    def attribute(self, key: str) -> Any:
        """What the study holds under a key beside its trials, read anew; None where nothing."""
        return self._study_attribute(key)

    def _study_attribute(self, key: str) -> Any:
        with self.database.snapshot() as connection:
            text = schema.study_attributes(connection, self.study_id).get(key)
        return None if text is None else load_json(text, f"run {self.name!r}: its {key!r}")


@dataclass(frozen=True)
class _Rejection:
    number: int
    kind: str
    reason: str
    values: list[int | float | str | bool | None]


@dataclass(frozen=True)
class _Rejections:
    counts: dict[str, int]
    last: list[_Rejection]


def driver_of(run: Run) -> int | None:
    """The id of a process that drives the run, perhaps on another machine; None where none does."""
    try:
        owner = json.loads(run._lock.read_text())
        started = psutil.Process(owner["pid"]).create_time()
        # A process id is used again after a restart; its start tells the two apart.
        if abs(started - owner["started"]) < 1:
            return int(owner["pid"])
    except (OSError, ValueError, psutil.Error):
        pass  # nobody drives it alone, on this machine
    alive = run.drivers.alive
    return alive[0].pid if alive else None


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of a sentence that says there is no such name: the nearest one, or all."""
    known = list(names)
    close = nearest(name, known)
    if close:
        return f"; did you mean {close!r}?"
    return f"; there are {', '.join(map(repr, known[:8]))}" if known else ""
