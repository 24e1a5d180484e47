"""A whole search over the tiny space with scripted training: recorded, proposed, resumed."""

from __future__ import annotations

import errno
import json
import math
import resource
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_search import error_of, result, small_architecture, small_task, trained
from sqlalchemy.event import listen

from nas.architecture import Architecture, Shape
from nas.cli.boundary import exit_code
from nas.cli.search_end import finish
from nas.cost import count_cost
from nas.datasets import from_tensors
from nas.records import Location, Outcome, Proposal, Rejections, Run, open_run
from nas.records.writing import RunWriter
from nas.search.display import NoDisplay
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search
from nas.search.ledger import Ledger, Trial
from nas.search.samplers import SAMPLERS, Mirror
from nas.space import SearchSpace
from nas.task import Target, Task, proxy

TINY = SearchSpace.load("tiny")
IMAGE = Shape(1, 16, 16)


def task(epochs: int = 4, width: float = 1.0) -> Task:
    small = small_task(epochs)
    narrow = small.proxy.model_copy(update={"width": width})
    return small.model_copy(update={"target": Target(image=IMAGE, classes=10), "proxy": narrow})


def search(path: Path, script: Any = trained, capacity: int = 1, **settings: Any) -> Run:
    defaults: dict[str, Any] = {"name": "run", "results": path, "trials": 12, "sampler": "random"}
    executor = ScriptedExecutor(script, capacity)
    return run_search(TINY, task(), executor=executor, **{**defaults, **settings})


class Dead(Exception):  # noqa: N818 - it is not an error but an end
    """The driver dies here, without a chance to write anything."""


def killed_at(number: int, done: bool = False) -> Callable[[Job], list[Report]]:
    """A script under which the driver dies when it submits that trial."""

    def script(job: Job) -> list[Report]:
        if job.number == number:
            raise Dead
        return trained(job)

    return script


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_searches_and_repeats_nothing(tmp_path: Path, sampler: str) -> None:
    run = search(tmp_path, sampler=sampler, trials=25)
    trials = run.trials
    assert list(trials["state"]) == ["complete"] * len(trials)
    assert (~trials["reused"]).sum() == 25
    assert trials["fingerprint"].is_unique
    assert trials.loc[~trials["reused"], "proxy_fingerprint"].is_unique
    assert (trials["origin"] == f"sampler:{sampler}").sum() > 12
    assert run.state == "finished"


def test_what_is_recorded(tmp_path: Path) -> None:
    run = search(tmp_path, objectives=("error", "params"), seed=5)
    for row in run.trials.to_dict("records"):
        architecture = run.architecture(row["number"])
        cost = count_cost(architecture, IMAGE, 10)
        assert row["fingerprint"] == architecture.fingerprint
        assert (row["macs"], row["params"]) == (cost.macs, cost.params)
        assert row["activation_bytes"] == cost.activation_bytes
        assert row["peak_activation_bytes"] == cost.peak_activation_bytes
        assert row["error"] == error_of(architecture)
        assert (row["seed"], row["epochs"], row["reused"]) == (5, 4, False)
        assert row["started"] <= row["finished"]
    assert run.settings.objectives == ("error", "params")
    assert run.settings.reference[0] == 0.9
    assert run.settings.reference[1] >= run.trials["params"].max()
    first = run.curves[run.curves["number"] == 0]
    assert list(first["epoch"]) == [1, 2, 4]
    assert list(first["train_loss"]) == [1.0, 0.5, 0.25]
    assert first["error"].iloc[-1] == run.trials["error"][0]
    assert TINY.decode(run.values[3]) == run.architecture(3)
    shown = run.choices.iloc[3].dropna().drop("number")
    assert set(shown.index) == TINY.active(run.values[3])


def test_same_seed_same_trials(tmp_path: Path) -> None:
    runs = [search(tmp_path / str(i), sampler="tpe", trials=16) for i in (0, 1)]
    assert list(runs[0].trials["architecture"]) == list(runs[1].trials["architecture"])
    other = search(tmp_path / "2", sampler="tpe", trials=16, seed=1)
    assert list(other.trials["architecture"]) != list(runs[0].trials["architecture"])


