"""A made-up complete table of the space `tiny`, to try the replay on before there is a real one.

Errors fall with log MACs and with the answers to each question, learning curves come down as the
epochs double and cross in the early ones, and the noise is about that of 2,000 validation images.
Nothing in it is measured; no number from it belongs into a document.
"""

from __future__ import annotations

import numpy as np

from efficiency.table import COSTS, Curves, Table
from nas.architecture import Shape
from nas.cost import count_cost
from nas.space import SearchSpace


def synthetic_table(
    seed: int = 0,
    *,
    rungs: tuple[int, ...] = (1, 2, 4, 8, 16),
    noise: float = 0.008,
    space: SearchSpace | None = None,
) -> Table:
    """A table in which rungs rank like real ones: badly at first, well before the last."""
    space = space or SearchSpace.load("tiny")
    random = np.random.default_rng(seed)
    architectures = list(space.enumerate())
    costs = [count_cost(one, Shape(1, 28, 28), 10) for one in architectures]
    macs = np.array([cost.macs for cost in costs], dtype=np.float64)
    spread = np.log10(macs / macs.min()) / np.log10(macs.max() / macs.min())
    encodings = [space.encode(one) for one in architectures]
    effect = np.zeros(len(macs))
    speed = np.zeros(len(macs))
    for name, domain in space.parameters.items():
        for value in domain.values:
            chosen = np.array([one[name] == value for one in encodings])
            effect += chosen * random.normal(0, 0.012)
            speed += chosen * random.normal(0, 0.1)
    effect += random.normal(0, 0.015, len(macs))  # what no single answer explains
    final = 0.16 + 0.14 * np.exp(-2.5 * spread) + effect
    curves = {}
    for number, rows in ((0, len(macs)), (1, 50), (2, 50)):
        picked = np.arange(len(macs)) if number == 0 else np.arange(rows) * len(macs) // rows
        fraction = np.log2(np.array(rungs)) / np.log2(rungs[-1])
        behind = (0.25 + 0.2 * spread[:, None]) * np.exp(0.3 * speed[:, None])
        true = final[:, None] + behind * (1 - fraction) ** 1.5
        shape = (len(picked), len(rungs))
        error = true[picked] + random.normal(0, noise * (1 + 2 * (1 - fraction)), shape)
        seconds = np.array(rungs) * (0.1 + 0.25 * macs[picked, None] / macs.max())
        curves[number] = Curves(
            rows=picked,
            error=np.clip(error, 0.02, 0.9),
            validation_loss=2.6 * true[picked] + random.normal(0, 2 * noise, shape),
            train_loss_sum=np.cumsum(2.5 * true[picked] + random.normal(0, noise, shape), axis=1),
            seconds=seconds * random.uniform(0.9, 1.1, (len(picked), 1)),
        )
    return Table(
        space=space,
        rungs=rungs,
        num_classes=10,
        curves=curves,
        about={"command": "synthetic, nothing in it is measured", "seed": seed},
        **{name: np.array([getattr(one, name) for one in costs], dtype=float) for name in COSTS},
    )
