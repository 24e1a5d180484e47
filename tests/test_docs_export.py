"""docs/export.md: its command runs, and its Python, in processes without this package."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import make_images, nas
from test_export import small
from test_readme import relative_links

from nas.export.bundle import FILES, FUSED_WEIGHTS
from nas.export.graphs import OPSET
from nas.training.full import FullSettings, train_architecture

PAGE = Path(__file__).parent.parent / "docs" / "export.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the trained network that the page exports, and the export."""
    path = tmp_path_factory.mktemp("docs")
    images = make_images(path / "images", classes=3)
    settings = FullSettings(data=f"folder:{images}", epochs=4, precision="float32")
    folder = path / "results" / "first" / "knee"
    train_architecture(small(auxiliary=()), settings, out=folder, threads=1)
    before = Path.cwd()
    os.chdir(path)
    try:
        for line in "".join(blocks("console")).splitlines():
            words = shlex.split(line.removeprefix("$ "))
            result = nas(*words[1:], "--no-latency")
            assert result.code == 0, result.err
    finally:
        os.chdir(before)
    return path


@pytest.mark.parametrize("number", range(4))
def test_the_python_runs(number: int, place: Path) -> None:
    block = blocks("python")[number]
    guard = "import sys\nfor name in ('nas', 'search_spaces'): sys.modules[name] = None\n"
    result = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", guard + block],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    if "onnxruntime" in block:
        assert re.fullmatch(r"\['class\d', 'class\d'\]\n", result.stdout)


def test_the_page_names_all_formats_and_files() -> None:
    text = PAGE.read_text()
    assert len(blocks("python")) == 4
    for chosen, name in FILES.items():
        assert f"| `{chosen}` | " in text
        assert f"`{name}`" in text
    assert f"`{FUSED_WEIGHTS}`" in text
    assert f"opset {OPSET}" in text


def test_the_links_lead_somewhere() -> None:
    for link in relative_links(PAGE.read_text()):
        assert (PAGE.parent / link).exists(), link
