"""Progress, choices, comparison and trials of every kind of run: something sensible is shown."""

import json

import pytest
from dashboard_calls import Page, words
from synthetic_runs import make_run

from nas.records import Outcome

VIEWS = ("progress", "choices", "compare", "trials")
NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def failing(number, error, curve):
    return Outcome("failed", epochs=1, train_seconds=2.0, reason=f"the loss is NaN {NASTY}")


def running(number, error, curve):
    return Outcome("running")


KINDS = {
    "none": {"trials": 0},
    "failures": {"trials": 5, "outcome": failing},
    "running": {"trials": 3, "outcome": running},
    "one-trial": {"trials": 1},
    "one-objective": {"trials": 26, "objectives": ("error",)},
    "three-objectives": {"trials": 26, "objectives": ("error", "macs", "params")},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    return {kind: make_run(results, kind, **more) for kind, more in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers_for_every_kind_of_run(runs, view, kind):
    page = Page([runs[kind]], f"/{view}?run={kind}", theme="dark" if len(kind) % 2 else "light")
    answered = 0
    for key in page.outputs(view):
        asked = {"trials_grid__getRowsRequest": {"startRow": 0, "endRow": 100}}
        answer = page.ask(key.strip(".").split("...")[0], **asked)
        answered += answer is not None
        # NaN is no JSON: a browser would refuse the answer.
        json.dumps(answer, allow_nan=False)
    assert answered >= 2


@pytest.mark.parametrize(
    ("view", "kind", "said"),
    [
        ("progress", "none", "No trial has ended yet."),
        ("progress", "none", "Nothing has been trained yet."),
        ("progress", "running", "interrupted while these ran; a resumed one runs them again."),
        ("trials", "running", "unfinished 3"),
        ("progress", "failures", "5 failed"),
        ("choices", "none", "Needs 20 complete trials to say anything; there are 0."),
        ("choices", "none", "No trial has an error yet."),
        ("choices", "failures", "No trial is complete yet."),
        ("compare", "none", "No run has a front yet."),
        ("compare", "one-trial", "Only this run is compared"),
        ("trials", "failures", "failed 5"),
    ],
)
def test_what_is_not_there_is_said(runs, view, kind, said):
    assert said in Page([runs[kind]], f"/{view}").all_words(view)


@pytest.mark.parametrize("view", VIEWS)
def test_other_views_are_not_answered_for(runs, view):
    page = Page([runs["one-trial"]], "/front")
    for key in page.outputs(view):
        if "brush.data" not in key and "choices-rule" not in key:
            assert page.ask(key.strip(".").split("...")[0]) is None


def test_three_objectives_and_one_have_a_front_each(runs):
    for kind, least in (("one-objective", 1), ("three-objectives", 2)):
        page = Page([runs[kind]], f"/trials?run={kind}&standing=front")
        answer = page.part(
            "trials-grid.getRowsResponse",
            trials_grid__getRowsRequest={"startRow": 0, "endRow": 100},
        )
        assert answer["rowCount"] >= least


def test_text_of_a_run_is_text_everywhere(runs):
    """Components carry it as text, which Dash escapes; figures escape it by themselves."""
    page = Page([runs["failures"]], "/trials")
    rows = page.part(
        "trials-grid.getRowsResponse", trials_grid__getRowsRequest={"startRow": 0, "endRow": 9}
    )["rowData"]
    assert NASTY in rows[0]["reason"]
    for view in VIEWS:
        page = Page([runs["failures"]], f"/{view}")
        for key in page.outputs(view):
            answer = page.ask(key.strip(".").split("...")[0]) or {}
            figures = [one["figure"] for one in answer.values() if "figure" in one]
            assert "<script" not in words(figures)
            assert "dangerously" not in json.dumps(answer).lower()
