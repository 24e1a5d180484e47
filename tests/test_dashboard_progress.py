"""What the view of progress says of a run, against what was written into it."""

import json

import pytest
from dashboard_calls import Page, figure_numbers, words
from plotly.io.json import to_json_plotly
from synthetic_runs import make_run

from nas.analysis.progress import pace_table
from nas.analysis.progress_figures import history_figure, pace_figure, steps_table, time_unit
from nas.analysis.tables import hypervolume_table
from nas.dashboard.views.progress import rejections_part
from nas.records import Outcome


def outcome(number, error, curve):
    if number >= 20:
        return Outcome("running")
    if number % 5 == 4:
        return Outcome("pruned", epochs=2, train_seconds=5.0, reason="dominated at epoch 2")
    return Outcome("complete", error, epochs=8, train_seconds=20.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=23, outcome=outcome)


@pytest.fixture
def page(run):
    return Page([run], "/progress")


def test_the_facts_are_those_of_the_run(page):
    said = words(page.part("progress-facts.children"))
    assert "trials ended" in said
    assert "16 complete, 4 stopped early" in said
    assert "rejected" in said
    assert "38" in said  # 31 + 7, as written


def test_the_clock_asks_again_for_what_is_not_shown_yet(page):
    """A page drops an answer that is overtaken by the clock's next question."""
    asked = {"changed": ["tick.n_intervals"]}
    assert "trials ended" in words(page.part("progress-facts.children", **asked))
    assert page.ask("progress-facts.children", progress_facts__children=["shown"], **asked) is None
    assert page.ask("progress-facts.children", progress_facts__children=["shown"]) is not None


def test_a_view_that_is_overtaken_by_news_is_shown_all_the_same(page):
    news = {"changed": ["version.data"]}
    for shown in ("front", "", None):
        answer = page.ask("view.children", shown_view__data=shown, **news)
        assert answer["shown-view"]["data"] == "progress"
    assert page.ask("view.children", shown_view__data="progress", **news) is None


def test_the_limit_is_measured_in_trained_trials(page):
    said = words(page.part("progress-limits.children"))
    assert "20 of 64 trained trials" in said
    assert "left" not in said  # nothing drives the search: nothing is coming nearer


def test_running_trials_stand_there_with_a_link_to_their_network(page):
    answer = page.part("progress-running.children")
    said = words(answer)
    assert all(f"trial {number}" in said for number in (20, 21, 22))
    assert "/architecture?run=first&trial=20" in said
    assert "interrupted" in said


def test_the_history_ends_with_the_runs_hypervolume_and_knows_its_trials(page, run):
    settings = run.settings
    table = hypervolume_table(run.trials, settings.objectives, settings.reference)
    drawn = page.part("progress-hypervolume.figure")
    assert drawn["data"][0]["y"][-1] == pytest.approx(table["hypervolume"].iloc[-1])
    assert figure_numbers(drawn) <= set(table["number"])
    assert drawn["layout"]["uirevision"] == "first trials"


def test_against_device_time_the_axis_is_time(run):
    page = Page([run], "/progress?spent=device")
    drawn = page.part("progress-hypervolume.figure")
    # 16 times 20 s and 4 times 5 s are 340 s: said in minutes.
    assert drawn["data"][0]["x"][-1] == pytest.approx(340 / 60)
    assert "minutes" in drawn["layout"]["xaxis"]["title"]["text"]


def test_the_accounts_have_the_device_time_and_the_reasons(page):
    said = words(page.part("progress-spend.children"))
    assert "5m 20s" in said  # 16 complete trials of 20 s
    assert "94 %" in said
    said = words(page.part("progress-rejections.children"))
    assert "macs 412M is over the budget of 300M" in said
    assert "31" in said


def test_reasons_are_put_in_words(run):
    counts = {"macs": 1234, "repeat": 2, "<b>": 1}
    said = words(json.loads(to_json_plotly(rejections_part(counts, (), run.settings))))
    for expected in ("over the budget of 300M MACs", "1,234", "was proposed before", "<b>"):
        assert expected in said


def test_a_staircase_without_its_level_stretches_is_the_same_staircase(run):
    settings = run.settings
    table = hypervolume_table(run.trials, settings.objectives, settings.reference)
    steps = steps_table(table)
    assert len(steps) < len(table)
    assert steps["trials"].iloc[-1] == table["trials"].iloc[-1]
    for trials, volume in zip(table["trials"], table["hypervolume"], strict=True):
        assert steps.loc[steps["trials"] <= trials, "hypervolume"].iloc[-1] == volume


def test_figures_of_nothing_are_empty(run):
    none = run.trials.iloc[:0]
    assert len(pace_figure(pace_table(none)).data) == 0
    empty = hypervolume_table(none, run.settings.objectives, run.settings.reference)
    assert list(history_figure({"first": empty}, x="device_seconds").data[0].x or ()) == []


def test_the_pace_has_a_bar_for_each_way_to_end(run):
    figure = pace_figure(pace_table(run.trials), theme="dark")
    assert [trace.name for trace in figure.data] == ["complete (16)", "stopped early (4)"]
    patterns = [trace.marker.pattern.shape for trace in figure.data]
    assert len(set(patterns)) == len(patterns)  # not by colour alone


@pytest.mark.parametrize(
    ("seconds", "word"),
    [(0, "seconds"), (179, "seconds"), (180, "minutes"), (3 * 3600, "hours"), (9 * 86400, "days")],
)
def test_long_times_are_counted_in_long_units(seconds, word):
    assert time_unit(seconds)[1] == word
