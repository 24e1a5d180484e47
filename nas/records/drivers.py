"""The drivers of a study that several may drive: who they are, and whether they still are there.

Each is a system attribute of the study, ``driver:ID``, that its driver renews every few seconds:
a heartbeat, by the clock of the database, so that the machines' clocks need not agree. A driver
counts as dead when it has not been heard of for its own grace; on the machine where it runs, as
soon as its process has ended.

Left out: the lock of a run's only driver on one machine (:mod:`nas.search.study`), and writing
heartbeats (:mod:`nas.records.heartbeat`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy

from nas.records import schema

PREFIX = "driver:"
GRACE_SECONDS = 60.0
"""So long may nothing be heard of a driver before others take its trials over."""

BEATS_A_GRACE = 6
"""Five beats in a row may be missed."""

LONGEST_BEAT_SECONDS = 10.0
"""However long its grace is, a driver is heard of so often: people look at it, too."""

_CLOCKS = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6))",
    "mariadb": "SELECT UNIX_TIMESTAMP(NOW(6))",
}


@dataclass(frozen=True)
class Driver:
    """A driver of a study, as it was when it was heard of last.

    ``machine`` is its name for people, and ``place`` tells where its process id ``pid`` means
    something; ``started`` is the start of the process. ``is_alone``: it drives the study alone.
    ``workers`` is how many trials it can run at once. ``heard`` is the time of its last heartbeat
    by the database's clock, and ``seconds`` how long the study had been driven then.
    """

    name: str
    machine: str
    place: str
    pid: int
    started: float
    is_alone: bool
    workers: int
    grace_seconds: float
    heard: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.machine}"

    @property
    def key(self) -> str:
        """The key of its attribute."""
        return PREFIX + self.name

    def to_json(self) -> str:
        """What is stored."""
        return json.dumps({key: value for key, value in asdict(self).items() if key != "name"})

    @property
    def beat_seconds(self) -> float:
        """It is heard of so often, while all is well."""
        return min(self.grace_seconds / BEATS_A_GRACE, LONGEST_BEAT_SECONDS)

    @property
    def is_gone(self) -> bool:
        """Whether it was on this machine and has ended, itself or with its process."""
        return self.name in ENDED or (
            self.place == this_place() and not _runs(self.pid, self.started)
        )

    def is_alive(self, now: float) -> bool:
        """Whether it still is at work at this time of the database's clock."""
        return now - self.heard <= self.grace_seconds and not self.is_gone

    def at(self, now: float, seconds: float, workers: int) -> Driver:
        """The same driver, heard of now."""
        return replace(self, heard=now, seconds=seconds, workers=workers)


ENDED: set[str] = set()
"""The drivers of this process that have ended; one whose database was away left its entry."""


@dataclass(frozen=True)
class Drivers:
    """All drivers that a study knows of, and the database's clock when they were read."""

    known: tuple[Driver, ...]
    now: float

    @property
    def alive(self) -> tuple[Driver, ...]:
        """Those that are at work."""
        return tuple(driver for driver in self.known if driver.is_alive(self.now))

    def presumed(self, steady_seconds: float) -> tuple[Driver, ...]:
        """Those that are or may be at work, for one that was itself heard of for so long.

        When the database was away, nobody was heard of: whoever finds it first must not take the
        others for dead before they have had the time for a beat or two.
        """
        alive = set(self.alive)
        return tuple(
            driver
            for driver in self.known
            if driver in alive or (steady_seconds < 2 * driver.beat_seconds and not driver.is_gone)
        )

    @property
    def seconds(self) -> float:
        """For how long the study was driven, as far as they know."""
        alive = set(self.alive)
        return max(
            (one.seconds + (self.now - one.heard) * (one in alive) for one in self.known),
            default=0.0,
        )


def read_drivers(connection: sqlalchemy.Connection, study: int) -> Drivers:
    """The drivers of a study.

    Raises:
        ValueError: what one of them left is damaged.
    """
    rows = schema.study_system_attributes(connection, study, PREFIX)
    known = tuple(_driver(key.removeprefix(PREFIX), text) for key, text in rows)
    # A study that only one driver at a time was ever meant for needs no clock.
    return Drivers(known, database_seconds(connection) if known else 0.0)


def database_seconds(connection: sqlalchemy.Connection) -> float:
    """The database's clock: seconds since 1970."""
    clock = _CLOCKS.get(connection.dialect.name, "SELECT EXTRACT(EPOCH FROM CURRENT_TIMESTAMP)")
    return float(connection.exec_driver_sql(clock).scalar_one())


def this_driver(
    name: str, *, is_alone: bool, workers: int, grace_seconds: float = GRACE_SECONDS
) -> Driver:
    """This process as a driver."""
    return Driver(
        name=name,
        machine=socket.gethostname(),
        place=this_place(),
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        is_alone=is_alone,
        workers=workers,
        grace_seconds=grace_seconds,
    )


def names(drivers: Sequence[Driver]) -> str:
    """Drivers as people read them: ``process 12 on a and process 34 on b``."""
    words = [str(driver) for driver in drivers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


@cache
def this_place() -> str:
    """What tells apart where process ids mean something: machines, restarts, containers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not every system has it; a name alone must do there
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        has_ended = process.status() == psutil.STATUS_ZOMBIE
        # A process id is used again; its start tells the two apart.
        return not has_ended and abs(process.create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False


def _driver(name: str, text: str) -> Driver:
    try:
        data: dict[str, Any] = json.loads(text)
        return Driver(name=name, **data)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the study's driver {name!r} is damaged: {error}") from None
