"""Commands and scripts in processes of their own, which a test may interrupt or kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil


@contextlib.contextmanager
def started(*words: str) -> Iterator[psutil.Popen]:
    """A process with its children in a group, all of which are killed at the end."""
    process = psutil.Popen(
        list(words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], bool], process: psutil.Popen, seconds: float = 240) -> None:
    """Wait for the condition while the process is at work."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
