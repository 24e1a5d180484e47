"""The line that says how far the reading of a large run is."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli.reading import reading_line
from nas.records import locate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from make_large_study import make_large_study


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is_and_keeps_nothing() -> None:
    terminal = Terminal()
    show = reading_line(terminal)
    assert show is not None
    show("curves", 2500, 100_000)
    assert terminal.getvalue() == "\rreading curves: 2,500 of 100,000 trials\x1b[K"
    show("curves", 100_000, 100_000)
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_is_written_to_a_file() -> None:
    assert reading_line(io.StringIO()) is None


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is read in more than one batch."""
    results = tmp_path_factory.mktemp("results")
    list(make_large_study(locate("large", results), 2_600))
    return results / "large"


def said_on_a_terminal(*words: object) -> str:
    """What a command writes to a terminal that takes its errors."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "nas", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=its, check=True)
    assert done.returncode == 0
    os.close(its)
    parts = []
    while part := _read(ours):
        parts.append(part)
    os.close(ours)
    return b"".join(parts).decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # all that was written has been read
        return b""


@pytest.mark.parametrize(
    ("words", "tables"),
    [
        (("show",), ["trials"]),
        (("report",), ["trials", "curves", "choices"]),
        (("export", "--pick", "knee", "--format", "json"), ["trials"]),
    ],
)
def test_commands_say_how_far_they_have_read(
    words: tuple[str, ...], tables: list[str], large: Path, tmp_path: Path
) -> None:
    for file in (large / "cache").rglob("*.parquet"):
        file.unlink()
    out = {"report": ["--out", tmp_path / "report.html"], "export": ["--out", tmp_path]}
    command, *others = words
    said = said_on_a_terminal(command, large, *others, *out.get(command, []))
    assert "reading trials: 2,500 of 2,600 trials" in said
    found = re.findall(r"reading (\w+): 2,500", said)
    assert sorted(set(found)) == sorted(tables)
    # The line is taken away once all is read.
    assert "\r\x1b[K" in said.rpartition("reading ")[2]
