"""The writing side of a run: only the driver of a search uses it.

Each call is one transaction or a few; a trial is complete, with all that is known of it, or it
still counts as running. A full or read-only disk is an ``OSError`` of one line.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from nas.records.reading import Run
from nas.records.stored import (
    Ended,
    Location,
    Outcome,
    Proposal,
    Rejections,
    RunSettings,
    State,
    cause,
)
from nas.records.tables import BUSY_SECONDS, directory_locked, open_storage
from nas.records.templates import new_trial

_OPTUNA_STATES: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "running": TrialState.RUNNING,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


INTERRUPTED = "interrupted"
"""The attribute of a trial that was given up, with the time when it was."""


class RunExists(ValueError):  # noqa: N818 - a name that is taken is a result, not a bug
    """The storage has a study of the run's name already."""


class RunWriter:
    """Writes a run's trials; one at a time may exist for a run (:mod:`nas.search.study`)."""

    busy_seconds = BUSY_SECONDS
    """How long a write waits for a SQLite file that another program has locked."""

    def __init__(
        self,
        location: Location,
        objectives: Sequence[str],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self.location = location
        self._objectives = tuple(objectives)
        self._distributions = dict(distributions)
        with self._writing():
            self._storage = open_storage(location, busy_seconds=self.busy_seconds)
            self._study_id = self._storage.get_study_id_from_name(location.name)
        self._trial_ids: dict[int, int] = {}

    def add(
        self, proposal: Proposal, outcome: Outcome | None = None, elapsed_seconds: float = 0.0
    ) -> int:
        """Write a new trial's row in one transaction and return its number.

        Without an outcome the trial is running; with one (a result from the cache) it is done,
        ``elapsed_seconds`` of driving after the study began.
        """
        template = self._template(proposal, outcome, elapsed_seconds)
        with self._writing():
            trial_id, number = self._storage.add_trial(self._study_id, template)
        self._trial_ids[number] = trial_id
        return number

    def _template(
        self,
        proposal: Proposal,
        outcome: Outcome | None = None,
        elapsed_seconds: float = 0.0,
        **attributes: Any,
    ) -> FrozenTrial:
        """All rows of a new trial, as Optuna takes them."""
        attributes = {"proposal": proposal_data(proposal), **attributes}
        state, values = TrialState.RUNNING, None
        if outcome is not None:
            attributes["result"] = _outcome_data(outcome, elapsed_seconds)
            state, values = _OPTUNA_STATES[outcome.state], self._values(proposal.costs, outcome)
        return new_trial(
            state,
            proposal.values,
            self._distributions,
            values=values,
            user_attrs=attributes,
            system_attrs=proposal.sampler_state,
        )

    def set_curve(self, number: int, points: Sequence[Sequence[float | None]]) -> None:
        """Replace the learning curve of a running trial."""
        self._set(number, "curve", [list(point) for point in points])

    def finish(
        self,
        number: int,
        costs: Mapping[str, float],
        outcome: Outcome,
        elapsed_seconds: float,
        curve: Sequence[Sequence[float | None]] | None = None,
    ) -> None:
        """End a running trial with all that is known of it, in one transaction.

        ``curve`` replaces its learning curve; None leaves what :meth:`set_curve` wrote.
        """
        attributes: dict[str, Any] = {"result": _outcome_data(outcome, elapsed_seconds)}
        if curve is not None:
            attributes["curve"] = [list(point) for point in curve]
        trial_id, values = self._trial_id(number), self._values(costs, outcome)
        with self._writing(), self._changing(trial_id) as session:
            state = _OPTUNA_STATES[outcome.state]
            self._storage.end_trial(session, trial_id, state, values, attributes)

    def interrupt(self, number: int) -> None:
        """Note that a running trial was given up; a resumed search runs it again."""
        self._set(number, INTERRUPTED, now())

    def set_settings(self, settings: RunSettings) -> None:
        """Replace the settings: a resumed search may have another sampler or other limits."""
        self._set_study("settings", settings.to_data())

    def set_rejections(self, rejections: Rejections) -> None:
        """Replace the counts and the last of the rejected proposals."""
        data = {"counts": rejections.counts, "last": list(rejections.last)}
        self._set_study("rejections", data)

    def set_given_up_seconds(self, seconds: float) -> None:
        """Replace the device-seconds that were spent on trials that began again."""
        self._set_study("given_up_seconds", seconds)

    def set_ended(self, ended: Ended) -> None:
        """Record why the driver stops (at its start: what is true should it be killed)."""
        self._set_study("ended", asdict(ended))

    def set_attribute(self, key: str, value: Any) -> None:
        """Replace what the study holds under a key of its own; JSON data."""
        self._set_study(key, value)

    # ------------------------------------------------------------------ a storage that is away

    @property
    def is_away(self) -> bool:
        """Whether the storage did not answer when it was last asked; this writer does not wait."""
        return False

    @property
    def notice(self) -> str:
        """What to tell of a storage that is away; empty where it is not."""
        return ""

    def flush(self) -> bool:
        """Write what waits for the storage; whether all is written."""
        return True

    def settle(self, is_hurried: Callable[[], bool]) -> None:
        """Wait until all is written, or somebody is in a hurry."""

    def close(self) -> None:
        """Give the database back."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _values(self, costs: Mapping[str, float], outcome: Outcome) -> list[float] | None:
        if outcome.state != "complete":
            return None
        assert outcome.error is not None
        known = {**costs, "error": outcome.error}
        return [float(known[name]) for name in self._objectives]

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            found = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            self._trial_ids[number] = found
        return self._trial_ids[number]

    def _set(self, number: int, key: str, value: Any) -> None:
        trial_id = self._trial_id(number)
        with self._writing(), self._changing(trial_id) as session:
            self._storage.set_attribute(session, trial_id, key, value)

    def _changing(self, trial_id: int) -> contextlib.AbstractContextManager[Session]:
        """The transaction in which an unfinished trial is changed."""
        return self._storage.transaction()

    def _set_study(self, key: str, value: Any) -> None:
        with self._writing():
            self._storage.set_study_user_attr(self._study_id, key, value)

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return _writing(self.location)


def create_run(
    location: Location, settings: RunSettings, attributes: Mapping[str, Any] | None = None
) -> None:
    """Create a run's study with its settings, or nothing at all.

    ``attributes`` are what the study holds from its start, in place of the settings alone.

    Raises:
        RunExists: somebody else was sooner.
        OSError: the database cannot be written.
    """
    database = location.database
    given = attributes or {"settings": settings.to_data()}
    if database is None:
        _create_study(location, location.url, settings, given)
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with directory_locked(database.parent):
        if database.exists():
            _create_study(location, location.url, settings, given)
            return
        # Under another name until it is whole: a driver killed here leaves no half-made run.
        new = database.with_name(f"{database.name}.new")
        new.unlink(missing_ok=True)
        _create_study(location, f"sqlite:///{new}", settings, given)
        os.replace(new, database)


def _create_study(
    location: Location, url: str, settings: RunSettings, attributes: Mapping[str, Any]
) -> None:
    """The study and what it holds from its start, in one transaction."""
    with _writing(location), quiet_optuna():
        storage = open_storage(location, url)
        directions = [
            models.StudyDirectionModel(objective=place, direction=StudyDirection.MINIMIZE)
            for place in range(len(settings.objectives))
        ]
        study = models.StudyModel(study_name=location.name, directions=directions)
        try:
            with storage.transaction() as session:
                session.add(study)
                session.flush()
                session.add_all(
                    models.StudyUserAttributeModel(
                        study_id=study.study_id, key=key, value_json=json.dumps(value)
                    )
                    for key, value in attributes.items()
                )
        except IntegrityError:
            raise RunExists(f"run {location.name!r} exists already") from None
        finally:
            storage.remove_session()
            storage.engine.dispose()


def delete_study(location: Location) -> None:
    """Delete one study of a storage that may hold others.

    Raises:
        OSError: the database cannot be written.
    """
    with _writing(location), quiet_optuna():
        storage = open_storage(location)
        storage.delete_study(storage.get_study_id_from_name(location.name))
        storage.remove_session()
        storage.engine.dispose()


def has_run(location: Location) -> bool:
    """Whether the run exists already, or something else of its name does.

    Raises:
        OSError: the database is there and cannot be read.
        ValueError: the database is there and is not one.
    """
    if location.database is not None and not location.database.exists():
        return False
    if location.database is None:
        # A fresh database server has no tables yet; this makes them.
        with _writing(location), quiet_optuna():
            storage = open_storage(location)
            names = [study.study_name for study in storage.get_all_studies()]
            storage.engine.dispose()
        return location.name in names
    try:
        Run(location)
    except ValueError as error:
        if "holds no study" in str(error):
            return False
        raise
    return True


def now() -> str:
    """The local time, to the second."""
    return datetime.now().isoformat(timespec="seconds")


@contextlib.contextmanager
def _writing(location: Location) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        failure = OSError(
            f"cannot write run {location.name!r} ({location.database or location.path}): "
            f"{cause(error)}; what was finished is kept: make room and go on with --resume"
        )
        # Set afterwards: given to the constructor it would change the message.
        failure.errno = _errno_of(error)
        raise failure from error


_ERRNOS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


def _errno_of(error: BaseException | None) -> int | None:
    """The system's number of the fault at the bottom; None where it has none."""
    while error is not None:
        if isinstance(error, OSError):
            return error.errno
        origin = getattr(error, "orig", None)
        if isinstance(origin, sqlite3.Error):
            # The low byte is the kind; the rest tells more of it.
            return _ERRNOS.get(getattr(origin, "sqlite_errorcode", 0) & 0xFF)
        error = error.__cause__
    return None


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's "A new study created" to itself without changing its settings for others."""
    logger = logging.getLogger("optuna")
    level = optuna.logging.get_verbosity()
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def proposal_data(proposal: Proposal) -> dict[str, Any]:
    """What a trial's row says of its proposal, as JSON data."""
    return {
        "architecture": proposal.architecture.to_json(),
        "fingerprint": proposal.architecture.fingerprint,
        "proxy_fingerprint": proposal.proxy_fingerprint,
        "costs": dict(proposal.costs),
        "seed": proposal.seed,
        "origin": proposal.origin,
        **_known(expected_share=proposal.expected_share),
    }


def _outcome_data(outcome: Outcome, elapsed_seconds: float) -> dict[str, Any]:
    return {
        "elapsed_seconds": elapsed_seconds,
        "epochs": outcome.epochs,
        "train_seconds": outcome.train_seconds,
        "reused": outcome.reused,
        "reason": outcome.reason,
        **({"lost": True} if outcome.is_lost else {}),
        **_known(stop=None if outcome.stop is None else asdict(outcome.stop)),
    }


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
