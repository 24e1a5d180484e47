"""How networks change along the front, from small to large, and which parts survive the search.

Counted are networks or cells, never branches alone, so that a network of many cells does not
speak for all. Samplers look where it was good before, so a part that is frequent on the front may
have been proposed often for another reason: ``lift`` sets both side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nas.analysis.tables import front_table

SHARE_COLUMNS = [
    "part", "part_index", "kind", "networks", "cells", "cell_share", "channel_share",
    "mean_channels",
]  # fmt: skip
SURVIVAL_COLUMNS = [
    "kind", "proposed", "proposed_share", "front", "front_share", "low", "high", "lift",
]  # fmt: skip
PLACE_COLUMNS = [
    "row", "number", "standing", "error", "macs", "index", "kind", "after_cells", "cells",
    "position",
]  # fmt: skip

_PARTS = {1: ["all"], 2: ["small", "large"], 3: ["small", "middle", "large"]}


def front_parts(front: pd.DataFrame, parts: int = 3) -> pd.DataFrame:
    """A ``front_table`` cut, in its order, into ``parts`` of equal size.

    Adds ``part`` ("small", "middle", "large"; numbered where there are more) and ``part_index``;
    a front of fewer networks has fewer parts.
    """
    count = max(1, min(parts, len(front)))
    names = _PARTS.get(count) or [f"{index + 1} of {count}" for index in range(count)]
    index = np.concatenate(
        [
            np.full(len(part), i)
            for i, part in enumerate(np.array_split(np.arange(len(front)), count))
        ]
    ).astype(np.int64)
    table = front.assign(part=[names[i] for i in index], part_index=index)
    return table.reset_index(drop=True)


def branch_shares_table(branches: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Kinds of branches in each part of the front: a row a part and kind, absent kinds too.

    ``branches`` is a ``branches_table``, ``parts`` a :func:`front_parts`. Columns: ``part``,
    ``part_index``, ``kind``, ``networks`` (with such a branch), ``cells`` (with one),
    ``cell_share``, ``channel_share`` (of the channels that cells put out), ``mean_channels`` (of
    such a branch; NaN where there is none).
    """
    joined = branches.merge(parts[["number", "part", "part_index"]], on="number")
    rows = []
    for index in sorted(parts["part_index"].unique()):
        part = joined[joined["part_index"] == index]
        name = parts.loc[parts["part_index"] == index, "part"].iloc[0]
        cells = part.drop_duplicates(["number", "stage", "cell"])
        for kind in sorted_kinds(joined):
            own = part[part["kind"] == kind]
            with_kind = own.drop_duplicates(["number", "stage", "cell"])
            rows.append(
                (
                    name,
                    int(index),
                    kind,
                    own["number"].nunique(),
                    len(with_kind),
                    len(with_kind) / len(cells) if len(cells) else 0.0,
                    own["channels"].sum() / (part["channels"].sum() or 1),
                    own["channels"].mean(),
                )
            )
    return pd.DataFrame(rows, columns=SHARE_COLUMNS)


def sorted_kinds(branches: pd.DataFrame) -> list[str]:
    """The kinds of branches there are: kernels by their size, then poolings, then the identity."""

    def key(kind: str) -> tuple[bool, int, int, str]:
        digits = [int(digit) for digit in kind.replace("+", "x").split("x") if digit.isdigit()]
        return (not digits, sum(digit - 1 for digit in digits), len(digits), kind)

    return sorted(branches["kind"].unique(), key=key)


def survival_table(
    branches: pd.DataFrame, trials: pd.DataFrame, objectives: Sequence[str]
) -> pd.DataFrame:
    """Which kinds of branches the front kept, of those that were tried: a row a kind.

    Only networks that occur in ``branches`` count, so rows of some stages alone may be given.
    Columns: ``kind``, ``proposed`` (networks with such a branch), ``proposed_share``, ``front``
    (those of the front), ``front_share``, ``low`` and ``high`` (its 95 % interval: E. Wilson,
    J. American Statistical Association 22, 1927), ``lift`` (front share over proposed share).
    """
    from scipy.stats import binomtest

    known = set(branches["number"])
    front = set(front_table(trials, objectives)["number"]) & known
    rows = []
    for kind in sorted_kinds(branches):
        having = set(branches.loc[branches["kind"] == kind, "number"])
        kept, share = len(having & front), len(having) / len(known)
        if front:
            interval = binomtest(kept, len(front)).proportion_ci(method="wilson")
            ends = (kept / len(front), float(interval.low), float(interval.high))
        else:
            ends = (float("nan"),) * 3
        rows.append((kind, len(having), share, kept, *ends, ends[0] / share))
    return pd.DataFrame(rows, columns=SURVIVAL_COLUMNS)


def reduction_places_table(reductions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Where reductions went, front networks first and the cheapest of each standing first.

    ``reductions`` is a ``reductions_table``, ``table`` a ``trials_table``. Columns: ``row`` (one a
    network, from 0), ``number``, ``standing``, ``error`` (the last one seen), ``macs``, and those
    of the reduction: ``index``, ``kind``, ``after_cells``, ``cells``, ``position``.
    """
    known = table[table["number"].isin(reductions["number"])]
    known = known.assign(
        rank=(known["standing"] != "front").astype(int), error=known["shown_error"]
    )
    known = known.sort_values(["rank", "macs", "number"]).reset_index(drop=True)
    known = known.assign(row=np.arange(len(known)))
    joined = known[["row", "number", "standing", "error", "macs"]].merge(reductions, on="number")
    return joined.sort_values(["row", "index"])[PLACE_COLUMNS].reset_index(drop=True)
