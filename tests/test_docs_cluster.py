"""docs/cluster.md: its commands run as they stand, on one machine that plays all of them."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import psutil
import pytest
from postgres_server import find_programs, postgres_server
from started_processes import started, wait_for
from test_readme import relative_links

from nas.cli.search import search as search_command
from nas.records import open_run

pytestmark = pytest.mark.xdist_group("ray")

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cluster.md"
SMALL = "--trials 3 --epochs 2 --images 256 --max-macs 2M --precision float32 --device cpu"


def commands() -> list[list[str]]:
    """The page's commands in order, as words."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [shlex.split(line[2:]) for line in lines]


@dataclass
class Machines:
    """One machine that plays the head, another machine, the database's and the driver's."""

    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack
    place: Path
    port: int
    url: str
    ran: list[str]
    nodes: list[psutil.Popen]

    def run(self, words: list[str]) -> str:
        """Run a command of the page; what it printed."""
        replaced = [self._replaced(word) for word in words]
        self.ran.append(" ".join(words[:2]))
        match words[:2]:
            case ["export", setting]:
                self.monkeypatch.setenv(*setting.split("=", 1))
                return ""
            case ["ray", "get-auth-token"]:
                return self._output([str(Path(sys.executable).parent / "ray"), *replaced[1:]])
            case ["ray", "start"]:
                return self._start(replaced)
            case ["ray", "stop"]:
                return self._stop()
            case ["createdb", *_]:
                return self._output([str(find_programs() / "createdb"), *replaced[1:]])
            case ["nas", "dashboard"]:
                return self._dashboard(replaced)
            case ["nas", "search"]:
                new = shlex.split(SMALL) if "--resume" not in words else ["--trials", "4"]
                return self._output([sys.executable, "-m", *replaced, *new])
        assert words[0] == "nas", words
        return self._output([sys.executable, "-m", *replaced])

    def _replaced(self, word: str) -> str:
        host = parse_qs(urlsplit(self.url).query)["host"][0]
        return (
            word.replace("DATABASE", self.url)
            .replace("ARTIFACTS", f"file://{self.place}/artifacts")
            .replace("DBHOST", host)
            .replace("HEAD", "127.0.0.1")
            .replace("6379", str(self.port))
        )

    def _output(self, words: list[str]) -> str:
        done = subprocess.run(words, cwd=self.place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def _start(self, words: list[str]) -> str:
        # In the foreground they end with this test; a directory of their own keeps apart whatever
        # other Ray the machine has.
        own = ["--temp-dir", str(self.place / "ray")] if "--head" in words else []
        program = Path(sys.executable).parent / "ray"
        ready = self._num_raylets() + 1
        node = self.stack.enter_context(
            started(str(program), *words[1:], "--block", "--num-cpus=1", *own)
        )
        wait_for(lambda: self._num_raylets() >= ready, node)
        self.nodes.append(node)
        return ""

    def _num_raylets(self) -> int:
        return sum(child.name() == "raylet" for child in psutil.Process().children(recursive=True))

    def _stop(self) -> str:
        """``ray stop`` would end every Ray of this machine: what it does, to these alone."""
        left = [child for node in self.nodes for child in node.children(recursive=True)]
        for node in reversed(self.nodes):
            node.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(left, timeout=90)
        assert alive == []
        return ""

    def _dashboard(self, words: list[str]) -> str:
        port = free_port()
        process = self.stack.enter_context(
            started(sys.executable, "-m", *words, "--port", str(port))
        )
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            return str(page.read().decode())


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    port = free_port()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # What `auto` finds where one machine has several.
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    # Ray's sockets lie there, and their paths may have a hundred letters.
    place = Path(tempfile.mkdtemp(prefix="nas", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        url = stack.enter_context(postgres_server()).replace("/postgres?", "/nas?")
        # The token's file, which is the user's own otherwise.
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(place / "auth_token"))
        (place / "auth_token").write_text(secrets.token_hex(32))
        yield Machines(monkeypatch, stack, place, port, url, [], [])


@pytest.mark.slow
def test_the_commands_run(machines: Machines) -> None:
    for words in commands():
        said = machines.run(words)
        if words[:2] == ["nas", "search"]:
            run = open_run(f"{machines.url}#cluster")
            expected = 4 if "--resume" in words else 3
            assert (~run.trials["reused"]).sum() == expected, said
            assert run.settings.halving
            # Its machines have the artifacts in common: nothing of them is left behind.
            assert list((machines.place / "artifacts").rglob("*.pt")) == []
        elif words[:2] == ["nas", "show"]:
            assert "error" in said
        elif words[:2] == ["nas", "dashboard"]:
            assert "<html" in said.lower()
    assert machines.ran == [
        "export RAY_AUTH_MODE=token",
        "ray get-auth-token",
        "ray start",
        "ray start",
        "createdb --host=DBHOST",
        "nas search",
        "nas show",
        "nas dashboard",
        "nas search",
        "ray stop",
    ]


def test_its_options_are_the_command_s() -> None:
    text = PAGE.read_text()
    told = set(re.findall(r"^\| `(--[a-z-]+)", text, flags=re.MULTILINE))
    names = {f"--{name.replace('_', '-')}" for name in search_command.__annotations__}
    assert told <= names
    assert {"--ray-address", "--gpus-per-trial", "--cpus-per-trial", "--artifacts"} <= told


def test_its_links_lead_somewhere() -> None:
    for link in relative_links(PAGE.read_text()):
        assert (PAGE.parent / link).exists(), link
