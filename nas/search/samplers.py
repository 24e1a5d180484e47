"""Optuna's samplers over an in-memory mirror of the study: proposals before any row is written.

The mirror holds all trials of the run and, as completed trials with a violated constraint, the
proposals that a budget refused (failing them would teach the samplers nothing). Costs stand in
it as log10, so that a decade is a decade to TPE and GP; dominance does not change. All choices
are in every trial: Optuna's samplers see the whole flat space.

A sampler is made anew for every proposal, from (seed, trial number, attempt). So a proposal
depends on what the mirror knows and on nothing else. A resumed search restores of that: all
trials with their results and NSGA's generations, in the order of their numbers (not of their
ends), and the last hundred refused proposals, after them. It does not restore: older refusals,
which place a refusal had among the trials, repeats, and how many tries in a row had failed. With
one worker and few refusals it therefore goes on as if it had not stopped; else its proposals may
differ from those of a search that was not, though they repeat nothing.

Our own samplers (:mod:`nas.search.pareto_sampler`, :mod:`nas.search.evolution`) live as long as
the mirror. They compute costs themselves and propose neither repeats nor what is refused, and
learn from the curves of stopped trials; others are told a stopped trial's last error as its result.

Left out: what is a proposal's cost, and whether it is refused (:mod:`nas.search.proposals`).
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import (
    BaseGASampler,
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from nas.quantities import unknown_name
from nas.records.templates import new_trial
from nas.records.writing import quiet_optuna
from nas.search.evolution import EvolutionSampler
from nas.search.pareto_sampler import ParetoSampler
from nas.search.pareto_sampler.history import CURVE
from nas.space import Options, SearchSpace

if TYPE_CHECKING:
    from nas.search.known_space import KnownSpace

POOL_SIZE = 300
"""Points of a pool of ours: each is decoded, counted and encoded, half a millisecond and more."""

POPULATION = 20
"""NSGA's generations: searches of a few hundred trials have time for ten of them, not of 50."""

MOST_TAUGHT = {"tpe": 300, "gp": 100}
"""Refused proposals in the mirror at most: these samplers slow down with every trial."""

VIOLATION = "violation"
_STATE_SUFFIX = ":generation"


class _Sobol(QMCSampler):
    """Optuna's scrambled Sobol sequence, at a place that is told and not counted in the study."""

    def __init__(self, seed: int, place: int) -> None:
        super().__init__(
            scramble=True,
            seed=seed,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
        self._place = place

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, Any]) -> int:
        return self._place


_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=POPULATION),
    "nsga3": lambda seed: NSGAIIISampler(seed=seed, population_size=POPULATION),
    "gp": lambda seed: GPSampler(seed=seed, warn_independent_sampling=False),
}

OURS = ("evolution", "pareto")

SAMPLERS = tuple(sorted([*_SAMPLERS, "qmc", *OURS]))
"""The names that a search may ask for."""

DEFAULT_SAMPLER = "pareto"


def check_sampler(name: str) -> str:
    """The name, if there is such a sampler.

    Raises:
        ValueError: there is none; the message gives the nearest.
    """
    if name not in SAMPLERS:
        raise ValueError(unknown_name("sampler", name, SAMPLERS))
    return name


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The space's parameters as Optuna's distributions, in the space's order."""
    return {
        name: CategoricalDistribution(parameter.values)
        if isinstance(parameter, Options)
        else IntDistribution(parameter.low, parameter.high, step=parameter.step)
        for name, parameter in space.parameters.items()
    }


def derived_seed(*numbers: int) -> int:
    """A seed of 32 bits from several numbers; equal numbers give equal seeds."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1)[0])


def decades(cost: float) -> float:
    """A cost's logarithm, as samplers see it; 0, which has none, counts as 1."""
    return math.log10(cost) if cost > 0 else 0.0


