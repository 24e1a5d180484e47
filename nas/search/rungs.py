"""What becomes of a trial that waits at a rung: it trains on, or it is stopped for good.

Left out: the decision itself (:mod:`nas.search.halving`), recording (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import math

from nas.records import Outcome, Stop
from nas.search.executor import Executor
from nas.search.halving import Halving
from nas.search.ledger import Ledger, Trial


class Rungs:
    """The rungs of one search; without ``halving`` every trial goes on at each of them."""

    def __init__(self, halving: Halving | None, executor: Executor, ledger: Ledger) -> None:
        self._halving, self._executor, self._ledger = halving, executor, ledger

    @property
    def are_judged(self) -> bool:
        """Whether trials wait at their rungs to be told."""
        return self._halving is not None

    def judge(self, number: int, trial: Trial) -> Outcome | None:
        """Let a trial that waits at a rung go on, or stop it: then this is its outcome."""
        halving, result = self._halving, trial.last
        assert result is not None
        # One whose error is not finite fails by itself. One that runs again was judged at the
        # rungs that it passed before.
        is_judged = halving is not None and math.isfinite(result.error)
        if halving is None or not is_judged or result.epoch <= halving.last_epoch(number):
            self._executor.go_on(number)
            return None
        costs = self._ledger.costs_of(number)
        # The loss ranks what the end will be better than the error, which counts whole images.
        decision = halving.report(number, result.epoch, result.validation_loss, costs)
        if decision.goes_on:
            self._executor.go_on(number)
            return None
        self._executor.stop(number)
        return Outcome(
            "pruned",
            epochs=result.epoch,
            train_seconds=result.train_seconds,
            reason=decision.reason,
            stop=Stop(decision.epoch, decision.rank, decision.seen, decision.dominated_by),
        )

    def restore(self, number: int) -> None:
        """Enter what was decided of a trial before a resume, or by another driver."""
        if self._halving is None:
            return
        outcome = self._ledger.outcomes[number]
        end = outcome.epochs if outcome.state == "pruned" else math.inf
        self._enter(number, end)
        if self._halving.last_epoch(number) == end:
            self._halving.stop(number)

    def hear(self, number: int) -> None:
        """Enter the rungs that a trial has passed which another driver runs."""
        if self._halving is not None:
            self._enter(number, math.inf)

    def _enter(self, number: int, end: float) -> None:
        """Enter the rungs of a trial that are new here; at the rung ``end`` it was stopped."""
        assert self._halving is not None
        costs = self._ledger.costs_of(number)
        for epoch, loss in self._ledger.losses_of(number):
            if epoch in self._halving.rungs and epoch > self._halving.last_epoch(number):
                self._halving.restore(number, epoch, loss, costs, goes_on=epoch < end)
