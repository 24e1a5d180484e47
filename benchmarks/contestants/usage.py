"""What processes take: peak resident memory and processor time of each and its children."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

import psutil

PROC = Path("/proc")


def with_children(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes and all that they started; those that have ended are left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for item in (process, *process.children(recursive=True)):
                found[item.pid] = item
    return list(found.values())


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time so far, with that of children that have ended."""
    total = 0.0
    for process in with_children(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


def reset_peaks(pids: Iterable[int]) -> None:
    """Let Linux count the peaks from now on; elsewhere nothing happens."""
    for process in with_children(pids):
        with contextlib.suppress(OSError):
            (PROC / str(process.pid) / "clear_refs").write_text("5")


def peak_bytes(pids: Iterable[int]) -> int:
    """The sum of the peaks of resident memory; shared pages count in every process.

    Without Linux's own count it is the memory at this moment.
    """
    return sum(_peak(process) for process in with_children(pids))


def _peak(process: psutil.Process) -> int:
    try:
        text = (PROC / str(process.pid) / "status").read_text()
    except OSError:
        text = ""
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    if found:
        return int(found[1]) * 1024
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
