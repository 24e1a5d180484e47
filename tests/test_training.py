"""The parts of a training: rates, order, seeds, optimiser, step, validation, failures."""

import itertools
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_training import IMAGE, small_architecture, small_data
from torch import nn
from torch.nn import functional

from nas.datasets.augment import normalise
from nas.model import Network, build
from nas.task import RECIPES, Recipe, Steps, Triangle
from nas.training import precision as precision_module
from nas.training.failures import TrainingFailed, memory_failures, memory_need
from nas.training.optimizer import create_optimizer, load_momentum, momentum_state, rate_of
from nas.training.order import Batches, epoch_flips, epoch_order
from nas.training.precision import resolve_precision
from nas.training.schedule import learning_rate
from nas.training.seeds import derive_seed, generator
from nas.training.step import TrainingStep
from nas.training.threads import ThreadChooser
from nas.training.validation import validate

DEFAULT = RECIPES["default"]


def recipe_with(**changes: object) -> Recipe:
    return DEFAULT.model_copy(update=changes)


# The learning rate


def test_the_triangle_rises_to_the_peak_and_falls_to_nothing() -> None:
    recipe = recipe_with(learning_rate=1.0, schedule=Triangle(warmup=0.25))
    rates = [learning_rate(recipe, step, 10, 2) for step in range(20)]
    # Steps of 1/20 at their middles: 1/40 of 10/40 on the way up, 39/40 on the way down.
    assert rates[:5] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert rates[5] == pytest.approx(0.5 * 29 / 15)
    assert rates[19] == pytest.approx((1 / 40) / 0.75)
    assert sum(rates) / 20 == pytest.approx(0.5)


def test_without_warmup_the_triangle_starts_at_the_top() -> None:
    recipe = recipe_with(learning_rate=1.0, schedule=Triangle(warmup=0.0))
    assert learning_rate(recipe, 0, 10, 1) == pytest.approx(0.95)


def test_the_papers_rate_falls_by_four_percent_every_eight_epochs() -> None:
    recipe = recipe_with(learning_rate=0.01, schedule=Steps(factor=0.96, epochs=8))
    epochs = [learning_rate(recipe, epoch * 5, 5, 100) for epoch in (0, 7, 8, 15, 16)]
    assert epochs == pytest.approx([0.01, 0.01, 0.0096, 0.0096, 0.009216])


# The order of images


def test_an_epoch_is_whole_batches_and_a_small_set_is_one() -> None:
    assert Batches.plan(100, 32) == Batches(100, 32, 3)
    assert Batches.plan(100, 32, 64) == Batches(100, 32, 2)
    assert Batches.plan(10, 32) == Batches(10, 10, 1)
    assert Batches.plan(10, 32, 25) == Batches(10, 25, 1)


def test_epochs_go_on_through_permutations_of_all_images() -> None:
    batches = Batches.plan(10, 4, 8)
    rows = torch.cat([epoch_order(batches, 3, epoch).flatten() for epoch in range(5)])
    for start in range(0, 40, 10):
        assert sorted(rows[start : start + 10].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:20].tolist()


def test_an_epoch_longer_than_the_set_passes_images_again() -> None:
    rows = epoch_order(Batches.plan(10, 5, 25), 0, 0).flatten().tolist()
    assert set(Counter(rows).values()) == {2, 3}


def test_the_order_is_the_seeds() -> None:
    batches = Batches.plan(50, 10)
    assert torch.equal(epoch_order(batches, 1, 2), epoch_order(batches, 1, 2))
    assert not torch.equal(epoch_order(batches, 1, 2), epoch_order(batches, 2, 2))
    assert not torch.equal(epoch_order(batches, 1, 2), epoch_order(batches, 1, 3))


# Flips