class Mirror:
    """The in-memory study that a sampler learns from; handles are its own trial numbers.

    ``chance`` is the error of guessing, which a failed trial counts as. ``constrained`` says
    that proposals may be refused for their cost: then every trial carries the constraint.
    ``known`` is what our own samplers are told of the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[str],
        sampler: str,
        seed: int,
        *,
        chance: float,
        constrained: bool,
        known: KnownSpace | None = None,
    ) -> None:
        self._sampler, self._seed = check_sampler(sampler), seed
        self._objectives = tuple(objectives)
        self._distributions = distributions_of(space)
        self._chance, self._constrained = chance, constrained
        self._errors: list[float] = []
        self._costs: list[Mapping[str, float]] = []
        self._taught = 0
        # The study's own sampler is replaced at each proposal.
        storage = optuna.storages.InMemoryStorage()
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(self._objectives)
        with quiet_optuna():
            storage.create_new_study(directions, "mirror")
        self._study = optuna.load_study(
            study_name="mirror", storage=storage, sampler=RandomSampler(seed=0)
        )
        self._asked: dict[int, optuna.Trial] = {}
        self._ours = self._make_ours(known) if sampler in OURS else None

    def ask(self, number: int, attempt: int, place: int) -> tuple[int, dict[str, Any]]:
        """A proposal for trial ``number`` as (handle, values); ``place`` counts all proposals."""
        self._study.sampler = self._make_sampler(number, attempt, place)
        with warnings.catch_warnings():
            # Of an exhausted space: the search ends by itself then.
            warnings.simplefilter("ignore", UserWarning)
            values = self._propose(self._ours) if self._ours is not None else {}
            if values:
                return self._enter(values), values
            trial = self._study.ask(self._distributions)
        self._asked[trial.number] = trial
        return trial.number, dict(trial.params)

    def _propose(self, ours: ParetoSampler) -> dict[str, Any]:
        """All choices of a proposal; Optuna asks for one by one and copies the trial for each."""
        number = len(self._study.get_trials(deepcopy=False))
        trial = new_trial(TrialState.RUNNING, {}, {})
        trial.number = number
        ours.before_trial(self._study, trial)
        space = ours.infer_relative_search_space(self._study, trial)
        values = ours.sample_relative(self._study, trial, space)
        return {name: values[name] for name in self._distributions} if values else {}

    @property
    def expected_share(self) -> float | None:
        """What the last proposal is expected to add, as a share of the hypervolume."""
        return self._ours.expected_share if self._ours is not None else None

    def add(self, values: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> int:
        """Enter a trial that the sampler did not propose now (a seed, a stored one); its handle."""
        handle = self._enter(values, state)
        sampler = self._make_sampler(handle, 0, 0)
        if isinstance(sampler, BaseGASampler):
            # Without a generation NSGA would never take it as a parent.
            trial = self._study.get_trials(deepcopy=False)[handle]
            sampler.get_trial_generation(self._study, trial)
        return handle

    def _enter(self, values: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> int:
        """Write a running trial with all its choices; its handle."""
        storage = self._study._storage
        trial = new_trial(TrialState.RUNNING, values, self._distributions, system_attrs=state)
        trial_id = storage.create_new_trial(self._study._study_id, trial)
        handle = storage.get_trial_number_from_id(trial_id)
        self._asked[handle] = optuna.Trial(self._study, trial_id)
        return handle

    def state_of(self, handle: int) -> dict[str, Any]:
        """What must be stored of the sampler's state with this trial: its generation."""
        attributes = self._study._storage.get_trial_system_attrs(self._asked[handle]._trial_id)
        return {name: value for name, value in attributes.items() if name.endswith(_STATE_SUFFIX)}

    def learn(
        self,
        handle: int,
        error: float | None,
        costs: Mapping[str, float],
        curve: Sequence[Sequence[float]] = (),
    ) -> None:
        """A trial's result: its error, or else the last on its curve, or else that of guessing.

        A stopped trial is taught with the error it had: no worse than it was, and worse than it
        would have been.
        """
        trial = self._asked[handle]
        if self._ours is not None:
            trial.set_user_attr(CURVE, [list(point) for point in curve])
            if error is None and curve:
                self._end(handle, TrialState.PRUNED)
                return
        known = error
        if known is None:
            known = curve[-1][1] if curve else self._chance
        self._errors.append(known)
        self._costs.append(costs)
        self._tell(handle, known, costs, violation=0.0)

    def refuse(self, handle: int, costs: Mapping[str, float] | None, violation: float) -> None:
        """Teach that a proposal breaks a budget by ``violation`` decades, or does not fit."""
        is_taught = self._constrained and self._ours is None
        if not is_taught or self._taught >= MOST_TAUGHT.get(self._sampler, 100_000):
            self.drop(handle)
            return
        self._taught += 1
        # What the constraint says must not be said again by the objectives: values are neutral.
        error = statistics.median(self._errors) if self._errors else self._chance
        self._tell(handle, error, costs or self._median_costs(), violation=violation)

    def drop(self, handle: int) -> None:
        """Forget a proposal that teaches nothing: a repeat, or one whose workers died."""
        # Ours would learn from a failed trial to keep away.
        state = TrialState.FAIL if self._ours is None else TrialState.PRUNED
        self._end(handle, state)

    def _end(self, handle: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        trial = self._asked.pop(handle)
        if self._ours is not None:
            # To tell is to copy the trial deeply, for samplers that do something at its end.
            self._study._storage.set_trial_state_values(trial._trial_id, state, values)
        else:
            self._study.tell(trial.number, values, state)

    def _make_ours(self, known: KnownSpace | None) -> ParetoSampler:
        assert known is not None, "our samplers are told of the space"
        costs = {
            index: known.cost(name)
            for index, name in enumerate(self._objectives)
            if name != "error"
        }
        seed = derived_seed(self._seed)
        if self._sampler == "evolution":
            return EvolutionSampler(costs, seed=seed, space=known, search_space=self._distributions)
        return ParetoSampler(
            costs,
            seed=seed,
            space=known,
            search_space=self._distributions,
            pool_size=POOL_SIZE,
        )

    def _make_sampler(self, number: int, attempt: int, place: int) -> BaseSampler:
        if self._ours is not None:
            return self._ours
        with warnings.catch_warnings():
            # QMC and TPE's `group` are marked experimental; they are pinned and tested here.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self._sampler == "qmc":
                # One sequence a search: its scrambling is the search's, only the place moves.
                return _Sobol(derived_seed(self._seed), place)
            return _SAMPLERS[self._sampler](derived_seed(self._seed, number, attempt))

    def _tell(
        self, handle: int, error: float, costs: Mapping[str, float], *, violation: float
    ) -> None:
        if self._constrained and self._ours is None:
            self._asked[handle].set_constraint(VIOLATION, violation)
        values = [error if name == "error" else decades(costs[name]) for name in self._objectives]
        self._end(handle, TrialState.COMPLETE, values)

    def _median_costs(self) -> dict[str, float]:
        names = [name for name in self._objectives if name != "error"]
        if not self._costs:
            return dict.fromkeys(names, 1)
        return {name: statistics.median(cost[name] for cost in self._costs) for name in names}
