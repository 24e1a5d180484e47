"""How many trials run at once in one process on one GPU: fixed, or chosen by measurement.

Pure logic, without a clock or a device: whoever runs the trials says what it saw. Different
networks are comparable because the *work* of a step is counted in the seconds that it takes
alone on the device, measured right after the trial's set-up. The rate at a number of trials is
work over seconds: 1 for one trial, 3 where the device does three times as much in a second.

A number is doubled while trials an hour grow by more than :data:`GAIN`, then refined between
what was better and what was not, and held; of numbers that are equal but for that the smallest
is taken. It is measured anew when other networks come, the rate drifts or long time has passed.
Set-up is one trial at a time whatever their number: where it takes most of a trial's time,
running more at once is worth less, and that is counted.
"""

from __future__ import annotations

import math
import statistics
from typing import Protocol

GAIN = 0.04
"""Trials an hour must grow by this share for another number of trials to be better."""

MOST_TRIALS = 64
"""More trials at once are never tried."""

PART_SECONDS = 0.4
FEWEST_PARTS, MOST_PARTS = 5, 20
"""A rate is the mean of so many parts; more are taken while it is uncertain."""

UNCERTAINTY = 0.01
"""A rate is known when its standard error is under this share of it."""

MEMORY_SHARE = 0.8
"""What of the free memory is given to further trials: setting up takes more than running."""

MIX_FACTOR = 1.5
"""Networks that are so many times as fast or slow as before are another mix."""

DRIFT = 0.2
"""A rate that is off by this share is not the one that was measured."""

HOLD_SECONDS, REMEASURE_SECONDS = 30.0, 300.0
"""A number is held so long at least, and measured anew after so long at the latest."""


class Concurrency(Protocol):
    """Decides how many trials run at once; it is told what happens."""

    @property
    def trials(self) -> int:
        """How many may run at once now, at least one."""
        ...

    @property
    def is_measuring(self) -> bool:
        """Whether the solo time of a trial's steps is wanted: measuring it stops the others."""
        ...

    def set_up(self, step_seconds: float, device_bytes: int, free_bytes: int, running: int) -> None:
        """A trial was set up: its solo step, its memory, what is free beside all ``running``."""
        ...

    def observe(self, seconds: float, work: float, running: int) -> None:
        """In the last ``seconds`` ``running`` trials did work of so many solo seconds."""
        ...

    def ended(self, setup_seconds: float, work: float) -> None:
        """A trial is done that took so long to set up and so many solo seconds of steps."""
        ...

    def out_of_memory(self, running: int) -> None:
        """The memory was too small for so many trials, the one that failed among them."""
        ...


class FixedConcurrency:
    """Always the same number of trials."""

    is_measuring = False

    def __init__(self, trials: int) -> None:
        assert trials >= 1
        self.trials = trials

    def set_up(self, step_seconds: float, device_bytes: int, free_bytes: int, running: int) -> None:
        """Nothing follows from it."""

    def observe(self, seconds: float, work: float, running: int) -> None:
        """Nothing follows from it."""

    def ended(self, setup_seconds: float, work: float) -> None:
        """Nothing follows from it."""

    def out_of_memory(self, running: int) -> None:
        """Nothing follows from it: the number was asked for."""


