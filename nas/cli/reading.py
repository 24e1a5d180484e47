"""A line on the terminal while a large run is read for the first time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from nas.records import Progress


def reading_line(stream: TextIO | None = None) -> Progress | None:
    """What tells a terminal how far the reading is, and takes the line away at its end.

    None where standard error is no terminal: nothing is written then.
    """
    where = sys.stderr if stream is None else stream
    if not where.isatty():
        return None

    def show(table: str, done: int, total: int) -> None:
        text = f"reading {table}: {done:,} of {total:,} trials" if done < total else ""
        where.write(f"\r{text}\x1b[K")
        where.flush()

    return show
