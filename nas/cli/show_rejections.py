"""What ``nas show`` says of proposals that were rejected: how many, and the last ones in full."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.records import Run


def print_counts(
    counts: Mapping[str, int], budgets: Mapping[str, float], kept: int, command: str
) -> None:
    """How many were rejected for what; ``command`` shows those ``kept`` in full."""
    from nas.analysis.rejected import reason_words
    from nas.analysis.tables import rejections_table
    from nas.cli.console import print_table, print_text

    rows = rejections_table(counts).to_dict("records")
    print_table(
        (">proposals", "rejected without training, because"),
        [(f"{row['proposals']:,}", reason_words(str(row["reason"]), budgets)) for row in rows],
    )
    if kept:
        print_text("The last one in full:" if kept == 1 else f"The last {kept} in full:")
        print(f"  {command}")


def rejections_data(run: Run, before: int | None = None) -> dict[str, Any]:
    """The counts and the last rejections, as plain data; ``before`` keeps those of one trial."""
    from nas.analysis.rejected import rejected_table

    table = rejected_table(run)
    if before is not None:
        table = table[table["before"] == before]
    whole = ("before", "trial", "cells", "macs", "params", "activation_bytes")
    rows = [
        {
            str(name): int(value) if name in whole and not math.isnan(value) else value
            for name, value in row.items()
        }
        for row in table.to_dict("records")
    ]
    return {
        "run": run.name,
        "counts": dict(run.rejections.counts),
        "total": run.rejections.total,
        "rejections": rows,
    }


def print_rejections(data: Mapping[str, Any], before: int | None = None) -> None:
    """The last rejections in full, the newest last."""
    from nas.cli.console import print_table, print_text

    rows, total = data["rejections"], data["total"]
    place = "" if before is None else f" in the place of trial {before}"
    if not rows:
        kept = f"; of {total:,} that were in all, the last are kept" if place and total else ""
        print_text(f"No proposal was rejected{place}{kept}.")
        return
    print_table(
        (">before trial", "rejected, because", ">MACs (M)", ">params (K)", ">cells"),
        [
            (
                _number(row["before"], "{:d}"),
                _reason(row),
                _number(row["macs"], "{:,.2f}", 1e6),
                _number(row["params"], "{:,.1f}", 1e3),
                _number(row["cells"], "{:d}"),
            )
            for row in rows
        ],
        title=f"The last {len(rows)} of {total:,} proposals that were rejected{place}",
    )


def _reason(row: Mapping[str, Any]) -> str:
    from nas.analysis.rejected import REPEAT

    is_known = row["kind"] == REPEAT and not math.isnan(row["trial"])
    return f"the same network as trial {row['trial']}" if is_known else str(row["reason"])


def _number(value: float, form: str, unit: float = 0) -> str:
    """A number in its unit, or nothing where it is not known."""
    if math.isnan(value):
        return ""
    return form.format(value / unit if unit else int(value))
