"""Front-based asynchronous successive halving: which trials are worth their next epochs.

A rung is an epoch at which trials are compared. A trial that reaches one goes on if it ranks in
the top 1/eta of all trials seen at that rung so far. That is decided at once, without waiting
for others (L. Li et al., "A System for Massively Parallel Hyperparameter Tuning",
arXiv:1810.05934), and is final. Ranks come from non-dominated sorting over the error at the rung
and the known costs (R. Schmucker et al., "Multi-objective Asynchronous Successive Halving",
arXiv:2106.12639), so a trial loses only to trials that are no dearer.

Within a front the order is farthest first: the lowest error, then always the trial farthest from
all those before it. So any number of first seats covers the whole front: the cheap end keeps its
extreme and cannot take the seats of the rest. That needs no reference point and works for any
number of costs. Distances are sums over the axes, each scaled to the front, costs in decades.

Three things keep what a stop would lose, because a stop cannot be taken back:

- *Doubt.* Trials improve by different amounts from a rung to the next, so a smaller difference
  at the rung has not settled which is better. A newcomer ranks as if its error were lower by the
  standard deviation of the improvements seen so far. Early rungs that predict badly are so made
  mild, and what is reported as the error may have any unit.
- A trial that no other dominates goes on while its front is small: so few say little about where
  the front is crowded.
- It also goes on while fewer than 1/eta of the rung did. Else a front that fills evenly would
  stop every newcomer: each falls into a gap and is the last of the spread.

Left out: stopping and recording (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nas.pareto import ranks

NET = 64
"""Places of a front that are found one by one; the others follow by their distance to these.

It bounds the time for a front of thousands, which 64 members cover well enough.
"""

SHOWN = 3
"""So many of the trials that dominate one are named."""

FEWEST_PAIRS = 4
"""From so many improvements on, their deviation is believed."""


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial at a rung; ``rank`` is 1 for the best of the ``seen``.

    ``dominated_by`` holds numbers of trials with no higher error, doubt allowed for, and no
    higher costs: the nearest first, at most :data:`SHOWN`. ``reason`` is one line for people.
    """

    epoch: int
    goes_on: bool
    rank: int
    seen: int
    dominated_by: tuple[int, ...]
    reason: str


