"""docs/faults.md: its command runs, and what it says of limits and options is what the code has."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
from command_line import nas
from test_readme import relative_links

from nas.cli.search import search as search_command
from nas.records.journal import ROOM_BYTES
from nas.records.lasting import WAIT_SECONDS
from nas.records.outages import CONNECT_SECONDS, FIRST_SECONDS, MOST_SECONDS
from nas.search.deaths import OWN_SIGNALS
from nas.search.ending import MOST_FAILURES
from nas.search.local_executor import STOP_GRACE_SECONDS
from nas.search.losses import MOST_CRASHES, MOST_TRIES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"
TEXT = PAGE.read_text()


def test_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = re.findall(r"```console\n\$ nas (.*?)\n```", TEXT)
    result = nas(*shlex.split(line))
    assert result.code == 0, result.err
    assert "given up after 10m 00s" in result.out
    assert list(tmp_path.iterdir()) == []


def test_what_it_says_is_so() -> None:
    assert (MOST_TRIES, MOST_CRASHES, MOST_FAILURES) == (4, 2, 10)
    assert f"within {STOP_GRACE_SECONDS:g} s is killed" in TEXT
    assert f"pauses from {FIRST_SECONDS:g} to {MOST_SECONDS:g} s" in TEXT
    assert f"a connection within {CONNECT_SECONDS} seconds" in TEXT
    assert f"({ROOM_BYTES // 1024} KiB)" in TEXT
    assert WAIT_SECONDS == 120
    named = set(re.findall(r"`(SIG[A-Z]+)`", TEXT))
    assert named <= {number.name for number in OWN_SIGNALS}
    assert len(named) == 5
    options = inspect.signature(search_command).parameters
    for option in re.findall(r"`--([a-z-]+)", TEXT):
        assert option.replace("-", "_") in options


def test_the_figures_are_those_of_the_files() -> None:
    kills = json.loads((ROOT / "results" / "faults" / "kills.json").read_text())
    total = sum(kills["kills"].values())
    assert f"{total} times `kill -9`" in TEXT
    assert f"{kills['trained_trials']:,} trials" in TEXT
    assert (kills["faults"], kills["orphans"]) == ([], 0)
    for kind in ("space", "architecture", "attributes"):
        data = json.loads((ROOT / "results" / "faults" / f"fuzzing_{kind}.json").read_text())
        (found,) = data["kinds"]
        assert found["failures"] == 0
        assert f"{found['cases']:,}" in TEXT
        assert found["longest_processor_seconds"] < 1


def test_no_relative_link_is_dead() -> None:
    links = relative_links(TEXT)
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
