"""Which trials of a run are retrained: a few of its front, and dominated ones as a control.

Left out: landmarks that the run never tried (:mod:`nas.confirm.landmarks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nas.analysis.near_front import gaps_table
from nas.analysis.tables import front_table, picks_table
from nas.pareto import cost_axes, scale_axes
from nas.records import Run
from nas.records.confirmation import Finalist
from nas.records.stored import COSTS

PICK_ORDER = ("knee", "best", "cheapest")


def choose_finalists(run: Run, top: int, controls: int) -> list[Finalist]:
    """``top`` trials of the run's front and ``controls`` dominated ones, the cheapest first.

    The picks come first (knee, best, cheapest); then, again and again, the front trial that is
    farthest from all that were chosen, on axes that span the front (costs in decades). The
    dominated trials are cut by cost into as many parts as there are controls, and of each the
    trial nearest to the front is taken: those that a noisy proxy would have misjudged first.

    Raises:
        ValueError: the run has no front.
    """
    objectives = run.settings.objectives
    front = front_table(run.trials, objectives)
    if front.empty:
        raise ValueError(f"run {run.name!r} has no front to confirm: no trial is complete")
    picks: dict[int, list[str]] = {}
    for row in picks_table(run.trials, objectives).to_dict("records"):
        picks.setdefault(int(row["number"]), []).append(str(row["pick"]))
    chosen = _spread(front, objectives, _first(picks, top), top)
    found = [_finalist(run, number, "front", tuple(picks.get(number, ()))) for number in chosen]
    networks = {item.network.fingerprint for item in found}
    others = _controls(run, objectives, controls, networks)
    return found + [_finalist(run, number, "control", ()) for number in others]


def _first(picks: dict[int, list[str]], top: int) -> list[int]:
    """The trials of the picks in their order, each once, at most ``top``."""
    ordered = [n for pick in PICK_ORDER for n, names in picks.items() if pick in names]
    return list(dict.fromkeys(ordered))[:top]


def _spread(
    front: pd.DataFrame, objectives: Sequence[str], chosen: list[int], top: int
) -> list[int]:
    """``chosen`` filled up to ``top`` along the front; in the front's order."""
    points = front[list(objectives)].to_numpy(dtype=np.float64)
    scaled = scale_axes(points, points, log_axes=cost_axes(objectives))
    numbers = front["number"].tolist()
    taken = [numbers.index(number) for number in chosen]
    while len(taken) < min(top, len(front)):
        gaps = np.linalg.norm(scaled[:, None] - scaled[None, taken], axis=2).min(axis=1)
        gaps[taken] = -1.0
        taken.append(int(gaps.argmax()))
    return [numbers[place] for place in sorted(taken)]


def _controls(run: Run, objectives: Sequence[str], controls: int, networks: set[str]) -> list[int]:
    """Dominated trials along the costs, the nearest to the front of each part."""
    gaps = gaps_table(run.trials, objectives)
    marks = run.trials[["number", "fingerprint", "reused"]]
    table = gaps[~gaps["is_front"]].merge(marks, on="number")
    table = table[~table["fingerprint"].isin(networks) & ~table["reused"]]
    axis = next((name for name in objectives if name != "error"), "macs")
    table = table.sort_values([axis, "number"])
    parts = np.array_split(np.arange(len(table)), max(controls, 1))[:controls]
    rows = [table.iloc[part].sort_values(["gap", "number"]) for part in parts if len(part)]
    return [int(part["number"].iloc[0]) for part in rows]


def _finalist(run: Run, number: int, role: Any, picks: tuple[str, ...]) -> Finalist:
    row = run.trials.loc[run.trials["number"] == number].iloc[0]
    own = [name for name in run.settings.objectives if name != "error"]
    return Finalist(
        name=f"trial{number}",
        role=role,
        architecture=str(row["architecture"]),
        costs={name: row[name].item() for name in dict.fromkeys([*own, *COSTS])},
        number=number,
        picks=picks,
        proxy_error=float(row["error"]),
    )
