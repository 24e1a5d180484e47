"""Fronts, ranks, hypervolume and knees against brute force and against Optuna."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from optuna._hypervolume import compute_hypervolume

from nas.pareto import (
    additive_epsilon,
    cost_axes,
    coverage,
    hypervolume,
    hypervolume_history,
    knee_index,
    multiplicative_epsilon,
    nondominated,
    ranks,
    scale_axes,
)

OBJECTIVES = st.integers(1, 4)
GRID = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5])  # few values: ties and duplicates
VALUES = st.one_of(GRID, st.floats(0, 2), st.just(float("nan")), st.just(float("inf")))


def points(values=VALUES, objectives=OBJECTIVES, low=0, high=12):
    shape = st.tuples(st.integers(low, high), objectives)
    return hnp.arrays(np.float64, shape, elements=values).map(frozen)


def frozen(array):
    array.flags.writeable = False
    return array


def brute_nondominated(values):
    mask = []
    for row in values:
        better = [(other <= row).all() and (other < row).any() for other in values]
        mask.append(bool(np.isfinite(row).all()) and not any(better))
    return np.array(mask, dtype=bool)


def brute_hypervolume(values, reference):
    """Sum the cells of the grid that the points' coordinates cut space into."""
    values = values[np.isfinite(values).all(axis=1)]
    axes = [
        np.unique(np.append(np.minimum(c, r), r)) for c, r in zip(values.T, reference, strict=True)
    ]
    total = 0.0
    for cell in np.ndindex(*(len(axis) - 1 for axis in axes)):
        low = np.array([axis[i] for axis, i in zip(axes, cell, strict=True)])
        high = np.array([axis[i + 1] for axis, i in zip(axes, cell, strict=True)])
        if (values <= low).all(axis=1).any():
            total += (high - low).prod()
    return total


@given(points())
@settings(max_examples=200, deadline=None)
def test_the_front_is_that_of_brute_force(values):
    finite = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)
    assert nondominated(values).tolist() == brute_nondominated(finite).tolist()


@given(points())
@settings(max_examples=200, deadline=None)
def test_ranks_peel_fronts_off(values):
    result = ranks(values)
    left = np.isfinite(values).all(axis=1)
    for rank in range(len(values)):
        peeled = np.where(left[:, None], values, np.nan)
        front = brute_nondominated(peeled)
        if not front.any():
            break
        assert ((result == rank) == front).all()
        left &= ~front
    if np.isfinite(values).all(axis=1).any():
        missing = ~np.isfinite(values).all(axis=1)
        assert (result[missing] > result[~missing].max()).all()


@given(points(objectives=st.integers(1, 3), high=7))
@settings(max_examples=200, deadline=None)
def test_the_hypervolume_is_that_of_a_grid_count(values):
    reference = np.ones(values.shape[1])
    expected = brute_hypervolume(values, reference)
    assert hypervolume(values, reference) == pytest.approx(expected, abs=1e-12)


@given(points(st.floats(0, 2), st.integers(2, 3), low=1, high=20))
@settings(max_examples=100, deadline=None)
def test_the_hypervolume_is_that_of_optuna(values):
    reference = np.full(values.shape[1], 1.5)
    expected = compute_hypervolume(values[(values <= reference).all(axis=1)], reference)
    assert hypervolume(values, reference) == pytest.approx(expected, abs=1e-9)


@given(points(objectives=st.integers(1, 3)))
@settings(max_examples=100, deadline=None)
def test_the_history_ends_in_the_hypervolume_and_never_falls(values):
    reference = np.ones(values.shape[1])
    history = hypervolume_history(values, reference)
    each = [hypervolume(values[: end + 1], reference) for end in range(len(values))]
    assert history == pytest.approx(each, abs=1e-12)
    assert (np.diff(history) >= -1e-12).all()


@given(points(objectives=st.integers(2, 3), high=20))
@settings(max_examples=200, deadline=None)
def test_the_front_with_ties_is_that_of_optuna(values):
    from optuna.study._multi_objective import _is_pareto_front

    known = np.isfinite(values).all(axis=1)
    if known.any():
        expected = _is_pareto_front(values[known], assume_unique_lexsorted=False)
        assert nondominated(values)[known].tolist() == expected.tolist()
    assert not nondominated(values)[~known].any()