@pytest.mark.parametrize("sampler", ["random", "qmc", "nsga2", "tpe"])
def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(tmp_path: Path, sampler: str) -> None:
    whole = search(tmp_path / "whole", sampler=sampler, trials=24)
    with pytest.raises(Dead):
        search(tmp_path / "cut", killed_at(15), sampler=sampler, trials=24)
    cut = search(tmp_path / "cut", sampler=sampler, trials=24, resume=True)
    columns = ["number", "architecture", "error", "origin"]
    pd.testing.assert_frame_equal(cut.trials[columns], whole.trials[columns])


def test_a_resumed_search_keeps_its_limits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"name": "run", "results": tmp_path, "sampler": "random"}

    def go_on(script: Any = trained, **given: Any) -> Run:
        executor = ScriptedExecutor(script)
        return run_search(None, None, executor=executor, resume=True, **settings, **given)

    with pytest.raises(Dead):
        search(tmp_path, killed_at(3), trials=6, seconds=1000)
    assert len(go_on().trials) == 6
    assert len(go_on(trials=8).trials) == 8
    longer = go_on(seconds=2000)
    assert len(longer.trials) == 8
    assert (longer.settings.trials, longer.settings.seconds) == (8, 2000)
    with pytest.raises(ValueError, match="trials must be an integer from 1, not 0"):
        go_on(trials=0)


def test_limits_of_a_new_run(tmp_path: Path) -> None:
    assert search(tmp_path, name="a", trials=None).settings.trials == 64
    timed = search(tmp_path, name="b", trials=None, seconds=0.05).settings
    assert (timed.trials, timed.seconds) == (None, 0.05)


def test_another_sampler_is_recorded(tmp_path: Path) -> None:
    search(tmp_path, trials=2, sampler="random")
    search(tmp_path, trials=3, sampler="tpe", resume=True)
    assert open_run(tmp_path / "run").settings.sampler == "tpe"


def test_killed_with_eight_done_and_two_running(tmp_path: Path) -> None:
    with pytest.raises(Dead):
        search(tmp_path, killed_at(9), capacity=2, trials=16)
    before = open_run(tmp_path / "run")
    assert before.state == "interrupted"
    states = list(before.trials["state"])
    done = [index for index, state in enumerate(states) if state == "complete"]
    running = [index for index, state in enumerate(states) if state == "running"]
    assert (len(done), running) == (8, [8, 9])

    jobs: list[Job] = []

    def script(job: Job) -> list[Report]:
        jobs.append(job)
        return trained(job)

    after = search(tmp_path, script, capacity=2, trials=16, resume=True)
    pd.testing.assert_frame_equal(after.trials.loc[done], before.trials.loc[done])
    assert [job.number for job in jobs][:2] == running
    assert [job.architecture for job in jobs[:2]] == [before.architecture(n) for n in running]
    assert (after.trials["state"] == "complete").sum() == 16 == len(after.trials)
    assert after.trials["fingerprint"].is_unique
    assert not set(after.trials["fingerprint"][10:]) & set(before.trials["fingerprint"])


