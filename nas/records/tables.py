"""Optuna's storage of a database, opened for writing: its tables are made where there are none.

Optuna itself falls over where two programs find the same database empty: both create the tables.
Here one does, and the others wait for it: under an advisory lock of PostgreSQL, or a lock on the
directory of a SQLite file. The server lets go of the one, the kernel of the other, however their
holder ends. Other databases make no such promise: begin one driver there before the others.

Left out: what is written (:mod:`nas.records.writing`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from nas.records.outages import engine_settings
from nas.records.stored import Location

CREATING = 7_112_981
"""The advisory lock of whoever makes tables: any number that others do not use by chance."""

_PARAMETERS = models.TrialParamModel.__table__

BUSY_SECONDS = 30.0
"""How long a write waits for a SQLite file that others are writing to."""


class Storage(RDBStorage):
    """Optuna's storage with fewer statements, for rows that only its own drivers write.

    All trials of a run have the distributions of one space, which a resume checks. So nothing of
    a new trial is looked up before it is written: with 113 parameters that was four fifths of it.
    """

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> Any:
        assert template_trial is not None
        trial: Any = models.TrialModel(
            study_id=study_id,
            number=None,
            state=template_trial.state,
            datetime_start=template_trial.datetime_start,
            datetime_complete=template_trial.datetime_complete,
        )
        session.add(trial)
        session.flush()  # it has its id now
        if template_trial.params:
            rows = _parameters(trial.trial_id, template_trial)
            session.execute(sqlalchemy.insert(_PARAMETERS), rows)
        session.add_all(_rows_of(trial.trial_id, template_trial))
        trial.number = trial.count_past_trials(session)
        session.flush()
        return trial

    def add_trial(self, study_id: int, template: FrozenTrial) -> tuple[int, int]:
        """Write a new trial; its id and its number.

        Optuna itself tries five times, also after a try that was done and whose answer was lost:
        the trial would be there twice. Who writes tries again (:mod:`nas.records.lasting`).
        """
        with self.transaction() as session:
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            trial = self._get_prepared_new_trial(study_id, template, session)
            return int(trial.trial_id), int(trial.number)

    def transaction(self) -> contextlib.AbstractContextManager[Session]:
        """A session that commits at its end, or takes all back where something is raised."""
        # One of its own: Optuna's is shared by all that its thread does.
        own: Any = self.scoped_session.session_factory
        return _create_scoped_session(own)

    def set_attribute(self, session: Session, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute of an unfinished trial."""
        self._set_trial_attr_without_commit(
            session, models.TrialUserAttributeModel, trial_id, key, value
        )

    def end_trial(
        self,
        session: Session,
        trial_id: int,
        state: TrialState,
        values: list[float] | None,
        attributes: dict[str, Any],
    ) -> None:
        """End an unfinished trial, with the last of its attributes.

        Raises:
            optuna.exceptions.UpdateFinishedTrialError: it has ended already.
        """
        trial: Any = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
        self.check_trial_is_updatable(trial_id, trial.state)
        for key, value in attributes.items():
            self.set_attribute(session, trial_id, key, value)
        session.add_all(_value_rows(trial_id, values or []))
        trial.state = state
        trial.datetime_complete = datetime.now()


def open_storage(
    location: Location, url: str | None = None, *, busy_seconds: float = BUSY_SECONDS
) -> Storage:
    """The storage of a run, or of another ``url``, with its tables.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or written.
    """
    url = location.url if url is None else url
    backend = sqlalchemy.make_url(url).get_backend_name()
    settings = engine_settings(url)
    if backend == "sqlite":
        settings = {"connect_args": {"timeout": busy_seconds}}
    with _creating_alone(url) if backend == "postgresql" else contextlib.nullcontext():
        return Storage(url, engine_kwargs=settings)


@contextlib.contextmanager
def directory_locked(directory: Path) -> Iterator[None]:
    """Only one program at a time makes a database in this directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _creating_alone(url: str) -> Iterator[None]:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, **engine_settings(url))
    with engine.connect() as connection:
        # The table that is made last.
        made = connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
        if made is None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CREATING})")
        yield


def _parameters(trial_id: int, trial: FrozenTrial) -> list[dict[str, Any]]:
    """The rows of a trial's parameters, for one statement: there may be a hundred."""
    return [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": _text_of(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]


@lru_cache(maxsize=1024)
def _text_of(distribution: BaseDistribution) -> str:
    return distribution_to_json(distribution)


def _rows_of(trial_id: int, trial: FrozenTrial) -> list[Any]:
    """A trial's rows beside its own and those of its parameters."""
    user, system = models.TrialUserAttributeModel, models.TrialSystemAttributeModel
    attributes = [(user, trial.user_attrs), (system, trial.system_attrs)]
    return [
        *(
            model(trial_id=trial_id, key=key, value_json=json.dumps(value))
            for model, known in attributes
            for key, value in known.items()
        ),
        *_value_rows(trial_id, trial.values or []),
    ]


def _value_rows(trial_id: int, values: list[float]) -> list[Any]:
    rows = []
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        rows.append(
            models.TrialValueModel(
                trial_id=trial_id, objective=objective, value=stored, value_type=kind
            )
        )
    return rows
