"""Importances, parallel coordinates with a brush, and structure, of a real run on disk."""

import pandas as pd
import pytest
from dashboard_calls import Page, words
from synthetic_runs import make_run

from nas.analysis.parallel import dimensions
from nas.analysis.tables import trials_table
from nas.dashboard.brush import Brush, read_brush
from nas.dashboard.parallel_brush import HALF, axis_words, brushed_figure, drawn_lines
from nas.dashboard.passing import NUMBERS, rule_words
from nas.dashboard.views import choices


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=40)


@pytest.fixture
def page(run):
    return Page([run], "/choices")


TABLE = pd.DataFrame(
    {
        "number": [0, 1, 2, 3],
        "standing": ["front", "dominated", "stopped", "failed"],
        "error": [0.1, 0.2, 0.3, None],
        "macs": [1e6, 1e7, 5e7, 1e7],
        "kind": ["max", "conv", "max", "conv"],
        "width": [16.0, None, 32.0, 64.0],
    }
)


def test_trials_with_an_error_are_lines_and_the_front_lies_on_top():
    lines = drawn_lines(TABLE)
    assert lines["number"].tolist() == [1, 2, 0]
    many = pd.concat([TABLE] * 50, ignore_index=True)
    thinned = drawn_lines(many, limit=60)
    assert (thinned["standing"] == "front").sum() == 50
    assert len(thinned) == 60


def test_an_axis_means_the_words_of_its_choice():
    lines = drawn_lines(TABLE)
    axes = {axis.name: axis for axis in dimensions(lines)}
    assert axis_words(lines, axes["kind"]) == {1: "conv", 2: "max"}
    assert axis_words(lines, axes["width"]) == {0: "not there", 1: "16", 2: "32"}
    assert axis_words(lines, axes["error"]) is None


def drawn(brush):
    figure = brushed_figure(drawn_lines(TABLE), brush)
    names = [axis["name"] for axis in figure.layout.meta["axes"]]
    return dict(zip(names, figure.data[0].dimensions, strict=True))


def test_a_brush_stands_on_its_axes():
    axes = drawn(Brush({"kind": ("max",), "width": ("not there", "16")}, {"macs": (1e6, 1e7)}))
    assert list(map(list, axes["kind"].constraintrange)) == [[2 - HALF, 2 + HALF]]
    # Neighbours are one.
    assert list(map(list, axes["width"].constraintrange)) == [[0 - HALF, 1 + HALF]]
    assert list(axes["macs"].constraintrange) == [6.0, 7.0]
    assert axes["error"].constraintrange is None


def test_the_brush_of_a_cost_may_end_between_its_labels():
    axes = drawn(Brush({}, {}))
    labels = [text for text in axes["macs"].ticktext if text.strip()]
    assert len(axes["macs"].tickvals) > len(labels) > 0
    assert len(set(axes["macs"].ticktext)) == len(axes["macs"].ticktext)
    assert axes["error"].tickvals is None  # anywhere


def test_the_brush_in_the_address_says_which_trials_pass(run):
    page = Page([run], "/choices?brush=error:0.1~0.3;residual:yes")
    data = page.part("brush.data")
    table = trials_table(run.trials, run.settings.objectives, run.curves)
    errors = table.set_index("number")["shown_error"]
    residual = run.choices.set_index("number")["residual"]
    wanted = [n for n in errors.index if 0.1 <= errors[n] <= 0.3 and residual.get(n)]
    assert data == {"run": "first", "numbers": wanted}
    assert 0 < len(wanted) < len(table)
    said = words(page.part("choices-passing.children"))
    assert f"{len(wanted)} of 40 trials" in said
    assert "residual: yes" in said


def test_a_brush_without_meaning_is_none(run):
    for text in ("", "nothing:1", "error:x~y", "%00"):
        page = Page([run], f"/choices?brush={text}")
        assert not page.ask("brush.data")
        assert page.part("choices-passing.children") is None


def test_taking_a_brush_away_empties_it(run):
    held = {"run": "first", "numbers": [1]}
    assert Page([run], "/choices").part("brush.data", brush__data=held) is None


def test_the_asked_axes_are_drawn(run):
    page = Page([run], "/choices?axes=residual,stages.count,nothing")
    figure = page.part("choices-parallel.figure")
    names = [axis["name"] for axis in figure["layout"]["meta"]["axes"]]
    assert names == ["residual", "stages.count", "macs", "error"]


def test_without_a_wish_the_most_important_choices_have_axes(page):
    figure = page.part("choices-parallel.figure")
    names = [axis["name"] for axis in figure["layout"]["meta"]["axes"]]
    assert len(names) == choices.AXES + 2
    assert names[-2:] == ["macs", "error"]


def test_importances_say_of_how_much_they_are(page, run):
    complete = int((run.trials["state"] == "complete").sum())
    assert f"Of {complete} complete trials" in page.part("choices-importance-note.children")
    pooled = page.part("choices-importance.figure", choices_importance_by__value="kind")
    apart = page.part("choices-importance.figure", choices_importance_by__value="place")
    assert any("*" in name for name in pooled["layout"]["yaxis"]["ticktext"])
    assert not any("*" in name for name in apart["layout"]["yaxis"]["ticktext"])


def test_the_front_has_its_reductions_and_branches(page, run):
    table = trials_table(run.trials, run.settings.objectives)
    front = table.loc[table["standing"] == "front", "number"]
    figure = page.part("choices-reductions.figure")
    assert len(figure["layout"]["yaxis"]["ticktext"]) == len(front)
    assert "1x1" in words(page.part("choices-survival.figure"))
    assert f"of {len(front)} networks" in page.part("choices-reductions-note.children")


def test_values_are_offered_for_a_rule(page):
    answer = page.ask("choices-rule-words.options", choices_rule_name__value="stages.count")
    assert answer["choices-rule-words"]["options"] == ["2", "3", "4"]
    assert answer["choices-rule-range"]["hidden"] is True
    answer = page.ask("choices-rule-words.options", choices_rule_name__value="macs")
    assert answer["choices-rule-range"]["hidden"] is False
    answer = page.ask("choices-rule-words.options", choices_rule_name__value="../x")
    assert answer["choices-rule-words"]["options"] == []


def test_rules_are_told_in_words():
    brush = read_brush("residual:yes,no;macs:1e6~5e7;error:0.1~0.2", ["residual"], NUMBERS)
    assert rule_words(brush) == {
        "residual": "residual: yes or no",
        "macs": "MACs: 1M to 50M",
        "error": "error: 10.0\N{NO-BREAK SPACE}% to 20.0\N{NO-BREAK SPACE}%",
    }
