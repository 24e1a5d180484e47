"""The product's search, whole, over simulated workers: ``run_search`` with its parts watched."""

from __future__ import annotations

import contextlib
import io
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from sqlalchemy import event, func, inspect, select, table
from sqlalchemy.engine import Engine, create_engine

from nas.records import Run, locate
from nas.records.writing import RunWriter
from nas.search import driver, ending
from nas.search.display import PlainDisplay
from nas.search.halving import Halving
from nas.search.launch import run_search
from nas.search.ledger import Ledger
from nas.search.pareto_sampler import sampler
from nas.search.proposals import Proposals
from nas.search.samplers import Mirror
from simulation.clock import Clock, Meter, PricedTime, Seconds
from simulation.curves import Curves, scale_for
from simulation.workers import Log, SimulatedExecutor

NAME = "simulated"

PARTS = {
    Mirror: "sampler",
    Proposals: "judging",
    RunWriter: "storage",
    Halving: "halving",
    Ledger: "ledger",
    PlainDisplay: "display",
}
"""What the driver's seconds are split into; judging counts costs and makes proxies."""

MEASURED, PROCESSOR, FREE = "measured", "processor", "free"

TIMES: dict[str, Seconds] = {
    MEASURED: time.perf_counter,
    PROCESSOR: time.process_time,
    FREE: lambda: 0.0,
}


@dataclass(frozen=True)
class Setup:
    """One simulation. ``seconds`` is a trial's mean; ``limit_seconds`` ends it on the clock.

    ``driver`` is ``measured`` (seconds of the clock on the wall), ``processor`` (those of the
    driver's processor, waiting for the storage left out), ``free`` (it takes no time) or prices in
    seconds a call of a part. Without ``batches`` the sampler fits as often as for one worker.
    """

    workers: int
    trials: int
    sampler: str = "pareto"
    halving: bool = True
    seconds: float = 30.0
    limit_seconds: float | None = None
    seed: int = 0
    storage: str | None = None
    driver: str | Mapping[str, float] = MEASURED
    batches: bool = True


@dataclass(frozen=True)
class Simulated:
    """What came of it: the run, the workers' log, the driver's, and what the database had to do."""

    setup: Setup
    run: Run
    log: Log
    meter: Meter
    end: float
    database: Counter[str]
    peak_bytes: int
    scale: float


def simulate(curves: Curves, setup: Setup, directory: Path | None = None) -> Simulated:
    """Run a search; in a directory that is kept, or in one that is gone afterwards."""
    if directory is None:
        with tempfile.TemporaryDirectory() as made:
            return simulate(curves, setup, Path(made))
    prices = PricedTime(setup.driver) if isinstance(setup.driver, Mapping) else None
    clock = Clock(prices or TIMES[str(setup.driver)])
    meter = Meter(clock, prices)
    halving = Halving(curves.task.rungs) if setup.halving else None
    scale = scale_for(curves, halving, setup.seconds)
    counted: Counter[str] = Counter()
    with (
        meter.watching(PARTS),
        mock.patch.object(driver, "time", clock),
        mock.patch.object(ending, "time", clock),
        _counting(counted, meter),
        _batches(setup.batches),
    ):
        executor = SimulatedExecutor(curves, scale, setup.workers, meter)
        run = run_search(
            curves.space,
            curves.task,
            name=NAME,
            results=directory,
            sampler=setup.sampler,
            trials=setup.trials,
            seconds=setup.limit_seconds,
            halving=setup.halving,
            seed=setup.seed,
            storage=setup.storage,
            executor=executor,
            display=PlainDisplay(Console(file=io.StringIO())),
        )
    counted["rows"] = _count_rows(locate(NAME, directory, setup.storage).url)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Simulated(
        setup=setup,
        run=run,
        log=executor.log,
        meter=meter,
        end=clock.monotonic(),
        database=counted,
        peak_bytes=peak * (1 if sys.platform == "darwin" else 1024),
        scale=scale,
    )


@contextlib.contextmanager
def _batches(are_made: bool) -> Iterator[None]:
    """Proposals in batches where many trials run, or not."""
    with contextlib.ExitStack() as stack:
        if not are_made:
            stack.enter_context(mock.patch.object(sampler, "RUNNING_SHARE", 10**9))
            stack.enter_context(mock.patch.object(sampler, "MOST_SPREAD", 1))
        yield


@contextlib.contextmanager
def _counting(counted: Counter[str], meter: Meter) -> Iterator[None]:
    """Count the transactions and statements of the driver's storage."""

    def committed(connection: Any) -> None:
        counted["transactions"] += meter.current == "storage"

    def executed(*arguments: Any) -> None:
        counted["statements"] += meter.current == "storage"

    event.listen(Engine, "commit", committed)
    event.listen(Engine, "before_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(Engine, "commit", committed)
        event.remove(Engine, "before_cursor_execute", executed)


def _count_rows(url: str) -> int:
    """The rows of all tables: with a database of its own they are this run's."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return sum(
                connection.execute(select(func.count()).select_from(table(name))).scalar_one()
                for name in inspect(engine).get_table_names()
            )
    finally:
        engine.dispose()
