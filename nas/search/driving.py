"""From a search that was checked to its end: the run, its lock, its drivers.

A driver is alone with a run unless it was asked to join others (:mod:`nas.search.together`).

Left out: checking and setting up (:mod:`nas.search.launch`), the loop (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nas.cost import COST_LABELS
from nas.records import Run, RunSettings
from nas.records.drivers import names, this_driver
from nas.records.lasting import LastingWriter, take_up
from nas.records.sharing import SharedWriter, alone
from nas.records.stored import LATENCY_TABLE
from nas.records.writing import RunExists, create_run, has_run
from nas.search.display import Display
from nas.search.driver import Search
from nas.search.executor import Executor
from nas.search.halving import Halving
from nas.search.known_space import KnownSpace
from nas.search.ledger import Ledger
from nas.search.prepare import Prepared, exists_message
from nas.search.proposals import Proposals
from nas.search.samplers import Mirror, distributions_of
from nas.search.study import DriverLock
from nas.search.together import LONG_TURN_SECONDS, SharedSearch
from nas.task import Task

OF_THE_RUN = ("trials", "seconds", "device_seconds", "patience", "sampler", "halving", "first")
"""Settings that may change while nobody drives a run."""


@dataclass(frozen=True)
class Waits:
    """How long the others wait for a driver that is not heard of, and it for its storage."""

    grace_seconds: float
    storage_wait_seconds: float


def drive(
    prepared: Prepared, executor: Executor, display: Display, storage_wait_seconds: float
) -> Run:
    """Drive a run alone, from the beginning or from where it was left.

    A storage that is away is waited for at most so long.

    Raises:
        ValueError: it exists already, or another driver is at work.
        OSError: the study cannot be written (any more).
    """
    location, settings = prepared.location, prepared.settings
    lock = DriverLock(location)
    try:
        if prepared.recorded is None:
            _create(prepared)
        take_up(location, settings, display.note)
        run = Run(location)
        writer = LastingWriter(
            location,
            settings.objectives,
            distributions_of(prepared.space),
            created=settings.created,
            note=display.note,
            wait_seconds=storage_wait_seconds,
        )
        try:
            parts = _parts(prepared, run, executor, display)
            search = Search(prepared.task, prepared.limits, writer=writer, **parts)
            me = this_driver(_driver_name(), is_alone=True, workers=executor.capacity)
            with alone(writer, me, lambda: search.seconds, lambda: executor.capacity):
                if settings != run.settings:
                    writer.set_settings(settings)
                search.restore(run)
                search.run()
        finally:
            writer.close()
    finally:
        lock.release()
    return Run(location)


def drive_together(
    prepared: Prepared,
    executor: Executor,
    display: Display,
    prepare_again: Callable[[], Prepared],
    waits: Waits,
) -> Run:
    """Drive a run with others, or as the first of them; ``prepare_again`` finds it there.

    Raises:
        ValueError: a driver is alone at work, or limits differ while others are at work.
        OSError: the study cannot be written (any more).
    """
    location = prepared.location
    lock = DriverLock(location, is_shared=True)
    try:
        if prepared.recorded is None:
            try:
                create_run(location, prepared.settings, _attributes(prepared))
            except RunExists:
                display.note(f"run {location.name!r} was just begun by another driver")
            prepared = prepare_again()
        run = Run(location)
        me = this_driver(
            _driver_name(),
            is_alone=False,
            workers=executor.capacity,
            grace_seconds=waits.grace_seconds,
        )
        writer = SharedWriter(
            location,
            run.settings,
            distributions_of(prepared.space),
            me,
            note=display.note,
            wait_seconds=waits.storage_wait_seconds,
        )
        try:
            with writer.long_turn(LONG_TURN_SECONDS):
                take_up(location, run.settings, display.note)
            parts = _parts(prepared, run, executor, display)
            search = SharedSearch(prepared.task, prepared.limits, writer=writer, **parts)
            try:
                search.enter(run)
                _agree(prepared, run, search, writer)
                search.restore(run)
                search.run()
            finally:
                search.leave()
        finally:
            writer.close()
    finally:
        lock.release()
    return Run(location)


def _create(prepared: Prepared) -> None:
    location = prepared.location
    if has_run(location):
        raise ValueError(exists_message(location))
    try:
        create_run(location, prepared.settings, _attributes(prepared))
    except RunExists:
        raise ValueError(exists_message(location)) from None


def _agree(prepared: Prepared, run: Run, search: SharedSearch, writer: SharedWriter) -> None:
    """Limits and sampler are the run's; who is there alone may change them.

    Raises:
        ValueError: others are at work with the recorded ones; the message names the setting.
    """
    given, recorded = prepared.settings, run.settings
    changed = [name for name in OF_THE_RUN if getattr(given, name) != getattr(recorded, name)]
    if not changed:
        return
    others = search.others
    if others:
        name = changed[0]
        raise ValueError(
            f"run {run.name!r} is driven by {names(others)} with {name} "
            f"{_shown(getattr(recorded, name))}, not {_shown(getattr(given, name))}: leave it out, "
            f"or change it when they have ended"
        )
    new = replace(recorded, **{name: getattr(given, name) for name in changed})
    with writer.long_turn(LONG_TURN_SECONDS) as turn:
        turn.set_settings(new)


def _shown(value: Any) -> str:
    return f"{len(value)} networks" if isinstance(value, tuple) else str(value)


def _parts(prepared: Prepared, run: Run, executor: Executor, display: Display) -> dict[str, Any]:
    """What a search is made of, beside what it writes with."""
    settings = prepared.settings
    mirror = Mirror(
        prepared.space,
        settings.objectives,
        settings.sampler,
        settings.seed,
        chance=1 - 1 / prepared.task.target.classes,
        constrained=prepared.is_constrained,
        known=KnownSpace(prepared.space, prepared.judge),
    )
    proposals = Proposals(
        prepared.space,
        prepared.judge,
        mirror,
        sampler=settings.sampler,
        seed=settings.seed,
        rejections=run.rejections,
        given=prepared.given,
    )
    for note in prepared.notes:
        display.note(note)
    return {
        "executor": executor,
        "proposals": proposals,
        "ledger": Ledger(settings.objectives, settings.reference),
        "display": display,
        "halving": _halving(settings, prepared.task),
    }


def _driver_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _attributes(prepared: Prepared) -> dict[str, Any]:
    """What the study holds from its start: the settings, and the table that latencies are of."""
    attributes: dict[str, Any] = {"settings": prepared.settings.to_data()}
    if prepared.latency is not None:
        attributes[LATENCY_TABLE] = prepared.latency.to_data()
    return attributes


def _halving(settings: RunSettings, task: Task) -> Halving | None:
    if not settings.halving or settings.evaluate is not None:
        return None  # a function of the caller's has one rung
    costs = [name for name in settings.objectives if name != "error"]
    names_ = [COST_LABELS[name] for name in costs]
    return Halving(task.rungs, costs=names_, measure="validation loss")
