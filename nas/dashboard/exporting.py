"""Exports that the page asks for: ``python -m nas export`` as a process, and how it goes.

This is all that the dashboard does to the world, so it takes nothing from a request but a run that
is served and a trial that it has. What is written goes into the run's own directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import make_url

from nas.analysis.next_steps import pick_folder, run_word
from nas.analysis.shell import command
from nas.records import Run

AT_ONCE = 2
SECONDS = 900.0
"""After which an export is given up."""

TRAINED = "training.json"
"""What ``nas train`` leaves where a trial was trained fully."""

Stage = Literal["none", "running", "done", "failed"]


@dataclass(frozen=True)
class Status:
    """How an export stands: ``files`` are paths by format, ``words`` why it failed."""

    stage: Stage = "none"
    seconds: float = 0.0
    directory: str = ""
    files: dict[str, str] = field(default_factory=dict)
    difference: float | None = None
    words: str = ""


def export_words(run: Run, number: int) -> list[str]:
    """The words behind ``nas`` that export a trial into the run's own directory.

    A trial that was trained fully, where the commands of the page say, goes with its weights.
    """
    folder = pick_folder(run, f"trial:{number}")
    if (folder / TRAINED).is_file():
        return ["export", str(folder), "--out", str(folder / "export"), "--overwrite"]
    out = run.path / "exports" / f"trial{number}"
    return ["export", run_word(run), "--pick", f"trial:{number}", "--out", str(out), "--overwrite"]


def export_line(run: Run, number: int) -> str:
    """The same as a command to copy."""
    return command(*export_words(run, number))


class Exporter:
    """Starts exports and remembers how they went, by run and trial."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status: dict[tuple[str, int], Status] = {}
        self._begun: dict[tuple[str, int], float] = {}
        self._processes: dict[tuple[str, int], subprocess.Popen[str]] = {}

    def status(self, name: str, number: int) -> Status:
        """How the export of a trial stands; what an earlier server wrote is not known."""
        with self._lock:
            found = self._status.get((name, number), Status())
            if found.stage != "running":
                return found
            return Status("running", time.monotonic() - self._begun[name, number])

    def start(self, name: str, run: Run, number: int) -> None:
        """Start an export, unless that trial's is at work.

        Raises:
            ValueError: there is no such trial, too many are at work, or it would leave the run's
                directory.
        """
        run.architecture(number)
        words = export_words(run, number)
        _check_inside(run.path, Path(words[words.index("--out") + 1]))
        key = (name, number)
        with self._lock:
            if key in self._processes:
                return
            if len(self._processes) >= AT_ONCE:
                raise ValueError(f"{AT_ONCE} exports are at work; wait for one to end")
            process = subprocess.Popen(
                [sys.executable, "-m", "nas", *map(_bare, words), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(run),
            )
            self._processes[key] = process
            self._begun[key] = time.monotonic()
            self._status[key] = Status("running")
        threading.Thread(target=self._wait, args=(key, process), daemon=True).start()

    def stop(self) -> None:
        """End what is at work."""
        with self._lock:
            for process in self._processes.values():
                process.terminate()

    def _wait(self, key: tuple[str, int], process: subprocess.Popen[str]) -> None:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err = f"error: given up after {SECONDS / 60:.0f} minutes"
        status = _outcome(process.returncode, out, err, time.monotonic() - self._begun[key])
        with self._lock:
            self._status[key] = status
            del self._processes[key]


def _outcome(code: int, out: str, err: str, seconds: float) -> Status:
    lines = [line for line in err.splitlines() if line.strip()]
    if code:
        words = lines[-1].removeprefix("error: ") if lines else f"it ended with code {code}"
        return Status("failed", seconds, words=words)
    try:
        data: dict[str, Any] = json.loads(out)
    except ValueError:
        return Status("failed", seconds, words="its answer cannot be read")
    difference = data.get("largest_difference")
    return Status("done", seconds, str(data["directory"]), dict(data["files"]), difference)


def _check_inside(directory: Path, out: Path) -> None:
    if not out.resolve().is_relative_to(directory.resolve()):
        raise ValueError(f"{out} leads out of the run's directory {directory}")


def _bare(word: str) -> str:
    """A storage's URL without the stars that stand for its password."""
    return word.replace(":***@", "@", 1) if "://" in word else word


def _environment(run: Run) -> dict[str, str]:
    """The environment, with the password of a server: on the command line others could read it.

    Raises:
        ValueError: the server's drivers do not take it from there.
    """
    environment = dict(os.environ)
    url = make_url(run.url)
    if url.password:
        if url.get_backend_name() != "postgresql":
            raise ValueError("the storage has a password; copy the command and put it in")
        environment["PGPASSWORD"] = str(url.password)
    return environment
