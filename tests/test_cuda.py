"""On an NVIDIA GPU: a step, a pause, a full training and a worker do as on a processor, nearly.

Kernels of a GPU sum in an order of their own, and some in a different one each time: results are
compared with tolerances that leave room for that and for nothing else.
"""

from __future__ import annotations

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

from nas.datasets import Split, Statistics
from nas.datasets.augment import normalise
from nas.evaluate import Evaluation
from nas.model import Network, build
from nas.search.executor import LAST, Job, Report
from nas.search.local_executor import LocalExecutor
from nas.search.work import ProxyTraining
from nas.task import RECIPES, Precision
from nas.training.full import FullSettings, train_architecture
from nas.training.loop import Plan, Training
from nas.training.precision import resolve_precision
from nas.training.step import TrainingStep

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
