"""The writing side of a run that several drivers share: turns, ownership, claims.

Rows are added and taken over in *turns*, one driver's at a time. With PostgreSQL a turn is one
transaction that holds an advisory lock. The server ends both together, however the driver ends:
so nothing that a driver did in a turn can arrive after it has lost the turn, and one that stops in
the middle (a laptop that is closed) is thrown out after :data:`STUCK_SECONDS`. With SQLite, whose
drivers are all on one machine, a turn is a lock on a file, which the kernel lets go of.

A running trial has an *owner*, the name of a driver in the attribute ``owner``. Whoever writes to
it holds that row first, by an UPDATE that finds it only while the name is the writer's own; and a
claim is an UPDATE that finds it only while the name is the former owner's. So of two claims one
wins, and a driver that was thought to be dead cannot write over what was done since.

Left out: who is dead (:mod:`nas.records.drivers`), and what a turn is used for
(:mod:`nas.search.together`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from nas.quantities import format_seconds
from nas.records import schema
from nas.records.drivers import Driver, Drivers, read_drivers
from nas.records.heartbeat import Heartbeat, remove_driver
from nas.records.lasting import WAIT_SECONDS
from nas.records.news import OWNER, News, NewsReader
from nas.records.outages import is_passing, pause_seconds
from nas.records.stored import Ended, Location, Proposal, Rejections, RunSettings
from nas.records.writing import INTERRUPTED, RunWriter, now

T = TypeVar("T")

PROPOSING = 7_112_982
"""The first half of the advisory lock of a study's turn; the second is the study's id."""

STUCK_SECONDS = 60
"""So long may a driver say nothing to PostgreSQL in the middle of its turn."""

MOST_KEPT = 100
"""The last rejections that are kept."""

_ATTRIBUTES = models.TrialUserAttributeModel.__table__


class NotOwner(Exception):  # noqa: N818 - it is not an error but a fact
    """The trial is another driver's by now: this one was not heard of for too long."""


def check_shareable(location: Location) -> None:
    """Refuse a database that cannot keep the drivers of a run apart.

    Raises:
        ValueError: it is neither PostgreSQL nor a file of SQLite.
    """
    backend = sqlalchemy.make_url(location.url).get_backend_name()
    if backend != "postgresql" and location.database is None:
        what = "SQLite in memory" if backend == "sqlite" else backend
        raise ValueError(
            f"several drivers can share a run in PostgreSQL, or in a SQLite file on one machine, "
            f"not in {what}: its locks are not known to keep them apart"
        )


