"""A writer that outlives a storage that is away for a while: nothing finished is lost.

While the storage does not answer, writes wait here in order and are tried again, with longer and
longer pauses; the search goes on with what runs. What is finished meanwhile also goes to a
journal on the disk (:mod:`nas.records.journal`), so that it outlives this process, too. Where the
storage stays away for longer than a limit, or a write fails for good (a full disk), the search
ends, and a resumed one takes up the journal (:func:`take_up`).

A write whose answer was lost may have been done. All are safe to be repeated: they replace, or
find that it is done; a trial's row is looked for by what it holds before it is written again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models

from nas.quantities import format_seconds
from nas.records.journal import Journal, left_entries
from nas.records.outages import is_passing, pause_seconds
from nas.records.stored import (
    Ended,
    Location,
    Outcome,
    Proposal,
    Rejections,
    RunSettings,
    Stop,
    cause,
)
from nas.records.writing import RunWriter, proposal_data

WAIT_SECONDS = 120.0
"""How long a storage may be away before a search ends, where nothing else is asked for."""

Note: TypeAlias = Callable[[str], None]
_Key: TypeAlias = tuple[str, int | str]


class StorageAwayError(OSError):
    """The storage does not answer now; what was asked for was not done, and can be asked again."""


@dataclass
class _Write:
    """A write that waits: how to do it, and what the journal keeps of it, if it keeps it."""

    do: Callable[[], None]
    entry: dict[str, Any] | None = None
    is_kept: bool = False
    tries: int = 0


@dataclass
class _Outage:
    """Since when the storage is away, why, how often it was tried, and when it is tried again."""

    since: float
    reason: str
    tries: int = 0
    next_try: float = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


BUSY_SECONDS = 5.0
"""A SQLite file that is locked for longer counts as away."""


class LastingWriter(RunWriter):
    """Writes a run's trials; where that cannot be done now, it is made up for later.

    ``created`` is the moment the run was created, which tells it from another of its name.
    ``note`` is told when the storage goes and comes back. Call :meth:`flush` often and
    :meth:`settle` at the end.

    Raises:
        OSError: the study cannot be written.
    """

    busy_seconds = BUSY_SECONDS

    def __init__(
        self,
        location: Location,
        objectives: Sequence[str],
        distributions: Mapping[str, BaseDistribution],
        *,
        created: str,
        note: Note,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        super().__init__(location, objectives, distributions)
        self._note, self._wait_seconds = note, wait_seconds
        self._journal = Journal(location.path, _identity(location, created))
        self._waiting: dict[_Key, _Write] = {}
        self._outage: _Outage | None = None
        self._doubtful: Proposal | None = None
        self._unkept = 0

    # ------------------------------------------------------------------ what it says

    @property
    def is_away(self) -> bool:
        """Whether the storage did not answer when it was last asked."""
        return self._outage is not None

    @property
    def notice(self) -> str:
        """For how long the storage is away and how long it may be; empty where it is not."""
        outage = self._outage
        if outage is None:
            return ""
        limit = format_seconds(self._wait_seconds)
        return f"the storage has not answered for {format_seconds(outage.seconds)} of {limit}"

    # ------------------------------------------------------------------ what it is told

    def add(
        self, proposal: Proposal, outcome: Outcome | None = None, elapsed_seconds: float = 0.0
    ) -> int:
        """As :meth:`RunWriter.add`.

        Raises:
            StorageAwayError: not now. Ask again with the same proposal: its row may be there.
            OSError: it cannot be written.
        """
        if not self.flush():
            raise StorageAwayError(self.notice)
        try:
            number = self._find(proposal) if self._doubtful is proposal else None
            if number is None:
                self._doubtful = proposal
                number = super().add(proposal, outcome, elapsed_seconds)
        except OSError as error:
            self._take_fault(error)
            raise StorageAwayError(self.notice) from error
        self._doubtful = None
        return number

    def set_curve(self, number: int, points: Sequence[Sequence[float | None]]) -> None:
        """As :meth:`RunWriter.set_curve`, now or later."""
        curve = [list(point) for point in points]
        write = super().set_curve
        self._enter(("curve", number), lambda: write(number, curve), {"curve": curve})

    def finish(
        self,
        number: int,
        costs: Mapping[str, float],
        outcome: Outcome,
        elapsed_seconds: float,
        curve: Sequence[Sequence[float | None]] | None = None,
    ) -> None:
        """As :meth:`RunWriter.finish`, now or later."""
        write, waiting = super().finish, self._waiting.get(("curve", number))
        points = None if curve is None else [list(point) for point in curve]
        kept = waiting.entry or {} if waiting else {}
        entry = {
            "number": number,
            "costs": dict(costs),
            "outcome": asdict(outcome),
            "elapsed_seconds": elapsed_seconds,
            **(kept if points is None else {"curve": points}),
        }

        def do() -> None:
            write(number, costs, outcome, elapsed_seconds, points)

        self._enter(("finish", number), do, entry)

    def interrupt(self, number: int) -> None:
        """As :meth:`RunWriter.interrupt`, now or later."""
        write = super().interrupt
        self._enter(("interrupt", number), lambda: write(number))

    def set_settings(self, settings: RunSettings) -> None:
        """As :meth:`RunWriter.set_settings`, now or later."""
        write = super().set_settings
        self._enter(("study", "settings"), lambda: write(settings))

    def set_rejections(self, rejections: Rejections) -> None:
        """As :meth:`RunWriter.set_rejections`, now or later."""
        write = super().set_rejections
        self._enter(("study", "rejections"), lambda: write(rejections))

    def set_given_up_seconds(self, seconds: float) -> None:
        """As :meth:`RunWriter.set_given_up_seconds`, now or later."""
        write = super().set_given_up_seconds
        entry = {"given_up_seconds": seconds}
        self._enter(("study", "given_up_seconds"), lambda: write(seconds), entry)

    def set_ended(self, ended: Ended) -> None:
        """As :meth:`RunWriter.set_ended`, now or later."""
        write = super().set_ended
        self._enter(("study", "ended"), lambda: write(ended))

    def set_attribute(self, key: str, value: Any) -> None:
        """As :meth:`RunWriter.set_attribute`, now or later."""
        write = super().set_attribute
        self._enter(("attribute", key), lambda: write(key, value))

    # ------------------------------------------------------------------ writing what waits

    def flush(self) -> bool:
        """Write what waits, if it is time for another try; whether all is written.

        Raises:
            OSError: the storage was away for too long, or a write failed for good; what was
                finished is in the study or in the journal.
        """
        outage = self._outage
        if outage is not None and time.monotonic() < outage.next_try:
            return False
        try:
            if outage is not None:
                self._storage_answers()
            while self._waiting:
                key = next(iter(self._waiting))
                self._write(key, self._waiting[key])
                del self._waiting[key]
        except OSError as error:
            self._take_fault(error)
            return False
        if outage is not None:
            seconds = format_seconds(outage.seconds)
            self._note(f"the storage answers again, after {seconds}; all is written")
        self._outage = None
        if not self._journal.is_empty:
            self._journal.clear()
        return True

    def settle(self, is_hurried: Callable[[], bool]) -> None:
        """Write all that waits, however long the storage may be away; ``is_hurried`` ends that.

        Raises:
            OSError: as :meth:`flush`, or the caller is in a hurry.
        """
        while not self.flush():
            if is_hurried():
                self._end_for(self._outage)
            time.sleep(0.05)

    def close(self) -> None:
        """Give the database back; what was not written is in the journal."""
        self._keep()
        self._journal.close()
        super().close()

    def _enter(
        self,
        key: _Key,
        do: Callable[[], None],
        entry: dict[str, Any] | None = None,
    ) -> None:
        # What replaces an earlier value takes its place: it is written once.
        self._waiting[key] = _Write(do, entry)
        if not self.flush():
            self._keep()

    def _write(self, key: _Key, write: _Write) -> None:
        write.tries += 1
        try:
            write.do()
        except UpdateFinishedTrialError:
            if write.tries == 1 and self._outage is None:
                raise
            # An earlier try was done though its answer was lost; or, while this driver could not
            # be heard of, another one ended the trial. The first result stands.

    def _storage_answers(self) -> None:
        with self._writing():
            self._storage.get_study_id_from_name(self.location.name)

    def _find(self, proposal: Proposal) -> int | None:
        """The number of the row that a try wrote whose answer was lost; None where it wrote none.

        What the row says of the proposal is compared, in rows that this driver does not know of.
        """
        text = json.dumps(proposal_data(proposal))
        known = max(self._trial_ids.values(), default=0)
        row, attribute = models.TrialModel, models.TrialUserAttributeModel
        with self._writing():
            session = self._storage.scoped_session()
            try:
                found = (
                    session.query(row.trial_id, row.number)
                    .join(attribute, attribute.trial_id == row.trial_id)
                    .filter(row.study_id == self._study_id, row.trial_id > known)
                    .filter(attribute.key == "proposal", attribute.value_json == text)
                    .first()
                )
            finally:
                session.close()
        if found is None:
            return None
        self._trial_ids[int(found[1])] = int(found[0])
        return int(found[1])

    # ------------------------------------------------------------------ faults

    def _take_fault(self, error: OSError) -> None:
        """Wait for the storage where waiting may help.

        Raises:
            OSError: it does not, or was waited for long enough.
        """
        if not is_passing(error):
            self._keep()
            failure = OSError(f"{error}{self._said_of_kept()}")
            failure.errno = error.errno
            raise failure from error
        outage, now = self._outage, time.monotonic()
        if outage is None:
            outage = self._outage = _Outage(now, cause(_bottom(error)))
            self._note(
                f"the storage does not answer ({outage.reason}); it is tried again for "
                f"{format_seconds(self._wait_seconds)}, and what runs goes on"
            )
        self._keep()
        if outage.seconds >= self._wait_seconds:
            self._end_for(outage)
        left = self._wait_seconds - outage.seconds
        outage.next_try = now + min(pause_seconds(outage.tries), left)
        outage.tries += 1

    def _end_for(self, outage: _Outage | None) -> None:
        assert outage is not None
        self._keep()
        raise OSError(
            f"cannot write run {self.location.name!r}: the storage has not answered for "
            f"{format_seconds(outage.seconds)} (--storage-wait {format_seconds(self._wait_seconds)}"
            f"): {outage.reason}{self._said_of_kept()}; go on with --resume when it is back"
        )

    def _keep(self) -> None:
        """Put what waits and was finished into the journal, as far as it is not there."""
        for key, write in self._waiting.items():
            if write.is_kept or write.entry is None or key[0] == "curve":
                continue
            try:
                self._journal.append(write.entry)
            except OSError:
                self._unkept += key[0] == "finish"  # said when the search ends for it
            write.is_kept = True

    def _said_of_kept(self) -> str:
        """What became of the trials that were finished and not written."""
        finished = sum(key[0] == "finish" for key in self._waiting)
        kept = finished - self._unkept
        said = ""
        if kept:
            said += f"; {_trials(kept)} finished since kept in {self._journal.path}"
        if self._unkept:
            said += f"; {_trials(self._unkept)} finished since could not be kept: they train again"
        return said


def take_up(location: Location, settings: RunSettings, note: Note) -> None:
    """Write into a run what earlier drivers finished and could not write; before it is read.

    A trial that has ended otherwise since stays as it is.

    Raises:
        OSError: the storage cannot be written; the journal stays.
        ValueError: a journal is damaged.
    """
    for path, entries in left_entries(location.path, _identity(location, settings.created)):
        if entries:
            with contextlib.closing(RunWriter(location, settings.objectives, {})) as writer:
                taken = sum(_take(writer, entry, path) for entry in entries)
            note(f"{_trials(taken)} that an earlier driver finished taken up from {path}")
        path.unlink()


def _take(writer: RunWriter, entry: Mapping[str, Any], path: Any) -> bool:
    """Write one line of a journal; whether it was a trial's end that was not known yet."""
    with _readable(path):
        if "given_up_seconds" in entry:
            writer.set_given_up_seconds(float(entry["given_up_seconds"]))
            return False
        number, seconds = int(entry["number"]), float(entry["elapsed_seconds"])
        data = dict(entry["outcome"])
        if data.get("stop"):
            stop = data["stop"]
            data["stop"] = Stop(**{**stop, "dominated_by": tuple(stop["dominated_by"])})
        outcome, costs = Outcome(**data), dict(entry["costs"])
    try:
        if "curve" in entry:
            writer.set_curve(number, entry["curve"])
        writer.finish(number, costs, outcome, seconds)
    except UpdateFinishedTrialError:
        return False
    return True


@contextlib.contextmanager
def _readable(path: Any) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}; move it away to go on without") from None


def _identity(location: Location, created: str) -> str:
    return f"{location.name} {created}"


def _bottom(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count:,} trials"
