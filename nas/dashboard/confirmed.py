"""What a confirmation says of one trial, as a fact of the architecture view.

Left out: the table and the verdict, which ``nas show`` and the report have.
"""

from __future__ import annotations

import math

from nas.analysis.confirmed_summary import ConfirmedSummary, find_summary
from nas.analysis.figures import percent
from nas.dashboard.source import Snapshot


def confirmed_fact(snapshot: Snapshot, number: int) -> list[tuple[str, str, str]]:
    """Label, value and remark: the trial's error at full budget; nothing where it has none."""
    summary = snapshot.computed("_confirmed", _summary)
    if summary is None:
        return []
    rows = summary.table
    found = rows[(rows["number"] == number) & rows["mean"].notna()].to_dict("records")
    if not found:
        return []
    row = found[0]
    seeds = f"{row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"
    if math.isnan(row["high"]):
        return [("at full budget", percent(row["mean"]), seeds)]
    interval = f"{percent(row['mean'])} \N{PLUS-MINUS SIGN} {100 * (row['high'] - row['mean']):.1f}"
    chance = f"on the front with probability {row['front_probability']:.2f}"
    return [("at full budget", interval, f"{seeds}; {chance}")]


def _summary(snapshot: Snapshot) -> ConfirmedSummary | None:
    return find_summary(snapshot.run)
