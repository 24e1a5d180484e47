"""The loop of a search: propose, submit, take reports, record; nothing finished is ever lost.

The driver alone writes the study. A trial's row is written before it trains, so a killed driver
leaves it running: a resumed search runs it again first, under the same number and with the same
seed, hence to the same result. A proxy network that was trained already is not trained again:
its result is taken over (``reused``), at once or when the running one is done.

With halving, a trial waits at each rung for the decision whether it goes on; one that is stopped
is final, and taught with the error that it had.

What counts as a trial of ``--trials`` is a trained one: complete or stopped, and not reused.
``--time`` counts seconds of driving over all restarts; no trial starts that would not end in
time, and what still runs at the limit is given up like at Ctrl-C. ``--device-seconds`` counts
what all trials took, given up ones included, over all restarts and workers; what runs when the
budget is spent ends as it would.

Left out: checking input and setting up (:mod:`nas.search.launch`).
"""

from __future__ import annotations

import contextlib
import math
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from nas.quantities import format_count, format_seconds
from nas.records import Ended, Outcome, Run
from nas.records.writing import RunWriter
from nas.search.display import Display, Progress, RunningTrial
from nas.search.executor import Executor, Job, Report
from nas.search.halving import Halving
from nas.search.ledger import Ledger, Trial, stored_trials
from nas.search.limits import Limits
from nas.search.proposals import Accepted, Proposals
from nas.task import Task

MOST_TRIES = 4
"""A job whose worker dies, with no other job beside it, is submitted again three times."""

MOST_FAILURES = 10
"""So many failed trials in a row end a search: something else is wrong than the networks."""

MOST_REJECTED = 2_000
"""So many rejected proposals in a row end a search."""

PATIENT_FOR = 10
"""So many proposals in a row must together promise too little before a search ends for that."""

TRAINED = ("complete", "pruned")
SECONDS = 4
"""The place of a trial's seconds in a point of its curve."""

TICK_SECONDS = 0.25
REJECTIONS_EVERY_SECONDS = 5.0


