"""What becomes of a trial whose worker died, or that does not come to an end.

A death says something about a network only where the network had the process to itself. One that
ended the process by itself then (a wrong address, an abort) is tried once more, for hardware errs
too, and blamed at the second time: it failed for good, and the sampler learns that. A death from
outside is nobody's fault: such a trial runs again three times, and is lost after that, which says
nothing about its network. What ran beside others runs again alone, and it does not count.

A trial over the limit of time is blamed at once: given the same time it would end no sooner.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.quantities import format_seconds
from nas.records import Outcome
from nas.search.executor import Report
from nas.search.ledger import Trial

MOST_TRIES = 4
"""A job whose worker is killed, with no other job beside it, is submitted again three times."""

MOST_CRASHES = 2
"""A job that so often ended its process by itself, alone in it, is not submitted again."""


@dataclass(frozen=True)
class Loss:
    """What follows from a lost worker: the trial's end, or None and the words for its next try."""

    outcome: Outcome | None
    note: str = ""


def take_loss(trial: Trial, report: Report) -> Loss:
    """Count a loss against a trial, if it says anything about it, and say what follows."""
    reason = report.reason
    if report.is_shared:
        # It may have been the others: only what happens to it alone counts against it.
        trial.tries -= 1
        return Loss(None, f"{reason}, with others beside it; it runs again alone")
    if report.is_bystander:
        trial.tries -= 1
        return Loss(None, f"{reason}; it runs again")
    trial.crashes += report.is_crash
    if trial.crashes >= MOST_CRASHES:
        times = f"{trial.crashes} times while nothing else ran in it"
        return Loss(Outcome("failed", reason=f"{reason}, {times}: the network is blamed"))
    if trial.tries < MOST_TRIES:
        return Loss(None, f"{reason}; it runs again")
    return Loss(Outcome("failed", reason=f"{reason}, {trial.tries} times in all", is_lost=True))


def is_overdue(trial: Trial, limit: float | None, now: float) -> bool:
    """Whether a trial has trained for longer than ``limit`` seconds; never with None.

    The time until a worker takes it up does not count, nor do earlier tries.
    """
    return limit is not None and trial.is_training and now - trial.started > limit


def overdue_outcome(trial: Trial, limit: float) -> Outcome:
    """The end of a trial that took longer than ``limit`` seconds."""
    last = trial.last
    passed = f"epoch {last.epoch} was its last" if last else "it passed no rung"
    return Outcome(
        "failed",
        epochs=last.epoch if last else 0,
        train_seconds=last.train_seconds if last else 0.0,
        reason=f"took longer than {format_seconds(limit)}; the limit is --trial-time ({passed})",
    )
