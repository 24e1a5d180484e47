"""Replayed searches: no architecture twice, seconds by hand, what samplers are told."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.pareto import hypervolume
from nas.space import SearchSpace

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import replay as replay_module
from efficiency.measures import Shares
from efficiency.samplers import Rows
from efficiency.synthetic import synthetic_table
from efficiency.table import Table
from replay import Proposer, Setup, make_halving, replay


def small_space() -> SearchSpace:
    """Tiny's first stage alone: 208 architectures."""
    data = json.loads(SearchSpace.load("tiny").to_json())
    data["stages"] = {"count": 1, "cells": {"low": 1, "high": 2}}
    del data["reductions"], data["auxiliary"]
    return SearchSpace(data, "small")


@pytest.fixture(scope="module")
def table() -> Table:
    return synthetic_table(space=small_space())


def studies_of(monkeypatch: pytest.MonkeyPatch) -> list[optuna.Study]:
    """The studies that replays from now on make."""
    made = []

    class Kept(Proposer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self.study)

    monkeypatch.setattr(replay_module, "Proposer", Kept)
    return made


class TestProposals:
    @pytest.mark.parametrize(("sampler", "workers"), [("random", 1), ("nsga2", 8)])
    def test_the_whole_table_is_trained_once(self, table, sampler, workers):
        search = replay(table, Setup(sampler, 3, halving="", workers=workers))
        assert sorted(search.rows) == list(range(208))
        assert sum(search.repeats) > 0
        assert 0 < search.fills < 208

    def test_other_answers_that_do_not_matter_are_a_repeat(self, table):
        values = table.space.encode(next(table.space.enumerate()))
        inactive = sorted(set(values) - table.space.active(values))[0]
        domain = table.space.parameters[inactive]
        other = {**values, inactive: next(v for v in domain.values if v != values[inactive])}
        assert other != values
        rows = Rows(table)
        assert rows(other) == rows(values) == 0

    def test_repeats_are_told_as_failed_and_a_drawn_one_counts_as_a_trial(self, table, monkeypatch):
        studies = studies_of(monkeypatch)
        search = replay(table, Setup("random", 0))
        states = [trial.state for trial in studies[0].get_trials(deepcopy=False)]
        assert states.count(TrialState.FAIL) == sum(search.repeats)
        assert states.count(TrialState.COMPLETE) == 208

    def test_the_same_setup_gives_the_same_search(self, table):
        setup = Setup("nsga2", 5, halving="", workers=4, trials=60)
        first, second = replay(table, setup), replay(table, setup)
        assert (first.rows, first.device_seconds) == (second.rows, second.device_seconds)
        assert replay(table, replace(setup, seed=6)).rows != first.rows


class TestClock:
    def test_one_worker_spends_the_sum_of_its_trials(self, table):
        search = replay(table, Setup("random", 0, trials=20))
        seconds = table.curves[0].seconds[search.rows, -1]
        assert search.device_seconds == pytest.approx(np.cumsum(seconds))
        assert search.clock_seconds == pytest.approx(np.cumsum(seconds))

    def test_workers_share_the_clock_and_not_the_seconds(self, table):
        search = replay(table, Setup("random", 0, workers=4, trials=40))
        seconds = table.curves[0].seconds[search.rows, -1]
        assert search.device_seconds[-1] == pytest.approx(seconds.sum())
        # All four are busy until the first one finds nothing to do.
        assert search.device_seconds[0] == pytest.approx(4 * search.clock_seconds[0])
        assert search.clock_seconds[-1] < 0.35 * seconds.sum()

    def test_a_stopped_trial_spends_the_seconds_of_its_rungs(self, table):
        search = replay(table, Setup("random", 0, halving="", trials=60))
        seconds = table.curves[0].seconds[search.rows, np.array(search.rungs) - 1]
        assert search.device_seconds == pytest.approx(np.cumsum(seconds))
        assert min(search.rungs) == 1
        assert max(search.rungs) == 5

    def test_ends_at_the_budget_of_seconds(self, table):
        search = replay(table, Setup("random", 0, device_seconds=10.0))
        assert search.device_seconds[-1] >= 10 > search.device_seconds[-2]

    def test_ends_with_the_whole_front_where_that_is_asked_for(self, table):
        search = replay(table, Setup("random", 0, until_full=True, at_least=1))
        assert len(search.rows) < 208
        found = hypervolume(table.points(search.rows), table.reference, log_axes=(1,))
        assert found == pytest.approx(table.full_hypervolume["log"])
        found = hypervolume(table.points(search.rows[:-1]), table.reference, log_axes=(1,))
        assert found < table.full_hypervolume["log"]


