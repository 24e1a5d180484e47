"""Decoding, resizing, the cache on disk and the progress bar."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.architecture import Shape
from nas.datasets import cache_directory, describe_data, load_data
from nas.datasets import progress as progress_module
from nas.datasets.cache import cached_images
from nas.datasets.decoding import common_shape, decode_image, decode_images
from nas.datasets.progress import progress_bar
from nas.datasets.source import EncodedImage

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))


def _encoded(image, format="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return EncodedImage(f"picture.{format}", buffer.getvalue())


def _striped(width, height):
    """Red left quarter, green middle, blue right quarter."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 4, 0] = 255
    pixels[:, width // 4 : -(width // 4), 1] = 255
    pixels[:, -(width // 4) :, 2] = 255
    return Image.fromarray(pixels)


class TestDecodeImage:
    def test_keeps_pixels_of_the_right_size(self):
        pixels = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
        result = decode_image(_encoded(Image.fromarray(pixels)), Shape(3, 5, 6))
        assert (result == pixels.transpose(2, 0, 1)).all()

    def test_cuts_the_centre_out_and_keeps_the_aspect_ratio(self):
        wide = decode_image(_encoded(_striped(80, 40)), Shape(3, 20, 20))
        # The outermost pixels see a little beyond the cut, as resizing before cutting does.
        assert (wide[1, :, 1:-1] == 255).all()
        assert wide[1].min() > 200
        assert not wide[0, :, 1:-1].any()
        tall = decode_image(_encoded(_striped(80, 40).rotate(90, expand=True)), Shape(3, 20, 20))
        assert (tall[1, 1:-1] == 255).all()

    def test_enlarges(self):
        image = decode_image(_encoded(Image.new("RGB", (3, 2), (9, 8, 7))), Shape(3, 8, 8))
        assert (image == np.array([9, 8, 7], np.uint8)[:, None, None]).all()

    def test_antialiases(self):
        board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
        small = decode_image(_encoded(Image.fromarray(board)), Shape(1, 8, 8))
        assert abs(small.astype(int) - 127).max() <= 1

    def test_grey_and_colour_become_each_other(self):
        grey = Image.new("L", (4, 4), 100)
        assert (decode_image(_encoded(grey), Shape(3, 4, 4)) == 100).all()
        red = Image.new("RGB", (4, 4), (255, 0, 0))
        assert (decode_image(_encoded(red), Shape(1, 4, 4)) == 76).all()  # ITU-R 601

    @pytest.mark.parametrize("mode", ["1", "P", "CMYK", "LA", "RGBA", "PA"])
    def test_reads_every_mode(self, mode):
        image = Image.new("RGB", (4, 4), (255, 255, 255))
        image = (
            image.convert("L").convert("LA")
            if mode == "LA"
            else image.convert({"PA": "P"}.get(mode, mode))
        )
        format = "tiff" if mode == "CMYK" else "png"
        assert (decode_image(_encoded(image, format), Shape(3, 4, 4)) >= 250).all()

    def test_transparent_pixels_become_black(self):
        clear = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
        assert not decode_image(_encoded(clear), Shape(3, 4, 4)).any()
        palette = Image.new("P", (4, 4), 1)
        palette.putpalette([0, 0, 0, 200, 100, 50])
        seen = decode_image(_encoded(palette, transparency=0), Shape(3, 4, 4))
        assert seen[:, 0, 0].tolist() == [200, 100, 50]
        gone = decode_image(_encoded(palette, transparency=1), Shape(3, 4, 4))
        assert not gone.any()

    def test_sixteen_bit_grey_keeps_its_upper_half(self):
        deep = Image.fromarray(np.full((4, 4), 0xABCD, np.uint16))
        assert (decode_image(_encoded(deep), Shape(1, 4, 4)) == 0xAB).all()

    def test_obeys_the_orientation_of_photographs(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise: left becomes top
        item = _encoded(_striped(8, 4), exif=exif)
        assert common_shape("x", [item]) == Shape(3, 8, 4)
        upright = decode_image(item, Shape(3, 8, 4))
        assert upright[:, 0, 0].tolist() == [255, 0, 0]
        assert upright[:, -1, 0].tolist() == [0, 0, 255]

    def test_a_large_photograph_is_what_it_would_be_without_the_short_cut(self):
        noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        photograph = Image.fromarray(noise).resize((800, 600), Image.Resampling.BICUBIC)
        item = _encoded(photograph, "jpeg", quality=95)
        quick = decode_image(item, Shape(3, 96, 96)).astype(int)
        slow = Image.open(io.BytesIO(item.content))
        slow = slow.resize((96, 96), Image.Resampling.BICUBIC, box=(100, 0, 700, 600))
        # Grey levels; 15 where the short cut leaves fewer pixels than are asked for.
        assert abs(quick - np.asarray(slow, int).transpose(2, 0, 1)).mean() < 3


class TestCommonShape:
    def _shapes(self, *images):
        return common_shape("here", [_encoded(image) for image in images])

    def test_is_the_images_own_where_they_agree(self):
        assert self._shapes(*[Image.new("L", (6, 4))] * 3) == Shape(1, 4, 6)

    def test_is_a_square_of_the_median_shorter_side_elsewhere(self):
        sizes = [(40, 30), (20, 60), (70, 70)]
        assert self._shapes(*[Image.new("RGB", size) for size in sizes]) == Shape(3, 30, 30)

    def test_is_grey_where_most_are(self):
        grey, colour = Image.new("L", (4, 4)), Image.new("RGB", (4, 4))
        assert self._shapes(grey, grey, colour).channels == 1
        assert self._shapes(grey, colour).channels == 3
        assert self._shapes(grey.convert("LA")).channels == 1

    def test_needs_an_image(self):
        with pytest.raises(ValueError, match="here: there is no image"):
            common_shape("here", [])


class TestDecodeImages:
    def _items(self, count):
        return [EncodedImage(str(i), np.full((4, 4), i, np.uint8)) for i in range(count)]

    def test_puts_every_image_in_its_place(self):
        items = self._items(150)
        chunks = iter([items[:100], items[100:]])
        images = decode_images("here", chunks, 150, Shape(1, 4, 4), progress=False)
        assert images[:, 0, 0, 0].tolist() == list(range(150))

    @pytest.mark.parametrize(("count", "message"), [(9, "more images than"), (11, "10 images for")])
    def test_refuses_another_number_than_that_of_the_labels(self, count, message):
        with pytest.raises(ValueError, match=message):
            decode_images("here", iter([self._items(10)]), count, Shape(1, 4, 4))

    def test_refuses_what_does_not_fit_the_memory(self):
        message = r"here: .* images of 3x224x224 need .* bytes of memory and .* are free: choose"
        with pytest.raises(OSError, match=message):
            decode_images("here", iter([]), 10**10, Shape(3, 224, 224))

    def test_pixels_of_unknown_range_are_refused(self):
        deep = Image.fromarray(np.zeros((4, 4), np.float32))
        item = _encoded(deep, "tiff")
        with pytest.raises(
            ValueError, match=r"1 of 1 images cannot be read: picture.tiff .*mode F"
        ):
            decode_images("here", iter([[item]]), 1, Shape(1, 4, 4))

    def test_a_picture_bomb_is_refused(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        item = _encoded(Image.new("L", (10, 10)))
        with pytest.raises(ValueError, match=r"1 of 1 images cannot be read: picture\.png"):
            decode_images("here", iter([[item]]), 1, Shape(1, 4, 4))


def _build(value=3):
    return np.full((2, 1, 4, 4), value, np.uint8)


def _fail():
    raise AssertionError("built again")


class TestCache:
    def test_builds_once(self):
        first = cached_images("a b/c", "who", _build)
        again = cached_images("a b/c", "who", _fail)
        assert torch.equal(first, again)
        assert again.is_contiguous()
        (path,) = cache_directory().iterdir()
        assert path.name.startswith("a-b-c-")
        assert path.suffix == ".safetensors"

    def test_tells_identities_apart(self):
        cached_images("x", "one", _build)
        other = cached_images("x", "two", lambda: _build(4))
        assert (other == 4).all()

    def test_tells_labels_apart_that_read_alike(self):
        cached_images("x/1", "one", _build)
        assert (cached_images("x-1", "one", lambda: _build(4)) == 4).all()

    @pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "header"])
    def test_a_damaged_file_is_made_again(self, damage, caplog):
        cached_images("x", "one", _build)
        (path,) = cache_directory().iterdir()
        content = path.read_bytes()
        path.write_bytes(
            {
                "cut": content[:-5],
                "flip": content[:-1] + bytes([content[-1] ^ 1]),
                "text": b"hello",
                "empty": b"",
                "header": content[:8] + b"\xff" + content[9:],
            }[damage]
        )
        assert (cached_images("x", "one", lambda: _build(4)) == 4).all()
        assert "is damaged and is made again" in caplog.text
        assert (cached_images("x", "one", _fail) == 4).all()

    def test_a_file_of_another_identity_is_not_taken(self):
        cached_images("x", "one", _build)
        (path,) = cache_directory().iterdir()
        cached_images("x", "two", lambda: _build(4))
        (other,) = set(cache_directory().iterdir()) - {path}
        other.write_bytes(path.read_bytes())
        assert (cached_images("x", "two", lambda: _build(5)) == 5).all()

    def test_without_a_place_to_write_images_still_come(self, tmp_path, monkeypatch, caplog):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file"))
        assert (cached_images("x", "one", _build) == 3).all()
        assert "cannot be written, images will be prepared again" in caplog.text

    def test_leaves_nothing_behind_when_writing_fails(self, tmp_path, monkeypatch, caplog):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        # A full disk cannot be caused here otherwise.
        monkeypatch.setattr("nas.datasets.cache.save_file", full)
        assert (cached_images("x", "one", _build) == 3).all()
        assert "No space left on device" in caplog.text
        assert not list(cache_directory().iterdir())

    def test_lies_in_the_home_directory_by_default(self, tmp_path, monkeypatch):
        monkeypatch.delenv("NAS_CACHE")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_directory() == tmp_path / ".cache" / "nas" / "datasets"

    def test_two_processes_at_once_agree(self, tmp_path):
        random = np.random.default_rng(0)
        for number in range(200):
            path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
        name = f"folder:{tmp_path / 'pictures'}"
        code = (
            "import hashlib; from nas.datasets import load_data; "
            f"images = load_data({name!r}, resolution=16, progress=False).images; "
            "print(hashlib.sha256(images.numpy().tobytes()).hexdigest())"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
            )
            for _ in range(2)
        ]
        digests = [process.communicate(timeout=120)[0].strip() for process in running]
        here = load_data(name, resolution=16).images
        expected = hashlib.sha256(here.numpy().tobytes()).hexdigest()
        assert digests == [expected] * 2
        assert len(list(cache_directory().iterdir())) == 1

    def test_another_resolution_is_another_file(self, tmp_path):
        for class_name in "ab":
            (tmp_path / "p" / class_name).mkdir(parents=True)
            _striped(12, 8).save(tmp_path / "p" / class_name / "0.png")
        name = f"folder:{tmp_path / 'p'}"
        assert describe_data(name).image == Shape(3, 8, 12)
        assert load_data(name).image == Shape(3, 8, 12)
        assert load_data(name, resolution=6).image == Shape(3, 6, 6)
        assert load_data(name, resolution=4).image == Shape(3, 4, 4)
        assert load_data(name, resolution=6).image == Shape(3, 6, 6)
        assert len(list(cache_directory().iterdir())) == 3


class TestProgress:
    def _run(self, capsys, **options):
        with progress_bar("Decoding here", 3, **options) as advance:
            for _ in range(3):
                advance(1)
        return capsys.readouterr()

    def test_is_silent_when_it_is_quick(self, capsys):
        assert self._run(capsys) == ("", "")

    def test_shows_what_takes_longer_on_standard_error(self, capsys, monkeypatch):
        monkeypatch.setattr(progress_module, "WORTH_SHOWING_SECONDS", 0.0)
        out, shown = self._run(capsys)
        assert not out
        assert "Decoding here" in shown
        assert "3/3" in shown
        assert self._run(capsys, enabled=False) == ("", "")

    def test_an_error_ends_it(self, capsys, monkeypatch):
        monkeypatch.setattr(progress_module, "WORTH_SHOWING_SECONDS", 0.0)
        with pytest.raises(KeyError), progress_bar("Decoding here", 3) as advance:  # noqa: PT012
            advance(1)
            raise KeyError
        assert "1/3" in capsys.readouterr().err

    def test_loading_allows_or_forbids_it(self, capsys, monkeypatch):
        monkeypatch.setattr(progress_module, "WORTH_SHOWING_SECONDS", 0.0)
        load_data("fashion-mnist-mini", resolution=8, split="test", progress=False)
        assert capsys.readouterr().err == ""
        load_data("fashion-mnist-mini", resolution=8, split="test")
        assert "fashion-mnist-mini test" in capsys.readouterr().err
