"""Proposals of a run that were rejected: the last ones in full, and reasons in words.

A proposal that is rejected costs no training and has no trial number. Left out: how many there
were of each kind (:func:`nas.analysis.tables.rejections_table`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nas.cost import COST_LABELS, COSTS, count_cost, describe_cost
from nas.records import Run
from nas.space import SearchSpace
from nas.task import Task

COLUMNS = ["before", "kind", "reason", "trial", "cells", *COSTS, "fingerprint"]

REPEAT, MISFIT = "repeat", "does not fit"
"""Kinds of rejections as runs record them, beside the names of costs."""


def reason_words(kind: str, budgets: Mapping[str, float] | None = None) -> str:
    """A kind of rejections in words, with its limit where ``budgets`` has it.

    Older runs recorded words in place of a kind; those are given back as they are.
    """
    if kind == REPEAT:
        return "a network that was proposed before"
    if kind == MISFIT:
        return "a network that does not fit the images"
    if kind not in COST_LABELS:
        return kind
    limit = (budgets or {}).get(kind)
    amount = COST_LABELS[kind] if limit is None else describe_cost(kind, limit)
    return f"over the budget of {amount}"


def rejected_table(run: Run) -> pd.DataFrame:
    """A row a rejected proposal, the oldest first; a run keeps the last hundred.

    Columns: ``before`` (the number of the trial that was proposed in its place in the end),
    ``kind``, ``reason``, ``trial`` (that has the same network; NaN where none has), ``cells``, the
    costs (NaN where the network does not fit the target) and ``fingerprint``. Runs of older
    versions kept less: what is not known is NaN or empty.
    """
    space = SearchSpace.from_json(run.settings.space)
    task = Task.from_json(run.settings.task)
    numbers = dict(zip(run.trials["fingerprint"], run.trials["number"], strict=True))
    rows = []
    for rejection in run.rejections.last:
        row = {
            "before": rejection.get("number"),
            "kind": rejection.get("kind", ""),
            "reason": rejection.get("reason", ""),
            **_network(space, task, rejection),
        }
        rows.append({**row, "trial": numbers.get(row["fingerprint"])})
    table = pd.DataFrame(rows, columns=COLUMNS)
    numeric = ["before", "trial", "cells", *COSTS]
    return table.astype(dict.fromkeys(numeric, "float64"))


def _network(space: SearchSpace, task: Task, rejection: dict[str, Any]) -> dict[str, Any]:
    values = rejection.get("values")
    if values is None:
        return {"fingerprint": ""}
    network = space.decode(dict(zip(space.parameters, values, strict=True)))
    known: dict[str, Any] = {"cells": network.num_cells, "fingerprint": network.fingerprint}
    try:
        cost = count_cost(network, task.target.image, task.target.classes)
    except ValueError:  # it does not fit, which is why it was rejected
        return {**known, **dict.fromkeys(COSTS, np.nan)}
    return {**known, **{name: getattr(cost, name) for name in COSTS}}
