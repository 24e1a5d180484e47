"""Whose turn it is in a worker, in memory that its driver sees, too, however the worker hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from typing import Any

HELD_SECONDS = 5.0
"""A turn this long keeps the others of its worker waiting: others take milliseconds."""

_NOBODY = -1.0


class Turns:
    """The job that has its turn now, and since when; made in the driver, passed to a worker."""

    def __init__(self, context: SpawnContext) -> None:
        self._place: Any = context.RawArray("d", [_NOBODY, 0.0])

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        """The turn of a job."""
        # The clock is the machine's: it is the same one in all its processes.
        self._place[1] = time.monotonic()
        self._place[0] = number
        try:
            yield
        finally:
            self._place[0] = _NOBODY

    def keep_waiting(self, number: int) -> bool:
        """Whether another job has had its turn for so long that this one is kept from its own."""
        now_on, since = self._place[0], self._place[1]
        is_another = now_on not in (_NOBODY, number)
        return is_another and time.monotonic() - since > HELD_SECONDS
