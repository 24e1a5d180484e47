"""How far a confirmation is, and how long it will take: seconds of trainings by their network.

Left out: how it is shown (the command line does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

STEEPNESS = 0.5
"""Powers of time a power of multiply-adds, before several sizes were timed."""

ENOUGH = 2.0
"""How far apart in size (sum of squared natural logarithms) networks must be to show a slope."""


@dataclass(frozen=True)
class RunningTraining:
    """A training at work: the last epoch of ``epochs`` that it is known to have passed."""

    name: str
    seed: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class ConfirmProgress:
    """A confirmation at one moment; ``left_seconds`` is None before anything was timed.

    ``phase`` is "training" or "test".
    """

    run: str
    phase: str
    done: int
    total: int
    failed: int
    running: tuple[RunningTraining, ...]
    seconds: float
    left_seconds: float | None


class ConfirmDisplay(Protocol):
    """Shows a confirmation."""

    def update(self, progress: ConfirmProgress) -> None:
        """Something happened, or a little time has passed."""
        ...

    def note(self, line: str) -> None:
        """Say one line that stays."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


class NoConfirmDisplay:
    """Shows nothing: notebooks and tests look at the confirmation itself."""

    def update(self, progress: ConfirmProgress) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Pace:
    """Seconds that a whole training takes, by network; ``macs`` at the target by name.

    What was not timed yet is read off a line through the others on logarithmic axes, as steep as
    :data:`STEEPNESS` where they do not say: small networks cost more time than multiply-adds.
    """

    def __init__(self, macs: Mapping[str, float]) -> None:
        self._macs = dict(macs)
        self._timed: dict[str, float] = {}

    def observe(self, name: str, seconds: float) -> None:
        """A whole training of the network takes so long."""
        self._timed[name] = max(seconds, 1e-3)

    def expected(self, name: str) -> float | None:
        """Seconds that a training of the network takes; None before anything was timed."""
        if name in self._timed:
            return self._timed[name]
        if not self._timed:
            return None
        logs = [(math.log(self._macs[known]), math.log(s)) for known, s in self._timed.items()]
        middle = [sum(axis) / len(logs) for axis in zip(*logs, strict=True)]
        spread = sum((x - middle[0]) ** 2 for x, _ in logs)
        together = sum((x - middle[0]) * (y - middle[1]) for x, y in logs)
        slope = min(max(together / spread, 0.0), 1.0) if spread > ENOUGH else STEEPNESS
        return math.exp(middle[1] + slope * (math.log(self._macs[name]) - middle[0]))

    def left(self, unfinished: Sequence[tuple[str, float]], workers: int) -> float | None:
        """Seconds until all are done on so many workers.

        ``unfinished`` are networks, one for each training, with the seconds that it has had.
        """
        lefts = []
        for name, spent in unfinished:
            expected = self.expected(name)
            if expected is None:
                return None
            lefts.append(max(expected - spent, 0.0))
        # At the end fewer trainings are left than workers: the longest one decides.
        return max(sum(lefts) / workers, *lefts) if lefts else None
