"""What a search shows while it runs: a live picture on a terminal, plain lines elsewhere.

The driver hands over a :class:`Progress` after every event; nothing here asks or decides. A
display that is given to ``run_search`` needs the three methods of :class:`Display`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.quantities import format_count, format_seconds

MOST_RUNNING = 8
"""Running trials that are shown one by one."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial at work: the last rung it passed (0: none yet) of ``epochs``, and its error there."""

    number: int
    epoch: int
    epochs: int
    error: float
    macs: float


@dataclass(frozen=True)
class Progress:
    """A search at one moment. Errors are fractions; NaN and None stand for what is not known.

    ``capacity`` is how many trials can run at once, which on a GPU changes with measurements.
    ``notice`` is what a user should know for as long as it lasts; empty where there is nothing.
    """

    name: str
    done: int
    trials: int | None
    failed: int
    reused: int
    running: tuple[RunningTrial, ...]
    rejected: Mapping[str, int]
    front: int
    hypervolume: float
    best_error: float
    seconds: float
    limit_seconds: float | None
    left_seconds: float | None = None
    capacity: int | None = None
    stopped: int = 0
    device_seconds: float = 0.0
    limit_device_seconds: float | None = None
    notice: str = ""


class Display(Protocol):
    """Shows a search."""

    def update(self, progress: Progress) -> None:
        """Something happened, or a little time has passed."""
        ...

    def note(self, line: str) -> None:
        """Say one line that stays: a trial's end, a lost worker, why the search ends."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


class NoDisplay:
    """Shows nothing: notebooks and tests look at the run itself."""

    def update(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainDisplay:
    """A line a note, and a line of progress at most every ``every`` seconds."""

    def __init__(self, console: Console, every: float = 15.0) -> None:
        self._console, self._every, self._shown = console, every, 0.0

    def update(self, progress: Progress) -> None:
        """A line, if the last one is old enough."""
        if progress.seconds - self._shown >= self._every:
            self._shown = progress.seconds
            self._console.print(summary(progress), soft_wrap=True, highlight=False, markup=False)

    def note(self, line: str) -> None:
        """The line."""
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """Nothing to give back."""


class LiveDisplay:
    """A picture that is redrawn in place, with the notes above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._live.start()

    def update(self, progress: Progress) -> None:
        """Draw it anew."""
        self._live.update(picture(progress))

    def note(self, line: str) -> None:
        """The line, above the picture."""
        # The picture is drawn again with the options of this call: it must not depend on them.
        self._live.console.print(Text(line))

    def close(self) -> None:
        """Leave the last picture where it is."""
        self._live.stop()


def create_display(console: Console | None = None) -> Display:
    """A live display where the console is a terminal, plain lines where it is not."""
    chosen = console or Console(stderr=True)
    return LiveDisplay(chosen) if chosen.is_terminal else PlainDisplay(chosen)


def summary(progress: Progress) -> str:
    """The search in one line."""
    parts = [_count(progress), _running_count(progress)]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.reused:
        parts.append(f"{progress.reused} reused")
    if progress.stopped:
        parts.append(f"{progress.stopped} stopped early")
    parts.append(f"{sum(progress.rejected.values())} rejected")
    parts.append(f"front {progress.front}, best error {_percent(progress.best_error)}")
    parts.append(f"hypervolume {progress.hypervolume:.3f}")
    parts.append(_clock(progress))
    if progress.notice:
        parts.append(progress.notice)
    return " | ".join(parts)


def picture(progress: Progress) -> RenderableType:
    """The search as lines that fit 80 columns."""
    bar = ProgressBar(
        total=progress.trials or max(progress.done, 1), completed=progress.done, width=30
    )
    head = Table.grid(padding=(0, 1))
    counts = Text(_count(progress)), Text(_clock(progress))
    head.add_row(Text(progress.name, style="bold"), bar, *counts)
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        Text.assemble("front ", (str(progress.front), "bold")),
        Text.assemble("best error ", (_percent(progress.best_error), "bold")),
        Text.assemble("hypervolume ", (f"{progress.hypervolume:.3f}", "bold")),
        Text(f"failed {progress.failed}"),
        Text(f"reused {progress.reused}"),
        Text(f"stopped {progress.stopped}"),
    )
    rejected = ", ".join(f"{count} {kind}" for kind, count in sorted(progress.rejected.items()))
    counts_line = Text(f"{_running_count(progress)} | rejected: {rejected or 'none'}")
    notice = [Text(progress.notice, style="bold")] if progress.notice else []
    return Group(head, facts, counts_line, *notice, _running(progress))


def _running(progress: Progress) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for trial in progress.running[:MOST_RUNNING]:
        table.add_row(
            Text(f"trial {trial.number}"),
            Text(f"epoch {trial.epoch}/{trial.epochs}"),
            Text(f"error {_percent(trial.error)}"),
            Text(f"{format_count(trial.macs)} MACs"),
        )
    if len(progress.running) > MOST_RUNNING:
        table.add_row(Text(f"and {len(progress.running) - MOST_RUNNING} more"))
    return table


def _count(progress: Progress) -> str:
    if progress.trials is not None and progress.done > progress.trials:
        return f"{progress.done} trials, {progress.trials} asked"
    asked = "" if progress.trials is None else f"/{progress.trials}"
    return f"{progress.done}{asked} trials"


def _running_count(progress: Progress) -> str:
    running, capacity = len(progress.running), progress.capacity
    return (
        f"{running} running" if capacity in (None, running) else f"{running} of {capacity} running"
    )


def _clock(progress: Progress) -> str:
    text = format_seconds(progress.seconds)
    if progress.limit_seconds is not None:
        text += f" of {format_seconds(progress.limit_seconds)}"
    if progress.limit_device_seconds is not None:
        spent = format_seconds(progress.device_seconds)
        text += f", {spent} of {format_seconds(progress.limit_device_seconds)} on devices"
    if progress.left_seconds is not None:
        text += f", about {format_seconds(progress.left_seconds)} left"
    return text


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}%"
