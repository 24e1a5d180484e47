"""The README's commands and its Python example run as they stand, only smaller."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
from command_line import nas
from test_dashboard_command import Started

README = Path(__file__).parent.parent / "README.md"
FEWER = {
    "search": ["--trials", "2", "--epochs", "1", "--images", "256", "--max-macs", "4M"],
    "confirm": [
        "--top",
        "1",
        "--seeds",
        "1",
        "--controls",
        "0",
        "--landmarks",
        "none",
        "--epochs",
        "1",
    ],
    "train": ["--epochs", "1"],
}


def console_lines() -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ nas ")]


def test_the_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = console_lines()
    assert {line[1] for line in lines} == {
        "spaces", "search", "show", "dashboard", "report", "confirm", "train", "export", "cost",
        "runs", "doctor",
    }  # fmt: skip
    for _, *words in lines:
        if words[0] == "dashboard":  # serves until it is interrupted
            assert served_runs(*words[1:]) == ["first"]
            continue
        result = nas(*words, *FEWER.get(words[0], []))
        assert result.code == 0, (words, result.err)
    assert (tmp_path / "my_network" / "network.py").is_file()
    assert (tmp_path / "first.html").is_file()
    assert (tmp_path / "front.svg").read_text().startswith("<svg")


def served_runs(*words: str) -> list[str]:
    """The runs that ``nas dashboard`` with these words serves here, on a port that is free."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Started(*words, "--port", port) as started:
        with urlopen(f"{started.address}status", timeout=120) as answer:
            runs = json.load(answer)["runs"]
        assert started.interrupt()[0] == 0
    return [run["label"] for run in runs]


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    script = tmp_path / "script.py"
    script.write_text(text.replace('"images": 1024', '"images": 128'))
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "params" in result.stdout
    assert (tmp_path / "script_knee" / "network.py").is_file()


def relative_links(text: str) -> list[str]:
    """Targets of links and images, in Markdown and HTML, that are files of the repository."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", prose)
    found += re.findall(r"^\[[^\]]+\]:\s*<?([^\s>]+)", prose, flags=re.MULTILINE)
    found += re.findall(r"(?:href|src|srcset)=\"([^\"\s]+)", prose)
    targets = [link.partition("#")[0] for link in found]
    return [link for link in targets if link and not re.match(r"[a-z][a-z+.-]*:", link)]


def test_links_are_found() -> None:
    text = "[a](docs/a.md#b) ![c](<c.svg>) [web](https://d.e) [here](#f)\n[g]: g.md\n"
    html = '<img src="h.png"><a href="mailto:i@j">k</a>\n```\n[code](none.md)\n```\n'
    assert relative_links(text + html) == ["docs/a.md", "c.svg", "g.md", "h.png"]


def test_no_relative_link_of_the_readme_is_dead() -> None:
    links = relative_links(README.read_text())
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_readme_has_no_placeholder_left() -> None:
    lines = README.read_text().splitlines()
    assert [line for line in lines if "@@" in line] == []