class ConcurrencyChooser:
    """Finds the smallest number of trials with nearly the most trials an hour."""

    is_measuring = True

    def __init__(self, most: int = MOST_TRIALS) -> None:
        self._most = most
        self._refused = most
        self._memory_limit = most
        self._largest_bytes = 0
        self._level = 1
        self._rates: dict[int, float] = {}
        self._is_settled = False
        self._held_seconds = 0.0
        self._mix: float | None = None
        self._settled_mix = 0.0
        self._settled_limit = 0
        self._setup_seconds = self._work = 0.0
        self._parts: list[float] = []
        self._part_seconds = self._part_work = 0.0

    @property
    def trials(self) -> int:
        """The number that is measured now, or the one that was found best."""
        return max(1, min(self._level, self._limit))

    @property
    def is_settled(self) -> bool:
        """Whether the best number is found, as far as is known."""
        return self._is_settled

    @property
    def rates(self) -> dict[int, float]:
        """The measured rate of each number of trials that was tried in this round."""
        return dict(self._rates)

    @property
    def _limit(self) -> int:
        return max(1, min(self._most, self._refused, self._memory_limit))

    def set_up(self, step_seconds: float, device_bytes: int, free_bytes: int, running: int) -> None:
        """Count how many trials of the largest size would fit, and note the mix of networks."""
        self._largest_bytes = max(self._largest_bytes, device_bytes)
        if self._largest_bytes:
            more = int(MEMORY_SHARE * free_bytes / self._largest_bytes)
            self._memory_limit = running + more
        if step_seconds > 0:
            size = math.log(step_seconds)
            self._mix = size if self._mix is None else 0.8 * self._mix + 0.2 * size
        self._obey_limit()

    def observe(self, seconds: float, work: float, running: int) -> None:
        """Take the rate's measurement on; what ran with more or fewer trials says nothing."""
        if self._is_settled:
            self._held_seconds += seconds
        if running != self.trials:
            return
        self._part_seconds += seconds
        self._part_work += work
        if self._part_seconds >= PART_SECONDS:
            self._parts.append(self._part_work / self._part_seconds)
            self._part_seconds = self._part_work = 0.0
            if self._is_measured():
                self._take(statistics.fmean(self._parts))

    def ended(self, setup_seconds: float, work: float) -> None:
        """Count its set-up against its work; trials of long ago count less and less."""
        self._setup_seconds = 0.9 * self._setup_seconds + setup_seconds
        self._work = 0.9 * self._work + work

    def out_of_memory(self, running: int) -> None:
        """Never so many again, until the mix of networks changes."""
        self._refused = max(1, min(self._refused, running - 1))
        self._obey_limit()

    # ------------------------------------------------------------------ measuring one number

    def _begin_window(self) -> None:
        self._parts = []
        self._part_seconds = self._part_work = 0.0

    def _is_measured(self) -> bool:
        parts = self._parts
        if len(parts) < FEWEST_PARTS or len(parts) >= MOST_PARTS:
            return len(parts) >= MOST_PARTS
        error = statistics.stdev(parts) / math.sqrt(len(parts))
        return error <= UNCERTAINTY * statistics.fmean(parts)

    def _take(self, rate: float) -> None:
        """The rate at the present number is known."""
        self._begin_window()
        if self._is_settled:
            if self._is_changed(rate):
                self._remeasure(rate)
            return
        self._rates[self.trials] = rate
        self._go_on()

    # ------------------------------------------------------------------ which number next

    def _go_on(self) -> None:
        level = self._next_level()
        if level is not None:
            self._move(level)
            return
        self._move(self._best())
        self._is_settled, self._held_seconds = True, 0.0
        self._settled_mix, self._settled_limit = self._mix or 0.0, self._limit

    def _move(self, level: int) -> None:
        self._level = level
        self._begin_window()

    def _best(self) -> int:
        levels = sorted(self._rates)
        best = levels[0]
        for level in levels[1:]:
            if self._trials_per_second(level) > (1 + GAIN) * self._trials_per_second(best):
                best = level
        return best

    def _trials_per_second(self, level: int) -> float:
        """In units of a trial's work; set-up is one at a time, whatever their number."""
        overhead = self._setup_seconds / self._work if self._work > 0 else 0.0
        rate = self._rates[level]
        return 1 / (overhead + 1 / rate) if rate > 0 else 0.0

    def _next_level(self) -> int | None:
        """A number worth measuring: twice the best, half of it, or between it and a worse one."""
        best = self._best()
        above = min((level for level in self._rates if level > best), default=None)
        below = max((level for level in self._rates if level < best), default=None)
        wanted = []
        if above is None:
            wanted.append(min(2 * best, self._limit))
        elif above - best > best / 2:
            wanted.append((best + above) // 2)
        if below is None:
            wanted.append(best // 2)
        elif best - below > best / 4:
            wanted.append((below + best) // 2)
        for level in wanted:
            if 1 <= level <= self._limit and level not in self._rates:
                return level
        return None

    # ------------------------------------------------------------------ when all is different

    def _is_changed(self, rate: float) -> bool:
        if self._held_seconds < HOLD_SECONDS:
            return False
        is_other_mix = abs((self._mix or 0.0) - self._settled_mix) > math.log(MIX_FACTOR)
        measured = self._rates[self.trials]
        has_drifted = abs(rate - measured) > DRIFT * measured
        was_limited = self._settled_limit == self.trials and self._limit > self.trials
        if is_other_mix:
            self._refused = self._most
        is_old = self._held_seconds >= REMEASURE_SECONDS
        return is_other_mix or has_drifted or was_limited or is_old

    def _remeasure(self, rate: float) -> None:
        """Begin another round at the present number, whose rate is just known."""
        self._is_settled = False
        self._rates = {self.trials: rate}
        self._go_on()

    def _obey_limit(self) -> None:
        if self._level <= self._limit:
            return
        self._rates = {level: rate for level, rate in self._rates.items() if level <= self._limit}
        self._move(self._limit)
        self._is_settled = self._is_settled and self._limit in self._rates
