"""What a driver knows of its run's trials: outcomes, who trained which proxy, the front.

Pure bookkeeping in memory; it is rebuilt from the run at a resume. Left out: the study
(:mod:`nas.records`) and what happens next (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from nas.architecture import Architecture
from nas.cost import LATENCY
from nas.pareto import cost_axes, hypervolume, nondominated
from nas.records import Outcome, Proposal, Run, Stop
from nas.records.stored import COSTS

if TYPE_CHECKING:
    from nas.evaluate import RungResult


Curve: TypeAlias = list[list[float | None]]
"""A point a rung, as :mod:`nas.records.stored` lays it out."""


@dataclass
class Trial:
    """A trial and its handle in the sampler's mirror; ``curve`` grows while it runs.

    ``crashes`` are the tries that it ended its process in. ``started`` is when it was submitted,
    and from when ``is_training`` on, when a worker took it up.
    ``given_up_seconds`` is what the run was charged when it was lost last.
    ``is_curve_written``: the study has its curve as far as it goes.
    """

    proposal: Proposal
    handle: int
    tries: int = 0
    crashes: int = 0
    started: float = 0.0
    is_training: bool = False
    curve: Curve = field(default_factory=list)
    last: RungResult | None = None
    given_up_seconds: float = 0.0
    is_curve_written: bool = True

    def begin(self, now: float) -> None:
        """It is submitted, for the first time or again."""
        self.tries += 1
        self.started, self.curve, self.last = now, [], None
        self.is_curve_written = True
        self.is_training = False

    def take_up(self, now: float) -> None:
        """A worker has begun with it."""
        self.started, self.is_training = now, True

    def add(self, result: RungResult) -> None:
        """It passed a rung."""
        self.last = result
        self.curve.append(curve_point(result))


def curve_point(result: RungResult) -> list[float | None]:
    """A rung as it is stored; what is not finite is not known."""
    numbers = (
        result.train_loss,
        result.validation_loss,
        result.error,
        result.train_seconds,
        result.setup_seconds,
    )
    return [result.epoch, *(x if math.isfinite(x) else None for x in numbers)]


class Ledger:
    """All trials of a run by number, and what follows from their outcomes."""

    def __init__(self, objectives: Sequence[str], reference: Sequence[float]) -> None:
        self.trials: dict[int, Trial] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.num_trained = self.num_failed = self.num_reused = self.num_stopped = 0
        self.given_up_seconds = 0.0
        self._seconds: list[float] = []
        self.failures_in_a_row = 0
        self.front, self.hypervolume, self.best_error = 0, 0.0, math.nan
        self._objectives, self._reference = tuple(objectives), tuple(reference)
        self._points: list[list[float]] = []
        self._trainers: dict[str, int] = {}

    def trainer_of(self, number: int) -> int:
        """The trial whose training gives this one's result: the first with its proxy, or itself."""
        return self._trainers.setdefault(self.trials[number].proposal.proxy_fingerprint, number)

    def has_trainer(self, proxy_fingerprint: str) -> bool:
        """Whether a trial trains or has trained this proxy network."""
        return proxy_fingerprint in self._trainers

    def elect_trainer(self, proxy_fingerprint: str) -> None:
        """After the trainer of a proxy was lost: the first trial that waits for it trains.

        All drivers of a run come to the same one, whatever they waited for.
        """
        waiting = (
            number
            for number, trial in self.trials.items()
            if number not in self.outcomes and trial.proposal.proxy_fingerprint == proxy_fingerprint
        )
        first = min(waiting, default=None)
        if first is not None:
            self._trainers.setdefault(proxy_fingerprint, first)

    def known_outcome(self, proxy_fingerprint: str) -> Outcome | None:
        """The outcome that a proxy network has had already; None where it must be trained."""
        same = self._trainers.get(proxy_fingerprint)
        known = None if same is None else self.outcomes.get(same)
        if known is None:
            return None
        if known.state != "complete":
            reason = f"as trial {same}: {known.reason}"
            return replace(known, train_seconds=0.0, reused=True, reason=reason)
        reason = f"the same proxy network as trial {same}"
        return Outcome("complete", known.error, known.epochs, reused=True, reason=reason)

    def end(self, number: int, outcome: Outcome, *, measure: bool = True) -> None:
        """Enter a trial's outcome; ``measure`` False leaves the front to :meth:`measure_front`."""
        self.outcomes[number] = outcome
        has_failed = outcome.state == "failed"
        self.num_failed += has_failed
        self.num_reused += outcome.reused
        self.num_trained += not has_failed and not outcome.reused
        self.num_stopped += outcome.state == "pruned"
        if not outcome.reused:
            self._seconds.append(outcome.train_seconds)
        if not outcome.reused:  # what is only repeated says nothing new
            self.failures_in_a_row = self.failures_in_a_row + 1 if has_failed else 0
        proxy = self.trials[number].proposal.proxy_fingerprint
        if outcome.is_lost and self._trainers.get(proxy) == number:
            del self._trainers[proxy]
        if outcome.error is not None:
            known: dict[str, Any] = {**self.trials[number].proposal.costs, "error": outcome.error}
            self._points.append([float(known[name]) for name in self._objectives])
            # NaN, the start, is not smaller than anything.
            self.best_error = min(outcome.error, self.best_error)
            if measure:
                self.measure_front()

    @property
    def device_seconds(self) -> float:
        """What all trials took that ended, and what was spent on those that began again."""
        return math.fsum(self._seconds) + self.given_up_seconds

    @property
    def median_seconds(self) -> float:
        """What a trial took, in the middle; 0 before there is one."""
        return statistics.median(self._seconds) if self._seconds else 0.0

    def costs_of(self, number: int) -> list[float]:
        """The objectives of a trial that are known before it trains."""
        costs = self.trials[number].proposal.costs
        return [float(costs[name]) for name in self._objectives if name != "error"]

    def curve_of(self, number: int) -> list[list[float]]:
        """[epoch, error] at each rung that a trial passed, or its trainer where it is reused."""
        known = self._known_curve(number)
        return [[epoch, error] for epoch, _, _, error, *_ in known if epoch and error is not None]

    def losses_of(self, number: int) -> list[tuple[int, float]]:
        """(epoch, validation loss) at each rung that a trial passed, as :meth:`curve_of`."""
        known = self._known_curve(number)
        return [
            (int(epoch), math.nan if loss is None else loss)
            for epoch, _, loss, error, *_ in known
            if epoch and error is not None
        ]

    def _known_curve(self, number: int) -> Curve:
        trial = self.trials[number]
        trainer = self._trainers.get(trial.proposal.proxy_fingerprint, number)
        return trial.curve or self.trials[trainer].curve

    def measure_front(self) -> None:
        """Count the front and its hypervolume."""
        if self._points:
            self.front = int(nondominated(self._points).sum())
            self.hypervolume = hypervolume(
                self._points, self._reference, log_axes=cost_axes(self._objectives)
            )