class TestHalving:
    def test_stopped_trials_are_pruned_with_their_curve(self, table, monkeypatch):
        studies = studies_of(monkeypatch)
        search = replay(table, Setup("random", 0, halving="", trials=60))
        rows = Rows(table)
        seen = {TrialState.PRUNED: 0, TrialState.COMPLETE: 0}
        for trial in studies[0].get_trials(deepcopy=False):
            if trial.state == TrialState.FAIL:
                continue
            row, curve = rows(trial.params), trial.user_attrs["curve"]
            seen[trial.state] += 1
            assert [epoch for epoch, _ in curve] == list(table.rungs[: len(curve)])
            assert [e for _, e in curve] == table.curves[0].error[row, : len(curve)].tolist()
            if trial.state == TrialState.COMPLETE:
                assert trial.values == [table.error[row], math.log10(table.macs[row])]
        assert seen[TrialState.COMPLETE] == search.rungs.count(5)
        assert seen[TrialState.PRUNED] == 60 - search.rungs.count(5) > 20

    def test_it_judges_at_the_rungs_that_are_given(self, table):
        search = replay(table, Setup("random", 0, halving="eta=4,rungs=1/4,doubt=0", trials=100))
        assert set(search.rungs) == {1, 3, 5}

    @pytest.mark.parametrize(
        "words", ["eta", "eta=two", "signal=macs", "rungs=3/5/1", "brackets=2"]
    )
    def test_words_that_say_nothing_are_refused(self, table, words):
        with pytest.raises(ValueError, match=r"halving|int|rising"):
            make_halving(table, words)

    def test_the_signal_decides(self, table):
        by_error = replay(table, Setup("random", 0, halving="", trials=60))
        by_loss = replay(table, Setup("random", 0, halving="signal=train_loss_sum", trials=60))
        assert by_error.rows != by_loss.rows or by_error.rungs != by_loss.rungs


def test_a_training_that_failed_is_told_as_failed(table, monkeypatch):
    curves = table.curves[0]
    error, seconds = curves.error.copy(), curves.seconds.copy()
    error[::2, 2:] = seconds[::2, 2:] = np.nan
    broken = replace(table, curves={0: replace(curves, error=error, seconds=seconds)})
    studies = studies_of(monkeypatch)
    search = replay(broken, Setup("random", 0, trials=30))
    assert {rung for row, rung in zip(search.rows, search.rungs, strict=True) if row % 2 == 0} == {
        2
    }
    states = [trial.state for trial in studies[0].get_trials(deepcopy=False)]
    assert states.count(TrialState.COMPLETE) == sum(row % 2 for row in search.rows)
    assert all(map(math.isfinite, search.device_seconds))


def test_shares_are_hypervolumes_of_the_rows_so_far(table):
    shares = Shares(table)
    rows = np.random.default_rng(0).permutation(208).tolist()
    for count, row in enumerate(rows[:30], 1):
        shares.add(row)
        for scale, axes in (("log", (1,)), ("linear", ())):
            volume = hypervolume(table.points(rows[:count]), table.reference, log_axes=axes)
            assert shares.of(scale) == pytest.approx(volume / table.full_hypervolume[scale])
    for row in rows[30:]:
        shares.add(row)
    assert shares.is_full


def test_the_command(capsys):
    replay_module.main(["--trials", "12", "--halving"])
    out = capsys.readouterr()
    assert out.out.startswith("random + halving: 12 trials, ")
    assert "made-up" in out.err
