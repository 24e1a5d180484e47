"""On an NVIDIA GPU: a step, a pause, a full training and a worker do as on a processor, nearly.

Kernels of a GPU sum in an order of their own, and some in a different one each time: results are
compared with tolerances that leave room for that and for nothing else.
"""

from __future__ import annotations

import gc
import io
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_training import IMAGE, small_architecture, small_data, small_split, small_task

from nas.architecture import Architecture, Cell, Conv
from nas.datasets import Split, Statistics
from nas.datasets.augment import normalise
from nas.evaluate import Evaluation, EvaluationFailed
from nas.model import Network, build
from nas.search.executor import LAST, Job, Report
from nas.search.local_executor import LocalExecutor
from nas.search.rotation import create_rotation
from nas.search.work import ProxyTraining
from nas.task import RECIPES, Precision
from nas.training import graph
from nas.training.full import FullSettings, train_architecture
from nas.training.graph import warm_up
from nas.training.loop import Plan, Training
from nas.training.precision import resolve_precision
from nas.training.step import EpochStep, TrainingStep

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

DEVICE = "cuda:0"
RECIPE = RECIPES["default"].model_copy(update={"batch_size": 32, "augment": "none"})


@pytest.fixture(autouse=True)
def _full_float32() -> Iterator[None]:
    """Convolutions in float32 proper, not in TF32, so that tolerances can be narrow."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def network_after_a_step(device: str, precision: Precision) -> tuple[float, Network]:
    """The loss of one step without dropout on fixed images, and the network after it."""
    data, statistics = small_data()
    architecture = replace(small_architecture(dropout=0.0), auxiliary=())
    network = build(architecture, IMAGE, 4, seed=0)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    step = TrainingStep(network, RECIPE, precision)
    batch = data.train.take(torch.arange(32)).to(device)
    images = normalise(batch.images, statistics, torch.float32, channels_last=True)
    return step(images, batch.labels).item(), network


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 3e-2)])
def test_a_step_is_that_of_the_processor(precision: Precision, tolerance: float) -> None:
    loss, network = network_after_a_step("cpu", "float32")
    ours, moved = network_after_a_step(DEVICE, precision)
    assert ours == pytest.approx(loss, rel=tolerance)
    assert {item.device.type for item in moved.state_dict().values()} == {"cuda"}
    if precision == "float32":
        theirs = moved.state_dict()
        for name, item in network.state_dict().items():
            torch.testing.assert_close(
                theirs[name].cpu(), item, rtol=1e-3, atol=1e-4, check_stride=False
            )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns_and_stays_on_the_device(precision: Precision) -> None:
    data, statistics = small_data()
    moved = data.to(DEVICE)
    plan = Plan(RECIPE, precision, classes=4, epochs=4)
    training = Training(small_architecture(), moved.train, statistics, plan, seed=0)
    losses = [training.run_epoch().loss for _ in range(4)]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
    result = training.validate(moved.validation)
    assert math.isfinite(result.loss)
    assert 0 <= result.error < 0.75
    state = training.state_dict()
    assert {item.device.type for item in state["network"].values()} == {"cpu"}


# Captured steps


PLAN_RECIPE = RECIPES["default"].model_copy(update={"batch_size": 32, "augment": "crop-flip"})


def training_on_gpu(*, seed: int = 0, dropout: bool = True, **recipe: object) -> Training:
    data, statistics = small_data()
    architecture = small_architecture()
    if not dropout:
        architecture = replace(small_architecture(dropout=0.0), auxiliary=())
    plan = Plan(PLAN_RECIPE.model_copy(update=recipe), "float32", classes=4, epochs=6, images=96)
    return Training(architecture, data.train.to(DEVICE), statistics, plan, seed)


def eager_epoch(training: Training) -> float:
    """An epoch of the same step, called and not replayed."""
    training.begin_epoch()
    with training.queue.active():
        for _ in range(training.batches.steps):
            training._step()
        loss = training._epoch.loss.item() / training.batches.steps
    training.epoch += 1
    return loss


def weights_of(training: Training) -> list[torch.Tensor]:
    training.queue.drain()
    return [item.detach().clone() for item in training.network.state_dict().values()]


def assert_near(one: Training, two: Training) -> None:
    for mine, theirs in zip(weights_of(one), weights_of(two), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dropout", [False, True])
def test_replays_are_eager_steps(dropout: bool) -> None:
    replayed, eager = training_on_gpu(dropout=dropout), training_on_gpu(dropout=dropout)
    for _ in range(3):
        # Another batch, rate or mask would be off by far more.
        assert replayed.run_epoch().loss == pytest.approx(eager_epoch(eager), rel=1e-3)
    assert_near(replayed, eager)


def test_replayed_averages_and_operations_are_those_of_eager_steps_and_of_the_processor() -> None:
    recipe = {"ema_decay": 0.9, "operations": 2, "magnitude": 0.5, "cutout": 0.3}
    replayed, eager = (training_on_gpu(dropout=False, **recipe) for _ in range(2))
    data, statistics = small_data()
    plan = replace(replayed.plan)
    architecture = replace(small_architecture(dropout=0.0), auxiliary=())
    processor = Training(architecture, data.train, statistics, plan, seed=0)
    for _ in range(2):
        loss = replayed.run_epoch().loss
        assert loss == pytest.approx(eager_epoch(eager), rel=1e-3)
        assert loss == pytest.approx(processor.run_epoch().loss, rel=1e-2)
    eager.queue.drain()
    theirs, cpu = eager.judged.state_dict(), processor.judged.state_dict()
    for name, item in replayed.judged.state_dict().items():
        if item.is_floating_point():
            torch.testing.assert_close(item, theirs[name], rtol=1e-2, atol=1e-3)
            torch.testing.assert_close(item.cpu(), cpu[name], rtol=5e-2, atol=1e-2)


def test_a_replayed_training_is_that_of_the_processor() -> None:
    data, statistics = small_data()
    plan = Plan(PLAN_RECIPE, "float32", classes=4, epochs=6, images=96)
    architecture = replace(small_architecture(dropout=0.0), auxiliary=())
    processor = Training(architecture, data.train, statistics, plan, seed=0)
    gpu = training_on_gpu(dropout=False)
    for _ in range(2):
        # Order, flips and crops are drawn on the host: the very same images are passed.
        assert gpu.run_epoch().loss == pytest.approx(processor.run_epoch().loss, rel=1e-2)


def test_a_capture_leaves_the_training_as_it_was_built() -> None:
    data, statistics = small_data()
    plan = Plan(PLAN_RECIPE, "float32", classes=4, epochs=6, images=96)
    built = Training(small_architecture(), data.train, statistics, plan, seed=0)
    captured = training_on_gpu()
    assert captured.setup_seconds > 0
    theirs = captured.network.state_dict()
    for name, item in built.network.state_dict().items():
        assert torch.equal(theirs[name].cpu(), item), name
    assert not any(item.any() for item in captured.state_dict()["momentum"])


def test_a_state_is_loaded_into_the_tensors_that_the_graph_reads() -> None:
    whole, resumed = training_on_gpu(), training_on_gpu(seed=1)
    whole.run_epoch()
    resumed.run_epoch()
    resumed.seed = whole.seed
    resumed.load_state_dict(whole.state_dict())
    assert all(map(torch.equal, weights_of(whole), weights_of(resumed)))
    for _ in range(2):
        assert resumed.run_epoch().loss == pytest.approx(whole.run_epoch().loss, rel=1e-3)
    assert_near(whole, resumed)


def test_evaluations_in_turn_are_as_alone_and_a_nan_is_its_owns() -> None:
    data, statistics = small_data()
    moved = data.to(DEVICE)

    def new(seed: int, **recipe: object) -> Evaluation:
        task = small_task(**recipe)
        return Evaluation(small_architecture(), task, seed, moved, statistics, DEVICE)

    alone = [new(seed) for seed in range(3)]
    for evaluation in alone:
        while not evaluation.done:
            evaluation.advance()
    broken = new(9, learning_rate=1e30)
    together = [new(seed) for seed in range(3)]
    waiting, reasons = [broken, *together], []
    end = time.monotonic() + 120
    while waiting:
        assert time.monotonic() < end
        evaluation = waiting.pop(0)
        if evaluation.is_busy:
            waiting.append(evaluation)
            continue
        try:
            evaluation.turn()
        except EvaluationFailed as failure:
            reasons.append(failure.reason)
            evaluation.close()
            continue
        if not evaluation.done:
            waiting.append(evaluation)
    assert len(reasons) == 1
    assert "the loss became" in reasons[0]
    for one, two in zip(alone, together, strict=True):
        # Sums in another order, step after step; another seed's losses would be further off.
        assert two.train_losses == pytest.approx(one.train_losses, rel=2e-2)
    for evaluation in [*alone, *together]:
        evaluation.close()


def evaluation_of_slices() -> Evaluation:
    """One whose epoch of 48 steps is more than a turn: a turn that begins it never ends it."""
    data, statistics = small_data()
    task = small_task(batch_size=2, learning_rate=0.01)
    return Evaluation(small_architecture(), task, 0, data, statistics, DEVICE)


def test_a_turn_does_not_wait() -> None:
    evaluation = evaluation_of_slices()
    evaluation.advance()  # loads all kernels, for which the device may be waited for
    assert evaluation.turn() is None
    evaluation._training.queue.wait()
    # About a second of work, and behind it the steps that the next turn queues.
    with evaluation._training.queue.active():
        torch.cuda._sleep(2_000_000_000)
    start = time.perf_counter()
    assert evaluation.turn() is None
    assert time.perf_counter() - start < 0.5
    assert evaluation.is_busy
    result = evaluation.advance()
    assert not evaluation.is_busy
    assert 0 < result.setup_seconds < result.train_seconds


def test_the_share_of_a_device_counts_its_seconds() -> None:
    evaluation = evaluation_of_slices()
    before = evaluation._seconds
    evaluation.share = 0.25
    start = time.perf_counter()
    assert evaluation.turn() is None
    time.sleep(0.4)  # as if the other trials had their turns
    result = evaluation.advance()
    spent = time.perf_counter() - start
    assert result.train_seconds - before == pytest.approx(0.25 * spent, rel=0.05)


def test_closing_gives_the_memory_back() -> None:
    data, statistics = small_data()
    moved = data.to(DEVICE)

    def used() -> int:
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(DEVICE)

    def train_one() -> None:
        evaluation = Evaluation(small_architecture(), small_task(), 0, moved, statistics, DEVICE)
        assert evaluation.device_bytes > 0
        evaluation.advance()
        evaluation.close()
        evaluation.close()
        with pytest.raises(ValueError, match="closed"):
            evaluation.turn()

    train_one()  # what libraries keep for good
    before = used()
    for _ in range(3):
        train_one()
    # Streams come round; a library may keep a workspace for each.
    assert used() <= before + 3 * 2 * 64 * 2**20
    first = Evaluation(small_architecture(), small_task(), 0, moved, statistics, DEVICE)
    held = used()
    first.close()
    assert used() < held


def leave_memory(free: int) -> None:
    """Let this process have so many bytes beside what is in use; torch keeps nothing in reserve."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    limit_memory(free)