def test_flips_alternate_between_passes_of_an_image() -> None:
    batches = Batches.plan(50, 10, 30)
    seen: dict[int, list[bool]] = {image: [] for image in range(50)}
    for epoch in range(10):
        order = epoch_order(batches, 4, epoch)
        flips = epoch_flips(batches, 4, epoch, order)
        assert flips.shape == order.shape
        for image, flip in zip(order.flatten().tolist(), flips.flatten().tolist(), strict=True):
            seen[image].append(flip)
    for flips_of_one in seen.values():
        assert len(flips_of_one) == 6
        assert flips_of_one == [flips_of_one[0], not flips_of_one[0]] * 3
    assert 15 <= sum(flips_of_one[0] for flips_of_one in seen.values()) <= 35


def test_flips_are_the_seeds() -> None:
    batches = Batches.plan(50, 10)
    order = epoch_order(batches, 1, 0)
    assert torch.equal(epoch_flips(batches, 1, 0, order), epoch_flips(batches, 1, 0, order))
    assert not torch.equal(epoch_flips(batches, 1, 0, order), epoch_flips(batches, 2, 0, order))


# Seeds


def test_seeds_differ_by_every_word_and_never_change() -> None:
    assert derive_seed(0, "weights") == 5_147_875_554_478_041_081
    seeds = {derive_seed(0), derive_seed(1), derive_seed(0, "a"), derive_seed(0, "a", 1)}
    assert len(seeds) == 4
    draws = [torch.rand(3, generator=generator(0, "a")) for _ in range(2)]
    assert torch.equal(*draws)


# The optimiser


def network_of(seed: int = 0, **changes: object) -> Network:
    return build(replace(small_architecture(), **changes), IMAGE, 4, seed=seed)  # type: ignore[arg-type]


def test_weights_decay_and_norms_and_biases_do_not() -> None:
    network = network_of()
    optimizer = create_optimizer(
        network, recipe_with(weight_decay=0.1, momentum=0.0, nesterov=False)
    )
    rate_of(optimizer).fill_(0.5)
    before = {name: item.detach().clone() for name, item in network.named_parameters()}
    for item in network.parameters():
        item.grad = torch.zeros_like(item)
    optimizer.step()
    for name, item in network.named_parameters():
        decays = name.endswith("weight") and "norm" not in name
        torch.testing.assert_close(item, before[name] * (0.95 if decays else 1.0))


def test_the_fused_step_is_nesterovs() -> None:
    network = nn.Linear(3, 2, bias=False)
    optimizer = create_optimizer(network, recipe_with(momentum=0.9, weight_decay=0.01))
    weight, buffer = network.weight.detach().clone(), torch.zeros(2, 3)
    for step, rate in enumerate([0.1, 0.3, 0.2]):
        gradient = torch.full((2, 3), 1.0 + step)
        network.weight.grad = gradient.clone()
        rate_of(optimizer).fill_(rate)
        optimizer.step()
        slope = gradient + 0.01 * weight
        buffer = 0.9 * buffer + slope if step else slope.clone()
        weight = weight - rate * (slope + 0.9 * buffer)
        torch.testing.assert_close(network.weight.detach(), weight)


def test_momentum_is_saved_and_put_back() -> None:
    one, two = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    first, second = create_optimizer(one, DEFAULT), create_optimizer(two, DEFAULT)
    assert not any(item.any() for item in momentum_state(first))
    read = [second.state[item]["momentum_buffer"] for item in two.parameters()]
    for item in one.parameters():
        item.grad = torch.randn_like(item)
    first.step()
    load_momentum(second, momentum_state(first))
    saved, loaded = momentum_state(first), momentum_state(second)
    assert len(saved) == 2
    assert all(map(torch.equal, saved, loaded))
    # In place: a captured step reads these very tensors.
    assert all(map(torch.equal, read, saved))
    with pytest.raises(ValueError, match="another network"):
        load_momentum(create_optimizer(nn.Conv2d(2, 4, 3), DEFAULT), saved)
    with pytest.raises(ValueError, match="another network"):
        load_momentum(second, [])
    assert momentum_state(create_optimizer(one, recipe_with(momentum=0.0, nesterov=False))) == []


