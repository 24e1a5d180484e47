"""A driver that is not alone: several work on one study, on one machine or many.

What a driver does by itself it does here as well (:mod:`nas.search.driver`). Besides it looks at
what the others have done, about once a second, and takes it into its ledger, its sampler and its
halving. New trials are proposed in turns: who has the turn looks, proposes for its free workers,
and adds the rows, all at once. So no network is proposed twice, and the limits, which are the
run's, hold over all drivers together. A trial whose driver is dead is claimed in a turn and runs
again under its number and seed, hence to the same result. A driver that finds one of its trials
claimed drops it.

The end: a driver waits until all trials have ended, for until then it may have to take one over,
or train another in place of one that failed.

Left out: turns, owners and claims (:mod:`nas.records.sharing`), who is dead
(:mod:`nas.records.drivers`).
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

from nas.records import Ended, Outcome, Rejections, Run
from nas.records.drivers import Driver, Drivers, names
from nas.records.heartbeat import Heartbeat
from nas.records.news import News, TrialNews
from nas.records.sharing import NotOwner, SharedWriter, Turn
from nas.search.driver import (
    REJECTIONS_EVERY_SECONDS,
    SECONDS,
    TICK_SECONDS,
    TRAINED,
    Search,
)
from nas.search.executor import Report
from nas.search.ledger import Trial
from nas.search.proposals import Accepted

LOOK_SECONDS = 1.0
"""The others' results are looked at so often, and whenever there is something to propose."""

LONG_TURN_SECONDS = 30.0
"""How long the turn is waited for where there is nothing else to do: at the beginning and end."""

UNFINISHED = ("interrupted", "failures")
"""Ends of a driver that are no end of the search."""


@dataclass(frozen=True)
class _Begun:
    """What a turn has brought: claimed trials, and new ones with their numbers."""

    claimed: list[int]
    numbers: list[int]
    accepted: list[Accepted]


