"""Replay a search on a complete table: any sampler, halving or none, workers, a simulated clock.

    python benchmarks/replay.py --sampler nsga2 --halving --workers 8 --trials 200 [--seed 0]

Rules, the same for all:

- A trial takes the table's seconds for the rungs it runs; a worker takes the next trial at once.
  Device-seconds are those of all workers so far, running trials included. Asking takes no
  simulated time; its real time is recorded beside.
- An architecture is trained once. A proposal that stands for one proposed before (also by other
  answers to questions that do not matter) is a repeat: it is told FAIL, as the product's search
  does, and the sampler is asked again; after TRIES repeats in a row an unseen architecture is
  drawn at random. So every trial of every search is another architecture.
- With halving, a trial is judged at every rung it ends; a stopped one is told PRUNED. Each trial
  carries its curve so far as user attribute "curve": [[epoch, error], ...].
- Only completed trials are on the front of a search: a stopped one has no final error. The
  hypervolume is that of (error at the last rung, MACs) to chance error and the largest MACs.

The sampler learns (error, log10 MACs), both minimised. Halving is given as words such as
``eta=2,rungs=2/8,doubt=0.5,signal=error``; what is left out is as in the product.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from efficiency.measures import shares
from efficiency.samplers import CONTESTANTS, Rows, check_contestant, make_sampler
from efficiency.synthetic import synthetic_table
from efficiency.table import SIGNALS, Array, Table
from optuna.trial import TrialState

from nas.records.writing import quiet_optuna
from nas.search.halving import Halving
from nas.search.samplers import distributions_of

SIGNAL = "validation_loss"
"""What the product's halving ranks on."""

ORACLE = "oracle"
"""The last rung's error as the signal at every rung: what no prediction can beat."""

TRIES = 8
"""Repeats in a row before an unseen architecture is drawn, as in nas/search/proposals.py."""


@dataclass(frozen=True)
class Setup:
    """One search: who proposes, whether halving stops trials, and when the search ends.

    It ends after ``trials`` (None: the whole table) or ``device_seconds``; with ``until_full``
    also once it has the full hypervolume and ``at_least`` trials.
    """

    sampler: str
    seed: int
    halving: str | None = None
    workers: int = 1
    trials: int | None = None
    device_seconds: float = math.inf
    until_full: bool = False
    at_least: int = 200

    @property
    def series(self) -> str:
        """What it is but for the seed, for people and as a key."""
        words = [self.sampler]
        if self.halving is not None:
            words.append(f"halving {self.halving}".strip())
        return " + ".join(words) + (f", {self.workers} workers" if self.workers > 1 else "")


@dataclass
class Search:
    """What a search did, in the order that its trials ended.

    ``rungs`` is how many each ran; ``device_seconds`` are those of all workers at its end.
    ``ask_ms`` and ``repeats`` are by the order of asking: processor milliseconds until there was
    a new architecture, and how many repeats came before it. ``fills`` were drawn at random.
    """

    rows: list[int] = field(default_factory=list)
    rungs: list[int] = field(default_factory=list)
    device_seconds: list[float] = field(default_factory=list)
    clock_seconds: list[float] = field(default_factory=list)
    ask_ms: list[float] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    fills: int = 0

    def to_data(self) -> dict[str, Any]:
        """As JSON takes it, times rounded to milliseconds."""
        data = asdict(self)
        for name in ("device_seconds", "clock_seconds", "ask_ms"):
            data[name] = [round(value, 3) for value in data[name]]
        return data


