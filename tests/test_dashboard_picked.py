"""What the dashboard says that a trial is: its standing, the picks, the best under a budget."""

import pytest
from dashboard_calls import Page, words
from synthetic_runs import make_run

from nas.analysis.picks import resolve_pick
from nas.analysis.tables import picks_table, trials_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=24)


def title(run, number, more=""):
    """The words of the head of the architecture view."""
    page = Page([run], f"/architecture?run=first&trial={number}{more}")
    return words(page.part("architecture-title.children"))


def test_the_picks_are_named_where_a_trial_is_shown(run):
    picks = picks_table(run.trials, run.settings.objectives)
    assert len(picks) == 3
    for number, own in picks.groupby("number"):
        said = title(run, number)
        assert "on the front" in said
        for name in ("cheapest", "knee", "best"):
            assert (f"is-{name}" in said) == (name in set(own["pick"])), (number, name)


def test_a_trial_off_the_front_is_no_pick(run):
    table = trials_table(run.trials, run.settings.objectives)
    for standing, label in (("dominated", "dominated"), ("stopped", "stopped early")):
        number = int(table.loc[table["standing"] == standing, "number"].iloc[0])
        said = title(run, number, "&budget=1")
        assert label in said
        assert not [name for name in ("front", "knee", "best", "budget") if f"is-{name}" in said]


@pytest.mark.parametrize(("x", "label"), [("macs", "MACs"), ("params", "parameters")])
def test_the_best_under_the_budget_of_the_address_says_so(run, x, label):
    budget = int(run.trials[x].median())
    best = resolve_pick(run.trials, run.settings.objectives, f"{x}<={budget}")
    said = title(run, best, f"&x={x}&budget={budget}")
    assert "best under" in said
    assert label in said.partition("best under")[2]
    assert "best under" not in title(run, best), "without a budget there is none to be under"
    other = next(number for number in run.trials["number"] if number != best)
    assert "best under" not in title(run, other, f"&x={x}&budget={budget}")