class SharedSearch(Search):
    """One driver's work on a run that it shares with others."""

    def __init__(self, *arguments: Any, writer: SharedWriter, **named: Any) -> None:
        super().__init__(*arguments, writer=writer, **named)
        self._shared = writer
        writer.is_hurried = lambda: bool(self._ending.stopped_by)
        self._heartbeat: Heartbeat | None = None
        self._said_before: Ended | None = None
        self._drivers = Drivers((), 0.0)
        self._alive: frozenset[str] = frozenset()
        self._open: set[int] = set()
        self._mine: set[int] = set()
        self._owners: dict[int, str | None] = {}
        self._ended_elsewhere: list[int] = []
        self._uncharged_seconds = 0.0
        self._workers_elsewhere = 0
        self._rejections_known = self._proposals.rejections
        self._settled = self._next_look = 0.0

    @property
    def others(self) -> list[Driver]:
        """The other drivers at work, as of the last look."""
        return self._others(self._drivers)

    # ------------------------------------------------------------------ beginning and ending

    def enter(self, run: Run) -> None:
        """Become one of the run's drivers: heartbeats begin.

        Raises:
            ValueError: another driver is alone at work.
            OSError: the others do not let go of the turn.
        """
        heartbeat = Heartbeat(
            self._shared.location,
            self._shared.study_id,
            self._shared.driver,
            seconds=lambda: self._ending.seconds,
            workers=lambda: self._executor.capacity,
        )
        with self._shared.long_turn(LONG_TURN_SECONDS):
            found = heartbeat.enter()
        self._heartbeat = heartbeat
        self._said_before = run.ended_so_far
        self._ending.restore(max(run.elapsed_seconds, found.seconds))
        self._drivers = found
        if self.others:
            self._display.note(f"run {run.name!r} is driven by {names(self.others)}, too")

    def restore(self, run: Run) -> None:
        """Take up what the run holds; what nobody runs any more is claimed as workers are free."""
        self._take_news(self._shared.look())
        self._ended_elsewhere.clear()
        # Who joins after many failures has changed something: they count anew.
        self._ledger.failures_in_a_row = 0
        self._proposals.reteach()

    def leave(self) -> None:
        """Be a driver of the run no more; trials that were not given up are claimed by others."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            # Where the database is away, the others find the process gone, or wait out its grace.
            with contextlib.suppress(OSError), self._shared.turn(TICK_SECONDS) as turn:
                if turn is not None:
                    turn.remove_driver(self._shared.driver)

    def _end(self) -> Ended | None:
        elsewhere = sum(self._is_run_elsewhere(number) for number in self._open - self._mine)
        # Whose result is there already is claimed at once: it is no reason to end.
        near = sum(not self._trains(number) for number in self._orphans())
        running = len(self._running) + elsewhere + near
        return self._ending.ended(running, len(self._open) - running)

    def _give_up(self, ended: Ended) -> None:
        for number in self._unfinished():
            self._executor.stop(number)
            self._write_curve(number, is_last=True)
            if number in self._mine:
                self._interrupt(number)
        self._say_ended(ended)

    def _interrupt(self, number: int) -> None:
        try:
            self._shared.interrupt(number)
        except NotOwner:
            self._drop(number)

    def _say_begun(self, killed: Ended) -> None:
        def say() -> None:
            with self._shared.long_turn(LONG_TURN_SECONDS) as turn:
                said = turn.ended()
                is_over = said is not None and said.kind not in UNFINISHED
                # Who comes when all is done leaves standing what the others said of the end.
                if is_over and (said != self._said_before or self._ending.ended(0, 0)):
                    return
                turn.set_ended(killed)

        self._shared.persist(say)

    def _say_ended(self, ended: Ended) -> None:
        """The last driver says how the search has ended, and whoever sees that it is over."""
        assert self._heartbeat is not None
        self._heartbeat.stop()
        self._shared.persist(lambda: self._say_goodbye(ended))

    def _say_goodbye(self, ended: Ended) -> None:
        with self._shared.long_turn(LONG_TURN_SECONDS) as turn:
            self._settle(turn)
            before = turn.ended()
            is_over = before is not None and before.kind not in UNFINISHED
            if ended.kind not in UNFINISHED or not (is_over or self._others(turn.drivers())):
                turn.set_ended(ended)
            turn.remove_driver(self._shared.driver)

    # ------------------------------------------------------------------ proposing and claiming

    def _fill(self) -> bool:
        self._submit_queued()
        room = self._executor.capacity - len(self._running)
        if self._may_begin(room):
            return self._take_turn(room)
        if time.monotonic() >= self._next_look:
            self._take_news(self._shared.look())
            self._enter_waiting()
        return False

    def _submit_queued(self) -> None:
        while self._queue and len(self._running) < self._executor.capacity:
            # It is among those that count as training.
            if not self._ending.allows_another(self._num_training() - 1):
                return
            self._submit(self._queue.popleft())

    def _may_begin(self, room: int) -> bool:
        """Whether a turn would be of use, by what is known."""
        return bool(self._claimable(room)) or (room > 0 and self._may_propose(0))

    def _may_propose(self, more: int) -> bool:
        """Whether a new trial may begin beside all that train, and so many that will."""
        is_dry = self._ending.is_dry or self._ending.has_no_patience()
        return not is_dry and self._ending.allows_another(self._num_training() + more)

    def _take_turn(self, room: int) -> bool:
        """Take a turn, if it can be had now; whether there is more to do at once."""
        try:
            begun = self._use_turn(room)
        except OSError as error:
            # Whether it has come true is not known: the next look finds out.
            self._shared.wait_for_storage(error)
            return True
        if begun is None:
            return False
        self._begin_all(begun)
        return bool(begun.claimed or begun.accepted)

    def _use_turn(self, room: int) -> _Begun | None:
        """Look, claim and propose for so many free workers; None where others have the turn."""
        accepted: list[Accepted] = []
        try:
            with self._shared.turn(TICK_SECONDS) as turn:
                if turn is None:
                    return None
                self._take_news(turn.news())
                claimable = self._claimable(room)
                accepted = self._propose_some(room - sum(map(self._trains, claimable)))
                claimed = [n for n in claimable if turn.claim(n, self._owners[n])]
                numbers = turn.add([one.proposal for one in accepted])
                is_due = time.monotonic() - self._settled >= REJECTIONS_EVERY_SECONDS
                sums = self._settle(turn) if is_due else None
        except BaseException:
            for one in accepted:
                self._proposals.withdraw(one)
            raise
        if sums is not None:
            self._know_settled(sums)
        return _Begun(claimed, numbers, accepted)

    def _begin_all(self, begun: _Begun) -> None:
        """What a turn has brought is true now: queue it."""
        for number in begun.claimed:
            self._take_over(number)
        for number, one in zip(begun.numbers, begun.accepted, strict=True):
            assert number == self._next, "somebody adds trials out of turn"
            self._next += 1
            self._ending.expect(one.proposal.expected_share)
            self._ledger.trials[number] = Trial(one.proposal, one.handle)
            self._ledger.trainer_of(number)
            self._open.add(number)
        self._enter_waiting()
        for number in (*begun.claimed, *begun.numbers):
            self._mine.add(number)
            self._owners[number] = self._shared.owner
            self._enter(number)

    def _propose_some(self, room: int) -> list[Accepted]:
        """Proposals for so many free workers, as many as can be made in a moment."""
        end = time.monotonic() + TICK_SECONDS
        accepted: list[Accepted] = []
        proxies: set[str] = set()
        while len(proxies) < room and self._may_propose(len(proxies)):
            one = self._attempt(self._next + len(accepted))
            if one is not None:
                accepted.append(one)
                proxy = one.proposal.proxy_fingerprint
                proxies |= set() if self._ledger.has_trainer(proxy) else {proxy}
            if time.monotonic() >= end or self._ending.stopped_by:
                break
        return accepted

    def _claimable(self, room: int) -> list[int]:
        """Trials without a driver that this one can run now, or that need no training."""
        claimable = []
        for number in self._orphans():
            if self._trains(number):
                if room < 1 or not self._ending.allows_another(self._num_training() - 1):
                    continue
                room -= 1
            claimable.append(number)
        return claimable

    def _take_over(self, number: int) -> None:
        trial = self._ledger.trials[number]
        self._display.note(f"trial {number}: its driver is gone; it runs again here")
        if trial.curve:
            self._charge(trial.curve[-1][SECONDS] or 0.0)
        trial.curve = []

    def _charge(self, seconds: float) -> None:
        """These seconds of a device were spent on what has to begin again."""
        self._uncharged_seconds += seconds
        self._ledger.given_up_seconds += seconds

    def _settle(self, turn: Turn) -> Rejections:
        """Add to the run's sums what this driver has to add; all rejections of the run."""
        if self._uncharged_seconds:
            turn.add_given_up_seconds(self._uncharged_seconds)
        busy = {self._owners.get(number) for number in self._open}
        for driver in self._drivers.known:
            if not driver.is_alive(self._drivers.now) and _owner(driver) not in busy:
                turn.remove_driver(driver)
        new = _new_rejections(self._proposals.rejections, self._rejections_known)
        return turn.add_rejections(new) if new.total else self._rejections_known

    def _know_settled(self, rejections: Rejections) -> None:
        """What was settled has become true."""
        self._settled, self._uncharged_seconds = time.monotonic(), 0.0
        self._rejections_known = rejections
        self._proposals.replace_rejections(rejections)

    def _write_rejections(self, every: float = 0.0) -> None:
        """They are written in turns."""

    # ------------------------------------------------------------------ what others have done

    def _take_news(self, news: News) -> None:
        """Take in what others have done; nothing is written, for this may be in a turn."""
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._drivers = news.drivers
        steady = self._heartbeat.steady_seconds if self._heartbeat else 0.0
        self._alive = frozenset(map(_owner, news.drivers.presumed(steady)))
        self._ledger.given_up_seconds = news.given_up_seconds + self._uncharged_seconds
        for item in news.trials:
            self._take_trial(item)
        self._workers_elsewhere = sum(one.workers for one in self._others(news.drivers))
        if any(item.outcome is not None for item in news.trials):
            self._ledger.measure_front()
        if any(item.proposal is not None for item in news.trials):
            self._proposals.leave_out_seen()

    def _take_trial(self, item: TrialNews) -> None:
        number, trials = item.number, self._ledger.trials
        if number not in trials:
            assert item.proposal is not None
            handle = self._proposals.restore(item.proposal)
            trials[number] = Trial(item.proposal, handle)
            self._ledger.trainer_of(number)
            self._open.add(number)
            self._next = number + 1
        is_own = item.owner == self._shared.owner and item.outcome is None
        if number in self._mine and not is_own:
            self._drop(number)
        self._owners[number] = item.owner
        if is_own:
            return
        trials[number].curve = item.curve
        if item.outcome is not None:
            self._hear_end(number, item.outcome)
        elif self._trains(number):
            self._rungs.hear(number)

    def _hear_end(self, number: int, outcome: Outcome) -> None:
        """A trial has ended that another driver ran."""
        self._ledger.end(number, outcome, measure=False)
        if not outcome.reused:
            self._rungs.restore(number)
        self._teach(number, outcome)
        if outcome.state in TRAINED and not outcome.reused:
            self._ending.trained(outcome.train_seconds)
        self._close(number, outcome)
        self._ended_elsewhere.append(number)

    def _enter_waiting(self) -> None:
        """Let those go on that waited for trials which have ended elsewhere."""
        ended, self._ended_elsewhere = self._ended_elsewhere, []
        for number in ended:
            for waiting in self._waiting.pop(number, []):
                self._enter(waiting)

    # ------------------------------------------------------------------ one's own trials

    def _take(self, number: int, trial: Trial, report: Report) -> None:
        try:
            super()._take(number, trial, report)
        except NotOwner:
            self._drop(number)

    def _write_curve(self, number: int, is_last: bool = False) -> None:
        try:
            super()._write_curve(number, is_last)
        except NotOwner:
            self._drop(number)

    def _finish(self, number: int, outcome: Outcome) -> None:
        try:
            super()._finish(number, outcome)
        except NotOwner:
            self._drop(number)

    def _end_trial(self, number: int, outcome: Outcome) -> None:
        super()._end_trial(number, outcome)
        self._close(number, outcome)

    def _close(self, number: int, outcome: Outcome) -> None:
        self._open.discard(number)
        self._mine.discard(number)
        self._owners.pop(number, None)
        if outcome.is_lost:
            self._ledger.elect_trainer(self._ledger.trials[number].proposal.proxy_fingerprint)

    def _drop(self, number: int) -> None:
        """Another driver has claimed a trial of this one, which it had not heard of for long."""
        self._display.note(f"trial {number}: another driver has taken it over")
        self._executor.stop(number)
        self._mine.discard(number)
        self._owners[number] = None
        self._running.pop(number, None)
        if number in self._queue:
            self._queue.remove(number)
        for waiting in self._waiting.values():
            if number in waiting:
                waiting.remove(number)

    def _give_up_seconds(self, number: int) -> None:
        trial = self._ledger.trials[number]
        if trial.curve:
            self._charge(trial.curve[-1][SECONDS] or 0.0)
            trial.curve = []
            self._writer.set_curve(number, [])

    # ------------------------------------------------------------------ who does what

    @property
    def _at_once(self) -> int:
        return self._executor.capacity + self._workers_elsewhere

    def _others(self, drivers: Drivers) -> list[Driver]:
        return [one for one in drivers.alive if one.name != self._shared.driver.name]

    def _is_run_elsewhere(self, number: int) -> bool:
        # One of this driver's name that it does not know of came of a turn whose end it did not
        # hear of: it is claimed like those of the dead.
        owner = self._owners.get(number)
        return owner in self._alive and owner != self._shared.owner

    def _orphans(self) -> list[int]:
        """The unfinished trials whose drivers are gone, or have given them up."""
        return sorted(n for n in self._open - self._mine if not self._is_run_elsewhere(n))

    def _trains(self, number: int) -> bool:
        """Whether an unfinished trial is to be trained, and not to wait for another's result."""
        return self._ledger.trainer_of(number) == number

    def _num_training(self) -> int:
        """How many trials are trained or will be, by all drivers."""
        return sum(map(self._trains, self._open))


def _owner(driver: Driver) -> str:
    return json.dumps(driver.name)


def _new_rejections(now: Rejections, before: Rejections) -> Rejections:
    """What has come since ``before``."""
    counts = {kind: n - before.counts.get(kind, 0) for kind, n in now.counts.items()}
    new = Rejections({kind: n for kind, n in counts.items() if n})
    return Rejections(new.counts, now.last[-new.total :] if new.total else ())
