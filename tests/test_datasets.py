"""Data sets by name: the embedded one, all of Fashion-MNIST, resolutions, names."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.architecture import Shape
from nas.datasets import DATA_NAMES, describe_data, load_data
from nas.datasets import fashion_mnist as fashion_mnist_module
from nas.datasets.fashion_mnist import DebianFashionMnist, has_debian_files, read_idx, read_sheet
from nas.datasets.loading import find_source

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fashion_mnist_module.__file__).parent
COUNTS = {"train": 10_000, "test": 2_000}
SHA256 = {
    "train": "86dc874cb93f2bd50f6319849c2baf224b877e8d74ecb5b8fbe6fca3b7d87aff",
    "test": "a9a3fef60943d6c23d218c668ff2a8e2537003dbf7a653b962a95bcf38a209bb",
}

needs_debian_files = pytest.mark.skipif(
    not has_debian_files(), reason="Debian's package dataset-fashion-mnist is not installed"
)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))


class TestFashionMnistMini:
    def test_describes_itself(self):
        info = describe_data("fashion-mnist-mini")
        assert info.image == Shape(1, 28, 28)
        assert (info.num_train, info.num_test) == (10_000, 2_000)
        assert len(info.class_names) == 10
        assert info.class_names[9] == "Ankle boot"

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_has_the_pixels_it_was_made_with(self, split):
        data = load_data("fashion-mnist-mini", split=split)
        assert hashlib.sha256(data.images.numpy().tobytes()).hexdigest() == SHA256[split]

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_is_balanced_in_every_first_part(self, split):
        labels = load_data("fashion-mnist-mini", split=split).labels
        assert labels.bincount().tolist() == [COUNTS[split] // 10] * 10
        assert labels[:500].bincount().tolist() == [50] * 10

    @needs_debian_files
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_equals_the_first_originals_of_each_class(self, split):
        mini = load_data("fashion-mnist-mini", split=split)
        whole = load_data("fashion-mnist", split=split)
        for label in range(10):
            expected = whole.images[whole.labels == label][: COUNTS[split] // 10]
            assert torch.equal(mini.images[mini.labels == label], expected)

    @needs_debian_files
    def test_the_committed_script_makes_it(self, tmp_path):
        script = ROOT / "benchmarks" / "make_fashion_mnist_mini.py"
        subprocess.run([sys.executable, script, "--out", tmp_path], check=True, cwd=ROOT, env=ENV)
        for split, count in COUNTS.items():
            made = read_sheet(tmp_path / f"{split}.png", count // 10)
            assert hashlib.sha256(made.tobytes()).hexdigest() == SHA256[split]

    def test_is_small_and_carries_its_licence(self):
        size = sum(path.stat().st_size for path in (PACKAGE / "fashion_mnist_mini").iterdir())
        assert size <= 6_000_000
        notice = (PACKAGE / "NOTICE").read_text()
        assert "Copyright (c) 2017 Zalando SE" in notice
        assert "Permission is hereby granted, free of charge" in notice

    def test_writes_no_cache(self, tmp_path):
        load_data("fashion-mnist-mini", resolution=14, split="test")
        assert not (tmp_path / "cache").exists()


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


ENV = _environment()


class TestFashionMnist:
    @needs_debian_files
    def test_has_the_official_counts_and_first_labels(self):
        info = describe_data("fashion-mnist")
        data = load_data("fashion-mnist", split="test")
        assert (info.num_train, info.num_test) == (60_000, 10_000)
        assert data.images.shape == (10_000, 1, 28, 28)
        assert data.labels.bincount().tolist() == [1_000] * 10
        assert data.labels[:5].tolist() == [9, 2, 1, 1, 6]

    @needs_debian_files
    def test_damaged_files_are_named(self, tmp_path):
        for path in fashion_mnist_module.DEBIAN_DIRECTORY.iterdir():
            shutil.copy(path, tmp_path)
        labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
        labels.write_bytes(labels.read_bytes()[:-20])
        with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
            DebianFashionMnist(tmp_path).labels("test")

    def test_comes_from_hugging_face_elsewhere(self, monkeypatch, tmp_path):
        monkeypatch.setattr(fashion_mnist_module, "DEBIAN_DIRECTORY", tmp_path / "none")
        source = find_source("fashion-mnist")
        assert type(source).__name__ == "HuggingFaceSource"
        assert source.name == "fashion-mnist"

    @pytest.mark.parametrize(
        "content",
        [
            b"\x00\x00\x08\x01\x00\x00\x00\x03ab",  # shorter than it says
            b"\x00\x00\x08\x01\x00\x00\x00\x04abcd",  # another count
            b"\x00\x00\x0d\x01\x00\x00\x00\x03abc",  # floating point
        ],
    )
    def test_refuses_other_idx_files(self, tmp_path, content):
        path = tmp_path / "x.gz"
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match="is not an IDX file of 3 bytes"):
            read_idx(path, (3,))


class TestLoad:
    def test_gives_tensors_on_the_device(self):
        data = load_data("fashion-mnist-mini", split="test", device="meta")
        assert data.images.device.type == "meta"
        assert data.images.dtype == torch.uint8
        assert data.labels.dtype == torch.int64

    def test_loads_the_training_split_unless_told_otherwise(self):
        assert len(load_data("fashion-mnist-mini")) == 10_000

    def test_resizes_as_pillow_does(self):
        small = load_data("fashion-mnist-mini", resolution=14, split="test")
        whole = load_data("fashion-mnist-mini", split="test")
        assert small.image == Shape(1, 14, 14)
        assert torch.equal(small.labels, whole.labels)
        for index in (0, 1_999):
            image = Image.fromarray(whole.images[index, 0].numpy())
            expected = np.asarray(image.resize((14, 14), Image.Resampling.BICUBIC))
            difference = small.images[index, 0].numpy().astype(int) - expected
            assert abs(difference).max() <= 1

    @pytest.mark.parametrize("resolution", [0, -3, 5_000, 1.5, True, "28"])
    def test_refuses_resolutions(self, resolution):
        with pytest.raises(ValueError, match="resolution must be a whole number of pixels from 1"):
            load_data("fashion-mnist-mini", resolution=resolution)

    def test_refuses_other_splits(self):
        with pytest.raises(ValueError, match="unknown split 'validation'"):
            load_data("fashion-mnist-mini", split="validation")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("fashion-mnist-min", "did you mean 'fashion-mnist-mini'?"),
            ("fashion_mnist", "did you mean 'fashion-mnist'?"),
            ("", "unknown data set ''"),
            ("zzz", "Known: fashion-mnist, fashion-mnist-mini, folder:DIR, hf:OWNER/NAME"),
            ("floder:/data", "did you mean 'folder:DIR'?"),
            ("hf:cifar10", "must be hf:OWNER/NAME"),
            ("hf:a/b/c", "must be hf:OWNER/NAME"),
            ("hf:../../etc", "must be hf:OWNER/NAME"),
            ("hf:../x", "must be hf:OWNER/NAME"),
            ("folder:", "must be folder:DIR, with a directory"),
            ("parquet:", "must be parquet:DIR, with a directory"),
        ],
    )
    def test_wrong_ones_get_a_hint(self, name, message):
        for function in (describe_data, load_data):
            with pytest.raises(ValueError, match="data set") as caught:
                function(name)
            assert message in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_a_directory_gets_its_prefix(self, tmp_path):
        with pytest.raises(ValueError, match=f"is a directory: say folder:{tmp_path}"):
            describe_data(str(tmp_path))

    def test_all_are_found(self, tmp_path):
        for name in DATA_NAMES:
            find_source(name.replace("OWNER/NAME", "a/b").replace("DIR", str(tmp_path)))


def _imported(code):
    wanted = "('PIL', 'pyarrow', 'datasets', 'pandas')"
    code = f"{code}\nimport sys\nprint([name for name in {wanted} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=ENV
    )
    return done.stdout.strip()


class TestImports:
    def test_are_light(self):
        assert _imported(
            "import nas.datasets; nas.datasets.describe_data('fashion-mnist-mini')"
        ) == ("[]")

    def test_would_be_seen_if_they_were_not(self):
        code = "import nas.datasets; nas.datasets.load_data('fashion-mnist-mini', split='test')"
        assert _imported(code) == "['PIL']"
