"""The loop of a search: propose, submit, take reports, record; nothing finished is ever lost.

The driver alone writes the study. A trial's row is written before it trains, so a killed driver
leaves it running: a resumed search runs it again first, under the same number and with the same
seed, hence to the same result. A proxy network that was trained already is not trained again:
its result is taken over (``reused``), at once or when the running one is done.

With halving, a trial waits at each rung for the decision whether it goes on; one that is stopped
is final, and taught with the error that it had. At the limit of time what still runs is given up
like at Ctrl-C; when another budget is spent it ends as it would.

Left out: checking input and setting up (:mod:`nas.search.launch`), when to end
(:mod:`nas.search.ending`), the rungs (:mod:`nas.search.rungs`).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

from nas.cost import LATENCY, format_cost
from nas.quantities import format_count
from nas.records import Ended, Outcome, Run
from nas.records.lasting import StorageAwayError
from nas.records.writing import RunWriter
from nas.search.display import Display, Progress, RunningTrial
from nas.search.ending import Ending
from nas.search.executor import Executor, Job, Report
from nas.search.halving import Halving
from nas.search.interrupts import signals_taken
from nas.search.ledger import Ledger, Trial, stored_trials
from nas.search.limits import Limits
from nas.search.losses import is_overdue, overdue_outcome, take_loss
from nas.search.proposals import Accepted, Proposals
from nas.search.rungs import Rungs
from nas.task import Task

KILLED = "the driver ended without a word"

MOST_REJECTED = 2_000
"""So many rejected proposals in a row end a search."""

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
        self._name, self._task = writer.location.name, task
        self._writer, self._executor, self._display = writer, executor, display
        self._proposals, self._ledger = proposals, ledger
        self._running: dict[int, Trial] = {}
        self._queue: deque[int] = deque()
        self._waiting: dict[int, list[int]] = {}
        self._next = 0
        self._held: Accepted | None = None
        self._ending = Ending(limits, ledger)
        self._rungs = Rungs(halving, executor, ledger)
        self._rejections_written = (0.0, proposals.rejections.total)

    def restore(self, run: Run) -> None:
        """Take up what a run holds: results, repeats, the sampler's state, trials to run again."""
        self._ending.restore(run.elapsed_seconds)
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
                self._rungs.restore(number)
            self._teach(number, outcome)
            if outcome.state in TRAINED and not outcome.reused:
                self._ending.trained(outcome.train_seconds)
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
            OSError: the study cannot be written any more; what was finished is in it, or in the
                journal that a resumed search takes up.
            RuntimeError: no worker can be kept alive.
            KeyboardInterrupt: Ctrl-C was pressed twice.
        """
        self._ending.begin()
        # Should this driver die without a word, this is what it leaves.
        self._say_begun(Ended("interrupted", KILLED, self._ending.seconds))
        with signals_taken(self._stop):
            try:
                ended = self._run_to_end()
            except RuntimeError as error:
                self._give_up(Ended("interrupted", str(error), self._ending.seconds))
                raise
            self._give_up(ended)
        self._display.update(self.progress())
        self._display.note(ended.message)
        return ended

    @property
    def seconds(self) -> float:
        """Seconds of driving the run so far."""
        return self._ending.seconds

    def progress(self) -> Progress:
        """The search as it stands."""
        ledger, limits = self._ledger, self._ending.limits
        return Progress(
            name=self._name,
            done=ledger.num_trained,
            trials=limits.trials,
            failed=ledger.num_failed,
            reused=ledger.num_reused,
            running=tuple(self._shown(number) for number in self._running),
            rejected=self._proposals.rejections.counts,
            front=ledger.front,
            hypervolume=ledger.hypervolume,
            best_error=ledger.best_error,
            seconds=self._ending.seconds,
            limit_seconds=limits.seconds,
            left_seconds=self._ending.left_seconds(self._at_once),
            capacity=self._executor.capacity,
            stopped=ledger.num_stopped,
            device_seconds=ledger.device_seconds,
            limit_device_seconds=limits.device_seconds,
            notice=self._writer.notice,
        )

    def _run_to_end(self) -> Ended:
        while not (ended := self._end()):
            self._writer.flush()
            is_busy = self._fill()
            self._display.update(self.progress())
            self._take_all(self._executor.poll(0.0 if is_busy else TICK_SECONDS))
            self._end_overdue()
        # What was done at this very moment still counts.
        self._take_all(self._executor.poll(0.0))
        return self._end() or ended

    @property
    def _at_once(self) -> int:
        """How many trials of the run are trained at once."""
        return self._executor.capacity

    def _end(self) -> Ended | None:
        return self._ending.ended(len(self._running), len(self._queue))

    def _stop(self, by: str) -> None:
        if self._ending.stopped_by:
            raise KeyboardInterrupt
        self._ending.stopped_by = by

    # ------------------------------------------------------------------ proposing

    def _fill(self) -> bool:
        """Submit while workers are free; whether there is more to propose at once."""
        end = time.monotonic() + TICK_SECONDS
        while len(self._running) < self._executor.capacity:
            if not self._ending.allows_another(len(self._running)):
                return False
            if self._queue:
                self._submit(self._queue.popleft())
            elif self._ending.is_dry or self._ending.has_no_patience() or not self._propose():
                return False
            if time.monotonic() >= end or self._ending.stopped_by:
                return True
        return False

    def _propose(self) -> bool:
        """One try at a new trial; False where there is nothing to propose now."""
        if self._writer.is_away:
            return False
        accepted, self._held = self._held or self._attempt(self._next), None
        if accepted is not None:
            try:
                self._begin(accepted)
            except StorageAwayError:
                self._held = accepted  # it gets its row when the storage is back
                return False
        self._write_rejections(every=REJECTIONS_EVERY_SECONDS)
        return not self._ending.is_dry

    def _attempt(self, number: int) -> Accepted | None:
        """One try at a proposal for trial ``number``; None where it is refused, or none is left."""
        if self._proposals.is_exhausted:
            self._ending.run_dry("every network of the space was trained or rejected")
        elif self._proposals.in_a_row >= MOST_REJECTED:
            self._ending.run_dry(self._proposals.why_none())
        else:
            return self._proposals.attempt(number)
        return None

    def _begin(self, accepted: Accepted) -> None:
        proposal = accepted.proposal
        outcome = self._ledger.known_outcome(proposal.proxy_fingerprint)
        number = self._writer.add(proposal, outcome, self._ending.seconds)
        self._ending.expect(proposal.expected_share)
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
        waits = self._rungs.are_judged
        self._executor.submit(Job(number, proposal.architecture, self._task, proposal.seed, waits))

    # ------------------------------------------------------------------ reports

    def _take_all(self, reports: Sequence[Report]) -> None:
        for report in reports:
            trial = self._running.get(report.number)
            if trial is not None:  # it was not stopped at an earlier report of these
                self._take(report.number, trial, report)
        # Of a trial that has ended as well, the curve was written with its end.
        for number in dict.fromkeys(report.number for report in reports):
            self._write_curve(number)

    def _write_curve(self, number: int, is_last: bool = False) -> None:
        trial = self._running.get(number)
        if trial is None or trial.is_curve_written:
            return
        is_trained = trial.last is not None and trial.last.epoch == self._task.rungs[-1]
        if is_trained and not is_last:
            return  # its end is on the way, and brings the curve along
        self._writer.set_curve(number, trial.curve)
        trial.is_curve_written = True

    def _take(self, number: int, trial: Trial, report: Report) -> None:
        if report.kind == "started":
            trial.take_up(time.monotonic())
        elif report.kind == "rung":
            assert report.result is not None
            trial.add(report.result)
            trial.is_curve_written = False
            stopped = self._rungs.judge(number, trial)
            if stopped is not None:
                self._take_end(number, trial, stopped)
        elif report.kind == "lost":
            self._take_lost(number, trial, report)
        else:
            self._take_end(number, trial, _outcome(report, trial))

    def _take_end(self, number: int, trial: Trial, outcome: Outcome) -> None:
        del self._running[number]
        self._ending.trained(time.monotonic() - trial.started)
        self._finish(number, outcome)

    def _take_lost(self, number: int, trial: Trial, report: Report) -> None:
        self._give_up_seconds(number)
        del self._running[number]
        loss = take_loss(trial, report)
        if loss.outcome is None:
            self._display.note(f"trial {number}: {loss.note}")
            self._queue.appendleft(number)
            return
        self._executor.stop(number)
        self._finish(number, loss.outcome)

    def _end_overdue(self) -> None:
        """Give up the trials that are over the limit of one trial's time."""
        limit, now = self._ending.limits.trial_seconds, time.monotonic()
        for number, trial in list(self._running.items()):
            if limit is None or not is_overdue(trial, limit, now):
                continue
            # Where another job of its process hangs, it is that one's time, not this one's.
            if not self._executor.is_held(number):
                self._executor.stop(number)
                self._take_end(number, trial, overdue_outcome(trial, limit))

    def _finish(self, number: int, outcome: Outcome) -> None:
        trial = self._ledger.trials[number]
        curve = None if trial.is_curve_written else trial.curve
        self._writer.finish(number, trial.proposal.costs, outcome, self._ending.seconds, curve)
        trial.is_curve_written = True
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
            + (f", {format_cost(LATENCY, costs[LATENCY])}" if LATENCY in costs else "")
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

    def _give_up_seconds(self, number: int) -> None:
        """Charge the run for what a trial took that has to begin again."""
        trial = self._ledger.trials[number]
        if trial.curve:
            self._ledger.given_up_seconds += trial.curve[-1][SECONDS] or 0.0
            self._writer.set_given_up_seconds(self._ledger.given_up_seconds)
            self._writer.set_curve(number, [])
            trial.curve = []

    def _unfinished(self) -> list[int]:
        """The trials of this driver that run, are queued or wait for a result."""
        waiting = [number for numbers in self._waiting.values() for number in numbers]
        return [*self._running, *self._queue, *waiting]

    def _give_up(self, ended: Ended) -> None:
        """Record the end; what has not ended is left to a resume."""
        for number in self._unfinished():
            self._executor.stop(number)
            self._write_curve(number, is_last=True)
            self._writer.interrupt(number)
        self._write_rejections()
        self._say_ended(ended)

    def _say_begun(self, killed: Ended) -> None:
        self._writer.set_ended(killed)

    def _say_ended(self, ended: Ended) -> None:
        self._writer.set_ended(ended)
        self._writer.settle(lambda: bool(self._ending.stopped_by))

    def _write_rejections(self, every: float = 0.0) -> None:
        written, total = self._rejections_written
        rejections = self._proposals.rejections
        if rejections.total > total and time.monotonic() - written >= every:
            self._writer.set_rejections(rejections)
            self._rejections_written = (time.monotonic(), rejections.total)


def _outcome(report: Report, trial: Trial) -> Outcome:
    result = report.result or trial.last
    epochs = result.epoch if result else 0
    seconds = result.train_seconds if result else 0.0
    if report.kind == "done" and result is not None and math.isfinite(result.error):
        return Outcome("complete", result.error, epochs, seconds)
    reason = report.reason or "it ended without an error to compare"
    return Outcome("failed", epochs=epochs, train_seconds=seconds, reason=reason)
