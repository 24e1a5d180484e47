"""Splits, carving, statistics, and your own tensors."""

from __future__ import annotations

import re
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes

from nas.architecture import Shape
from nas.datasets import (
    DataInfo,
    Split,
    Statistics,
    TrainValidation,
    carve,
    from_tensors,
    measure_statistics,
)
from nas.datasets import split as split_module


def _split(counts=(40, 40, 40), channels=1, side=4):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (len(labels), channels, side, side), dtype=torch.uint8, generator=generator
    )
    # The first pixel names the image, so that tests can tell where each one went.
    images[:, 0, 0, 0] = torch.arange(len(labels)).to(torch.uint8)
    return from_tensors(images, labels, [f"class {i}" for i in range(len(counts))])


def _numbers(split):
    return split.images[:, 0, 0, 0].tolist()


class TestCarve:
    def test_takes_equally_from_balanced_classes_and_loses_no_image(self):
        whole = _split()
        parts = carve(whole, 30)
        assert parts.validation.labels.bincount().tolist() == [10, 10, 10]
        assert parts.train.labels.bincount().tolist() == [30, 30, 30]
        assert sorted(_numbers(parts.train) + _numbers(parts.validation)) == list(range(120))
        assert parts.validation.class_names == whole.class_names

    def test_takes_in_proportion_from_others(self):
        parts = carve(_split((100, 50, 7)), 20)
        # 12.7, 6.4 and 0.9: the largest remainders get the two that are left.
        assert parts.validation.labels.bincount().tolist() == [13, 6, 1]

    def test_labels_stay_with_their_images(self):
        whole = _split()
        for part in (carve(whole, 31, seed=3).train, carve(whole, 31, seed=3).validation):
            expected = whole.labels[torch.tensor(_numbers(part))]
            assert torch.equal(part.labels, expected)

    def test_depends_on_the_seed_alone(self):
        first, again, other = (carve(_split(), 30, seed=seed) for seed in (0, 0, 1))
        assert _numbers(first.validation) == _numbers(again.validation)
        assert _numbers(first.validation) != _numbers(other.validation)

    def test_is_the_same_for_ever(self):
        # A resumed run must never see other images: these numbers may not change.
        assert _numbers(carve(_split(), 6, seed=0).validation) == [20, 22, 52, 53, 86, 104]

    def test_leaves_the_callers_random_state_alone(self):
        torch.manual_seed(1)
        np.random.seed(1)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        carve(_split(), 30)
        assert torch.equal(before[0], torch.get_rng_state())
        assert (before[1] == np.random.get_state()[1]).all()

    @pytest.mark.parametrize("number", [0, -1, 120, 500])
    def test_refuses_numbers_outside(self, number):
        with pytest.raises(ValueError, match=r"must be from 1 to 119 of the 120 training images"):
            carve(_split(), number)

    def test_refuses_to_take_the_last_image_of_a_class(self):
        with pytest.raises(ValueError, match="no training image of class 'class 2', which has 1"):
            carve(_split((10, 10, 1)), 19)

    def test_a_class_without_images_is_no_obstacle(self):
        parts = carve(_split((10, 0, 10)), 10)
        assert parts.validation.labels.bincount(minlength=3).tolist() == [5, 0, 5]


class TestStatistics:
    def test_are_mean_and_deviation_of_each_channel(self):
        split = _split((300, 300), channels=3, side=6)
        values = split.images.double() / 255
        found = measure_statistics(split)
        assert found.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), rel=1e-12)
        expected = values.std((0, 2, 3), correction=0).tolist()
        assert found.std == pytest.approx(expected, rel=1e-12)

    def test_count_every_block_of_images(self, monkeypatch):
        split = _split()
        whole = measure_statistics(split)
        monkeypatch.setattr(split_module, "_BLOCK", 7)
        assert measure_statistics(split) == whole

    def test_keep_a_constant_channel_finite(self):
        split = from_tensors(torch.full((4, 2, 2), 51, dtype=torch.uint8), [0, 1, 0, 1])
        assert measure_statistics(split) == Statistics((0.2,), (1 / 255,))


class TestSplit:
    def test_describes_itself(self):
        split = _split(channels=3)
        assert split.image == Shape(3, 4, 4)
        assert split.num_classes == 3
        assert split.describe("mine", num_test=7) == DataInfo(
            "mine", Shape(3, 4, 4), ("class 0", "class 1", "class 2"), 120, 7
        )

    def test_moves_only_when_it_must(self):
        split = _split()
        assert split.to("cpu") is split
        assert split.to("meta").images.device.type == "meta"
        assert split.to("meta").labels.device.type == "meta"


