"""Fronts and hypervolumes of whole runs as tables, beside those of Optuna on the same trials."""

import warnings

import numpy as np
import optuna
import pytest
from optuna._hypervolume import compute_hypervolume
from optuna.trial import TrialState, create_trial
from synthetic_runs import trials_frame

from nas.analysis.tables import front_table, hypervolume_table, trials_table

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}
REFERENCE = {"error": 0.9, "macs": 4e8, "params": 4e7}


def random_trials(seed, count=120):
    """Trials in every state; errors and costs of few values, so that many tie or are equal."""
    rng = np.random.default_rng(seed)
    states = rng.choice([*STATES], size=count, p=[0.7, 0.15, 0.1, 0.05])
    # Some are worse than the reference point: they are no better for the volume than nothing.
    macs = (10 ** rng.uniform(5, 9, count)).round(-4 if seed % 2 else -6).astype(int) + 10**6
    error = rng.uniform(0.05, 1.0, count).round(1 if seed % 3 else 3)
    params = rng.integers(1, 9, count) * 10**7
    return trials_frame(
        [
            (state, one if state == "complete" else None, int(cost), {"params": int(weights)})
            for state, one, cost, weights in zip(states, error, macs, params, strict=True)
        ]
    )


def as_study(trials, objectives):
    """The same trials in a study of Optuna's, in memory."""
    study = optuna.create_study(directions=["minimize"] * len(objectives))
    for row in trials.to_dict("records"):
        is_complete = row["state"] == "complete"
        values = [float(row[name]) for name in objectives] if is_complete else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.add_trial(create_trial(state=STATES[row["state"]], values=values))
    return study


def logged(values, objectives):
    """Costs count in decades, the error as it is."""
    columns = [values[:, i] if name == "error" else np.log10(values[:, i])
               for i, name in enumerate(objectives)]  # fmt: skip
    return np.column_stack(columns)


@pytest.mark.parametrize("objectives", [("error", "macs"), ("error", "macs", "params")])
@pytest.mark.parametrize("seed", range(6))
def test_the_front_of_a_run_is_that_of_optuna(seed, objectives):
    trials = random_trials(seed)
    best = {trial.number for trial in as_study(trials, objectives).best_trials}
    assert set(front_table(trials, objectives)["number"]) == best
    table = trials_table(trials, objectives)
    assert set(table.loc[table["standing"] == "front", "number"]) == best
    assert 0 < len(best) < (trials["state"] == "complete").sum()


@pytest.mark.parametrize("objectives", [("error", "macs"), ("error", "macs", "params")])
@pytest.mark.parametrize("seed", range(6))
def test_the_history_of_a_hypervolume_is_that_of_optuna(seed, objectives):
    trials = random_trials(seed)
    reference = np.array([REFERENCE[name] for name in objectives])
    table = hypervolume_table(trials, objectives, reference)
    assert len(table) == (trials["state"] != "running").sum()
    assert table["number"].is_monotonic_increasing, "as they ended"
    end = logged(reference[None], objectives)[0]
    for row in table.iloc[:: len(table) // 12].to_dict("records"):
        ended = trials[(trials["number"] <= row["number"]) & (trials["state"] == "complete")]
        points = logged(ended[list(objectives)].to_numpy(float), objectives)
        points = points[(points < end).all(axis=1)]
        expected = compute_hypervolume(points, end) if len(points) else 0.0
        assert row["hypervolume"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert table["hypervolume"].iloc[-1] > 0
