"""Whether a storage that could not be written is only away for now, and when to try again.

A server that restarts, a network that is interrupted, a lock that another program holds: these
pass. A full disk, missing rights, a table that is not there and errors of our own do not.
"""

from __future__ import annotations

import random
import sqlite3
from typing import Any

import sqlalchemy
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

FIRST_SECONDS, MOST_SECONDS = 0.25, 10.0
"""How long the first and the later pauses between two tries are at most."""

CONNECT_SECONDS = 5
"""A server that does not take a connection by then is away."""

_POSTGRES_CLASSES = ("08", "40")  # connection exceptions; rollbacks: deadlocks, serialization
_POSTGRES_STATES = frozenset(
    {
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now: it starts, or ends
        "57014",  # query_canceled: a limit of the server's on time
        "55P03",  # lock_not_available
        "53300",  # too_many_connections
    }
)
_MYSQL_NUMBERS = frozenset({1040, 1205, 1213, 2002, 2003, 2006, 2013, 2055})
_SQLITE_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def is_passing(error: BaseException | None) -> bool:
    """Whether what is at the bottom of an error may be gone when it is tried again."""
    while error is not None:
        if isinstance(error, DBAPIError):
            return _passes(error)
        if isinstance(error, sqlalchemy.exc.TimeoutError):
            return True  # no connection of the pool got free
        error = error.__cause__
    return False


def _passes(error: DBAPIError) -> bool:
    origin: Any = error.orig
    if isinstance(origin, sqlite3.Error):
        # The low byte is the kind; the rest tells more of it.
        return getattr(origin, "sqlite_errorcode", 0) & 0xFF in _SQLITE_CODES
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    if state:
        return state in _POSTGRES_STATES or str(state).startswith(_POSTGRES_CLASSES)
    number = next(iter(getattr(origin, "args", ())), None)
    # PostgreSQL's drivers have no state for a server that cannot be reached.
    return number in _MYSQL_NUMBERS if isinstance(number, int) else True


def pause_seconds(tries: int) -> float:
    """How long to wait after so many tries: twice as long each time, and never quite the same.

    Drivers that lost one server at the same moment would otherwise all come back at one moment,
    again and again (M. Brooker, "Exponential Backoff And Jitter", 2015: equal jitter).
    """
    longest = min(FIRST_SECONDS * 2.0 ** min(tries, 30), MOST_SECONDS)
    return longest / 2 + random.uniform(0, longest / 2)


def engine_settings(url: str) -> dict[str, Any]:
    """What SQLAlchemy is told so that a server that is away is noticed in seconds, not minutes.

    What the URL says itself stays.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except SQLAlchemyError:
        return {}
    if parsed.get_backend_name() == "sqlite":
        return {}
    given = {"connect_timeout": CONNECT_SECONDS}
    if parsed.get_backend_name() == "postgresql":
        # Milliseconds that what was sent may go unanswered by the other machine's kernel.
        given["tcp_user_timeout"] = 1000 * CONNECT_SECONDS
    known = parsed.get_driver_name() in ("psycopg", "psycopg2", "pymysql", "mysqldb")
    arguments = {key: value for key, value in given.items() if key not in parsed.query}
    return {"connect_args": arguments} if known else {}
