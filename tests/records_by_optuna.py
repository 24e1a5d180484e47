"""A run's tables as Optuna itself reads the study: slow, plain, and without our SQL.

What ``Run.trials``, ``Run.curves`` and ``Run.choices`` must equal, types included.
"""

from __future__ import annotations

from typing import Any

import optuna
import pandas as pd

from nas.records import CURVE_COLUMNS, TRIAL_COLUMNS, Run
from nas.records.stored import COSTS
from nas.space import SearchSpace

STATES = {
    "COMPLETE": "complete",
    "RUNNING": "running",
    "WAITING": "running",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


def tables_by_optuna(run: Run) -> dict[str, pd.DataFrame]:
    """The three tables of a run, by their names."""
    storage = optuna.storages.RDBStorage(run.url)
    study = optuna.load_study(study_name=run.name, storage=storage)
    trials = study.get_trials(deepcopy=False)
    storage.remove_session()
    storage.engine.dispose()
    return {
        "trials": _frame([_trial(run, trial) for trial in trials], TRIAL_COLUMNS),
        "curves": _frame([row for trial in trials for row in _curve(trial)], CURVE_COLUMNS),
        "choices": _choices(run, trials),
    }


def _trial(run: Run, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    known = trial.user_attrs.get("proposal", {})
    state = STATES[trial.state.name]
    result = trial.user_attrs.get("result", {}) if state != "running" else {}
    reason = result.get("reason", "")
    if state == "running" and "interrupted" in trial.user_attrs:
        reason = "interrupted"
    index = run.settings.objectives.index("error")
    return {
        "number": trial.number,
        "state": state,
        "error": trial.values[index] if state == "complete" else None,
        **{name: known.get("costs", {}).get(name, 0) for name in COSTS},
        "fingerprint": known.get("fingerprint", ""),
        "proxy_fingerprint": known.get("proxy_fingerprint", ""),
        "seed": known.get("seed", 0),
        "epochs": result.get("epochs", 0),
        "train_seconds": result.get("train_seconds", 0.0),
        "started": trial.datetime_start,
        "finished": trial.datetime_complete,
        "reason": reason,
        "origin": known.get("origin", ""),
        "expected_share": known.get("expected_share"),
        "latency_ms": known.get("costs", {}).get("latency_ms"),
        "reused": result.get("reused", False),
        "architecture": known.get("architecture", ""),
    }


def _curve(trial: optuna.trial.FrozenTrial) -> list[dict[str, Any]]:
    rows = []
    for point in trial.user_attrs.get("curve", []):
        padded = [*point, *[0.0] * (len(CURVE_COLUMNS) - 1 - len(point))]
        rows.append(dict(zip(CURVE_COLUMNS, (trial.number, *padded), strict=True)))
    return rows


def _frame(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns))
    for name, kind in columns.items():
        if kind.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name])
    return frame.astype(columns)


def _choices(run: Run, trials: list[optuna.trial.FrozenTrial]) -> pd.DataFrame:
    space = SearchSpace.from_json(run.settings.space)
    rows = []
    for trial in trials:
        if trial.params:
            active = space.active(trial.params)
            shown = {name: value for name, value in trial.params.items() if name in active}
            rows.append({"number": trial.number, **shown})
    return pd.DataFrame(rows, columns=["number", *space.parameters])