def limit_memory(free: int) -> None:
    """Let this process have so many bytes beside what torch holds."""
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    held = torch.cuda.memory_reserved(DEVICE)
    torch.cuda.set_per_process_memory_fraction(min((held + free) / total, 1.0), DEVICE)


def test_a_capture_gets_what_the_warm_up_leaves_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, statistics = small_data()
    moved = data.to(DEVICE)
    other = Evaluation(small_architecture(), small_task(), 1, moved, statistics, DEVICE)
    capture_if_it_fits = graph._capture_if_it_fits
    has_fit: list[bool] = []

    def warm_up_and_limit(step: EpochStep) -> None:
        warm_up(step)
        limit_memory(64 * 2**20)

    def watched(step: EpochStep, generator: torch.Generator | None) -> torch.cuda.CUDAGraph | None:
        captured = capture_if_it_fits(step, generator)
        has_fit.append(captured is not None)
        return captured

    monkeypatch.setattr(graph, "warm_up", warm_up_and_limit)
    monkeypatch.setattr(graph, "_capture_if_it_fits", watched)
    # Maps of 36 MiB: a step has more of them than fit beside what the warm-up keeps.
    wide = replace(small_architecture(), stem=(Conv((3, 3), 2048),))
    try:
        evaluation = Evaluation(wide, small_task(batch_size=64), 0, moved, statistics, DEVICE)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    assert has_fit == [False]
    assert math.isfinite(evaluation.advance().train_loss)
    while not other.done:
        assert math.isfinite(other.advance().train_loss)


