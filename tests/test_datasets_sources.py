"""Folders, Parquet files and Hugging Face sets: what is found, and what is refused and how."""

from __future__ import annotations

import io
import os
import re
import socket

import datasets as hugging_face
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from nas.architecture import Shape
from nas.datasets import describe_data, load_data
from nas.datasets import hugging_face as hugging_face_module

CIFAR_NAMES = ("plane", "car", "bird")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))


def _pixels(number, size=(6, 5), mode="RGB"):
    random = np.random.default_rng(number)
    channels = () if mode == "L" else (3,)
    return random.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)


def _save(path, number, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_pixels(number, **options)).save(path)


def _png(number, **options):
    buffer = io.BytesIO()
    Image.fromarray(_pixels(number, **options)).save(buffer, "png")
    return buffer.getvalue()


def _check_pixels(data, index, number, **options):
    expected = torch.from_numpy(_pixels(number, **options))
    expected = expected[None] if expected.dim() == 2 else expected.permute(2, 0, 1)
    assert torch.equal(data.images[index], expected)


def _raises(function, name, *messages, error=ValueError, **options):
    with pytest.raises(error) as caught:
        function(name, **options)
    text = str(caught.value)
    assert "\n" not in text
    for message in (name, *messages):
        assert message in text, text


class TestFolder:
    def _flat(self, root, suffix=".png", **options):
        for number, name in enumerate(("cat/1", "cat/0", "dog/a/deep", "dog/b")):
            _save(root / f"{name}{suffix}", number, **options)
        return f"folder:{root}"

    def test_flat(self, tmp_path):
        name = self._flat(tmp_path / "pets")
        info = describe_data(name)
        assert info.image == Shape(3, 5, 6)
        assert info.class_names == ("cat", "dog")
        assert (info.num_train, info.num_test) == (4, None)
        data = load_data(name)
        assert data.labels.tolist() == [0, 0, 1, 1]
        for index, number in enumerate((1, 0, 2, 3)):  # sorted by name
            _check_pixels(data, index, number)
        _raises(load_data, name, "has no test split", split="test")

    @pytest.mark.parametrize("test_name", ["test", "val", "validation", "valid"])
    def test_split(self, tmp_path, test_name):
        self._flat(tmp_path / "train", size=(4, 4), mode="L")
        _save(tmp_path / test_name / "dog" / "x.png", 9, size=(4, 4), mode="L")
        name = f"folder:{tmp_path}"
        info = describe_data(name)
        assert info.image == Shape(1, 4, 4)
        assert (info.num_train, info.num_test) == (4, 1)
        test = load_data(name, split="test")
        assert test.labels.tolist() == [1]
        assert test.class_names == ("cat", "dog")
        _check_pixels(test, 0, 9, size=(4, 4), mode="L")

    def test_passes_over_hidden_and_other_files(self, tmp_path):
        name = self._flat(tmp_path)
        (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
        (tmp_path / "cat" / "._1.png").write_bytes(b"x")
        (tmp_path / ".git").mkdir()
        (tmp_path / "readme.txt").write_text("hello")
        assert describe_data(name).num_train == 4
        assert len(load_data(name)) == 4

    def test_sees_a_changed_file(self, tmp_path):
        name = self._flat(tmp_path / "pets")
        load_data(name)
        _save(tmp_path / "pets" / "cat" / "0.png", 77)
        os.utime(tmp_path / "pets" / "cat" / "0.png", (1, 1))
        _check_pixels(load_data(name), 0, 77)

    def test_unreadable_images_are_named_and_counted(self, tmp_path):
        name = self._flat(tmp_path)
        good = (tmp_path / "cat" / "1.png").read_bytes()
        (tmp_path / "cat" / "cut.png").write_bytes(good[:60])
        (tmp_path / "dog" / "text.jpg").write_text("not an image")
        (tmp_path / "dog" / "void.png").write_bytes(b"")
        (tmp_path / "dog" / "zero.gif").write_bytes(bytes(100))
        _raises(
            load_data,
            name,
            "4 of 8 images cannot be read",
            "cat/cut.png (",
            "dog/text.jpg (not an image of JPEG, PNG",
            "dog/void.png (",
            "and 1 more",
        )
        assert not list((tmp_path / "cache").glob("**/*.safetensors"))

    def test_all_unreadable(self, tmp_path):
        for class_name in "ab":
            (tmp_path / class_name).mkdir()
            (tmp_path / class_name / "x.png").write_bytes(b"no")
        _raises(describe_data, f"folder:{tmp_path}", "2 of 2 images cannot be read: a/x.png")

    def test_refuses_what_is_no_image_folder(self, tmp_path):
        _raises(describe_data, f"folder:{tmp_path}/none", "does not exist")
        (tmp_path / "file").write_text("")
        _raises(describe_data, f"folder:{tmp_path}/file", "is not a directory")
        (tmp_path / "empty").mkdir()
        _raises(describe_data, f"folder:{tmp_path}/empty", "at least two, and has none")
        _save(tmp_path / "one" / "cat" / "0.png", 0)
        _raises(load_data, f"folder:{tmp_path}/one", "at least two, and has only 'cat'")
        (tmp_path / "one" / "dog").mkdir()
        _raises(load_data, f"folder:{tmp_path}/one", "one/dog holds no image")
        _save(tmp_path / "lone" / "test" / "cat" / "0.png", 0)
        _raises(load_data, f"folder:{tmp_path}/lone", "has test/ but no train/")

    def test_refuses_a_test_class_that_training_lacks(self, tmp_path):
        self._flat(tmp_path / "train")
        _save(tmp_path / "test" / "zebra" / "0.png", 0)
        _raises(describe_data, f"folder:{tmp_path}", "test/zebra is a class that training")

    def test_the_test_split_is_not_opened_for_training(self, tmp_path):
        self._flat(tmp_path / "train")
        (tmp_path / "test" / "cat").mkdir(parents=True)
        (tmp_path / "test" / "cat" / "broken.png").write_bytes(b"broken")
        assert len(load_data(f"folder:{tmp_path}")) == 4
        _raises(load_data, f"folder:{tmp_path}", "1 of 1 images cannot be read", split="test")


def _table(labels, *, first=0, as_struct=True, names=None, **columns):
    images = [_png(first + number) for number in range(len(labels))]
    if as_struct:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        image = pa.array([{"bytes": content, "path": None} for content in images], kind)
    else:
        image = pa.array(images, pa.binary())
    table = pa.table({"img": image, "label": labels, **columns})
    if names:
        features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        import json

        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    return table


class TestParquet:
    def test_train_in_parts_and_test(self, tmp_path):
        pq.write_table(_table([2, 0], names=CIFAR_NAMES), tmp_path / "train-00000.parquet")
        pq.write_table(_table([1], first=2, names=CIFAR_NAMES), tmp_path / "train-00001.parquet")
        pq.write_table(_table([0], first=9, names=CIFAR_NAMES), tmp_path / "test.parquet")
        name = f"parquet:{tmp_path}"
        info = describe_data(name)
        assert info.image == Shape(3, 5, 6)
        assert info.class_names == CIFAR_NAMES
        assert (info.num_train, info.num_test) == (3, 1)
        train, test = load_data(name), load_data(name, split="test")
        assert train.labels.tolist() == [2, 0, 1]
        for number in range(3):
            _check_pixels(train, number, number)
        assert test.labels.tolist() == [0]
        _check_pixels(test, 0, 9)

    def test_prefers_test_to_validation(self, tmp_path):
        pq.write_table(_table([0, 1]), tmp_path / "train.parquet")
        pq.write_table(_table([0, 1, 1]), tmp_path / "val.parquet")
        assert describe_data(f"parquet:{tmp_path}").num_test == 3
        pq.write_table(_table([0]), tmp_path / "test.parquet")
        assert describe_data(f"parquet:{tmp_path}").num_test == 1

    @pytest.mark.parametrize("as_struct", [True, False])
    def test_texts_and_numbers_are_classes_without_metadata(self, tmp_path, as_struct):
        name = f"parquet:{tmp_path}"
        pq.write_table(_table([0, 3], as_struct=as_struct), tmp_path / "train.parquet")
        assert describe_data(name).class_names == ("0", "1", "2", "3")
        labels = pa.array(["pig", "ant", "pig"]).dictionary_encode()
        pq.write_table(_table(labels, as_struct=as_struct), tmp_path / "train.parquet")
        data = load_data(name)
        assert data.class_names == ("ant", "pig")
        assert data.labels.tolist() == [1, 0, 1]

    def test_images_by_path(self, tmp_path):
        _save(tmp_path / "pictures" / "0.png", 5)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        image = pa.array([{"bytes": None, "path": "pictures/0.png"}] * 2, kind)
        pq.write_table(pa.table({"image": image, "label": [0, 1]}), tmp_path / "train.parquet")
        _check_pixels(load_data(f"parquet:{tmp_path}"), 1, 5)

    def test_many_images_keep_their_order(self, tmp_path):
        labels = [number % 2 for number in range(1_200)]  # over one chunk, over one row group
        pq.write_table(_table(labels), tmp_path / "train.parquet", row_group_size=700)
        data = load_data(f"parquet:{tmp_path}")
        assert data.labels.tolist() == labels
        for number in (0, 511, 512, 699, 700, 1_199):
            _check_pixels(data, number, number)

    def test_refuses_files_that_are_not_there_or_damaged(self, tmp_path):
        name = f"parquet:{tmp_path}"
        _raises(load_data, f"{name}/none", "does not exist")
        _raises(load_data, name, "has no file train*.parquet")
        pq.write_table(_table([0, 1])[:0], tmp_path / "train.parquet")
        _raises(load_data, name, "train.parquet has no rows")
        (tmp_path / "train.parquet").write_bytes(b"PAR1 no")
        _raises(load_data, name, "train.parquet cannot be read")
        pq.write_table(_table([0, 1]), tmp_path / "train.parquet")
        _raises(load_data, name, "has no test split", split="test")

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (pa.table({"a": [1], "label": [0]}), "no image column; one of them should be called"),
            (_table([0, 1]).drop(["label"]), "no label column"),
            (_table([0, 1], names=["a", "b"]).rename_columns(["img", "x"]), "no label column"),
            (_table([0, 0]), "column label has 1 class"),
            (_table(["a", "a"]), "column label has 1 class"),
            (_table([0, 5], names=["a", "b"]), "label 5 of image 1 in column label is not from 0"),
            (_table([0, -2], names=["a", "b"]), "label -2 of image 1"),
            (_table([-1, -1], names=["a", "b"]), "this split's labels are hidden"),
            (_table([0, 10**9]), "label 1,000,000,000 in column label is no class"),
            (_table(pa.array([0, None], pa.int64())), "1 of 2 labels in column label are missing"),
            (_table([0.5, 1.0]), "no label column"),
        ],
    )
    def test_refuses_wrong_tables(self, tmp_path, table, message):
        pq.write_table(table, tmp_path / "train.parquet")
        _raises(load_data, f"parquet:{tmp_path}", message)

    def test_refuses_a_test_file_with_other_columns_or_classes(self, tmp_path):
        name = f"parquet:{tmp_path}"
        pq.write_table(_table(["a", "b"]), tmp_path / "train.parquet")
        pq.write_table(_table(["a", "c"]), tmp_path / "test.parquet")
        _raises(load_data, name, "label 'c' in column label is a class", split="test")
        other = _table(["a", "b"]).rename_columns(["picture", "label"])
        pq.write_table(other, tmp_path / "test.parquet")
        _raises(load_data, name, "test.parquet has no column img", split="test")

    def test_chooses_columns_by_feature_before_name(self, tmp_path):
        fine = _table([0, 1], names=["a", "b"], y=[1, 1], image=pa.array([b"x", b"y"]))
        pq.write_table(fine, tmp_path / "train.parquet")
        data = load_data(f"parquet:{tmp_path}")
        assert data.labels.tolist() == [0, 1]
        _check_pixels(data, 1, 1)

    def test_missing_images_are_named(self, tmp_path):
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        image = pa.array([{"bytes": _png(0), "path": "a.png"}, None], kind)
        pq.write_table(pa.table({"image": image, "label": [0, 1]}), tmp_path / "train.parquet")
        message = "1 of 2 images cannot be read: train.parquet image 1 ("
        _raises(load_data, f"parquet:{tmp_path}", message)

    def test_a_broken_image_far_down_keeps_its_number(self, tmp_path):
        table = pa.table({"image": [_png(0)] * 599 + [b"broken"], "label": [0, 1] * 300})
        pq.write_table(table, tmp_path / "train.parquet")
        message = "1 of 600 images cannot be read: train.parquet image 599 ("
        _raises(load_data, f"parquet:{tmp_path}", message)

    @pytest.mark.skipif("NAS_TEST_PARQUET" not in os.environ, reason="set it to a Parquet folder")
    def test_real_files(self):
        name = f"parquet:{os.environ['NAS_TEST_PARQUET']}"
        info = describe_data(name)
        data = load_data(name, resolution=16, split="test")
        assert len(data) == info.num_test
        assert data.image == Shape(info.image.channels, 16, 16)
        assert data.labels.bincount(minlength=len(info.class_names)).min() > 0


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set that the library finds by OWNER/NAME, because it lies below where we are."""
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path / "hugging_face")
    monkeypatch.chdir(tmp_path)
    hugging_face.disable_progress_bars()

    def write(split="train", labels=(2, 0, 1), label="label", repository="owner/pets", first=0):
        features = hugging_face.Features(
            {"img": hugging_face.Image(), label: hugging_face.ClassLabel(names=list(CIFAR_NAMES))}
        )
        images = [Image.fromarray(_pixels(first + number)) for number in range(len(labels))]
        columns = {"img": images, label: list(labels)}
        directory = tmp_path / repository / "data"
        directory.mkdir(parents=True, exist_ok=True)
        made = hugging_face.Dataset.from_dict(columns, features)
        made.to_parquet(str(directory / f"{split}-00000-of-00001.parquet"))
        return f"hf:{repository}"

    yield write
    hugging_face.enable_progress_bars()


class TestHuggingFace:
    def test_loads_both_splits(self, hub):
        name = hub()
        hub("test", (1, 1), first=7)
        info = describe_data(name)
        assert info.name == name
        assert info.image == Shape(3, 5, 6)
        assert info.class_names == CIFAR_NAMES
        assert (info.num_train, info.num_test) == (3, 2)
        train, test = load_data(name), load_data(name, split="test")
        assert train.labels.tolist() == [2, 0, 1]
        assert test.labels.tolist() == [1, 1]
        _check_pixels(train, 2, 2)
        _check_pixels(test, 1, 8)

    def test_takes_validation_where_there_is_no_test(self, hub):
        name = hub(label="fine_label")
        hub("validation", (0,), label="fine_label")
        assert describe_data(name).num_test == 1
        assert load_data(name, split="test").labels.tolist() == [0]

    def test_without_a_test_split(self, hub):
        name = hub()
        assert describe_data(name).num_test is None
        _raises(load_data, name, "has no test split: its splits are train", split="test")

    def test_without_a_train_split(self, hub):
        _raises(load_data, hub("test"), "cannot be loaded: Unknown split")

    def test_without_a_network_it_says_so_at_once(self, hub, monkeypatch):
        monkeypatch.setattr(hugging_face_module, "getproxies", dict)
        monkeypatch.setattr(hugging_face.config, "HF_ENDPOINT", "https://no-such-host.invalid")
        asked, resolve = [], socket.getaddrinfo

        def counted(host, *more, **named):
            asked.append(host)
            return resolve(host, *more, **named)

        monkeypatch.setattr(socket, "getaddrinfo", counted)
        message = (
            "cache of Hugging Face datasets and https://no-such-host.invalid cannot be reached"
        )
        _raises(describe_data, "hf:nobody/nothing", message, error=ConnectionError)
        # Once: the libraries would ask again and again, and wait in between.
        assert asked == ["no-such-host.invalid"]
        assert hugging_face.config.HF_HUB_OFFLINE is False


def test_columns_of_several_images_need_a_common_name(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": _png(0), "path": None}] * 2, kind)
    table = pa.table({"front": image, "back": image, "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=re.escape("several image columns")):
        load_data(f"parquet:{tmp_path}")
    pq.write_table(table.rename_columns(["front", "image", "label"]), tmp_path / "train.parquet")
    assert len(load_data(f"parquet:{tmp_path}")) == 2
