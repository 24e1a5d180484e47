"""Front-based successive halving: its contract, and its ranks against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search.halving import NET, SHOWN, Halving

RUNGS = (1, 2, 4)
NAN = float("nan")
ERRORS = st.one_of(st.sampled_from([0.1, 0.2, 0.3, 0.5, NAN]), st.floats(0, 1))
COSTS = st.one_of(st.sampled_from([1e6, 2e6, 1e8]), st.floats(1e3, 1e9))


@st.composite
def stories(draw, errors=ERRORS, num_costs=None):
    """Trials with an error a rung and their costs, and the order in which they get on."""
    num_trials = draw(st.integers(1, 10))
    width = draw(st.integers(0, 3)) if num_costs is None else num_costs
    trials = [
        (draw(st.tuples(*[errors] * len(RUNGS))), draw(st.tuples(*[COSTS] * width)))
        for _ in range(num_trials)
    ]
    order = draw(st.lists(st.integers(0, num_trials - 1), max_size=20))
    return trials, order


def told(halving, story):
    """Report a story to the end; the reports as (number, epoch, error, costs), the decisions."""
    trials, order = story
    stopped, reports, decisions = set(), [], []
    for number in [*order, *list(range(len(trials))) * len(RUNGS)]:
        step = sum(1 for report in reports if report[0] == number)
        if step == len(halving.rungs) or number in stopped:
            continue
        errors, costs = trials[number]
        reports.append((number, halving.rungs[step], errors[step], costs))
        decisions.append(halving.report(*reports[-1]))
        if not decisions[-1].goes_on:
            stopped.add(number)
    return reports, decisions


def settled(story, **settings):
    """A fresh Halving for a story, and what comes of it."""
    halving = Halving(RUNGS, costs=["cost"] * len(story[0][0][1]), **settings)
    return *told(halving, story), halving


def share(halving, points):
    """Who goes on at the first rung, as a mask over (error, cost) points."""
    return np.array([halving.report(i, 1, e, [c]).goes_on for i, (e, c) in enumerate(points)])


def dominates(one, other):
    return (one <= other).all() and (one < other).any()


def brute_fronts(rows):
    fronts, left, front = np.full(len(rows), -1), list(range(len(rows))), 0
    while left:
        best = [i for i in left if not any(dominates(rows[j], rows[i]) for j in left)]
        fronts[best] = front
        left, front = [i for i in left if i not in best], front + 1
    return fronts


# ---------------------------------------------------------------------- for every story


@given(stories())
@settings(max_examples=30, deadline=None)
def test_the_same_reports_lead_to_the_same_decisions(story):
    assert settled(story)[1] == settled(story)[1]


@given(stories(), st.integers(0, 50), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_resumed_search_decides_as_one_that_ran_through(story, at, is_restored):
    reports, decisions, whole = settled(story)
    resumed = Halving(RUNGS, costs=["cost"] * len(story[0][0][1]))
    for report, decision in zip(reports[:at], decisions[:at], strict=True):
        if is_restored:
            resumed.restore(*report, goes_on=decision.goes_on)
        else:
            assert resumed.report(*report) == decision
    assert [resumed.report(*report) for report in reports[at:]] == decisions[at:]
    assert all(resumed.last_epoch(r[0]) == whole.last_epoch(r[0]) for r in reports)


@given(stories(), st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_ranks_are_those_of_brute_force(story, eta):
    reports, decisions, _ = settled(story, eta=eta, doubt=0, small_front=0)
    seen = {epoch: [] for epoch in RUNGS}
    for (number, epoch, error, costs), decision in zip(reports, decisions, strict=True):
        seen[epoch].append((number, np.array([error, *costs])))
        assert decision.seen == len(seen[epoch])
        if math.isnan(error):
            continue
        known = [(n, row) for n, row in seen[epoch] if not math.isnan(row[0])]
        fronts = brute_fronts([row for _, row in known])
        before = int((fronts < fronts[-1]).sum())
        own = int((fronts == fronts[-1]).sum())
        assert before < decision.rank <= before + own
        above = {n for n, row in known if dominates(row, known[-1][1])}
        assert set(decision.dominated_by) <= above
        assert len(decision.dominated_by) == min(len(above), SHOWN)
        if above and epoch != RUNGS[-1]:
            assert decision.goes_on == (decision.rank <= math.ceil(decision.seen / eta))


@given(stories(errors=st.floats(0, 1)), st.integers(2, 5), st.floats(0, 3), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_first_and_the_best_are_never_stopped(story, eta, doubt, small_front):
    reports, decisions, _ = settled(story, eta=eta, doubt=doubt, small_front=small_front)
    lowest = {}
    for (_, epoch, error, _), decision in zip(reports, decisions, strict=True):
        if error < lowest.get(epoch, math.inf):
            assert decision.goes_on
            assert decision.rank == 1
            lowest[epoch] = error


@given(stories(errors=st.floats(0, 1)))
@settings(max_examples=30, deadline=None)
def test_what_nothing_dominates_goes_on_while_the_front_is_small(story):
    for decision in settled(story, small_front=len(story[0]))[1]:
        assert decision.goes_on or decision.dominated_by


@given(stories(errors=st.floats(0, 1)))
@settings(max_examples=20, deadline=None)
def test_a_single_rung_lets_all_complete(story):
    halving = Halving([4], costs=["cost"] * len(story[0][0][1]))
    _, decisions = told(halving, story)
    assert len(decisions) == len(story[0])
    assert all(decision.goes_on for decision in decisions)


@given(stories(errors=st.floats(0, 1), num_costs=1), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_the_cheapest_goes_on_and_those_dearer_do_not_judge(story, eta):
    reports, decisions, _ = settled(story, eta=eta)
    cost_of = {number: costs[0] for number, _, _, costs in reports}
    cheapest = {}
    for (number, epoch, _, costs), decision in zip(reports, decisions, strict=True):
        assert all(cost_of[other] <= costs[0] for other in decision.dominated_by), number
        if costs[0] < cheapest.get(epoch, math.inf):
            cheapest[epoch] = costs[0]
            assert decision.goes_on
            assert not decision.dominated_by


# ---------------------------------------------------------------------- shares and spread


@pytest.mark.parametrize("eta", [2, 3, 4])
@pytest.mark.parametrize("num_costs", [0, 1, 2])
def test_the_share_tends_to_one_in_eta(eta, num_costs):
    generator = np.random.default_rng(eta)
    halving = Halving([1, 2], eta, doubt=0, small_front=0, costs=["cost"] * num_costs)
    rows = generator.uniform(size=(700, 1 + num_costs))
    goes_on = [halving.report(i, 1, r[0], r[1:] + 1).goes_on for i, r in enumerate(rows)]
    assert np.mean(goes_on[100:]) == pytest.approx(1 / eta, abs=0.07)


def on_one_front(places):
    """Points whose error falls by a tenth a decade; ``places`` are 0 (cheap) to 1 (dear)."""
    return [(0.9 - 0.3 * place, 10 ** (6 + 3 * place)) for place in places]


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_one_front_is_neither_kept_whole_nor_stopped_whole(eta):
    # Always into the middle of a gap: each newcomer is the last of the spread.
    halved = [int(f"{i:08b}"[::-1], 2) / 256 for i in range(200)]
    goes_on = share(Halving([1, 2], eta), on_one_front(halved))
    assert np.mean(goes_on) == pytest.approx(1 / eta, abs=0.05)
    kept = np.sort(np.array(halved)[goes_on])
    assert np.diff(kept).max() < 0.15


@pytest.mark.parametrize(("small_front", "last_goes_on"), [(0, False), (4, False), (5, True)])
def test_a_small_front_goes_on_whole(small_front, last_goes_on):
    points = on_one_front([0, 1, 0.5, 0.25, 0.75])
    goes_on = share(Halving([1, 2], 4, small_front=small_front), points)
    assert goes_on[-1] == last_goes_on
    assert goes_on.all() == last_goes_on


def test_a_crowd_at_the_cheap_end_does_not_take_the_seats():
    generator = np.random.default_rng(0)
    is_cheap = generator.uniform(size=300) < 0.8
    places = np.where(is_cheap, generator.uniform(0, 0.05, 300), generator.uniform(0, 1, 300))
    goes_on = share(Halving([1, 2], 4), on_one_front(places))
    assert goes_on[~is_cheap].mean() > 2 * goes_on[is_cheap].mean()


def test_costs_are_spread_in_decades():
    halving = Halving([1, 2])
    points = [(0.1, 1e9), (0.9, 1e3), (0.5, 1e6), (0.4, 5e8)]
    ranks = [halving.report(i, 1, error, [cost]).rank for i, (error, cost) in enumerate(points)]
    # On a linear axis 1e6 lies beside 1e3, and 5e8 would come third.
    assert ranks == [1, 2, 3, 4]


def test_a_front_larger_than_the_net_is_ranked_whole():
    places = np.random.default_rng(0).permutation(3 * NET) / (3 * NET)
    halving, decisions = Halving([1, 2]), []
    for number, (error, cost) in enumerate(on_one_front(places)):
        decisions.append(halving.report(number, 1, error, [cost]))
    assert all(1 <= decision.rank <= decision.seen for decision in decisions)
    assert max(decision.rank for decision in decisions) > NET
    assert [decisions[at].rank for at in (places.argmin(), places.argmax())] == [2, 1]


def test_of_equal_trials_the_earlier_come_first():
    halving = Halving([1, 2], 3, small_front=0)
    decisions = [halving.report(number, 1, 0.5, [1e6]) for number in range(30)]
    assert [decision.rank for decision in decisions] == list(range(1, 31))
    assert not any(decision.dominated_by for decision in decisions)
    assert sum(decision.goes_on for decision in decisions) == 10


# ---------------------------------------------------------------------- doubt


def improved(doubt):
    """Four trials, improved from rung 1 to 2 by 0.2, 0.2, 0.4, 0.4: a deviation of 0.1."""
    halving = Halving([1, 2], doubt=doubt, small_front=0)
    for number, (first, second) in enumerate([(0.5, 0.3), (0.6, 0.4), (0.7, 0.3), (0.8, 0.4)]):
        halving.restore(number, 1, first, [1e6], goes_on=True)
        halving.restore(number, 2, second, [1e6], goes_on=True)
    return halving


@pytest.mark.parametrize(
    ("doubt", "error", "dominated_by"),
    [(0, 0.51, (0,)), (1, 0.59, ()), (1, 0.61, (0,)), (2, 0.69, ()), (2, 0.71, (0,))],
)
def test_a_difference_within_the_doubt_does_not_dominate(doubt, error, dominated_by):
    assert improved(doubt).report(4, 1, error, [1e6]).dominated_by == dominated_by


def test_doubt_needs_improvements_and_diverged_ones_tell_nothing():
    halving = improved(1.0)
    halving.restore(4, 1, 0.5, [1e6], goes_on=True)
    assert not halving.report(4, 2, NAN, [1e6]).goes_on
    assert halving.report(5, 1, 0.61, [1e6]).dominated_by[:1] == (0,)
    fresh = Halving([1, 2])
    fresh.report(0, 1, 0.5, [1e6])
    assert fresh.report(1, 1, 0.5001, [1e6]).dominated_by == (0,)


# ---------------------------------------------------------------------- reasons


def test_reasons_are_lines_for_people():
    halving = Halving([1, 2], 2, doubt=0, small_front=0, costs=["MACs", "parameters"])
    costs = [[1e6, 1e4], [2e6, 2e4], [2e6, 2e4], [9e5, 9e3], [8e6, 8e4], [8e6, 8e4]]
    errors = [0.5, 0.3, 0.3, 0.8, 0.6, 0.2]
    reasons = [halving.report(n, 1, errors[n], costs[n]).reason for n in range(len(costs))]
    assert reasons == [
        "went on at epoch 1: rank 1 of 1, no trial dominates it",
        "went on at epoch 1: rank 1 of 2, no trial dominates it",
        "stopped at epoch 1: rank 3 of 3, no trial dominates it, "
        "but trials 1 and 0 of its front come first",
        "went on at epoch 1: rank 2 of 4, no trial dominates it",
        "stopped at epoch 1: rank 5 of 5, trials 0, 1 and 2 have lower error "
        "at lower MACs and parameters",
        "went on at epoch 1: rank 1 of 6, no trial dominates it",
    ]
    assert halving.report(0, 2, 0.4, costs[0]).reason.startswith("complete at epoch 2: rank 1 of 1")
    assert halving.report(6, 1, 0.9, [2e6, 9e5]).reason == (
        "stopped at epoch 1: rank 7 of 7, trials 1, 2, 3 and 1 more have lower error "
        "at no higher MACs and parameters"
    )


def test_a_reason_without_costs_names_errors_only():
    halving = Halving([1, 2], costs=())
    halving.report(7, 1, 0.2, [])
    assert halving.report(9, 1, 0.3, []).reason == (
        "stopped at epoch 1: rank 2 of 2, trial 7 has lower error"
    )


@pytest.mark.parametrize("error", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("rungs", [[1, 2], [1]])
def test_a_diverged_trial_is_stopped_and_ranks_last(rungs, error):
    halving = Halving(rungs)
    first = halving.report(0, 1, error, [1e6])
    assert (first.goes_on, first.rank, first.seen, first.dominated_by) == (False, 1, 1, ())
    assert first.reason == f"stopped at epoch 1: it diverged, its error is {error}"
    second = halving.report(1, 1, 0.9, [1e9])
    assert (second.goes_on, second.rank, second.seen, second.dominated_by) == (True, 1, 2, ())


# ---------------------------------------------------------------------- wrong use


def begun():
    halving = Halving(RUNGS)
    for number, error in enumerate([0.1, 0.9]):
        halving.report(number, 1, error, [1e6])
    return halving


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ((0, 3, 0.1, [1e6]), r"trial 0: epoch 3 is no rung of \[1, 2, 4\]"),
        ((0, 1, 0.1, [1e6]), "trial 0 reports epoch 1 twice"),
        ((0, 4, 0.1, [1e6]), r"trial 0 reports epoch 4 after epoch 1; the rungs are \[1, 2, 4\]"),
        ((7, 2, 0.1, [1e6]), "trial 7 reports epoch 2 first; the rungs"),
        ((1, 2, 0.1, [1e6]), "trial 1 reports epoch 2, but was stopped at epoch 1"),
        ((7, 1, 0.1, [1e6, 1e4]), "trial 7: 2 costs, but the known ones are: MACs"),
        ((7, 1, 0.1, [0]), r"trial 7: costs must be above 0, not \[0\]"),
        ((7, 1, 0.1, [NAN]), "trial 7: costs must be above 0"),
        ((0, 2, 0.1, [2e6]), r"trial 0: costs \[2000000.0\], before \[1000000.0\]"),
    ],
)
def test_wrong_reports_are_named_and_change_nothing(report, words):
    halving = begun()
    with pytest.raises(ValueError, match=words):
        halving.report(*report)
    with pytest.raises(ValueError, match=words):
        halving.restore(*report, goes_on=True)
    assert halving.report(2, 1, 0.2, [1e6]) == begun().report(2, 1, 0.2, [1e6])
    assert halving.report(0, 2, 0.1, [1e6]).seen == 1


def test_earlier_epochs_after_later_ones_are_refused():
    halving = begun()
    halving.report(0, 2, 0.1, [1e6])
    with pytest.raises(ValueError, match="trial 0 reports epoch 1 after epoch 2"):
        halving.report(0, 1, 0.1, [1e6])
    halving.report(0, 4, 0.1, [1e6])
    with pytest.raises(ValueError, match="trial 0 reports epoch 4 twice"):
        halving.report(0, 4, 0.1, [1e6])


def test_the_last_epoch_of_a_trial_is_known():
    halving = begun()
    halving.report(0, 2, 0.1, [1e6])
    assert [halving.last_epoch(number) for number in (0, 1, 2)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rungs": []}, r"rungs must be rising epochs from 1 on, not \[\]"),
        ({"rungs": [0, 1]}, "rising epochs"),
        ({"rungs": [1, 4, 2]}, "rising epochs"),
        ({"rungs": [1, 1]}, "rising epochs"),
        ({"rungs": [1], "eta": 1}, "eta must be at least 2, not 1"),
        ({"rungs": [1], "doubt": -1.0}, "doubt must be a number from 0 on, not -1"),
        ({"rungs": [1], "doubt": NAN}, "doubt must be"),
        ({"rungs": [1], "small_front": -1}, "small_front must be at least 0, not -1"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        Halving(**settings)
