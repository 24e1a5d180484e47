"""Trials as rows of a grid and of a file: which columns there are, how a cell reads.

The grid in the browser holds a window of rows; sorting and filtering happen here, on all of them.
Left out: the models that it sends (:mod:`nas.dashboard.grid_query`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.cost import COST_LABELS, LATENCY, format_cost
from nas.dashboard.brush import Brush, column_words, word
from nas.dashboard.grid_query import queried_rows
from nas.dashboard.held import Held
from nas.dashboard.passing import choice_names, passing
from nas.dashboard.source import Snapshot
from nas.dashboard.views.front import standings
from nas.quantities import format_count, format_seconds
from nas.records.stored import COSTS

MAX_ROWS = 500
"""Rows that one answer has; the grid asks for a block of 100."""

EXACT = "exact:"
"""Before the name of a cost, in a row: its value in full, which the cell shortens."""

Kind = Literal["number", "text", "time"]


@dataclass(frozen=True)
class Column:
    """A column: its name in frames, its heading, what its values are, and how one reads."""

    name: str
    title: str
    kind: Kind
    width: int
    words: Callable[[Any], str] = str
    is_exact: bool = False


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def _error(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _moment(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:%Y-%m-%d %H:%M:%S}"


def _latency(value: Any) -> str:
    return "" if pd.isna(value) else format_cost(LATENCY, value)


_COSTS = [
    Column(name, COST_LABELS[name], "number", width, format_count, is_exact=True)
    for name, width in zip(COSTS, (104, 120, 136, 176), strict=True)
]
COLUMNS = {
    column.name: column
    for column in (
        Column("number", "trial", "number", 92, str),
        Column("standing", "standing", "text", 118),
        Column("error", "error (%)", "number", 112, _error),
        Column("last_error", "last error seen (%)", "number", 160, _error),
        *_COSTS,
        Column(LATENCY, "latency", "number", 112, _latency),
        Column("epochs", "epochs", "number", 98, str),
        Column("train_seconds", "training", "number", 112, format_seconds),
        Column("origin", "origin", "text", 160),
        Column("reason", "reason", "text", 300),
        Column("dominated_by", "dominated by", "text", 150),
        Column("reused", "from cache", "text", 116),
        Column("started", "started", "time", 182, _moment),
        Column("finished", "ended", "time", 182, _moment),
        Column("seed", "seed", "number", 96, str),
        Column("fingerprint", "fingerprint", "text", 176),
    )
}
"""The columns that every run has; choices come after them."""

FIRST_COLUMNS = (
    "number", "standing", "error", "macs", "params", "activation_bytes", "epochs",
    "train_seconds", "origin", "reason",
)  # fmt: skip
"""What is shown unless other columns are asked for."""


def column(name: str, choices: pd.DataFrame) -> Column:
    """The column of a name that exists: one of :data:`COLUMNS`, or a choice."""
    if name in COLUMNS:
        return COLUMNS[name]
    is_number = pd.api.types.is_numeric_dtype(choices[name]) and not pd.api.types.is_bool_dtype(
        choices[name]
    )
    return Column(name, name, "number" if is_number else "text", 90 + 7 * min(len(name), 24))


def column_names(snapshot: Snapshot) -> list[str]:
    """All columns that the run's trials can be shown with."""
    return [*COLUMNS, *choice_names(snapshot)]


def grid_frame(snapshot: Snapshot) -> pd.DataFrame:
    """A row a trial with the columns of :data:`COLUMNS`; errors in percent."""

    def make(one: Snapshot) -> pd.DataFrame:
        table, trials = standings(one), one.trials.reset_index(drop=True)
        own = {name: trials[name] for name in ("started", "finished", "seed", "fingerprint")}
        frame = table.assign(
            error=100 * table["error"],
            last_error=100 * table["shown_error"],
            reused=np.where(table["reused"], "yes", ""),
            **own,
        )
        return frame[list(COLUMNS)]

    frame: pd.DataFrame = snapshot.computed("trials-grid", make)
    return frame


@dataclass(frozen=True)
class Query:
    """What is asked of the trials: a standing ("" for all), a brush, and the grid's own models."""

    standing: str
    brush: Brush
    sort: object = None
    filters: object = None

    @property
    def key(self) -> str:
        """Equal queries have equal keys."""
        return json.dumps([self.standing, self.brush.to_text(), self.sort, self.filters])


def found_rows(snapshot: Snapshot, query: Query, held: Held) -> NDArray[np.int64]:
    """The positions of the trials that pass, in order, in ``grid_frame``.

    Raises:
        ValueError: the models are none, or name no column of the run.
    """

    def make() -> NDArray[np.int64]:
        frame = grid_frame(snapshot)
        asked = [name for name in _asked(query) if name not in frame.columns]
        if asked:
            frame = frame.join(choice_columns(snapshot, asked))
        rows = queried_rows(frame, query.sort, query.filters)
        kept = np.ones(len(frame), dtype=bool)
        if query.standing:
            kept &= (frame["standing"] == query.standing).to_numpy()
        if query.brush:
            kept &= frame["number"].isin(passing(snapshot, query.brush)["number"]).to_numpy()
        return rows[kept[rows]]

    return held.get((snapshot.name, snapshot.version, query.key), make)


def _asked(query: Query) -> list[str]:
    """The columns that the models name, as far as they are models."""
    sort = query.sort if isinstance(query.sort, list) else []
    names = [item.get("colId") for item in sort if isinstance(item, Mapping)]
    names += list(query.filters) if isinstance(query.filters, Mapping) else []
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def choice_columns(snapshot: Snapshot, names: Sequence[str]) -> pd.DataFrame:
    """Some choices, in the rows of ``grid_frame``; names that are no choices are left out."""
    known = choice_names(snapshot)
    choices = snapshot.choices.set_index("number")[[name for name in names if name in known]]
    return choices.reindex(grid_frame(snapshot)["number"]).reset_index(drop=True)


def page_rows(
    snapshot: Snapshot, rows: NDArray[np.int64], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows as the grid shows them: words for each column, and the trial's number as it is."""
    frame = grid_frame(snapshot).iloc[rows[:MAX_ROWS]]
    page: dict[str, list[Any]] = {}
    for name, own in COLUMNS.items():
        if name in names:
            page[name] = [own.words(value) for value in frame[name]]
            if own.is_exact:
                page[EXACT + name] = [f"{value:,}" for value in frame[name]]
    wanted = [name for name in names if name not in COLUMNS]
    if wanted:
        chosen = choice_columns(snapshot, wanted).iloc[rows[:MAX_ROWS]]
        for name in chosen.columns:
            page[name] = ["" if pd.isna(value) else word(value) for value in chosen[name]]
    page["number"] = frame["number"].tolist()
    page["id"] = frame["number"].astype(str).tolist()
    return [dict(zip(page, row, strict=True)) for row in zip(*page.values(), strict=True)]


def file_frame(snapshot: Snapshot, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Rows for a file: all columns and choices, values as they are, errors between 0 and 1."""
    frame = grid_frame(snapshot).iloc[rows].reset_index(drop=True)
    frame = frame.assign(
        error=frame["error"] / 100,
        last_error=frame["last_error"] / 100,
        reused=frame["reused"] != "",
    )
    choices = choice_columns(snapshot, choice_names(snapshot)).iloc[rows].reset_index(drop=True)
    for name in choices.columns:
        if choices[name].dtype == object:
            # A column of numbers and words has one type in a file: text.
            words = column_words(choices[name])
            choices[name] = words.where(choices[name].notna(), None)
    return pd.concat([frame, choices], axis=1)
