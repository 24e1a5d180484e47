"""A progress bar on standard error for what takes longer than two seconds; nothing otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WORTH_SHOWING_SECONDS = 2.0
"""A bar appears where the whole is going to take longer than this."""

_FIRST_ESTIMATE_SECONDS = 0.3


@contextmanager
def progress_bar(
    description: str, total: int, *, enabled: bool = True
) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more of ``total`` are done."""
    if not enabled:
        yield lambda count: None
        return
    bar = _Bar(description, total)
    try:
        yield bar.advance
    finally:
        bar.stop()


class _Bar:
    def __init__(self, description: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(description, total=total)
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._shown = False

    def advance(self, count: int) -> None:
        self._done += count
        self._progress.advance(self._task, count)
        seconds = time.monotonic() - self._began
        expected = seconds * self._total / max(self._done, 1)
        enough = seconds >= min(_FIRST_ESTIMATE_SECONDS, WORTH_SHOWING_SECONDS)
        if not self._shown and enough and expected > WORTH_SHOWING_SECONDS:
            self._shown = True
            self._progress.start()

    def stop(self) -> None:
        if self._shown:
            self._progress.stop()
