"""What a driver finished and could not write: lines of JSON in the run's directory.

The file has its room from the start, so that a full disk does not keep anything from being kept.
It is there while a driver is at work, and stays where one could not write all; a resumed search
writes it into the study then. A driver holds a lock on its own file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PREFIX, SUFFIX = "unwritten-", ".jsonl"

ROOM_BYTES = 64 * 1024
"""Room for some hundred finished trials with their curves; more need room on the disk."""


class Journal:
    """One driver's file in ``directory``; ``identity`` tells its study from one of the same name.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{PREFIX}{socket.gethostname()}-{os.getpid()}{SUFFIX}"
        self.path = directory / name
        self._identity = identity
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._end = 0
        self.clear()

    def clear(self) -> None:
        """Forget all lines; the room stays."""
        os.ftruncate(self._descriptor, 0)
        # Without room now there may be room when it is needed.
        with contextlib.suppress(OSError):
            os.posix_fallocate(self._descriptor, 0, ROOM_BYTES)
        self._end = 0

    def append(self, entry: Mapping[str, Any]) -> None:
        """Keep one line more, on the disk when this returns.

        Raises:
            OSError: there is no room for it.
        """
        head = b"" if self._end else _line({"study": self._identity})
        data = head + _line(entry)
        written = os.pwrite(self._descriptor, data, self._end)
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], self._end + written)
        os.fsync(self._descriptor)
        self._end += len(data)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that is to be taken up."""
        return self._end == 0

    def close(self) -> None:
        """Let another driver have the file; one without lines is removed."""
        if self._descriptor < 0:
            return
        if self.is_empty:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def left_entries(directory: Path, identity: str) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """The files of drivers that are gone, with their lines; those of another study have none.

    A file is locked while it is the caller's turn with it. A line that was cut off by the end of
    its driver was never told to be kept, and is left out.
    """
    for path in sorted(directory.glob(f"{PREFIX}*{SUFFIX}")):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its driver is at work
            lines = _lines(file.read())
            is_ours = bool(lines) and lines[0].get("study") == identity
            yield path, lines[1:] if is_ours else []


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _lines(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    # What follows the last line is room.
    for line in data.split(b"\0")[0].split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(entry, dict):
            break
        found.append(entry)
    return found
