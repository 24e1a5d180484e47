"""A Gaussian process over encoded points: linear effects plus a Matern kernel; numpy and scipy.

The covariance is a sum. Linear kernels, one for each kind of column, carry what adds up over
parameters; they are what little data can learn. A Matern 5/2 kernel over all blocks, with a length
scale each, carries what parameters do together. All of its settings are fitted by the marginal
likelihood under weak priors (C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine
Learning", 2006, section 5.4.1) on at most :data:`FITTED` points; predictions use up to
:data:`USED`. Every distance and every product is a matrix product, so that thousands of points
are predicted in milliseconds.

Left out: which points are worth being used (:mod:`~nas.search.pareto_sampler.history`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto_sampler.encoding import KINDS, Encoded, Matrix

FITTED = 250
USED = 500
LEAST_NOISE = 1e-4

SHIFT = 4.0
"""How far below the best value the logarithm's zero lies, in distances from it to the median.

Nearer, the noise of the best few would be stretched until it hid what they have in common.
"""

_ROOT5 = math.sqrt(5.0)


class Warp:
    """A monotone map of measured values to nearly normal ones, and back.

    Errors are skewed and failed trainings are far out: a shifted logarithm is taken where it makes
    the values more symmetric, and beyond three robust standard deviations distances count by
    their logarithm.
    """

    def __init__(self, values: Matrix) -> None:
        self._shift = 0.0
        self._is_log = False
        low, middle = float(values.min()), float(np.median(values))
        if middle > low:
            shift = low - SHIFT * (middle - low)
            logged = np.log(values - shift)
            self._is_log = abs(_skew(logged)) < abs(_skew(values))
            self._shift = shift
        inner = self._inner(values)
        self._middle = float(np.median(inner))
        quarter = np.quantile(inner, [0.25, 0.75])
        spread = float(quarter[1] - quarter[0]) / 1.349 or float(inner.std())
        self._spread = spread if spread > 1e-12 else 1.0

    def forward(self, values: Matrix) -> Matrix:
        """To the surrogate's scale."""
        z = (self._inner(values) - self._middle) / self._spread
        far = np.maximum(np.abs(z) - 3.0, 0.0)
        return np.where(far > 0, np.sign(z) * (3.0 + np.log1p(far)), z)

    def backward(self, z: Matrix) -> Matrix:
        """To the measured scale."""
        far = np.clip(np.abs(z) - 3.0, 0.0, 5.0)
        z = np.where(far > 0, np.sign(z) * (3.0 + np.expm1(far)), z)
        inner = z * self._spread + self._middle
        return np.exp(np.minimum(inner, 80.0)) + self._shift if self._is_log else inner

    def _inner(self, values: Matrix) -> Matrix:
        if not self._is_log:
            return values
        return np.log(np.maximum(values - self._shift, 1e-300))


def _skew(values: Matrix) -> float:
    centred = values - values.mean()
    spread = float(values.std())
    return float((centred**3).mean()) / spread**3 if spread > 1e-12 else 0.0


@dataclass(frozen=True)
class Settings:
    """What the marginal likelihood decides, as logarithms."""

    inverse_lengths: Matrix
    linear: Matrix
    matern: float
    noise: float

    @staticmethod
    def unpack(vector: Matrix, num_blocks: int) -> Settings:
        """The settings in an optimiser's vector."""
        end = num_blocks + len(KINDS)
        return Settings(
            vector[:num_blocks], vector[num_blocks:end], float(vector[end]), float(vector[end + 1])
        )


