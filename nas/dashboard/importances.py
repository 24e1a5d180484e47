"""Importances that outlive a snapshot: they take seconds, and a search changes every second."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pandas as pd

from nas.analysis.figures import percent
from nas.analysis.importance import MIN_TRIALS, By, importance_tables
from nas.dashboard.source import Snapshot

GROWTH = 1.1
"""A table is made anew once there are this many times the complete trials it was made of."""

MAX_TABLES = 32


class Importances:
    """The latest importance tables of each run, made by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[str, tuple[int, dict[By, pd.DataFrame]]] = OrderedDict()

    def table(self, snapshot: Snapshot, by: By) -> pd.DataFrame:
        """The ``importance_table`` of about what the snapshot has; its ``trials`` says of how many.

        Not computed through the snapshot: whoever asks for another table would wait for this.
        """
        complete = int((snapshot.trials["state"] == "complete").sum())
        # A run that was begun anew under its name is another one.
        key = f"{snapshot.name} {snapshot.settings.created}"
        with self._lock:
            made = self._made.get(key)
            if made is not None and made[0] <= complete < max(made[0], 1) * GROWTH:
                return made[1][by]
            if complete < MIN_TRIALS:
                nothing = pd.DataFrame({"number": []})
                tables = importance_tables(snapshot.trials.iloc[:0], nothing)
            else:
                cost = next((one for one in snapshot.objectives if one != "error"), "macs")
                # The figure shows the one, the axes of the lines are ranked by the other.
                tables = importance_tables(snapshot.trials, snapshot.choices, cost=cost)
            self._made[key] = (complete, tables)
            while len(self._made) > MAX_TABLES:
                self._made.popitem(last=False)
            return tables[by]


def importance_words(table: pd.DataFrame, snapshot: Snapshot) -> str:
    """Of what the table was made, and how much it explains: whether to trust its order."""
    complete = int((snapshot.trials["state"] == "complete").sum())
    if table.empty:
        if complete < MIN_TRIALS:
            return f"Needs {MIN_TRIALS} complete trials to say anything; there are {complete}."
        return "All complete trials have the same error: there is nothing to explain."
    row = table.iloc[0]
    explained = max(float(row["forest_r2"]), 0.0)
    trust = (
        " That is little: take the order as a hint, not as a finding." if explained < 0.2 else ""
    )
    return (
        f"Of {int(row['trials']):,} complete trials. Cost alone explains "
        f"{percent(float(row['cost_r2']))} of the error's variance, the choices "
        f"{percent(explained)} of the rest, on trials held out.{trust}"
    )
