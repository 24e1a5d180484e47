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
from nas.datasets import Split, carve, load_data
from nas.datasets.augment import normalise
from nas.datasets.split import Statistics
from nas.model import build
from nas.task import RECIPES
from nas.training import full
from nas.training.full import FullSettings, train_architecture
from nas.training.report import accuracy_interval
from nas.training.telling import Progress

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
        "MODEL_CARD.md",
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


def same_weights(one: Path, two: Path, name: str = "weights.safetensors") -> bool:
    first, second = load_file(one / name), load_file(two / name)
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


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
    assert same_weights(tmp_path / "whole", out)
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
    with pytest.raises(ValueError, match="holds a finished training: --out names another"):
        train(folder, tmp_path)
    told: list[Progress] = []
    assert train(folder, tmp_path, resume=True, on_progress=told.append) == report
    assert told == []
    with pytest.raises(ValueError, match="holds a training with epochs 3, not 4"):
        train(folder, tmp_path, resume=True, settings=settings_of(folder, epochs=4))


def test_an_unfinished_training_is_resumed_or_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path, on_progress=_InterruptedAfter(1))
    with pytest.raises(ValueError, match="holds an unfinished training: go on with --resume"):
        train(folder, tmp_path)
    with pytest.raises(ValueError, match="holds a training with seed 0, not 1"):
        train(folder, tmp_path, resume=True, settings=settings_of(folder, seed=1))
    (tmp_path / "checkpoint.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt: is no checkpoint: .*; remove it"):
        train(folder, tmp_path, resume=True)