class Process:
    """The posterior given points, their values and what is known of each value's own noise."""

    def __init__(
        self, points: Encoded, blocks: NDArray[np.int64], kinds: NDArray[np.int64]
    ) -> None:
        self._points, self._blocks = points, blocks
        self._num_blocks = int(blocks.max()) + 1 if len(blocks) else 0
        self._kinds = kinds
        power = np.bincount(kinds, (points.linear**2).mean(axis=0), minlength=len(KINDS))
        self._present = power > 1e-12
        self._linear_scale = 1 / np.sqrt(np.where(self._present, power, 1.0))[kinds]
        self._prior = self._prior_mean()
        self.vector = self._prior.copy()

    def _prior_mean(self) -> Matrix:
        lengths = np.full(self._num_blocks, math.log(3.0 / max(self._num_blocks, 1)))
        linear = np.full(len(KINDS), math.log(0.3))
        return np.concatenate([lengths, linear, [math.log(0.4), math.log(0.03)]])

    def fit(
        self,
        values: Matrix,
        noise: Matrix,
        part: NDArray[np.int64],
        start: Matrix | None,
        num_steps: int,
    ) -> None:
        """Find the settings from a part of the points; ``start`` are those of an earlier fit."""
        from scipy.optimize import minimize

        if start is not None and len(start) == len(self._prior):
            self.vector = start.copy()
        widths = np.full(len(self._prior), 1.2)
        widths[-1] = 1.5
        values, noise = values[part], noise[part]
        near = self._points.near[part]
        linear = self._points.linear[part] * self._linear_scale
        bounds = [(mean - 6.0, mean + 6.0) for mean in self._prior]
        bounds[-1] = (math.log(LEAST_NOISE), math.log(2.0))

        def loss(vector: Matrix) -> tuple[float, Matrix]:
            value, slope = self._likelihood(vector, near, linear, values, noise)
            away = (vector - self._prior) / widths
            return value + 0.5 * float(away @ away), slope + away / widths

        best = minimize(
            loss, self.vector, jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": num_steps, "maxfun": 2 * num_steps},
        )  # fmt: skip
        if np.isfinite(best.fun):
            self.vector = np.asarray(best.x)

    def _likelihood(
        self, vector: Matrix, near: Matrix, linear: Matrix, values: Matrix, noise: Matrix
    ) -> tuple[float, Matrix]:
        """The negative logarithm of the marginal likelihood and its slope (GPML eq. 5.9)."""
        from scipy.linalg import cho_solve

        settings = Settings.unpack(vector, self._num_blocks)
        scaled = near * np.exp(0.5 * settings.inverse_lengths)[self._blocks]
        matern, slope = _matern(_squared_distances(scaled, scaled))
        matern, slope = math.exp(settings.matern) * matern, math.exp(settings.matern) * slope
        weighted = linear * np.exp(0.5 * settings.linear)[self._kinds]
        own = math.exp(settings.noise)
        covariance = 1.0 + matern + weighted @ weighted.T
        covariance[np.diag_indices(len(values))] += own + noise
        factor = _cholesky(covariance)
        inverse = cho_solve((factor, True), np.eye(len(values)), check_finite=False)
        alpha = inverse @ values
        loss = 0.5 * float(values @ alpha) + float(np.log(np.diag(factor)).sum())
        pull = 0.5 * (inverse - np.outer(alpha, alpha))
        by_distance = pull * slope
        spread = (
            scaled**2 * by_distance.sum(axis=1)[:, None] - (by_distance @ scaled) * scaled
        ).sum(0)
        to_lengths = np.bincount(self._blocks, 2 * spread, minlength=self._num_blocks)
        to_linear = np.bincount(
            self._kinds, ((pull @ weighted) * weighted).sum(axis=0), minlength=len(KINDS)
        )
        to_rest = [float((pull * matern).sum()), own * float(np.trace(pull))]
        return loss, np.concatenate([to_lengths, to_linear, to_rest])

    def condition(self, values: Matrix, noise: Matrix) -> None:
        """Take in what is measured, with the settings as they are."""
        from scipy.linalg import cho_solve

        settings = Settings.unpack(self.vector, self._num_blocks)
        self._settings = settings
        self._known = self._prepared(self._points)
        covariance = self._covariance(self._known, self._known)
        self.noise = math.exp(settings.noise)
        covariance[np.diag_indices(len(values))] += self.noise + noise
        self._factor = _cholesky(covariance)
        self._alpha = cho_solve((self._factor, True), values, check_finite=False)

    def predict(self, points: Encoded) -> Prediction:
        """Means and variances of noiseless values at other points."""
        from scipy.linalg import solve_triangular

        prepared = self._prepared(points)
        cross = self._covariance(self._known, prepared)
        mean = cross.T @ self._alpha
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        variance = 1.0 + math.exp(self._settings.matern) + (prepared[1] ** 2).sum(axis=1)
        variance = np.maximum(variance - (half**2).sum(axis=0), 1e-9)
        return Prediction(self, prepared, half, mean, variance)

    def _prepared(self, points: Encoded) -> tuple[Matrix, Matrix]:
        near = points.near * np.exp(0.5 * self._settings.inverse_lengths)[self._blocks]
        scale = self._linear_scale * np.exp(0.5 * self._settings.linear)[self._kinds]
        return near, points.linear * scale

    def _covariance(self, first: tuple[Matrix, Matrix], second: tuple[Matrix, Matrix]) -> Matrix:
        matern, _ = _matern(_squared_distances(first[0], second[0]))
        return 1.0 + math.exp(self._settings.matern) * matern + first[1] @ second[1].T


