"""``python -m nas.search.ray_guard PID``: ends what Ray leaves behind when its driver is killed.

Ray's own processes notice at once that the driver is gone, but for two agents, which first try
for a minute to tell somebody. This process watches its standard input, which is a pipe from the
driver: when that ends, the descendants of the raylet ``PID`` that are alive after a moment are
killed. Left out: everything else of Ray (:mod:`nas.search.ray_executor`).
"""

from __future__ import annotations

import select
import subprocess
import sys

import psutil

LOOK_SECONDS = 2.0
"""So often the descendants are looked for: workers come and go."""

LEAVE_SECONDS = 2.0


def start_guard(raylet: int) -> subprocess.Popen[bytes]:
    """A guard in a session of its own, which Ctrl-C does not reach; closing its stdin ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "nas.search.ray_guard", str(raylet)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def raylet_of(driver: int) -> int | None:
    """The raylet that a process started; None where it has none."""
    for child in psutil.Process(driver).children():
        if child.name() == "raylet":
            return int(child.pid)
    return None


def guard(raylet: int) -> None:
    """Wait for the end of standard input, then end what is left of the raylet's descendants."""
    known: list[psutil.Process] = []
    try:
        process = psutil.Process(raylet)
        while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
            known = process.children(recursive=True)
    except psutil.NoSuchProcess:
        pass  # the raylet is gone: so should they be
    _, alive = psutil.wait_procs(known, LEAVE_SECONDS)
    for left in alive:
        left.kill()


if __name__ == "__main__":
    guard(int(sys.argv[1]))
