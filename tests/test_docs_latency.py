"""docs/latency.md: its commands and its Python run as they stand, only smaller."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import nas
from latency_tables import keep_made_table
from test_readme import relative_links

from nas.architecture import Shape
from nas.latency import building, machine, solitude
from nas.latency.building import EFFORT, NUM_DRAWN, Effort
from nas.records import open_run
from nas.space import SearchSpace

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "latency.md"
SMALL = ["--epochs", "1", "--images", "256", "--trials", "4", "--workers", "1"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(solitude, "lock_path", lambda: tmp_path / "lock")
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    little = Effort(layers=12, fit_networks=3, check_networks=3, seconds=0.1, rounds=(3, 3))
    monkeypatch.setattr(building, "EFFORT", little)
    monkeypatch.chdir(tmp_path)
    for line in "".join(blocks("console")).splitlines():
        assert line.startswith("$ nas "), line
        words = shlex.split(line[2:], comments=True)[1:]
        result = nas(*words, *(SMALL if words[0] == "search" else []))
        assert result.code == 0, (words, result.err)
    fast, bounded = (open_run(tmp_path / "results" / name) for name in ("fast", "bounded"))
    assert fast.settings.objectives == ("error", "latency_ms")
    assert bounded.settings.budgets == {"latency_ms": 5.0}
    assert fast.latency == bounded.latency


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    keep_made_table(SearchSpace.load("tiny"), Shape(1, 28, 28), 10)
    (block,) = blocks("python")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert " ms for one image on cpu (" in result.stdout


def test_the_page_says_how_much_is_measured() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"Of {NUM_DRAWN} random networks" in text
    assert f"some {EFFORT.layers} in all" in text
    assert f"{EFFORT.fit_networks + EFFORT.check_networks} whole random networks" in text
    assert f"{EFFORT.fit_networks} of the whole networks" in text
    assert f"other {EFFORT.check_networks} are held out" in text


def test_no_relative_link_is_dead() -> None:
    links = relative_links(PAGE.read_text())
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
