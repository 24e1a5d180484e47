"""Few enough marks to draw: of many trials that lie over one another one is kept.

Nothing that one looks for is dropped: the front and presets stay.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

LIMIT = 1_000
"""Marks of one standing: about what the eye can tell apart on a page."""

# The finest grid is of 1/512 of a decade of cost by 1/2048 of the error; each step doubles one.
_DECADE_CELLS, _ERROR_CELLS = 512.0, 2048.0


def thinned_table(table: pd.DataFrame, x: str, *, limit: int = LIMIT) -> pd.DataFrame:
    """The rows of a ``trials_table`` to draw: of each standing at most about ``limit``.

    Where there are more, the plane of cost (in decades) and error is cut into cells that are just
    large enough, and the earliest trial of each cell stays. Cells do not depend on the trials, so
    that a mark stays where it is while others come. Trials on the front and presets always stay.
    The column ``of`` says how many rows the standing has in all.
    """
    of = table.groupby("standing")["standing"].transform("size")
    kept = np.ones(len(table), dtype=bool)
    for standing, rows in table.groupby("standing"):
        if standing != "front" and len(rows) > limit:
            kept[rows.index] = _one_a_cell(rows, x, limit)
    kept |= (table["landmark"] != "").to_numpy()
    return table.assign(of=of)[kept].reset_index(drop=True)


def _one_a_cell(rows: pd.DataFrame, x: str, limit: int) -> np.ndarray:
    cost = np.log10(np.maximum(rows[x].to_numpy(dtype=float), 1.0))
    # What has no error yet is drawn on one line.
    error = rows["shown_error"].fillna(-1.0).to_numpy(dtype=float)
    across, up = _DECADE_CELLS, _ERROR_CELLS
    while True:
        cells = pd.DataFrame({"x": np.floor(cost * across), "y": np.floor(error * up)})
        is_first = ~cells.duplicated().to_numpy()
        if is_first.sum() <= limit or up < 1:
            return is_first
        # By turns, so that each step drops at most about half.
        across, up = (across / 2, up) if across * 4 > up else (across, up / 2)
