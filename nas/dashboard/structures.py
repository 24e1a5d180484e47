"""What a run's networks are made of, computed once a version: branches, reductions, and words."""

from __future__ import annotations

import pandas as pd

from nas.analysis.along_front import (
    branch_shares_table,
    front_parts,
    reduction_places_table,
    survival_table,
)
from nas.analysis.structure import branches_table, reductions_table
from nas.dashboard.blocks import count_of
from nas.dashboard.source import Snapshot
from nas.dashboard.views.front import front, standings

MAX_READ = 3000
"""Networks whose descriptions are read for branches, beside the front: some 0.2 ms each."""


def read_numbers(snapshot: Snapshot) -> pd.Series:
    """The trials whose descriptions are read: the front, and the others as far as there is room."""
    trials = standings(snapshot)
    is_front = trials["standing"] == "front"
    others = trials.loc[~is_front, "number"]
    if len(others) > MAX_READ:
        others = others.sample(MAX_READ, random_state=0)
    chosen: pd.Series = pd.concat([trials.loc[is_front, "number"], others]).sort_values()
    return chosen


def _branches(snapshot: Snapshot) -> pd.DataFrame:
    def read(one: Snapshot) -> pd.DataFrame:
        wanted = one.trials["number"].isin(read_numbers(one)) & (one.trials["architecture"] != "")
        return branches_table(one.trials[wanted])

    table: pd.DataFrame = snapshot.computed("choices-branches", read)
    return table


def survival(snapshot: Snapshot) -> pd.DataFrame:
    """The run's ``survival_table``, over the networks that are read."""
    return survival_table(_branches(snapshot), snapshot.trials, snapshot.objectives)


def shares(snapshot: Snapshot) -> pd.DataFrame:
    """The run's ``branch_shares_table``."""
    return branch_shares_table(_branches(snapshot), front_parts(front(snapshot)))


def reduction_places(snapshot: Snapshot) -> pd.DataFrame:
    """The front's ``reduction_places_table``."""
    trials = snapshot.trials
    on_front = trials[trials["number"].isin(front(snapshot)["number"])]
    return reduction_places_table(reductions_table(on_front), standings(snapshot))


def read_words(snapshot: Snapshot) -> str:
    """Of how many networks the branches were read."""
    count, total = len(read_numbers(snapshot)), len(snapshot.trials)
    if count == total:
        return ""
    return f"Read from the front and {MAX_READ:,} other trials, drawn from {total:,}."


def reduction_words(places: pd.DataFrame) -> str:
    """What the front agrees on, if it does."""
    if places.empty:
        return ""
    counts = places.drop_duplicates("number").merge(
        places.groupby("number").size().rename("marks"), on="number"
    )["marks"]
    kinds = places["kind"].value_counts()
    most = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    few, many = int(counts.min()), int(counts.max())
    span = f"{few}" if few == many else f"{few} to {many}"
    return f"{span} reductions a network of {count_of(len(counts), 'network')}: {most}."