def test_a_proxy_is_trained_once(tmp_path: Path) -> None:
    jobs: list[Job] = []

    def script(job: Job) -> list[Report]:
        jobs.append(job)
        return trained(job)

    # At a width of 1/4 many networks of the space have the same proxy.
    narrow = task(width=0.25)
    executor = ScriptedExecutor(script, capacity=4)
    run = run_search(
        TINY, narrow, name="r", results=tmp_path, trials=60, executor=executor, sampler="random"
    )
    trials = run.trials
    assert trials["reused"].sum() > 5
    assert len(jobs) == 60 == (~trials["reused"]).sum()
    assert trials.loc[~trials["reused"], "proxy_fingerprint"].is_unique
    trained_errors = trials[~trials["reused"]].set_index("proxy_fingerprint")["error"]
    for row in trials[trials["reused"]].to_dict("records"):
        assert row["error"] == trained_errors[row["proxy_fingerprint"]]
        assert row["reason"].startswith("the same proxy network as trial ")
        assert row["train_seconds"] == 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_proxy_in_training_is_waited_for(tmp_path: Path, fails: bool) -> None:
    narrow = task(width=0.25)
    groups: dict[str, list[Architecture]] = {}
    for item in TINY.enumerate():
        groups.setdefault(proxy(item, narrow).fingerprint, []).append(item)
    same = max(groups.values(), key=len)[:3]

    def script(job: Job) -> list[Report]:
        if fails and job.number == 0:
            return [Report(0, "started"), Report(0, "failed", None, "no memory")]
        return trained(job)

    executor = ScriptedExecutor(script, capacity=3)
    run = run_search(
        TINY, narrow, name="r", results=tmp_path, trials=3, executor=executor, seed_with=same
    )
    assert [job.number for job in executor.submitted] == [0, 3, 4] + [5] * fails
    three = run.trials[:3]
    assert list(three["reused"]) == [False, True, True]
    if fails:
        assert list(three["reason"]) == ["no memory"] + ["as trial 0: no memory"] * 2
    else:
        assert three["error"].nunique() == 1
        assert list(three["reason"][1:]) == ["the same proxy network as trial 0"] * 2
    assert set(three["state"]) == ({"failed"} if fails else {"complete"})


def test_failures_have_a_reason_and_are_not_proposed_again(tmp_path: Path) -> None:
    def script(job: Job) -> list[Report]:
        if job.number % 3 == 0:
            reports = trained(job)[:2]
            return [*reports, Report(job.number, "failed", None, "the loss is nan at epoch 2")]
        return trained(job)

    run = search(tmp_path, script, trials=20, sampler="tpe")
    trials = run.trials
    failed = trials[trials["state"] == "failed"]
    assert len(failed) >= 9
    assert set(failed["reason"]) == {"the loss is nan at epoch 2"}
    assert failed["error"].isna().all()
    assert set(failed["epochs"]) == {1}
    assert (trials["state"] == "complete").sum() == 20
    assert trials["fingerprint"].is_unique


def test_an_error_that_is_not_finite_fails_the_trial(tmp_path: Path) -> None:
    def script(job: Job) -> list[Report]:
        if job.number == 1:
            return [Report(1, "done", result(4, float("nan")))]
        return trained(job)

    run = search(tmp_path, script, trials=3)
    assert list(run.trials["state"]) == ["complete", "failed", "complete", "complete"]
    assert run.trials["reason"][1] == "it ended without an error to compare"


def test_ten_failures_in_a_row_end_the_search(tmp_path: Path) -> None:
    run = search(tmp_path, lambda job: [Report(job.number, "failed", None, "no memory")])
    assert len(run.trials) == 10
    assert run.ended is not None
    assert run.ended.message == "10 trials failed in a row; the last: no memory"
    assert run.state == "interrupted"
    assert finish(run) == 1
    resumed = search(tmp_path, resume=True)
    assert (resumed.trials["state"] == "complete").sum() == 12
    assert resumed.state == "finished"


def test_a_lost_trial_is_tried_four_times(tmp_path: Path) -> None:
    tries: dict[int, int] = {}

    def script(job: Job) -> list[Report]:
        tries[job.number] = tries.get(job.number, 0) + 1
        lost = Report(job.number, "lost", None, "the worker was killed by SIGSEGV")
        if job.number == 2 or (job.number == 4 and tries[4] < 4):
            return [*trained(job)[:2], lost]
        return trained(job)

    run = search(tmp_path, script, trials=6)
    assert (tries[2], tries[4]) == (4, 4)
    assert list(run.trials["state"]) == ["complete"] * 2 + ["failed"] + ["complete"] * 4
    assert run.trials["reason"][2] == "the worker was killed by SIGSEGV, 4 times in all"
    assert list(run.curves.loc[run.curves["number"] == 4, "epoch"]) == [1, 2, 4]