def test_a_step_that_does_not_fit_is_that_trials_failure() -> None:
    data, statistics = small_data()
    moved = data.to(DEVICE)
    other = Evaluation(small_architecture(), small_task(), 0, moved, statistics, DEVICE)
    other.advance()
    leave_memory(2 * 2**20)
    try:
        with pytest.raises(EvaluationFailed, match=r"out of memory: .*; a batch of 64"):
            Evaluation(
                replace(small_architecture(), stem=(Conv((3, 3), 2048),)),
                small_task(batch_size=64),
                1,
                moved,
                statistics,
                DEVICE,
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    while not other.done:
        assert math.isfinite(other.advance().train_loss)


def test_auto_is_what_the_hardware_has() -> None:
    has_it = torch.cuda.get_device_capability(DEVICE)[0] >= 8
    assert resolve_precision("auto", DEVICE) == ("bfloat16" if has_it else "float32")


def test_a_paused_evaluation_goes_on() -> None:
    data, statistics = small_data()

    def new() -> Evaluation:
        return Evaluation(small_architecture(), small_task(), 0, data, statistics, DEVICE)

    whole = new()
    whole.advance()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = new()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.results == whole.results
    ours, theirs = resumed.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    one, two = whole.advance(), resumed.advance()
    assert (two.epoch, two.images_seen) == (one.epoch, one.images_seen)
    # The same order, crops, dropout and momentum: another of these would be far off.
    assert two.train_loss == pytest.approx(one.train_loss, rel=1e-2)
    while not resumed.done:
        resumed.advance()
    assert resumed.results[-1].epoch == small_task().rungs[-1]


def write_images(split: Split, folder: Path) -> None:
    for index, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        place = folder / split.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"{index:04}.png")


