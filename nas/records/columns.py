"""Rows of the storage as Arrow tables: trials, learning curves and choices, one batch at a time.

Each :class:`Reader` makes one of a run's three tables. A table holds ``trial_id`` and ``number``
besides its own columns and is sorted by ``number``; the frames that users see are made of it in
:mod:`nas.records.frames`. Nothing is kept between batches but what speeds up the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy

from nas.records import schema
from nas.records.parsing import load_json, read_as, shown
from nas.records.schema import TrialRow
from nas.records.stored import COSTS, CURVE_COLUMNS, STATES, TRIAL_COLUMNS, RunSettings, Stop

_ARROW: dict[str, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.large_string(),
    "datetime64[us]": pa.timestamp("us"),
}

INACTIVE = -1
"""The position of a choice that does not matter in its trial."""


class Reader(Protocol):
    """How one of a run's tables is read; ``name`` is that of its property."""

    name: str

    @property
    def schema(self) -> Any:
        """The Arrow schema."""

    def read(self, connection: sqlalchemy.Connection, trials: Sequence[TrialRow]) -> Any:
        """The rows of these trials, sorted by number.

        Raises:
            ValueError: a trial's data are damaged; the message names it.
        """


class TrialReader:
    """One row a trial: the columns of ``Run.trials``, and three that the run itself needs."""

    name = "trials"
    schema = pa.schema(
        [
            ("trial_id", pa.int64()),
            *((name, _ARROW[kind]) for name, kind in TRIAL_COLUMNS.items()),
            ("elapsed_seconds", pa.float64()),
            ("is_lost", pa.bool_()),
            ("stop", pa.large_string()),
        ]
    )

    def __init__(self, settings: RunSettings) -> None:
        self._objective = settings.objectives.index("error")

    def read(self, connection: sqlalchemy.Connection, trials: Sequence[TrialRow]) -> Any:
        """See :class:`Reader`."""
        trials = sorted(trials, key=lambda trial: trial.number)
        ids = [trial.trial_id for trial in trials]
        found = schema.attributes(connection, ids, ("proposal", "result", "interrupted"))
        errors = schema.objective_values(connection, ids, self._objective)
        rows = [_trial_row(trial, found.get(trial.trial_id, {}), errors) for trial in trials]
        columns = {
            name: [row[name] for row in rows]
            for name in self.schema.names
            if name not in ("started", "finished")
        }
        for name in ("started", "finished"):
            columns[name] = _times([getattr(trial, name) for trial in trials])
        table = pa.table({name: columns[name] for name in self.schema.names}, schema=self.schema)
        return _whole_table(table, _MAY_LACK)


class CurveReader:
    """One row a trial and rung: the columns of ``Run.curves``."""

    name = "curves"
    schema = pa.schema(
        [
            ("trial_id", pa.int64()),
            *((name, _ARROW[kind]) for name, kind in CURVE_COLUMNS.items()),
        ]
    )

    def read(self, connection: sqlalchemy.Connection, trials: Sequence[TrialRow]) -> Any:
        """See :class:`Reader`."""
        found = schema.attributes(connection, [trial.trial_id for trial in trials], ("curve",))
        # Older versions stored no seconds of set-up.
        width = len(CURVE_COLUMNS) - 1
        rows = [
            (trial.trial_id, trial.number, *point, *[0.0] * (width - len(point)))
            for trial in sorted(trials, key=lambda trial: trial.number)
            for point in _points(trial, found.get(trial.trial_id, {}).get("curve", "[]"), width)
        ]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.schema)
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(columns, self.schema, strict=True)
        ]
        table = pa.Table.from_arrays(arrays, schema=self.schema)
        return _whole_table(table, frozenset(CURVE_COLUMNS) - {"epoch"})