class SharedWriter(RunWriter):
    """Writes the trials of a run for one of several drivers.

    A storage that is away is waited for, at most ``wait_seconds`` long and unless ``is_hurried``
    says otherwise; ``note`` is told. What the driver's workers do goes on meanwhile.
    """

    def __init__(
        self,
        location: Location,
        settings: RunSettings,
        distributions: Mapping[str, BaseDistribution],
        driver: Driver,
        *,
        note: Callable[[str], None] = lambda line: None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        super().__init__(location, settings.objectives, distributions)
        self._note, self._wait_seconds = note, wait_seconds
        self.is_hurried: Callable[[], bool] = lambda: False
        self.study_id, self.driver = self._study_id, driver
        self.owner = json.dumps(driver.name)
        self._reader = NewsReader(settings, self._study_id)
        self._turns = _turns_file(location)

    def look(self) -> News:
        """What is new, without a turn.

        Raises:
            OSError: the study cannot be read.
            ValueError: a trial's data are damaged.
        """
        return self.persist(self._look)

    def _look(self) -> News:
        with self._writing(), self._storage.transaction() as session:
            return self._reader.read(session.connection())

    def persist(self, do: Callable[[], T]) -> T:
        """Do something, and again while the storage is away; it must be safe to be done twice.

        Raises:
            OSError: the storage was away for too long, or fails for good.
        """
        since, tries = time.monotonic(), 0
        while True:
            try:
                found = do()
            except OSError as error:
                waited = time.monotonic() - since
                if not is_passing(error) or waited >= self._wait_seconds or self.is_hurried():
                    raise
                if not tries:
                    limit = format_seconds(self._wait_seconds)
                    self._note(f"the storage does not answer; it is tried again for {limit}")
                time.sleep(min(pause_seconds(tries), self._wait_seconds - waited))
                tries += 1
            else:
                if tries:
                    waited = time.monotonic() - since
                    self._note(f"the storage answers again, after {format_seconds(waited)}")
                return found

    def wait_for_storage(self, error: OSError) -> None:
        """After a turn that failed: wait until the storage answers.

        Raises:
            OSError: it does not, or the fault is of another kind.
        """
        if not is_passing(error):
            raise error
        self.persist(self._look_nothing)

    def _look_nothing(self) -> None:
        with self._writing():
            self._storage.get_study_id_from_name(self.location.name)

    @contextlib.contextmanager
    def turn(self, seconds: float) -> Iterator[Turn | None]:
        """Have the turn, waiting for it at most so long; None where others do not let go of it.

        What is done in it becomes true all together, at its end.

        Raises:
            OSError: the study cannot be written; nothing of the turn has become true.
        """
        with self._turn_lock(seconds) as is_ours:
            if not is_ours:
                yield None
                return
            with self._writing(), self._storage.transaction() as session:
                if self._turns is None and not _lock_study(session, self._study_id, seconds):
                    session.rollback()
                    yield None
                    return
                turn = Turn(self, session)
                yield turn
            self._reader.know(turn.added, is_open=True)
            self._trial_ids.update({number: key for key, number in turn.added.items()})

    @contextlib.contextmanager
    def long_turn(self, seconds: float) -> Iterator[Turn]:
        """As :meth:`turn`, for what cannot go on without.

        Raises:
            OSError: the others do not let go of it, or the study cannot be written.
        """
        with self.turn(seconds) as turn:
            if turn is None:
                raise OSError(
                    f"run {self.location.name!r}: for {seconds:g} seconds another driver has had "
                    f"the turn to write; see whether one is paused"
                )
            yield turn

    def finish(self, number: int, *arguments: Any, **named: Any) -> None:
        """See :meth:`RunWriter.finish`.

        Raises:
            NotOwner: the trial is another driver's by now.
        """
        own = super().finish
        self.persist(lambda: own(number, *arguments, **named))
        self._reader.know({self._trial_id(number): number}, is_open=False)

    def set_curve(self, number: int, points: Sequence[Sequence[float | None]]) -> None:
        """See :meth:`RunWriter.set_curve`.

        Raises:
            NotOwner: the trial is another driver's by now.
        """
        own = super().set_curve
        self.persist(lambda: own(number, points))

    def interrupt(self, number: int) -> None:
        """Give a running trial up; any driver may take it over at once.

        Raises:
            NotOwner: the trial is another driver's by now.
        """
        self.persist(lambda: self._interrupt(number))

    def _interrupt(self, number: int) -> None:
        trial_id = self._trial_id(number)
        with self._writing(), self._changing(trial_id) as session:
            self._storage.set_attribute(session, trial_id, INTERRUPTED, now())
            self._storage.set_attribute(session, trial_id, OWNER, "")

    @contextlib.contextmanager
    def _changing(self, trial_id: int) -> Iterator[Session]:
        try:
            with self._storage.transaction() as session:
                # A write that changes nothing, and that claims wait for.
                if not _own(session, trial_id, self.owner, self.owner):
                    raise NotOwner
                yield session
        except UpdateFinishedTrialError:
            # Ended by somebody else, or by a write of this driver's whose answer was lost.
            raise NotOwner from None

    @contextlib.contextmanager
    def _turn_lock(self, seconds: float) -> Iterator[bool]:
        if self._turns is None:
            yield True  # the database has a lock of its own
            return
        descriptor = os.open(self._turns, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield _flock(descriptor, seconds)
        finally:
            os.close(descriptor)


class Turn:
    """What may be done by one driver at a time; see :meth:`SharedWriter.turn`."""

    def __init__(self, writer: SharedWriter, session: Session) -> None:
        self._writer, self._session = writer, session
        self.added: dict[int, int] = {}
        """The numbers of the trials that were added, by id."""

    def news(self) -> News:
        """What is new; nothing more can become new while the turn lasts, but ends of trials."""
        return self._writer._reader.read(self._session.connection())

    def add(self, proposals: Sequence[Proposal]) -> list[int]:
        """Add running trials of one's own; their numbers."""
        writer = self._writer
        for proposal in proposals:
            template = writer._template(proposal, owner=writer.driver.name)
            trial = writer._storage._get_prepared_new_trial(
                writer.study_id, template, self._session
            )
            self.added[trial.trial_id] = trial.number
        return list(self.added.values())

    def claim(self, number: int, owner: str | None) -> bool:
        """Take an unfinished trial over from its owner (as it was read); whether that was done.

        Its learning curve begins anew.
        """
        writer = self._writer
        trial_id = writer._reader.trial_id(number)
        if not _own(self._session, trial_id, owner, writer.owner):
            return False
        connection = self._session.connection()
        if schema.trials_of(connection, writer.study_id, [trial_id])[0].is_finished:
            # Its owner was slow, not dead, and has ended it since it was read.
            _own(self._session, trial_id, writer.owner, owner)
            return False
        writer._storage.set_attribute(self._session, trial_id, "curve", [])
        return True

    def drivers(self) -> Drivers:
        """The drivers there are."""
        return read_drivers(self._session.connection(), self._writer.study_id)

    def remove_driver(self, driver: Driver) -> None:
        """Take a driver's entry out: this one's at its end, or a dead one's."""
        remove_driver(self._session.connection(), self._writer.study_id, driver)

    def add_given_up_seconds(self, seconds: float) -> None:
        """Charge the run for trials that have to begin again."""
        before = self._read("given_up_seconds") or 0.0
        self._write("given_up_seconds", before + seconds)

    def add_rejections(self, rejections: Rejections) -> Rejections:
        """Add a driver's new rejections to the run's; all of them."""
        data = self._read("rejections") or {"counts": {}, "last": []}
        counts = dict(data["counts"])
        for kind, count in rejections.counts.items():
            counts[kind] = counts.get(kind, 0) + count
        last = [*data["last"], *rejections.last][-MOST_KEPT:]
        self._write("rejections", {"counts": counts, "last": last})
        return Rejections(counts, tuple(last))

    def ended(self) -> Ended | None:
        """How the search has ended, as far as a driver said."""
        data = self._read("ended")
        return Ended(**data) if data else None

    def set_ended(self, ended: Ended) -> None:
        """Say how the search has ended."""
        self._write("ended", asdict(ended))

    def set_settings(self, settings: RunSettings) -> None:
        """Replace the settings."""
        self._write("settings", settings.to_data())

    def _read(self, key: str) -> Any:
        connection, study = self._session.connection(), self._writer.study_id
        text = schema.study_attribute(connection, study, key)
        return None if text is None else json.loads(text)

    def _write(self, key: str, value: Any) -> None:
        row = (
            self._session.query(models.StudyUserAttributeModel)
            .filter_by(study_id=self._writer.study_id, key=key)
            .one_or_none()
        )
        if row is None:
            row = models.StudyUserAttributeModel(study_id=self._writer.study_id, key=key)
            self._session.add(row)
        row.value_json = json.dumps(value)
        self._session.flush()


@contextlib.contextmanager
def alone(
    writer: RunWriter, driver: Driver, seconds: Callable[[], float], workers: Callable[[], int]
) -> Iterator[None]:
    """Be the only driver of a run, wherever the others are; see :class:`Heartbeat`.

    With a file of SQLite the lock of the run's directory does that by itself.

    Raises:
        ValueError: another driver is at work.
        OSError: the study cannot be written.
    """
    storage, study_id = writer._storage, writer._study_id
    if storage.engine.dialect.name != "postgresql":
        yield
        return
    heartbeat = Heartbeat(writer.location, study_id, driver, seconds=seconds, workers=workers)
    with writer._writing(), storage.transaction() as session:
        if not _lock_study(session, study_id, STUCK_SECONDS):
            raise OSError(f"run {writer.location.name!r}: another driver has had it for too long")
        heartbeat.enter()
    try:
        yield
    finally:
        heartbeat.stop()
        # Where the database is away, others find the process gone, or wait out its grace.
        with contextlib.suppress(OSError), writer._writing(), storage.transaction() as session:
            remove_driver(session.connection(), study_id, driver)


def _own(session: Session, trial_id: int, before: str | None, after: str | None) -> bool:
    """Change a trial's owner, if it is still the one of before; whether it was."""
    connection, row = session.connection(), _ATTRIBUTES
    same = (row.c.trial_id == trial_id) & (row.c.key == OWNER)
    if before is None:
        if schema.attributes(connection, [trial_id], (OWNER,)):
            return False
        values = {"trial_id": trial_id, "key": OWNER, "value_json": after}
        connection.execute(sqlalchemy.insert(row).values(**values))
        return True
    if after is None:
        return connection.execute(sqlalchemy.delete(row).where(same)).rowcount == 1
    same &= row.c.value_json == before
    found = connection.execute(sqlalchemy.update(row).where(same).values(value_json=after))
    return found.rowcount == 1


def _lock_study(session: Session, study_id: int, seconds: float) -> bool:
    """Lock a study of PostgreSQL until the end of the transaction; whether that was possible."""
    settings = (
        f"SELECT set_config('lock_timeout', '{max(round(1000 * seconds), 1)}', true), "
        f"set_config('idle_in_transaction_session_timeout', '{1000 * STUCK_SECONDS}', true)"
    )
    connection = session.connection()
    connection.exec_driver_sql(settings)
    try:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({PROPOSING}, {study_id})")
    except OperationalError as error:
        code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if code != "55P03":  # lock_not_available
            raise
        return False
    connection.exec_driver_sql("SELECT set_config('lock_timeout', '0', true)")
    return True


def _flock(descriptor: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)
        else:
            return True


def _turns_file(location: Location) -> Path | None:
    return None if location.database is None else location.lock.with_suffix(".turns")
