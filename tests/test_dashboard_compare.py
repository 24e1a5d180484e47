"""Which runs are compared, in which groups, and what the view says of them."""

import pytest
from dashboard_calls import Page, words
from synthetic_runs import TASK, make_run

from nas.analysis.comparison import indicators_table
from nas.dashboard.comparable import comparable_runs
from nas.task import Proxy


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    other_task = TASK.model_copy(update={"proxy": Proxy(width=0.5, images=4096, epochs=8)})
    return {
        "a": make_run(results, "a", seed=1),
        "b": make_run(results, "b", seed=2),
        "c, d": make_run(results, "c, d", seed=3, sampler="tpe"),
        "other task": make_run(results, "other task", seed=4, trials=4, task=other_task),
        "one": make_run(results, "one", seed=5, trials=4, objectives=("error",)),
    }


@pytest.fixture
def page(runs):
    return Page(list(runs.values()), "/compare?run=b")


def settings(runs, *names):
    return {name: runs[name].settings for name in names}


def test_runs_that_measure_something_else_are_left_out(runs):
    chosen = comparable_runs(settings(runs, "a", "other task", "one", "b"))
    assert chosen.names == ("a", "b")
    assert chosen.left_out == {
        "other task": "another task or proxy than that of a",
        "one": "other objectives than that of a",
    }


def test_the_open_run_comes_first_and_those_alike_come_with_it(page):
    drawn = page.part("compare-fronts.figure")
    assert [trace["name"] for trace in drawn["data"]] == ["b", "a", "c, d"]
    # Whose trial a mark is, for a click.
    assert all(trace["customdata"][0][1] == trace["name"] for trace in drawn["data"])
    assert not page.part("compare-left-out.children")


def test_the_address_says_which_runs(runs):
    page = Page(list(runs.values()), "/compare?run=a&with=c%252C%2520d,one,nothing")
    drawn = page.part("compare-fronts.figure")
    assert [trace["name"] for trace in drawn["data"]] == ["a", "c, d"]
    assert "one is left out: other objectives" in words(page.part("compare-left-out.children"))


def test_repeats_become_bands(runs):
    page = Page(list(runs.values()), "/compare?run=a&spread=groups")
    names = [trace["name"] for trace in page.part("compare-fronts.figure")["data"]]
    assert any(name.startswith("nsga2 (1 of 2 runs)") for name in names)
    assert any(name.startswith("tpe (one run)") for name in names)
    assert "band" in page.part("compare-fronts-note.children")


def test_the_table_has_the_indicators(page, runs):
    names = ("b", "a", "c, d")
    settings = runs["b"].settings
    table = indicators_table(
        {name: runs[name].trials for name in names}, settings.objectives, settings.reference
    )
    said = words(page.part("compare-indicators.children"))
    for row in table.to_dict("records"):
        assert f"{row['hypervolume']:.3f}" in said
        assert f"{100 * row['hypervolume_ratio']:.1f} %" in said
        assert f"{row['epsilon_multiplicative']:.3f}" in said


def test_coverage_picks_and_significance_are_told(page):
    assert "covers" in words(page.part("compare-pairs.children"))
    picks = words(page.part("compare-picks.children"))
    assert "knee" in picks
    assert "/architecture?run=a&trial=" in picks
    assert "too few runs" in words(page.part("compare-significance.children"))


def test_a_click_tells_whose_trial_it_is(page, runs):
    drawn = page.part("compare-fronts.figure")
    number, name = drawn["data"][1]["customdata"][0]
    click = {"points": [{"customdata": [number, name]}]}
    said = words(page.part("compare-chosen.children", compare_fronts__clickData=click))
    assert f"Trial {number} of a" in said
    assert f"/architecture?run=a&trial={number}" in said


@pytest.mark.parametrize(
    "click",
    [None, {}, {"points": []}, {"points": [{"customdata": [1]}]}, "x",
     {"points": [{"customdata": [1, "../etc"]}]}, {"points": [{"customdata": ["x", "a"]}]},
     {"points": [{"customdata": [10**9, "a"]}]}],
)  # fmt: skip
def test_a_click_on_nothing_changes_nothing(page, click):
    assert page.ask("compare-chosen.children", compare_fronts__clickData=click) is None
