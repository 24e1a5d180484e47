"""A training: its steps, epochs, pauses; what a step may take and give, so that a graph can be."""

import itertools
import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from small_training import IMAGE, small_architecture, small_data
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from nas.architecture import Architecture
from nas.datasets.augment import augment, draw_crops, normalise
from nas.model import Network, build
from nas.task import RECIPES, Recipe, Steps
from nas.training.device_queue import free_bytes
from nas.training.failures import TrainingFailed
from nas.training.graph import WARM_UP_STEPS, StepGraph, warm_up
from nas.training.loop import Plan, Training
from nas.training.order import Batches, epoch_flips, epoch_order
from nas.training.schedule import learning_rate
from nas.training.seeds import derive_seed, generator
from nas.training.step import EpochStep


def recipe_with(**changes: object) -> Recipe:
    return RECIPES["default"].model_copy(update=changes)


def bare_architecture() -> Architecture:
    """Nothing random in it, and one head."""
    return replace(small_architecture(dropout=0.0), auxiliary=())


def training_of(
    seed: int = 0, architecture: Architecture | None = None, **changes: object
) -> Training:
    data, statistics = small_data()
    plan = Plan(
        recipe_with(**{"batch_size": 32, **changes}), "float32", classes=4, epochs=6, images=96
    )
    return Training(architecture or small_architecture(), data.train, statistics, plan, seed)


def plain_training(steps: int) -> tuple[list[float], Network]:
    """The losses and the network of :func:`training_of` after steps written out the plain way."""
    data, statistics = small_data()
    recipe = recipe_with(batch_size=32, augment="crop-flip")
    network = build(bare_architecture(), IMAGE, 4, seed=derive_seed(0, "weights"))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = recipe.norm_momentum
    weights = [item for item in network.parameters() if item.dim() > 1]
    others = [item for item in network.parameters() if item.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others}],
        lr=1.0,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )
    batches, losses = Batches.plan(len(data.train), 32, 96), []
    for done in range(steps):
        epoch, index = divmod(done, batches.steps)
        order = epoch_order(batches, 0, epoch)
        flips = epoch_flips(batches, 0, epoch, order)[index]
        crops = draw_crops(order.numel(), 12, 12, generator(0, "crops", epoch))
        images = data.train.images[order[index]]
        images = augment(images, flips, crops.view(batches.steps, 32, 2)[index])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, done, batches.steps, 6)
        optimizer.zero_grad()
        logits = network(normalise(images, statistics, channels_last=True))
        labels = data.train.labels[order[index]]
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, network


def weights_of(training: Training) -> list[Tensor]:
    return [item.detach().clone() for item in training.network.state_dict().values()]


def test_training_learns_and_uses_channels_last() -> None:
    data, _ = small_data()
    training = training_of()
    assert training.network.stem[0].conv.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]
    losses = [training.run_epoch().loss for _ in range(6)]
    assert losses[-1] < losses[0] - 0.3
    assert training.validate(data.validation).error < 0.3


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.01},
        {"momentum": 0.5},
        {"nesterov": False},
        {"weight_decay": 0.1},
        {"schedule": Steps(factor=0.5, epochs=1)},
        {"label_smoothing": 0.0},
        {"norm_momentum": 0.5},
        {"augment": "none"},
        {"batch_size": 16},
    ],
)
def test_every_setting_of_a_recipe_matters(change: dict[str, object]) -> None:
    one, two = training_of(), training_of(**change)
    one.run_epoch(), two.run_epoch()
    assert not all(map(torch.equal, weights_of(one), weights_of(two)))


def test_the_seed_decides_weights_order_and_masks_and_nothing_else_does() -> None:
    one = training_of(seed=5)
    one.run_epoch()
    torch.manual_seed(12345)
    torch.rand(100)
    two, other = training_of(seed=5), training_of(seed=6)
    two.run_epoch(), other.run_epoch()
    assert all(map(torch.equal, weights_of(one), weights_of(two)))
    assert not all(map(torch.equal, weights_of(one), weights_of(other)))


def test_steps_are_told() -> None:
    told: list[int] = []
    training_of().run_epoch(told.append)
    assert told == [1, 2, 3]


def test_a_loss_that_is_not_finite_ends_the_training_with_epoch_and_step() -> None:
    training = training_of(learning_rate=1e30)
    with pytest.raises(TrainingFailed, match=r"the loss became (nan|inf) in epoch 1 by step [23]"):
        training.run_epoch()


def test_a_validation_loss_that_is_not_finite_is_a_failure() -> None:
    training, (data, _) = training_of(), small_data()
    with torch.no_grad():
        training.network.head.classifier.weight.fill_(math.nan)
    with pytest.raises(TrainingFailed, match="the validation loss became nan after epoch 0"):
        training.validate(data.validation)


def test_a_step_takes_everything_from_tensors_that_the_epoch_fills() -> None:
    """What a graph's replay must do: the same call, with no word from the host between steps."""
    training = training_of(architecture=bare_architecture(), augment="crop-flip")
    step = training._step
    losses, sums = [], [0.0]
    for epoch in range(2):
        training.epoch = epoch
        training.begin_epoch()
        for _ in range(3):
            step()
            sums.append(training._epoch.loss.item())
        losses += [after - before for before, after in itertools.pairwise(sums[-4:])]
        assert training._epoch.step.item() == 3
        sums = [0.0]
    wanted, network = plain_training(6)
    assert losses == pytest.approx(wanted, rel=1e-4)
    ours = training.network.state_dict()
    for name, item in network.state_dict().items():
        torch.testing.assert_close(ours[name], item, rtol=2e-3, atol=2e-4)