def test_what_is_lost_beside_others_is_not_held_against_it(tmp_path: Path) -> None:
    """Six shared losses and then one of its own: it may still run three more times."""
    tries: dict[int, int] = {}
    notes = Notes()

    def script(job: Job) -> list[Report]:
        tries[job.number] = tries.get(job.number, 0) + 1
        is_shared = tries[job.number] <= 6
        if job.number == 1 and tries[1] <= 9:
            reason = "the worker was killed by SIGSEGV"
            return [*trained(job)[:2], Report(1, "lost", None, reason, is_shared=is_shared)]
        return trained(job)

    run = search(tmp_path, script, trials=3, display=notes)
    assert tries[1] == 10
    assert list(run.trials["state"]) == ["complete"] * 3
    again = [line for line in notes.lines if "it runs again" in line]
    assert again == [
        *["trial 1: the worker was killed by SIGSEGV, with others beside it; it runs again alone"]
        * 6,
        *["trial 1: the worker was killed by SIGSEGV; it runs again"] * 3,
    ]


class Shrinking(ScriptedExecutor):
    """Its capacity goes up and down at every poll, as measurements may have it."""

    def poll(self, timeout: float) -> list[Report]:
        reports = super().poll(timeout)
        self.capacity = max(len(self._running), 1 + (self.capacity + 2) % 5)
        return reports


def test_capacity_may_change_at_any_time(tmp_path: Path) -> None:
    executor = Shrinking(trained)
    run = run_search(TINY, task(), name="r", results=tmp_path, trials=12, executor=executor)
    assert list(run.trials["state"]) == ["complete"] * 12


def test_a_trial_that_is_given_up_is_no_suspect_any_more(tmp_path: Path) -> None:
    stopped: list[int] = []

    class Watched(ScriptedExecutor):
        def stop(self, number: int) -> None:
            stopped.append(number)
            super().stop(number)

    def script(job: Job) -> list[Report]:
        return [Report(0, "lost", None, "it died")] if job.number == 0 else trained(job)

    run_search(TINY, task(), name="r", results=tmp_path, trials=2, executor=Watched(script))
    assert stopped == [0]


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_lost_trial_says_nothing_of_its_proxy(tmp_path: Path, is_cut: bool) -> None:
    narrow = task(width=0.25)
    groups: dict[str, list[Architecture]] = {}
    for item in TINY.enumerate():
        groups.setdefault(proxy(item, narrow).fingerprint, []).append(item)
    same = max(groups.values(), key=len)[:3]
    taught: list[int] = []

    def script(job: Job) -> list[Report]:
        if job.number == 0:
            return [Report(0, "lost", None, "the worker was killed by SIGKILL")]
        if is_cut and job.number == 1 and not taught:
            taught.append(1)
            raise Dead
        return trained(job)

    settings: dict[str, Any] = {"name": "r", "results": tmp_path, "trials": 3, "seed_with": same}
    if is_cut:
        with pytest.raises(Dead):
            run_search(TINY, narrow, executor=ScriptedExecutor(script, 3), **settings)
    executor = ScriptedExecutor(script, 3)
    run = run_search(TINY, narrow, executor=executor, resume=is_cut, **settings)
    assert list(run.trials["state"][:3]) == ["failed", "complete", "complete"]
    assert list(run.trials["reused"][:3]) == [False, False, True]
    assert run.lost == {0}


def test_a_reused_failure_is_not_one_more_in_a_row(tmp_path: Path) -> None:
    ledger = Ledger(("error",), (0.9,))
    proposal = Proposal(small_architecture(), {}, {}, "p", 0, "")
    for number in range(3):
        ledger.trials[number] = Trial(proposal, number)
        ledger.end(number, Outcome("failed", reused=number > 0))
    assert ledger.failures_in_a_row == 1


def test_seeds_outlive_a_kill(tmp_path: Path) -> None:
    seeds = list(TINY.enumerate())[100:104]
    with pytest.raises(Dead):
        search(tmp_path, killed_at(1), seed_with=seeds[:3], trials=6)
    run = search(tmp_path, seed_with=seeds[2:], trials=6, resume=True)
    assert [run.architecture(number) for number in range(4)] == seeds
    assert run.rejections.counts.get("repeat", 0) == 0
    assert len(run.settings.first) == 4


