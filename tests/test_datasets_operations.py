"""Random operations and cut-out: against Pillow's, and against slow, obvious versions."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from nas.datasets import Statistics, normalise
from nas.datasets.augment_operations import (
    OPERATIONS,
    blank,
    blank_side,
    draw_blanks,
    draw_operations,
    move,
    recolour,
)
from nas.task.recipe import MAX_OPERATIONS

STATISTICS = Statistics((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def batch(count: int = 6, channels: int = 3, side: int = 16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Not from 0 to 255, so that stretching has something to do.
    shape = (count, channels, side, side)
    return torch.randint(20, 200, shape, dtype=torch.uint8, generator=generator)


def only(operation: str, strength: float, count: int = 6) -> torch.Tensor:
    strengths = torch.zeros(count, len(OPERATIONS))
    strengths[:, OPERATIONS.index(operation)] = strength
    return strengths


def by_pillow(images: torch.Tensor, change) -> torch.Tensor:
    changed = [change(Image.fromarray(item.permute(1, 2, 0).numpy())) for item in images]
    pixels = [torch.frombuffer(bytearray(item.tobytes()), dtype=torch.uint8) for item in changed]
    return torch.stack(pixels).view(len(images), *images.shape[2:], -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.3, 1.0])
@pytest.mark.parametrize(
    ("operation", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_enhancing_is_pillows(operation: str, enhancer, strength: float) -> None:
    images = batch()
    wanted = by_pillow(images, lambda image: enhancer(image).enhance(1 + 0.9 * strength))
    found = recolour(images, only(operation, strength))
    # Pillow rounds the mean, the grey and the result to whole levels.
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=2.0)
    assert not torch.equal(found, images.float())


@pytest.mark.parametrize("strength", [-1.0, 0.5])
def test_sharpening_is_pillows_within_the_edge(strength: float) -> None:
    images = batch()
    wanted = by_pillow(
        images, lambda image: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength)
    )
    found = recolour(images, only("sharpness", strength))
    torch.testing.assert_close(
        found[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1].float(), rtol=0, atol=2.0
    )


@pytest.mark.parametrize(("strength", "bits"), [(0.25, 7), (-0.5, 6), (0.75, 5), (1.0, 4)])
def test_posterising_is_pillows(strength: float, bits: int) -> None:
    images = batch()
    wanted = by_pillow(images, lambda image: ImageOps.posterize(image, bits))
    torch.testing.assert_close(recolour(images, only("posterise", strength)), wanted.float())


@pytest.mark.parametrize("strength", [0.3, -0.6, 1.0])
def test_solarising_is_pillows(strength: float) -> None:
    images = batch()
    threshold = math.ceil(255 * (1 - abs(strength)) - 1e-6)
    wanted = by_pillow(images, lambda image: ImageOps.solarize(image, threshold))
    found = recolour(images, only("solarise", strength))
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=1e-3)


def test_stretching_fully_is_pillows_autocontrast() -> None:
    images = batch()
    wanted = by_pillow(images, ImageOps.autocontrast)
    found = recolour(images, only("stretch", 1.0))
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=1.0)
    flat = torch.full_like(images, 77)
    assert torch.equal(recolour(flat, only("stretch", 1.0)), flat.float())


def test_what_was_not_drawn_changes_nothing_to_the_bit() -> None:
    images = batch()
    nothing = torch.zeros(len(images), len(OPERATIONS))
    assert torch.equal(recolour(images, nothing), images.float())
    assert torch.equal(recolour(images, only("rotate", 1.0)), images.float())
    normal = normalise(images, STATISTICS)
    assert torch.equal(move(normal, nothing), normal)
    assert torch.equal(move(normal, only("brightness", 1.0)), normal)
    one = nothing.clone()
    one[2] = only("brightness", 0.8)[0]
    changed = (recolour(images, one) != images).flatten(1).any(1)
    assert changed.tolist() == [False, False, True, False, False, False]


def test_shifts_move_by_pixels_and_fill_with_the_mean() -> None:
    images = normalise(batch(side=32), STATISTICS)
    # 10 of 32 pixels at strength 1: half of it is five pixels.
    along = move(images, only("shift-x", 0.5))
    torch.testing.assert_close(along[..., :27], images[..., 5:], rtol=1e-4, atol=1e-4)
    assert (along[..., 27:] == 0).all()
    down = move(images, only("shift-y", -0.5))
    torch.testing.assert_close(down[..., 5:, :], images[..., :27, :], rtol=1e-4, atol=1e-4)


def test_a_turn_keeps_distances_on_an_oblong_image() -> None:
    height, width = 31, 61
    image = torch.zeros(1, 1, height, width)
    image[0, 0, 15, 30] = 1
    image[0, 0, 15, 40] = 1
    turned = move(image, only("rotate", 1.0, 1))[0, 0]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    right = (columns - 30) ** 2 + (rows - 15) ** 2 > 16
    weight = turned * right
    row = (weight * rows).sum() / weight.sum() - 15
    column = (weight * columns).sum() / weight.sum() - 30
    assert math.hypot(row, column) == pytest.approx(10, abs=0.3)
    assert abs(math.degrees(math.atan2(row, column))) == pytest.approx(30, abs=2)


def test_shears_lean_by_three_tenths() -> None:
    image = torch.zeros(1, 1, 21, 21)
    image[0, 0, :, 10] = 1
    leaning = move(image, only("shear-x", 1.0, 1))[0, 0]
    middles = (leaning * torch.arange(21)).sum(1) / leaning.sum(1)
    slope = (middles[18] - middles[2]) / 16
    assert abs(slope.item()) == pytest.approx(0.3, abs=0.02)
    lying = move(image.transpose(2, 3), only("shear-y", 1.0, 1))[0, 0]
    assert torch.allclose(lying, leaning.transpose(0, 1), atol=1e-5)


@pytest.mark.parametrize("number", [1, 3, 12])
def test_each_image_draws_so_many_operations_within_the_magnitude(number: int) -> None:
    strengths = draw_operations(2_000, number, 0.5, torch.Generator().manual_seed(0))
    assert strengths.shape == (2_000, len(OPERATIONS))
    assert ((strengths != 0).sum(1) == number).all()
    assert strengths.abs().max() <= 0.5
    share = (strengths != 0).float().mean(0)
    torch.testing.assert_close(share, torch.full_like(share, number / 12), rtol=0, atol=0.04)
    drawn = strengths[strengths != 0]
    assert abs(drawn.mean().item()) < 0.03
    assert drawn.abs().mean().item() == pytest.approx(0.25, abs=0.01)


def test_draws_are_the_generators() -> None:
    before = torch.get_rng_state()
    one, again, other = (
        (
            draw_operations(50, 2, 0.5, torch.Generator().manual_seed(seed)),
            draw_blanks(50, 8, 8, torch.Generator().manual_seed(seed)),
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(map(torch.equal, one, again))
    assert not any(map(torch.equal, one, other))


@pytest.mark.parametrize(("side", "height", "width"), [(1, 8, 8), (3, 8, 8), (4, 9, 5), (6, 8, 16)])
def test_a_blank_is_the_square_about_its_middle(side: int, height: int, width: int) -> None:
    images = torch.rand(2_000, 2, height, width) + 1
    middles = draw_blanks(2_000, height, width, torch.Generator().manual_seed(0))
    kept = images.clone()
    found = blank(images, middles, side)
    assert torch.equal(images, kept)
    for (row, column), image, result in zip(middles.tolist(), images, found, strict=True):
        wanted = image.clone()
        top, left = row - side // 2, column - side // 2
        wanted[:, max(0, top) : top + side, max(0, left) : left + side] = 0
        assert torch.equal(result, wanted)
    assert len({tuple(item) for item in middles.tolist()}) == height * width


def test_the_blanks_side_is_a_part_of_the_shorter_side() -> None:
    assert blank_side(0.5, 32, 32) == 16
    assert blank_side(0.375, 32, 64) == 12
    assert blank_side(0.01, 8, 8) == 1


def test_grey_images_and_large_magnitudes_stay_in_range() -> None:
    images = batch(64, channels=1)
    strengths = draw_operations(64, 12, 1.0, torch.Generator().manual_seed(3))
    found = recolour(images, strengths)
    assert found.shape == images.shape
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 255 + 1e-3
    assert move(found, strengths).isfinite().all()


def test_normalise_leaves_recoloured_images_alone() -> None:
    images = recolour(batch(), only("brightness", 0.5))
    kept = images.clone()
    normalise(images, STATISTICS)
    assert torch.equal(images, kept)


def test_the_recipes_limit_is_the_number_of_operations() -> None:
    assert len(OPERATIONS) == MAX_OPERATIONS


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_cuda_graph_captures_them_and_reads_what_was_drawn_anew() -> None:
    images = batch(32, side=32).cuda()

    def drawn(seed: int) -> list[torch.Tensor]:
        numbers = torch.Generator().manual_seed(seed)
        return [
            draw_operations(32, 2, 1.0, numbers).cuda(),
            draw_blanks(32, 32, 32, numbers).cuda(),
        ]

    strengths, middles = drawn(0)

    def step() -> torch.Tensor:
        return blank(
            move(normalise(recolour(images, strengths), STATISTICS), strengths), middles, 8
        )

    side_stream = torch.cuda.Stream()
    with torch.cuda.stream(side_stream):
        step()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    replays = []
    for seed in (1, 2):
        for tensor, anew in zip((strengths, middles), drawn(seed), strict=True):
            tensor.copy_(anew)
        graph.replay()
        replays.append(result.clone())
        assert torch.equal(replays[-1], step())
    assert not torch.equal(*replays)
