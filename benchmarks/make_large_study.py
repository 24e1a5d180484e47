"""A run as a long search leaves it, written by SQL: 100,000 trials of 40 parameters in minutes.

    python benchmarks/make_large_study.py results/large [--trials 100000] [--seed 0] [--running 4]

Architectures are random ones of a space with 40 choices, their costs are counted, and errors and
curves are made up: what matters is that every row lies in the storage as Optuna and the writer of
:mod:`nas.records.writing` leave it. The study itself is created by them; trials are inserted
table by table, which takes a fiftieth of the time. tests/test_large_study.py writes the same
trials both ways and compares all rows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
    distribution_to_json,
)

from nas.architecture import Architecture, Shape
from nas.cost import count_cost
from nas.records import Ended, Location, Outcome, Proposal, RunSettings, locate
from nas.records.stored import COSTS
from nas.records.writing import RunWriter, create_run
from nas.space import SearchSpace
from nas.space.domains import Range
from nas.task import RECIPES, Proxy, Target, Task

FORTY_CHOICES = """
format: 1
name: forty
description: Forty choices, as many as the large studies of this benchmark have.
stem:
  - {op: conv, kernel: 3, stride: 2, channels: [16, 32, 48]}
stages:
  count: [2, 3]
  cells: {low: 1, high: 2}
cell:
  residual: {options: [false, true], scope: network}
  branches:
    1x1: {forms: 1x1, channels: {low: 16, high: 128, step: 16}}
    3x3:
      present: {options: [false, true], scope: stage}
      forms: 3x3
      reduce: {options: [none, 16, 32, 64], scope: stage}
      channels: {low: 16, high: 192, step: 16}
    5x5:
      present: {options: [false, true], scope: stage}
      forms: {options: [5x5, 3x3+3x3], scope: network}
      reduce: {options: [8, 16, 32], scope: stage}
      channels: {options: [16, 24, 32], scope: stage}
    pool:
      pool: {options: [max, avg], scope: network}
      channels: {options: [8, 16, 32], scope: network}
reductions:
  kind: [max, conv]
  conv: {kernel: 3, channels: [64, 96]}
head:
  dropout: 0.2
"""
OBJECTIVES = ("error", "macs")
IMAGE, CLASSES = Shape(1, 28, 28), 10
START = datetime(2026, 1, 1, 10)
SECONDS = 2.0
"""Between one trial's start and the next one's."""

CHUNK = 2_000
"""Trials that are written in one transaction."""


@dataclass(frozen=True)
class Trial:
    """One trial before it is written; ``outcome`` is None while it runs."""

    number: int
    proposal: Proposal
    curve: list[list[float]]
    outcome: Outcome | None
    started: datetime
    finished: datetime | None
    elapsed_seconds: float


def forty_choices() -> SearchSpace:
    """The space of 40 choices."""
    return SearchSpace.from_yaml(FORTY_CHOICES, "forty")


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The space's parameters as Optuna stores them."""
    return {
        name: IntDistribution(domain.low, domain.high, step=domain.step)
        if isinstance(domain, Range)
        else CategoricalDistribution(domain.values)
        for name, domain in space.parameters.items()
    }


def create_large_study(location: Location, space: SearchSpace, seed: int = 0) -> None:
    """An empty run of the space."""
    task = Task(
        data="fashion-mnist-mini",
        target=Target(image=IMAGE, classes=CLASSES),
        proxy=Proxy(width=0.25, images=4096, epochs=8),
        recipe=RECIPES["default"],
        precision="float32",
        validation_images=2000,
    )
    settings = RunSettings(
        space=space.to_json(),
        task=task.to_json(),
        objectives=OBJECTIVES,
        reference=(0.9, 2e9),
        seed=seed,
        sampler="nsga2",
        budgets={},
        created=START.isoformat(timespec="seconds"),
        versions={"inception-nas": "0.1.0", "torch": "2.11.0", "optuna": "5.0.0"},
        device="cpu",
        precision="float32",
        trials=None,
        halving=True,
    )
    create_run(location, settings)


@dataclass
class TrialMaker:
    """Random trials of a space: most end, some are stopped at a rung, a few fail."""

    space: SearchSpace
    seed: int = 0
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def make(self, number: int, is_running: bool = False) -> Trial:
        """The trial of that number; each call draws anew."""
        rng = self._rng
        domains = self.space.parameters
        values = {
            name: domain.values[int(rng.integers(len(domain.values)))]
            for name, domain in domains.items()
        }
        architecture = self.space.decode(values)
        cost = count_cost(architecture, IMAGE, CLASSES)
        costs = {name: int(getattr(cost, name)) for name in COSTS}
        noise = float(np.exp(rng.normal(0, 0.1)))
        error = min(0.88, 0.06 + 0.45 * (cost.macs / 2e6) ** -0.33 * noise)
        curve = [_point(epoch, error) for epoch in (1, 2, 4, 8)]
        started = START + timedelta(seconds=SECONDS * number)
        outcome = None if is_running else _outcome(number, error, curve)
        kept = 1 if outcome is None else outcome.epochs
        finished = None if outcome is None else started + timedelta(seconds=2.5 * kept)
        return Trial(
            number,
            _proposal(architecture, values, costs, number),
            [point for point in curve if point[0] <= kept],
            outcome,
            started,
            finished,
            SECONDS * number + 2.5 * kept,
        )