def test_what_to_begin_with_outlives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.search.prepare.NUM_DRAWN", 5)
    least = min(count_cost(item, IMAGE, 10).macs for item in TINY.enumerate())
    with pytest.raises(Dead):
        search(tmp_path, killed_at(0), budgets={"macs": least}, seed_with=[])
    recorded = open_run(tmp_path / "run").settings.first
    assert [origin for origin, _ in recorded] == ["smallest:macs"]


@pytest.mark.parametrize("returned", [1.5, -0.1, 93.0])
def test_an_own_function_must_return_an_error(tmp_path: Path, returned: float) -> None:
    run = run_search(
        TINY, task(), name="r", results=tmp_path, trials=1, evaluate=lambda *_: returned
    )
    reasons = set(run.trials["reason"])
    assert reasons == {f"evaluate returned {returned}, not an error from 0 to 1"}


def change_settings(path: Path, **changes: Any) -> None:
    """Let a run seem to be made elsewhere."""
    with sqlite3.connect(path / "run" / "study.db") as database:
        query = "SELECT value_json FROM study_user_attributes WHERE key = 'settings'"
        settings = {**json.loads(database.execute(query).fetchone()[0]), **changes}
        database.execute(
            "UPDATE study_user_attributes SET value_json = ? WHERE key = 'settings'",
            (json.dumps(settings),),
        )
    database.close()


class Notes(NoDisplay):
    """Keeps what a search says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_resume_without_the_recorded_device(tmp_path: Path) -> None:
    search(tmp_path, trials=1)
    change_settings(tmp_path, device="cuda")
    with pytest.raises(ValueError, match=r"run 'run' trains on cuda and cannot go on .*no GPU"):
        run_search(None, None, name="run", results=tmp_path, resume=True)


def test_a_resume_says_what_is_not_as_it_was(tmp_path: Path) -> None:
    search(tmp_path, trials=1)
    change_settings(tmp_path, device="cuda", versions={"torch": "1.0"})
    notes = Notes()
    run = search(tmp_path, trials=1, resume=True, display=notes, device="cpu")
    assert notes.lines[0] == "the run trained on cuda so far and goes on on cpu"
    assert notes.lines[1].startswith("the run began with torch 1.0, this is torch ")
    assert run.settings.device == "cpu"


def test_a_resume_notices_other_data(tmp_path: Path) -> None:
    its_task = small_task().model_copy(update={"target": Target(image=IMAGE, classes=3)})
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (90, *IMAGE), dtype=torch.uint8, generator=generator)
    labels = torch.arange(90) % 3

    def go(images: torch.Tensor, **settings: Any) -> Run:
        data = from_tensors(images.clone(), labels[: len(images)], ["a", "b", "c"])
        settings |= {"name": "run", "results": tmp_path, "workers": 1, "device": "cpu"}
        return run_search(TINY, its_task, data=data, trials=1, **settings)

    run = go(images)
    assert run.settings.data is not None
    assert (run.settings.data["images"], run.settings.data["classes"]) == (90, 3)
    with pytest.raises(ValueError, match=r"data has changed, data\.images is 90 in .* and 84 now"):
        go(images[:84], resume=True)
    images[5, 0, 3, 3] ^= 1
    with pytest.raises(ValueError, match=r"data has changed, data\.checksum is"):
        go(images, resume=True)
    images[5, 0, 3, 3] ^= 1
    assert len(go(images, resume=True).trials) == 1


def test_budgets_cost_no_training(tmp_path: Path) -> None:
    budget = 300_000
    run = search(tmp_path, budgets={"macs": budget}, trials=20, sampler="nsga2")
    assert run.trials["macs"].max() <= budget
    assert run.rejections.counts["macs"] > 0
    row = next(row for row in run.rejections.last if row["kind"] == "macs")
    assert row["reason"].endswith("over the budget 300K")
    values = dict(zip(TINY.parameters, row["values"], strict=True))
    assert count_cost(TINY.decode(values), IMAGE, 10).macs > budget
    assert run.settings.budgets == {"macs": budget}
    assert run.settings.reference[1] == budget


def test_samplers_learn_from_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Larger is better here, and the budget allows a fifth of the space: only what is refused
    # tells the sampler to stay small.
    def script(job: Job) -> list[Report]:
        return trained(job, lambda item: 0.8 - 0.1 * math.log10(count_cost(item, IMAGE, 10).macs))

    settings: dict[str, Any] = {"budgets": {"macs": 250_000}, "objectives": ("error",)}
    settings |= {"sampler": "tpe", "trials": 30}
    taught = search(tmp_path / "taught", script, **settings).rejections.counts["macs"]
    monkeypatch.setattr(Mirror, "refuse", lambda self, handle, costs, violation: self.drop(handle))
    untaught = search(tmp_path / "untaught", script, **settings).rejections.counts["macs"]
    assert taught < untaught / 2


def test_the_space_comes_to_an_end(tmp_path: Path) -> None:
    few = SearchSpace.from_yaml(SMALL_SPACE)
    executor = ScriptedExecutor(trained, 3)
    run = run_search(few, task(), name="r", results=tmp_path, executor=executor, sampler="tpe")
    assert len(run.trials) == few.size
    assert set(run.trials["fingerprint"]) == {a.fingerprint for a in few.enumerate()}
    assert run.ended is not None
    assert run.ended.kind == "proposals"
    assert run.ended.message == "every network of the space was trained or rejected"
    assert run.state == "finished"


SMALL_SPACE = """
format: 1
name: few
stem: [{op: conv, kernel: 3, stride: 2, channels: [8, 16, 24]}]
stages: {count: 1, cells: [1, 2, 3]}
cell:
  branches:
    1x1: {forms: 1x1, channels: {options: [8, 16], scope: network}}
    3x3: {forms: 3x3, channels: 8}
