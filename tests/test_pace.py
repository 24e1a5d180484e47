"""Pace, running trials and limits, worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import CURVES, TRIALS, M, trials_frame

from nas.analysis.progress import limits_table, pace_table, recent_pace, running_table

START = pd.Timestamp("2026-01-01")
EMPTY = TRIALS.iloc[:0]


def at(minutes):
    return START + pd.Timedelta(minutes=minutes)


def ended_at(spans, state="complete"):
    """Trials by (start, finish) in minutes."""
    return trials_frame(
        [(state, 0.3, M, {"started": at(low), "finished": at(high)}) for low, high in spans]
    )


def test_pace_counts_every_ended_trial_once_and_by_its_state():
    table = pace_table(TRIALS, bins=4)
    assert table["complete"].sum() == 6
    assert (table["pruned"].sum(), table["failed"].sum()) == (1, 1)
    assert table["ended"].sum() == 8
    # 9 minutes from the first start to the last end, but for one that only trial 6 could have
    # been at work in, and that never ended.
    assert (table["per_minute"] * 4).sum() == pytest.approx(8)
    assert table["start"].iloc[0] == START
    assert table["finish"].iloc[-1] == at(9)


def test_a_trial_that_ends_on_an_edge_belongs_to_the_span_before_it():
    table = pace_table(ended_at([(i, i + 1) for i in range(8)]), bins=2)
    assert table["ended"].tolist() == [4, 4]
    assert table["per_minute"].tolist() == [1.0, 1.0]
    assert table["worked_seconds"].tolist() == [120.0, 360.0]


def test_a_night_between_two_restarts_is_not_slow_searching():
    day, night = [(i, i + 1) for i in range(4)], 12 * 60
    table = pace_table(ended_at([*day, *((a + night, b + night) for a, b in day)]), bins=2)
    assert table["per_minute"].tolist() == [1.0, 1.0]
    assert table["finish"].tolist() == [at(4), at(night + 4)]
    assert recent_pace(ended_at([*day, *((a + night, b + night) for a, b in day)])) == 1.0


def test_trials_at_once_are_as_fast_as_they_are_together():
    table = pace_table(ended_at([(0, 2), (0, 2), (0, 2), (0, 2)]))
    assert table["per_minute"].tolist() == [2.0]


def test_without_an_ended_trial_there_is_no_pace():
    assert pace_table(EMPTY).empty
    assert pace_table(TRIALS[TRIALS["state"] == "running"]).empty
    assert list(pace_table(EMPTY)) == list(pace_table(TRIALS))
    assert np.isnan(recent_pace(EMPTY))
    assert np.isnan(recent_pace(TRIALS.iloc[:1]))


def test_the_present_pace_is_that_of_the_last_trials_and_falls_while_nothing_ends():
    slow_then_fast = ended_at([(10 * i, 10 * i + 10) for i in range(3)])
    slow_then_fast = ended_at([(0, 10), (10, 20), (20, 21), (21, 22), (22, 23)])
    assert recent_pace(slow_then_fast, last=3) == 1.0
    assert recent_pace(slow_then_fast, last=3, now=at(25)) == 0.5


def test_running_trials_stand_with_their_rung():
    now = at(6 + 30)
    table = running_table(TRIALS, CURVES, (1, 2, 4), now=now)
    assert table["number"].tolist() == [6]
    row = table.iloc[0]
    assert (row["rung"], row["rungs"], row["epoch"], row["epochs"]) == (1, 3, 1, 4)
    assert row["error"] == 0.60
    assert row["running_seconds"] == 30 * 60


def test_the_farthest_runs_first_and_one_before_its_first_rung_has_no_error():
    trials = trials_frame([("running", None, M), ("running", None, M), ("complete", 0.1, M)])
    curves = CURVES.assign(number=[1, 1, 1, 1], epoch=[1, 2, 3, 4]).iloc[:2]
    table = running_table(trials, curves, (1, 2, 4))
    assert table["number"].tolist() == [1, 0]
    assert table["rung"].tolist() == [2, 0]
    assert np.isnan(table["error"].iloc[1])
    assert table["running_seconds"].isna().all()
    assert running_table(EMPTY, CURVES, (1, 2)).empty


LIMITS = {"max_trials": None, "max_seconds": None, "max_device_seconds": None}


def test_the_limit_that_will_end_the_search_is_named():
    trials = ended_at([(i, i + 1) for i in range(10)])  # one a minute, 10 s of training each
    table = limits_table(
        trials,
        max_trials=40,
        max_seconds=3600.0,
        max_device_seconds=200.0,
        elapsed_seconds=600.0,
        given_up_seconds=20.0,
    ).set_index("limit")
    assert table["left_seconds"].to_dict() == pytest.approx(
        {"trials": 30 * 60, "seconds": 3000, "device_seconds": 80 / (10 / 60)}
    )
    assert table["share"].to_dict() == pytest.approx(
        {"trials": 0.25, "seconds": 600 / 3600, "device_seconds": 120 / 200}
    )
    assert table.index[table["is_first"]].tolist() == ["device_seconds"]


def test_only_trials_that_trained_count_for_the_limit():
    trials = ended_at([(i, i + 1) for i in range(4)])
    trials.loc[1, "reused"] = True
    trials.loc[2, "state"] = "failed"
    table = limits_table(trials, **{**LIMITS, "max_trials": 4}, elapsed_seconds=0.0)
    assert table["done"].tolist() == [2]


def test_a_run_past_its_limit_has_nothing_left_and_one_without_limits_no_rows():
    trials = ended_at([(i, i + 1) for i in range(4)])
    over = limits_table(trials, **{**LIMITS, "max_trials": 2}, elapsed_seconds=0.0)
    assert (over["share"].item(), over["left_seconds"].item()) == (1.0, 0.0)
    assert limits_table(trials, **LIMITS, elapsed_seconds=0.0).empty
    unknown = limits_table(EMPTY, **{**LIMITS, "max_trials": 2}, elapsed_seconds=0.0)
    assert np.isnan(unknown["left_seconds"].item())
    assert not unknown["is_first"].any()
