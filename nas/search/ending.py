"""When a search ends, and whether another trial may begin until then.

``--trials`` counts trained trials: complete or stopped, and not reused. ``--time`` counts seconds
of driving over all restarts; no trial begins that would not end in time. ``--device-seconds``
counts what all trials took, given up ones included, over all restarts and workers. Patience ends
a search whose sampler expects little more.

Left out: what was done (:mod:`nas.search.ledger`), the loop (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import statistics
import time
from collections import deque

from nas.quantities import format_seconds
from nas.records import Ended
from nas.search.ledger import Ledger
from nas.search.limits import Limits

MOST_FAILURES = 10
"""So many failed trials in a row end a search: something else is wrong than the networks."""

PATIENT_FOR = 10
"""So many proposals in a row must together promise too little before a search ends for that."""


class Ending:
    """The limits of a search beside its clock and its ledger."""

    def __init__(self, limits: Limits, ledger: Ledger) -> None:
        self.limits, self._ledger = limits, ledger
        self._start, self._before = time.monotonic(), 0.0
        self._durations: list[float] = []
        self._expected: deque[float] = deque(maxlen=PATIENT_FOR)
        self._dry, self._dry_kind = "", "proposals"
        self.stopped_by = ""
        """Who asked for the end: a signal's name."""

    # ------------------------------------------------------------------ what it is told

    def restore(self, seconds: float) -> None:
        """Count the seconds of the drivers before this one."""
        self._before = seconds

    def begin(self) -> None:
        """The clock of this driver starts."""
        self._start = time.monotonic()

    def trained(self, seconds: float) -> None:
        """A trial took so long."""
        self._durations.append(seconds)

    def expect(self, share: float | None) -> None:
        """What a trial that begins is expected to add to the hypervolume, where that is known."""
        if share is not None:
            self._expected.append(share)

    def run_dry(self, why: str, kind: str = "proposals") -> None:
        """Nothing more is proposed: what runs is the last."""
        self._dry, self._dry_kind = why, kind

    # ------------------------------------------------------------------ what it says

    @property
    def seconds(self) -> float:
        """Seconds of driving, this and all earlier ones."""
        return self._before + time.monotonic() - self._start

    @property
    def is_dry(self) -> bool:
        """Whether nothing more is proposed."""
        return bool(self._dry)

    def allows_another(self, running: int) -> bool:
        """Whether a trial may begin beside those that run."""
        trials = self.limits.trials
        is_enough = trials is not None and self._ledger.num_trained + running >= trials
        return not is_enough and self._has_time() and self._has_device_seconds(running)

    def has_no_patience(self) -> bool:
        """Whether too little is expected of further trials; then nothing more is proposed."""
        patience, expected = self.limits.patience, self._expected
        if patience is None or len(expected) < PATIENT_FOR:
            return False
        mean = statistics.fmean(expected)
        if mean >= patience:
            return False
        why = (
            f"a further trial is expected to add {100 * mean:.3g} % to the hypervolume, less than "
            f"the {100 * patience:.3g} % asked for"
        )
        self.run_dry(why, "patience")
        return True

    def ended(self, running: int, queued: int) -> Ended | None:
        """Why the search is over, if it is."""
        found = self._cut_short() or (None if running else self._come_to_an_end(queued))
        return Ended(*found, self.seconds) if found else None

    def left_seconds(self, at_once: int) -> float | None:
        """About how long it still takes with so many trials at once; None where nobody knows."""
        limits, left = self.limits, []
        at_once = max(at_once, 1)
        if limits.seconds is not None:
            left.append(max(limits.seconds - self.seconds, 0.0))
        if limits.trials is not None and self._durations:
            each = self._expected_seconds / at_once
            left.append(each * max(limits.trials - self._ledger.num_trained, 0))
        if limits.device_seconds is not None:
            unspent = limits.device_seconds - self._ledger.device_seconds
            left.append(max(unspent, 0.0) / at_once)
        return min(left, default=None)

    # ------------------------------------------------------------------ how it knows

    def _cut_short(self) -> tuple[str, str] | None:
        """Why to end though trials are running."""
        ledger = self._ledger
        if self.stopped_by:
            return "interrupted", f"stopped by {self.stopped_by}; go on with --resume"
        if ledger.failures_in_a_row >= MOST_FAILURES:
            last = next(o for o in reversed(ledger.outcomes.values()) if o.state == "failed")
            return "failures", f"{MOST_FAILURES} trials failed in a row; the last: {last.reason}"
        if self.limits.seconds is not None and self.seconds >= self.limits.seconds:
            return "time", f"the time is up: {_trials(ledger.num_trained)} trained"
        return None

    def _come_to_an_end(self, queued: int) -> tuple[str, str] | None:
        """Why to end when nothing is running."""
        trained, asked = self._ledger.num_trained, self.limits.trials
        if asked is not None and trained >= asked:
            if trained > asked:
                return "trials", f"the run already has {_trials(trained)} trained, {asked} asked"
            return "trials", f"{_trials(trained)} trained, as asked"
        if self._dry and not queued:
            return self._dry_kind, self._dry
        if not self._has_time():
            return "time", f"no time for another trial: {_trials(trained)} trained"
        if not self._has_device_seconds(0):
            spent = format_seconds(self._ledger.device_seconds)
            return "device-seconds", f"the budget is spent: {_trials(trained)} trained in {spent}"
        return None

    def _has_time(self) -> bool:
        """Whether a trial that starts now would end before the limit, as far as is known."""
        if self.limits.seconds is None:
            return True
        return self.seconds + self._expected_seconds < self.limits.seconds

    def _has_device_seconds(self, running: int) -> bool:
        """Whether a trial that starts now would end within the budget, as far as is known."""
        if self.limits.device_seconds is None:
            return True
        each = self._ledger.median_seconds
        expected = self._ledger.device_seconds + each * (running + 1)
        return expected <= self.limits.device_seconds

    @property
    def _expected_seconds(self) -> float:
        return statistics.median(self._durations) if self._durations else 0.0


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count:,} trials"