"""


def test_seeds_come_first(tmp_path: Path) -> None:
    seeds = list(TINY.enumerate())[100:102]
    run = search(tmp_path, seed_with=seeds, trials=5, sampler="nsga2")
    assert [run.architecture(number) for number in (0, 1)] == seeds
    assert list(run.trials["origin"][:2]) == [f"seed:{item.fingerprint}" for item in seeds]
    resumed = search(tmp_path, seed_with=seeds, trials=7, resume=True)
    assert resumed.trials["fingerprint"].is_unique
    assert len(resumed.trials) == 7


def test_time_counts_over_restarts(tmp_path: Path) -> None:
    start = time.monotonic()
    run = search(tmp_path, trials=None, seconds=0.6)
    assert run.ended is not None
    assert run.ended.kind == "time"
    assert 0.3 < run.elapsed_seconds <= time.monotonic() - start
    again = search(tmp_path, trials=None, seconds=0.6, resume=True)
    assert len(again.trials) == len(run.trials)
    later = run.elapsed_seconds + 600
    more = search(tmp_path, trials=len(run.trials) + 1, seconds=later, resume=True)
    assert len(more.trials) > len(run.trials)


def test_trials_count_over_restarts(tmp_path: Path) -> None:
    search(tmp_path, trials=5)
    assert len(search(tmp_path, trials=5, resume=True).trials) == 5
    run = search(tmp_path, trials=8, resume=True)
    assert len(run.trials) == 8
    assert run.state == "finished"


def test_fewer_trials_than_there_are_is_said(tmp_path: Path) -> None:
    run = search(tmp_path, trials=1)
    assert run.ended is not None
    assert run.ended.message == "1 trial trained, as asked"
    search(tmp_path, trials=5, resume=True)
    again = search(tmp_path, trials=2, resume=True)
    assert again.ended is not None
    assert again.ended.message == "the run already has 5 trials trained, 2 asked"


def test_a_sampler_may_change_at_a_resume(tmp_path: Path) -> None:
    search(tmp_path, trials=25, sampler="random")
    run = search(tmp_path, trials=40, sampler="nsga2", resume=True)
    assert set(run.trials["origin"][:25]) == {"sampler:random"}
    assert set(run.trials["origin"][25:]) <= {"sampler:nsga2", "mutation", "random"}
    assert (run.trials["origin"] == "sampler:nsga2").sum() > 5


def test_one_objective_is_enough(tmp_path: Path) -> None:
    run = search(tmp_path, objectives=("error",), sampler="tpe", trials=15)
    assert len(run.trials) == 15


def evaluate(architecture: Architecture, task: Task, seed: int) -> float:
    return error_of(architecture)


def test_own_function_in_this_process_and_in_workers(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"results": tmp_path, "trials": 4, "evaluate": evaluate, "seed": 2}
    here = run_search(TINY, task(), name="here", **settings)
    there = run_search(TINY, task(), name="there", workers=2, **settings)
    assert here.settings.evaluate == "test_search.evaluate"
    assert list(here.trials["fingerprint"][:2]) == list(there.trials["fingerprint"][:2])
    for run in (here, there):
        for row in run.trials.to_dict("records"):
            assert row["error"] == error_of(run.architecture(row["number"]))


# ------------------------------------------------------------------------------------ bad input

BAD = [
    ({"name": "../../x"}, "a run's name must be .* not '../../x'"),
    ({"name": ".."}, "a run's name must be"),
    ({"name": "a/b"}, "a run's name must be"),
    ({"trials": -3}, "trials must be an integer from 1, not -3"),
    ({"seconds": 0}, "the time must be over 0 seconds, not 0"),
    ({"sampler": "ngsa2"}, "unknown sampler 'ngsa2'; did you mean 'nsga2'"),
    ({"objectives": ("error", "mac")}, "unknown objective 'mac'; did you mean 'macs'"),
    ({"objectives": ("macs", "params")}, "objectives must be error and any of"),
    ({"objectives": ("error", "error")}, "objectives must be error and any of"),
    ({"budgets": {"flops": 1}}, "unknown budget 'flops'"),
    ({"budgets": {"macs": 0}}, "the budget of macs must be an integer from 1, not 0"),
    ({"budgets": {"macs": 1000}}, r"nothing in space 'tiny' meets .* smallest found has \d"),
    ({"seed": -1}, "seed must be an integer"),
    ({"seed_with": ["googlnet"]}, "'googlnet'; did you mean 'googlenet'"),
    ({"seed_with": ["googlenet"]}, "seed:googlenet is not in space 'tiny': "),
    ({"seed_with": [small_architecture()]}, "is not in space 'tiny'"),
    ({"storage": "nonsense"}, "storage must be a URL"),
    ({"resume": True}, "there is no run 'run' in .* to resume"),
    ({"executor": "locl"}, "unknown executor 'locl'; did you mean 'local'"),
    ({"executor": "local", "device": "gpu"}, "device must be auto, cpu or cuda, not 'gpu'"),
    ({"executor": "local", "device": "cpu", "workers": 0}, "workers must be an integer from 1"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_input_writes_nothing(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"name": "run", "executor": ScriptedExecutor(trained)}
    with pytest.raises(ValueError, match=message) as error:
        run_search(TINY, task(), results=tmp_path / "results", **{**defaults, **settings})
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_over_the_budget_is_refused(tmp_path: Path) -> None:
    largest = max(TINY.enumerate(), key=lambda item: count_cost(item, IMAGE, 10).macs)
    with pytest.raises(ValueError, match=r"cannot be searched: macs .* over the budget 300K"):
        search(tmp_path, seed_with=[largest], budgets={"macs": 300_000})
    assert list(tmp_path.iterdir()) == []


def test_a_space_that_fits_nowhere(tmp_path: Path) -> None:
    pixels = task(width=0.5).model_copy(update={"target": Target(image=Shape(1, 1, 1), classes=10)})
    with pytest.raises(ValueError, match="no network of space 'tiny' fits the task: of 100 drawn"):
        run_search(TINY, pixels, name="r", results=tmp_path, executor=ScriptedExecutor(trained))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_exists(tmp_path: Path) -> None:
    search(tmp_path, trials=2)
    with pytest.raises(ValueError, match=r"run 'run' exists already \(finished\); go on with"):
        search(tmp_path, trials=2)


def test_resume_says_what_differs(tmp_path: Path) -> None:
    search(tmp_path, trials=2)
    small = SearchSpace.from_yaml(SMALL_SPACE)
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (TINY, task(epochs=8), {}, "another task: task.proxy.epochs is 4 in the run and 8 now"),
        (small, task(), {}, r"another space: space\.\S+ is .* in the run and .* now"),
        (TINY, task(), {"objectives": ("error", "params")}, r'\["error", "macs"\] in the run and'),
        (TINY, task(), {"seed": 3}, "another seed: seed is 0 in the run and 3 now"),
        (
            TINY,
            task(),
            {"budgets": {"macs": 500_000}},
            "other budgets: the run has no budgets.macs, and 500000 is given now",
        ),
    ]
    for space, its_task, settings, message in cases:
        with pytest.raises(ValueError, match=message):
            run_search(
                space,
                its_task,
                name="run",
                results=tmp_path,
                resume=True,
                executor=ScriptedExecutor(trained),
                **settings,
            )
    # As recorded where nothing is given.
    run = run_search(
        None,
        None,
        name="run",
        results=tmp_path,
        trials=3,
        resume=True,
        executor=ScriptedExecutor(trained),
    )
    assert len(run.trials) == 3


def test_rejections_in_a_row_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.search.driver.MOST_REJECTED", 50)
    # Nothing but the seed meets a budget this tight; chance finds it too seldom.
    least = min(count_cost(item, IMAGE, 10).macs for item in TINY.enumerate())
    run = search(tmp_path, budgets={"macs": least}, trials=40)
    assert run.ended is not None
    assert run.ended.message.startswith("50 proposals in a row were rejected; the last: ")
    assert run.trials["macs"].max() == least


# ------------------------------------------------------------------------------------ faults


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    messages: list[str] = []

    def script(job: Job) -> list[Report]:
        with pytest.raises(ValueError, match="already driven") as error:
            search(tmp_path, resume=True)
        messages.append(str(error.value))
        assert open_run(tmp_path / "run").state == "running"
        assert open_run(tmp_path / "run").ended is None
        return trained(job)

    search(tmp_path, script, trials=1)
    assert f"run 'run' is already driven by process {__import__('os').getpid()};" in messages[0]


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_search import search
        from pathlib import Path
        from small_search import trained
        path = Path({str(tmp_path)!r})
        search(path, trials=5)
        size = (path / "run" / "study.db").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, size + 8192))
        try:
            search(path, trials=500, resume=True)
        except OSError as error:
            print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, done
    assert lines[0].startswith("cannot write run 'run' (")
    assert "what was finished is kept" in lines[0]
    run = open_run(tmp_path / "run")
    assert (run.trials["state"] == "complete").sum() >= 5
    assert run.state == "interrupted"
    assert resource.RLIMIT_FSIZE
    resumed = search(tmp_path, trials=30, resume=True)
    assert (resumed.trials["state"] == "complete").sum() == 30


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        search(tmp_path / "file" / "results")


@pytest.mark.parametrize(
    ("pragma", "number"), [("max_page_count = 1", errno.ENOSPC), ("query_only = 1", errno.EROFS)]
)
def test_a_fault_of_the_disk_keeps_its_number(tmp_path: Path, pragma: str, number: int) -> None:
    run = search(tmp_path, trials=1)
    location = Location(run.url, run.name, run.path)
    writer = RunWriter(location, ("error", "macs"), {})
    listen(writer._storage.engine, "connect", lambda raw, _: raw.execute(f"PRAGMA {pragma}"))
    writer._storage.engine.dispose()
    with pytest.raises(OSError, match=r"^cannot write run 'run' \(") as error:
        writer.set_rejections(Rejections({"macs": 1}, ({"text": "x" * 1_000_000},)))
    assert error.value.errno == number
    assert exit_code(error.value) == 2
    writer.close()


def test_a_run_in_a_shared_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    search(tmp_path / "results", storage=url, trials=3, name="one")
    two = search(tmp_path / "results", storage=url, trials=4, name="two")
    assert len(two.trials) == 4
    assert len(open_run(f"{url}#one").trials) == 3
    assert len(open_run(url, "two").trials) == 4
    with pytest.raises(ValueError, match="holds several studies; there are 'one', 'two'"):
        open_run(url)
    with pytest.raises(ValueError, match="exists already"):
        search(tmp_path / "results", storage=url, name="one")
