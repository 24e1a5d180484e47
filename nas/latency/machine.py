"""This machine, as a setting of latencies. Left out: what is done with it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from nas.cores import usable_cores
from nas.latency.setting import BATCH, Setting


def this_setting(device: str) -> Setting:
    """The setting of measurements on this machine's ``cpu`` or ``cuda``, with all its cores."""
    return Setting(device, machine_name(device), usable_cores(), BATCH, version("torch"))


def machine_name(device: str) -> str:
    """The processor's name and its cores; before it the GPU's where the device is one."""
    import psutil

    processor = next(_models(), None) or platform.processor() or platform.machine()
    name = f"{processor}, {psutil.cpu_count() or 1} cores"
    if device == "cpu":
        return name
    import torch

    return f"{torch.cuda.get_device_name()}, {name}"


def _models() -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # not Linux: the platform module knows
    for line in lines:
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()
