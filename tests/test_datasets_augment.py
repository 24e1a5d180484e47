"""Augmenting and normalising batches: against slow, obvious versions of the same."""

from __future__ import annotations

import pytest
import torch

from nas.datasets import Statistics, augment, normalise
from nas.datasets.augment import crop_margin, draw_crops


def _batch(count=64, channels=3, height=8, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # No black pixel, so that padding can be told from the image.
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def _drawn(images, seed=0):
    """Flips of half of the images, and crops."""
    numbers = torch.Generator().manual_seed(seed)
    flips = torch.randint(0, 2, (len(images),), generator=numbers).bool()
    return flips, draw_crops(len(images), *images.shape[2:], numbers)


def _crops(image, margin):
    """Every crop of one padded image, by its offset."""
    _, height, width = image.shape
    padded = torch.zeros(image.shape[0], height + 2 * margin, width + 2 * margin, dtype=image.dtype)
    padded[:, margin : margin + height, margin : margin + width] = image
    return {
        (top, left): padded[:, top : top + height, left : left + width]
        for top in range(2 * margin + 1)
        for left in range(2 * margin + 1)
    }


def _find(result, candidates):
    found = [key for key, candidate in candidates.items() if torch.equal(result, candidate)]
    assert len(found) == 1, found
    return found[0]


def test_nothing_to_do_returns_the_images():
    images = _batch()
    assert augment(images) is images


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 16, 9)])
def test_a_crop_is_the_window_that_was_drawn_and_all_are_reached(shape):
    images = _batch(400, *shape)
    margin = crop_margin(*shape[1:])
    _, crops = _drawn(images)
    results = augment(images, None, crops)
    offsets = [
        _find(result, _crops(image, margin)) for image, result in zip(images, results, strict=True)
    ]
    assert offsets == [tuple(crop) for crop in crops.tolist()]
    assert set(offsets) == {(y, x) for y in range(2 * margin + 1) for x in range(2 * margin + 1)}


def test_a_flip_mirrors_the_images_that_were_drawn():
    images = _batch(100)
    flips, _ = _drawn(images)
    results = augment(images, flips)
    flipped = [
        _find(result, {False: image, True: image.flip(2)})
        for image, result in zip(images, results, strict=True)
    ]
    assert flipped == flips.tolist()
    assert 30 < sum(flipped) < 70


def test_crop_and_flip_mirror_the_window():
    images = _batch(200)
    flips, crops = _drawn(images)
    found = []
    for image, result in zip(images, augment(images, flips, crops), strict=True):
        windows = _crops(image, 1)
        candidates = {(key, False): crop for key, crop in windows.items()}
        candidates |= {(key, True): crop.flip(2) for key, crop in windows.items()}
        found.append(_find(result, candidates))
    wanted = zip(map(tuple, crops.tolist()), flips.tolist(), strict=True)
    assert found == list(wanted)
    assert len(set(found)) == 18


@pytest.mark.parametrize("has_flips", [False, True])
@pytest.mark.parametrize("has_crops", [False, True])
def test_its_arguments_are_left_alone(has_flips, has_crops):
    images, (flips, crops) = _batch(), _drawn(_batch())
    kept = [item.clone() for item in (images, flips, crops)]
    result = augment(images, flips if has_flips else None, crops if has_crops else None)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    assert all(map(torch.equal, (images, flips, crops), kept))


def test_crops_are_the_generators():
    before = torch.get_rng_state()
    one, again, other = (
        draw_crops(50, 8, 8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("size", [(32, 4), (28, 4), (64, 8), (20, 2), (4, 1), (1, 1)])
def test_the_margin_is_an_eighth(size):
    side, margin = size
    assert crop_margin(side, side) == margin
    assert crop_margin(side, 2 * side) == margin


STATISTICS = Statistics((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_normalise_gives_the_formula(channels_last, dtype, tolerance):
    images = _batch()
    kept = images.clone()
    result = normalise(images, STATISTICS, dtype, channels_last)
    mean = torch.tensor(STATISTICS.mean).view(1, 3, 1, 1)
    std = torch.tensor(STATISTICS.std).view(1, 3, 1, 1)
    expected = (images.double() / 255 - mean) / std
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=memory_format)
    assert torch.equal(images, kept)


def test_normalise_tells_statistics_apart():
    images = _batch()
    other = Statistics((0.1, 0.1, 0.1), (0.2, 0.25, 0.3))
    assert not torch.equal(normalise(images, STATISTICS), normalise(images, other))


def test_normalise_first_used_in_inference_mode_can_train_later():
    images, statistics = _batch(), Statistics((0.11, 0.12, 0.13), (0.2, 0.2, 0.2))
    with torch.inference_mode():
        normalise(images, statistics)
    weight = torch.ones(1, requires_grad=True)
    (normalise(images, statistics) * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_cuda_graph_captures_it_and_reads_what_was_drawn_anew():
    images = _batch(channels=3, height=32, width=32).cuda()
    flips, crops = (item.cuda() for item in _drawn(images))

    def step():
        return normalise(augment(images, flips, crops), STATISTICS, channels_last=True)

    side_stream = torch.cuda.Stream()
    with torch.cuda.stream(side_stream):
        step()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    replays = []
    for seed in (1, 2):
        for tensor, drawn in zip((flips, crops), _drawn(images, seed), strict=True):
            tensor.copy_(drawn)
        graph.replay()
        replays.append(result.clone())
        assert torch.equal(replays[-1], step())
    assert not torch.equal(*replays)