class Proposer:
    """A study in memory with a contestant's sampler, which proposes every architecture once."""

    def __init__(self, table: Table, sampler: str, seed: int) -> None:
        self.row_of = Rows(table)
        self._distributions = distributions_of(table.space)
        self._encodings = [table.space.encode(one) for one in table.space.enumerate()]
        self._unseen = dict.fromkeys(range(len(self._encodings)))
        self._random = np.random.default_rng([seed, 1])
        with quiet_optuna():
            self.study = optuna.create_study(
                directions=["minimize", "minimize"],
                sampler=make_sampler(sampler, table, self.row_of, seed),
            )

    @property
    def is_exhausted(self) -> bool:
        """Whether every architecture was proposed."""
        return not self._unseen

    def ask(self) -> tuple[optuna.Trial, int, int, bool]:
        """A trial of an unseen architecture: the trial, its row, repeats before it, if drawn."""
        for repeats in range(TRIES):
            trial = self.study.ask(self._distributions)
            row = self.row_of(trial.params)
            if row in self._unseen:
                del self._unseen[row]
                return trial, row, repeats, False
            self.study.tell(trial, state=TrialState.FAIL)
        unseen = list(self._unseen)
        row = unseen[int(self._random.integers(len(unseen)))]
        del self._unseen[row]
        self.study.enqueue_trial(dict(self._encodings[row]))
        return self.study.ask(self._distributions), row, TRIES, True


@dataclass
class _Running:
    """A trial that a worker trains."""

    trial: optuna.Trial
    row: int
    start: float
    rung: int = 0


def replay(table: Table, setup: Setup) -> Search:
    """Run a search on the table; the same setup gives the same search."""
    with quiet_optuna():
        return _Replay(table, setup).run()


class _Replay:
    """The event queue: ends of rungs, in simulated time."""

    def __init__(self, table: Table, setup: Setup) -> None:
        self._table, self._setup = table, setup
        self._curves = table.curves[0]
        self._halving: Halving | None = None
        if setup.halving is not None:
            self._halving, signal = make_halving(table, setup.halving)
            self._signal = _signal(table, signal)
        self._proposer = Proposer(table, setup.sampler, setup.seed)
        self._queue: list[tuple[float, int, _Running]] = []
        self._order = count()
        self._starts: dict[int, float] = {}
        self._ended_seconds = 0.0
        self._search = Search()
        self._full = shares(table)

    def run(self) -> Search:
        for _ in range(self._setup.workers):
            self._begin(0.0)
        while self._queue:
            now, _, running = heapq.heappop(self._queue)
            if self._reach(running):
                self._train(running, now)
            else:
                self._end(running, now)
                self._begin(now)
        return self._search

    def _begin(self, now: float) -> None:
        """A free worker takes a trial, unless the search is over."""
        search, setup = self._search, self._setup
        asked = len(search.ask_ms)
        is_over = (
            self._proposer.is_exhausted
            or asked >= (setup.trials or math.inf)
            or self._spent(now) >= setup.device_seconds
            or (setup.until_full and asked >= setup.at_least and self._full.is_full)
        )
        if is_over:
            return
        start = time.process_time()
        trial, row, repeats, is_drawn = self._proposer.ask()
        search.ask_ms.append(1000 * (time.process_time() - start))
        search.repeats.append(repeats)
        search.fills += is_drawn
        running = _Running(trial, row, now)
        self._starts[trial.number] = now
        self._train(running, now)

    def _train(self, running: _Running, now: float) -> None:
        """On to the next rung; a training that fails there ends where it stands."""
        seconds = self._curves.seconds[running.row]
        before = seconds[running.rung - 1] if running.rung else 0.0
        lasts = seconds[running.rung] - before
        heapq.heappush(
            self._queue,
            (now + (lasts if lasts == lasts else 0.0), next(self._order), running),  # noqa: PLR0124
        )

    def _reach(self, running: _Running) -> bool:
        """A rung ends: whether the trial goes on."""
        error = self._curves.error[running.row]
        if math.isnan(error[running.rung]):
            return False
        running.rung += 1
        epochs = self._table.rungs[: running.rung]
        curve = [list(pair) for pair in zip(epochs, error[: running.rung].tolist(), strict=True)]
        running.trial.set_user_attr("curve", curve)
        if self._halving is not None and epochs[-1] in self._halving.rungs:
            signal = float(self._signal[running.row, running.rung - 1])
            costs = [float(self._table.macs[running.row])]
            decision = self._halving.report(running.trial.number, epochs[-1], signal, costs)
            if not decision.goes_on:
                return False
        return running.rung < len(self._table.rungs)

    def _end(self, running: _Running, now: float) -> None:
        table, search, study = self._table, self._search, self._proposer.study
        row, rung = running.row, running.rung
        spent = self._spent(now)
        self._ended_seconds += now - self._starts.pop(running.trial.number)
        search.rows.append(row)
        search.rungs.append(rung)
        search.device_seconds.append(spent)
        search.clock_seconds.append(now)
        if rung == len(table.rungs):
            macs = float(table.macs[row])
            study.tell(running.trial, [float(table.error[row]), math.log10(macs)])
            self._full.add(row)
        elif math.isnan(self._curves.error[row, rung]):
            study.tell(running.trial, state=TrialState.FAIL)
        else:
            study.tell(running.trial, state=TrialState.PRUNED)

    def _spent(self, now: float) -> float:
        return self._ended_seconds + sum(now - start for start in self._starts.values())


