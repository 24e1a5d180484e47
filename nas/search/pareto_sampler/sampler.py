"""An Optuna sampler for studies in which some objectives are known before a trial starts.

It learns the unknown objectives alone, with a Gaussian process, computes the others, and proposes
the points of a large pool that are expected to add most to the hypervolume. The first trials fill
the space, spread over the known cost. Parameter sets are not repeated while others are left; what
runs counts as if it had come out as expected, so parallel workers get different points. The more
trials there are, and the more of them run at once, the more proposals come from one fit: what one
of a thousand running trials says changes little, and a fit takes as long as many proposals.

Left out: stopping trials early (:mod:`nas.search.halving`).
"""

from __future__ import annotations

import math
import threading
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.search.pareto_sampler.costs import Costs, Known, Space
from nas.search.pareto_sampler.forms import Form, Rows
from nas.search.pareto_sampler.history import History
from nas.search.pareto_sampler.model import POOLED, Model, Objectives
from nas.search.pareto_sampler.pool import SMALL, Pool, Source

BLIND = 4
"""Before so many finished trials no function is called: forms may still be unknown."""

INDEPENDENT_SHARE = 0.1
"""With conditional parameters, this share of trials may find forms not yet seen."""


RUNNING_SHARE = 10
"""One more proposal comes from a fit for so many running trials.

The last of them is then made without the tenth of the results that came in since; with fewer
running trials nothing is shared on their account.
"""

MOST_SPREAD = 100
"""So many points at most that fill the space are found at once; no result is waited for."""

REDRAWS = 50
"""So often a parameter is drawn again that would complete a parameter set already tried."""


