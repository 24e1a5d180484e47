"""Random architectures of each shipped space, counted and built.

Twenty of each space; ``NAS_RANDOM_ARCHITECTURES=300`` asks for more. The seed is in the name of
each test.
"""

from __future__ import annotations

import os

import numpy
import pytest

from nas.architecture import Architecture, Shape, check
from nas.space import SearchSpace, space_names
from nas.task.narrowing import scaled
from tests.test_cost import check_against_torch
from tests.test_model import assert_trains_alike

NUM_ARCHITECTURES = int(os.environ.get("NAS_RANDOM_ARCHITECTURES", "20"))
BATCH = 5  # architectures a test

# For the image that each space says it is for, and a smaller one to train on.
IMAGES = {
    "googlenet": (Shape(3, 224, 224), Shape(3, 96, 96)),
    "googlenet_small": (Shape(3, 32, 32), Shape(3, 16, 16)),
    "inception_v3": (Shape(3, 299, 299), Shape(3, 96, 96)),
    "tiny": (Shape(1, 28, 28), Shape(1, 8, 8)),
}

every_space = pytest.mark.parametrize("name", space_names())
every_seed = pytest.mark.parametrize("seed", range(-(-NUM_ARCHITECTURES // BATCH)))


def draw(name: str, seed: int) -> list[Architecture]:
    space, rng = SearchSpace.load(name), numpy.random.default_rng(seed)
    return [space.random(rng) for _ in range(BATCH)]


def smallest_image(architecture: Architecture, name: str) -> Shape:
    """The small image where the architecture fits it; some auxiliary poolings need more."""
    image, small = IMAGES[name]
    try:
        check(architecture, small)
    except ValueError:
        return image
    return small


@every_space
@every_seed
def test_cost_is_what_torch_counts(name: str, seed: int) -> None:
    for architecture in draw(name, seed):
        check_against_torch(architecture, IMAGES[name][0], 10)


@every_space
@every_seed
def test_merged_and_plain_train_alike(name: str, seed: int) -> None:
    for architecture in draw(name, seed):
        narrow = scaled(architecture, 1 / 16)
        assert_trains_alike(narrow, smallest_image(narrow, name))