# The step


def test_the_gradient_is_that_of_the_weighted_sum_of_smoothed_losses() -> None:
    images, labels = torch.randn(8, 1, 12, 12), torch.arange(8) % 4
    bare = small_architecture(dropout=0.0)
    bare = replace(bare, auxiliary=(replace(bare.auxiliary[0], dropout=0.0),))
    network, twin = build(bare, IMAGE, 4, seed=1), build(bare, IMAGE, 4, seed=1)
    recipe = recipe_with(learning_rate=1.0, momentum=0.0, nesterov=False, weight_decay=0.0)
    step = TrainingStep(network, recipe, "float32", (0.3,))
    loss = step(images, labels)

    logits = twin.forward_with_auxiliary(images)
    main = functional.cross_entropy(logits.main, labels, label_smoothing=0.1)
    other = functional.cross_entropy(logits.auxiliary[0], labels, label_smoothing=0.1)
    (main + 0.3 * other).backward()
    assert loss.item() == pytest.approx(main.item(), rel=1e-6)
    for mine, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(mine.detach(), theirs.detach() - theirs.grad)


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_in_float32() -> None:
    network = network_of()
    seen: list[torch.dtype] = []
    network.stages[0][0].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    step = TrainingStep(network, DEFAULT, "bfloat16", (0.3,))
    step(torch.randn(8, 1, 12, 12), torch.arange(8) % 4)
    assert seen == [torch.bfloat16]
    assert {item.dtype for item in network.parameters()} == {torch.float32}


# Validation


def test_validation_is_the_plain_mean_over_all_images() -> None:
    data, statistics = small_data()
    network = network_of()
    with torch.no_grad():
        network.head.classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
    network.train()
    result = validate(network, data.train, statistics, "float32")
    assert network.training
    network.eval()
    with torch.no_grad():
        logits = network(normalise(data.train.images, statistics))
    wanted = functional.cross_entropy(logits, data.train.labels).item()
    assert result.loss == pytest.approx(wanted, rel=1e-5)
    wrong = (logits.argmax(1) != data.train.labels).sum().item()
    assert result.error == wrong / len(data.train)


# Failures of memory


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            "out of memory: 2.50 GiB were refused; a batch needs much",
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't "
                "allocate memory: you tried to allocate 1048576000 bytes. Error code 12"
            ),
            "out of memory: 1,000 MiB were refused; a batch needs much",
        ),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported"),
            "out of memory: the device refused; a batch needs much",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            "out of memory: the device refused; a batch needs much",
        ),
        (MemoryError(), "out of memory: the host refused; a batch needs much"),
    ],
)
def test_out_of_memory_says_what_was_refused_and_needed(error: Exception, reason: str) -> None:
    with (
        pytest.raises(TrainingFailed, match=f"^{re.escape(reason)}$"),
        memory_failures(lambda: "a batch needs much"),
    ):
        raise error


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), memory_failures(lambda: ""):
        raise RuntimeError("shapes differ")


# Precision


def test_precision_is_what_is_asked_for() -> None:
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("bfloat16") == "bfloat16"
    with pytest.raises(ValueError, match="must be auto, float32 or bfloat16, not 'int8'"):
        resolve_precision("int8")  # type: ignore[arg-type]


BUSY = [9.0, 1.0, 7.0, 30.0]
"""Seconds of equal passes that other load on the machine stretched, all but one."""


