"""How much hypervolume points would add to a front; everything is minimised.

``samples`` are draws of the objectives of a pool, draws by points by objectives; where the
objectives are known functions all draws agree. What comes out is the mean over the draws: the
expected hypervolume improvement (M. Emmerich, K. Giannakoglou, B. Naujoks, "Single- and
multiobjective evolutionary optimization assisted by Gaussian random field metamodels", IEEE TEVC
10(4), 2006). With one or two objectives a draw's gain is exact. With more it is estimated over
random directions (R. Zhang, D. Golovin, "Random hypervolume scalarizations for provable
multi-objective black box optimization", ICML 2020, lemma 5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

DIRECTIONS = 160


def expected_gain(samples: Matrix, front: Matrix, reference: Matrix) -> Matrix:
    """The mean gain of each point; ``front`` rows need not be non-dominated."""
    front = front[(front < reference).all(axis=1)]
    if samples.shape[2] == 1:
        best = min(float(front.min(initial=np.inf)), float(reference[0]))
        return np.asarray(np.maximum(best - samples[:, :, 0], 0.0).mean(axis=0))
    if samples.shape[2] == 2:
        return _gain_of_two(samples, front, reference)
    return _gain_of_many(samples, front, reference)


def _gain_of_two(samples: Matrix, front: Matrix, reference: Matrix) -> Matrix:
    """Strip by strip: between neighbours on the front along the second axis."""
    order = np.lexsort((front[:, 0], front[:, 1]))
    front = front[order]
    levels = np.minimum.accumulate(np.concatenate([reference[:1], front[:, 0]]))
    edges = np.concatenate([[-np.inf], front[:, 1], reference[1:]])
    gain = np.zeros(samples.shape[:2])
    for left, right, level in zip(edges[:-1], edges[1:], levels, strict=True):
        if right > left:
            width = np.maximum(right - np.maximum(samples[:, :, 1], left), 0.0)
            gain += width * np.maximum(level - samples[:, :, 0], 0.0)
    return np.asarray(gain.mean(axis=0))


def _gain_of_many(samples: Matrix, front: Matrix, reference: Matrix) -> Matrix:
    num = samples.shape[2]
    # The same directions every time: gains of two pools must compare.
    directions = np.abs(np.random.default_rng(num).standard_normal((DIRECTIONS, num))) + 1e-9
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    best = np.zeros(DIRECTIONS)
    lowest = front.min(axis=0) if len(front) else samples.min(axis=(0, 1))
    scale = np.maximum(reference - lowest, 1e-12)
    if len(front):
        inside = np.maximum((reference - front) / scale, 0.0)
        best = (inside[:, None] / directions).min(axis=2).max(axis=0) ** num
    gain = np.zeros(samples.shape[1])
    for draw in samples:
        inside = np.maximum((reference - draw) / scale, 0.0)
        reach = inside[:, :1] / directions[:, 0]
        for axis in range(1, num):
            np.minimum(reach, inside[:, axis : axis + 1] / directions[:, axis], out=reach)
        gain += np.maximum(reach**num - best, 0.0).mean(axis=1)
    return gain / len(samples)
