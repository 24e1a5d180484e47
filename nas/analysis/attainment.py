"""What repeated runs reach: attainment surfaces, the front's counterpart of median and quartiles.

A goal (a cost and an error) is attained by a run that found a network no worse in both. The
surface of level k/n bounds the goals that at least k of n runs attained: k = 1 is the best of all
runs put together, k = n what every run reached (V. Grunert da Fonseca, C. Fonseca, A. Hall,
"Inferential performance assessment of stochastic optimisers and the attainment function", EMO
2001). moocore computes it exactly. Two axes only: error, and one cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.pareto import nondominated

ALL_RUNS = "all runs"


def attainment_table(
    runs: Mapping[str, pd.DataFrame],
    *,
    x: str = "macs",
    levels: Sequence[float] | None = None,
    groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The corners of the attainment surfaces of groups of runs (their trials by name).

    ``levels`` are shares of the runs over 0 up to 1, rounded up to whole runs; by default one
    run, half of them, all of them. Columns: ``group``, ``level`` (k/n), ``runs`` (k), ``of`` (n,
    runs without any result included), the cost, ``error``. Rows of a group and level go by cost
    and form a staircase; a level that too few runs have results for has no rows.

    Raises:
        ValueError: a level is not over 0 and up to 1.
    """
    for level in levels or ():
        if not 0 < level <= 1:
            raise ValueError(f"a level must be over 0 and up to 1, not {level!r}")
    members: dict[str, list[str]] = {}
    for name in runs:
        members.setdefault(groups[name] if groups else ALL_RUNS, []).append(name)
    rows = []
    for group, names in members.items():
        fronts = [_front(runs[name], x) for name in names]
        for attained in _counts(levels, len(names)):
            for cost, error in _surface(fronts, attained):
                rows.append((group, attained / len(names), attained, len(names), cost, error))
    return pd.DataFrame(rows, columns=["group", "level", "runs", "of", x, "error"])


def _counts(levels: Sequence[float] | None, total: int) -> list[int]:
    """The levels as numbers of runs."""
    if levels is None:
        return sorted({1, -(-total // 2), total})
    return sorted({int(np.ceil(level * total - 1e-9)) for level in levels})


def _front(trials: pd.DataFrame, x: str) -> NDArray[np.float64]:
    """The points (cost, error) that no other complete trial of the run beats in these two."""
    points = trials[[x, "error"]][trials["state"] == "complete"].to_numpy(dtype=np.float64)
    return points[nondominated(points)]


def _surface(fronts: Sequence[NDArray[np.float64]], attained: int) -> NDArray[np.float64]:
    known = [front for front in fronts if len(front)]
    if attained > len(known):
        return np.zeros((0, 2))
    sets = np.repeat(np.arange(len(known)), [len(front) for front in known])
    # A little under the share: the surface of k runs must not be that of k + 1 by rounding.
    percentile = 100 * (attained - 0.5) / len(known)
    found = moocore.eaf(np.vstack(known), sets, percentiles=[percentile])[:, :2]
    return np.asarray(found[np.lexsort((found[:, 1], found[:, 0]))], dtype=np.float64)