@pytest.mark.parametrize(
    ("float32", "bfloat16", "wanted"),
    [
        ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5], "bfloat16"),
        ([1.0, 1.0, 1.0], [0.9, 0.9, 0.9], "float32"),
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], "float32"),
        # Neither format's disturbed passes decide.
        (BUSY, [1.0, 1.0, 1.0, 1.0], "float32"),
        ([1.0, 1.0, 1.0, 1.0], [seconds / 2 for seconds in BUSY], "bfloat16"),
    ],
)
def test_a_processor_takes_what_is_clearly_faster_undisturbed(
    float32: list[float], bfloat16: list[float], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Times cannot be commanded, so the measured ones are replaced.
    passes = {"float32": float32, "bfloat16": bfloat16}
    monkeypatch.setattr(precision_module, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision_module, "_probe_passes", lambda: passes)
    assert resolve_precision("auto") == wanted


def test_without_the_hardware_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError("the probe ran")

    monkeypatch.setattr(precision_module, "_probe_passes", fail)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert not precision_module.has_bfloat16()
    assert resolve_precision("auto") == "float32"


def test_a_pass_is_timed_without_what_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # A wall clock that leaps, as it does where another process holds the core.
    monkeypatch.setattr(time, "perf_counter", itertools.count(0, 1000).__next__)
    passes = precision_module._probe_passes()
    assert {len(taken) for taken in passes.values()} == {precision_module.PROBES}
    assert max(map(max, passes.values())) < 1000


def test_the_probe_runs_and_leaves_random_state_and_threads() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert resolve_precision("auto") in ("float32", "bfloat16")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_the_memory_that_a_training_needs_halves_in_bfloat16() -> None:
    needs = [
        memory_need(small_architecture(), IMAGE, 4, 1024, precision)
        for precision in ("float32", "bfloat16")
    ]
    whole, half = (float(need.split("about ")[1].split(" MiB")[0]) for need in needs)
    assert whole > 10
    assert half == pytest.approx(whole / 2, abs=1)


# Threads of a full training


class _Machine:
    """A clock and a processor whose steps take the given seconds, by their number of threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.threads = seconds, 0.0, 0

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def run(self, chooser: ThreadChooser, seconds: float) -> Counter[int]:
        used: Counter[int] = Counter()
        end = self.now + seconds
        while self.now < end:
            self.now += self.seconds[self.threads]
            used[self.threads] += 1
            chooser()
        return used


@pytest.mark.parametrize(("seconds", "best"), [({1: 0.1, 2: 0.06}, 2), ({1: 0.1, 2: 1.5}, 1)])
def test_the_faster_number_of_threads_is_kept(seconds: dict[int, float], best: int) -> None:
    machine = _Machine(seconds)
    chooser = ThreadChooser(2, lambda: machine.now, machine.set_threads)
    machine.run(chooser, 15)
    assert machine.threads == best
    machine.run(chooser, 600)
    assert chooser.most_used == best


def test_a_neighbour_that_comes_and_goes_changes_the_choice() -> None:
    machine = _Machine({1: 0.1, 2: 0.06})
    chooser = ThreadChooser(2, lambda: machine.now, machine.set_threads)
    machine.run(chooser, 60)
    machine.seconds = {1: 0.12, 2: 0.5}
    machine.run(chooser, 60)
    assert machine.threads == 1
    # A probe of two slow threads takes at most a twentieth of the time.
    used = machine.run(chooser, 1_000)
    assert used[2] * 0.5 < 60
    machine.seconds = {1: 0.1, 2: 0.06}
    machine.run(chooser, 200)
    assert machine.threads == 2


def test_one_core_has_nothing_to_choose() -> None:
    machine = _Machine({1: 0.1})
    chooser = ThreadChooser(1, lambda: machine.now, machine.set_threads)
    assert set(machine.run(chooser, 100)) == {1}


def test_a_training_does_not_wake_the_compiler() -> None:
    """torch's optimisers import it when they are made: over a second in each worker."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from small_training import small_architecture, small_data, small_task
from nas.evaluate import Evaluation
data, statistics = small_data()
Evaluation(small_architecture(), small_task(), 0, data, statistics).advance()
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, tests], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
