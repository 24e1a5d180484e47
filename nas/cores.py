"""How many cores this process may use: asked in one place, so that all parts agree."""

from __future__ import annotations

import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux keeps a container's quota and period of processor time (cgroup version 2)."""


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the container's share of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _container_cores() or cores or 1))


def _container_cores() -> int | None:
    try:
        quota, period = CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))