@given(points(GRID, st.integers(2, 3), low=1, high=20))
@settings(max_examples=100, deadline=None)
def test_the_hypervolume_with_ties_is_that_of_optuna(values):
    reference = np.full(values.shape[1], 1.25)
    inside = values[(values <= reference).all(axis=1)]
    assert hypervolume(values, reference) == pytest.approx(compute_hypervolume(inside, reference))


def finite_rows(values):
    return values[np.isfinite(values).all(axis=1)]


@given(points(), st.data())
@settings(max_examples=200, deadline=None)
def test_coverage_is_that_of_brute_force(values, data):
    other = data.draw(points(objectives=st.just(values.shape[1])))
    ours, theirs = finite_rows(values), finite_rows(other)
    covered = [any((row <= target).all() for row in ours) for target in theirs]
    expected = np.mean(covered) if covered else np.nan
    assert coverage(values, other) == pytest.approx(expected, nan_ok=True)


@given(points(), st.data())
@settings(max_examples=200, deadline=None)
def test_the_additive_epsilon_is_that_of_brute_force(values, data):
    other = data.draw(points(objectives=st.just(values.shape[1])))
    ours, theirs = finite_rows(values), finite_rows(other)
    expected = np.nan
    if len(ours) and len(theirs):
        expected = max(min((row - target).max() for row in ours) for target in theirs)
    assert additive_epsilon(values, other) == pytest.approx(expected, nan_ok=True)


POSITIVE = st.floats(0.01, 2)


@given(points(POSITIVE, low=1), st.data())
@settings(max_examples=200, deadline=None)
def test_the_multiplicative_epsilon_is_that_of_brute_force(values, data):
    other = data.draw(points(POSITIVE, st.just(values.shape[1]), low=1))
    expected = max(min((row / target).max() for row in values) for target in other)
    assert multiplicative_epsilon(values, other) == pytest.approx(expected)
    # Divided by that factor, every row of the other set is covered.
    assert coverage(values / (expected * (1 + 1e-12)), other) == 1.0


def test_factors_across_zero():
    # Both have an error of 0: no factor is needed there, and 2 on the other axis.
    assert multiplicative_epsilon([[0.0, 4.0]], [[0.0, 2.0]]) == 2.0
    assert multiplicative_epsilon([[0.1, 4.0]], [[0.0, 2.0]]) == np.inf
    assert np.isnan(multiplicative_epsilon([[np.nan, 1.0]], [[0.1, 2.0]]))
    with pytest.raises(ValueError, match="at least 0, not -1"):
        multiplicative_epsilon([[0.1, -1.0]], [[0.1, 2.0]])


def test_axes_are_scaled_to_the_front():
    front = [[0.5, 1e6], [0.1, 1e8]]
    scaled = scale_axes([[0.3, 1e7], [0.1, 1e9], [np.nan, 1e6]], front, log_axes=(1,))
    assert scaled[:2] == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.5]]))
    assert np.isnan(scaled[2]).all()
    # Where the front agrees, the axis keeps its unit.
    assert scale_axes([[0.3, 5.0]], [[0.2, 1.0], [0.2, 1.0]]) == pytest.approx(
        np.array([[0.1, 4.0]])
    )


def test_a_million_points_in_little_memory():
    random = np.random.default_rng(0)
    values = random.random((1_000_000, 2))
    front = np.flatnonzero(nondominated(values))
    # Independently: sorted by the first axis, the running minimum of the second falls.
    order = np.lexsort((values[:, 1], values[:, 0]))
    second = values[order, 1]
    before = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
    assert sorted(front) == sorted(order[second < before])


def test_points_at_or_beyond_the_reference_add_nothing():
    assert hypervolume([[1.0, 0.2], [0.2, 1.0], [3.0, 0.0]], [1.0, 1.0]) == 0.0
    assert hypervolume([[0.5, 0.5], [3.0, 0.0]], [1.0, 1.0]) == 0.25


