"""How well scores of untrained networks rank trained ones, beside what parameters and MACs do.

Frames in, frames out; the statistics are in :mod:`~nas.analysis.rank_correlations`. Left out: the
scores themselves (:mod:`nas.zero_cost`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from nas.analysis.rank_correlations import spearman, tau, tau_difference

BASELINES = {
    "params": "parameters",
    "macs": "MACs",
    "proxy_params": "proxy parameters",
    "proxy_macs": "proxy MACs",
}
"""What is known without building a network, by column; the first two are at the target."""


class Comparison(NamedTuple):
    """The table, the best baseline's name (None where none has a tau), and who beats it."""

    table: pd.DataFrame
    baseline: str | None
    better: tuple[str, ...]


def score_table(networks: pd.DataFrame, scores: Sequence[str]) -> Comparison:
    """Rank correlations of scores and of :data:`BASELINES` with accuracy (1 - error).

    ``networks`` has a row a network: ``error``, a column a score (NaN where there is none) and a
    column a baseline. One row comes out for each of them: ``name``, ``is_baseline``,
    ``networks`` (that have it), ``tau``, ``tau_low``, ``tau_high``, ``spearman``, and
    ``difference``, ``difference_low``, ``difference_high``: by how much a score's tau is over
    that of the baseline with the highest tau, on the networks that have the score. Intervals are
    95 %, by a bootstrap over networks, paired for the difference. A score beats the baseline
    where the whole interval is over 0; the baseline being the best of four on the same
    networks, that errs on its side.
    """
    truth = (1 - networks["error"]).tolist()
    rows = [_row(networks, name, truth) for name in (*scores, *BASELINES)]
    known = [row for row in rows if row["is_baseline"] and math.isfinite(row["tau"])]
    best = str(max(known, key=lambda row: row["tau"])["name"]) if known else None
    for row in rows:
        row.update(_difference(networks, row["name"], best, truth))
    better = tuple(row["name"] for row in rows if row["difference_low"] > 0)
    return Comparison(pd.DataFrame(rows), best, better)


def _row(networks: pd.DataFrame, name: str, truth: Sequence[float]) -> dict[str, Any]:
    values = networks[name].astype(float).tolist()
    estimate = tau(values, truth)
    return {
        "name": name,
        "is_baseline": name in BASELINES,
        "networks": estimate.items,
        "tau": estimate.value,
        "tau_low": estimate.low,
        "tau_high": estimate.high,
        "spearman": spearman(values, truth),
    }


def _difference(
    networks: pd.DataFrame, name: str, best: str | None, truth: Sequence[float]
) -> dict[str, float]:
    if best is None or name in BASELINES:
        return dict.fromkeys(("difference", "difference_low", "difference_high"), math.nan)
    first, other = (networks[item].astype(float).tolist() for item in (name, best))
    found = tau_difference(first, other, truth)
    return {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
    }
