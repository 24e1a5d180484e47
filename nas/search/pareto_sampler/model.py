"""From finished trials to the points worth trying: objectives, surrogates, expected gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection

from nas.pareto import hypervolume, nondominated, ranks
from nas.search.pareto_sampler.acquisition import expected_gain
from nas.search.pareto_sampler.costs import Costs
from nas.search.pareto_sampler.encoding import Encoded, Encoder
from nas.search.pareto_sampler.forms import Form, Rows
from nas.search.pareto_sampler.history import Endings, Point
from nas.search.pareto_sampler.pool import Pool, Source
from nas.search.pareto_sampler.surrogate import FITTED, USED, Prediction, Process, Warp

Matrix = NDArray[np.float64]

DRAWS = 8
ROUNDS = 3
KEPT = 4
"""Between fits so many times a pool's points are kept: a prediction costs less than a new point."""

POOLED = 4
"""Points of a pool for each that is chosen from it at least."""

MOST_PENDING = 2_000
"""So many running trials, the youngest, shape what is chosen: the time grows with their cube."""

MANY = 10
"""From so many points that are taken for measured, those that are dominated are left out first."""

FAILING = -1
DECADES = 1.0
"""A positive known objective that spans more is measured by its logarithm."""

# Quantiles of the normal distribution at the middles of DRAWS equal shares.
QUANTILES = np.array([-1.534, -0.887, -0.489, -0.157, 0.157, 0.489, 0.887, 1.534])


class Objectives:
    """A study's objectives, all to be minimised, and what trials say of them.

    ``rows`` are trials that teach the surrogate: those with values, then pruned ones with a curve.
    """

    def __init__(
        self, directions: Sequence[StudyDirection], costs: Costs, points: Sequence[Point]
    ) -> None:
        self.signs = np.array(
            [-1.0 if one == StudyDirection.MAXIMIZE else 1.0 for one in directions]
        )
        self.known = list(costs.known)
        self.unknown = [index for index in range(len(directions)) if index not in costs.known]
        self.measured = [one for one in points if one.values is not None and not one.is_bad]
        self.pruned = [one for one in points if one.values is None and not one.is_bad and one.curve]
        self.bad = [one for one in points if one.is_bad]
        self.num_measured = len(self.measured)
        values = np.array([one.values for one in self.measured], dtype=float)
        values = values.reshape(len(self.measured), len(directions))
        self._raw = values
        self.is_log = np.array(
            [
                bool(
                    len(values)
                    and np.isfinite(values[:, index]).all()
                    and values[:, index].min() > 0
                    and values[:, index].max() / values[:, index].min() >= 10**DECADES
                )
                for index in self.known
            ],
            dtype=bool,
        )
        self._costs = costs

    def costs(self, extra: Matrix) -> Matrix:
        """Known objectives of points, minimised, logarithmic where they span decades."""
        found = extra[:, : len(self.known)].copy()
        for column in np.flatnonzero(self.is_log):
            # Beyond the trials a cost may be 0 or below.
            found[:, column] = np.log10(np.maximum(found[:, column], 1e-12))
        return np.asarray(found * self.signs[self.known])

    def values(self) -> Matrix:
        """All objectives of the measured trials; an infinite one counts as the worst or best."""
        found = self._raw.copy()
        found[:, self.known] = self.costs(found[:, self.known])
        found[:, self.unknown] *= self.signs[self.unknown]
        for column in found.T:
            finite = column[np.isfinite(column)]
            low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
            np.clip(column, low, high, out=column)
        return found

    @property
    def num_taught(self) -> int:
        """How many trials teach anything."""
        return len(self.measured) + len(self.pruned) + len(self.bad)

    def curve(self, point: Point) -> list[tuple[float, float]]:
        """A trial's curve, minimised."""
        sign = self.signs[self.unknown[0]]
        return [(epoch, sign * value) for epoch, value in point.curve]

    def curves(self, last: Matrix) -> list[tuple[list[tuple[float, float]], float]]:
        """The curves of measured trials, each with the trial's result."""
        pairs = zip(self.measured, last, strict=True)
        return [(self.curve(point), float(value)) for point, value in pairs if point.curve]

    def pool_of(self, points: Sequence[tuple[Form, Rows]]) -> Pool:
        """Given points as a pool; those whose known functions refuse are left out."""
        found = [(point, self._costs.of(*point)) for point in points]
        kept = [(point, extra) for point, extra in found if extra is not None]
        return Pool([point for point, _ in kept], np.array([extra for _, extra in kept]))

    def extra(self, points: Sequence[Point]) -> tuple[list[int], Matrix]:
        """Costs and features of trials; those whose known functions refuse are left out."""
        found = [self._costs.of(one.form, one.row, is_tried=True) for one in points]
        kept = [index for index, one in enumerate(found) if one is not None]
        return kept, np.array([one for one in found if one is not None])