def test_a_full_training_leaves_a_network_that_the_processor_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    split = small_split(140)
    write_images(split.take(torch.arange(100)), tmp_path / "images" / "train")
    write_images(split.take(torch.arange(100, 140)), tmp_path / "images" / "test")
    settings = FullSettings(
        f"folder:{tmp_path / 'images'}", recipe=RECIPE, epochs=3, precision="float32"
    )
    out = tmp_path / "out"
    report = train_architecture(small_architecture(), settings, out=out, device=DEVICE)
    assert report.device == torch.cuda.get_device_name(DEVICE)
    assert json.loads((out / "training.json").read_text())["accuracy"] == report.accuracy
    network = build(small_architecture(), IMAGE, 4, merge=False)
    network.load_state_dict(load_file(out / "weights.safetensors"))
    network.eval()
    test = split.take(torch.arange(100, 140))
    statistics = Statistics(tuple(report.mean), tuple(report.std))
    with torch.no_grad():
        logits = network(normalise(test.images, statistics))
    accuracy = (logits.argmax(1) == test.labels).double().mean().item()
    # An image whose two best classes are nearly equal may fall to the other side.
    assert accuracy == pytest.approx(report.accuracy, abs=1 / 40)


def test_a_worker_trains_on_its_device() -> None:
    data, statistics = small_data()
    executor = LocalExecutor(ProxyTraining(data, statistics), [DEVICE])
    reports: list[Report] = []
    try:
        for number in range(2):
            executor.submit(Job(number, small_architecture(), small_task(), seed=0))
            # A worker imports torch and opens the device first.
            end = time.monotonic() + 120
            while not any(item.number == number and item.kind in LAST for item in reports):
                assert time.monotonic() < end, reports
                reports += executor.poll(0.5)
    finally:
        executor.close()
    for number in range(2):
        own = [item for item in reports if item.number == number]
        kinds = [item.kind for item in own]
        assert kinds == ["started", *["rung"] * len(small_task().rungs), "done"], own
        result = own[-1].result
        assert result is not None
        assert math.isfinite(result.validation_loss)
        assert 0 <= result.error <= 1


# ---------------------------------------------------------------------- many trials in a process


def together(
    jobs: list[Job], concurrency: int | None, seconds: float = 300
) -> tuple[list[Report], list[int]]:
    """The reports of jobs that a worker on the device gets as it has room, and its capacities."""
    data, statistics = small_data()
    executor = LocalExecutor(ProxyTraining(data, statistics, concurrency), [DEVICE])
    reports: list[Report] = []
    capacities: list[int] = []
    waiting = list(jobs)
    end = time.monotonic() + seconds
    try:
        while len([r for r in reports if r.kind in LAST]) < len(jobs):
            assert time.monotonic() < end, reports
            over = len([r for r in reports if r.kind in LAST])
            while waiting and len(jobs) - len(waiting) - over < executor.capacity:
                executor.submit(waiting.pop(0))
            reports += executor.poll(0.5)
            capacities.append(executor.capacity)
    finally:
        executor.close()
    return reports, capacities


