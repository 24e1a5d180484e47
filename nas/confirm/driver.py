"""The loop of a confirmation: submit trainings, take reports, record; then the test split, once.

A training's row is written before it begins. One that was left running is submitted again under
its number and goes on from its last checkpoint. A training whose worker dies is tried again like
a search's. The seeds go round: all networks have one training before any has two, so that what is
there can be compared however early a confirmation is stopped.

Left out: checks and setting up (:mod:`nas.confirm.launch`), the training (:mod:`nas.confirm.work`).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from nas.confirm.prepare import Prepared
from nas.confirm.progress import ConfirmDisplay, ConfirmProgress, Pace, RunningTraining
from nas.confirm.work import Folders, finished_results, folder_of
from nas.evaluate import RungResult
from nas.records import Ended, Outcome, Proposal
from nas.records.confirmation import Confirmation, Finalist
from nas.records.writing import RunWriter
from nas.search.driver import TICK_SECONDS
from nas.search.executor import Executor, Job, Report
from nas.search.interrupts import signals_taken
from nas.search.ledger import Curve, curve_point
from nas.search.losses import MOST_TRIES
from nas.task import proxy
from nas.training.result_files import ResultFiles


@dataclass(eq=False)
class _Training:
    """A network and a seed; ``number`` is its row's, None before it was begun."""

    finalist: Finalist
    seed: int
    number: int | None = None
    tries: int = 0
    started: float | None = None
    curve: Curve = field(default_factory=list)
    last: RungResult | None = None


