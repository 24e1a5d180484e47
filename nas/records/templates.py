"""New trials for Optuna's storages, made and handed over without a copy.

``optuna.trial.create_trial`` converts and checks every parameter against its distribution, and
storages copy a new trial deeply, distributions included: with 113 parameters, milliseconds a
trial. Here both come from one search space, and nobody keeps the trial that is handed over.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState


def new_trial(
    state: TrialState,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    *,
    values: Sequence[float] | None = None,
    user_attrs: Mapping[str, Any] | None = None,
    system_attrs: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A trial that begins now, and has ended if its state says so; for one storage to keep.

    The parameters must be of the distributions, which are not copied. A storage that copies the
    trial deeply gets a shallow copy, once.
    """
    now = datetime.now()
    trial = FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=now if state.is_finished() else None,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        user_attrs=dict(user_attrs or {}),
        system_attrs=dict(system_attrs or {}),
        intermediate_values={},
    )

    def copied(memo: dict[int, Any]) -> FrozenTrial:
        made = copy.copy(trial)
        # A copy of the copy is none of this module's business.
        del made.__dict__["__deepcopy__"]
        return made

    trial.__dict__["__deepcopy__"] = copied
    return trial
