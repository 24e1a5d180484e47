"""Every number that is shown, as a frame computed from a run's trials; nothing is drawn here.

``trials`` is ``Run.trials`` of :mod:`nas.records`: one row a trial, errors between 0 and 1, NaN
where a trial is not complete. All objectives are minimised. Frames go in unchanged and come out
new, with a plain index. Left out: several runs (:mod:`nas.analysis.comparison`), choices
(:mod:`nas.analysis.importance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nas.architecture import Architecture
from nas.cost import COSTS, LATENCY, SEARCHED_COSTS, count_cost
from nas.pareto import cost_axes, hypervolume_history, knee_index, nondominated
from nas.task import Target

STANDINGS = ("front", "dominated", "stopped", "failed", "running", "unfinished")
"""Where a trial stands; ``stopped`` ones were given up at a rung, ``failed`` have no result, and
``unfinished`` ones were left running by a search that is not at work any more."""

PROGRESS_SHARES = (0.1, 0.25, 0.5, 1.0)
PROGRESS_COLUMNS = ["share", "device_seconds", "trials", "hypervolume", "hypervolume_share"]
MAX_DOMINATORS = 3
_AT_ONCE = 4096
"""Trials that are compared with the front at once: some megabytes."""

SEED_ORIGIN = "seed:"

_SHOWN = [
    *COSTS,
    "peak_activation_bytes",
    LATENCY,
    "epochs",
    "train_seconds",
    "origin",
    "reused",
]


def front_table(trials: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The front, the cheapest first: a row a trial.

    Columns: ``number``, ``is_knee``, ``error``, the costs, ``epochs``, ``train_seconds``,
    ``origin``, ``reused``, ``seed``, ``fingerprint``.
    """
    points = objective_points(trials, objectives)
    knee = knee_index(points, cost_axes(objectives))
    # Columns before rows, here and below: a large run's descriptions would be copied too.
    table = trials[["number", "error", *_SHOWN, "seed", "fingerprint"]].copy()
    table.insert(1, "is_knee", np.arange(len(trials)) == (-1 if knee is None else knee))
    table = table[nondominated(points)]
    order = [name for name in objectives if name != "error"] + ["error", "number"]
    return table.sort_values(order).reset_index(drop=True)


def objective_points(trials: pd.DataFrame, objectives: Sequence[str]) -> np.ndarray:
    """Trials by objectives, NaN in the rows that are not complete: never part of a front."""
    points = trials[list(objectives)].to_numpy(dtype=np.float64, copy=True)
    points[(trials["state"] != "complete").to_numpy()] = np.nan
    return points


def trials_table(
    trials: pd.DataFrame,
    objectives: Sequence[str],
    curves: pd.DataFrame | None = None,
    *,
    is_live: bool = True,
) -> pd.DataFrame:
    """Every trial with where it stands and why: what a scatter of all trials needs.

    ``is_live`` says that a search is at work; without one no trial is running.

    Columns: ``number``, ``standing`` (one of :data:`STANDINGS`), ``is_knee``, ``landmark`` (the
    preset that the trial is, or ""), ``error``, ``shown_error`` (with ``curves`` the last error
    seen of a trial that is not complete), the costs, ``epochs``, ``train_seconds``, ``origin``,
    ``reused``, ``dominated_by`` (numbers of front trials, at most three) and ``reason``.
    """
    points = objective_points(trials, objectives)
    on_front = nondominated(points)
    knee = knee_index(points, cost_axes(objectives))
    words = {"complete": "dominated", "pruned": "stopped", "failed": "failed"}
    standing = trials["state"].map({**words, "running": "running" if is_live else "unfinished"})
    origin = trials["origin"].astype(str)
    is_seed = origin.str.startswith(SEED_ORIGIN)
    table = pd.DataFrame(
        {
            "number": trials["number"],
            "standing": standing.mask(on_front, "front").astype(str),
            "is_knee": np.arange(len(trials)) == (-1 if knee is None else knee),
            "landmark": origin.str.removeprefix(SEED_ORIGIN).where(is_seed, ""),
            "error": trials["error"],
            "shown_error": trials["error"].fillna(_last_errors(trials, curves)),
            **{name: trials[name] for name in _SHOWN},
            "dominated_by": _dominators(trials["number"].to_numpy(), points, on_front),
            "reason": trials["reason"],
        }
    )
    return table.reset_index(drop=True)


