"""Sort and filter models of the grid, against rows picked by hand."""

import numpy as np
import pandas as pd
import pytest

from nas.dashboard.grid_query import MAX_CONDITIONS, queried_rows

FRAME = pd.DataFrame(
    {
        "number": [0, 1, 2, 3, 4],
        "error": [0.3, np.nan, 0.2, 0.2, 0.5],
        "reason": ["", "loss is NaN", "Dominated at epoch 1", "", "a.b(c"],
        "reduce": ["none", 16, np.nan, 128, 24],
        "finished": pd.to_datetime(
            ["2026-01-01T10", "2026-01-01T11", None, "2026-01-02T00", "2026-01-03T00"]
        ),
        "reused": ["yes", "no", "no", "no", "no"],
    }
)


def rows(sort=None, **filters):
    return queried_rows(FRAME, sort, filters or None).tolist()


def by(name, direction="asc"):
    return {"colId": name, "sort": direction}


def test_without_a_model_all_rows_stand_as_they_are():
    assert rows() == [0, 1, 2, 3, 4]
    assert queried_rows(FRAME, [], {}).tolist() == [0, 1, 2, 3, 4]
    assert queried_rows(FRAME.iloc[:0], [by("error")], {"error": LESS}).tolist() == []


def test_missing_values_come_last_both_ways_and_ties_keep_their_order():
    assert rows([by("error")]) == [2, 3, 0, 4, 1]
    assert rows([by("error", "desc")]) == [4, 0, 2, 3, 1]


def test_later_keys_settle_ties_of_earlier_ones():
    assert rows([by("error"), by("number", "desc")]) == [3, 2, 0, 4, 1]


def test_a_mixed_column_sorts_numbers_by_value_before_words():
    assert rows([by("reduce")]) == [1, 4, 3, 0, 2]
    assert rows([by("reduce", "desc")]) == [0, 3, 4, 1, 2]


def test_times_and_texts_sort():
    assert rows([by("finished", "desc")]) == [4, 3, 1, 0, 2]
    assert rows([by("reason")]) == [0, 3, 4, 2, 1]


LESS = {"filterType": "number", "type": "lessThan", "filter": 0.3}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (LESS, [2, 3]),
        ({**LESS, "type": "lessThanOrEqual"}, [0, 2, 3]),
        ({**LESS, "type": "greaterThan"}, [4]),
        ({**LESS, "type": "greaterThanOrEqual"}, [0, 4]),
        ({**LESS, "type": "equals"}, [0]),
        ({**LESS, "type": "notEqual"}, [2, 3, 4]),
        ({**LESS, "type": "inRange", "filter": 0.2, "filterTo": 0.3}, [0, 2, 3]),
        ({"filterType": "number", "type": "blank"}, [1]),
        ({"filterType": "number", "type": "notBlank"}, [0, 2, 3, 4]),
        (
            {"filterType": "number", "operator": "OR", "conditions": [
                LESS, {**LESS, "type": "greaterThan"}]},
            [2, 3, 4],
        ),
        (
            {"filterType": "number", "operator": "AND", "conditions": [
                LESS, {**LESS, "type": "greaterThan"}]},
            [],
        ),
    ],
)  # fmt: skip
def test_numbers_are_filtered(model, expected):
    assert rows(error=model) == expected


@pytest.mark.parametrize(
    ("kind", "word", "expected"),
    [
        ("contains", "DOMINATED", [2]),
        ("notContains", "dominated", [1, 4]),
        ("equals", "loss is nan", [1]),
        ("notEqual", "loss is nan", [2, 4]),
        ("startsWith", "dom", [2]),
        ("endsWith", "1", [2]),
        ("contains", "a.b(", [4]),
        ("contains", ".*", []),
    ],
)
def test_texts_are_filtered_as_plain_words(kind, word, expected):
    assert rows(reason={"filterType": "text", "type": kind, "filter": word}) == expected


def test_an_empty_text_is_blank():
    assert rows(reason={"filterType": "text", "type": "blank"}) == [0, 3]
    assert rows(reason={"filterType": "text", "type": "notBlank"}) == [1, 2, 4]


def test_a_mixed_column_is_filtered_by_number_and_by_word():
    assert rows(reduce={"filterType": "number", "type": "lessThan", "filter": 100}) == [1, 4]
    assert rows(reduce={"filterType": "text", "type": "equals", "filter": "none"}) == [0]


def test_times_are_filtered():
    day = {"filterType": "date", "type": "inRange", "dateFrom": "2026-01-01 10:30:00"}
    assert rows(finished={**day, "dateTo": "2026-01-02 00:00:00"}) == [1, 3]
    assert rows(finished={**day, "type": "lessThan"}) == [0]


def test_filters_of_several_columns_hold_together_and_then_the_rest_is_sorted():
    yes = {"filterType": "text", "type": "equals", "filter": "no"}
    assert rows([by("number", "desc")], reused=yes, error=LESS) == [3, 2]


@pytest.mark.parametrize(
    "model",
    [
        "x",
        {"nothing": LESS},
        {"error": "x"},
        {"error": {**LESS, "type": "explode"}},
        {"error": {**LESS, "filterType": "script"}},
        {"error": {**LESS, "filter": "0.3"}},
        {"error": {**LESS, "filter": float("nan")}},
        {"error": {**LESS, "filter": True}},
        {"error": {"operator": "XOR", "conditions": [LESS]}},
        {"error": {"operator": "AND", "conditions": []}},
        {"error": {"operator": "AND", "conditions": ["x"]}},
        {"error": {"operator": "AND", "conditions": [LESS] * (MAX_CONDITIONS + 1)}},
        {"reason": {"filterType": "text", "type": "contains", "filter": "x" * 2000}},
        {"reason": {"filterType": "text", "type": "contains", "filter": 3}},
        {"finished": {"filterType": "date", "type": "equals", "dateFrom": "soon"}},
        {"finished": {"filterType": "date", "type": "equals"}},
        {"finished": {"filterType": "date", "type": "equals", "dateFrom": "NaT"}},
        {f"c{i}": LESS for i in range(MAX_CONDITIONS + 1)},
    ],
)
def test_what_is_no_filter_model_is_refused(model):
    with pytest.raises(ValueError, match=r"filter|column|condition"):
        queried_rows(FRAME, None, model)


@pytest.mark.parametrize(
    "model", ["x", ["x"], [by("nothing")], [by("error", "up")], [{"sort": "asc"}], [by(["error"])]]
)
def test_what_is_no_sort_model_is_refused(model):
    with pytest.raises(ValueError, match=r"sort|column"):
        queried_rows(FRAME, model, None)
