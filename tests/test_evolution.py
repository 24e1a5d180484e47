"""Aging evolution; its contract with Optuna is tested with the learning sampler's."""

from __future__ import annotations

import optuna
import pytest

from nas.search.evolution import EvolutionSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)
NAMES = [f"p{i}" for i in range(12)]


def objective(trial: optuna.Trial) -> tuple[float, float]:
    values = [trial.suggest_int(name, 0, 9) for name in NAMES]
    return -float(sum(value**0.5 for value in values)), 1.0 + sum(values)


def known(params: dict[str, int]) -> float:
    return 1.0 + sum(params[name] for name in NAMES)


def num_changed(first: optuna.trial.FrozenTrial, second: optuna.trial.FrozenTrial) -> int:
    return sum(first.params[name] != second.params[name] for name in NAMES)


def test_children_are_mutants_of_the_front_of_the_youngest() -> None:
    population, num_startup = 8, 12
    sampler = EvolutionSampler({1: known}, seed=0, num_startup=num_startup, population=population)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=50)
    distances = []
    for number in range(num_startup, 50):
        young = study.trials[number - population : number]
        distances.append(min(num_changed(study.trials[number], one) for one in young))
    # Random points of 12 parameters with 10 values share about one value.
    assert min(distances) >= 1
    assert sorted(distances)[len(distances) // 2] <= 2
    assert max(distances) <= 8


def test_no_model_is_fitted() -> None:
    sampler = EvolutionSampler({1: known}, seed=0)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=25)
    assert sampler.num_fits == 0


def test_a_population_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="population must be at least 2, not 1"):
        EvolutionSampler({1: known}, population=1)
