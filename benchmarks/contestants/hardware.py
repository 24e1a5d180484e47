"""What a table was measured on: processor, cores, GPU, versions."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from nas.cores import usable_cores


def describe_hardware(device: str) -> dict[str, str | int]:
    """Names and versions that belong beside a figure."""
    described: dict[str, str | int] = {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device == "cuda":
        described["gpu"] = torch.cuda.get_device_name()
        described["cuda"] = str(torch.version.cuda)
    return described


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
