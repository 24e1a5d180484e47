"""A worker process: jobs and what to do with them come in through its pipe, reports go out.

It is spawned, never forked. It ignores Ctrl-C (the driver decides) and ends itself the moment the
driver is gone. Left out: what the driver's side keeps of it (:mod:`nas.search.local_executor`).
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from nas.search.executor import Job
from nas.search.rotation import Rotation, create_rotation
from nas.search.turns import Turns
from nas.search.work import DeviceError, Work

PAUSE_SECONDS = 0.0002
"""How long to sleep while the device is busy with all jobs: little beside a turn's work."""

_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Capacity:
    """The worker is ready, or runs another number of jobs at once from here on."""

    jobs: int


@dataclass(frozen=True)
class LastWords:
    """Why a worker ends itself; ``is_at_start``: another one would, too.

    ``is_crash``: what it ran did what no program may do, as far as the device says.
    """

    reason: str
    is_at_start: bool = False
    is_crash: bool = False


@dataclass(frozen=True)
class Command:
    """A word about a job that the worker has: train on, or give it up."""

    number: int
    goes_on: bool


class Started(NamedTuple):
    """A worker's process, the pipe to it, and whose turn it is there."""

    process: BaseProcess
    connection: Connection
    turns: Turns


def start_worker(work: Work, device: str) -> Started:
    """Start a process; through the pipe it takes a :class:`Job` or a :class:`Command`.

    It sends :class:`Capacity` when it is ready, reports, and perhaps :class:`LastWords`.
    """
    here, there = _CONTEXT.Pipe()
    turns = Turns(_CONTEXT)
    process = _CONTEXT.Process(
        target=_run_worker, args=(there, work, device, turns), daemon=True, name="nas worker"
    )
    with _interrupts_blocked(), _main_hidden(work.needs_main):
        process.start()
    there.close()
    return Started(process, here, turns)


def _run_worker(connection: Connection, work: Work, device: str, turns: Turns) -> None:
    _end_with_parent()
    try:
        rotation = create_rotation(work, device, own_process=True, turn_of=turns.of)
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver shows it and stops
        connection.send(LastWords(f"{type(error).__name__}: {error}", is_at_start=True))
        return
    try:
        _serve(connection, rotation)
    except DeviceError as failure:
        # Only a new process gets the device back; the driver starts one.
        connection.send(LastWords(str(failure), is_crash=failure.is_crash))
        os._exit(1)
    except (EOFError, ConnectionError):
        os._exit(1)  # the driver is gone: there is nobody to tell


def _serve(connection: Connection, rotation: Rotation) -> None:
    told = 0
    while True:
        if rotation.capacity != told:
            told = rotation.capacity
            connection.send(Capacity(told))
        # Messages are taken between turns; where nothing can be done, they are waited for.
        while rotation.is_idle or connection.poll():
            _take(connection.recv(), rotation)
        for report in rotation.turn():
            connection.send(report)
        if rotation.numbers and rotation.is_busy:
            time.sleep(PAUSE_SECONDS)


def _take(message: object, rotation: Rotation) -> None:
    if isinstance(message, Job):
        rotation.add(message)
        return
    assert isinstance(message, Command)
    if message.goes_on:
        rotation.go_on(message.number)
    else:
        rotation.stop(message.number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A job that hangs in C keeps every thread of this process from running, but not the kernel.
    _die_with_parent()

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()


def _die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it is gone (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C goes to the whole process group; a child born with it blocked never sees it."""
    # Starting this later would let the signals through again.
    resource_tracker.ensure_running()
    signals = {signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_hidden(needs_main: bool) -> Iterator[None]:
    """Keep a spawned child from running the user's script again.

    ``multiprocessing`` imports the main module in each child, so that scripts without an
    ``if __name__ == "__main__"`` would start a search within the search. Workers need nothing
    of it, unless a function of the caller's is defined there.
    """
    main = sys.modules["__main__"]
    hidden = {} if needs_main else {k: vars(main)[k] for k in _MAIN_PLACES if k in vars(main)}
    for name in hidden:
        delattr(main, name)
    if hidden:
        main.__spec__ = None
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


_MAIN_PLACES = ("__file__", "__spec__")