class _Recorder(TorchDispatchMode):
    """Every operation with what it takes from the host: numbers, shapes, types."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, str]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        # Marks for profilers are objects, a new one each.
        if not str(func).startswith("profiler."):
            words = tree_map(_shown, [args, kwargs or {}])
            self.operations.append((str(func), str(words)))
        return func(*args, **(kwargs or {}))


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return "generator" if isinstance(value, torch.Generator) else repr(value)


def recorded(training: Training) -> list[tuple[str, str]]:
    with _Recorder() as recorder:
        training._step()
    return recorder.operations


def test_every_step_is_the_same_operations_on_the_same_host_values() -> None:
    """A graph repeats what one step did: nothing that changes may come from the host."""
    training = training_of(augment="crop-flip")
    training.begin_epoch()
    first = recorded(training)
    assert len(first) > 100
    assert recorded(training) == first
    training.epoch = 4
    training.begin_epoch()
    assert recorded(training) == first
    names = {name for name, _ in first}
    # What brings a number to the host or from there, or has a shape that depends on numbers.
    refused = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique")
    assert not [name for name in names if any(word in name for word in refused)]
    with _Recorder() as seen:
        training._epoch.loss.item()
    assert any("_local_scalar_dense" in name for name, _ in seen.operations)


def test_the_epochs_parts_are_the_whole_epoch() -> None:
    one, two = training_of(), training_of()
    result = one.run_epoch()
    two.begin_epoch()
    for done in range(3):
        assert two.steps_done == done
        two.step()
    assert two.end_epoch().loss == result.loss
    assert (two.epoch, two.steps_done) == (1, 3)
    assert all(map(torch.equal, weights_of(one), weights_of(two)))


def test_a_training_in_an_epoch_cannot_be_saved() -> None:
    training = training_of()
    training.begin_epoch()
    training.step()
    with pytest.raises(ValueError, match="within an epoch"):
        training.state_dict()


def test_loading_leaves_every_tensor_in_its_place() -> None:
    one, two = training_of(), training_of(seed=1)
    one.run_epoch(), two.run_epoch()
    state = one.state_dict()
    tensors = two._step.changed_tensors()
    places = [item.data_ptr() for item in tensors]
    two.load_state_dict(state)
    after = two._step.changed_tensors()
    assert [item.data_ptr() for item in after] == places
    # Through the references that were taken before, as a captured step holds them.
    names = len(one._step.changed_tensors()) - 3  # all but counter, loss and rate
    assert all(map(torch.equal, tensors[:names], one._step.changed_tensors()[:names]))


def test_a_warm_up_leaves_no_trace() -> None:
    one, two = training_of(), training_of()
    tensors = two._step.changed_tensors()
    before = [item.clone() for item in tensors]
    places = [item.data_ptr() for item in tensors]
    two._epoch.rates.fill_(0.5)  # so that the weights change, too
    passes: list[int] = []
    hook = two.network.stem.register_forward_hook(lambda *_: passes.append(1))
    warm_up(two._step)
    hook.remove()
    assert len(passes) == WARM_UP_STEPS
    assert all(map(torch.equal, tensors, before))
    assert [item.data_ptr() for item in two._step.changed_tensors()] == places
    assert all(item.grad is None for item in two.network.parameters())
    one.run_epoch(), two.run_epoch()
    assert all(map(torch.equal, weights_of(one), weights_of(two)))


class _UncheckedReplay:
    """What a graph's replay is, without a graph: the step, and no number read."""

    def __init__(self, step: EpochStep) -> None:
        self.replay, self.is_closed = step, False

    def close(self) -> None:
        self.is_closed = True


def replaying(training: Training) -> Training:
    training._graph = cast("StepGraph", _UncheckedReplay(training._step))
    return training


def test_a_replayed_epoch_is_that_of_steps() -> None:
    one, two = training_of(), replaying(training_of())
    for _ in range(2):
        assert one.run_epoch().loss == two.run_epoch().loss
    assert all(map(torch.equal, weights_of(one), weights_of(two)))


def test_replays_are_checked_at_the_end_of_the_epoch() -> None:
    training = replaying(training_of(learning_rate=1e30))
    training.begin_epoch()
    for _ in range(3):
        training.step()
    with pytest.raises(TrainingFailed, match=r"the loss became (nan|inf) in epoch 1 by step 3"):
        training.end_epoch()


def test_trainings_in_turn_are_as_alone() -> None:
    alone = [training_of(seed=seed) for seed in range(2)]
    for training in alone:
        training.run_epoch()
    turned = [training_of(seed=seed) for seed in range(2)]
    for training in turned:
        training.begin_epoch()
    for _ in range(3):
        for training in turned:
            training.step()
    for one, two in zip(alone, turned, strict=True):
        two.end_epoch()
        assert all(map(torch.equal, weights_of(one), weights_of(two)))


def test_memory_of_captured_steps_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def segment(size: int, used: int, pool: int, device: int = 0) -> dict[str, Any]:
        return {
            "device": device,
            "total_size": size,
            "active_size": used,
            "segment_pool_id": (pool, 0),
        }

    kept = [
        segment(1, 0, pool=0),
        segment(20, 5, pool=0),
        segment(300, 0, pool=7),
        segment(4000, 0, pool=0, device=1),
    ]
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: kept)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (50_000, 80_000))
    assert free_bytes(torch.device("cuda:0")) == 50_001
    assert free_bytes(torch.device("cpu")) == 0
