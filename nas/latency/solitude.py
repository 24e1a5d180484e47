"""Measurements and trainings keep apart on a machine: each waits or refuses while the other runs.

A latency that is measured while trials train is wrong, and nothing shows it. So whoever trains
trials holds a lock together with other trainers, and whoever measures holds it alone. The kernel
lets go of it however a process ends. The lock is a user's: another user's load shows in the
spread of the timings, and in how many of them were disturbed.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_path() -> Path:
    """The lock's file: in the temporary directory, which is this machine's own."""
    return Path(tempfile.gettempdir()) / f"nas-{os.getuid()}.lock"


@contextmanager
def measuring() -> Iterator[None]:
    """Be the only one who measures, while nobody trains.

    Raises:
        RuntimeError: trials train on this machine, or another process measures.
        OSError: the lock's file cannot be written.
    """
    with _file() as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                "latency cannot be measured now: trials train on this machine, or another "
                "measurement runs; wait for its end"
            ) from None
        yield


@contextmanager
def training(note: Callable[[str], None]) -> Iterator[None]:
    """Train beside others who train, but not while somebody measures: wait for the end of it.

    ``note`` is told once if there is a wait.

    Raises:
        OSError: the lock's file cannot be written.
    """
    with _file() as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            note("another process measures latency on this machine; waiting for its end")
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def _file() -> Iterator[int]:
    # A descriptor of its own each time: locks of one process must keep apart as well.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(lock_path(), flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