def last_of(reports: list[Report], number: int) -> Report:
    return [item for item in reports if item.number == number][-1]


def jobs_of(count: int, **recipe: object) -> list[Job]:
    return [Job(n, small_architecture(), small_task(**recipe), seed=n % 2) for n in range(count)]


def test_trials_beside_others_learn_what_they_learn_alone() -> None:
    alone, _ = together(jobs_of(2), 1)
    beside, capacities = together(jobs_of(8), 4)
    assert max(capacities) == 4
    for number in range(8):
        ours, theirs = last_of(beside, number), last_of(alone, number % 2)
        assert (ours.kind, theirs.kind) == ("done", "done")
        assert ours.result is not None
        assert theirs.result is not None
        assert ours.result.train_loss == pytest.approx(theirs.result.train_loss, rel=5e-2)


def test_no_number_in_one_leaves_the_others_on_the_device() -> None:
    jobs = jobs_of(4)
    jobs[1] = replace(jobs[1], task=small_task(learning_rate=1e30))
    reports, _ = together(jobs, 4)
    assert [last_of(reports, number).kind for number in range(4)] == [
        "done",
        "failed",
        "done",
        "done",
    ]
    assert "the loss became" in last_of(reports, 1).reason


@pytest.fixture
def _little_memory() -> Iterator[None]:
    """A GiB for this process, beside what libraries have kept from other tests."""
    leave_memory(2**30)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


@pytest.mark.usefixtures("_little_memory")
def test_too_little_memory_for_one_leaves_the_others_on_the_device() -> None:
    data, statistics = small_data()
    rotation = create_rotation(ProxyTraining(data, statistics, 4), DEVICE, own_process=False)
    jobs = jobs_of(4)
    # A batch of 96 images of 16,384 channels: 0.8 GiB a tensor in float32, and several of them.
    stem, cell = (Conv((1, 1), 16_384),), Cell(branches=((Conv((1, 1), 32),),))
    wide = small_task(batch_size=96)
    wide = wide.model_copy(update={"proxy": wide.proxy.model_copy(update={"width": 1.0})})
    jobs[2] = replace(jobs[2], architecture=Architecture(stem=stem, stages=((cell,),)), task=wide)
    for job in jobs:
        rotation.add(job)
    reports: list[Report] = []
    while rotation.numbers:
        reports += rotation.turn()
    assert [last_of(reports, number).kind for number in (0, 1, 3)] == ["done"] * 3
    # Beside others it is not to blame: it runs again alone, and then it is.
    assert (last_of(reports, 2).kind, last_of(reports, 2).is_shared) == ("lost", True)
    rotation.add(jobs[2])
    while rotation.numbers:
        reports += rotation.turn()
    assert last_of(reports, 2).kind == "failed"
    assert "out of memory" in last_of(reports, 2).reason


def test_how_many_at_once_is_chosen_while_they_train() -> None:
    data, statistics = small_data()
    rotation = create_rotation(ProxyTraining(data, statistics), DEVICE, own_process=False)
    task = small_task()
    task = task.model_copy(update={"proxy": task.proxy.model_copy(update={"epochs": 256})})
    number, most, reports = 0, 1, []
    end = time.monotonic() + 30
    while time.monotonic() < end:
        while len(rotation.numbers) < rotation.capacity:
            rotation.add(Job(number, small_architecture(), task, seed=number))
            number += 1
        reports += rotation.turn()
        most = max(most, rotation.capacity)
        if rotation.is_busy:
            time.sleep(0.0002)
    # Networks as small as these leave any GPU idle when they train alone.
    assert most > 1
    assert not [item for item in reports if item.kind in ("failed", "lost")]
    before = torch.cuda.memory_allocated(DEVICE)
    for running in rotation.numbers:
        rotation.stop(running)
    while rotation.numbers:
        rotation.turn()
    assert torch.cuda.memory_allocated(DEVICE) < before
