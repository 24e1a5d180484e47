"""Clouds of many trials: what is left out, what never is, and how the figure is dressed."""

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import CURVES, OBJECTIVES, TRIALS, M

from nas.analysis.cloud import thinned_table
from nas.analysis.tables import front_table, trials_table
from nas.dashboard.cloud_figure import (
    MANY,
    cloud_figure,
    default_budget,
    drawn_words,
    dressed,
)


def large_table(count):
    rng = np.random.default_rng(0)
    trials = pd.concat([TRIALS.head(1)] * count, ignore_index=True)
    macs = np.exp(rng.uniform(np.log(1e6), np.log(1e9), count)).astype(int)
    error = 0.1 + 0.4 * (macs / 1e6) ** -0.3 * np.exp(np.abs(rng.normal(0, 0.3, count)))
    state = np.where(np.arange(count) % 4 == 3, "pruned", "complete")
    trials = trials.assign(
        number=np.arange(count),
        macs=macs,
        state=state,
        error=np.where(state == "complete", error, np.nan),
        origin=["seed:googlenet" if number == 17 else "sampler:x" for number in range(count)],
    )
    curves = pd.DataFrame({"number": np.arange(count), "epoch": 1, "error": error})
    return trials_table(trials, OBJECTIVES, curves)


@pytest.fixture(scope="module")
def table():
    return large_table(6000)


@pytest.fixture(scope="module")
def few():
    return trials_table(TRIALS, OBJECTIVES, CURVES)


def drawn(table, **more):
    return cloud_figure(
        thinned_table(table, "macs"), OBJECTIVES, x="macs", log_x=True, theme="light", **more
    )


def test_a_small_run_is_drawn_whole(few):
    shown = thinned_table(few, "macs")
    assert shown.drop(columns="of").equals(few)
    assert drawn_words(len(few), len(shown)) == ""


def test_the_front_and_presets_are_never_thinned(table):
    shown = thinned_table(table, "macs", limit=300)
    front = set(table.loc[table["standing"] == "front", "number"])
    assert front <= set(shown["number"])
    assert 17 in set(shown["number"])
    counts = shown["standing"].value_counts()
    assert counts["dominated"] <= 301
    assert counts["stopped"] <= 300
    assert counts["dominated"] > 100, "no more is dropped than must be"
    of = table["standing"].value_counts()
    assert (shown["of"] == shown["standing"].map(of)).all()
    words = drawn_words(len(table), len(shown))
    assert f"{len(shown):,} of 6,000 trials are drawn" in words


def test_what_is_thinned_lies_near_what_is_drawn(table):
    shown = thinned_table(table, "macs", limit=300)
    part, kept = (frame[frame["standing"] == "dominated"] for frame in (table, shown))
    places = np.column_stack([np.log10(kept["macs"]), 8 * kept["shown_error"]])
    for row in part.sample(200, random_state=0).to_dict("records"):
        place = [np.log10(row["macs"]), 8 * row["shown_error"]]
        assert np.abs(places - place).max(axis=1).min() < 0.3


def test_marks_stay_where_they_are_while_trials_come(table):
    shown = thinned_table(table.head(5000), "macs", limit=10_000)
    later = thinned_table(table, "macs", limit=10_000)
    assert set(shown["number"]) <= set(later["number"])


def test_large_clouds_go_to_the_graphics_card_and_say_their_counts(table):
    shown = thinned_table(table, "macs", limit=2000)
    figure = cloud_figure(shown, OBJECTIVES, x="macs", log_x=True, theme="light")
    traces = {trace["uid"]: trace for trace in figure["data"]}
    cloud = traces["dominated"]
    number, of = len(cloud["x"]), (table["standing"] == "dominated").sum()
    assert MANY < number <= 2000 < of
    assert cloud["type"] == "scattergl"
    assert cloud["name"] == f"dominated ({number:,} of {of:,})"
    assert traces["stopped"]["name"] == "stopped (1,500)"
    assert traces["front"]["type"] == "scatter"
    assert traces["front"]["name"] == f"front ({len(traces['front']['x'])})"


def test_each_standing_has_a_shape_of_its_own(few):
    symbols = {
        trace["uid"]: trace["marker"]["symbol"]
        for trace in drawn(few)["data"]
        if trace["uid"] in ("front", "dominated", "stopped", "failed", "running")
    }
    sizes = {trace["uid"]: trace["marker"]["size"] for trace in drawn(few)["data"][1:6]}
    assert len(symbols) == 5
    assert symbols["stopped"] == "circle-open", "hollow"
    assert len({(symbol, sizes[name]) for name, symbol in symbols.items()}) == 5


def test_dressing_a_shared_figure_leaves_it_as_it_is(few):
    figure = drawn(few)
    before = repr(figure)
    one = dressed(figure, theme="light", budget=12 * M, brushed={2, 4})
    assert repr(figure) == before
    line = one["layout"]["shapes"][0]
    assert (line["x0"], line["x1"], line["y0"], line["y1"]) == (12 * M, 12 * M, 0, 1)
    assert line["label"]["text"] == "budget 12M"
    front = next(trace for trace in one["data"] if trace["uid"] == "front")
    chosen = [front["customdata"][index] for index in front["selectedpoints"]]
    assert sorted(chosen) == [2, 4]


def test_without_a_budget_there_is_no_line(few):
    assert dressed(drawn(few), theme="dark", budget=None)["layout"]["shapes"] == []


def test_the_first_budget_is_between_the_knee_and_the_next_of_the_front(few):
    front = front_table(TRIALS, OBJECTIVES)
    assert front.loc[front["is_knee"], "macs"].tolist() == [10 * M]
    assert default_budget(front, "macs") == 12 * M
    assert default_budget(front.head(0), "macs") is None
    for dearer, expected in ((1004, 1002), (1001, 1000), (None, 1200)):
        costs = [500, 1000] if dearer is None else [500, 1000, dearer]
        few = pd.DataFrame({"macs": costs, "is_knee": [cost == 1000 for cost in costs]})
        assert default_budget(few, "macs") == expected
