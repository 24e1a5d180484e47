"""``import nas`` is light, and each public name is there when it is asked for."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import nas


def test_importing_the_package_loads_next_to_nothing() -> None:
    program = "import sys; before = set(sys.modules); import nas; print(set(sys.modules) - before)"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(result.stdout)
    roots = {name.partition(".")[0] for name in loaded}
    assert roots - set(sys.stdlib_module_names) == {"nas"}
    assert {name for name in loaded if name.startswith("nas")} == {"nas"}


@pytest.mark.parametrize("name", nas.__all__)
def test_public_name_is_there(name: str) -> None:
    value = getattr(nas, name)
    if name != "__version__":
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_names_are_sorted_and_typed() -> None:
    assert nas.__all__ == sorted(nas.__all__)
    assert set(dir(nas)) == set(nas.__all__)
    tree = ast.parse(inspect.getsource(nas))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    # Type checkers and the interpreter see the same names from the same modules.
    assert typed == nas._HOMES
    assert set(typed) == set(nas.__all__) - {"__version__"}


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nas' has no attribute 'serach'"):
        nas.serach  # noqa: B018


def test_version_is_that_of_the_project() -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert nas.__version__ == project["project"]["version"]