class Halving:
    """Decides at each of ``rungs`` (epochs) who goes on; at the last one a trial is complete.

    ``doubt`` is counted in standard deviations, ``small_front`` in trials. ``costs`` names the
    known costs as people read them, in the order of the reports, and ``measure`` what is reported
    as the error: any number that is lower for better trials, such as a validation loss. The same
    reports in the same order lead to the same decisions.
    """

    def __init__(
        self,
        rungs: Sequence[int],
        eta: int = 3,
        *,
        doubt: float = 1.0,
        small_front: int = 8,
        costs: Sequence[str] = ("MACs",),
        measure: str = "error",
    ) -> None:
        steps = [0, *rungs]
        if not rungs or any(now >= later for now, later in pairwise(steps)):
            raise ValueError(f"rungs must be rising epochs from 1 on, not {list(rungs)}")
        if eta < 2:
            raise ValueError(f"eta must be at least 2, not {eta}")
        if not (math.isfinite(doubt) and doubt >= 0):
            raise ValueError(f"doubt must be a number from 0 on, not {doubt}")
        if small_front < 0:
            raise ValueError(f"small_front must be at least 0, not {small_front}")
        self.rungs, self.eta = tuple(rungs), eta
        self.doubt, self.small_front = doubt, small_front
        self._names, self._measure = tuple(costs), measure
        self._rungs = {epoch: _Rung(len(self._names)) for epoch in self.rungs}
        self._last: dict[int, _Last] = {}

    def report(self, number: int, epoch: int, error: float, costs: Sequence[float]) -> Decision:
        """Take trial ``number``'s error at a rung and decide whether it goes on.

        An error that is not finite stops the trial. It is seen, and ranks behind all others.

        Raises:
            ValueError: the epoch is no rung, or not the trial's next one; the trial was stopped;
                the costs are not positive numbers or not those of the trial's earlier reports.
        """
        self._enter(number, epoch, error, costs)
        decision = self._decide(epoch, error)
        self._close(number, decision.goes_on)
        return decision

    def restore(
        self, number: int, epoch: int, error: float, costs: Sequence[float], *, goes_on: bool
    ) -> None:
        """Enter a report that was decided before; as :meth:`report`, without the work of ranking.

        Raises:
            ValueError: as :meth:`report`.
        """
        self._enter(number, epoch, error, costs)
        self._close(number, goes_on)

    def stop(self, number: int) -> None:
        """Enter that a trial was stopped at its last rung, though it was thought to have gone on.

        One that was stopped already stays so.
        """
        last = self._last[number]
        self._rungs[last.epoch].num_gone_on -= last.goes_on
        last.goes_on = False

    def last_epoch(self, number: int) -> int:
        """The last rung that a trial reported, 0 before its first.

        A trial that runs again because its worker died comes by rungs that it reported before.
        """
        last = self._last.get(number)
        return last.epoch if last else 0

    def _enter(self, number: int, epoch: int, error: float, costs: Sequence[float]) -> None:
        self._check_epoch(number, epoch)
        self._check_costs(number, costs)
        before = self._last.get(number)
        if before:
            self._rungs[before.epoch].improvements.add(before.error - error)
        self._rungs[epoch].add(number, error, costs)
        self._last[number] = _Last(epoch, error, tuple(costs))

    def _close(self, number: int, goes_on: bool) -> None:
        last = self._last[number]
        last.goes_on = goes_on
        self._rungs[last.epoch].num_gone_on += goes_on

    def _decide(self, epoch: int, error: float) -> Decision:
        rung = self._rungs[epoch]
        if not math.isfinite(error):
            reason = f"stopped at epoch {epoch}: it diverged, its {self._measure} is {error}"
            return Decision(epoch, False, rung.seen, rung.seen, (), reason)
        place = rung.place_of_last(self.doubt * rung.improvements.deviation)
        seats = math.ceil(rung.seen / self.eta)
        is_complete = epoch == self.rungs[-1]
        is_spared = not place.dominators.count and (
            place.front_size <= self.small_front or rung.num_gone_on < seats
        )
        goes_on = is_complete or is_spared or place.rank <= seats
        verb = "complete" if is_complete else "went on" if goes_on else "stopped"
        why = place.why(self._measure, self._names, is_stopped=not goes_on)
        return Decision(
            epoch=epoch,
            goes_on=goes_on,
            rank=place.rank,
            seen=rung.seen,
            dominated_by=place.dominators.nearest,
            reason=f"{verb} at epoch {epoch}: rank {place.rank} of {rung.seen}, {why}",
        )

    def _check_epoch(self, number: int, epoch: int) -> None:
        if epoch not in self._rungs:
            raise ValueError(f"trial {number}: epoch {epoch} is no rung of {list(self.rungs)}")
        last = self._last.get(number)
        if last and epoch == last.epoch:
            raise ValueError(f"trial {number} reports epoch {epoch} twice")
        if last and not last.goes_on:
            raise ValueError(
                f"trial {number} reports epoch {epoch}, but was stopped at epoch {last.epoch}"
            )
        after = self.rungs.index(last.epoch) + 1 if last else 0
        if epoch != self.rungs[min(after, len(self.rungs) - 1)]:
            before = f"after epoch {last.epoch}" if last else "first"
            raise ValueError(
                f"trial {number} reports epoch {epoch} {before}; the rungs are {list(self.rungs)}"
            )

    def _check_costs(self, number: int, costs: Sequence[float]) -> None:
        if len(costs) != len(self._names):
            names = ", ".join(self._names) or "none"
            raise ValueError(f"trial {number}: {len(costs)} costs, but the known ones are: {names}")
        if not all(math.isfinite(cost) and cost > 0 for cost in costs):
            raise ValueError(f"trial {number}: costs must be above 0, not {list(costs)}")
        last = self._last.get(number)
        if last and last.costs != tuple(costs):
            raise ValueError(f"trial {number}: costs {list(costs)}, before {list(last.costs)}")


@dataclass
class _Last:
    """A trial's last report, and what was decided."""

    epoch: int
    error: float
    costs: tuple[float, ...]
    goes_on: bool = True


