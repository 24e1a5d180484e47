"""A sampler that learns what is unknown and computes what is known; for any Optuna study.

The steps, each a module that knows the ones before it: forms (parameter sets as rows of numbers),
costs, history (what trials say), pool (points to choose from), encoding, surrogate, acquisition,
model (from trials to the points worth trying), sampler (Optuna's interface).
"""

from nas.search.pareto_sampler.costs import Known, Space
from nas.search.pareto_sampler.sampler import ParetoSampler

__all__ = ["Known", "ParetoSampler", "Space"]
