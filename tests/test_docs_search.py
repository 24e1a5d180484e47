"""docs/search.md: its commands and its Python run as they stand, only smaller."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import nas
from test_readme import relative_links

from nas.cli.search import search as search_command
from nas.records import open_run
from nas.search.samplers import SAMPLERS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "search.md"
SMALL = ["--epochs", "1", "--images", "256", "--max-macs", "4M", "--workers", "1"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def smaller(words: list[str]) -> list[str]:
    """The same command with limits that a test has the time for."""
    if words[0] != "search":
        return words
    return [*words, "--trials", "7"] if "--resume" in words else [*words, "--trials", "6", *SMALL]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the page's commands were run."""
    path = tmp_path_factory.mktemp("search")
    lines = [line for block in blocks("console") for line in block.splitlines()]
    before = Path.cwd()
    os.chdir(path)
    try:
        for line in lines:
            assert line.startswith("$ nas "), line
            words = shlex.split(line[2:], comments=True)[1:]
            result = nas(*smaller(words))
            assert result.code == 0, (words, result.err)
    finally:
        os.chdir(before)
    return path


def test_the_commands_run(place: Path) -> None:
    run = open_run(place / "results" / "first")
    assert (~run.trials["reused"]).sum() == 7
    assert run.settings.halving
    assert (run.settings.seconds, run.settings.budgets) == (1200.0, {"macs": 4_000_000})
    assert (place / "results" / "first" / "zero_cost.jsonl").is_file()


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_runs(place: Path, number: int) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks("python")[number]],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
    if "Halving(" in blocks("python")[number]:
        assert result.stdout == blocks("text")[0]


def test_every_sampler_and_limit_is_told() -> None:
    text = PAGE.read_text()
    table = text[text.index("| sampler |") : text.index("Optuna's samplers learn")]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))) == {
        *SAMPLERS
    }
    options = search_command.__annotations__
    for limit in ("trials", "time", "device_seconds", "patience"):
        assert limit in options
        assert f"| `--{limit.replace('_', '-')} " in text


def test_no_relative_link_is_dead() -> None:
    links = relative_links(PAGE.read_text())
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
