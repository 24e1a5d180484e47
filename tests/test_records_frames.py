"""Columns of choices have the types that pandas finds in their rows; grown tables stay sorted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.records.columns import INACTIVE
from nas.records.frames import MAX_PIECES, by_number, choices_frame, merged
from nas.space.domains import Domain, Options, Range

DOMAINS: dict[str, Domain] = {
    "range": Range(8, 32, 8),
    "numbers": Options((0.25, 0.5)),
    "whole": Options((1, 2.5)),
    "words": Options(("max", "avg")),
    "flags": Options((False, True)),
    "width": Options((None, 8, 16)),
    "word or none": Options((None, "3x3")),
    "mixed": Options((1, "x", True)),
}


def positions(name: str) -> st.SearchStrategy[int]:
    return st.integers(INACTIVE, len(DOMAINS[name].values) - 1)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({name: positions(name) for name in DOMAINS}), max_size=8),
    first=st.integers(0, 5),
)
def test_choices_have_the_types_of_their_rows(rows: list[dict[str, int]], first: int) -> None:
    """As ``pd.DataFrame`` of the rows' dicts, in which inactive choices are left out."""
    numbers = [first + index for index in range(len(rows))]
    expected = pd.DataFrame(
        [
            {
                "number": number,
                **{name: DOMAINS[name].values[at] for name, at in row.items() if at != INACTIVE},
            }
            for number, row in zip(numbers, rows, strict=True)
        ],
        columns=["number", *DOMAINS],
    )
    columns = {name: pa.array([row[name] for row in rows], pa.int32()) for name in DOMAINS}
    table = pa.table({"number": pa.array(numbers, pa.int64()), **columns})
    found = choices_frame(table, DOMAINS)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    for name in DOMAINS:
        assert list(map(type, found[name])) == list(map(type, expected[name]))


@settings(max_examples=200, deadline=None)
@given(
    old=st.lists(st.integers(0, 40)),
    new=st.lists(st.integers(0, 40)),
)
def test_merged_tables_are_sorted_and_old_rows_come_first(old: list[int], new: list[int]) -> None:
    tables = [
        pa.table({"number": pa.array(sorted(numbers), pa.int64()), "from": [word] * len(numbers)})
        for numbers, word in ((old, "old"), (new, "new"))
        if numbers
    ]
    schema = pa.schema([("number", pa.int64()), ("from", pa.string())])
    left, right = (
        by_number([table for table in tables if table["from"][0].as_py() == word], schema)
        for word in ("old", "new")
    )
    found = merged(left, right).to_pylist()
    both = [(number, "a old") for number in old] + [(number, "b new") for number in new]
    assert [(row["number"], row["from"]) for row in found] == [
        (number, word[2:]) for number, word in sorted(both)
    ]


@pytest.mark.parametrize("pieces", [MAX_PIECES - 1, MAX_PIECES + 50])
def test_a_table_does_not_fall_into_ever_more_pieces(pieces: int) -> None:
    table = pa.table({"number": pa.array(range(0, 4 * pieces, 2), pa.int64())})
    more = pa.table({"number": pa.array(range(1, 2 * pieces, 2), pa.int64())})
    found = merged(table, more)
    assert found["number"].num_chunks <= 2 * MAX_PIECES
    numbers = found["number"].to_numpy()
    assert np.all(numbers[1:] > numbers[:-1])
    for number in range(3 * MAX_PIECES):
        row = pa.table({"number": pa.array([10 * pieces + number], pa.int64())})
        found = merged(found, row)
    assert found["number"].num_chunks <= MAX_PIECES + 1