class _Improvements:
    """The standard deviation of a stream of numbers (B. Welford, Technometrics 4(3), 1962)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """Take one number; one that is not finite tells nothing."""
        if math.isfinite(value):
            self._count += 1
            difference = value - self._mean
            self._mean += difference / self._count
            self._squares += difference * (value - self._mean)

    @property
    def deviation(self) -> float:
        """0 while there are too few to tell."""
        return math.sqrt(self._squares / self._count) if self._count >= FEWEST_PAIRS else 0.0


class _Rung:
    """The trials seen at one rung: a row each of error and costs, NaN where it diverged."""

    def __init__(self, num_costs: int) -> None:
        self._rows = np.empty((64, 1 + num_costs))
        self._numbers: list[int] = []
        self.improvements = _Improvements()
        self.num_gone_on = 0

    @property
    def seen(self) -> int:
        return len(self._numbers)

    def add(self, number: int, error: float, costs: Sequence[float]) -> None:
        if self.seen == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self.seen] = error if math.isfinite(error) else math.nan, *costs
        self._numbers.append(number)

    def place_of_last(self, doubt: float) -> _Place:
        """Where the newest trial ranks if its error is taken to be lower by ``doubt``."""
        rows = self._rows[: self.seen].copy()
        rows[-1, 0] -= doubt
        fronts = ranks(rows)
        own = np.flatnonzero(fronts == fronts[-1])
        order = _spread(rows[own])
        place = int(np.flatnonzero(order == len(own) - 1)[0])
        own_row = rows[-1]
        dominating = np.flatnonzero((rows <= own_row).all(axis=1) & (rows < own_row).any(axis=1))
        return _Place(
            rank=int((fronts < fronts[-1]).sum()) + place + 1,
            front_size=len(own),
            dominators=self._nearest(rows, dominating),
            ahead=self._nearest(rows, own[order[:place]]),
            is_error_lower=bool((rows[dominating, :1] < own_row[:1]).all()),
            are_costs_lower=bool((rows[dominating, 1:] < own_row[1:]).all()),
        )

    def _nearest(self, rows: NDArray[np.float64], chosen: NDArray[np.int64]) -> _Rivals:
        """The trials of the chosen rows, as seen from the last row."""
        around = _scaled(np.vstack([rows[chosen], rows[-1]]))
        distance = np.abs(around[:-1] - around[-1]).sum(axis=1)
        nearest = chosen[np.argsort(distance, kind="stable")[:SHOWN]]
        return _Rivals(len(chosen), tuple(self._numbers[row] for row in nearest))


@dataclass(frozen=True)
class _Rivals:
    """Trials before another one: how many, and the numbers of the nearest."""

    count: int
    nearest: tuple[int, ...]

    def __str__(self) -> str:
        """``trial 4``, ``trials 4 and 7``, ``trials 4, 7, 9 and 20 more``."""
        if self.count == 1:
            return f"trial {self.nearest[0]}"
        words = [str(number) for number in self.nearest]
        if self.count > len(words):
            words.append(f"{self.count - len(words)} more")
        return f"trials {', '.join(words[:-1])} and {words[-1]}"


@dataclass(frozen=True)
class _Place:
    """Where a trial ranks, and behind whom: those that dominate it, those ahead on its front."""

    rank: int
    front_size: int
    dominators: _Rivals
    ahead: _Rivals
    is_error_lower: bool
    are_costs_lower: bool

    def why(self, measure: str, costs: Sequence[str], *, is_stopped: bool) -> str:
        """The second half of a reason."""
        if not self.dominators.count:
            crowd = f", but {self.ahead} of its front come first" if is_stopped else ""
            return f"no trial dominates it{crowd}"
        verb = "has" if self.dominators.count == 1 else "have"
        error = f"{'lower' if self.is_error_lower else 'no higher'} {measure}"
        degree = "lower" if self.are_costs_lower else "no higher"
        known = f" at {degree} {' and '.join(costs)}" if costs else ""
        return f"{self.dominators} {verb} {error}{known}"


def _scaled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors, and costs in decades, each spanning 0 to 1 over the rows."""
    values = np.column_stack([rows[:, :1], np.log10(rows[:, 1:])])
    low = values.min(axis=0)
    span = values.max(axis=0) - low
    return np.asarray((values - low) / np.where(span > 0, span, 1.0))


def _spread(front: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rows of a front in the order that keeps it spread; ties go to the earlier row."""
    columns = np.ascontiguousarray(_scaled(front).T)
    distance = np.full(len(front), np.inf)
    order = []
    chosen = int(np.argmin(front[:, 0]))
    for _ in range(min(len(front), NET)):
        order.append(chosen)
        distance = np.minimum(distance, np.abs(columns - columns[:, [chosen]]).sum(axis=0))
        distance[chosen] = -1.0  # a twin that is still to come is at 0
        chosen = int(np.argmax(distance))
    distance[order] = np.inf
    return np.asarray([*order, *np.argsort(-distance, kind="stable")[len(order) :]], dtype=np.int64)
