"""Optuna's tables as they are read here: every statement, and the columns that they need.

Optuna calls these tables private. A contract test compares :data:`TABLES` with what the installed
Optuna makes and reads its rows back; where a storage has another layout, the error names what is
missing (:func:`missing_columns`). Rows come as Optuna has them: texts, numbers and times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy

TABLES = {
    "studies": ("study_id", "study_name"),
    "study_user_attributes": ("study_id", "key", "value_json"),
    "study_system_attributes": ("study_id", "key", "value_json"),
    "trials": (
        "trial_id",
        "number",
        "study_id",
        "state",
        "datetime_start",
        "datetime_complete",
    ),
    "trial_user_attributes": ("trial_id", "key", "value_json"),
    "trial_system_attributes": ("trial_id", "key", "value_json"),
    "trial_params": ("param_id", "trial_id", "param_name", "param_value", "distribution_json"),
    "trial_values": ("trial_id", "objective", "value"),
}
"""The columns that are read, of Optuna's schema 12 (Optuna 3.2 to 5)."""

UNFINISHED = ("RUNNING", "WAITING")
"""States of trials whose rows may still change; Optuna refuses to change the others."""


class TrialRow(NamedTuple):
    """A row of Optuna's ``trials``; times are texts in SQLite and datetimes elsewhere."""

    trial_id: int
    number: int
    state: str
    started: Any
    finished: Any

    @property
    def is_finished(self) -> bool:
        """Whether the row and all that hangs on it is final."""
        return self.state not in UNFINISHED


_TRIAL = "trial_id, number, state, datetime_start, datetime_complete"


def missing_columns(connection: sqlalchemy.Connection) -> list[str]:
    """The columns that are read and that the storage has not, as ``table.column``."""
    inspector = sqlalchemy.inspect(connection)
    missing = []
    for table, columns in TABLES.items():
        found: set[str] = set()
        if inspector.has_table(table):
            found = {column["name"] for column in inspector.get_columns(table)}
        missing += [f"{table}.{column}" for column in columns if column not in found]
    return missing


def trials_after(
    connection: sqlalchemy.Connection, study: int, after: int, limit: int
) -> list[TrialRow]:
    """The study's next trials by id, at most ``limit`` of them."""
    rows = _rows(
        connection,
        f"SELECT {_TRIAL} FROM trials WHERE study_id = :study AND trial_id > :after "
        f"ORDER BY trial_id LIMIT :limit",
        study=study,
        after=after,
        limit=limit,
    )
    return [TrialRow(*row) for row in rows]


def trials_since(
    connection: sqlalchemy.Connection, study: int, after: int, open_ids: Sequence[int]
) -> list[TrialRow]:
    """The study's trials that are new after an id, and those of these ids, in order of ids."""
    among = f"OR ({_among(open_ids)})" if open_ids else ""
    rows = _rows(
        connection,
        f"SELECT {_TRIAL} FROM trials WHERE study_id = :study AND (trial_id > :after {among}) "
        f"ORDER BY trial_id",
        study=study,
        after=after,
    )
    return [TrialRow(*row) for row in rows]


def trials_of(
    connection: sqlalchemy.Connection, study: int, trial_ids: Sequence[int]
) -> list[TrialRow]:
    """The study's trials of these ids, as far as they exist, in order."""
    rows = _rows(
        connection,
        f"SELECT {_TRIAL} FROM trials WHERE study_id = :study AND {_among(trial_ids)} "
        f"ORDER BY trial_id",
        study=study,
    )
    return [TrialRow(*row) for row in rows]


def count_trials(connection: sqlalchemy.Connection, study: int, last: int | None = None) -> int:
    """How many trials the study has, up to an id or in all."""
    limit = "" if last is None else " AND trial_id <= :last"
    values = {} if last is None else {"last": last}
    statement = f"SELECT COUNT(*) FROM trials WHERE study_id = :study{limit}"
    return int(_rows(connection, statement, study=study, **values)[0][0])


def studies(connection: sqlalchemy.Connection) -> dict[str, int]:
    """The ids of all studies by name."""
    rows = _rows(connection, "SELECT study_name, study_id FROM studies ORDER BY study_id")
    return {str(name): int(number) for name, number in rows}


def study_attributes(connection: sqlalchemy.Connection, study: int) -> dict[str, str]:
    """The study's user attributes: JSON by key."""
    statement = "SELECT key, value_json FROM study_user_attributes WHERE study_id = :study"
    return dict(_rows(connection, f"{statement} ORDER BY key", study=study))


def study_attribute(connection: sqlalchemy.Connection, study: int, key: str) -> str | None:
    """One of the study's user attributes as JSON; None where it has none of this key."""
    statement = "SELECT value_json FROM study_user_attributes WHERE study_id = :study"
    rows = _rows(connection, f"{statement} AND key = :key", study=study, key=key)
    return str(rows[0][0]) if rows else None


def study_system_attributes(
    connection: sqlalchemy.Connection, study: int, prefix: str
) -> Sequence[tuple[str, str]]:
    """The study's system attributes whose keys begin so: (key, JSON)."""
    return _rows(
        connection,
        "SELECT key, value_json FROM study_system_attributes "
        "WHERE study_id = :study AND key LIKE :keys ORDER BY key",
        study=study,
        keys=f"{prefix}%",
    )


