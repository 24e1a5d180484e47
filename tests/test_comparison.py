"""Runs set against each other: indicators by hand, tests against scipy, honest verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, wilcoxon
from synthetic_runs import OBJECTIVES, M, trials_frame

from nas.analysis.comparison import (
    NOTHING_SHOWN,
    TOO_FEW,
    holm,
    indicators_table,
    pairs_table,
    pick_difference_table,
    significance_table,
)
from nas.analysis.comparison_figures import indicators_figure

REFERENCE = (0.9, 1000 * M)


def run_of(*points):
    return trials_frame([("complete", error, macs * M) for error, macs in points])


RUNS = {
    "good": run_of((0.5, 1), (0.3, 10), (0.1, 100), (0.7, 50)),
    "other": run_of((0.4, 10), (0.2, 100)),
    "none": trials_frame([("failed", None, M), ("running", None, M)]),
}


def test_indicators_by_hand():
    table = indicators_table(RUNS, OBJECTIVES, REFERENCE).set_index("run")
    good, other, none = (table.loc[name] for name in RUNS)
    # In decades below 1000M: 3 * 0.4 + 2 * 0.2 + 1 * 0.2.
    assert good["hypervolume"] == pytest.approx(1.8)
    assert other["hypervolume"] == pytest.approx(2 * 0.5 + 1 * 0.2)
    assert good["hypervolume_ratio"] == 1.0  # the joint front is its own
    assert other["hypervolume_ratio"] == pytest.approx(1.2 / 1.8)
    # The joint front spans 0.4 of error and two decades: the other lacks its cheap end.
    assert other["epsilon_additive"] == pytest.approx(0.5)
    assert other["epsilon_multiplicative"] == pytest.approx(10)
    assert good["epsilon_additive"] == 0
    assert good["epsilon_multiplicative"] == 1
    assert (good["joint_share"], other["joint_share"]) == (1.0, 0.0)
    assert (good["front"], none["front"]) == (3, 0)
    assert none["trials"] == 1  # running ones have not ended
    assert none["hypervolume"] == 0
    assert np.isnan(none["epsilon_additive"])


def test_pairs_by_hand():
    table = pairs_table(RUNS, OBJECTIVES, REFERENCE).set_index(["run", "other"])
    assert len(table) == 6
    forth, back = table.loc[("good", "other")], table.loc[("other", "good")]
    assert forth["hypervolume_ratio"] == pytest.approx(1.5)
    assert (forth["coverage"], back["coverage"]) == (1.0, 0.0)
    assert forth["epsilon_additive"] == pytest.approx(0.0)  # equal MACs: it cannot give way there
    assert back["epsilon_multiplicative"] == pytest.approx(10)
    assert np.isnan(table.loc[("good", "none")]["hypervolume_ratio"])
    assert table.loc[("none", "good")]["coverage"] == 0
    assert np.isnan(table.loc[("good", "none")]["coverage"])


def test_no_runs_give_empty_tables():
    for table in (
        indicators_table({}, OBJECTIVES, REFERENCE),
        pairs_table({}, OBJECTIVES, REFERENCE),
        pick_difference_table({"none": RUNS["none"]}, OBJECTIVES),
    ):
        assert table.empty
        assert len(table.columns) > 3


def scores(**values):
    rows = [(f"{group}{i}", v) for group, many in values.items() for i, v in enumerate(many)]
    table = pd.DataFrame(rows, columns=["run", "hypervolume"])
    return table, {name: name.rstrip("0123456789") for name in table["run"]}


def test_mann_whitney_is_that_of_scipy():
    ours, theirs = [5.0, 6.0, 7.0, 8.0, 3.5], [1.0, 2.0, 3.0, 4.0]
    table, groups = scores(a=ours, b=theirs)
    row = significance_table(table, groups=groups).iloc[0]
    assert row["test"] == "Mann-Whitney"
    assert row["p_value"] == pytest.approx(mannwhitneyu(ours, theirs, method="exact").pvalue)
    wins = np.mean([x > y for x in ours for y in theirs])
    assert row["superiority"] == pytest.approx(wins)
    assert (row["median"], row["other_median"]) == (6.0, 2.5)
    assert (row["runs"], row["other_runs"]) == (5, 4)
    assert row["verdict"] == "a is better"


def test_the_sign_follows_the_indicator():
    table, groups = scores(a=[1.0, 2, 3, 4], b=[5.0, 6, 7, 8])
    errors = table.rename(columns={"hypervolume": "epsilon_additive"})
    row = significance_table(errors, groups=groups, value="epsilon_additive").iloc[0]
    assert row["superiority"] == 1.0
    assert row["verdict"] == "a is better"
    assert significance_table(table, groups=groups)["verdict"].item() == "b is better"


def test_too_few_runs_are_called_so():
    # The clearest outcome of three against three has p = 0.1.
    table, groups = scores(a=[7.0, 8, 9], b=[1.0, 2, 3])
    row = significance_table(table, groups=groups).iloc[0]
    assert row["p_value"] == pytest.approx(0.1)
    assert row["verdict"] == TOO_FEW
    table, groups = scores(a=[7.0], b=[])
    groups["b0"] = "b"
    row = significance_table(table, groups=groups).iloc[0]
    assert row["verdict"] == TOO_FEW
    assert np.isnan(row["p_value"])


def test_many_groups_need_more_runs():
    # Four against four can reach 2 / 70; six pairs of groups at once cannot.
    values = {name: list(np.arange(4.0) + 10 * i) for i, name in enumerate("abcd")}
    table, groups = scores(**values)
    assert set(significance_table(table, groups=groups)["verdict"]) == {TOO_FEW}
    two = {run: group for run, group in groups.items() if group in "ab"}
    assert significance_table(table, groups=two)["verdict"].tolist() == ["b is better"]


def test_alike_groups_show_no_difference():
    rng = np.random.default_rng(3)
    table, groups = scores(a=rng.normal(size=8), b=rng.normal(size=8))
    assert significance_table(table, groups=groups)["verdict"].item() == NOTHING_SHOWN
    tied, groups = scores(a=[1.0] * 6, b=[1.0] * 6)
    row = significance_table(tied, groups=groups).iloc[0]
    assert row["superiority"] == 0.5
    assert row["verdict"] == NOTHING_SHOWN


def test_the_paired_test_is_wilcoxons():
    rng = np.random.default_rng(1)
    seeds = rng.normal(scale=10, size=7)  # the seed matters far more than the group
    ours, theirs = seeds + 0.5 + 0.1 * rng.random(7), seeds
    table, groups = scores(a=ours, b=theirs)
    pairs = {f"{group}{i}": i for group in "ab" for i in range(7)}
    row = significance_table(table, groups=groups, pairs=pairs).iloc[0]
    assert row["test"] == "Wilcoxon, paired"
    assert row["p_value"] == pytest.approx(wilcoxon(ours - theirs).pvalue) == pytest.approx(2 / 128)
    assert row["verdict"] == "a is better"
    assert significance_table(table, groups=groups)["verdict"].item() == NOTHING_SHOWN
    # A seed that one group lacks is left out; five pairs cannot fall under 5 %.
    few = {run: seed for run, seed in pairs.items() if run not in ("a0", "b1")}
    row = significance_table(table, groups=groups, pairs=few).iloc[0]
    assert (row["runs"], row["verdict"]) == (5, TOO_FEW)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    nan = float("nan")
    assert holm([nan, 0.01])[1] == pytest.approx(0.02)
    assert np.isnan(holm([nan, 0.01])[0])
    assert holm([]) == []


def test_a_false_alarm_is_rare_over_all_pairs():
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        table, groups = scores(**{name: rng.normal(size=8) for name in "abc"})
        verdicts = significance_table(table, groups=groups)["verdict"]
        alarms += any("better" in verdict for verdict in verdicts)
    assert alarms <= 20  # 5 % of 200 is 10; over 20 has a chance under 0.2 %


def test_picks_are_set_against_the_first_runs():
    table = pick_difference_table(RUNS, OBJECTIVES)
    assert table["pick"].tolist() == ["cheapest"] * 2 + ["knee"] * 2 + ["best"] * 2
    best = table[table["pick"] == "best"].set_index("run")
    assert best.loc["good", "error_difference"] == 0
    assert best.loc["other", "error_difference"] == pytest.approx(0.1)
    assert best.loc["other", "macs_ratio"] == 1
    cheapest = table[table["pick"] == "cheapest"].set_index("run")
    assert cheapest.loc["other", "macs_ratio"] == 10


def test_the_figure_has_a_bar_a_run():
    table = indicators_table(RUNS, OBJECTIVES, REFERENCE)
    (bars,) = indicators_figure(table).data
    assert list(bars.x) == pytest.approx([1.0, 2 / 3, 0.0])
    assert list(bars.customdata) == ["good", "other", "none"]
