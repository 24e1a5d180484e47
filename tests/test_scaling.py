"""Simulated workers: a free driver repeats itself, no time is lost, a slow one is waited for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import scaling
from efficiency.table import Table
from simulation.clock import NOTHING, REST, Clock, Meter, PricedTime
from simulation.curves import MadeCurves, TableCurves
from simulation.measures import summary
from simulation.search import Setup, Simulated, simulate

SLOW = {"storage": 0.05, "sampler": 0.2}
"""Prices of a driver that takes half a second a trial and more."""


@pytest.fixture(scope="module")
def curves() -> TableCurves:
    return TableCurves(Table.read(scaling.TABLE))


def found(curves: TableCurves, path: Path, **settings: object) -> Simulated:
    defaults: dict[str, object] = {
        "workers": 8,
        "trials": 60,
        "sampler": "random",
        "driver": "free",
    }
    return simulate(curves, Setup(**{**defaults, **settings}), path)  # type: ignore[arg-type]


class FakeTime:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestClock:
    def test_the_driver_moves_it_and_jumps_do(self):
        real = FakeTime()
        clock = Clock(real)
        real.now += 2
        assert clock.monotonic() == 2
        clock.skip_to(10)
        real.now += 1
        assert clock.monotonic() == 11
        clock.skip_to(5)
        assert clock.monotonic() == 11

    def test_the_simulation_itself_takes_no_time(self):
        real = FakeTime()
        clock = Clock(real)
        real.now += 2
        with clock.paused():
            real.now += 50
            assert clock.monotonic() == 2
        real.now += 1
        assert clock.monotonic() == 3

    def test_a_part_called_by_another_counts_for_itself(self):
        real = FakeTime()
        meter = Meter(Clock(real))
        real.now += 1
        with meter.part("storage"):
            real.now += 2
            with meter.part("ledger"):
                real.now += 4
            real.now += 8
        moments, spent = meter.timeline()
        assert moments[-1] == 15
        shares = {part: seconds[-1] for part, seconds in spent.items()}
        assert shares == {REST: 1, "storage": 10, "ledger": 4, NOTHING: 0}

    def test_prices_are_charged_by_the_call(self):
        prices = PricedTime({"storage": 0.5})
        clock = Clock(prices)
        meter = Meter(clock, prices)
        for part in ("storage", "ledger", "storage"):
            with meter.part(part):
                pass
        assert clock.monotonic() == 1.0


@pytest.fixture(scope="module")
def slow(curves, tmp_path_factory) -> Simulated:
    return found(curves, tmp_path_factory.mktemp("slow"), driver=SLOW, halving=True)


class TestConservation:
    def test_all_time_of_all_workers_is_busy_or_idle(self, slow):
        busy = float(np.diff(np.array(slow.log.busy)).sum())
        idle = sum(wait.end - wait.begin for wait in slow.log.idle)
        end = max(wait.end for wait in slow.log.idle)
        assert idle > 5
        assert busy + idle == pytest.approx(8 * end)
        assert all(wait.end >= wait.begin for wait in slow.log.idle)

    def test_what_is_asked_for_is_done_once(self, slow):
        trials = slow.run.trials
        assert len(slow.log.submitted) == len(slow.log.ended) == len(trials) == 60
        assert trials["fingerprint"].is_unique
        assert set(trials["state"]) == {"complete", "pruned"}
        assert slow.log.num_stopped == (trials["state"] == "pruned").sum()

    def test_busy_time_is_what_the_trials_took(self, slow):
        busy = float(np.diff(np.array(slow.log.busy)).sum())
        assert busy == pytest.approx(slow.run.trials["train_seconds"].sum())

    def test_the_parts_of_idle_time_are_all_of_it(self, slow):
        row = summary(slow)
        idle = sum(shares["all"] for shares in row["idle"].values())
        assert row["utilisation"] + idle == pytest.approx(1, abs=0.001)
        for shares in row["idle"].values():
            parts = sum(share for part, share in shares.items() if part != "all")
            assert parts == pytest.approx(shares["all"], abs=0.001)


class TestDriver:
    def test_without_time_it_repeats_itself_and_keeps_all_at_work(self, curves, tmp_path):
        rows, runs = [], []
        for place in ("first", "second"):
            one = found(curves, tmp_path / place, sampler="pareto", halving=True, trials=24)
            rows.append({**summary(one), "peak_megabytes": 0})
            runs.append(list(one.run.trials["architecture"]))
        assert rows[0] == rows[1]
        assert runs[0] == runs[1]
        assert rows[0]["utilisation"] == 1
        assert rows[0]["driver_busy_share"] == 0

    def test_with_time_more_workers_are_less_at_work(self, curves, tmp_path):
        rows = [
            summary(found(curves, tmp_path / str(w), workers=w, trials=2 * w + 12, driver=SLOW))
            for w in (2, 12, 40)
        ]
        shares = [row["utilisation"] for row in rows]
        assert shares[0] > 0.95
        assert shares[0] > shares[1] > shares[2]
        assert rows[-1]["driver_busy_share"] > 0.95
        # A driver that is never idle gives out what it can, however many workers there are.
        each = rows[-1]["driver_ms_per_trial"]["all"] / 1000
        assert rows[-1]["reached_per_second"] == pytest.approx(1 / each, rel=0.05)

    def test_what_the_storage_has_to_do_for_a_trial(self, curves, tmp_path):
        one = summary(found(curves, tmp_path, halving=False, trials=24))
        rungs = len(curves.task.rungs)
        # Its row, its curve at a rung, its end with the last of the curve; the study's own are few.
        assert 2 <= one["per_trial"]["transactions"] <= 1 + rungs + 1
        assert one["per_trial"]["statements"] < 45
        parameters = len(curves.space.parameters)
        assert one["per_trial"]["rows"] == pytest.approx(parameters + 6, abs=1)

    def test_it_ends_on_the_simulated_clock(self, curves, tmp_path):
        one = found(curves, tmp_path, trials=1000, limit_seconds=100.0)
        assert 0 < len(one.run.trials) < 60
        assert one.end == pytest.approx(100, abs=1)


class TestCurves:
    def test_made_ones_spread_like_the_measured_ones(self, curves):
        made = MadeCurves()
        random = np.random.default_rng(0)
        lasts = [made.training(made.space.random(random))[-1] for _ in range(200)]
        seconds = np.array([one.train_seconds for one in lasts])
        measured = np.array(
            [curves.training(one)[-1].train_seconds for one in list(curves.space.enumerate())[::9]]
        )
        assert seconds.std() / seconds.mean() == pytest.approx(
            measured.std() / measured.mean(), abs=0.08
        )

    def test_equal_architectures_have_equal_ones_that_come_down(self):
        made = MadeCurves()
        architecture = made.space.random(np.random.default_rng(1))
        curve = made.training(architecture)
        assert curve == MadeCurves().training(architecture)
        assert [one.epoch for one in curve] == list(made.task.rungs)
        assert curve[0].error > curve[-1].error


def test_rows_are_kept_and_not_made_again(tmp_path, capsys):
    words = ["--space", "tiny", "--workers", "4", "--trials", "12", "--storage", "sqlite"]
    words += ["--sampler", "random", "--driver", "free", "--out", str(tmp_path)]
    scaling.main(words)
    printed = capsys.readouterr()
    assert "4 workers: 100.0 % busy" in printed.err
    assert "## Workers at work" in printed.out
    text = (tmp_path / "rows.jsonl").read_text()
    row = json.loads(text)
    assert row["trials_ended"] == 12
    assert row["hardware"]["cores"] >= 1
    scaling.main(words)
    assert (tmp_path / "rows.jsonl").read_text() == text
    assert "busy" not in capsys.readouterr().err
    assert (tmp_path / "figure.html").stat().st_size > 1000
