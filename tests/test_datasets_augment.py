"""Augmenting and normalising batches: against slow, obvious versions of the same."""

from __future__ import annotations

import pytest
import torch

from nas.datasets import POLICIES, Statistics, augment, normalise
from nas.datasets.augment import crop_margin


def _batch(count=64, channels=3, height=8, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # No black pixel, so that padding can be told from the image.
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def _augment(images, policy, seed=0):
    return augment(images, torch.Generator(images.device).manual_seed(seed), policy)


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


def test_none_returns_the_images_and_draws_nothing():
    images, generator = _batch(), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert augment(images, generator, "none") is images
    assert torch.equal(before, generator.get_state())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 16, 9)])
def test_crop_is_a_window_of_the_padded_image_and_reaches_all(shape):
    images = _batch(400, *shape)
    margin = crop_margin(*shape[1:])
    results = _augment(images, "crop")
    offsets = [
        _find(result, _crops(image, margin)) for image, result in zip(images, results, strict=True)
    ]
    assert set(offsets) == {(y, x) for y in range(2 * margin + 1) for x in range(2 * margin + 1)}


def test_flip_mirrors_half_of_the_images():
    images = _batch(1_000)
    results = _augment(images, "flip")
    flipped = [
        _find(result, {False: image, True: image.flip(2)})
        for image, result in zip(images, results, strict=True)
    ]
    assert 430 < sum(flipped) < 570


def test_crop_flip_does_both_independently():
    images = _batch(1_000)
    found = []
    for image, result in zip(images, _augment(images, "crop-flip"), strict=True):
        crops = _crops(image, 1)
        candidates = {(key, False): crop for key, crop in crops.items()}
        candidates |= {(key, True): crop.flip(2) for key, crop in crops.items()}
        found.append(_find(result, candidates))
    assert len(set(found)) == 18
    assert 430 < sum(flipped for _, flipped in found) < 570


@pytest.mark.parametrize("policy", POLICIES)
def test_is_deterministic_and_leaves_its_argument_alone(policy):
    images = _batch()
    kept = images.clone()
    first, again, other = (_augment(images, policy, seed) for seed in (1, 1, 2))
    assert torch.equal(images, kept)
    assert torch.equal(first, again)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert (policy == "none") == torch.equal(first, other)


def test_does_not_touch_the_global_generator():
    before = torch.get_rng_state()
    _augment(_batch(), "crop-flip")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("policy", ["crops", "", "crop_flip"])
def test_refuses_other_policies(policy):
    with pytest.raises(ValueError, match=r"unknown augmentation .*Known: crop, crop-flip"):
        _augment(_batch(), policy)


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
def test_a_cuda_graph_captures_it_and_draws_anew_at_each_replay():
    images = _batch(channels=3, height=32, width=32).cuda()
    generator = torch.Generator("cuda").manual_seed(0)

    def step():
        return normalise(augment(images, generator, "crop-flip"), STATISTICS, channels_last=True)

    side_stream = torch.cuda.Stream()
    with torch.cuda.stream(side_stream):
        step()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = step()
    generator.manual_seed(5)
    replays = []
    for _ in range(2):
        graph.replay()
        replays.append(result.clone())
    generator.manual_seed(5)
    assert torch.equal(replays[0], step())
    assert torch.equal(replays[1], step())
    assert not torch.equal(*replays)
