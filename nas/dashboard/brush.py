"""Trials chosen by the values of their choices, their cost and their error: a brush as text.

In the address it reads ``brush=stages.count:2,3;macs:1e6~5e6``: of a choice the values that
pass, of a cost or the error a range. Names and values are percent-encoded, so that none of the
four signs can be part of them; whatever does not read so, or names nothing, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PATTERN = r"[A-Za-z0-9_.\-~:;,%]{1,2000}"
"""What a brush in an address consists of."""

MAX_RULES = 40
MISSING = "not there"
"""The word for a choice that is inactive in a trial, as on the axes."""


@dataclass(frozen=True)
class Brush:
    """What trials must be like: words by choice, and a lower and upper end by number's name."""

    words: Mapping[str, tuple[str, ...]]
    ranges: Mapping[str, tuple[float, float]]

    def __bool__(self) -> bool:
        return bool(self.words or self.ranges)

    def to_text(self) -> str:
        """As it stands in an address; "" where everything passes."""
        rules = [
            f"{_quoted(name)}:{','.join(map(_quoted, few))}" for name, few in self.words.items()
        ]
        rules += [
            f"{_quoted(name)}:{low:.5g}~{high:.5g}" for name, (low, high) in self.ranges.items()
        ]
        return ";".join(rules).replace("+", "")

    def without(self, name: str) -> Brush:
        """The same but for one name."""
        return Brush(
            {key: value for key, value in self.words.items() if key != name},
            {key: value for key, value in self.ranges.items() if key != name},
        )

    def passing(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """A mask of the rows that pass; a name that is no column of the table is left out.

        A missing number passes no range; a missing choice is the word :data:`MISSING`.
        """
        passes = np.ones(len(table), dtype=bool)
        for name, few in self.words.items():
            if name in table.columns:
                passes &= column_words(table[name]).isin(few).to_numpy()
        for name, (low, high) in self.ranges.items():
            if name in table.columns:
                values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
                # The text keeps five digits: an end that was a trial's own value stays inside.
                slack = 1e-4 * max(abs(low), abs(high))
                passes &= (values >= low - slack) & (values <= high + slack)
        return passes


def read_brush(text: str, choices: Iterable[str], numbers: Sequence[str]) -> Brush:
    """The brush in an address, as far as it names ``choices`` and ``numbers`` that exist."""
    known = set(choices)
    words: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for rule in text.split(";")[:MAX_RULES]:
        name, _, values = rule.partition(":")
        name = unquote(name)
        if name in numbers:
            found = _range(values)
            if found is not None:
                ranges[name] = found
        elif name in known and values:
            words[name] = tuple(dict.fromkeys(unquote(value) for value in values.split(",")))
    return Brush(words, ranges)


def column_words(column: pd.Series) -> pd.Series:
    """The values of a choice as the words on its axis."""
    values = column.unique()
    return column.map({value: word(value) for value in values if not pd.isna(value)}).fillna(
        MISSING
    )


def word(value: object) -> str:
    """A choice's value in a word: "yes", "128", "3x3+3x3"."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _range(text: str) -> tuple[float, float] | None:
    first, _, second = text.partition("~")
    try:
        low, high = float(first), float(second)
    except ValueError:
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low <= high else None


def _quoted(text: str) -> str:
    # `quote` leaves the tilde as it is, which stands between the ends of a range here.
    return quote(text, safe="").replace("~", "%7E")
