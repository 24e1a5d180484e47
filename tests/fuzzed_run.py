"""A run whose database holds every kind of text that a run or its confirmation may have."""

from __future__ import annotations

import contextlib
from pathlib import Path

from latency_tables import made_table
from small_search import error_of, result, small_task, trained

from nas.architecture import Shape
from nas.records import Outcome, Proposal, locate, open_run
from nas.records.confirmation import ConfirmSettings, Finalist, confirmation_location
from nas.records.stored import LATENCY_TABLE, Ended
from nas.records.writing import RunWriter, create_run
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search
from nas.search.samplers import distributions_of
from nas.space import SearchSpace
from nas.task import Target


def make_fuzzed_run(results: Path) -> Path:
    """Complete, stopped, failed, lost, reused and running trials, and a confirmation of three."""
    space = SearchSpace.load("tiny")
    target = Target(image=Shape(1, 16, 16), classes=10)
    task = small_task(epochs=4).model_copy(update={"target": target})

    def script(job: Job) -> list[Report]:
        if job.number == 3:
            return [*trained(job)[:2], Report(3, "failed", None, "the loss is nan at epoch 2")]
        if job.number == 5:
            return [Report(5, "lost", None, "the worker was killed by SIGKILL")]
        final = error_of(job.architecture)
        rungs = [result(epoch, final + job.number / 50 / epoch) for epoch in job.task.rungs]
        reports = [Report(job.number, "rung", rung) for rung in rungs]
        return [Report(job.number, "started"), *reports, Report(job.number, "done", rungs[-1])]

    run = run_search(
        space,
        task,
        name="run",
        results=results,
        trials=14,
        budgets={"macs": 400_000},
        sampler="nsga2",
        halving=True,
        seed_with=list(space.enumerate())[:1],
        executor=ScriptedExecutor(script, 3),
    )
    location = locate("run", results)
    with contextlib.closing(
        RunWriter(location, run.settings.objectives, distributions_of(space))
    ) as writer:
        table = made_table(space, Shape(1, 16, 16), 10)
        writer.set_attribute(LATENCY_TABLE, table.to_data())
        network = run.architecture(0)
        proposal = Proposal(
            network, space.encode(network), cost_of(run.path), "p", 0, "random", {}, 0.25
        )
        writer.interrupt(writer.add(proposal))
        writer.set_given_up_seconds(3.5)
    _confirm(run.path)
    return run.path


def cost_of(path: Path) -> dict[str, float]:
    row = open_run(path).trials.iloc[0]
    return {
        name: int(row[name])
        for name in ("macs", "params", "activation_bytes", "peak_activation_bytes")
    }


def _confirm(path: Path) -> None:
    run = open_run(path)
    costs = cost_of(path)
    complete = run.trials.loc[run.trials["state"] == "complete", "number"].tolist()[:3]
    finalists = tuple(
        Finalist(
            f"trial {number}", "front", run.architecture(number).to_json(), costs, number,
            ("knee",), 0.25,
        )
        for number in complete
    )  # fmt: skip
    settings = ConfirmSettings(3, 1, 0, (), finalists)
    location = confirmation_location(run)
    attributes = {"settings": run.settings.to_data(), "confirm": settings.to_data()}
    create_run(location, run.settings, attributes)
    with contextlib.closing(RunWriter(location, run.settings.objectives, {})) as writer:
        for finalist in finalists:
            number = writer.add(
                Proposal(
                    finalist.network, {}, costs, finalist.network.fingerprint, 0, finalist.name
                )
            )
            writer.set_curve(number, [[1, 1.0, 1.1, 0.5, 2.0, 0.1]])
            writer.finish(number, costs, Outcome("complete", 0.3, 4, 8.0), 9.0)
        writer.set_attribute("test", {"images": 100, "results": {"0": [0.3, 1.0]}})
        writer.set_ended(Ended("trained", "3 trainings are done", 9.0))
