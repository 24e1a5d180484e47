"""Storages that are only read: whether a URL can be used, and connections that never write.

``check_storage`` asks before anything connects; :class:`Database` reads in snapshots and turns
what databases say into one line each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from nas.records import schema
from nas.records.stored import Location, cause

LOCK_SECONDS = 5.0
"""How long a read waits for a SQLite file that another program has locked."""


_SHOWN = 3
"""Missing columns that are named."""


class Database:
    """The storage of a run, opened so that nothing can be written to it."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._engine = _engine(location)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlalchemy.Connection]:
        """A connection that sees one state of the storage, whatever others write meanwhile.

        Raises:
            OSError: the storage is gone, locked or cannot be read; one line that says which.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            raise OSError(f"cannot read {self._where()}: {self._fault(error)}") from None

    def _where(self) -> str:
        name, path = self._location.name, self._location.path
        return f"run {name!r} ({path})"

    def _fault(self, error: SQLAlchemyError) -> str:
        text, file = cause(error), self._location.database
        if file is not None and not file.exists():
            return f"there is no database {file} any more"
        if "database is locked" in text or "database table is locked" in text:
            return (
                f"the database is locked: another program has kept it for more than "
                f"{LOCK_SECONDS:g} seconds; try again when it is done"
            )
        return text + self._missing()

    def _missing(self) -> str:
        """What the storage lacks of Optuna's tables, as the end of a sentence."""
        try:
            with self._engine.connect() as connection:
                missing = schema.missing_columns(connection)
        except SQLAlchemyError:
            return ""
        if not missing:
            return ""
        more = "" if len(missing) <= _SHOWN else f" and {len(missing) - _SHOWN} more"
        return (
            f"; its tables are not those of Optuna 3.2 to 5: there is no "
            f"{', '.join(missing[:_SHOWN])}{more}"
        )


def _engine(location: Location) -> sqlalchemy.Engine:
    database = location.database
    if database is not None:
        return _sqlite_engine(database)
    engine = sqlalchemy.create_engine(location.url, poolclass=NullPool)
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine


def _sqlite_engine(database: Path) -> sqlalchemy.Engine:
    # `rw` never creates a file; it lets SQLite roll back what a killed driver left half-written.
    writable = os.access(database, os.W_OK) and os.access(database.parent, os.W_OK)
    mode = "rw" if writable else "ro"
    engine = sqlalchemy.create_engine(
        f"sqlite:///file:{quote(str(database.absolute()))}?mode={mode}&uri=true",
        poolclass=NullPool,
        connect_args={"timeout": LOCK_SECONDS},
    )

    # The driver begins no transaction for a SELECT by itself: each would see another state.
    @sqlalchemy.event.listens_for(engine, "connect")
    def _only_read(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA query_only = ON")

    @sqlalchemy.event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def shown_url(url: str) -> str:
    """A storage URL without its password."""
    return sqlalchemy.make_url(url).render_as_string(hide_password=True)


def check_storage(storage: str, what: str = "storage", own: Path | None = None) -> None:
    """Refuse a storage URL that no installed database can serve; connects to nothing.

    ``what`` names the setting in messages; ``own`` is the run's directory, which need not exist.

    Raises:
        ValueError: it is no URL, its database or driver is not known here, or the directory of a
            SQLite file does not exist.
    """
    try:
        url = sqlalchemy.make_url(storage)
    except SQLAlchemyError:
        raise ValueError(
            f"{what} must be a URL such as sqlite:///runs.db, not {storage!r}"
        ) from None
    shown = url.render_as_string(hide_password=True)
    try:
        url.get_dialect().import_dbapi()
    except SQLAlchemyError:
        raise ValueError(
            f"{what}: {url.drivername!r} is no known database, in {shown!r}; "
            f"take a URL such as sqlite:///runs.db"
        ) from None
    except ImportError as error:
        raise ValueError(
            f"{what}: the driver of {url.drivername} is not installed ({error}): "
            f"install it, or take a URL such as sqlite:///runs.db"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database:
        directory = Path(url.database).parent
        if not directory.is_dir() and (own is None or directory.resolve() != own.resolve()):
            raise ValueError(f"{what}: there is no directory {directory} for {shown!r}")