def _point(epoch: int, error: float) -> list[float]:
    left = 1 / epoch
    return [epoch, 2.2 * error + left, 2.4 * error + left, error + left / 5, 2.5 * epoch, 0.25]


def _outcome(number: int, error: float, curve: list[list[float]]) -> Outcome:
    if number % 19 == 18:
        return Outcome("failed", epochs=1, train_seconds=2.5, reason="the loss is NaN in epoch 1")
    if number % 3 == 2:
        reason = f"stopped at epoch 2: dominated by trials {number // 2} and {number // 3}"
        return Outcome("pruned", epochs=2, train_seconds=5.0, reason=reason)
    final = curve[-1]
    return Outcome("complete", error, epochs=8, train_seconds=final[4], reused=number % 50 == 49)


def _proposal(
    architecture: Architecture, values: dict[str, Any], costs: dict[str, int], number: int
) -> Proposal:
    fingerprint = architecture.fingerprint
    return Proposal(
        architecture,
        values,
        costs,
        fingerprint[::-1],
        number,
        "sampler:nsga2",
        {"NSGAIISampler:generation": number // 50},
    )


def write_slowly(location: Location, space: SearchSpace, trials: Sequence[Trial]) -> None:
    """Write trials as a search does, a row at a time."""
    writer = RunWriter(location, OBJECTIVES, distributions(space))
    for trial in trials:
        assert writer.add(trial.proposal) == trial.number
        writer.set_curve(trial.number, trial.curve)
        if trial.outcome is not None:
            costs = trial.proposal.costs
            writer.finish(trial.number, costs, trial.outcome, trial.elapsed_seconds)
    writer.close()


def write_fast(location: Location, space: SearchSpace, trials: Sequence[Trial]) -> None:
    """Write the same rows by SQL, all in one transaction."""
    engine = sqlalchemy.create_engine(location.url)
    with engine.begin() as connection:
        ids = {table: _last(connection, table, key) for table, key in _KEYS.items()}
        statement = sqlalchemy.text("SELECT study_id FROM studies WHERE study_name = :name")
        study = connection.execute(statement, {"name": location.name}).scalar_one()
        rows = _Rows(space, int(study), ids)
        for trial in trials:
            rows.add(trial)
        mark = "%s" if engine.dialect.name == "postgresql" else "?"
        for table, columns in _COLUMNS.items():
            marks = ", ".join([mark] * len(columns))
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
            if rows.tables[table]:
                connection.exec_driver_sql(sql, rows.tables[table])
        if engine.dialect.name == "postgresql":
            for table, key in _KEYS.items():
                name = f"pg_get_serial_sequence('{table}', '{key}')"
                last = f"(SELECT MAX({key}) FROM {table})"
                connection.exec_driver_sql(f"SELECT setval({name}, {last})")
    engine.dispose()


_COLUMNS = {
    "trials": ("trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"),
    "trial_params": ("param_id", "trial_id", "param_name", "param_value", "distribution_json"),
    "trial_user_attributes": ("trial_user_attribute_id", "trial_id", "key", "value_json"),
    "trial_system_attributes": ("trial_system_attribute_id", "trial_id", "key", "value_json"),
    "trial_values": ("trial_value_id", "trial_id", "objective", "value", "value_type"),
}
_KEYS = {table: columns[0] for table, columns in _COLUMNS.items()}
_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


class _Rows:
    """The rows of trials, by table; ids go on after the last ones."""

    def __init__(self, space: SearchSpace, study: int, ids: dict[str, int]) -> None:
        self.study, self.ids = study, ids
        self.tables: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
        self.parameters = [
            (name, distribution.to_internal_repr, distribution_to_json(distribution))
            for name, distribution in distributions(space).items()
        ]
        self.internal: dict[tuple[str, Any, type], float] = {}

    def add(self, trial: Trial) -> None:
        proposal, outcome = trial.proposal, trial.outcome
        state = "RUNNING" if outcome is None else _STATES[outcome.state]
        times = [_time(trial.started), trial.finished and _time(trial.finished)]
        owner = self._insert("trials", trial.number, self.study, state, *times)
        for name, to_internal, text in self.parameters:
            value = proposal.values[name]
            key = (name, value, type(value))
            if key not in self.internal:
                self.internal[key] = float(to_internal(value))
            self._insert("trial_params", owner, name, self.internal[key], text)
        self._attribute(owner, "proposal", _proposal_data(proposal))
        self._attribute(owner, "curve", trial.curve)
        for name, value in proposal.sampler_state.items():
            self._insert("trial_system_attributes", owner, name, json.dumps(value))
        if outcome is None:
            return
        self._attribute(owner, "result", _outcome_data(outcome, trial.elapsed_seconds))
        if outcome.state == "complete":
            known = {**proposal.costs, "error": outcome.error}
            for index, name in enumerate(OBJECTIVES):
                self._insert("trial_values", owner, index, float(known[name]), "FINITE")

    def _insert(self, table: str, *values: Any) -> int:
        self.ids[table] += 1
        self.tables[table].append((self.ids[table], *values))
        return self.ids[table]

    def _attribute(self, owner: int, key: str, data: Any) -> None:
        self._insert("trial_user_attributes", owner, key, json.dumps(data))


def _proposal_data(proposal: Proposal) -> dict[str, Any]:
    return {
        "architecture": proposal.architecture.to_json(),
        "fingerprint": proposal.architecture.fingerprint,
        "proxy_fingerprint": proposal.proxy_fingerprint,
        "costs": dict(proposal.costs),
        "seed": proposal.seed,
        "origin": proposal.origin,
    }


def _outcome_data(outcome: Outcome, elapsed_seconds: float) -> dict[str, Any]:
    return {
        "elapsed_seconds": elapsed_seconds,
        "epochs": outcome.epochs,
        "train_seconds": outcome.train_seconds,
        "reused": outcome.reused,
        "reason": outcome.reason,
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _last(connection: sqlalchemy.Connection, table: str, key: str) -> int:
    return int(connection.exec_driver_sql(f"SELECT COALESCE(MAX({key}), 0) FROM {table}").scalar())


def make_large_study(
    location: Location, trials: int, *, seed: int = 0, running: int = 0
) -> Iterator[int]:
    """Write a run of that many trials, the last of them running; yields how many are written."""
    space = forty_choices()
    create_large_study(location, space, seed)
    yield from add_trials(location, trials, seed=seed, running=running)
    writer = RunWriter(location, OBJECTIVES, {})
    writer.set_ended(Ended("interrupted", "stopped by hand", SECONDS * trials))
    writer.close()


def add_trials(
    location: Location, trials: int, *, first: int = 0, seed: int = 0, running: int = 0
) -> Iterator[int]:
    """Add trials from number ``first`` on; yields how many are written so far."""
    space = forty_choices()
    maker = TrialMaker(space, seed + first)
    for start in range(0, trials, CHUNK):
        numbers = range(start, min(start + CHUNK, trials))
        made = [maker.make(first + number, number >= trials - running) for number in numbers]
        write_fast(location, space, made)
        yield numbers.stop


def finish_running(location: Location) -> int:
    """End the trials that run, as complete; how many there were."""
    running = "state = 'RUNNING'"
    done = json.dumps(_outcome_data(Outcome("complete", 0.5, 8, 20.0), 1.0))
    engine = sqlalchemy.create_engine(location.url)
    with engine.begin() as connection:
        found = connection.exec_driver_sql(
            f"SELECT trial_id, datetime_start FROM trials WHERE {running} ORDER BY trial_id"
        ).all()
        ids = {table: _last(connection, table, key) for table, key in _KEYS.items()}
        rows = _Rows(forty_choices(), 0, ids)
        for trial_id, _ in found:
            rows._insert("trial_user_attributes", trial_id, "result", done)
            rows._insert("trial_values", trial_id, 0, 0.5, "FINITE")
            rows._insert("trial_values", trial_id, 1, 1e6, "FINITE")
        mark = "%s" if engine.dialect.name == "postgresql" else "?"
        for table in ("trial_user_attributes", "trial_values"):
            marks = ", ".join([mark] * len(_COLUMNS[table]))
            columns = ", ".join(_COLUMNS[table])
            if found:
                sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
                connection.exec_driver_sql(sql, rows.tables[table])
        now = _time(datetime.now())
        connection.exec_driver_sql(
            f"UPDATE trials SET state = 'COMPLETE', datetime_complete = '{now}' WHERE {running}"
        )
    engine.dispose()
    return len(found)


def main() -> None:
    """Write a run into a directory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path, help="the run's directory, which must not exist")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--running", type=int, default=0, help="of them, at the end")
    options = parser.parse_args()
    if options.directory.exists():
        parser.error(f"{options.directory} exists")
    begun = time.perf_counter()
    location = locate(options.directory.name, options.directory.parent)
    for done in make_large_study(
        location, options.trials, seed=options.seed, running=options.running
    ):
        print(f"\r{done:,} of {options.trials:,} trials", end="", flush=True)
    size = (options.directory / "study.db").stat().st_size / 1e6
    print(f"\n{size:,.0f} MB in {time.perf_counter() - begun:.0f} s: {options.directory}")


if __name__ == "__main__":
    main()
