"""Searches that stop trials at their rungs, with scripted training; and their budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_search import result, trained
from test_search import IMAGE, TINY, Dead, task

from nas.architecture import Architecture
from nas.cost import count_cost
from nas.records import Run, open_run
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.halving import Halving
from nas.search.launch import run_search

RUNGS = (1, 2, 4)


def wasteful(architecture: Architecture) -> float:
    """The more a network costs the worse it is: only the cheapest are on the front."""
    return min(0.9, 0.2 + count_cost(architecture, IMAGE, 10).macs / 1e6)


def waste(job: Job) -> list[Report]:
    return trained(job, wasteful)


class Recorder(ScriptedExecutor):
    """Also keeps what was let go on and what was stopped."""

    def __init__(self, script: Callable[[Job], list[Report]], capacity: int = 1) -> None:
        super().__init__(script, capacity)
        self.let_go_on: list[int] = []
        self.stopped: list[int] = []

    def go_on(self, number: int) -> None:
        self.let_go_on.append(number)
        super().go_on(number)

    def stop(self, number: int) -> None:
        if self._running.get(number):
            self.stopped.append(number)
        super().stop(number)


def search(path: Path, executor: ScriptedExecutor, **settings: Any) -> Run:
    given: dict[str, Any] = {"name": "run", "results": path, "trials": 40, "sampler": "random"}
    given["halving"] = True
    return run_search(TINY, task(), executor=executor, **{**given, **settings})


def test_who_is_left_behind_is_stopped_for_good(tmp_path: Path) -> None:
    executor = Recorder(waste)
    run = search(tmp_path, executor)
    trials = run.trials.set_index("number")
    stopped = trials[trials["state"] == "pruned"]
    complete = trials[trials["state"] == "complete"]
    assert len(stopped) >= 10
    assert set(trials["state"]) == {"complete", "pruned"}
    own = stopped[~stopped["reused"]]
    assert set(own.index) == set(executor.stopped)
    assert (own["epochs"] < 4).all()
    assert own["error"].isna().all()
    assert own["train_seconds"].tolist() == pytest.approx((0.1 * own["epochs"]).tolist())
    # A network is stopped for a reason, which names the rung, the rank and who dominates it.
    for _, row in own.iterrows():
        assert row["reason"].startswith(f"stopped at epoch {row['epochs']}: rank ")
        assert " validation loss at " in row["reason"]
    # Whoever trained to its end went by each rung but the last.
    for number in complete[~complete["reused"]].index:
        assert executor.let_go_on.count(number) >= 2
    # Stopped ones count as trained, and their curves stay.
    assert (~trials["reused"]).sum() == 40
    curves = run.curves.groupby("number")["epoch"].apply(list)
    for number, row in own.iterrows():
        assert curves[number] == [epoch for epoch in RUNGS if epoch <= row["epochs"]]
    assert [job.number for job in executor.submitted] == sorted(
        {*own.index, *complete[~complete["reused"]].index}
    )


def test_without_halving_all_train_to_their_end(tmp_path: Path) -> None:
    executor = Recorder(waste)
    run = search(tmp_path, executor, halving=False)
    assert set(run.trials["state"]) == {"complete"}
    assert not any(job.waits for job in executor.submitted)
    assert executor.stopped == []
    assert run.settings.halving is False


def test_the_decisions_are_those_of_the_reports_in_their_order(tmp_path: Path) -> None:
    run = search(tmp_path, Recorder(waste))
    halving = Halving(RUNGS, measure="validation loss")
    trials = run.trials.set_index("number")
    for number, curve in run.curves.groupby("number"):
        for epoch, loss in zip(curve["epoch"], curve["validation_loss"], strict=True):
            decision = halving.report(number, epoch, loss, [trials["macs"][number]])
        if trials["state"][number] == "pruned":
            assert decision.reason == trials["reason"][number]
        else:
            assert decision.goes_on


def test_a_resumed_search_stops_whom_it_would_have_stopped(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", Recorder(waste))

    def dies(job: Job) -> list[Report]:
        if job.number == 25:
            raise Dead
        return waste(job)

    with pytest.raises(Dead):
        search(tmp_path / "cut", Recorder(dies))
    cut = search(tmp_path / "cut", Recorder(waste), resume=True)
    columns = ["number", "state", "architecture", "reason", "epochs"]
    assert cut.trials[columns].equals(whole.trials[columns])
    assert cut.settings.halving is True
    # What was decided stays; from here on nobody is stopped.
    longer = search(tmp_path / "cut", Recorder(waste), resume=True, halving=False, trials=60)
    states = longer.trials["state"]
    assert states[: len(cut.trials)].equals(cut.trials["state"])
    assert (
        not longer.trials.loc[~longer.trials["reused"], "state"][len(cut.trials) :]
        .eq("pruned")
        .any()
    )


def test_one_that_runs_again_is_judged_once(tmp_path: Path) -> None:
    tries: list[int] = []

    def loses(job: Job) -> list[Report]:
        if job.number == 5 and not tries:
            tries.append(job.number)
            return [*waste(job)[:2], Report(job.number, "lost", None, "the worker died")]
        return waste(job)

    executor = Recorder(loses)
    run = search(tmp_path, executor, trials=10)
    assert [job.number for job in executor.submitted].count(5) == 2
    assert run.trials["state"].isin(["complete", "pruned"]).all()
    # What the first try took is not forgotten.
    assert run.given_up_seconds == pytest.approx(0.1)
    assert open_run(tmp_path / "run").given_up_seconds == pytest.approx(0.1)


def test_a_network_that_was_stopped_is_not_trained_for_another(tmp_path: Path) -> None:
    """At a small width many networks have one proxy: a stopped one's is the others' end, too."""
    executor = Recorder(waste)
    run = run_search(
        TINY,
        task(width=0.25),
        name="run",
        results=tmp_path,
        trials=60,
        sampler="random",
        halving=True,
        executor=executor,
    )
    trials = run.trials.set_index("number")
    again = trials[trials["reused"] & (trials["state"] == "pruned")]
    assert len(again)
    for _, row in again.iterrows():
        trainer = trials[
            (trials["proxy_fingerprint"] == row["proxy_fingerprint"]) & ~trials["reused"]
        ]
        assert row["reason"] == f"as trial {trainer.index[0]}: {trainer['reason'].iloc[0]}"
    assert not set(again.index) & {job.number for job in executor.submitted}


class TestDeviceSeconds:
    """--device-seconds counts what trials took, over restarts and at once."""

    def test_a_search_ends_when_they_are_spent(self, tmp_path: Path) -> None:
        run = search(tmp_path, Recorder(waste, 2), trials=None, device_seconds=5.0, halving=False)
        assert run.ended is not None
        assert run.ended.kind == "device-seconds"
        assert run.ended.message == "the budget is spent: 12 trials trained in 4.8s"
        assert run.trials.loc[~run.trials["reused"], "train_seconds"].sum() == pytest.approx(4.8)
        assert (run.settings.trials, run.settings.device_seconds) == (None, 5.0)

    def test_they_count_over_restarts(self, tmp_path: Path) -> None:
        search(tmp_path, Recorder(waste), trials=None, device_seconds=2.0, halving=False)
        more = run_search(
            None,
            None,
            name="run",
            results=tmp_path,
            resume=True,
            device_seconds=4.0,
            executor=Recorder(waste),
        )
        trained_seconds = more.trials.loc[~more.trials["reused"], "train_seconds"].sum()
        assert 3.5 < trained_seconds <= 4.0

    def test_given_up_trials_count(self, tmp_path: Path) -> None:
        def dies(job: Job) -> list[Report]:
            reports = waste(job)
            return reports[:3] if job.number == 2 else reports

        class Killed(Recorder):
            def poll(self, timeout: float) -> list[Report]:
                if 2 in self._running and not self._running[2]:
                    raise Dead
                return super().poll(timeout)

        with pytest.raises(Dead):
            search(tmp_path, Killed(dies), trials=4, halving=False)
        run = search(tmp_path, Recorder(waste), trials=4, resume=True)
        assert run.given_up_seconds == pytest.approx(0.2)

    @pytest.mark.parametrize("value", [0, -1.0])
    def test_what_is_no_budget_is_refused(self, tmp_path: Path, value: float) -> None:
        with pytest.raises(ValueError, match="the device-seconds must be over 0"):
            search(tmp_path, Recorder(waste), device_seconds=value)


def test_a_diverged_trial_fails_by_itself(tmp_path: Path) -> None:
    def diverges(job: Job) -> list[Report]:
        if job.number != 3:
            return waste(job)
        rung = result(1, float("nan"))
        return [
            Report(3, "started"),
            Report(3, "rung", rung),
            Report(3, "failed", rung, "the loss is not finite"),
        ]

    run = search(tmp_path, Recorder(diverges), trials=8)
    row = run.trials.set_index("number").loc[3]
    assert (row["state"], row["reason"]) == ("failed", "the loss is not finite")


@pytest.mark.parametrize("loss", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_ranks_last_whatever_the_error(
    tmp_path: Path, loss: float
) -> None:
    """Its error is on another scale than the others' losses: it would seem the best of all."""

    def overflows(job: Job) -> list[Report]:
        reports = waste(job)
        if job.number != 12:
            return reports
        return [
            replace(one, result=replace(one.result, validation_loss=loss, error=0.001))
            if one.result is not None
            else one
            for one in reports
        ]

    run = search(tmp_path, Recorder(overflows), trials=16)
    row = run.trials.set_index("number").loc[12]
    assert (row["state"], row["epochs"]) == ("pruned", 1)


class TestPatience:
    """--patience ends a search when its sampler expects little more."""

    def test_a_search_ends_when_little_is_expected(self, tmp_path: Path) -> None:
        # Any share is less than this: ten proposals after the first fit it is over.
        run = search(
            tmp_path, Recorder(waste), trials=200, sampler="pareto", patience=0.999, halving=False
        )
        assert run.ended is not None
        assert run.ended.kind == "patience"
        assert run.ended.message.startswith("a further trial is expected to add ")
        assert run.ended.message.endswith(" to the hypervolume, less than the 99.9 % asked for")
        assert 15 <= len(run.trials) <= 25

    def test_a_patient_search_goes_on(self, tmp_path: Path) -> None:
        run = search(
            tmp_path, Recorder(trained), trials=30, sampler="pareto", patience=1e-9, halving=False
        )
        assert run.ended is not None
        assert run.ended.kind == "trials"

    def test_a_sampler_that_expects_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="patience needs a sampler that says what it expects"):
            search(tmp_path, Recorder(waste), patience=0.01)
        with pytest.raises(ValueError, match="patience must be a share between 0 and 1, not 2"):
            search(tmp_path, Recorder(waste), sampler="pareto", patience=2)