def _last_errors(trials: pd.DataFrame, curves: pd.DataFrame | None) -> pd.Series:
    if curves is None or curves.empty:
        return pd.Series(np.nan, index=trials.index)
    last = curves.sort_values("epoch").groupby("number")["error"].last()
    return trials["number"].map(last).astype(float)


def _dominators(numbers: np.ndarray, points: np.ndarray, on_front: np.ndarray) -> list[str]:
    front, front_words = points[on_front], numbers[on_front].astype(str).tolist()
    named = [""] * len(numbers)
    asked = np.flatnonzero(~on_front & np.isfinite(points).all(axis=1))
    for start in range(0, len(asked), _AT_ONCE):
        rows = asked[start : start + _AT_ONCE]
        better = np.ones((len(rows), len(front)), dtype=bool)
        # A front point that is no worse anywhere is better somewhere: its equals are on the front.
        for axis in range(points.shape[1]):
            better &= front[None, :, axis] <= points[rows, axis, None]
        for row, found in zip(rows.tolist(), _first_columns(better), strict=True):
            named[row] = ", ".join(front_words[column] for column in found)
    return named


def _first_columns(marked: np.ndarray) -> list[list[int]]:
    """The first few columns that are marked, by row; at most :data:`MAX_DOMINATORS`."""
    left, each = marked.copy(), np.arange(len(marked))
    found: list[list[int]] = [[] for _ in each]
    for _ in range(min(MAX_DOMINATORS, marked.shape[1])):
        first = left.argmax(axis=1)
        for row in np.flatnonzero(left[each, first]).tolist():
            found[row].append(int(first[row]))
        left[each, first] = False
    return found


