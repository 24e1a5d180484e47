"""``nas dashboard`` as its users start it: a process of its own, timed and weighed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

import psutil

WORDS_SECONDS = 120.0
"""How long a server may take to say where it listens, and a run to be read."""


class Server:
    """A dashboard of one run on a free port; ``ready_seconds`` is what its start took."""

    def __init__(self, run: Path, *, port: int) -> None:
        command = [sys.executable, "-m", "nas", "dashboard", str(run)]
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--port", str(port), "--no-open"], stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{port}"
        self._wait_for_address()
        self.ready_seconds = time.perf_counter() - begun

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _wait_for_address(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "http://" in line:
                return
        raise SystemExit(f"nas dashboard ended with code {self._process.wait()}")

    def status(self) -> dict[str, Any]:
        """What the page is told when it asks for news."""
        with urlopen(f"{self.url}/status", timeout=WORDS_SECONDS) as answer:
            data: dict[str, Any] = json.load(answer)
        return data

    def wait_until_read(self) -> list[str]:
        """Ask until the run is read; the words meanwhile, each once: how far the reading is."""
        words: list[str] = []
        end = time.monotonic() + WORDS_SECONDS
        while (found := str(self.status()["words"])).endswith("..."):
            if time.monotonic() > end:
                raise SystemExit(f"the run is not read after {WORDS_SECONDS:g} s: {found}")
            words += [found] if found not in words else []
            time.sleep(0.1)
        return words

    @property
    def megabytes(self) -> float:
        """Memory of the process (resident), in MiB."""
        return float(psutil.Process(self._process.pid).memory_info().rss / 2**20)
