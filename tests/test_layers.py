"""Reading is light: opening results, drawing fronts and help import neither torch nor ray."""

import subprocess
import sys

import pytest

LIGHT = [
    "nas",
    "nas.analysis",
    "nas.architecture",
    "nas.cli",
    "nas.cost",
    "nas.dashboard",
    "nas.pareto",
    "nas.presets",
    "nas.quantities",
    "nas.records",
    "nas.report",
    "nas.space",
    "nas.task",
]

PROGRAM = """
import importlib, pkgutil, sys
module = importlib.import_module(sys.argv[1])
if hasattr(module, "__path__") and sys.argv[1] not in ("nas", "nas.cli"):
    for item in pkgutil.walk_packages(module.__path__, sys.argv[1] + "."):
        importlib.import_module(item.name)
print([name for name in ("torch", "ray") if name in sys.modules])
"""


def heavy_imports_of(module: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_module_imports_neither_torch_nor_ray(module: str) -> None:
    assert heavy_imports_of(module) == "[]"


def test_the_test_above_can_fail() -> None:
    assert heavy_imports_of("nas.model") == "['torch']"
