"""Averaged weights: the formula step by step, what is judged, what a pause keeps; the cosine."""

import math
from typing import Any

import pytest
import torch
from small_training import small_architecture, small_data, small_task
from torch import Tensor

from nas.evaluate import Evaluation
from nas.task import RECIPES, Cosine
from nas.training.graph import warm_up
from nas.training.loop import Plan, Training, host_copy
from nas.training.schedule import ema_decay, learning_rate

RECIPE = RECIPES["default"].model_copy(update={"batch_size": 32, "ema_decay": 0.8})


def training_of(**recipe: Any) -> Training:
    data, statistics = small_data()
    plan = Plan(RECIPE.model_copy(update=recipe), "float32", 4, 2, images=96)
    return Training(small_architecture(), data.train, statistics, plan, 0)


def test_the_average_follows_the_formula_with_statistics_and_without_counters() -> None:
    training = training_of()
    expected = {name: item.double() for name, item in host_copy(training.network).items()}
    training.begin_epoch()
    for step in range(training.batches.steps):
        training.step()
        decay = ema_decay(0.8, step)
        for name, item in host_copy(training.network).items():
            expected[name] = decay * expected[name] + (1 - decay) * item
    training.end_epoch()
    found = host_copy(training.judged)
    current = host_copy(training.network)
    for name, item in found.items():
        if name.endswith("num_batches_tracked"):
            assert item == current[name] == training.batches.steps
        else:
            torch.testing.assert_close(item.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert any("running_mean" in name for name in found)
    moved = [not torch.equal(found[name], current[name]) for name in found]
    assert sum(moved) > len(moved) / 2


def test_a_warm_up_puts_the_average_back() -> None:
    training = training_of()
    training.run_epoch()
    before = host_copy(training.judged)
    training.begin_epoch()
    warm_up(training._step)
    after = host_copy(training.judged)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_averaging_does_not_change_what_is_trained() -> None:
    one, other = training_of(), training_of(ema_decay=None)
    for training in (one, other):
        training.run_epoch()
    ours, theirs = host_copy(one.network), host_copy(other.network)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert other.judged is other.network


def test_what_is_validated_is_the_average() -> None:
    training = training_of()
    data, _ = small_data()
    training.run_epoch()
    before = training.validate(data.validation)
    with torch.no_grad():
        for item in training.network.parameters():
            item.zero_()
    assert training.validate(data.validation) == before
    with torch.no_grad():
        for item in training.judged.parameters():
            item.zero_()
    assert training.validate(data.validation).loss == pytest.approx(math.log(4))


def test_a_proxy_is_judged_by_its_average_and_goes_on_after_a_pause() -> None:
    task = small_task(ema_decay=0.9, operations=2, magnitude=0.5, cutout=0.3)

    def evaluation() -> Evaluation:
        data, statistics = small_data()
        return Evaluation(small_architecture(), task, 0, data, statistics)

    whole, first, second = evaluation(), evaluation(), evaluation()
    while not whole.done:
        whole.advance()
    first.advance()
    second.load_state_dict(first.state_dict())
    while not second.done:
        second.advance()
    assert [item.error for item in second.results] == [item.error for item in whole.results]
    assert _states_equal(whole.state_dict()["training"], second.state_dict()["training"])


def _states_equal(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_states_equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(_states_equal, one, two))
    return bool(one == two)


@pytest.mark.parametrize("change", [{"cutout": 0.5}, {"operations": 1, "magnitude": 0.9}])
def test_augmentation_reaches_the_network_and_is_the_seeds(change: dict[str, Any]) -> None:
    plain = training_of(ema_decay=None).run_epoch().loss
    one, two = (training_of(ema_decay=None, **change).run_epoch().loss for _ in range(2))
    assert one == two != plain


def test_the_decay_grows_to_the_recipes() -> None:
    assert [ema_decay(0.5, step) for step in (0, 4, 8, 9)] == [0.1, 5 / 14, 0.5, 0.5]


def test_the_cosine_rises_falls_and_ends_at_nothing() -> None:
    recipe = RECIPE.model_copy(update={"learning_rate": 2.0, "schedule": Cosine(warmup=0.2)})
    rates = [learning_rate(recipe, step, 10, 10) for step in range(100)]
    assert max(rates) == pytest.approx(2.0, rel=0.03)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    # Half of the way down the rate is half the peak; a triangle's is too, but a quarter is not.
    assert learning_rate(recipe, 0, 1, 1) == pytest.approx(2 * (1 - math.cos(math.pi * 0.625)) / 2)
    assert 0 < rates[-1] < 1e-3
    assert rates[40] == pytest.approx(1 + math.cos(math.pi * (0.405 - 0.2) / 0.8))
