"""What a search would take, before it is begun."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
from small_search import small_task
from test_search import TINY

from nas.architecture import Shape
from nas.cli.search_end import _at_once
from nas.cost import count_cost
from nas.search.launch import run_search
from nas.search.plan import Plan, plan_search
from nas.search.request import SearchRequest
from nas.task import Target, Task


def embedded() -> Task:
    target = Target(image=Shape(1, 28, 28), classes=10)
    changes = {"data": "fashion-mnist-mini", "target": target, "validation_images": 500}
    return small_task(epochs=4, images=64).model_copy(update=changes)


def planned(results: Path, **settings: Any) -> Plan:
    request = SearchRequest(name="x", results=results, device="cpu", **settings)
    return plan_search(TINY, embedded(), request)


def test_a_plan_counts_and_measures(tmp_path: Path) -> None:
    plan = planned(tmp_path, trials=30, workers=2)
    assert (plan.space, plan.size, plan.num_parameters) == ("tiny", TINY.size, 12)
    assert (plan.images, plan.workers, plan.accepted) == (4 * 64, 2, 1.0)
    least, median, largest = plan.costs["macs"]
    every = [count_cost(item, Shape(1, 28, 28), 10).macs for item in TINY.enumerate()]
    assert min(every) <= least < median < largest <= max(every) <= plan.reference[1]
    assert plan.trial_seconds > 0
    assert plan.seconds == pytest.approx(15 * plan.trial_seconds)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_how_many_at_once(tmp_path: Path) -> None:
    plan = planned(tmp_path, trials=2)
    assert plan.concurrency == 1
    assert _at_once(plan) == "a trial at a time"
    assert _at_once(replace(plan, concurrency=8)) == "8 trials at once"
    measured = _at_once(replace(plan, concurrency=None))
    assert measured == "as many trials at once as are fastest"


def test_a_budget_shows_in_the_plan(tmp_path: Path) -> None:
    plan = planned(tmp_path, budgets={"macs": 1_000_000}, trials=64, seconds=0.001)
    assert plan.accepted < 1
    assert plan.costs["macs"][2] <= 1_000_000 == plan.reference[1]
    assert plan.seconds == 0.001


def test_a_plan_refuses_what_a_search_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown sampler 'tpa'"):
        planned(tmp_path, sampler="tpa")
    with pytest.raises(ValueError, match="trials must be an integer from 1, not -3"):
        planned(tmp_path, trials=-3)


def test_a_search_can_be_asked_for_as_it_is_planned() -> None:
    """Settings are listed twice, in the call that people make and in what is shared behind it."""
    shared = {field.name: field for field in fields(SearchRequest)}
    del shared["trains_here"]  # follows from the address of Ray
    taken = signature(run_search).parameters
    assert [name for name in taken if name in shared] == list(shared)
    own = {"space", "task", "executor", "evaluate", "data", "display"}
    own |= {"gpus_per_trial", "cpus_per_trial", "ray_address", "artifacts"}
    assert set(taken) - set(shared) == own
    for name, field in shared.items():
        default = Parameter.empty if field.default is MISSING else field.default
        assert taken[name].default == default, name
