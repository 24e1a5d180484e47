"""Rank correlations: by hand, by SciPy, and what their intervals must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nas.analysis import rank_correlations
from nas.analysis.rank_correlations import spearman, tau, tau_difference


class TestTau:
    def test_one_pair_of_six_is_the_other_way_round(self):
        estimate = tau([1, 2, 3, 4], [1, 3, 2, 4])
        assert estimate.value == pytest.approx((5 - 1) / 6)
        assert estimate.items == 4

    def test_ties_by_hand(self):
        # Pairs: 12 tied in the first, 23 tied in the second, 13 the same way round in both.
        assert tau([1, 1, 2], [1, 2, 2]).value == pytest.approx(1 / math.sqrt(2 * 2))

    @pytest.mark.parametrize("seed", range(5))
    def test_equals_scipy_with_ties(self, seed):
        x, y = np.random.default_rng(seed).integers(0, 6, (2, 20))
        assert tau(x, y).value == pytest.approx(kendalltau(x, y).statistic)

    def test_a_draw_is_the_tau_of_the_items_drawn(self):
        x, y = np.random.default_rng(0).normal(size=(2, 12))
        weights = rank_correlations._draws(12)[:50]
        assert weights.sum(axis=1).tolist() == [12] * 50
        taus = rank_correlations._taus(x, y, np.ones((12, 12)), weights)
        for row, value in zip(weights, taus, strict=True):
            drawn = np.repeat(np.arange(12), row.astype(int))
            assert value == pytest.approx(kendalltau(x[drawn], y[drawn]).statistic)

    def test_the_interval_narrows_with_more_items(self):
        random = np.random.default_rng(1)
        widths = []
        for items in (15, 150):
            x = random.normal(size=items)
            estimate = tau(x, x + random.normal(size=items))
            assert estimate.low < estimate.value < estimate.high
            widths.append(estimate.high - estimate.low)
        assert widths[1] < widths[0] / 2

    def test_leaves_out_what_one_ranking_lacks(self):
        estimate = tau([1, 2, math.nan, 3, 4], [1, 2, 3, math.nan, 4])
        assert (estimate.value, estimate.items) == (1.0, 3)

    def test_counts_pairs_within_groups_only(self):
        # Between the groups all agrees, within each it is the other way round.
        x, y, groups = [1, 2, 11, 12], [2, 1, 12, 11], [0, 0, 1, 1]
        assert tau(x, y).value == pytest.approx((4 - 2) / 6)
        assert tau(x, y, groups).value == -1

    def test_a_ranking_of_ties_has_none(self):
        estimate = tau([1, 1, 1], [1, 2, 3])
        assert math.isnan(estimate.value)
        assert str(estimate) == "-"


class TestDifference:
    def test_is_nothing_between_equal_rankings(self):
        x, t = np.random.default_rng(2).normal(size=(2, 20))
        estimate = tau_difference(x, x, t)
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)

    def test_is_of_the_items_that_all_three_have(self):
        first, other, truth = [1, 2, 3, math.nan], [3, 2, 1, 0], [1, 2, 3, 4]
        estimate = tau_difference(first, other, truth)
        assert (estimate.value, estimate.items) == (2.0, 3)

    def test_is_paired(self):
        """Two rankings that err alike differ less surely known than each is known alone."""
        random = np.random.default_rng(3)
        truth = random.normal(size=40)
        first = truth + random.normal(size=40)
        other = first + 0.01 * random.normal(size=40)
        alone, paired = tau(first, truth), tau_difference(first, other, truth)
        assert paired.high - paired.low < (alone.high - alone.low) / 4


class TestSpearman:
    @pytest.mark.parametrize("seed", range(5))
    def test_equals_scipy_with_ties(self, seed):
        x, y = np.random.default_rng(seed).integers(0, 6, (2, 20))
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)

    def test_leaves_out_what_one_ranking_lacks(self):
        assert spearman([1, 2, math.nan, 3], [3, 2, 9, 1]) == pytest.approx(-1)

    def test_a_ranking_of_ties_has_none(self):
        assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
        assert math.isnan(spearman([1], [1]))


def test_an_interval_of_many_items_is_drawn_less_often():
    few, many = (rank_correlations._draws(items) for items in (500, 501))
    assert len(few) == 4 * len(many) == rank_correlations.DRAWS
