"""Aging evolution for studies in which some objectives are known: the simple alternative.

The parents are the front of the youngest trials (E. Real and others, "Regularized evolution for
image classifier architecture search", AAAI 2019: the oldest dies, not the worst); a child differs
from its parent in one to a few parameters, or as a space object says. No model is fitted. Known
functions serve to leave out what is not feasible. Forms of conditional parameters, drawing and
repeats are as in :mod:`nas.search.pareto_sampler`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from nas.pareto import nondominated
from nas.search.pareto_sampler.costs import Known, Space
from nas.search.pareto_sampler.forms import Form, Rows
from nas.search.pareto_sampler.model import Objectives
from nas.search.pareto_sampler.pool import Source
from nas.search.pareto_sampler.sampler import ParetoSampler


class EvolutionSampler(ParetoSampler):
    """Proposes mutants of the front of the youngest trials.

    Args:
        known: as in :class:`ParetoSampler`.
        seed: as in :class:`ParetoSampler`.
        space: as in :class:`ParetoSampler`.
        search_space: as in :class:`ParetoSampler`.
        num_startup: trials that fill the space before the first mutant.
        population: how many of the youngest trials can be parents.
    """

    def __init__(
        self,
        known: Known,
        *,
        seed: int | None = None,
        space: Space | None = None,
        search_space: Mapping[str, BaseDistribution] | None = None,
        num_startup: int = 20,
        population: int = 50,
    ) -> None:
        if population < 2:
            raise ValueError(f"population must be at least 2, not {population}")
        super().__init__(
            known, seed=seed, space=space, search_space=search_space, num_startup=num_startup
        )
        self._population = population

    def _chosen(
        self,
        source: Source,
        objectives: Objectives,
        pending: list[tuple[Form, Rows]],
        generator: np.random.Generator,
    ) -> list[tuple[Form, Rows]]:
        young = objectives.measured[-self._population :]
        front: NDArray[np.bool_] = nondominated(objectives.values()[-self._population :])
        parents = [(one.form, one.row) for one, best in zip(young, front, strict=True) if best]
        parent = parents[int(generator.integers(len(parents)))]
        children = source.mutants(parent, 20)
        return [children.points[0]] if len(children) else []
