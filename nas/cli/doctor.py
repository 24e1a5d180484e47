"""``nas doctor``: what this machine has, and what a search here would use."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from nas.cli.options import Json, add_command

PACKAGES = (
    "torch",
    "numba",
    "optuna",
    "ray",
    "pandas",
    "moocore",
    "plotly",
    "datasets",
    "safetensors",
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "doctor",
        examine,
        short="What this machine has and what will be used.",
        example="nas doctor --json",
    )


def examine(as_json: Json = False) -> None:
    """Show what this machine has and what a search here would use."""
    from nas.cli.console import print_facts, print_json, print_table, print_text
    from nas.quantities import format_number_of

    found = examine_machine()
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "python": f"{found['python']} on {found['platform']}",
            "processor": f"{format_number_of(found['cores'], 'usable core')}, "
            f"{format_number_of(found['threads'], 'thread')} for torch",
            "memory": f"{found['memory_bytes'] / 2**30:,.1f} GiB",
            "bfloat16": "on the processor: "
            + ("in hardware" if found["bfloat16_in_hardware"] else "emulated"),
            "GPUs": "none" if not found["gpus"] else str(len(found["gpus"])),
        }
    )
    if found["gpus"]:
        print_text()
        print_table(
            ("device", "GPU", ">memory (GiB)", "bfloat16"),
            [
                (gpu["device"], gpu["name"], f"{gpu['memory_bytes'] / 2**30:,.1f}", gpu["bfloat16"])
                for gpu in found["gpus"]
            ],
        )
    print_text()
    print_table(("package", "version"), list(found["packages"].items()))
    print_text()
    print_text("A search here would use", bold=True)
    print_facts({key: str(value) for key, value in found["would_use"].items()})


def examine_machine() -> dict[str, Any]:
    """The machine and the defaults that follow from it, as plain data with stable keys."""
    import psutil
    import torch

    from nas.cores import usable_cores
    from nas.training.precision import has_bfloat16

    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "bfloat16_in_hardware": has_bfloat16(),
        "gpus": _gpus(),
        "packages": {name: _version(name) for name in PACKAGES},
        "would_use": _defaults(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gpus() -> list[dict[str, Any]]:
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "memory_bytes": properties.total_memory,
                "bfloat16": "yes" if properties.major >= 8 else "no",
            }
        )
    return found


def _defaults() -> dict[str, Any]:
    """What --device, --workers and --precision become here when they are left out."""
    from nas.search.workers import resolve_device, worker_devices
    from nas.training.precision import resolve_precision

    device = resolve_device("auto")
    return {
        "device": device,
        "workers": len(worker_devices(device, None)),
        "precision": resolve_precision("auto", device),
    }
