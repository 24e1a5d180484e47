"""From an architecture and a task to its scores: the images, the network, the failures, the time.

What is drawn follows from the seed alone, so that all networks of a task see the same images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture, Shape
from nas.datasets import Split, Statistics, normalise
from nas.model import Dropout, InceptionCell, Network, build
from nas.quantities import unknown_name
from nas.task import Task, proxy
from nas.zero_cost.scores import SCORES, Batch, UndefinedScore

FORMAT = 1
"""Goes up whenever a network's scores come out different, so that stored ones are not mixed in."""

NUM_IMAGES = 128
"""NASWOT's batch (arXiv:2006.04647); its halves are the 64 of arXiv:2101.08134 for the others."""

FEWEST_IMAGES = 8


@dataclass(frozen=True, slots=True)
class Score:
    """A score's value, NaN where there is none, the seconds it took, and why there is none."""

    value: float
    seconds: float
    reason: str = ""


def draw_batch(split: Split, statistics: Statistics, seed: int) -> Batch:
    """128 training images drawn at random, or all where there are fewer; not augmented.

    Raises:
        ValueError: there are fewer than 8 images.
    """
    if len(split) < FEWEST_IMAGES:
        raise ValueError(
            f"scores need at least {FEWEST_IMAGES} training images, and there are {len(split)}"
        )
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    drawn = split.take(order[:NUM_IMAGES])
    return Batch(normalise(drawn.images, statistics), drawn.labels)


def initial_network(architecture: Architecture, image: Shape, classes: int, seed: int) -> Network:
    """The network whose scores are computed: as it stands before training, with two differences.

    Nothing drops out. And the projections of residual cells, which begin training as zero
    (:mod:`nas.model`), are drawn like all other layers: no gradient would reach their branches.

    Raises:
        ValueError: the architecture does not fit the image.
    """
    network = build(architecture, image, classes, auxiliary=False, loops=False, seed=seed)
    # Numbers of its own: the seed's are the other layers'.
    own = int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator().manual_seed(own)
    for module in network.modules():
        if isinstance(module, InceptionCell) and module.projection is not None:
            norm, conv = module.projection.norm, module.projection.conv
            if norm is not None:
                nn.init.ones_(norm.weight)
            else:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
    network.train()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.eval()
    return network


def score_network(
    network: Network, batch: Batch, names: Sequence[str] = tuple(SCORES)
) -> dict[str, Score]:
    """The scores of a network as :func:`initial_network` makes it; each is computed by itself.

    Raises:
        ValueError: there is no score of that name.
    """
    for name in names:
        if name not in SCORES:
            raise ValueError(unknown_name("score", name, SCORES))
    with _one_thread():
        return {name: _timed(name, network, batch) for name in names}


def score_architecture(
    architecture: Architecture,
    task: Task,
    seed: int,
    batch: Batch,
    names: Sequence[str] = tuple(SCORES),
) -> dict[str, Score]:
    """The scores of an architecture's proxy on images that :func:`draw_batch` drew for the task.

    Raises:
        ValueError: the architecture or the images do not fit the task, or no such score.
    """
    image = Shape(*batch.images.shape[1:])
    if image != task.proxy_image:
        raise ValueError(f"the images are {image}, the task's {task.proxy_image}")
    narrow = proxy(architecture, task)
    return score_network(initial_network(narrow, image, task.target.classes, seed), batch, names)


def _timed(name: str, network: Network, batch: Batch) -> Score:
    start = time.perf_counter()
    try:
        value, reason = SCORES[name](network, batch), ""
        if not math.isfinite(value):
            value, reason = math.nan, f"the sum is {value}"
    except UndefinedScore as undefined:
        value, reason = math.nan, str(undefined)
    return Score(value, time.perf_counter() - start, reason)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Small networks gain little from a second one, and the bits do not depend on their number.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
