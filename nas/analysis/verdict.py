"""What a confirmation comes to, in two or three sentences: who survives, how far to trust the
proxy, which trial to take.

Left out: the numbers themselves (:mod:`nas.analysis.confirmed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nas.pareto import cost_axes, knee_index
from nas.quantities import format_count


@dataclass(frozen=True)
class Verdict:
    """``survivors`` of ``finalists`` front trials are on the front of the means; ``pick`` is the
    trial to take (None before anything is trained); ``text`` says it all."""

    survivors: int
    finalists: int
    pick: int | None
    text: str


def give_verdict(
    table: pd.DataFrame,
    agreement: pd.DataFrame,
    objectives: Sequence[str],
    *,
    trained: int,
    wanted: int,
) -> Verdict:
    """The verdict of a ``confirmed_table`` and its ``agreement_table``.

    The trial to take is the knee of the run's trials, by shrunk errors and costs; with the error
    as the only objective, the smallest shrunk error. ``trained`` of ``wanted`` trainings are done.
    """
    front = table[table["role"] == "front"]
    survivors = int(front["on_front"].sum())
    pick = _pick(table, objectives)
    if pick is None:
        return Verdict(0, len(front), None, "Nothing of the run is trained yet.")
    sentences = [_survival(front, survivors), *_risen(table), *_landmarks(table)]
    sentences += _agreement(agreement)
    sentences.append(_take(table, pick, table["spread"].iloc[0] == "none"))
    text = " ".join(sentences)
    if trained < wanted:
        text = f"So far, after {trained} of {wanted} trainings: {text}"
    return Verdict(survivors, len(front), pick, text)


def _pick(table: pd.DataFrame, objectives: Sequence[str]) -> int | None:
    own = table[(table["number"] >= 0) & table["mean"].notna()]
    columns = ["shrunk" if name == "error" else name for name in objectives]
    points = own[columns].to_numpy(dtype=np.float64)
    found = knee_index(points, cost_axes(objectives)) if len(own) else None
    return None if found is None else int(own["number"].iloc[found])


def _survival(front: pd.DataFrame, survivors: int) -> str:
    known = front[front["mean"].notna()]
    words = f"{survivors} of {len(front)} front trials stay on the front"
    lost = known[~known["on_front"]]
    if lost.empty:
        return words + "."
    by = [f"{_label(row['name'])} falls behind {_first(row['beaten_by'])}"
          for row in lost.to_dict("records")]  # fmt: skip
    return f"{words}: {'; '.join(by)}."


def _first(names: str) -> str:
    return _label(names.split(", ", maxsplit=1)[0])


def _label(name: str) -> str:
    return f"trial {name.removeprefix('trial')}" if name.startswith("trial") else name


def _risen(table: pd.DataFrame) -> list[str]:
    """Trials that the search had dominated and that nothing beats now."""
    rows = table[(table["role"] == "control") & table["on_front"]]
    if rows.empty:
        return []
    names = _joined([_label(name) for name in rows["name"]])
    verb = "joins" if len(rows) == 1 else "join"
    return [f"{names[:1].upper()}{names[1:]}, dominated in the search, {verb} the front."]


def _landmarks(table: pd.DataFrame) -> list[str]:
    """Landmarks that no trial of the run beats."""
    rows = table[(table["number"] < 0) & table["on_front"]]
    if rows.empty:
        return []
    names = [f"{row['name']} ({format_count(row['macs'])} MACs)" for row in rows.to_dict("records")]
    verb = "is" if len(names) == 1 else "are"
    return [f"{_joined(names)}, which the run never tried, {verb} on the front, too."]


def _joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def _agreement(agreement: pd.DataFrame) -> list[str]:
    rows = {str(row["predictor"]): row for row in agreement.to_dict("records")}
    proxy, macs = rows["proxy"], rows["macs"]
    if not np.isfinite(proxy["tau"]):
        return []
    alone = f", MACs alone with {_tau(macs)}" if np.isfinite(macs["tau"]) else ""
    return [f"The proxy's order agrees with tau {_tau(proxy)}{alone} (n = {proxy['networks']})."]


def _tau(row: Mapping[Any, Any]) -> str:
    return f"{row['tau']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _take(table: pd.DataFrame, pick: int, is_single: bool) -> str:
    row = table[table["number"] == pick].iloc[0]
    error = f"error {100 * row['mean']:.2f} %"
    if is_single:
        return f"Take trial {pick}: {error} with one seed, which says nothing of chance."
    interval = f"[{100 * row['low']:.2f}, {100 * row['high']:.2f}]"
    chance = f"on the front with probability {row['front_probability']:.2f}"
    return f"Take trial {pick}: {error} {interval}, {chance}."