def picks_table(trials: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The trials that one asks for first, a row a pick: cheapest, knee, best.

    Columns: ``pick``, ``number``, ``error``, the costs. Empty without a front; with one objective
    there is no cheapest trial.
    """
    front = front_table(trials, objectives)
    columns = ["pick", "number", "error", *SEARCHED_COSTS]
    if front.empty:
        return pd.DataFrame(columns=columns)
    chosen = {
        "cheapest": front.iloc[[0]],
        "knee": front[front["is_knee"]],
        "best": front.sort_values(["error", *_cost_order(objectives), "number"]).iloc[[0]],
    }
    if len(objectives) == 1:
        del chosen["cheapest"]
    table = pd.concat(chosen, names=["pick"]).reset_index(level="pick")
    return table[columns].reset_index(drop=True)


def _cost_order(objectives: Sequence[str]) -> list[str]:
    """Costs that settle a tie: the objectives' own, then the others."""
    own = [name for name in objectives if name != "error"]
    return own + [name for name in COSTS if name not in own]


def hypervolume_table(
    trials: pd.DataFrame,
    objectives: Sequence[str],
    reference: Sequence[float],
    *,
    log_costs: bool = True,
) -> pd.DataFrame:
    """The hypervolume after each trial that has ended, in the order in which they ended.

    Columns: ``trials`` (ended so far), ``number``, ``finished``, ``device_seconds`` (training so
    far, summed over devices), ``hypervolume`` (in decades of cost where ``log_costs``).
    """
    columns = ["number", "state", "finished", "train_seconds", *objectives]
    ended = trials[list(dict.fromkeys(columns))]
    ended = ended[ended["state"] != "running"].sort_values(["finished", "number"])
    axes = cost_axes(objectives) if log_costs else ()
    volumes = hypervolume_history(objective_points(ended, objectives), reference, log_axes=axes)
    return pd.DataFrame(
        {
            "trials": np.arange(1, len(ended) + 1),
            "number": ended["number"].to_numpy(),
            "finished": ended["finished"].to_numpy(),
            "device_seconds": ended["train_seconds"].fillna(0).cumsum().to_numpy(),
            "hypervolume": volumes,
        }
    )


def progress_table(history: pd.DataFrame, given_up_seconds: float = 0.0) -> pd.DataFrame:
    """The hypervolume when a tenth, a quarter, half, and all of the device-seconds were spent.

    ``history`` is a :func:`hypervolume_table`; ``given_up_seconds`` were spent on trials that
    began again, and stand in the last row alone. Columns: ``share``, ``device_seconds``,
    ``trials``, ``hypervolume``, ``hypervolume_share`` (of the last).
    """
    if history.empty:
        return pd.DataFrame(columns=PROGRESS_COLUMNS)
    spent, last = history["device_seconds"], history.iloc[-1]
    rows = []
    for share in PROGRESS_SHARES:
        is_last = share == 1
        row = last if is_last else history.iloc[int((spent <= share * spent.iloc[-1]).sum()) - 1]
        if not is_last and spent.iloc[0] > share * spent.iloc[-1]:
            continue  # the first trial alone took longer
        rows.append(
            {
                "share": share,
                "device_seconds": float(row["device_seconds"]) + is_last * given_up_seconds,
                "trials": int(row["trials"]),
                "hypervolume": float(row["hypervolume"]),
                "hypervolume_share": float(row["hypervolume"] / (last["hypervolume"] or 1.0)),
            }
        )
    return pd.DataFrame(rows, columns=PROGRESS_COLUMNS)


def spend_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Where the training went, by state and in total.

    Columns: ``state``, ``trials``, ``reused`` (results from the cache, trained before),
    ``epochs``, ``train_seconds``, ``share`` (of the seconds; 0 where nothing was trained).
    """
    trials = trials[["state", "reused", "epochs", "train_seconds"]]
    total = float(trials["train_seconds"].sum())
    rows = []
    for state in ("complete", "pruned", "failed", "running", "total"):
        part = trials if state == "total" else trials[trials["state"] == state]
        seconds = float(part["train_seconds"].sum())
        rows.append(
            {
                "state": state,
                "trials": len(part),
                "reused": int(part["reused"].sum()),
                "epochs": int(part.loc[~part["reused"].astype(bool), "epochs"].sum()),
                "train_seconds": seconds,
                "share": seconds / total if total else 0.0,
            }
        )
    return pd.DataFrame(rows)


def rejections_table(counts: Mapping[str, int]) -> pd.DataFrame:
    """Proposals that cost no training: ``reason`` and ``proposals``, the most frequent first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return pd.DataFrame(rows, columns=["reason", "proposals"])


def curves_table(curves: pd.DataFrame, numbers: Sequence[int]) -> pd.DataFrame:
    """The learning curves of some trials, in their order and by epoch."""
    order = {number: index for index, number in enumerate(numbers)}
    chosen = curves[curves["number"].isin(order)]
    chosen = chosen.assign(order=chosen["number"].map(order)).sort_values(["order", "epoch"])
    return chosen.drop(columns="order").reset_index(drop=True)


def layers_table(architecture: Architecture, target: Target) -> pd.DataFrame:
    """The cost of each layer at the target, with its shares, without auxiliary heads.

    Columns: ``name``, ``kind``, ``input``, ``output`` (shapes as text), ``params``, ``macs``,
    ``activation_bytes``, ``macs_share``, ``params_share``.

    Raises:
        ValueError: the architecture does not fit the target.
    """
    cost = count_cost(architecture, target.image, target.classes)
    table = pd.DataFrame(cost.rows, columns=list(cost.rows[0]._fields))
    table["input"] = table["input"].map(str)
    table["output"] = table["output"].map(str)
    table["macs_share"] = table["macs"] / max(cost.macs, 1)
    table["params_share"] = table["params"] / max(cost.params, 1)
    return table


def runs_table(
    fronts: Mapping[str, pd.DataFrame], histories: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Runs side by side, from their front and hypervolume tables by name.

    Columns: ``run``, ``trials`` (ended), ``device_seconds``, ``front`` (its size), ``best_error``,
    ``knee_error``, ``knee_macs`` (NaN where there is no front), ``hypervolume``.
    """
    rows = []
    for name, front in fronts.items():
        history, knee = histories[name], front[front["is_knee"]]
        rows.append(
            {
                "run": name,
                "trials": len(history),
                "device_seconds": history["device_seconds"].max() if len(history) else 0.0,
                "front": len(front),
                "best_error": front["error"].min(),
                "knee_error": knee["error"].min(),
                "knee_macs": knee["macs"].min(),
                "hypervolume": history["hypervolume"].max() if len(history) else 0.0,
            }
        )
    return pd.DataFrame(rows)
