"""Brushes as text, and which trials pass them."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.dashboard.brush import MISSING, PATTERN, Brush, column_words, read_brush

TABLE = pd.DataFrame(
    {
        "number": [0, 1, 2, 3],
        "error": [0.10, 0.20, np.nan, 0.30],
        "macs": [1_000_000, 2_000_000, 3_000_000, 1_234_567],
        "stages.count": [2, 3, 4, 2],
        "residual": [True, False, True, None],
        "5x5.reduce": [16.0, np.nan, 32.0, np.nan],
        "forms": ["5x5", "3x3+3x3", "a;b:c,d~e", None],
    }
)
CHOICES = ["stages.count", "residual", "5x5.reduce", "forms"]
NUMBERS = ["macs", "error"]


def passing(text):
    brush = read_brush(text, CHOICES, NUMBERS)
    return TABLE.loc[brush.passing(TABLE), "number"].tolist()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [0, 1, 2, 3]),
        ("stages.count:2", [0, 3]),
        ("stages.count:2,4", [0, 2, 3]),
        ("residual:yes", [0, 2]),
        ("5x5.reduce:16", [0]),
        ("5x5.reduce:not%20there", [1, 3]),
        ("forms:3x3%2B3x3", [1]),
        ("forms:a%3Bb%3Ac%2Cd%7Ee", [2]),
        ("error:0.1~0.2", [0, 1]),
        ("macs:1e6~2e6;error:0.15~1", [1, 3]),
        ("macs:1.2346e6~1.3e6", [3]),
        ("stages.count:2;residual:yes", [0]),
        ("stages.count:nothing", []),
    ],
)
def test_trials_pass_where_all_rules_hold(text, numbers):
    assert passing(text) == numbers


@pytest.mark.parametrize(
    "text",
    ["nothing:2", "number:0~1", "error:x~y", "error:nan~1", "error:0.5~0.1", "error:1", ":", ";;",
     "stages.count:", "stages.count", "error:inf~inf"],
)  # fmt: skip
def test_what_is_no_rule_is_left_out(text):
    brush = read_brush(text, CHOICES, NUMBERS)
    assert not brush
    assert passing(text) == [0, 1, 2, 3]


@given(
    st.dictionaries(
        st.sampled_from(CHOICES), st.lists(st.text(min_size=1), min_size=1, unique=True), max_size=4
    ),
    st.dictionaries(
        st.sampled_from(NUMBERS),
        st.tuples(st.floats(1e-3, 1e3), st.floats(1e4, 1e12)),
        max_size=2,
    ),
)
def test_a_brush_is_read_as_it_was_written(words, ranges):
    brush = Brush({name: tuple(few) for name, few in words.items()}, ranges)
    text = brush.to_text()
    found = read_brush(text, CHOICES, NUMBERS)
    assert found.words == brush.words
    assert found.ranges.keys() == ranges.keys()
    for name, ends in ranges.items():
        assert found.ranges[name] == pytest.approx(ends, rel=1e-4)
    if 0 < len(text) <= 2000:
        assert re.fullmatch(PATTERN, text)


def test_a_rule_can_be_taken_away():
    brush = read_brush("stages.count:2;error:0.1~0.2", CHOICES, NUMBERS)
    assert brush.without("error").to_text() == "stages.count:2"
    assert not brush.without("error").without("stages.count")


def test_words_are_those_of_people():
    assert column_words(TABLE["residual"]).tolist() == ["yes", "no", "yes", MISSING]
    assert column_words(TABLE["5x5.reduce"]).tolist() == ["16", MISSING, "32", MISSING]
