"""``nas dashboard`` as a process: what it prints, what it refuses, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, build_opener, urlopen

import pytest
from command_line import nas
from synthetic_runs import make_run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    make_run(results, "first", trials=4)
    make_run(results, "second", trials=2, created="2026-02-01T10:00:00")
    return results


@pytest.fixture
def port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Started:
    """The command at work, and the address that it printed."""

    def __init__(self, *words):
        command = [sys.executable, "-m", "nas", "dashboard", "--no-open", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "COLUMNS": "200"},
            # A shell that started the tests in the background has had Ctrl-C ignored for them all.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )  # fmt: skip
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if "Ctrl-C" in line:
                break
        found = re.search(r"http://\S+", "\n".join(self.lines))
        assert found, self.process.communicate()[1]
        self.address = found[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


def test_it_serves_all_runs_the_newest_first_until_it_is_interrupted(results, port):
    with Started("--results", results, "--port", port) as started:
        assert started.address == f"http://127.0.0.1:{port}/"
        assert "2 runs at" in started.lines
        with urlopen(f"{started.address}status", timeout=60) as answer:
            assert b'"runs":[{"label":"second"' in answer.read()
        code, out, err = started.interrupt()
    assert (code, out.strip(), err) == (0, "ended", "")


def test_a_taken_port_is_said_with_another_one(results):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = nas("dashboard", results / "first", "--port", port, "--no-open")
    assert result.code == 1
    assert f"port {port} is taken" in result.err
    assert f"--port {port + 1}" in result.err
    assert len(result.err.splitlines()) == 1


def test_without_a_run_it_says_what_to_do(tmp_path):
    result = nas("dashboard", "--results", tmp_path)
    assert result.code == 2
    assert "there are no runs" in result.err
    assert "nas search googlenet_small" in result.err


def test_a_run_that_does_not_exist_is_named(results):
    result = nas("dashboard", results / "frist")
    assert result.code == 2
    assert "did you mean 'first'" in result.err


def test_runs_that_cannot_be_read_are_said(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.db").write_text("nothing")
    result = nas("dashboard", "--results", tmp_path)
    assert result.code == 2
    assert "none of the runs" in result.err
    assert "broken" in result.err


def test_an_address_that_is_not_ours_is_refused(results):
    result = nas("dashboard", results / "first", "--host", "192.0.2.1", "--no-open")
    assert result.code == 1
    assert "cannot listen on 192.0.2.1" in result.err


def test_beyond_this_machine_the_token_is_printed_once(results, port):
    with Started(results / "first", "--port", port, "--host", "0.0.0.0") as started:
        token = re.search(r"\?token=(\S{32,})$", started.address)[1]
        local = f"http://127.0.0.1:{port}/"
        with pytest.raises(HTTPError, match="401"):
            urlopen(local, timeout=60)
        browser = build_opener(HTTPCookieProcessor())
        with browser.open(f"{local}?token={token}", timeout=60) as answer:
            assert answer.url == local
            assert b"Pareto workbench" in answer.read()
        with browser.open(f"{local}status", timeout=60) as answer:
            assert answer.status == 200
        code, out, err = started.interrupt()
    assert code == 0
    assert "\n".join(started.lines).count(token) == 1
    assert token not in out + err
