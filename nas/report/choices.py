"""What was chosen, for the page: importances, branches, reductions, parallel coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas.analysis.along_front import (
    branch_shares_table,
    front_parts,
    reduction_places_table,
    survival_table,
)
from nas.analysis.choice_figures import (
    branch_shares_figure,
    importance_figure,
    parallel_lines_figure,
    reductions_figure,
    survival_figure,
)
from nas.analysis.figures import percent
from nas.analysis.importance import MIN_TRIALS, importance_table
from nas.analysis.parallel import parallel_table
from nas.analysis.structure import branches_table, reductions_table
from nas.analysis.tables import front_table, trials_table
from nas.records import Run

MAX_NETWORKS = 2000
"""Networks whose branches are counted; of more, as many are drawn, the front always."""

MAX_LINES = 300
"""Lines of the parallel coordinates, the front's always among them."""

MAX_IMPORTANT = 15
WEAK_FOREST = 0.1


@dataclass(frozen=True)
class ChoicesPart:
    """The page's part on choices; ``figures`` has only those that show anything."""

    figures: dict[str, go.Figure] = field(default_factory=dict)
    importance_words: str = ""
    importances: list[dict[str, Any]] = field(default_factory=list)
    survivals: list[dict[str, Any]] = field(default_factory=list)


def choices_part(run: Run) -> ChoicesPart:
    """What the choices of a run say; without a complete trial there is nothing."""
    trials, objectives = run.trials, run.settings.objectives
    front = front_table(trials, objectives)
    if front.empty:
        return ChoicesPart()
    cost = next((name for name in objectives if name != "error"), "macs")
    importances = importance_table(trials, run.choices, cost=cost, by="kind")
    kept = sampled(trials, front["number"])
    branches = branches_table(kept)
    survivals = survival_table(branches, kept, objectives)
    figures = {"survival": survival_figure(survivals), **_front_figures(run, front, branches)}
    if len(importances):
        figures["importance"] = importance_figure(importances, limit=MAX_IMPORTANT)
    parallel = parallel_lines(run, importances)
    if parallel is not None:
        figures["parallel"] = parallel
    return ChoicesPart(
        figures=figures,
        importance_words=importance_words(importances, trials),
        importances=_importance_rows(importances),
        survivals=_survival_rows(survivals),
    )


def sampled(trials: pd.DataFrame, always: pd.Series, limit: int = MAX_NETWORKS) -> pd.DataFrame:
    """At most about ``limit`` trials, those whose numbers must be there among them."""
    if len(trials) <= limit:
        return trials
    must = trials["number"].isin(always)
    others = trials[~must].sample(max(limit - int(must.sum()), 0), random_state=0)
    return pd.concat([trials[must], others]).sort_values("number")


def _front_figures(run: Run, front: pd.DataFrame, branches: pd.DataFrame) -> dict[str, go.Figure]:
    shares = branch_shares_table(branches, front_parts(front))
    own = run.trials[run.trials["number"].isin(front["number"])]
    table = trials_table(run.trials, run.settings.objectives)
    places = reduction_places_table(reductions_table(own), table)
    found = {"branches": branch_shares_figure(shares)}
    return {**found, "reductions": reductions_figure(places)} if len(places) else found


def parallel_lines(run: Run, importances: pd.DataFrame) -> go.Figure | None:
    """Parallel coordinates of the choices that matter most, or are there most often."""
    trials, objectives = run.trials, run.settings.objectives
    order = None
    if len(importances):
        order = importance_table(trials, run.choices, by="choice")
    front = front_table(trials, objectives)["number"]
    complete = trials[trials["state"] == "complete"]
    # Standings are those among all trials, so rows are left out afterwards.
    table = parallel_table(trials, run.choices, objectives, order=order)
    kept = sampled(complete, front, MAX_LINES)["number"]
    table = table[table["number"].isin(kept)]
    return parallel_lines_figure(table) if len(table) > 1 and len(table.columns) > 4 else None


def importance_words(table: pd.DataFrame, trials: pd.DataFrame) -> str:
    """How far the importances can be trusted, in a sentence or two."""
    complete = int((trials["state"] == "complete").sum())
    if table.empty:
        if complete < MIN_TRIALS:
            return f"Importances need {MIN_TRIALS} complete trials; there are {complete}."
        return "Importances need errors and choices that differ."
    first = table.iloc[0]
    words = (
        f"Over {first['trials']} trials, cost alone explains {percent(first['cost_r2'])} of the "
        f"error's variance; the choices explain {percent(max(first['forest_r2'], 0.0))} of the "
        "rest on trials that the forest has not seen."
    )
    if first["forest_r2"] < WEAK_FOREST:
        words += " That is little: the order below may well be chance."
    return words


def _importance_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "choice": row["choice"],
            "importance": percent(row["importance"]),
            "interval": f"{percent(row['low'])} to {percent(row['high'])}",
            "active": row["active"],
            "values": row["values"],
        }
        for row in table.head(MAX_IMPORTANT).to_dict("records")
    ]


def _survival_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "kind": row["kind"],
            "proposed": f"{row['proposed']:,} ({percent(row['proposed_share'])})",
            "front": f"{row['front']:,} ({percent(row['front_share'])})",
            "interval": f"{percent(row['low'])} to {percent(row['high'])}",
            "lift": f"{row['lift']:.2f}",
        }
        for row in table.to_dict("records")
    ]
