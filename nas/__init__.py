"""Neural architecture search over Inception cells: exact cost, proxy training, fronts, export.

The names below are imported when they are first used, so that ``import nas`` is light: no torch,
no Ray, no Optuna.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.analysis.picks import resolve_pick
    from nas.architecture import Architecture, Cell, Conv, Pool, Shape
    from nas.confirm import ConfirmRequest, confirm_run
    from nas.cost import count_cost
    from nas.datasets import describe_data, from_tensors, load_data
    from nas.export import export_architecture
    from nas.model import build
    from nas.presets import load_preset
    from nas.records import open_run
    from nas.report import write_report
    from nas.search.launch import run_search
    from nas.space import SearchSpace
    from nas.task import Task, create_task

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "nas.architecture",
    "Cell": "nas.architecture",
    "ConfirmRequest": "nas.confirm",
    "Conv": "nas.architecture",
    "Pool": "nas.architecture",
    "SearchSpace": "nas.space",
    "Shape": "nas.architecture",
    "Task": "nas.task",
    "build": "nas.model",
    "confirm_run": "nas.confirm",
    "count_cost": "nas.cost",
    "create_task": "nas.task",
    "describe_data": "nas.datasets",
    "export_architecture": "nas.export",
    "from_tensors": "nas.datasets",
    "load_data": "nas.datasets",
    "load_preset": "nas.presets",
    "open_run": "nas.records",
    "resolve_pick": "nas.analysis.picks",
    "run_search": "nas.search.launch",
    "write_report": "nas.report",
}

__all__ = [
    "Architecture",
    "Cell",
    "ConfirmRequest",
    "Conv",
    "Pool",
    "SearchSpace",
    "Shape",
    "Task",
    "__version__",
    "build",
    "confirm_run",
    "count_cost",
    "create_task",
    "describe_data",
    "export_architecture",
    "from_tensors",
    "load_data",
    "load_preset",
    "open_run",
    "resolve_pick",
    "run_search",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