class ChoiceReader:
    """One row a trial with parameters, and a column a choice of the space.

    A column holds where the choice's value stands among the values of its domain, or
    :data:`INACTIVE`.
    """

    name = "choices"

    def __init__(self, settings: RunSettings) -> None:
        self._space_json = settings.space
        self._known: dict[tuple[str, str, float], tuple[int, int]] = {}

    @cached_property
    def space(self) -> Any:
        """The run's search space."""
        from nas.space import SearchSpace

        return SearchSpace.from_json(self._space_json)

    @cached_property
    def schema(self) -> Any:
        """See :class:`Reader`."""
        choices = [(name, pa.int32()) for name in self.space.parameters]
        return pa.schema([("trial_id", pa.int64()), ("number", pa.int64()), *choices])

    def read(self, connection: sqlalchemy.Connection, trials: Sequence[TrialRow]) -> Any:
        """See :class:`Reader`."""
        numbers = {trial.trial_id: trial.number for trial in trials}
        parameters = schema.parameters(connection, list(numbers))
        ids = np.fromiter((row[0] for row in parameters), np.int64, len(parameters))
        places = [self._place(*row[1:]) for row in parameters]
        kept = np.array(sorted(set(ids.tolist()), key=numbers.__getitem__), dtype=np.int64)
        order = np.argsort(kept)
        rows = order[np.searchsorted(kept, ids, sorter=order)] if len(kept) else ids
        # One column more, for what is no choice of the space.
        positions = np.full((len(kept), len(self.space.parameters) + 1), INACTIVE, dtype=np.int32)
        columns = np.fromiter((column for column, _ in places), np.int64, len(places))
        positions[rows, columns] = np.fromiter((at for _, at in places), np.int64, len(places))
        strange = (positions[:, :-1] == INACTIVE).any(axis=1) | (positions[:, -1] != INACTIVE)
        positions = positions[:, :-1]
        mask = self.space.active_mask(np.maximum(positions, 0))
        for row in np.flatnonzero(strange):
            mask[row] = self._active(parameters, int(kept[row]))
        positions[~mask] = INACTIVE
        arrays = [
            pa.array(kept, type=pa.int64()),
            pa.array([numbers[trial_id] for trial_id in kept.tolist()], type=pa.int64()),
            *(pa.array(column, type=pa.int32()) for column in positions.T.copy()),
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _place(self, name: str, value: float, distribution: str) -> tuple[int, int]:
        """The column of a parameter and where its value stands in its domain."""
        key = (name, distribution, value)
        place = self._known.get(key)
        if place is None:
            place = self._known[key] = self._find(name, value, distribution)
        return place

    def _find(self, name: str, value: float, distribution: str) -> tuple[int, int]:
        names = list(self.space.parameters)
        if name not in self.space.parameters:
            return len(names), 0
        domain = self.space.parameters[name]
        try:
            found = domain.find(value_reader(distribution)(value))
        except ValueError:
            return names.index(name), INACTIVE
        same = [at for at, one in enumerate(domain.values) if one is found or _equal(one, found)]
        return names.index(name), same[0]

    def _active(self, parameters: Sequence[Any], trial_id: int) -> list[bool]:
        """As the space itself judges a trial that lacks a choice or has a value not in it."""
        values = {
            name: value_reader(distribution)(value)
            for owner, name, value, distribution in parameters
            if owner == trial_id
        }
        active = self.space.active(values)
        return [name in active for name in self.space.parameters]


def value_reader(distribution: str) -> Callable[[float], Any]:
    """From Optuna's internal value of a parameter to its own, by its distribution's JSON.

    Raises:
        ValueError: there is no such distribution; what is returned, if it has no such value.
    """
    what = "the distribution of a parameter"
    data = load_json(distribution, what)
    try:
        kind, settings = data["name"], data["attributes"]
        choices = settings["choices"] if kind == "CategoricalDistribution" else None
    except (KeyError, TypeError):
        raise ValueError(f"{what} is damaged: {shown(distribution)}") from None
    if choices is None:
        return _whole if kind == "IntDistribution" else float

    def choice(value: float) -> Any:
        if not isinstance(choices, list) or not 0 <= int(value) < len(choices):
            raise ValueError(f"{what} is damaged: it has no choice {value:g}")
        return choices[int(value)]

    return choice


def _whole(value: float) -> int:
    return int(value)


def read_json(text: str, trial: int, key: str, kind: type) -> Any:
    """What an attribute of a trial holds.

    Raises:
        ValueError: it is not whole, or not of that kind; the message names trial and attribute.
    """
    data = load_json(text, f"trial {trial}: its {key!r}")
    if not isinstance(data, kind):
        raise ValueError(f"trial {trial}: its {key!r} is damaged: it is no {kind.__name__}")
    return data


def _trial_row(
    trial: TrialRow, found: Mapping[str, str], errors: Mapping[int, float]
) -> dict[str, Any]:
    known = read_json(found.get("proposal", "{}"), trial.number, "proposal", dict)
    result = read_json(found.get("result", "{}"), trial.number, "result", dict)
    state = STATES.get(trial.state)
    if state is None:
        raise ValueError(f"trial {trial.number}: has state {shown(trial.state)}, which is unknown")
    ended = state != "running"
    interrupted = "interrupted" if "interrupted" in found else ""
    costs = known.get("costs", {})
    if not isinstance(costs, dict):
        raise ValueError(f"trial {trial.number}: its 'proposal' is damaged: its costs are none")
    what = f"trial {trial.number}: its 'result'"
    seconds = read_as(float, result.get("elapsed_seconds", 0.0), what)
    stop = read_as(Stop, result["stop"], what) if result.get("stop") else None
    return {
        "trial_id": trial.trial_id,
        "number": trial.number,
        "state": state,
        "error": errors.get(trial.trial_id) if state == "complete" else None,
        **{name: costs.get(name, 0) for name in COSTS},
        "latency_ms": costs.get("latency_ms"),
        "fingerprint": known.get("fingerprint", ""),
        "proxy_fingerprint": known.get("proxy_fingerprint", ""),
        "seed": known.get("seed", 0),
        "epochs": result.get("epochs", 0) if ended else 0,
        "train_seconds": result.get("train_seconds", 0.0) if ended else 0.0,
        "reason": result.get("reason", "") if ended else interrupted,
        "origin": known.get("origin", ""),
        "expected_share": known.get("expected_share"),
        "reused": bool(result.get("reused", False)) if ended else False,
        "architecture": known.get("architecture", ""),
        "elapsed_seconds": seconds,
        "is_lost": bool(result.get("lost", False)),
        "stop": json.dumps(asdict(stop)) if stop is not None else "",
    }


_MAY_LACK = frozenset({"error", "latency_ms", "expected_share", "started", "finished"})


def _whole_table(table: Any, may_lack: frozenset[str]) -> Any:
    """The table, if only columns that may lack values do.

    Raises:
        pyarrow.ArrowInvalid: another one does.
    """
    for name in table.schema.names:
        if name not in may_lack and table[name].null_count:
            raise pa.ArrowInvalid(f"it has no {name}")
    return table


def _points(trial: TrialRow, text: str, width: int) -> list[list[float | None]]:
    points: list[list[float | None]] = read_json(text, trial.number, "curve", list)
    for point in points:
        if not isinstance(point, list) or not 0 < len(point) <= width:
            raise ValueError(
                f"trial {trial.number}: its 'curve' is damaged: {shown(point)} is no point"
            )
    return points


def _times(values: list[Any]) -> Any:
    times = pd.to_datetime(pd.Series(values, dtype="object")).astype("datetime64[us]")
    return pa.array(times, type=pa.timestamp("us"), from_pandas=True)


def _equal(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
