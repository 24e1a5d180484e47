"""What other drivers have done to a study since the last look: few statements, new rows only.

All rows of a shared study are added under its lock (:mod:`nas.records.sharing`), so ids become
visible in their order and "after the last id" misses none. Finished trials never change; those
that go on are looked at again, each time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy

from nas.architecture import Architecture
from nas.cost import LATENCY
from nas.records import schema
from nas.records.columns import TrialReader, read_json, value_reader
from nas.records.drivers import Drivers, read_drivers
from nas.records.schema import TrialRow
from nas.records.stored import COSTS, Outcome, Proposal, RunSettings, Stop

OWNER = "owner"
"""The attribute that names the driver which runs a trial; empty where it was given up."""


@dataclass(frozen=True)
class TrialNews:
    """A trial that is new, has ended or goes on, as the study has it now.

    ``proposal`` is there the first time only; ``outcome`` is None while it goes on. ``owner`` is
    the stored text of its owner's name, None where no driver ever shared it.
    """

    number: int
    proposal: Proposal | None
    outcome: Outcome | None
    curve: list[list[float | None]]
    owner: str | None


@dataclass(frozen=True)
class News:
    """The trials in the order of their numbers, and the drivers there are."""

    trials: list[TrialNews]
    drivers: Drivers
    given_up_seconds: float


class NewsReader:
    """Reads what is new in one study; it remembers how far it has read."""

    def __init__(self, settings: RunSettings, study_id: int) -> None:
        self._reader, self._study_id = TrialReader(settings), study_id
        self._last_id = 0
        self._open: dict[int, int] = {}
        self._value_readers: dict[str, Callable[[float], Any]] = {}

    def read(self, connection: sqlalchemy.Connection) -> News:
        """All that is new.

        Raises:
            ValueError: a trial's data are damaged.
        """
        rows = schema.trials_since(connection, self._study_id, self._last_id, list(self._open))
        trials = self._trials(connection, rows) if rows else []
        drivers = read_drivers(connection, self._study_id)
        given_up = schema.study_attribute(connection, self._study_id, "given_up_seconds")
        self._last_id = max(self._last_id, *(row.trial_id for row in rows), 0)
        self._open.update({row.trial_id: row.number for row in rows if not row.is_finished})
        for row in rows:
            if row.is_finished:
                self._open.pop(row.trial_id, None)
        return News(trials, drivers, float(given_up or 0.0))

    def know(self, trial_ids: Mapping[int, int], *, is_open: bool) -> None:
        """Trials (number by id) that the caller has written itself, in order."""
        for trial_id, number in trial_ids.items():
            self._last_id = max(self._last_id, trial_id)
            if is_open:
                self._open[trial_id] = number
            else:
                self._open.pop(trial_id, None)

    def trial_id(self, number: int) -> int:
        """The id of a trial that goes on, as far as was read."""
        return next(trial_id for trial_id, known in self._open.items() if known == number)

    def _trials(
        self, connection: sqlalchemy.Connection, rows: Sequence[TrialRow]
    ) -> list[TrialNews]:
        new = [row for row in rows if row.trial_id not in self._open]
        told = {row.trial_id: row for row in rows if row.is_finished or row in new}
        table = self._reader.read(connection, list(told.values())).to_pylist()
        data = {row["trial_id"]: row for row in table}
        proposals = self._proposals(connection, [data[row.trial_id] for row in new])
        ids = [row.trial_id for row in rows]
        attributes = schema.attributes(connection, ids, ("curve", OWNER))
        news = []
        for row in sorted(rows, key=lambda one: one.number):
            found = attributes.get(row.trial_id, {})
            news.append(
                TrialNews(
                    number=row.number,
                    proposal=proposals.get(row.trial_id),
                    outcome=_outcome(data[row.trial_id]) if row.is_finished else None,
                    curve=read_json(found.get("curve", "[]"), row.number, "curve", list),
                    owner=found.get(OWNER),
                )
            )
        return news

    def _proposals(
        self, connection: sqlalchemy.Connection, new: Sequence[Mapping[str, Any]]
    ) -> dict[int, Proposal]:
        ids = [row["trial_id"] for row in new]
        values: dict[int, dict[str, Any]] = {trial_id: {} for trial_id in ids}
        for trial_id, name, value, text in schema.parameters(connection, ids):
            if text not in self._value_readers:
                self._value_readers[text] = value_reader(text)
            values[trial_id][name] = self._value_readers[text](value)
        states: dict[int, dict[str, Any]] = {}
        for trial_id, key, text in schema.system_attributes_of(connection, ids):
            states.setdefault(trial_id, {})[key] = json.loads(text)
        return {
            row["trial_id"]: _proposal(row, values[row["trial_id"]], states.get(row["trial_id"]))
            for row in new
        }


def _proposal(
    row: Mapping[str, Any], values: dict[str, Any], state: dict[str, Any] | None
) -> Proposal:
    costs: dict[str, float] = {name: int(row[name]) for name in COSTS}
    latency = row[LATENCY]
    if latency is not None and not math.isnan(latency):
        costs[LATENCY] = float(latency)
    return Proposal(
        architecture=Architecture.from_json(row["architecture"]),
        values=values,
        costs=costs,
        proxy_fingerprint=row["proxy_fingerprint"],
        seed=row["seed"],
        origin=row["origin"],
        sampler_state=state or {},
        expected_share=row["expected_share"],
    )


def _outcome(row: Mapping[str, Any]) -> Outcome:
    stop = json.loads(row["stop"]) if row["stop"] else None
    return Outcome(
        row["state"],
        error=row["error"],
        epochs=row["epochs"],
        train_seconds=row["train_seconds"],
        reused=row["reused"],
        reason=row["reason"],
        is_lost=row["is_lost"],
        stop=None if stop is None else Stop(**{**stop, "dominated_by": (*stop["dominated_by"],)}),
    )