class Model:
    """Surrogates of the unknown objectives and of failing.

    Their settings and the points of earlier pools are kept between fits.
    """

    def __init__(self) -> None:
        self._starts: dict[int, Matrix] = {}
        self._fitted_at: dict[int, int] = {}
        self._kept = Pool([], np.zeros((0, 0)))
        self.expected_share: float | None = None
        """The expected gain of the best point chosen last over the front's hypervolume."""

    def fit(
        self, objectives: Objectives, forms: Sequence[Form], generator: np.random.Generator
    ) -> None:
        """Learn from the trials."""
        self._objectives, self._generator = objectives, generator
        values = objectives.values()
        self._values = values
        self._front = values[nondominated(values)]
        self._encoder = Encoder(forms)
        self._used = _choose(values, USED, generator)
        self._warps = [Warp(values[:, index]) for index in objectives.unknown]
        self._processes = [
            self._learn(index, warp)
            for index, warp in zip(objectives.unknown, self._warps, strict=True)
        ]
        self._failing = self._learn_failing() if objectives.bad else None

    def choose(
        self,
        source: Source,
        pending: Sequence[tuple[Form, Rows]],
        pool_size: int,
        number: int,
    ) -> list[tuple[Form, Rows]]:
        """The points to try next, best first."""
        parents = [
            (self._objectives.measured[i].form, self._objectives.measured[i].row)
            for i in self._best()
        ]
        kept = source.hold(self._kept)
        # With many points at hand, few new ones are worth their time.
        size = pool_size if len(kept) < pool_size else pool_size // 3
        pool = kept.joined(source.random(size // 4)).joined(source.near(parents, size // 3))
        if not len(pool):
            return []
        # One for all rounds: gains of two pools must compare.
        self._limit = self._reference(self._objectives.costs(pool.extra))
        gains = self._gains(pool, self._predict(pool))
        for _ in range(ROUNDS):
            best = np.argsort(-gains, kind="stable")[:25]
            more = source.near([pool.points[index] for index in best], size // 8)
            if len(more):
                gains = np.concatenate([gains, self._gains(more, self._predict(more))])
                pool = pool.joined(more)
        self._keep(pool, gains, KEPT * pool_size)
        best = np.argsort(-gains, kind="stable")[: max(100, POOLED * number)]
        self.expected_share = self._share_of(float(gains[best[0]]))
        return self._pick(pool.take(best), pending, number)

    def _keep(self, pool: Pool, gains: Matrix, most: int) -> None:
        """Keep the points that promise most, and as many others: the model will change."""
        order = np.argsort(-gains, kind="stable")
        best, rest = order[: most // 2], order[most // 2 :]
        others = self._generator.permutation(rest)[: most - len(best)]
        self._kept = pool.take(np.concatenate([best, others]))

    def _share_of(self, gain: float) -> float | None:
        """With two objectives gains are areas, as the hypervolume is."""
        if len(self._objectives.signs) != 2:
            return None
        if not self._is_hopeful:
            return 0.0
        volume = hypervolume(self._front, self._limit)
        return gain / volume if volume > 0 else None

    def _learn(self, index: int, warp: Warp) -> Process:
        objectives = self._objectives
        points = [objectives.measured[i] for i in self._used]
        z = [*warp.forward(self._values[self._used, index])]
        noise = [0.0] * len(points)
        if len(objectives.unknown) == 1 and objectives.pruned:
            endings = Endings(objectives.curves(self._values[:, index]), warp.forward)
            for one in objectives.pruned[-USED // 2 :]:
                ending = endings.expect(objectives.curve(one))
                if ending is not None:
                    points.append(one)
                    z.append(ending.value)
                    noise.append(ending.variance)
        return self._process(index, points, np.array(z), np.array(noise))

    def _learn_failing(self) -> Process:
        """A regression on 1 for trials that failed or broke a constraint and -1 for others."""
        bad = self._objectives.bad[-USED // 2 :]
        good = [self._objectives.measured[i] for i in self._used]
        z = np.array([-1.0] * len(good) + [1.0] * len(bad))
        return self._process(FAILING, [*good, *bad], z, np.full(len(z), 0.05))

    def _process(self, index: int, points: Sequence[Point], z: Matrix, noise: Matrix) -> Process:
        kept, extra = self._objectives.extra(points)
        z, noise = z[kept], noise[kept]
        encoded = self._encode([(points[i].form, points[i].row) for i in kept], extra)
        process = Process(encoded, self._encoder.blocks, self._encoder.kinds)
        start, num = self._starts.get(index), self._objectives.num_taught
        is_known = start is not None and len(start) == len(process.vector)
        if start is None or not is_known or num >= 1.1 * self._fitted_at[index] + 1:
            part = np.sort(self._generator.permutation(len(z))[:FITTED])
            process.fit(z, noise, part, start if is_known else None, 12 if is_known else 30)
            self._fitted_at[index] = num
            self._starts[index] = process.vector
        else:
            process.vector = start
        process.condition(z, noise)
        return process

    def _encode(self, points: Sequence[tuple[Form, Rows]], extra: Matrix) -> Encoded:
        num = len(self._objectives.known)
        scaled = np.concatenate([self._objectives.costs(extra), extra[:, num:]], axis=1)
        return self._encoder.encode(points, scaled, num)

    def _predict(self, pool: Pool) -> list[Prediction]:
        encoded = self._encode(pool.points, pool.extra)
        failing = [self._failing] if self._failing is not None else []
        return [process.predict(encoded) for process in [*self._processes, *failing]]

    def _gains(
        self, pool: Pool, predictions: Sequence[Prediction], believed: Matrix | None = None
    ) -> Matrix:
        """Expected gains; where none is above 0, the order in which they are least hopeless."""
        front = self._front
        if believed is not None:
            front = np.concatenate([front, believed])
            if len(believed) >= MANY:
                front = front[nondominated(front)]
        costs = self._objectives.costs(pool.extra)
        for width in (1.0, 3.0, 10.0):
            samples = self._draws(costs, predictions, width)
            gains = expected_gain(samples, front, self._limit)
            if gains.max() > 0:
                break
        self._is_hopeful = width == 1.0 and bool(gains.max() > 0)
        if self._failing is not None:
            last = predictions[-1]
            gains = gains * _normal_share(-last.mean / np.sqrt(last.variance + 0.05))
        return gains

    def _draws(self, costs: Matrix, predictions: Sequence[Prediction], width: float) -> Matrix:
        objectives = self._objectives
        num_draws = DRAWS if objectives.unknown else 1
        samples = np.empty((num_draws, len(costs), len(objectives.signs)))
        samples[:, :, objectives.known] = costs
        for place, index in enumerate(objectives.unknown):
            z = QUANTILES if place == 0 else self._generator.permutation(QUANTILES)
            # A trial's value counts as measured, its luck included.
            spread = width * np.sqrt(predictions[place].measured_variance)
            drawn = predictions[place].mean + z[:, None] * spread
            samples[:, :, index] = self._warps[place].backward(drawn)
        return samples

    def _expected(self, pool: Pool, predictions: Sequence[Prediction]) -> Matrix:
        """Objectives as they are expected to come out."""
        objectives = self._objectives
        rows = np.empty((len(pool), len(objectives.signs)))
        rows[:, objectives.known] = objectives.costs(pool.extra)
        for place, index in enumerate(objectives.unknown):
            rows[:, index] = self._warps[place].backward(predictions[place].mean)
        return rows

    def _reference(self, costs: Matrix) -> Matrix:
        """Just beyond the worst: of trials for what is unknown, of the pool too for costs."""
        low, high = self._values.min(axis=0), self._values.max(axis=0)
        for column, index in enumerate(self._objectives.known):
            high[index] = max(high[index], float(costs[:, column].max()))
            low[index] = min(low[index], float(costs[:, column].min()))
        for index in self._objectives.unknown:
            values = self._values[:, index]
            middle, quarter = np.median(values), np.quantile(values, 0.75)
            high[index] = min(high[index], middle + 20 * (quarter - low[index]))
        return np.asarray(high + 0.02 * (high - low) + 1e-12)

    def _best(self) -> NDArray[np.int64]:
        """The trials of the first fronts, at least ten if there are."""
        order = ranks(self._values)
        enough = np.sort(order)[min(10, len(order)) - 1]
        return np.flatnonzero(order <= enough)[:200]

    def _pick(
        self, pool: Pool, pending: Sequence[tuple[Form, Rows]], number: int
    ) -> list[tuple[Form, Rows]]:
        """One by one, each as if those before it, and those that run, had come out as expected."""
        waiting = self._objectives.pool_of(pending[-MOST_PENDING:])
        joined = waiting.joined(pool)
        predictions = self._predict(joined)
        believed = self._expected(joined, predictions)[: len(waiting)]
        rest = np.arange(len(waiting), len(joined))
        for prediction in predictions:
            prediction.believe_first(len(waiting))
        predictions = [prediction.take(rest) for prediction in predictions]
        expected = self._expected(pool, predictions)
        is_free = np.ones(len(pool), dtype=bool)
        picked: list[int] = []
        while len(picked) < number and is_free.any():
            as_if = np.concatenate([believed, expected[picked]])
            gains = np.where(is_free, self._gains(pool, predictions, as_if), -1.0)
            index = int(gains.argmax())
            is_free[index] = False
            picked.append(index)
            for prediction in predictions:
                prediction.believe(index)
        return [pool.points[index] for index in picked]


def _choose(values: Matrix, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The trials a surrogate learns from: half are the best by fronts, half any others."""
    if len(values) <= most:
        return np.arange(len(values))
    order = np.argsort(ranks(values), kind="stable")
    best, rest = order[: most // 2], order[most // 2 :]
    return np.sort(np.concatenate([best, generator.permutation(rest)[: most - len(best)]]))


def _normal_share(z: Matrix) -> Matrix:
    from scipy.special import ndtr

    return np.asarray(ndtr(z))