class Confirming:
    """One driver's work on a confirmation."""

    def __init__(
        self,
        prepared: Prepared,
        executor: Executor,
        writer: RunWriter,
        folders: Folders,
        display: ConfirmDisplay,
    ) -> None:
        self._prepared, self._executor = prepared, executor
        self._writer, self._folders, self._display = writer, folders, display
        self._running: dict[int, _Training] = {}
        self._queue: deque[_Training] = deque()
        self._total = self._done = self._failed = 0
        costs = {item.name: item.costs["macs"] for item in prepared.confirm.finalists}
        self._pace = Pace(costs)
        self._start, self._before = time.monotonic(), 0.0
        self._stopped_by = ""
        self._phase = "training"

    @property
    def seconds(self) -> float:
        """Seconds of driving, over all restarts."""
        return self._before + time.monotonic() - self._start

    # ------------------------------------------------------------------ the trainings

    def train(self, recorded: Confirmation) -> Ended:
        """Train all that is not trained, until done or Ctrl-C; what runs then is given up.

        Raises:
            OSError: the study cannot be written; what was finished is in it.
            RuntimeError: no worker can be kept alive.
        """
        self._restore(recorded)
        killed = Ended("interrupted", "the driver ended without a word", self.seconds)
        self._writer.set_ended(killed)
        with signals_taken(self._stop):
            try:
                self._loop()
            except RuntimeError as error:
                self._give_up(Ended("interrupted", str(error), self.seconds))
                raise
        return self._give_up(self._ended())

    def _restore(self, recorded: Confirmation) -> None:
        self._before = recorded.study.elapsed_seconds
        rows = {
            (str(row["name"]), int(row["seed"])): row
            for row in recorded.trainings.to_dict("records")
        }
        networks = self._prepared.confirm.finalists
        for seed in range(self._prepared.confirm.seeds):
            for finalist in networks:
                self._total += 1
                row = rows.get((finalist.name, seed))
                state = "new" if row is None else str(row["state"])
                if state == "complete" and row is not None:
                    self._done += 1
                    self._pace.observe(finalist.name, float(row["train_seconds"]))
                    continue
                training = _Training(finalist, seed)
                if state == "running" and row is not None:
                    training.number = int(row["row"])
                self._queue.append(training)

    def _loop(self) -> None:
        while (self._queue or self._running) and not self._stopped_by:
            while self._queue and len(self._running) < self._executor.capacity:
                self._submit(self._queue.popleft())
            self._display.update(self.progress())
            for report in self._executor.poll(TICK_SECONDS):
                if report.number in self._running:
                    self._take(report.number, self._running[report.number], report)

    def _stop(self, by: str) -> None:
        if self._stopped_by:
            raise KeyboardInterrupt
        self._stopped_by = by

    def _submit(self, training: _Training) -> None:
        finalist, task = training.finalist, self._prepared.task
        if training.number is None:
            training.number = self._writer.add(
                Proposal(
                    architecture=finalist.network,
                    values={},
                    costs=finalist.costs,
                    proxy_fingerprint=proxy(finalist.network, task).fingerprint,
                    seed=training.seed,
                    origin=finalist.name,
                )
            )
        training.tries += 1
        training.started = None
        self._running[training.number] = training
        self._executor.submit(self._job(training, training.number))

    def _job(self, training: _Training, number: int) -> Job:
        return Job(number, training.finalist.network, self._prepared.task, training.seed)

    def _take(self, number: int, training: _Training, report: Report) -> None:
        if report.kind == "started":
            training.started = time.monotonic()
        elif report.kind == "rung":
            assert report.result is not None
            training.last = report.result
            training.curve.append(curve_point(report.result))
            self._writer.set_curve(number, training.curve)
            seconds = report.result.train_seconds / report.result.epoch
            self._pace.observe(training.finalist.name, seconds * self._prepared.task.rungs[-1])
        elif report.kind == "lost":
            self._take_lost(number, training, report)
        elif report.kind == "done":
            self._finish(number, training, self._result(number, training))
        else:
            self._finish(number, training, Outcome("failed", reason=report.reason))

    def _result(self, number: int, training: _Training) -> Outcome:
        """What the files say: all rungs, those of before an interruption included."""
        job = self._job(training, number)
        results = finished_results(ResultFiles(folder_of(job, self._folders)), job)
        assert results is not None, "a training that is done has its files"
        training.curve = [curve_point(result) for result in results]
        self._writer.set_curve(number, training.curve)
        last = results[-1]
        return Outcome("complete", last.error, last.epoch, last.train_seconds)

    def _take_lost(self, number: int, training: _Training, report: Report) -> None:
        del self._running[number]
        label = _label(training)
        if report.is_shared or report.is_bystander:
            training.tries -= 1
        if training.tries < MOST_TRIES:
            self._display.note(f"{label}: {report.reason}; it goes on from its last epoch")
            self._queue.appendleft(training)
            return
        self._executor.stop(number)
        self._running[number] = training
        reason = f"{report.reason}, {training.tries} times in all"
        self._finish(number, training, Outcome("failed", reason=reason, is_lost=True))

    def _finish(self, number: int, training: _Training, outcome: Outcome) -> None:
        del self._running[number]
        self._writer.finish(number, training.finalist.costs, outcome, self.seconds)
        has_failed = outcome.state == "failed"
        self._failed += has_failed
        self._done += not has_failed
        if outcome.error is not None:
            self._pace.observe(training.finalist.name, outcome.train_seconds)
        error = outcome.error
        said = f"failed: {outcome.reason}" if error is None else f"error {100 * error:.2f} %"
        self._display.note(f"{_label(training)} {said}")

    def _ended(self) -> Ended:
        if self._stopped_by and (self._queue or self._running):
            message = f"stopped by {self._stopped_by}; go on with --resume"
            return Ended("interrupted", message, self.seconds)
        if self._failed:
            message = f"{self._failed} of {self._total} trainings failed; --resume tries them again"
            return Ended("failures", message, self.seconds)
        return Ended("trained", f"{self._total} trainings are done", self.seconds)

    def _give_up(self, ended: Ended) -> Ended:
        for number in self._running:
            self._executor.stop(number)
            self._writer.interrupt(number)
        self._writer.set_ended(ended)
        self._display.update(self.progress())
        return ended

    # ------------------------------------------------------------------ the test split

    def measure(self, trained: Confirmation, executor: Executor) -> dict[int, tuple[float, float]]:
        """Error and loss on the test split of the complete trainings that lack them, by row.

        Raises:
            ValueError: weights are gone; the message says which.
            RuntimeError: no worker can be kept alive.
            KeyboardInterrupt: Ctrl-C; nothing of it is kept.
        """
        self._phase = "test"
        rows = trained.trainings
        missing = rows[(rows["state"] == "complete") & ~rows["row"].isin(trained.test.keys())]
        by_name = {item.name: item for item in self._prepared.confirm.finalists}
        self._queue = deque(
            _Training(by_name[str(row["name"])], int(row["seed"]), int(row["row"]))
            for row in missing.to_dict("records")
        )
        self._done, self._total = 0, len(self._queue)
        found: dict[int, tuple[float, float]] = {}
        with signals_taken(self._stop):
            while self._queue or self._running:
                if self._stopped_by:
                    raise KeyboardInterrupt
                self._measure_some(executor, found)
        return found

    def _measure_some(self, executor: Executor, found: dict[int, tuple[float, float]]) -> None:
        while self._queue and len(self._running) < executor.capacity:
            training = self._queue.popleft()
            assert training.number is not None
            training.tries += 1
            self._running[training.number] = training
            executor.submit(self._job(training, training.number))
        self._display.update(self.progress())
        for report in executor.poll(TICK_SECONDS):
            training = self._running[report.number]
            if report.kind == "done" and report.result is not None:
                found[report.number] = (report.result.error, report.result.validation_loss)
                del self._running[report.number]
                self._done += 1
            elif report.kind == "lost" and training.tries < MOST_TRIES:
                self._queue.append(self._running.pop(report.number))
            elif report.kind in ("failed", "lost"):
                raise ValueError(f"{_label(training)} on the test split: {report.reason}")

    # ------------------------------------------------------------------ showing

    def progress(self) -> ConfirmProgress:
        """The confirmation as it stands."""
        now, spent = time.monotonic(), dict[str, list[float]]()
        for training in self._running.values():
            seconds = 0.0 if training.started is None else now - training.started
            spent.setdefault(training.finalist.name, []).append(seconds)
        waiting = [training.finalist.name for training in self._queue]
        left = self._pace.left(waiting, spent, self._executor.capacity)
        return ConfirmProgress(
            run=self._prepared.run.name,
            phase=self._phase,
            done=self._done,
            total=self._total,
            failed=self._failed,
            running=tuple(
                RunningTraining(
                    training.finalist.name,
                    training.seed,
                    training.last.epoch if training.last else 0,
                    self._prepared.task.rungs[-1],
                )
                for training in self._running.values()
            ),
            seconds=self.seconds,
            left_seconds=left if self._phase == "training" else None,
        )


def _label(training: _Training) -> str:
    return f"{training.finalist.name} seed {training.seed}"
