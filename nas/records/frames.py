"""From a run's Arrow tables to the frames that users see, and how such tables grow.

Texts stay in Arrow's memory and are shared by all frames made of a table; numbers are copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from nas.records.columns import INACTIVE
from nas.space.domains import Domain

MAX_PIECES = 256
"""Pieces that a table's columns may consist of before they are made one."""


def typed_frame(table: Any, columns: Mapping[str, str]) -> pd.DataFrame:
    """The columns of these names and pandas types; NaN and NaT where nothing is known."""
    frame: pd.DataFrame = table.select(list(columns)).to_pandas()
    wrong = {name: kind for name, kind in columns.items() if str(frame[name].dtype) != kind}
    return frame.astype(wrong) if wrong else frame


def choices_frame(table: Any, domains: Mapping[str, Domain]) -> pd.DataFrame:
    """``number`` and a column a choice, missing where it is inactive.

    A column's type is the one that pandas finds for the values that occur in it.
    """
    if not table.num_rows:
        return pd.DataFrame([], columns=["number", *domains])
    columns: dict[str, Any] = {"number": table["number"].to_numpy()}
    for name, domain in domains.items():
        positions = table[name].to_numpy()
        counts = np.bincount(positions - INACTIVE)
        used = np.flatnonzero(counts) + INACTIVE
        values = [domain.values[at] for at in used.tolist() if at != INACTIVE]
        rows: list[dict[str, Any]] = [{name: value} for value in values]
        if used[0] == INACTIVE:
            rows.insert(0, {})
        # One row a value: pandas chooses the type as it would for all of the rows.
        each = pd.DataFrame(rows, columns=[name])[name].array
        rank = np.cumsum(counts > 0) - 1
        columns[name] = each.take(rank[positions - INACTIVE])
    return pd.DataFrame(columns, copy=False)


def merged(table: Any, more: Any) -> Any:
    """Both tables' rows by number; each is sorted by it already.

    ``table`` is large and ``more`` small or behind it: what lies between the new rows is shared.
    """
    if not more.num_rows or not table.num_rows:
        return table if not more.num_rows else more
    numbers, new = table["number"].to_numpy(), more["number"].to_numpy()
    places = np.searchsorted(numbers, new, side="right")
    starts = np.flatnonzero(np.r_[True, np.diff(places) > 0])
    if len(starts) > MAX_PIECES:
        both = pa.concat_tables([table, more])
        return both.take(pa.array(np.argsort(np.r_[numbers, new], kind="stable")))
    pieces, done = [], 0
    for start, end in zip(starts, [*starts[1:], len(new)], strict=True):
        place = int(places[start])
        pieces += [table.slice(done, place - done), more.slice(start, end - start)]
        done = place
    pieces.append(table.slice(done))
    joined = pa.concat_tables([piece for piece in pieces if piece.num_rows])
    is_in_pieces = joined["number"].num_chunks > MAX_PIECES
    return joined.combine_chunks() if is_in_pieces else joined


def by_number(tables: list[Any], schema: Any) -> Any:
    """Tables that were read one after another as one, sorted by number."""
    table = pa.concat_tables([schema.empty_table(), *tables])
    numbers = table["number"].to_numpy()
    if np.all(numbers[1:] >= numbers[:-1]):
        return table
    return table.take(pa.array(np.argsort(numbers, kind="stable")))
