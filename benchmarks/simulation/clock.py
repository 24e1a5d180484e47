"""A clock that trainings move by jumps and the driver by the time that it really takes.

The driver is a single server: while it works the simulated workers train on, and those that have
ended wait. :class:`Meter` writes down which part of it worked when, in exclusive time: what a
part calls of another part counts for that one.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from unittest import mock

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Seconds = Callable[[], float]
Result = TypeVar("Result")

REST = "rest"
"""What the driver does outside of all named parts."""

NOTHING = "nothing to do"
"""The driver waits for a report."""


class Clock:
    """Simulated seconds: those of the driver, by ``driver_time``, and the jumps in between.

    ``driver_time`` is ``time.perf_counter`` for what is measured; a function that returns 0 for a
    driver that takes no time, which makes a simulation repeat itself.
    """

    def __init__(self, driver_time: Seconds = time.perf_counter) -> None:
        self._driver_time = driver_time
        self._skipped = 0.0
        self._since: float | None = driver_time()

    def monotonic(self) -> float:
        """The simulated now; the name is that of the module ``time``, which it stands in for."""
        working = 0.0 if self._since is None else self._driver_time() - self._since
        return self._skipped + working

    def skip_to(self, moment: float) -> None:
        """Nothing happens until then; a moment that has passed changes nothing."""
        self._skipped += max(moment - self.monotonic(), 0.0)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The simulation's own work takes no simulated time."""
        self._skipped, self._since = self.monotonic(), None
        try:
            yield
        finally:
            self._since = self._driver_time()


class PricedTime:
    """Driver seconds by a price a call of each part, in place of measured ones."""

    def __init__(self, prices: Mapping[str, float]) -> None:
        self._prices, self._spent = dict(prices), 0.0

    def __call__(self) -> float:
        """What was spent so far."""
        return self._spent

    def charge(self, part: str) -> None:
        """A part was called."""
        self._spent += self._prices.get(part, 0.0)


class Meter:
    """What the driver did when."""

    def __init__(self, clock: Clock, prices: PricedTime | None = None) -> None:
        self.clock, self._prices = clock, prices
        self.calls: Counter[str] = Counter()
        self._stack = [REST]
        self._ends = [clock.monotonic()]
        self._parts: list[str] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The driver works on this part."""
        self._close()
        self._stack.append(name)
        self.calls[name] += 1
        try:
            yield
        finally:
            if self._prices is not None:
                self._prices.charge(name)
            self._close()
            self._stack.pop()

    @property
    def current(self) -> str:
        """The part at work."""
        return self._stack[-1]

    def timeline(self) -> tuple[Array, dict[str, Array]]:
        """Moments, and the seconds that each part had taken by then."""
        self._close()
        ends = np.array(self._ends)
        spent = np.diff(ends)
        parts = np.array(self._parts)
        return ends, {
            name: np.concatenate([[0.0], np.cumsum(np.where(parts == name, spent, 0.0))])
            for name in dict.fromkeys([*self._parts, REST, NOTHING])
        }

    def _close(self) -> None:
        now, name = self.clock.monotonic(), self._stack[-1]
        if self._parts and self._parts[-1] == name:
            self._ends[-1] = now
        else:
            self._ends.append(now)
            self._parts.append(name)

    @contextlib.contextmanager
    def watching(self, parts: Mapping[type, str]) -> Iterator[None]:
        """All public methods of these classes count as their parts."""
        with contextlib.ExitStack() as stack:
            for owner, name in parts.items():
                for method, function in list(vars(owner).items()):
                    if callable(function) and not method.startswith("_"):
                        watched = self._watched(function, name)
                        stack.enter_context(mock.patch.object(owner, method, watched))
            yield

    def _watched(self, function: Callable[..., Result], name: str) -> Callable[..., Result]:
        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Result:
            with self.part(name):
                return function(*arguments, **named)

        return watched
