"""How the command line writes: tables, facts and JSON on stdout; notes on stderr.

Rich decides on colour (terminals only; ``NO_COLOR`` is respected) and takes the width from
``COLUMNS`` or the terminal. Nothing here depends on colour to be understood.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


NARROWEST = 10
"""Letters that a column of text is left where a terminal has too little room for a table."""


def stdout(least: int = 0) -> Console:
    """A console on stdout as it is now, of at least so many columns."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False, emoji=False)
    if console.width < least:
        return Console(highlight=False, soft_wrap=False, emoji=False, width=least)
    return console


def note(text: str) -> None:
    """A line on stderr: what a reader should know, but a script should not parse."""
    print(text, file=sys.stderr)


def print_json(value: object) -> None:
    """JSON for scripts: numbers as numbers, what is unknown as null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    unbroken: Sequence[str] = (),
) -> None:
    """A table; a header that starts with ``>`` stands over a right-aligned column of numbers.

    Numbers and the ``unbroken`` columns keep to one line where others fold. They are never cut:
    half a number is a wrong one. Where they do not fit the lines are longer than the terminal.
    """
    kept = [tuple(row) for row in rows]
    table = make_table(headers, kept, title=title, unbroken=unbroken)
    stdout(_needed(headers, kept, unbroken)).print(table)


def _needed(headers: Sequence[str], rows: Sequence[Sequence[str]], unbroken: Sequence[str]) -> int:
    """The columns of a terminal below which rich would cut what may not fold."""
    from rich.cells import cell_len

    widths = []
    for header, *cells in zip(headers, *rows, strict=True):
        width = max(cell_len(text) for text in (header.removeprefix(">"), *cells))
        is_whole = header.startswith(">") or header in unbroken
        widths.append(width if is_whole else min(width, NARROWEST))
    return sum(widths) + 2 * (len(widths) - 1)


def make_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    unbroken: Sequence[str] = (),
) -> Table:
    """The table that :func:`print_table` prints."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for header in headers:
        is_number = header.startswith(">")
        table.add_column(
            Text(header.removeprefix(">")),
            justify="right" if is_number else "left",
            no_wrap=is_number or header in unbroken,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and what they are, a line each, aligned."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(Text(name), Text(value))
    stdout().print(grid)


def print_text(text: str = "", *, bold: bool = False) -> None:
    """A paragraph, wrapped at the width."""
    from rich.text import Text

    stdout().print(Text(text, style="bold" if bold else ""))


def print_commands(title: str, commands: Sequence[str]) -> None:
    """Commands to copy, never wrapped by us."""
    print_text()
    print_text(title, bold=True)
    for command in commands:
        print(f"  {command}")
