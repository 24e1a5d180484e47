"""The raw rows: one a trial, appended block by block, so that a stopped benchmark goes on."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

ROWS, SETTINGS = "rows.csv", "settings.json"


@dataclass(frozen=True)
class Row:
    """A trial, and the turn that it was part of: a contestant's pass through a block.

    ``turn_*`` and peaks are of the whole turn and the same in all of its rows; ``turn_trials``
    says how many rows it has. ``error`` is NaN where the training failed.
    """

    block: str
    contestant: str
    width: float
    index: int
    seed: int
    seconds: float
    error: float
    images: int
    turn_trials: int
    turn_seconds: float
    turn_cpu_seconds: float
    peak_bytes: int
    device_bytes: int
    startup_seconds: float


COLUMNS = [field.name for field in fields(Row)]


class RowFile:
    """The rows of one benchmark in ``directory``, with the settings that they were made with.

    Raises:
        ValueError: the directory holds rows of other settings; the message says which differ.
    """

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / ROWS
        recorded = directory / SETTINGS
        if recorded.exists():
            _check_settings(json.loads(recorded.read_text()), settings, directory)
        else:
            recorded.write_text(json.dumps(settings, indent=2) + "\n")
        self.rows = _complete(_read(self.path))
        # What a kill cut off goes, so that the turn is measured again whole.
        _write_whole(self.path, self.rows)

    def has(self, block: str, contestant: str) -> bool:
        """Whether the contestant's turn in the block was measured."""
        rows = self.rows
        return bool(((rows["block"] == block) & (rows["contestant"] == contestant)).any())

    def append(self, turn: list[Row]) -> None:
        """Add a turn's rows in one write."""
        frame = pd.DataFrame([asdict(row) for row in turn], columns=COLUMNS)
        with self.path.open("a", newline="") as file:
            file.write(_lines(frame))
            file.flush()
            os.fsync(file.fileno())
        self.rows = frame if self.rows.empty else pd.concat([self.rows, frame], ignore_index=True)


def _check_settings(recorded: dict[str, Any], settings: dict[str, Any], directory: Path) -> None:
    now = json.loads(json.dumps(settings))
    differing = [key for key in now if recorded.get(key) != now[key]]
    if differing:
        key = differing[0]
        raise ValueError(
            f"{directory} was made with other settings ({', '.join(differing)}; {key} was "
            f"{recorded.get(key)!r} and is {now[key]!r}): give another --out"
        )


def _read(path: Path) -> pd.DataFrame:
    """The whole lines of the file; a line that a kill cut off has no end."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(io.StringIO(whole))


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of turns that have all of theirs."""
    if rows.empty:
        return rows
    counts = rows.groupby(["block", "contestant"])["seed"].transform("size")
    return rows[counts == rows["turn_trials"]].reset_index(drop=True)


def _write_whole(path: Path, rows: pd.DataFrame) -> None:
    part = path.with_suffix(".part")
    header = ",".join(COLUMNS) + "\n"
    part.write_text(header + (_lines(rows) if len(rows) else ""))
    part.replace(path)


def _lines(frame: pd.DataFrame) -> str:
    text = frame.to_csv(columns=COLUMNS, header=False, index=False, quoting=csv.QUOTE_MINIMAL)
    return str(text)