def make_halving(table: Table, words: str) -> tuple[Halving, str]:
    """Halving as the words say, and the signal that it ranks on.

    Raises:
        ValueError: a word is not known, or its value is none.
    """
    settings: dict[str, Any] = {}
    rungs = list(table.rungs)
    signal = SIGNAL
    for word in filter(None, words.split(",")):
        key, _, value = word.partition("=")
        if key == "signal" and value in (*SIGNALS, ORACLE):
            signal = value
        elif key == "rungs":
            rungs = [int(one) for one in value.split("/")]
        elif key in ("eta", "small_front"):
            settings[key] = int(value)
        elif key == "doubt":
            settings[key] = float(value)
        else:
            raise ValueError(
                f"halving: {word!r} is not one of eta, rungs, doubt, small_front, signal"
            )
    last = table.rungs[-1]
    return Halving([*(epoch for epoch in rungs if epoch != last), last], **settings), signal


def _signal(table: Table, name: str) -> Array:
    curves = table.curves[0]
    if name == ORACLE:
        return np.broadcast_to(table.error[:, None], curves.error.shape)
    values: Array = getattr(curves, name)
    return values


def load_table(path: Path | None) -> Table:
    """The table at a path; without one the made-up table, and a warning."""
    if path is None:
        print("no table is given: a made-up one is searched", file=sys.stderr)
        return synthetic_table()
    return Table.read(path)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--table", type=Path, help="results/tiny_table/table.json.gz; default: a made-up one")
    add("--sampler", default="random", help=f"one of {', '.join(CONTESTANTS)}")
    add("--halving", nargs="?", const="", help="halving, with settings (default: none)")
    add("--workers", type=int, default=1)
    add("--trials", type=int, default=200)
    add("--seed", type=int, default=0)
    add("--json", action="store_true", help="print everything the search did")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run one search and say what it found."""
    given = parse_arguments(words)
    table = load_table(given.table)
    setup = Setup(
        sampler=check_contestant(given.sampler),
        seed=given.seed,
        halving=given.halving,
        workers=given.workers,
        trials=given.trials,
    )
    search = replay(table, setup)
    if given.json:
        print(json.dumps(search.to_data()))
        return
    reached = shares(table)
    complete = [
        row
        for row, rungs in zip(search.rows, search.rungs, strict=True)
        if rungs == len(table.rungs)
    ]
    for row in complete:
        reached.add(row)
    print(
        f"{setup.series}: {len(search.rows)} trials, {len(complete)} complete, "
        f"{search.device_seconds[-1]:.0f} device-seconds, {search.clock_seconds[-1]:.0f} s; "
        f"{100 * reached.of('log'):.2f} % of the full hypervolume; {sum(search.repeats)} repeats, "
        f"{search.fills} drawn at random; {np.median(search.ask_ms):.1f} ms an ask"
    )


if __name__ == "__main__":
    main()
