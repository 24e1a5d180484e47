"""The CIFAR-10 script: its statistics by hand, and a tiny real run that is stopped and goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import cifar10

from nas.datasets import load_data


def training(seed: int, accuracy: float) -> dict[str, object]:
    return {
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.01, accuracy + 0.01],
        "macs": 150_000_000,
        "params": 500_000,
        "seed": seed,
        "seconds": 60.0 + seed,
        "device": "x",
        "fingerprint": "0" * 16,
    }


def test_an_interval_over_three_seeds_is_students() -> None:
    row = cifar10.row_of("knee", [training(seed, 0.95 + seed / 1000) for seed in range(3)])
    # Mean 95.1, deviation 0.1; t(0.975, 2) = 4.30265: half = 4.30265 * 0.1 / sqrt(3).
    assert row.mean == pytest.approx(95.1)
    assert (row.low, row.high) == pytest.approx((95.1 - 0.248414, 95.1 + 0.248414), abs=1e-5)
    assert (row.interval, row.train_seconds) == ("t over seeds", 61.0)


def test_one_seed_has_the_interval_of_its_images_and_says_so() -> None:
    row = cifar10.row_of("knee", [training(0, 0.9)])
    assert (row.low, row.high) == pytest.approx((89.0, 91.0))
    assert row.interval == "Wilson, test images only"


def test_what_was_found_comes_before_the_reference(tmp_path: Path) -> None:
    found = cifar10.jobs(tmp_path, ["knee", "macs<=50M"], 2, 1)
    assert [job.folder(tmp_path).name for job in found] == [
        "knee-seed0",
        "knee-seed1",
        "macs--50M-seed0",
        "macs--50M-seed1",
        "cifar_googlenet-seed0",
    ]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        for label in range(2):
            folder = tmp_path / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 120, (28, 28, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "images"


def test_a_subset_keeps_the_proportions_and_the_pixels(images: Path) -> None:
    name = cifar10.subset(f"folder:{images}", 20)
    train, test = (load_data(name, split=split) for split in ("train", "test"))
    assert (train.labels.bincount().tolist(), test.labels.bincount().tolist()) == ([10, 10], [5, 5])
    whole = load_data(f"folder:{images}", split="train")
    pixels = {item.numpy().tobytes() for item in whole.images}
    assert all(item.numpy().tobytes() in pixels for item in train.images)


@pytest.mark.slow
def test_it_stops_in_time_goes_on_and_writes_the_table(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    out = tmp_path / "results" / "cifar10"
    words = ["--data", f"folder:{images}", "--images", "24", "--epochs", "1", "--trials", "2"]
    words += ["--out", str(out), "--space", "tiny", "--device", "cpu", "--seeds", "2"]
    words += ["--reference-seeds", "0", "--proxy-epochs", "1", "--proxy-width", "0.25"]
    assert cifar10.main([*words, "--stop-after", "0.001s"]) == 3
    assert "2 of 2 trainings are not finished" in (out / "README.md").read_text()
    assert cifar10.main(words) == 0
    table = json.loads((out / "table.json").read_text())
    (row,) = table["rows"]
    assert (row["name"], row["seeds"], len(row["accuracies"])) == ("knee", [0, 1], 2)
    assert row["macs"] <= 152e6
    training = json.loads((out / "knee-seed1" / "training.json").read_text())
    assert training["recipe"]["name"] == "cifar"
    assert training["origin"]["run"] == "search"
    assert training["num_train"] == 24
    text = (out / "README.md").read_text()
    assert "95.05 %" in text
    assert "A trial of the script on 24 training images" in text
    before = (out / "knee-seed0" / "training.json").stat().st_mtime_ns
    assert cifar10.main(words) == 0
    assert (out / "knee-seed0" / "training.json").stat().st_mtime_ns == before
