"""Tables and picks, on trials small enough to work out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import CURVES, OBJECTIVES, TRIALS, M, trials_frame

from nas.analysis.picks import resolve_pick
from nas.analysis.tables import (
    curves_table,
    front_table,
    hypervolume_table,
    layers_table,
    picks_table,
    rejections_table,
    runs_table,
    spend_table,
    trials_table,
)
from nas.architecture import Shape
from nas.cost import count_cost
from nas.pareto import hypervolume
from nas.presets import cifar_googlenet
from nas.task import Target


def test_the_front_is_sorted_by_cost_with_its_knee():
    table = front_table(TRIALS, OBJECTIVES)
    assert table["number"].tolist() == [4, 2, 7, 5]
    assert table["is_knee"].tolist() == [False, True, False, False]
    assert table["error"].tolist() == [0.5, 0.2, 0.2, 0.19]
    assert set(table.columns) >= {"macs", "params", "activation_bytes", "epochs", "origin"}
    assert table.index.tolist() == [0, 1, 2, 3]


def test_a_value_of_a_trial_that_is_not_complete_never_counts():
    sneaky = TRIALS.assign(error=TRIALS["error"].fillna(0.001))
    assert front_table(sneaky, OBJECTIVES)["number"].tolist() == [4, 2, 7, 5]


def test_three_objectives_keep_what_is_cheap_in_another_cost():
    small = TRIALS.assign(params=TRIALS["params"].where(TRIALS["number"] != 0, 1))
    assert 0 in front_table(small, ("error", "macs", "params"))["number"].tolist()
    assert 0 not in front_table(small, OBJECTIVES)["number"].tolist()


def test_one_objective_has_its_best_trials_as_front():
    assert front_table(TRIALS, ("error",))["number"].tolist() == [5]
    assert picks_table(TRIALS, ("error",))["pick"].tolist() == ["knee", "best"]


def test_each_trial_has_a_standing_and_a_reason():
    table = trials_table(TRIALS, OBJECTIVES, CURVES).set_index("number")
    assert table["standing"].to_dict() == {
        0: "dominated",
        1: "failed",
        2: "front",
        3: "stopped",
        4: "front",
        5: "front",
        6: "running",
        7: "front",
        8: "dominated",
    }
    assert table.loc[0, "dominated_by"] == "2, 7"
    assert table.loc[8, "dominated_by"] == "2, 7"
    assert table.loc[2, "dominated_by"] == ""
    assert table.loc[1, "reason"] == "loss is NaN"
    assert table.loc[5, "landmark"] == "cifar_googlenet"
    assert table.loc[0, "landmark"] == ""
    assert table.index[table["is_knee"]].tolist() == [2]


def test_the_last_error_seen_is_shown_for_what_did_not_end():
    table = trials_table(TRIALS, OBJECTIVES, CURVES).set_index("number")
    assert table.loc[3, "shown_error"] == 0.45
    assert table.loc[6, "shown_error"] == 0.60
    assert table.loc[2, "shown_error"] == 0.20
    assert np.isnan(table.loc[1, "shown_error"])
    assert np.isnan(table.loc[3, "error"])
    assert trials_table(TRIALS, OBJECTIVES)["shown_error"].isna().sum() == 3


def test_at_most_three_dominators_are_named():
    rows = [("complete", 0.1 + step / 100, (9 - step) * M) for step in range(8)]
    table = trials_table(trials_frame([*rows, ("complete", 0.9, 90 * M)]), OBJECTIVES)
    assert table["dominated_by"].iloc[-1] == "0, 1, 2"


def test_picks_name_the_ends_and_the_knee():
    table = picks_table(TRIALS, OBJECTIVES)
    assert table[["pick", "number"]].to_numpy().tolist() == [
        ["cheapest", 4],
        ["knee", 2],
        ["best", 5],
    ]
    assert picks_table(TRIALS[TRIALS["state"] == "failed"], OBJECTIVES).empty


def test_the_hypervolume_grows_in_the_order_of_ending():
    late = TRIALS.assign(
        finished=TRIALS["finished"].where(TRIALS["number"] != 2, pd.Timestamp("2026-02-01"))
    )
    table = hypervolume_table(late, OBJECTIVES, (0.9, 1000 * M))
    assert table["number"].tolist() == [0, 1, 3, 4, 5, 7, 8, 2]
    assert table["trials"].tolist() == list(range(1, 9))
    assert table["device_seconds"].tolist() == [10, 12, 15, 25, 35, 35, 45, 55]
    steps = [(0.3, 20 * M)] * 3
    assert table["hypervolume"].iloc[:3].tolist() == pytest.approx(
        [hypervolume(steps, (0.9, 1000 * M), log_axes=(1,))] * 3
    )
    # By hand: decades below 1G are log10(50), log10(100), log10(250), log10(5).
    assert table["hypervolume"].iloc[-1] == pytest.approx(
        (0.9 - 0.5) * np.log10(250) + (0.5 - 0.2) * 2 + (0.2 - 0.19) * np.log10(5)
    )
    linear = hypervolume_table(late, OBJECTIVES, (0.9, 1000 * M), log_costs=False)
    assert linear["hypervolume"].iloc[0] == pytest.approx(0.6 * 980 * M)


def test_spend_adds_up():
    table = spend_table(TRIALS).set_index("state")
    assert table["trials"].to_dict() == {
        "complete": 6,
        "pruned": 1,
        "failed": 1,
        "running": 1,
        "total": 9,
    }
    assert table.loc["total", "train_seconds"] == 55
    assert table.loc["failed", "share"] == pytest.approx(2 / 55)
    assert table["share"].drop("total").sum() == pytest.approx(1)
    assert table.loc["complete", "reused"] == 1
    assert table.loc["complete", "epochs"] == 20  # the reused one trained nothing


def test_rejections_are_sorted_by_count():
    table = rejections_table({"repeated": 3, "over macs": 40, "a tie": 3})
    assert table.to_numpy().tolist() == [["over macs", 40], ["a tie", 3], ["repeated", 3]]
    assert rejections_table({}).columns.tolist() == ["reason", "proposals"]


def test_curves_come_in_the_order_asked_for():
    table = curves_table(CURVES, [6, 2])
    assert table[["number", "epoch"]].to_numpy().tolist() == [[6, 1], [2, 1], [2, 2]]


def test_layers_are_those_of_the_cost_with_shares():
    target = Target(image=Shape(3, 32, 32), classes=10)
    table = layers_table(cifar_googlenet(), target)
    cost = count_cost(cifar_googlenet(), target.image, target.classes)
    assert table["macs"].sum() == cost.macs
    assert table["name"].tolist() == [row.name for row in cost.rows]
    assert table["macs_share"].sum() == pytest.approx(1)
    assert table["output"].iloc[0] == "192x32x32"


def test_runs_stand_side_by_side():
    histories = {
        name: hypervolume_table(frame, OBJECTIVES, (0.9, 1000 * M))
        for name, frame in (("a", TRIALS), ("none", TRIALS.iloc[[1]]))
    }
    fronts = {
        "a": front_table(TRIALS, OBJECTIVES),
        "none": front_table(TRIALS.iloc[[1]], OBJECTIVES),
    }
    table = runs_table(fronts, histories).set_index("run")
    assert table.loc["a", ["trials", "front", "best_error", "knee_macs"]].tolist() == [
        8,
        4,
        0.19,
        10 * M,
    ]
    assert np.isnan(table.loc["none", "best_error"])
    assert table.loc["none", "hypervolume"] == 0


def test_nothing_at_all_has_tables_too():
    nothing = TRIALS.iloc[:0]
    assert front_table(nothing, OBJECTIVES).empty
    assert trials_table(nothing, OBJECTIVES, CURVES).empty
    assert hypervolume_table(nothing, OBJECTIVES, (1, 10)).empty
    assert spend_table(nothing)["share"].tolist() == [0] * 5


def test_frames_are_left_alone():
    before = TRIALS.copy(deep=True)
    trials_table(TRIALS, OBJECTIVES, CURVES)
    hypervolume_table(TRIALS, OBJECTIVES, (0.9, 1000 * M))
    resolve_pick(TRIALS, OBJECTIVES, "macs<=50M")
    pd.testing.assert_frame_equal(TRIALS, before)


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        ("knee", 2),
        ("best", 5),
        ("cheapest", 4),
        ("trial:3", 3),
        ("macs<=50M", 2),
        (" macs <= 10_000_000 ", 2),
        ("macs<=9.9M", 4),
        ("params<=1G", 5),
        ("macs<=1G,params<=1M", 2),
        ("activation_bytes<=40K", 4),
    ],
)
def test_picks(pick, expected):
    assert resolve_pick(TRIALS, OBJECTIVES, pick) == expected


@pytest.mark.parametrize(
    ("pick", "words"),
    [
        ("kne", "did you mean 'knee'"),
        ("trial:99", "no trial 99; the run has 0 to 8"),
        ("trial:-1", "unknown pick"),
        ("macs<=1M", r"the least macs is 4M \(trial 4\)"),
        ("mac<=1M", "did you mean 'macs'"),
        ("error<=0.1", "unknown cost 'error'"),
        ("macs<=lots", "macs must be a number"),
        ("macs<=5M<=6M", "must read like macs<=50M"),
        ("macs<=1G,params<=1", "no complete trial is within"),
        ("", "unknown pick"),
    ],
)
def test_wrong_picks_are_named(pick, words):
    with pytest.raises(ValueError, match=words):
        resolve_pick(TRIALS, OBJECTIVES, pick)


def test_there_is_no_cheapest_without_a_cost():
    with pytest.raises(ValueError, match="no cost among its objectives"):
        resolve_pick(TRIALS, ("error",), "cheapest")


@pytest.mark.parametrize("pick", ["knee", "best", "cheapest", "macs<=1G"])
def test_a_pick_without_results_says_what_there_is(pick):
    with pytest.raises(ValueError, match=r"no trial is complete \(1 failed"):
        resolve_pick(TRIALS.iloc[[1]], OBJECTIVES, pick)
    with pytest.raises(ValueError, match="no trials yet"):
        resolve_pick(TRIALS.iloc[:0], OBJECTIVES, pick)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["complete", "failed", "pruned", "running"]),
        st.sampled_from([0.1, 0.2, 0.3, 0.4]),
        st.sampled_from([100 * M, 200 * M, 300 * M]),
    ),
    max_size=12,
)


@given(ROWS)
@settings(max_examples=50, deadline=None)
def test_the_best_under_a_limit_beats_all_within_it(rows):
    trials = trials_frame(rows)
    within = [
        number for number, row in enumerate(rows) if row[0] == "complete" and row[2] <= 200 * M
    ]
    if not within:
        if len(trials):
            with pytest.raises(ValueError, match="no "):
                resolve_pick(trials, OBJECTIVES, "macs<=200M")
        return
    expected = min(within, key=lambda number: (rows[number][1], rows[number][2], number))
    assert resolve_pick(trials, OBJECTIVES, "macs<=200M") == expected