class ParetoSampler(BaseSampler):
    """Proposes by expected hypervolume gain where some objectives are known functions.

    Args:
        known: functions of a trial's parameters, by the index of the objective in the study that
            each computes. One that raises ValueError or returns no finite number tells that a
            point is not feasible.
        seed: proposals depend on it and on the trial's number alone besides the study, so a
            resumed study goes on. None draws one.
        space: features, mutation and feasibility, where there is more to say than parameters.
        search_space: the parameters of every trial, where they are known beforehand: then the
            first trials too are spread over known costs. Without it they are what trials show.
        num_startup: trials that fill the space before the first fit.
        pool_size: points whose expected gain is computed for one fit.
        per_fit: proposals from one fit; by default 1, one more for every 200 trials, and one more
            for every 10 that run.
    """

    def __init__(
        self,
        known: Known,
        *,
        seed: int | None = None,
        space: Space | None = None,
        search_space: Mapping[str, BaseDistribution] | None = None,
        num_startup: int = 6,
        pool_size: int = 1000,
        per_fit: int | None = None,
    ) -> None:
        if num_startup < 1 or pool_size < 10:
            raise ValueError(
                f"num_startup must be at least 1 and pool_size at least 10, "
                f"not {num_startup} and {pool_size}"
            )
        self._seed = int(np.random.SeedSequence().entropy) if seed is None else seed  # type: ignore[arg-type]
        self._space = space
        self._costs = Costs(known, space)
        self._num_startup, self._pool_size, self._per_fit = num_startup, pool_size, per_fit
        self._history = History()
        self._is_blind = search_space is None
        if search_space is not None:
            self._history.form_of(search_space)
        self._model = Model()
        self._study_name: str | None = None
        self._queue: deque[tuple[Form, Rows]] = deque()
        self._proposed: dict[int, tuple[Form, Rows]] = {}
        self._placed: dict[int, tuple[int, tuple[Form, Rows]]] = {}
        self._num_done = 0
        self._lock = threading.RLock()
        self._is_exhausted = False
        self.num_fits = 0
        """How often a surrogate was fitted."""
        self.expected_share: float | None = None
        """What the last proposal is expected to add, as a share of the hypervolume.

        None where no surrogate proposed it, or there are not two objectives.
        """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse a study that does not fit, before the trial's parameters are asked for."""
        with self._lock:
            self._check(study)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters of the point that is proposed; none where each is drawn by itself."""
        with self._lock:
            point = self._propose(study, trial.number)
            if point is None:
                return {}
            form, row = point
            form.seen[form.key(row)] = row
            self._proposed[trial.number] = point
            return form.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The point chosen for this trial."""
        with self._lock:
            if not search_space or trial.number not in self._proposed:
                return {}
            form, row = self._proposed[trial.number]
            return form.values(row)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter at random, from the seed, the trial's number and the name.

        A value that would complete a parameter set which was tried is drawn again.
        """
        entropy = [self._seed, trial.number, *param_name.encode()]
        sampler = RandomSampler(seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        distributions = {**trial.distributions, param_name: param_distribution}
        with self._lock:
            form = self._history.known_form(distributions)
            for _ in range(REDRAWS):
                value = sampler.sample_independent(study, trial, param_name, param_distribution)
                if form is None or not form.has_seen({**trial.params, param_name: value}):
                    break
        return value

    def _check(self, study: Study) -> None:
        if self._study_name is None:
            beyond = [
                index for index in self._costs.known if index not in range(len(study.directions))
            ]
            if beyond:
                raise ValueError(
                    f"known has objective {beyond[0]}, "
                    f"but the study has {len(study.directions)} objectives"
                )
            self._study_name = study.study_name
        elif self._study_name != study.study_name:
            raise ValueError("a ParetoSampler serves one study; make another for another study")

    def _propose(self, study: Study, number: int) -> tuple[Form, Rows] | None:
        trials = self._recent(study.get_trials(deepcopy=False))
        history = self._history
        history.update(trials)
        running = [
            one for one in trials if one.state == TrialState.RUNNING and one.number != number
        ]
        pending = self._pending(running)
        generator = np.random.default_rng([self._seed, number])
        if not self._queue:
            self.expected_share = None
        if not history.forms:
            return self._tentative(running, generator)
        if len(history.forms) > 1 and generator.random() < INDEPENDENT_SHARE:
            return None
        while self._queue:
            form, row = self._queue.popleft()
            if form.key(row) not in form.seen:
                return form, row
        return self._fresh(study.directions, pending, generator) or self._left(generator)

    def _recent(self, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        """Those from the first on that was not finished at the last call: the rest is read."""
        recent = trials[self._num_done :]
        for trial in recent:
            if not trial.state.is_finished():
                break
            self._num_done += 1
        return recent

    def _pending(self, running: Sequence[FrozenTrial]) -> list[tuple[Form, Rows]]:
        """Points that run: here, or in other processes as far as their forms are known."""
        numbers = {trial.number for trial in running}
        self._proposed = {
            number: point for number, point in self._proposed.items() if number in numbers
        }
        self._placed = {
            number: place for number, place in self._placed.items() if number in numbers
        }
        pending = dict(self._proposed)
        for trial in running:
            point = self._place_of(trial)
            if point is not None:
                pending[trial.number] = point
        return list(pending.values())

    def _place_of(self, trial: FrozenTrial) -> tuple[Form, Rows] | None:
        """The point of a running trial, looked up once for each number of parameters it has."""
        num_params = len(trial.params)
        known = self._placed.get(trial.number)
        if known is not None and known[0] == num_params:
            return known[1]
        form = self._history.known_form(trial.distributions) if num_params else None
        if form is None:
            return None
        row = form.row(trial.params)
        form.seen.setdefault(form.key(row), row)
        self._placed[trial.number] = (num_params, (form, row))
        return form, row

    def _tentative(
        self, running: Sequence[FrozenTrial], generator: np.random.Generator
    ) -> tuple[Form, Rows] | None:
        """Before any trial is finished: far from what runs, in the largest form that runs."""
        largest = max(running, key=lambda trial: len(trial.params), default=None)
        if largest is None or not largest.params:
            return None
        form = Form(0, largest.distributions)
        for trial in running:
            if trial.distributions == largest.distributions:
                row = form.row(trial.params)
                form.seen[form.key(row)] = row
        pool = Source([form], None, self._space, generator).random(200)
        return _farthest(pool, np.arange(len(pool)), ()) if len(pool) else None

    def _fresh(
        self,
        directions: Sequence[StudyDirection],
        pending: list[tuple[Form, Rows]],
        generator: np.random.Generator,
    ) -> tuple[Form, Rows] | None:
        """A point nobody had, by the model where there is one."""
        forms, points = self._history.forms, self._history.points
        if self._is_blind and len(points) < BLIND:
            pool = Source(forms, None, self._space, generator).random(200)
            return _farthest(pool, np.arange(len(pool)), ()) if len(pool) else None
        # A function that fails even at a point that was tried is wrong, and should say so.
        if points:
            self._costs.of(points[0].form, points[0].row, is_tried=True)
        source = Source(forms, self._costs, self._space, generator)
        objectives = Objectives(directions, self._costs, points)
        # Those that run count too: 8 workers would otherwise fill the space for long.
        if objectives.num_measured < 2 or len(points) + len(pending) < self._num_startup:
            chosen = self._spread(source, objectives, len(pending), generator)
        else:
            chosen = self._chosen(source, objectives, pending, generator)
        self._queue.extend(chosen[1:])
        return chosen[0] if chosen else None

    def _chosen(
        self,
        source: Source,
        objectives: Objectives,
        pending: list[tuple[Form, Rows]],
        generator: np.random.Generator,
    ) -> list[tuple[Form, Rows]]:
        """The next points, best first."""
        self.num_fits += 1
        shared = len(self._history.points) // 200 + len(pending) // RUNNING_SHARE
        number = self._per_fit or 1 + shared
        self._model.fit(objectives, self._history.forms, generator)
        size = max(self._pool_size, POOLED * number)
        chosen = self._model.choose(source, pending, size, number)
        self.expected_share = self._model.expected_share
        return chosen

    def _spread(
        self,
        source: Source,
        objectives: Objectives,
        num_running: int,
        generator: np.random.Generator,
    ) -> list[tuple[Form, Rows]]:
        """Points far from all others at places of the cost's range that are not yet taken.

        One while few trials run; then about as many as run, for nothing is learned meanwhile.
        """
        first = len(self._history.points) + num_running
        number = min(max(num_running - 8, 1), MOST_SPREAD)
        pool = source.random(max(300, 4 * number))
        if not len(pool):
            return []
        if objectives.known:
            which = first % len(objectives.known)
            for _ in range(3):
                # The ends of the range are rare among random points, and cost nothing to find.
                order = objectives.costs(pool.extra)[:, which].argsort()
                ends = [pool.points[int(index)] for index in [*order[:15], *order[-15:]]]
                pool = pool.joined(source.near(ends, 100))
        chosen: list[tuple[Form, Rows]] = []
        for count in range(first, first + min(number, len(pool))):
            chosen.append(_farthest(pool, _around(pool, objectives, count), chosen))
        return chosen

    def _left(self, generator: np.random.Generator) -> tuple[Form, Rows] | None:
        """One of the few points that may be left of a small form; none tells so, once."""
        forms = self._history.forms
        is_known = not self._is_blind or len(self._history.points) >= BLIND
        costs = self._costs if is_known else None
        source = Source(forms, costs, self._space, generator)
        if all(form.is_finite and form.size <= SMALL for form in forms):
            pool = source.random(SMALL)
        else:
            pool = source.random(2000)
        if len(pool):
            return pool.points[int(generator.integers(len(pool)))]
        if not self._is_exhausted and len(forms) == 1:
            self._is_exhausted = True
            warnings.warn(
                f"no feasible parameter set is left to propose: {len(forms[0].seen):,} were "
                "tried; from here on they are drawn at random and repeat",
                stacklevel=2,
            )
        return None


def _around(pool: Pool, objectives: Objectives, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The points of a pool near a place of the cost's range; each next count fills a gap."""
    if not objectives.known:
        return np.arange(len(pool))
    costs = objectives.costs(pool.extra)[:, count % len(objectives.known)]
    low, high = float(costs.min()), float(costs.max())
    target = low + (high - low) * _halton(count)
    return np.abs(costs - target).argsort(kind="stable")[:12]


def _farthest(
    pool: Pool,
    indices: np.ndarray[Any, np.dtype[np.int64]],
    chosen: Sequence[tuple[Form, Rows]],
) -> tuple[Form, Rows]:
    """Of some points the one that differs in most parameters from all seen and chosen ones."""
    best, most = int(indices[0]), -1.0
    others: dict[int, Rows] = {}
    for index in indices:
        form, row = pool.points[int(index)]
        if form.index not in others:
            taken = [other for same, other in chosen if same is form]
            others[form.index] = np.array([*form.seen.values(), *taken])[-500:]
        seen = others[form.index]
        gap = float((seen != row).sum(axis=1).min()) if len(seen) else math.inf
        if gap > most:
            best, most = int(index), gap
    return pool.points[best]


def _halton(count: int) -> float:
    """The radical inverse of ``count`` to the base 2: each next one falls into a gap."""
    place, share = 0.0, 0.5
    while count:
        place += share * (count % 2)
        count //= 2
        share /= 2
    return place