def test_auto_precision_agrees_with_what_it_became(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(
            folder,
            tmp_path,
            settings=settings_of(folder, precision="auto"),
            on_progress=_InterruptedAfter(1),
        )
    became = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["precision"]
    other = "float32" if became == "bfloat16" else "bfloat16"
    with pytest.raises(ValueError, match=f"with precision 'auto', not '{other}'"):
        train(folder, tmp_path, resume=True, settings=settings_of(folder, precision=other))
    same = settings_of(folder, precision=became)
    report = train(folder, tmp_path, resume=True, settings=same)
    assert report.precision == became
    # Finished, with what a later version may have noted.
    content = json.loads((tmp_path / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({**content, "of_later": 1}))
    assert train(folder, tmp_path, resume=True, settings=same) == report


def test_images_that_changed_are_not_gone_on_with(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_images(small_split(100), images / "train")
    write_images(small_split(40), images / "test")
    with pytest.raises(KeyboardInterrupt):
        train(images, out, on_progress=_InterruptedAfter(1))
    next((images / "train" / "a").glob("*.png")).unlink()
    with pytest.raises(ValueError, match=r"images have changed .*: images was 100 and is 99"):
        train(images, out, resume=True)


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


def fill_disk(out: Path, name: str) -> None:
    """Whoever writes this file of ``out`` from now on finds the device full, for real."""
    (out / f".{name}.partial").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is full")
def test_a_full_disk_leaves_the_checkpoint_of_before(folder: Path, tmp_path: Path) -> None:
    whole = train(folder, tmp_path / "whole")
    out = tmp_path / "out"
    before = b""

    def fill_in_the_third_epoch(progress: Progress) -> None:
        nonlocal before
        if progress.epoch == 3 and not before:
            before = (out / "checkpoint.pt").read_bytes()
            fill_disk(out, "checkpoint.pt")

    with pytest.raises(OSError, match="No space left") as error:
        train(folder, out, on_progress=fill_in_the_third_epoch)
    assert error.value.filename == str(out / "checkpoint.pt")
    assert [path.name for path in out.iterdir()] == ["checkpoint.pt"]
    assert (out / "checkpoint.pt").read_bytes() == before
    assert train(folder, out, resume=True).train_losses == whole.train_losses
    assert same_weights(tmp_path / "whole", out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is full")
@pytest.mark.parametrize("name", ["weights.safetensors", "MODEL_CARD.md", "training.json"])
def test_a_full_disk_at_the_end_leaves_a_training_to_resume(
    folder: Path, tmp_path: Path, name: str
) -> None:
    def fill(progress: Progress) -> None:
        if progress.epoch == 3 and not (tmp_path / f".{name}.partial").is_symlink():
            fill_disk(tmp_path, name)

    with pytest.raises(OSError, match="No space left"):
        train(folder, tmp_path, on_progress=fill)
    left = {path.name for path in tmp_path.iterdir()}
    assert "checkpoint.pt" in left
    assert not left & {name, "training.json"}
    assert not [path for path in left if path.startswith(".")]
    assert train(folder, tmp_path, resume=True).epochs == 3


def test_a_target_that_cannot_be_written_is_told_before_training(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    told: list[Progress] = []
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        train(folder, tmp_path / "file" / "out", on_progress=told.append)
    with pytest.raises(OSError, match="File exists"):
        train(folder, tmp_path / "file", on_progress=told.append)
    assert told == []


def test_two_trainings_do_not_share_a_directory(folder: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def second(progress: Progress) -> None:
        if not refused:
            with pytest.raises(ValueError, match="another process is training into it") as error:
                train(folder, tmp_path)
            refused.append(str(error.value))

    train(folder, tmp_path, on_progress=second)
    assert refused == [f"{tmp_path}: another process is training into it"]


def test_a_target_of_another_shape_and_more_classes(folder: Path, tmp_path: Path) -> None:
    settings = settings_of(folder, epochs=1, resolution=(12, 16), classes=6)
    report = train(folder, tmp_path, settings=settings)
    assert (report.image, report.classes, len(report.class_names)) == ([1, 12, 16], 6, 4)
    assert train(folder, tmp_path, settings=settings, resume=True) == report
    weights = load_file(tmp_path / "weights.safetensors")
    assert weights["head.classifier.bias"].shape == (6,)
    with pytest.raises(
        ValueError, match=r"folder:.* has 4 classes, and the classifier would have 3: take"
    ):
        train(folder, tmp_path / "few", settings=settings_of(folder, classes=3))


@pytest.mark.parametrize("threads", ["auto", None])
def test_threads_are_put_back_and_those_used_are_noted(
    folder: Path, tmp_path: Path, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    settings = settings_of(folder, epochs=1)
    report = train_architecture(small_architecture(), settings, out=tmp_path, threads=threads)
    assert 1 <= report.threads <= full.usable_cores()
    assert threads == "auto" or report.threads == full.usable_cores()
    assert torch.get_num_threads() == before


def test_the_environments_threads_are_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    settings = settings_of(folder, epochs=1)
    assert train_architecture(small_architecture(), settings, out=tmp_path).threads == 5


def test_a_resumed_training_takes_the_threads_of_its_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    settings = settings_of(folder)
    with pytest.raises(KeyboardInterrupt):
        train_architecture(
            small_architecture(),
            settings,
            out=tmp_path,
            threads=3,
            on_progress=_InterruptedAfter(1),
        )
    report = train_architecture(small_architecture(), settings, out=tmp_path, resume=True)
    assert report.threads == 3


# Averaged weights, and the best epoch on a validation part


AVERAGED = RECIPE.model_copy(update={"ema_decay": 0.9, "cutout": 0.3})


def validated(folder: Path, **changes: Any) -> FullSettings:
    changes = {"recipe": AVERAGED, "validation_images": 20, "epochs": 6, **changes}
    return settings_of(folder, **changes)


def measured(out: Path, weights: str, split: Split) -> float:
    content = json.loads((out / "training.json").read_text())
    network = build(small_architecture(), small_split().image, 4, merge=False)
    network.load_state_dict(load_file(out / weights))
    network.eval()
    statistics = Statistics(tuple(content["mean"]), tuple(content["std"]))
    with torch.no_grad():
        logits = network(normalise(split.images, statistics))
    return float((logits.argmax(1) == split.labels).double().mean())


def test_with_a_validation_part_the_best_epoch_is_kept_and_the_last_beside_it(
    folder: Path, tmp_path: Path
) -> None:
    report = train(folder, tmp_path, settings=validated(folder))
    accuracies = report.validation_accuracies
    assert len(accuracies) == len(report.validation_losses) == 6
    assert (report.num_train, report.num_validation, report.num_measured) == (80, 20, 40)
    assert report.best_epoch == accuracies.index(max(accuracies)) + 1
    assert (report.weights, report.is_averaged) == ("best", True)
    parts = carve(load_data(f"folder:{folder}", split="train"), 20)
    best = measured(tmp_path, "weights.safetensors", parts.validation)
    last = measured(tmp_path, "last.safetensors", parts.validation)
    assert best == pytest.approx(max(accuracies))
    assert last == pytest.approx(accuracies[-1])
    test = load_data(f"folder:{folder}", split="test")
    assert measured(tmp_path, "weights.safetensors", test) == pytest.approx(report.accuracy)


def test_the_validation_part_is_the_same_for_every_seed_and_never_trained_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Split] = []
    training = full.Training

    def recorded(architecture: Architecture, split: Split, *rest: Any) -> Any:
        seen.append(split)
        return training(architecture, split, *rest)

    monkeypatch.setattr(full, "Training", recorded)
    for seed in (0, 1):
        settings = validated(folder, epochs=1, seed=seed)
        train(folder, tmp_path / str(seed), settings=settings)
    assert torch.equal(seen[0].images, seen[1].images)
    validation = carve(load_data(f"folder:{folder}", split="train"), 20).validation
    trained = {item.numpy().tobytes() for item in seen[0].images}
    assert not trained & {item.numpy().tobytes() for item in validation.images}


def test_without_one_there_is_no_best(folder: Path, tmp_path: Path) -> None:
    report = train(folder, tmp_path, settings=settings_of(folder, recipe=AVERAGED))
    assert (report.weights, report.best_epoch, report.num_validation) == ("last", None, 0)
    assert (report.num_train, report.validation_accuracies) == (100, [])
    assert not (tmp_path / "last.safetensors").exists()


@pytest.mark.parametrize("epochs", [1, 4])
def test_averages_and_the_best_epoch_survive_an_interruption(
    folder: Path, tmp_path: Path, epochs: int
) -> None:
    settings = validated(folder)
    whole = train(folder, tmp_path / "whole", settings=settings)
    out = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train(folder, out, settings=settings, on_progress=_InterruptedAfter(epochs))
    parts = train(folder, out, settings=settings, resume=True)
    assert replace(parts, seconds=0.0) == replace(whole, seconds=0.0)
    assert same_weights(tmp_path / "whole", out)
    assert same_weights(tmp_path / "whole", out, "last.safetensors")


def test_a_validation_part_is_part_of_the_settings(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path, settings=validated(folder, epochs=1))
    with pytest.raises(ValueError, match="with validation_images 20, not None"):
        train(
            folder,
            tmp_path,
            settings=validated(folder, epochs=1, validation_images=0),
            resume=True,
        )
    with pytest.raises(ValueError, match="validation images must be from 1 to 99 of the 100"):
        train(folder, tmp_path / "all", settings=validated(folder, validation_images=100))
    assert not (tmp_path / "all").exists()


# The interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Wilson's formula by hand: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n), z = 1.95996.
    [(1, 2, 0.094531, 0.905469), (0, 10, 0.0, 0.277533), (9_505, 10_000, 0.946073, 0.954581)],
)
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    assert accuracy_interval(right / count, count) == pytest.approx([low, high], abs=1e-6)


def test_the_report_holds_its_interval(folder: Path, tmp_path: Path) -> None:
    report = train(folder, tmp_path, settings=settings_of(folder, epochs=1))
    assert report.accuracy_interval == accuracy_interval(report.accuracy, 40)