class Search:
    """One driver's work on a run."""

    def __init__(
        self,
        task: Task,
        limits: Limits,
        *,
        writer: RunWriter,
        executor: Executor,
        proposals: Proposals,
        ledger: Ledger,
        display: Display,
        halving: Halving | None = None,
    ) -> None:
        self._name, self._task, self._limits = writer.location.name, task, limits
        self._halving = halving
        self._writer, self._executor, self._display = writer, executor, display
        self._proposals, self._ledger = proposals, ledger
        self._running: dict[int, Trial] = {}
        self._queue: deque[int] = deque()
        self._waiting: dict[int, list[int]] = {}
        self._next = 0
        self._durations: list[float] = []
        self._dry, self._dry_kind = "", "proposals"
        self._expected: deque[float] = deque(maxlen=PATIENT_FOR)
        self._stopped_by = ""
        self._start, self._before = time.monotonic(), 0.0
        self._rejections_written = (0.0, proposals.rejections.total)

    def restore(self, run: Run) -> None:
        """Take up what a run holds: results, repeats, the sampler's state, trials to run again."""
        self._before = run.elapsed_seconds
        self._ledger.given_up_seconds = run.given_up_seconds
        for number, proposal, outcome, curve in stored_trials(run):
            handle = self._proposals.restore(proposal)
            self._ledger.trials[number] = Trial(proposal, handle, curve=curve)
            self._next = number + 1
            if outcome is None:
                self._give_up_seconds(number)
                continue
            self._ledger.trainer_of(number)
            self._ledger.end(number, outcome, measure=False)
            if not outcome.reused:
                self._restore_rungs(number)
            self._teach(number, outcome)
            if outcome.state in TRAINED and not outcome.reused:
                self._durations.append(outcome.train_seconds)
        self._ledger.measure_front()
        # Who resumes after many failures has changed something: they count anew.
        self._ledger.failures_in_a_row = 0
        self._proposals.reteach()
        for number in self._ledger.trials:
            if number not in self._ledger.outcomes:
                self._enter(number)

    def run(self) -> Ended:
        """Search until a limit, the end of the space, or Ctrl-C; what runs then is given up.

        Raises:
            OSError: the study cannot be written any more; what was finished is in it.
            RuntimeError: no worker can be kept alive.
            KeyboardInterrupt: Ctrl-C was pressed twice.
        """
        self._start = time.monotonic()
        # Should this driver die without a word, this is what it leaves.
        killed = Ended("interrupted", "the driver ended without a word", self._before)
        self._writer.set_ended(killed)
        with _signals_taken(self._stop):
            try:
                ended = self._run_to_end()
            except RuntimeError as error:
                self._give_up(Ended("interrupted", str(error), self.seconds))
                raise
            self._give_up(ended)
        self._display.update(self.progress())
        self._display.note(ended.message)
        return ended

    @property
    def seconds(self) -> float:
        """Seconds of driving, this and all earlier ones."""
        return self._before + time.monotonic() - self._start

    def progress(self) -> Progress:
        """The search as it stands."""
        ledger = self._ledger
        return Progress(
            name=self._name,
            done=ledger.num_trained,
            trials=self._limits.trials,
            failed=ledger.num_failed,
            reused=ledger.num_reused,
            running=tuple(self._shown(number) for number in self._running),
            rejected=self._proposals.rejections.counts,
            front=ledger.front,
            hypervolume=ledger.hypervolume,
            best_error=ledger.best_error,
            seconds=self.seconds,
            limit_seconds=self._limits.seconds,
            left_seconds=self._left_seconds(),
            capacity=self._executor.capacity,
            stopped=ledger.num_stopped,
            device_seconds=ledger.device_seconds,
            limit_device_seconds=self._limits.device_seconds,
        )

    # ------------------------------------------------------------------ when to end

    def _run_to_end(self) -> Ended:
        while not (ended := self._end()):
            is_busy = self._fill()
            self._display.update(self.progress())
            self._take_all(self._executor.poll(0.0 if is_busy else TICK_SECONDS))
        # What was done at this very moment still counts.
        self._take_all(self._executor.poll(0.0))
        return self._end() or ended

    def _stop(self, by: str) -> None:
        if self._stopped_by:
            raise KeyboardInterrupt
        self._stopped_by = by

    def _end(self) -> Ended | None:
        found = self._cut_short() or (None if self._running else self._come_to_an_end())
        return Ended(*found, self.seconds) if found else None

    def _cut_short(self) -> tuple[str, str] | None:
        """Why to end though trials are running."""
        ledger = self._ledger
        if self._stopped_by:
            return "interrupted", f"stopped by {self._stopped_by}; go on with --resume"
        if ledger.failures_in_a_row >= MOST_FAILURES:
            last = next(o for o in reversed(ledger.outcomes.values()) if o.state == "failed")
            return "failures", f"{MOST_FAILURES} trials failed in a row; the last: {last.reason}"
        if self._limits.seconds is not None and self.seconds >= self._limits.seconds:
            return "time", f"the time is up: {_trials(ledger.num_trained)} trained"
        return None

    def _come_to_an_end(self) -> tuple[str, str] | None:
        """Why to end when nothing is running."""
        trained = self._ledger.num_trained
        if self._limits.trials is not None and trained >= self._limits.trials:
            if trained > self._limits.trials:
                asked = self._limits.trials
                return "trials", f"the run already has {_trials(trained)} trained, {asked} asked"
            return "trials", f"{_trials(trained)} trained, as asked"
        if self._dry and not self._queue:
            return self._dry_kind, self._dry
        if not self._has_time():
            return "time", f"no time for another trial: {_trials(trained)} trained"
        if not self._has_device_seconds():
            spent = format_seconds(self._ledger.device_seconds)
            return "device-seconds", f"the budget is spent: {_trials(trained)} trained in {spent}"
        return None

    def _has_time(self) -> bool:
        """Whether a trial that starts now would end before the limit, as far as is known."""
        if self._limits.seconds is None:
            return True
        return self.seconds + self._expected_seconds < self._limits.seconds

    def _has_device_seconds(self) -> bool:
        """Whether a trial that starts now would end within the budget, as far as is known."""
        if self._limits.device_seconds is None:
            return True
        each = self._ledger.median_seconds
        expected = self._ledger.device_seconds + each * (len(self._running) + 1)
        return expected <= self._limits.device_seconds

    @property
    def _expected_seconds(self) -> float:
        return statistics.median(self._durations) if self._durations else 0.0

    # ------------------------------------------------------------------ proposing

    def _fill(self) -> bool:
        """Submit while workers are free; whether there is more to propose at once."""
        end = time.monotonic() + TICK_SECONDS
        while (
            len(self._running) < self._executor.capacity
            and self._has_time()
            and self._has_device_seconds()
        ):
            trials, busy = self._limits.trials, len(self._running)
            if trials is not None and self._ledger.num_trained + busy >= trials:
                return False
            if self._queue:
                self._submit(self._queue.popleft())
            elif self._dry or self._has_no_patience() or not self._propose():
                return False
            if time.monotonic() >= end or self._stopped_by:
                return True
        return False

    def _propose(self) -> bool:
        """One try at a new trial; False where there is nothing more to propose."""
        if self._proposals.is_exhausted:
            self._dry = "every network of the space was trained or rejected"
        elif self._proposals.in_a_row >= MOST_REJECTED:
            self._dry = self._proposals.why_none()
        else:
            accepted = self._proposals.attempt(self._next)
            if accepted is not None:
                self._begin(accepted)
            self._write_rejections(every=REJECTIONS_EVERY_SECONDS)
        return not self._dry

    def _has_no_patience(self) -> bool:
        """Whether too little is expected of further trials; then there are none."""
        patience, expected = self._limits.patience, self._expected
        if patience is None or len(expected) < PATIENT_FOR:
            return False
        mean = statistics.fmean(expected)
        if mean >= patience:
            return False
        self._dry_kind = "patience"
        self._dry = (
            f"a further trial is expected to add {100 * mean:.3g} % to the hypervolume, less than "
            f"the {100 * patience:.3g} % asked for"
        )
        return True

    def _begin(self, accepted: Accepted) -> None:
        proposal = accepted.proposal
        if accepted.expected_share is not None:
            self._expected.append(accepted.expected_share)
        outcome = self._ledger.known_outcome(proposal.proxy_fingerprint)
        number = self._writer.add(proposal, outcome, self.seconds)
        assert number == self._next, "somebody else writes this study"
        self._next += 1
        self._ledger.trials[number] = Trial(proposal, accepted.handle)
        if outcome is None:
            self._enter(number)
        else:
            self._end_trial(number, outcome)

    def _enter(self, number: int) -> None:
        """Queue a trial for training, or let it wait for the one that trains its proxy."""
        trainer = self._ledger.trainer_of(number)
        proxy = self._ledger.trials[number].proposal.proxy_fingerprint
        outcome = self._ledger.known_outcome(proxy)
        if trainer == number:
            self._queue.append(number)
        elif outcome is not None:
            self._finish(number, outcome)
        else:
            self._waiting.setdefault(trainer, []).append(number)

    def _submit(self, number: int) -> None:
        trial = self._ledger.trials[number]
        trial.begin(time.monotonic())
        self._running[number] = trial
        proposal = trial.proposal
        waits = self._halving is not None
        self._executor.submit(Job(number, proposal.architecture, self._task, proposal.seed, waits))

    # ------------------------------------------------------------------ reports

    def _take_all(self, reports: Sequence[Report]) -> None:
        for report in reports:
            trial = self._running.get(report.number)
            if trial is not None:  # it was not stopped at an earlier report of these
                self._take(report.number, trial, report)

    def _take(self, number: int, trial: Trial, report: Report) -> None:
        if report.kind == "started":
            trial.started = time.monotonic()
        elif report.kind == "rung":
            assert report.result is not None
            trial.add(report.result)
            self._writer.set_curve(number, trial.curve)
            self._judge(number, trial)
        elif report.kind == "lost":
            self._take_lost(number, trial, report)
        else:
            del self._running[number]
            self._durations.append(time.monotonic() - trial.started)
            self._finish(number, _outcome(report, trial))

    def _judge(self, number: int, trial: Trial) -> None:
        """Let a trial that waits at a rung go on, or stop it for good."""
        halving, result = self._halving, trial.last
        assert result is not None
        if halving is None or not math.isfinite(result.error):  # that one fails by itself
            self._executor.go_on(number)
            return
        # One that runs again was judged at the rungs that it passed before.
        if result.epoch > halving.last_epoch(number):
            costs = self._ledger.costs_of(number)
            decision = halving.report(number, result.epoch, result.error, costs)
            if not decision.goes_on:
                self._executor.stop(number)
                del self._running[number]
                self._durations.append(time.monotonic() - trial.started)
                stopped = Outcome(
                    "pruned",
                    epochs=result.epoch,
                    train_seconds=result.train_seconds,
                    reason=decision.reason,
                )
                self._finish(number, stopped)
                return
        self._executor.go_on(number)

    def _restore_rungs(self, number: int) -> None:
        if self._halving is None:
            return
        ledger = self._ledger
        costs, outcome = ledger.costs_of(number), ledger.outcomes[number]
        for epoch, error in ledger.curve_of(number):
            if epoch in self._halving.rungs:
                goes_on = outcome.state != "pruned" or epoch < outcome.epochs
                self._halving.restore(number, int(epoch), error, costs, goes_on=goes_on)

    def _take_lost(self, number: int, trial: Trial, report: Report) -> None:
        self._give_up_seconds(number)
        del self._running[number]
        reason = report.reason
        if report.is_shared:
            # It may have been the others: only what happens to it alone counts against it.
            trial.tries -= 1
            self._display.note(
                f"trial {number}: {reason}, with others beside it; it runs again alone"
            )
            self._queue.appendleft(number)
        elif trial.tries < MOST_TRIES:
            self._display.note(f"trial {number}: {reason}; it runs again")
            self._queue.appendleft(number)
        else:
            self._executor.stop(number)
            reason = f"{reason}, {trial.tries} times in all"
            self._finish(number, Outcome("failed", reason=reason, is_lost=True))

    def _finish(self, number: int, outcome: Outcome) -> None:
        costs = self._ledger.trials[number].proposal.costs
        self._writer.finish(number, costs, outcome, self.seconds)
        self._end_trial(number, outcome)
        # They take the result over; where it was lost, the first of them trains.
        for waiting in self._waiting.pop(number, []):
            self._enter(waiting)

    def _end_trial(self, number: int, outcome: Outcome) -> None:
        self._ledger.end(number, outcome)
        self._teach(number, outcome)
        costs = self._ledger.trials[number].proposal.costs
        error = outcome.error
        shown = outcome.reason if error is None else f"error {100 * error:.2f}%"
        how = " (reused)" if outcome.reused else ""
        if outcome.state == "pruned":
            # The reason says by itself that it was stopped, where, and by whom.
            ended = f"{how.strip()} {shown}".strip()
        else:
            ended = f"{outcome.state}{how}: {shown}"
        self._display.note(
            f"trial {number} {ended}, {format_count(costs['macs'])} MACs, "
            f"{format_count(costs['params'])} parameters"
        )

    def _teach(self, number: int, outcome: Outcome) -> None:
        trial = self._ledger.trials[number]
        if outcome.is_lost:
            self._proposals.forget(trial.handle)
        else:
            self._proposals.learn(
                trial.handle, outcome.error, trial.proposal.costs, self._ledger.curve_of(number)
            )

    # ------------------------------------------------------------------ showing and giving up

    def _shown(self, number: int) -> RunningTrial:
        trial = self._running[number]
        return RunningTrial(
            number=number,
            epoch=trial.last.epoch if trial.last else 0,
            epochs=self._task.rungs[-1],
            error=trial.last.error if trial.last else math.nan,
            macs=trial.proposal.costs["macs"],
        )

    def _left_seconds(self) -> float | None:
        limits, left = self._limits, []
        if limits.seconds is not None:
            left.append(max(limits.seconds - self.seconds, 0.0))
        at_once = max(self._executor.capacity, 1)
        if limits.trials is not None and self._durations:
            each = self._expected_seconds / at_once
            left.append(each * max(limits.trials - self._ledger.num_trained, 0))
        if limits.device_seconds is not None:
            unspent = limits.device_seconds - self._ledger.device_seconds
            left.append(max(unspent, 0.0) / at_once)
        return min(left, default=None)

    def _give_up_seconds(self, number: int) -> None:
        """Charge the run for what a trial took that has to begin again."""
        trial = self._ledger.trials[number]
        if trial.curve:
            self._ledger.given_up_seconds += trial.curve[-1][SECONDS] or 0.0
            self._writer.set_given_up_seconds(self._ledger.given_up_seconds)
            self._writer.set_curve(number, [])
            trial.curve = []

    def _give_up(self, ended: Ended) -> None:
        """Record the end; what runs, is queued or waits for a result is left to a resume."""
        waiting = [number for numbers in self._waiting.values() for number in numbers]
        for number in [*self._running, *self._queue, *waiting]:
            self._executor.stop(number)
            self._writer.interrupt(number)
        self._write_rejections()
        self._writer.set_ended(ended)

    def _write_rejections(self, every: float = 0.0) -> None:
        written, total = self._rejections_written
        rejections = self._proposals.rejections
        if rejections.total > total and time.monotonic() - written >= every:
            self._writer.set_rejections(rejections)
            self._rejections_written = (time.monotonic(), rejections.total)


@contextlib.contextmanager
def _signals_taken(stop: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call ``stop``; only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(number: int, frame: FrameType | None) -> None:
        stop("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count:,} trials"


def _outcome(report: Report, trial: Trial) -> Outcome:
    result = report.result or trial.last
    epochs = result.epoch if result else 0
    seconds = result.train_seconds if result else 0.0
    if report.kind == "done" and result is not None and math.isfinite(result.error):
        return Outcome("complete", result.error, epochs, seconds)
    reason = report.reason or "it ended without an error to compare"
    return Outcome("failed", epochs=epochs, train_seconds=seconds, reason=reason)