def trial_counts(connection: sqlalchemy.Connection, study: int) -> list[tuple[str, int, Any, Any]]:
    """By state: how many trials, the last id, and when the last one ended."""
    statement = (
        "SELECT state, COUNT(*), MAX(trial_id), MAX(datetime_complete) FROM trials "
        "WHERE study_id = :study GROUP BY state ORDER BY state"
    )
    return [tuple(row) for row in _rows(connection, statement, study=study)]


def unfinished_attributes(
    connection: sqlalchemy.Connection, study: int
) -> Sequence[tuple[int, str, str]]:
    """The user attributes of trials that go on: (trial id, key, JSON)."""
    states = ", ".join(f"'{state}'" for state in UNFINISHED)
    return _rows(
        connection,
        f"SELECT a.trial_id, a.key, a.value_json FROM trials t "
        f"JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
        f"WHERE t.study_id = :study AND t.state IN ({states}) ORDER BY a.trial_id, a.key",
        study=study,
    )


def count_reused(connection: sqlalchemy.Connection, study: int) -> int:
    """How many complete trials took over an earlier one's result."""
    rows = _rows(
        connection,
        "SELECT COUNT(*) FROM trial_user_attributes a JOIN trials t ON t.trial_id = a.trial_id "
        "WHERE t.study_id = :study AND t.state = 'COMPLETE' AND a.key = 'result' "
        "AND a.value_json LIKE :reused",
        study=study,
        reused='%"reused": true%',
    )
    return int(rows[0][0])


def all_parameters(connection: sqlalchemy.Connection, study: int) -> Sequence[Any]:
    """Every parameter of the study, in the order in which they were written.

    Rows are (trial number, name, Optuna's internal value, distribution as JSON).
    """
    return _rows(
        connection,
        "SELECT t.number, p.param_name, p.param_value, p.distribution_json FROM trial_params p "
        "JOIN trials t ON t.trial_id = p.trial_id "
        "WHERE t.study_id = :study ORDER BY t.number, p.param_id",
        study=study,
    )


def system_attributes(connection: sqlalchemy.Connection, study: int) -> Sequence[Any]:
    """What samplers left with the trials: (trial number, key, JSON)."""
    return _rows(
        connection,
        "SELECT t.number, a.key, a.value_json FROM trial_system_attributes a "
        "JOIN trials t ON t.trial_id = a.trial_id WHERE t.study_id = :study",
        study=study,
    )


def system_attributes_of(
    connection: sqlalchemy.Connection, trial_ids: Sequence[int]
) -> Sequence[tuple[int, str, str]]:
    """What samplers left with these trials: (trial id, key, JSON)."""
    return _rows(
        connection,
        f"SELECT trial_id, key, value_json FROM trial_system_attributes WHERE {_among(trial_ids)}",
    )


def has_study(connection: sqlalchemy.Connection, study: int, name: str) -> bool:
    """Whether the study still is there under its name."""
    statement = "SELECT study_name FROM studies WHERE study_id = :study"
    return [row[0] for row in _rows(connection, statement, study=study)] == [name]


def attributes(
    connection: sqlalchemy.Connection, trial_ids: Sequence[int], keys: Iterable[str]
) -> dict[int, dict[str, str]]:
    """The trials' user attributes of these keys: JSON by key by trial id."""
    names = {f"key{index}": key for index, key in enumerate(keys)}
    rows = _rows(
        connection,
        f"SELECT trial_id, key, value_json FROM trial_user_attributes "
        f"WHERE {_among(trial_ids)} AND key IN ({', '.join(f':{name}' for name in names)})",
        **names,
    )
    found: dict[int, dict[str, str]] = {}
    for trial_id, key, text in rows:
        found.setdefault(trial_id, {})[key] = text
    return found


def objective_values(
    connection: sqlalchemy.Connection, trial_ids: Sequence[int], objective: int
) -> dict[int, float]:
    """The trials' values of one objective by trial id; those without a finite one are left out."""
    rows = _rows(
        connection,
        f"SELECT trial_id, value FROM trial_values "
        f"WHERE {_among(trial_ids)} AND objective = :objective AND value IS NOT NULL",
        objective=objective,
    )
    return {trial_id: float(value) for trial_id, value in rows}


def parameters(connection: sqlalchemy.Connection, trial_ids: Sequence[int]) -> Sequence[Any]:
    """The trials' parameters: (trial id, name, Optuna's internal value, distribution as JSON)."""
    return _rows(
        connection,
        f"SELECT trial_id, param_name, param_value, distribution_json FROM trial_params "
        f"WHERE {_among(trial_ids)}",
    )


def _among(trial_ids: Sequence[int]) -> str:
    """The condition that a trial is one of these; ids are integers and stand in the text.

    The range lets a database walk its index however many ids there are.
    """
    if not trial_ids:
        return "1 = 0"
    low, high = min(trial_ids), max(trial_ids)
    between = f"trial_id BETWEEN {low:d} AND {high:d}"
    if high - low + 1 == len(trial_ids):
        return between
    return f"{between} AND trial_id IN ({', '.join(f'{number:d}' for number in trial_ids)})"


def _rows(connection: sqlalchemy.Connection, sql: str, **values: Any) -> Sequence[Any]:
    # The driver's own rows: SQLAlchemy's objects cost as much again for millions of them.
    result = connection.execute(sqlalchemy.text(sql), values)
    cursor = result.cursor
    assert cursor is not None
    rows: Sequence[Any] = cursor.fetchall()
    result.close()
    return rows