def _paint(data, answers):
    data.train.images[0] = 7
    answers.put((data.validation.images.is_shared(), int(data.train.labels.sum())))


class TestSharing:
    def test_a_worker_sees_the_same_memory(self):
        data = carve(_split(), 30).share_memory()
        assert isinstance(data, TrainValidation)
        parts = (data.train, data.validation)
        assert all(part.images.is_shared() and part.labels.is_shared() for part in parts)
        context = processes.get_context("spawn")
        answers = context.Queue()
        worker = context.Process(target=_paint, args=(data, answers))
        worker.start()
        is_shared, total = answers.get(timeout=240)
        worker.join()
        assert is_shared
        assert total == 90
        assert (data.train.images[0] == 7).all()

    def test_says_when_shared_memory_is_too_small(self, monkeypatch):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(split_module.sys, "platform", "linux")
        monkeypatch.setattr(split_module, "_SHARED_MEMORY", split_module.Path("/"))
        monkeypatch.setattr(split_module.shutil, "disk_usage", lambda path: usage(9, 9, 100))
        with pytest.raises(OSError, match=r"100 bytes free and the images need 2\.88K: enlarge it"):
            _split().share_memory()

    def test_sharing_twice_is_fine(self):
        split = _split().share_memory()
        assert split.share_memory() is split


class TestFromTensors:
    def test_takes_uint8_as_it_is(self):
        images = torch.arange(96, dtype=torch.uint8).view(2, 3, 4, 4)
        split = from_tensors(images, torch.tensor([1, 0], dtype=torch.int32))
        assert isinstance(split, Split)
        assert torch.equal(split.images, images)
        assert split.labels.dtype == torch.int64
        assert split.labels.tolist() == [1, 0]
        assert split.class_names == ("0", "1")

    def test_takes_grey_without_a_channel_axis_and_arrays(self):
        split = from_tensors(np.zeros((2, 5, 4), np.uint8), np.array([0, 1]), ["a", "b"])
        assert split.image == Shape(1, 5, 4)
        assert split.class_names == ("a", "b")

    def test_converts_floating_point_exactly_and_back(self):
        levels = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
        for dtype in (torch.float32, torch.float64):
            split = from_tensors(levels.to(dtype) / 255, [0, 1, 0, 1])
            assert torch.equal(split.images, levels)

    def test_makes_other_layouts_contiguous_and_leaves_the_argument(self):
        images = torch.zeros(2, 4, 4, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        assert from_tensors(images, [0, 1]).images.is_contiguous()
        assert not images.is_contiguous()

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), [0, 1], "look like N,H,W,C"),
            (torch.zeros(2, 4, dtype=torch.uint8), [0, 1], "N,C,H,W or N,H,W"),
            (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), [], "none of them 0"),
            (torch.zeros(2, 4, 4, dtype=torch.int64), [0, 1], "not int64: if they are 0 to 255"),
            (torch.full((2, 4, 4), 2.5), [0, 1], "from 0 to 1, not from 2.5 to 2.5"),
            (torch.full((2, 4, 4), -0.1), [0, 1], "undo any normalising"),
            (torch.full((2, 4, 4), torch.nan), [0, 1], "from 0 to 1, not from nan to nan"),
            ("pictures", [0, 1], "images must be a tensor or an array"),
            (torch.zeros(2, 4, 4), [0, 1, 1], r"each of 2 images, not of shape \(3,\)"),
            (torch.zeros(2, 4, 4), [[0], [1]], r"not of shape \(2, 1\)"),
            (torch.zeros(2, 4, 4), [0.0, 1.0], "labels must be integers, not float32"),
            (torch.zeros(2, 4, 4), [False, True], "labels must be integers, not bool"),
            (torch.zeros(2, 4, 4), [-1, 1], "labels must be from 0 to 1 for 2 classes; one is -1"),
            (torch.zeros(2, 4, 4), [0, 0], "at least two classes, not 1"),
        ],
    )
    def test_refuses(self, images, labels, message):
        with pytest.raises(ValueError, match=message) as caught:
            from_tensors(images, labels)
        assert "\n" not in str(caught.value)

    def test_refuses_labels_beyond_the_names(self):
        message = "labels must be from 0 to 1 for 2 classes; one is 5"
        with pytest.raises(ValueError, match=re.escape(message)):
            from_tensors(torch.zeros(2, 4, 4), [0, 5], ["a", "b"])
