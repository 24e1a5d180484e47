"""A driver's heartbeat: it enters itself into the study, says every few seconds that it is there.

One row a driver and one write a beat, however many trials it runs. The beats come from a thread
with connections of its own, for the search may be busy with a long proposal. A beat that cannot
be written is a beat that is missed: when the database is back in time, nothing has happened.

Left out: what others make of it (:mod:`nas.records.drivers`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy
from optuna.storages._rdb import models
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from nas.records.drivers import ENDED, Driver, Drivers, database_seconds, names, read_drivers
from nas.records.outages import engine_settings
from nas.records.stored import Location
from nas.records.tables import BUSY_SECONDS

_ROWS = models.StudySystemAttributeModel.__table__


class Heartbeat:
    """One driver's entry in its study; it beats from :meth:`enter` to :meth:`stop`.

    ``seconds`` tells for how long the study has been driven, ``workers`` how many trials the
    driver can run at once; both are asked from the thread.
    """

    def __init__(
        self,
        location: Location,
        study_id: int,
        driver: Driver,
        *,
        seconds: Callable[[], float],
        workers: Callable[[], int],
    ) -> None:
        backend = sqlalchemy.make_url(location.url).get_backend_name()
        busy = {"connect_args": {"timeout": BUSY_SECONDS}}
        settings = busy if backend == "sqlite" else engine_settings(location.url)
        self._engine = sqlalchemy.create_engine(location.url, poolclass=NullPool, **settings)
        self._name, self._study_id = location.name, study_id
        self._driver, self._seconds, self._workers = driver, seconds, workers
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._steady_since = self._last = time.monotonic()

    def enter(self) -> Drivers:
        """Enter the study, and begin to beat; the drivers that were there before.

        Who drives alone wants nobody else there, and who does not wants nobody who does. To be
        called by one driver at a time.

        Raises:
            ValueError: another driver is at work that it cannot work with.
            sqlalchemy.exc.SQLAlchemyError: the database cannot be written.
        """
        ENDED.discard(self._driver.name)
        with self._engine.begin() as connection:
            found = read_drivers(connection, self._study_id)
            check_company(self._name, self._driver, found)
            for driver in found.known:
                if driver.is_alone and not driver.is_alive(found.now):
                    remove_driver(connection, self._study_id, driver)
            self._write(connection)
        self._steady_since = self._last = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return found

    @property
    def steady_seconds(self) -> float:
        """For how long no beat was missed, nor came late."""
        now = time.monotonic()
        is_late = now - self._last > 2 * self._driver.beat_seconds
        return 0.0 if is_late else now - self._steady_since

    def stop(self) -> None:
        """Beat no more; the entry stays."""
        self._stopped.set()
        ENDED.add(self._driver.name)
        if self._thread is not None:
            self._thread.join()
        self._engine.dispose()

    def _beat(self) -> None:
        every = self._driver.beat_seconds
        while not self._stopped.wait(every):
            now, late = time.monotonic(), 2 * every
            if now - self._last > late:  # the process was paused, or the database slow
                self._steady_since = now
            self._last = now
            try:
                with self._engine.begin() as connection:
                    self._write(connection)
            except SQLAlchemyError:
                # A beat is missed; the search itself says what is wrong with the database.
                self._steady_since = time.monotonic()

    def _write(self, connection: sqlalchemy.Connection) -> None:
        now = database_seconds(connection)
        text = self._driver.at(now, self._seconds(), self._workers()).to_json()
        update = sqlalchemy.update(_ROWS).where(_is(self._study_id, self._driver.key))
        changed = connection.execute(update.values(value_json=text)).rowcount
        if not changed:  # the first beat, or others have counted it as dead meanwhile
            values = {"study_id": self._study_id, "key": self._driver.key, "value_json": text}
            connection.execute(sqlalchemy.insert(_ROWS).values(**values))


def remove_driver(connection: sqlalchemy.Connection, study_id: int, driver: Driver) -> None:
    """Take a driver's entry out of a study."""
    connection.execute(sqlalchemy.delete(_ROWS).where(_is(study_id, driver.key)))


def check_company(name: str, newcomer: Driver, found: Drivers) -> None:
    """Refuse a driver of run ``name`` that cannot work beside those who are there.

    Raises:
        ValueError: it can not; the message says who is there and what to do.
    """
    alive = [driver for driver in found.alive if driver.name != newcomer.name]
    alone = [driver for driver in alive if driver.is_alone]
    if not alive or not (newcomer.is_alone or alone):
        return
    who = names(alone or alive)
    heard = max(found.now - driver.heard for driver in alone or alive)
    rule = (
        f"stop it first, or wait: it was heard of {heard:.0f} s ago"
        if alone
        else "work beside them with --join"
    )
    how = "alone " if alone else ""
    raise ValueError(f"run {name!r} is driven {how}by {who}; {rule}")


def _is(study_id: int, key: str) -> Any:
    return (_ROWS.c.study_id == study_id) & (_ROWS.c.key == key)
