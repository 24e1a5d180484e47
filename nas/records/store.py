"""A run's tables as they grow: what was read once is not read again.

Optuna refuses to change a finished trial. So a table keeps the rows of finished trials, in memory
and for large runs in files (:mod:`nas.records.cache`), and reads new and unfinished trials only,
in batches, each one snapshot of the storage. That the storage still is the one that was read, and
not a study of the same name created anew, is asked each time: the number of trials must agree, and
so must the trials that ended last (:class:`~nas.records.cache.Witness`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import sqlalchemy

from nas.records import schema
from nas.records.cache import Manifest, Segment, TableFiles, Witness, cache_directory
from nas.records.columns import ChoiceReader, CurveReader, Reader, TrialReader
from nas.records.databases import Database
from nas.records.frames import by_number, merged
from nas.records.parsing import shown
from nas.records.schema import TrialRow
from nas.records.stored import Location, RunSettings

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told which table is read, how many trials of it have been and how many there are.

It is called where there is more than one batch to read, the last time with all trials.
"""

CACHED_FROM = 2_000
"""Trials from which on a run's tables are kept in files; fewer are read in half a second."""

BATCH = 2_500
"""Trials that are read in one snapshot: a SQLite file is not written to meanwhile."""

SEGMENT = 10_000
"""Finished trials from which on a file is final; the last one is written anew as it grows."""

SAVE_FROM = 250
"""Finished trials that are worth writing a file; fewer are sooner read again."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class Study:
    """Which study of which storage is read."""

    location: Location
    study_id: int
    settings: RunSettings
    database: Database

    @property
    def identity(self) -> str:
        """What the rows of its tables depend on besides its trials."""
        settings = self.settings
        parts = [self.location.name, self.study_id, settings.space, *settings.objectives]
        return json.dumps(parts)


class Store:
    """The tables of one study as far as they were read; a run and its refreshed ones share it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.notes: list[str] = []
        with study.database.snapshot() as connection:
            trials = schema.count_trials(connection, study.study_id)
        self.is_large = trials >= CACHED_FROM
        self.choices = ChoiceReader(study.settings)
        readers: tuple[Reader, ...] = (TrialReader(study.settings), CurveReader(), self.choices)
        self._tables = {
            reader.name: _Table(study, reader, self._files(reader.name), self.notes)
            for reader in readers
        }

    def read(self, table: str, progress: Progress | None = None) -> Any:
        """All rows of a table as the storage has them now, sorted by number.

        Raises:
            OSError: the storage or the study in it cannot be read (any more).
            ValueError: a trial's data are damaged.
        """
        return self._tables[table].read(progress)

    def _files(self, table: str) -> TableFiles | None:
        if not self.is_large:
            return None
        directory = cache_directory(self.study.location)
        return TableFiles(directory, table, self.study.identity) if directory else None


