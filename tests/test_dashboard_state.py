"""What an address means: only what exists, whatever it holds."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cost import COSTS
from nas.dashboard.state import PARAMETERS, VIEWS, State, declare, read_state

RUNS = ("first", "second run & more", '"><script>alert(1)</script>')


@given(
    view=st.sampled_from(list(VIEWS)),
    run=st.sampled_from(RUNS),
    trial=st.none() | st.integers(0, 10**9 - 1),
    x=st.sampled_from(COSTS),
    scale=st.sampled_from(["log", "linear"]),
    budget=st.none() | st.integers(1, 10**15 - 1),
)
def test_an_address_brings_back_its_state(view, run, trial, x, scale, budget):
    state = State(view, run, trial, x, scale, budget)
    path, _, search = state.href().partition("?")
    assert read_state(path, f"?{search}", RUNS) == state


@pytest.mark.parametrize(
    "search", [None, 7, [], "?" + "a" * 10_000, "?" + "a=1&" * 900, "?%ff=%00"]
)
@pytest.mark.parametrize("path", [None, 3, "/../../etc/passwd", "/front/../x", "//evil.example"])
def test_what_is_no_address_is_the_default(path, search):
    assert read_state(path, search, RUNS) == State("front", "first")


@pytest.mark.parametrize(
    "search",
    [
        "?run=../../etc/passwd&trial=-1&x=error&scale=LOG&budget=1e9",
        "?run=third&trial=1.5&x=macs'&scale=&budget=-4",
        "?trial=99999999999&budget=9999999999999999999999&x=__class__",
        "?trial=%D9%A3&budget=%D9%A3",  # a digit, but not one of ours
        "?unknown=1&first=2",
    ],
)
def test_values_that_do_not_exist_are_dropped(search):
    assert read_state("/front", search, RUNS) == State("front", "first")


@given(st.text(string.printable, max_size=60), st.text(string.printable, max_size=60))
def test_any_text_gives_a_state_of_what_exists(path, search):
    state = read_state(path, search, RUNS)
    assert state.view in VIEWS
    assert state.run in RUNS
    assert state.x in COSTS
    assert set(state.more) <= set(PARAMETERS)


def test_views_declare_what_else_an_address_carries(monkeypatch):
    monkeypatch.setattr("nas.dashboard.state.PARAMETERS", {})
    declare("tests_only", "small|large")
    state = read_state("/choices", "?tests_only=small", RUNS)
    assert state.more == {"tests_only": "small"}
    assert read_state("/choices", "?tests_only=smaller", RUNS).more == {}
    assert state.href() == "/choices?run=first&tests_only=small"


def test_without_a_run_there_is_none():
    assert read_state("/front", "?run=first", ()).run == ""