def test_logarithmic_axes_are_measured_in_decades():
    points_, reference = [[0.1, 1e6], [0.05, 1e7]], [0.9, 1e8]
    # By hand: 0.8 * 2 decades, and 0.05 more error over one decade.
    assert hypervolume(points_, reference, log_axes=(1,)) == pytest.approx(0.8 * 2 + 0.05)
    assert hypervolume_history(points_, reference, log_axes=(1,)) == pytest.approx([1.6, 1.65])


def test_nothing_has_no_volume_and_no_knee():
    nothing = np.zeros((0, 2))
    assert hypervolume(nothing, [1, 1]) == 0.0
    assert hypervolume_history(nothing, [1, 1]).tolist() == []
    assert nondominated(nothing).tolist() == []
    assert ranks(nothing).tolist() == []
    assert knee_index(nothing) is None
    assert knee_index([[np.nan, 1.0]]) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hypervolume([[0.1, 2]], [1.0]), "2 finite numbers"),
        (lambda: hypervolume([[0.1, 2]], [1.0, np.inf]), "2 finite numbers"),
        (lambda: hypervolume([[0.1, 0]], [1.0, 10.0], log_axes=(1,)), "above 0, not 0"),
        (lambda: knee_index([[0.1, -3]], (1,)), "above 0, not -3"),
        (lambda: nondominated([0.1, 2.0]), "shape"),
    ],
)
def test_wrong_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def distance_below_the_line(values):
    """Das's distance by its own formula: normal distance to the chord of the front's ends."""
    scaled = (values - values.min(axis=0)) / np.ptp(values, axis=0)
    first, last = scaled[np.argmin(scaled[:, 0])], scaled[np.argmax(scaled[:, 0])]
    chord = last - first
    offset = scaled - first
    return (chord[1] * offset[:, 0] - chord[0] * offset[:, 1]) / np.hypot(*chord)


@given(points(st.floats(0.01, 2), st.just(2), low=3, high=20))
@settings(max_examples=200, deadline=None)
def test_the_knee_is_farthest_below_the_line_between_the_ends(values):
    knee = knee_index(values, (1,))
    front = np.flatnonzero(brute_nondominated(values))
    assert knee in front
    logs = np.column_stack([values[:, 0], np.log10(values[:, 1])])[front]
    if len(front) > 2 and (np.ptp(logs, axis=0) > 1e-6).all():
        below = distance_below_the_line(logs)
        assert below[front.tolist().index(knee)] == pytest.approx(below.max(), abs=1e-6)


def test_the_knee_bends_where_the_cost_is_logarithmic():
    values = [[0.50, 1e6], [0.20, 3e6], [0.15, 1e8], [0.14, 1e9]]
    assert knee_index(values, (1,)) == 1
    # On a linear axis 100M counts for little beside 1G.
    assert knee_index(values) in (1, 2)
    shifted = [[0.50, 1e6], [0.35, 3e6], [0.15, 1e8], [0.14, 1e9]]
    assert knee_index(shifted, (1,)) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.3, 10.0]], 0),
        ([[0.3, 10.0], [0.1, 50.0]], 1),  # both are ends: the smaller error
        ([[0.1, 50.0], [0.1, 50.0]], 0),  # duplicates: the earlier
        ([[0.3, 10.0], [0.2, 20.0], [0.1, 30.0]], 2),  # on the line: the smaller error
        ([[0.3, 10.0], [0.28, 28.0], [0.1, 30.0]], 2),  # bent outwards: an end
        ([[np.nan, 1.0], [0.3, 10.0]], 1),
        ([[0.3], [0.1], [0.2]], 1),  # one objective: its minimum
        ([[0.3, 1, 9], [0.1, 9, 9.5], [0.12, 2, 9.1], [0.2, 1.5, 9.05]], 2),
    ],
)
def test_knees_of_small_fronts(values, expected):
    assert knee_index(values) == expected


def test_three_objectives_with_one_network_best_in_two_costs():
    values = [[0.4, 1e6, 1e4], [0.2, 2e6, 2e4], [0.1, 1e8, 1e6]]
    assert knee_index(values, (1, 2)) == 1


def test_costs_are_the_logarithmic_axes():
    assert cost_axes(("error", "macs", "params")) == (1, 2)
    assert cost_axes(("activation_bytes", "error")) == (0,)
    assert cost_axes(("error",)) == ()
