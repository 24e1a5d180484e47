"""Full training: files, the test split read once, interruption and resuming, refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_training import small_architecture, small_split

from nas.architecture import Architecture
from nas.cost import count_cost
from nas.datasets import Split, load_data
from nas.datasets.augment import normalise
from nas.datasets.split import Statistics
from nas.model import build
from nas.task import RECIPES
from nas.training import full
from nas.training.full import FullSettings, Progress, train_architecture

RECIPE = RECIPES["default"].model_copy(update={"batch_size": 16, "augment": "crop"})


def write_images(split: Split, folder: Path) -> None:
    for index, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        place = folder / split.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"{index:04}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    split = small_split(140)
    write_images(split.take(torch.arange(100)), root / "train")
    write_images(split.take(torch.arange(100, 140)), root / "test")
    return root


@pytest.fixture(autouse=True)
def _cache_in_a_temporary_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path_factory.mktemp("cache")))


def settings_of(folder: Path, **changes: Any) -> FullSettings:
    settings = FullSettings(f"folder:{folder}", recipe=RECIPE, epochs=3, precision="float32")
    return replace(settings, **changes)


def train(folder: Path, out: Path, **options: Any) -> full.TrainingReport:
    settings = options.pop("settings", settings_of(folder))
    architecture = options.pop("architecture", small_architecture())
    return train_architecture(architecture, settings, out=out, threads=1, **options)


def test_the_files_hold_the_network_that_was_measured(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    report = train(folder, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "architecture.json",
        "training.json",
        "weights.safetensors",
    ]
    architecture = Architecture.from_json((out / "architecture.json").read_text())
    assert architecture == small_architecture()
    content = json.loads((out / "training.json").read_text())
    assert content["accuracy"] == report.accuracy > 0.5
    assert (content["measured_on"], content["num_train"], content["num_measured"]) == (
        "test",
        100,
        40,
    )
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in out.iterdir()} == {plain.stat().st_mode}
    cost = count_cost(architecture, small_split().image, 4)
    assert (report.macs, report.params) == (cost.macs, cost.params)
    assert content["versions"]["torch"] == torch.__version__
    assert len(content["train_losses"]) == report.epochs == 3

    network = build(architecture, small_split().image, 4, merge=False)
    network.load_state_dict(load_file(out / "weights.safetensors"))
    network.eval()
    test = load_data(f"folder:{folder}", split="test")
    statistics = Statistics(tuple(report.mean), tuple(report.std))
    with torch.no_grad():
        logits = network(normalise(test.images, statistics))
    accuracy = (logits.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(report.accuracy, abs=1e-9)


def test_the_test_split_is_read_once_after_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def recorded(*args: Any, **options: Any) -> Split:
        events.append(f"read {options['split']}")
        return load_data(*args, **options)

    monkeypatch.setattr(full, "load_data", recorded)
    train(folder, tmp_path, on_progress=lambda progress: events.append(f"epoch {progress.epoch}"))
    assert events.count("read test") == 1
    assert events[-1] == "read test"
    assert events[-2] == "epoch 3"


class _InterruptedAfter:
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, progress: Progress) -> None:
        if progress.epoch > self.epochs:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_training_goes_on_from_its_last_epoch(
    folder: Path, tmp_path: Path, epochs: int
) -> None:
    whole = train(folder, tmp_path / "whole")
    out = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train(folder, out, on_progress=_InterruptedAfter(epochs))
    assert [path.name for path in out.iterdir()] == ["checkpoint.pt"]
    told: list[int] = []
    parts = train(folder, out, resume=True, on_progress=lambda item: told.append(item.epoch))
    assert min(told) == epochs + 1
    assert parts.train_losses == whole.train_losses
    one = load_file(tmp_path / "whole" / "weights.safetensors")
    two = load_file(out / "weights.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (out / "checkpoint.pt").exists()


def test_progress_says_what_is_left(folder: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(folder, tmp_path, on_progress=told.append)
    last = told[-1]
    assert (last.epoch, last.epochs, last.step, last.steps) == (3, 3, 6, 6)
    assert last.seconds_left == 0
    assert last.images_per_second > 0
    assert told[0].train_loss is None
    assert told[0].seconds_left > 0


def test_a_finished_training_is_not_overwritten_and_resumes_to_itself(
    folder: Path, tmp_path: Path
) -> None:
    report = train(folder, tmp_path)
    with pytest.raises(ValueError, match="holds a finished training: take another directory"):
        train(folder, tmp_path)
    told: list[Progress] = []
    assert train(folder, tmp_path, resume=True, on_progress=told.append) == report
    assert told == []
    with pytest.raises(ValueError, match="holds a training with another epochs: 3, not 4"):
        train(folder, tmp_path, resume=True, settings=settings_of(folder, epochs=4))


def test_an_unfinished_training_is_resumed_or_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path, on_progress=_InterruptedAfter(1))
    with pytest.raises(ValueError, match="holds an unfinished training: resume it or"):
        train(folder, tmp_path)
    with pytest.raises(ValueError, match="holds a training with another seed: 0, not 1"):
        train(folder, tmp_path, resume=True, settings=settings_of(folder, seed=1))
    (tmp_path / "checkpoint.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt: is no checkpoint: .*; remove it"):
        train(folder, tmp_path, resume=True)


def test_without_a_test_split_a_tenth_is_held_out(tmp_path: Path) -> None:
    write_images(small_split(120), tmp_path / "images")
    report = train(tmp_path / "images", tmp_path / "out")
    assert (report.measured_on, report.num_train, report.num_measured) == ("held-out", 108, 12)


def test_wrong_settings_write_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        settings_of(folder, epochs=0)
    with pytest.raises(ValueError, match="fashion-mnist-mini"):
        train(folder, out, settings=settings_of(folder, data="fashion-mnist-mimi"))
    unpadded = replace(small_architecture().reductions[0], padding=0)
    large = replace(small_architecture(), reductions=(unpadded,))
    with pytest.raises(ValueError, match="does not fit a map of 1x1 pixels"):
        train(folder, out, architecture=large, settings=settings_of(folder, resolution=1))
    assert not out.exists()


def test_a_file_that_cannot_be_written_leaves_no_part_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    # A full disk cannot be caused without one; everything around it is real.
    monkeypatch.setattr("nas.training.result_files.save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        train(folder, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "architecture.json",
        "checkpoint.pt",
    ]
    monkeypatch.undo()
    assert train(folder, tmp_path, resume=True).epochs == 3


def test_a_target_of_another_shape_and_more_classes(folder: Path, tmp_path: Path) -> None:
    settings = settings_of(folder, epochs=1, resolution=(12, 16), classes=6)
    report = train(folder, tmp_path, settings=settings)
    assert (report.image, report.classes, len(report.class_names)) == ([1, 12, 16], 6, 4)
    assert train(folder, tmp_path, settings=settings, resume=True) == report
    weights = load_file(tmp_path / "weights.safetensors")
    assert weights["head.classifier.bias"].shape == (6,)
    with pytest.raises(ValueError, match=r"classes must be at least the 4 of folder:.*, not 3"):
        train(folder, tmp_path / "few", settings=settings_of(folder, classes=3))


def test_threads_are_put_back_and_those_used_are_noted(folder: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    settings = settings_of(folder)
    report = train_architecture(small_architecture(), settings, out=tmp_path)
    assert 1 <= report.threads <= full.usable_cores()
    assert torch.get_num_threads() == before