class _Table:
    """One table: finished rows, which trials they are of, and the files that keep them."""

    def __init__(
        self, study: Study, reader: Reader, files: TableFiles | None, notes: list[str]
    ) -> None:
        self._study, self._reader, self._files, self._notes = study, reader, files, notes
        self._lock = threading.Lock()
        self._is_loaded = False
        self._forget()

    def _forget(self) -> None:
        self._rows: Any = None  # sorted by number
        self._fresh: list[Any] = []  # read since, not among them yet
        self._trials = 0  # finished ones that were read
        self._upto = 0  # all trials up to this id are finished or unfinished ones that are known
        self._unfinished: tuple[int, ...] = ()
        self._segments: list[Segment] = []  # files that are final
        self._unsaved: list[Any] = []  # rows that are in no final file
        self._unsaved_trials = self._saved_trials = 0  # of them, and how many the last file has
        self._witness: Witness | None = None  # of the unsaved ones

    def read(self, progress: Progress | None) -> Any:
        """See :meth:`Store.read`."""
        with self._lock:
            if not self._is_loaded:
                self._load()
            for _ in range(_ATTEMPTS):
                rows = self._complete() if self._fill(progress) else None
                if rows is not None:
                    return rows
                self._forget()
                if self._files is not None:
                    self._files.clear()
        name = self._study.location.name
        raise OSError(f"cannot read run {name!r}: its study is replaced again and again")

    # ------------------------------------------------------------------------- the storage

    def _agrees(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the storage still has what was read, and nothing else up to there.

        Raises:
            OSError: it has no such study any more.
        """
        study, name = self._study.study_id, self._study.location.name
        if not schema.has_study(connection, study, name):
            raise OSError(f"cannot read run {name!r}: its study was deleted from the storage")
        known = {segment.witness for segment in self._segments}
        known |= {self._witness} if self._witness is not None else set()
        ids = sorted(witness.trial_id for witness in known)
        found = set(_witnesses(connection, schema.trials_of(connection, study, ids)))
        trials = schema.count_trials(connection, study, self._upto)
        return found == known and trials == self._trials + len(self._unfinished)

    def _fill(self, progress: Progress | None) -> bool:
        """Read the trials that are new, batch by batch; False where the study was replaced."""
        study, is_more, is_long = self._study.study_id, True, False
        while is_more:
            with self._study.database.snapshot() as connection:
                if not self._agrees(connection):
                    return False
                new = schema.trials_after(connection, study, self._upto, BATCH)
                finished = [row for row in new if row.is_finished]
                rows = self._read_rows(connection, finished)
                witness = _last_witness(connection, finished)
                total = schema.count_trials(connection, study)
            is_more = len(new) == BATCH
            if new:
                self._upto = new[-1].trial_id
            open_ids = [row.trial_id for row in new if not row.is_finished]
            self._unfinished = (*self._unfinished, *open_ids)
            self._add(rows, len(finished), witness)
            if self._unsaved_trials >= SEGMENT:
                self._save()
            is_long |= is_more
            if progress is not None and is_long:
                progress(self._reader.name, self._trials + len(self._unfinished), total)
        return True

    def _complete(self) -> Any:
        """The finished rows and those of trials that go on; None where the study was replaced."""
        study = self._study.study_id
        with self._study.database.snapshot() as connection:
            if not self._agrees(connection):
                return None
            known = schema.trials_of(connection, study, self._unfinished)
            ended = [row for row in known if row.is_finished]
            going_on = [row for row in known if not row.is_finished]
            rows = self._read_rows(connection, ended)
            witness = _last_witness(connection, ended)
            unfinished = self._read_rows(connection, going_on)
        self._unfinished = tuple(row.trial_id for row in going_on)
        self._add(rows, len(ended), witness)
        if self._unsaved_trials - self._saved_trials >= SAVE_FROM:
            self._save()
        return merged(self._finished_rows(), unfinished)

    def _read_rows(self, connection: sqlalchemy.Connection, trials: Sequence[TrialRow]) -> Any:
        try:
            return self._reader.read(connection, trials)
        except (pa.ArrowException, OverflowError, TypeError, UnicodeError) as error:
            where = f"run {self._study.location.name!r}"
            for trial in trials if len(trials) > 1 else ():
                self._read_rows(connection, [trial])  # says which one it is
            number = trials[0].number
            raise ValueError(
                f"{where}: trial {number} holds what is no value of its column: {shown(error)}"
            ) from None
        except ValueError as error:
            raise ValueError(f"run {self._study.location.name!r}: {error}") from None

    def _add(self, rows: Any, trials: int, witness: Witness | None) -> None:
        """Take in the rows of trials that have finished."""
        if witness is None:
            return
        self._trials += trials
        self._fresh.append(rows)
        self._unsaved.append(rows)
        self._unsaved_trials += trials
        known = [self._witness] if self._witness is not None else []
        self._witness = max([*known, witness], key=lambda one: one.finished)

    def _finished_rows(self) -> Any:
        if self._fresh or self._rows is None:
            fresh = by_number(self._fresh, self._reader.schema)
            self._rows = fresh if self._rows is None else merged(self._rows, fresh)
            self._fresh = []
        return self._rows

    # --------------------------------------------------------------------------- the files

    def _load(self) -> None:
        """Begin with what the files hold; where they hold nothing of use, with nothing."""
        self._is_loaded = True
        if self._files is None:
            return
        try:
            found = self._files.load(self._reader.schema)
        except OSError as error:
            self._give_up_files(error)
            return
        if found is None:
            return
        manifest, segments = found
        self._upto, self._unfinished = manifest.upto, manifest.unfinished
        self._trials = sum(segment.trials for segment, _ in segments)
        self._segments = [segment for segment, _ in segments]
        self._rows = by_number([rows for _, rows in segments], self._reader.schema)
        if segments and segments[-1][0].trials < SEGMENT:
            last, rows = segments[-1]
            self._segments.pop()
            self._unsaved, self._witness = [rows], last.witness
            self._unsaved_trials = self._saved_trials = last.trials

    def _save(self) -> None:
        """Write what is not in the files yet, if nobody else writes them."""
        files = self._files
        if files is None or self._witness is None:
            return
        try:
            if not files.lock():
                return
            if not files.is_as_loaded:
                self._begin_anew()
            rows = pa.concat_tables(self._unsaved)
            segment = files.write_segment(
                rows, len(self._segments), self._unsaved_trials, self._witness
            )
            segments = (*self._segments, segment)
            files.write_manifest(Manifest(self._upto, self._unfinished, segments))
        except OSError as error:
            self._give_up_files(error)
            return
        self._saved_trials = self._unsaved_trials
        if self._unsaved_trials >= SEGMENT:
            self._segments = list(segments)
            self._unsaved, self._unsaved_trials, self._saved_trials = [], 0, 0
            self._witness = None

    def _begin_anew(self) -> None:
        """Another process has written the files since they were loaded: write all rows again."""
        known = [segment.witness for segment in self._segments]
        known += [self._witness] if self._witness is not None else []
        self._witness = max(known, key=lambda one: one.finished)
        self._segments = []
        self._unsaved, self._unsaved_trials = [self._finished_rows()], self._trials

    def _give_up_files(self, error: OSError) -> None:
        assert self._files is not None
        where = self._files.path.parent
        note = f"{where} cannot be used, what is read is kept in memory: {error.strerror or error}"
        if note not in self._notes:
            self._notes.append(note)
        self._files = None


def _last_witness(
    connection: sqlalchemy.Connection, finished: Sequence[TrialRow]
) -> Witness | None:
    """Of the trial that ended last; None where there is none."""
    if not finished:
        return None
    return _witnesses(connection, [max(finished, key=lambda row: str(row.finished or ""))])[0]


def _witnesses(connection: sqlalchemy.Connection, rows: Sequence[TrialRow]) -> list[Witness]:
    ids = [row.trial_id for row in rows]
    found = schema.attributes(connection, ids, ("proposal", "result"))
    texts = [json.dumps(found.get(one, {}), sort_keys=True) for one in ids]
    return [
        Witness(
            row.trial_id,
            row.number,
            row.state,
            str(row.started or ""),
            str(row.finished or ""),
            hashlib.sha256(text.encode()).hexdigest()[:32],
        )
        for row, text in zip(rows, texts, strict=True)
    ]
