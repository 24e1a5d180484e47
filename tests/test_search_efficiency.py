"""Measures of replayed searches by hand, and the command from searches to tables and figure."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from test_replay import small_space

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import search_efficiency
from efficiency import results
from efficiency.measures import (
    by_seconds,
    by_trials,
    first_reach,
    history,
    median,
    ratio,
)
from efficiency.page import shown
from efficiency.results import Series, bars
from efficiency.synthetic import synthetic_table
from replay import Search, Setup


@pytest.fixture(scope="module")
def table():
    return synthetic_table(space=small_space())


class TestMeasures:
    def test_stopped_trials_add_no_hypervolume(self, table):
        best = int(table.error.argmin())
        stopped = Search(rows=[best, 0], rungs=[4, 5], device_seconds=[1, 2])
        complete = Search(rows=[best, 0], rungs=[5, 5], device_seconds=[1, 2])
        assert history(stopped, table, "log")[0] == 0
        assert history(complete, table, "log")[0] > 0
        assert history(stopped, table, "log")[1] < history(complete, table, "log")[1]

    def test_all_rows_have_the_full_hypervolume(self, table):
        everything = Search(rows=list(range(208)), rungs=[5] * 208)
        for scale in ("log", "linear"):
            assert history(everything, table, scale)[-1] == pytest.approx(1)

    def test_first_reach(self):
        shares = np.array([0.0, 0.5, 0.97, 0.98, 1.0])
        assert first_reach(shares, [1, 2, 4, 8, 16], 0.98) == 8
        assert first_reach(shares[:3], [1, 2, 4], 0.98) == math.inf

    def test_censored_searches_make_the_median_larger(self):
        found = median([3, 1, 2, math.inf, 4])
        assert (found.value, found.reached, found.seeds) == (3, 4, 5)
        assert median([1, math.inf, math.inf]).value == math.inf
        assert shown(median([1, math.inf, math.inf]), ".0f").startswith("not reached [1,")
        assert shown(found, ".0f").endswith("(4 of 5)")

    def test_the_interval_is_that_of_a_median(self):
        values = np.random.default_rng(0).normal(10, 1, 400).tolist()
        found = median(values)
        assert found.low < np.median(values) < found.high
        # The standard error of a normal sample's median is 1.25 / sqrt(n).
        assert found.high - found.low == pytest.approx(2 * 1.96 * 1.25 / 20, rel=0.35)

    def test_a_ratio_with_censored_searches(self):
        assert ratio([8, 8, 8], [2, 2, 2]).value == 4
        assert ratio([math.inf] * 3, [2, 2, 2]).value == math.inf
        assert math.isnan(ratio([math.inf] * 3, [math.inf] * 3).value)

    def test_bands_go_as_far_as_all_searches_do(self):
        full, cut = np.array([0.5, 1.0]), np.array([0.1, 0.2, 0.3])
        band = by_trials([full, cut])
        assert band.at.tolist() == [1, 2, 3]
        assert band.middle == pytest.approx([0.3, 0.6, 0.65])
        at = np.array([0.5, 1, 2.5, 9])
        band = by_seconds([full, cut], [[1, 2], [1, 2, 3]], at)
        assert band.at.tolist() == [0.5, 1, 2.5]
        assert band.middle == pytest.approx([0, 0.3, 0.6])


@dataclass
class _Planned:
    """A search that completes these rows, a second each."""

    rows: list[int]
    rungs: list[int]
    device_seconds: list[float]


def series(table, sampler, seconds, *, halving=None, order=None):
    rows = order if order is not None else np.random.default_rng(0).permutation(208).tolist()
    times = (seconds * np.arange(1, len(rows) + 1)).tolist()
    search = _Planned(rows, [5] * len(rows), times)
    name = sampler + ("" if halving is None else " + halving")
    return Series(name, sampler, halving, 1, table, (search,) * 3)


class TestBars:
    def test_speeds_are_ratios_of_device_seconds(self, table):
        rows = bars(
            [
                series(table, "random", 10.0),
                series(table, "nsga2", 3.0),
                series(table, "tpe", 6.0),
                series(table, "pareto", 4.0),
                series(table, "pareto", 2.0, halving=""),
            ],
            "pareto",
        )
        by_question = {row["question"]: row for row in rows}
        row = by_question["device-seconds to 98%: random / pareto + halving"]
        assert row["measured"].value == pytest.approx(5)
        assert row["met"]
        row = by_question["device-seconds to 98%: nsga2 / pareto + halving"]
        assert row["measured"].value == pytest.approx(1.5)
        assert not row["met"]
        row = by_question["device-seconds to 98%: pareto / pareto + halving"]
        assert row["measured"].value == pytest.approx(2)
        assert not row["met"]

    def test_half_the_trials_and_the_lead_over_random(self, table):
        slow = np.random.default_rng(0).permutation(208).tolist()
        front = sorted(slow, key=lambda row: (table.error[row], table.macs[row]))
        found = bars(
            [
                series(table, "random", 1.0, order=slow),
                series(table, "tpe", 1.0, order=slow),
                series(table, "pareto", 1.0, order=slow[::-1]),
            ],
            "pareto",
        )
        trials, lead = found
        goal = history(_Planned(slow, [5] * 208, []), table, "log")[199]
        backwards = history(_Planned(slow[::-1], [5] * 208, []), table, "log")
        assert trials["measured"].value == (1 + np.argmax(backwards >= goal)) / 200
        assert lead["measured"].value == pytest.approx(
            (backwards - history(_Planned(slow, [5] * 208, []), table, "log"))[20:].min()
        )
        assert len(front) == 208


def test_plans_every_contestant_with_and_without_halving():
    setups = search_efficiency.plan(["random", "tpe", "pareto"], "pareto", [100, 101], [""])
    names = [one.series for one in setups if one.seed == 100]
    assert names == [
        "random",
        "random + halving",
        "tpe",
        "tpe + halving",
        "pareto",
        "pareto + halving",
        "random + halving signal=error",
        "random + halving signal=train_loss_sum",
        "random + halving signal=oracle,doubt=0",
        "pareto + halving, 8 workers",
    ]
    assert {one.seed for one in setups} == {100, 101}
    assert {one.trials for one in setups if one.sampler == "tpe"} == {
        search_efficiency.LIMITS["tpe"]
    }


def test_keys_follow_the_table_and_the_seed(table):
    setup = Setup("random", 0)
    keys = {
        search_efficiency.key_of(setup, table),
        search_efficiency.key_of(Setup("random", 1), table),
        search_efficiency.key_of(setup, synthetic_table(1, space=small_space())),
    }
    assert len(keys) == 3


def test_goes_on_where_it_stopped_and_writes_everything(tmp_path, table, monkeypatch, capsys):
    path = tmp_path / "table.json.gz"
    table.write(path)
    out = tmp_path / "out"
    words = ["--table", str(path), "--out", str(out), "--contestants", "random", "nsga2"]
    words += ["--ours", "nsga2", "--seeds", "100", "2", "--workers", "1"]
    monkeypatch.setattr(search_efficiency, "TRIALS_TOO", 30)
    monkeypatch.setattr(search_efficiency, "LIMITS", {"random": 30, "nsga2": 30})
    monkeypatch.setattr(search_efficiency, "ProcessPoolExecutor", InThisProcess)
    search_efficiency.main(words)
    rows = (out / "searches.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 8
    (out / "searches.jsonl").write_text("\n".join(rows[:5]) + '\n{"key": "cut of')
    capsys.readouterr()
    search_efficiency.main(words)
    error = capsys.readouterr().err
    assert "not complete" in error
    assert "11/11 in " in error
    again = [json.loads(row) for row in (out / "searches.jsonl").read_text().splitlines()[6:]]
    before = {row["key"]: row["search"]["rows"] for row in map(json.loads, rows)}
    assert len(again) == 11
    assert all(row["search"]["rows"] == before[row["key"]] for row in again)
    found = json.loads((out / "results.json").read_text())
    assert {row["series"] for row in found["effort"]} >= {"random", "nsga2 + halving"}
    assert all(row["trained_twice"] == 0 for row in found["effort"])
    assert "nsga2 + halving, 8 workers" in (out / "table.md").read_text()
    assert "plotly-basic.min.js" in (out / "figure.html").read_text()


def test_signals_rank_the_final_error(table):
    rows = results.signal_rows(table)
    assert [row["epoch"] for row in rows] == [1, 2, 4, 8, 16]
    assert rows[-1]["error"].value == pytest.approx(1)
    assert rows[0]["error"].value < rows[3]["error"].value < 1
    assert rows[-1]["error_other_seed"].items == 50


class InThisProcess:
    """A pool without processes; these would import torch."""

    def __init__(self, *_arguments, **_settings):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments))
        return future
