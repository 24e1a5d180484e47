"""What a search would take, before it is begun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_search import small_task
from test_search import TINY

from nas.architecture import Shape
from nas.cli.search_end import _at_once
from nas.cost import count_cost
from nas.search.plan import plan_search
from nas.task import Target, Task


def embedded() -> Task:
    target = Target(image=Shape(1, 28, 28), classes=10)
    changes = {"data": "fashion-mnist-mini", "target": target, "validation_images": 500}
    return small_task(epochs=4, images=64).model_copy(update=changes)


def test_a_plan_counts_and_measures(tmp_path: Path) -> None:
    plan = plan_search(
        TINY, embedded(), name="x", results=tmp_path, trials=30, workers=2, device="cpu"
    )
    assert (plan.space, plan.size, plan.num_parameters) == ("tiny", TINY.size, 12)
    assert (plan.images, plan.workers, plan.accepted) == (4 * 64, 2, 1.0)
    least, median, largest = plan.costs["macs"]
    every = [count_cost(item, Shape(1, 28, 28), 10).macs for item in TINY.enumerate()]
    assert min(every) <= least < median < largest <= max(every) <= plan.reference[1]
    assert plan.trial_seconds > 0
    assert plan.seconds == pytest.approx(15 * plan.trial_seconds)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_how_many_at_once(tmp_path: Path) -> None:
    plan = plan_search(TINY, embedded(), name="x", results=tmp_path, trials=2, device="cpu")
    assert plan.concurrency == 1
    assert _at_once(plan) == "a trial at a time"
    assert _at_once(replace(plan, concurrency=8)) == "8 trials at once"
    measured = _at_once(replace(plan, concurrency=None))
    assert measured == "as many trials at once as are fastest"


def test_a_budget_shows_in_the_plan(tmp_path: Path) -> None:
    plan = plan_search(
        TINY,
        embedded(),
        name="x",
        results=tmp_path,
        budgets={"macs": 1_000_000},
        trials=64,
        seconds=0.001,
        device="cpu",
    )
    assert plan.accepted < 1
    assert plan.costs["macs"][2] <= 1_000_000 == plan.reference[1]
    assert plan.seconds == 0.001


def test_a_plan_refuses_what_a_search_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown sampler 'tpa'"):
        plan_search(TINY, embedded(), name="x", results=tmp_path, sampler="tpa")
    with pytest.raises(ValueError, match="trials must be an integer from 1, not -3"):
        plan_search(TINY, embedded(), name="x", results=tmp_path, trials=-3)