class Prediction:
    """A pool's posterior, which can be told that some of the pool will be measured."""

    def __init__(
        self,
        process: Process,
        prepared: tuple[Matrix, Matrix],
        half: Matrix,
        mean: Matrix,
        variance: Matrix,
    ) -> None:
        self._process, self._prepared = process, prepared
        self._rows, self._num_rows = half, len(half)
        self.mean, self.variance = mean, variance

    @property
    def _half(self) -> Matrix:
        """A row a measured or believed point, a column a point of the pool."""
        return self._rows[: self._num_rows]

    @property
    def measured_variance(self) -> Matrix:
        """Variances of what a measurement would give: with its noise."""
        return self.variance + self._process.noise

    def take(self, kept: NDArray[np.int64]) -> Prediction:
        """The posterior of a part of the pool."""
        near, linear = self._prepared
        return Prediction(
            self._process, (near[kept], linear[kept]), self._half[:, kept],
            self.mean[kept], self.variance[kept],
        )  # fmt: skip

    def believe(self, index: int) -> None:
        """Expect one point's value to come out as its mean: variances near it shrink."""
        near, linear = self._prepared
        one = (near[index : index + 1], linear[index : index + 1])
        left = self._process._covariance(one, self._prepared)[0] - self._half[:, index] @ self._half
        row = left / math.sqrt(self.variance[index] + self._process.noise)
        self._append(row[None])
        self.variance = np.maximum(self.variance - row**2, 1e-9)

    def believe_first(self, number: int) -> None:
        """:meth:`believe` the first points of the pool, all at once."""
        from scipy.linalg import solve_triangular

        if not number:
            return
        near, linear = self._prepared
        left = self._process._covariance((near[:number], linear[:number]), self._prepared)
        left -= self._half[:, :number].T @ self._half
        own = left[:, :number].copy()
        own[np.diag_indices(number)] += self._process.noise
        rows = solve_triangular(_cholesky(own), left, lower=True, check_finite=False)
        self._append(rows)
        self.variance = np.maximum(self.variance - (rows**2).sum(axis=0), 1e-9)

    def _append(self, rows: Matrix) -> None:
        end = self._num_rows + len(rows)
        if end > len(self._rows):
            # Room for as many again: one by one they would be copied each time.
            room = np.empty((2 * end, self._rows.shape[1]))
            room[: self._num_rows] = self._half
            self._rows = room
        self._rows[self._num_rows : end] = rows
        self._num_rows = end


def _squared_distances(first: Matrix, second: Matrix) -> Matrix:
    sums = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    return np.asarray(np.maximum(sums - 2 * first @ second.T, 0.0))


def _matern(squared: Matrix) -> tuple[Matrix, Matrix]:
    """Matern 5/2 of squared distances and its slope by them."""
    root = _ROOT5 * np.sqrt(squared)
    decay = np.exp(-root)
    return (1 + root + root**2 / 3) * decay, -(5 / 6) * (1 + root) * decay


def _cholesky(covariance: Matrix) -> Matrix:
    jitter = 1e-8 * float(np.trace(covariance)) / len(covariance)
    for _ in range(8):
        try:
            return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        except np.linalg.LinAlgError:
            covariance = covariance + jitter * np.eye(len(covariance))
            jitter *= 10
    raise np.linalg.LinAlgError("a covariance matrix is not positive definite")