def stored_trials(run: Run) -> Iterator[tuple[int, Proposal, Outcome | None, Curve]]:
    """The trials of a run in order, with their curves; no outcome where one was left running."""
    values, states, lost, stops = run.values, run.sampler_states(), run.lost, run.stops
    curves: dict[int, Curve] = {}
    points = run.curves.astype(object).where(run.curves.notna(), None)
    for number, *point in points.itertuples(index=False):
        curves.setdefault(number, []).append(point)
    for row in run.trials.to_dict("records"):
        number = int(row["number"])
        proposal = Proposal(
            architecture=Architecture.from_json(str(row["architecture"])),
            values=values[number],
            costs=_costs(row),
            proxy_fingerprint=str(row["proxy_fingerprint"]),
            seed=int(row["seed"]),
            origin=str(row["origin"]),
            sampler_state=states.get(number, {}),
        )
        is_running = row["state"] == "running"
        outcome = None if is_running else _outcome(row, number in lost, stops.get(number))
        yield number, proposal, outcome, curves.get(number, [])


def _costs(row: dict[Any, Any]) -> dict[str, float]:
    costs: dict[str, float] = {name: int(row[name]) for name in COSTS}
    if not math.isnan(row[LATENCY]):
        costs[LATENCY] = float(row[LATENCY])
    return costs


def _outcome(row: dict[Any, Any], is_lost: bool, stop: Stop | None) -> Outcome:
    return Outcome(
        row["state"],
        error=float(row["error"]) if row["state"] == "complete" else None,
        epochs=int(row["epochs"]),
        train_seconds=float(row["train_seconds"]),
        reused=bool(row["reused"]),
        reason=str(row["reason"]),
        is_lost=is_lost,
        stop=stop,
    )
