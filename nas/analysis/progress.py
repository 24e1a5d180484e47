"""How a search is getting on, as frames: its pace, what runs now, how long until a limit ends it.

Times are seconds at work: a run that lay still for a night between two restarts did not search
slowly. Left out: what the search has found so far (:func:`nas.analysis.tables.hypervolume_table`)
and where its training went (:func:`nas.analysis.tables.spend_table`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.analysis.next_steps import num_trained

MAX_BINS = 48
TRIALS_PER_BIN = 4
"""So many trials a bin at least, on average: a bar of one trial says little about pace."""

RECENT_TRIALS = 24
"""Trials that the present pace is taken from: enough to smooth, few enough to follow a change."""

ENDED_STATES = ("complete", "pruned", "failed")
PACE_COLUMNS = ["start", "finish", "worked_seconds", *ENDED_STATES, "ended", "per_minute"]
RUNNING_COLUMNS = ["number", "started", "running_seconds", "rung", "rungs", "epoch", "epochs"]
RUNNING_COLUMNS += ["error", "macs", "params", "origin"]
LIMIT_COLUMNS = ["limit", "done", "of", "share", "left_seconds", "is_first"]


def pace_table(
    trials: pd.DataFrame, *, bins: int = MAX_BINS, now: datetime | None = None
) -> pd.DataFrame:
    """Trials that ended, by equal spans of the time at work; up to ``now`` where a driver works.

    Columns: ``start`` and ``finish`` (of the span, by the clock), ``worked_seconds`` (at work
    until its middle), ``complete``, ``pruned``, ``failed``, ``ended`` (their sum) and
    ``per_minute`` (ended a minute at work).
    """
    ended = _ended(trials)
    clock = _Worked(trials, now)
    if ended.empty or clock.total <= 0:
        return pd.DataFrame(columns=PACE_COLUMNS)
    count = int(np.clip(len(ended) // TRIALS_PER_BIN, 1, bins))
    edges = np.linspace(0.0, clock.total, count + 1)
    times = clock.before(_seconds(ended["finished"]))
    which = np.clip(np.searchsorted(edges, times, side="left") - 1, 0, count - 1)
    states = ended["state"].to_numpy()
    counts = {state: np.bincount(which[states == state], minlength=count) for state in ENDED_STATES}
    total = np.sum(list(counts.values()), axis=0)
    return pd.DataFrame(
        {
            "start": _moments(clock.begin(edges[:-1])),
            "finish": _moments(clock.end(edges[1:])),
            "worked_seconds": (edges[:-1] + edges[1:]) / 2,
            **counts,
            "ended": total,
            "per_minute": total * 60.0 / (clock.total / count),
        }
    )


def recent_pace(
    trials: pd.DataFrame, *, now: datetime | None = None, last: int = RECENT_TRIALS
) -> float:
    """Trials a minute over the ``last`` ones that ended; NaN before two have.

    With ``now`` the time since the last end counts too, so that a search that hangs is seen to
    slow down.
    """
    ended = _ended(trials)
    clock = _Worked(trials, now)
    times = np.sort(clock.before(_seconds(ended["finished"])))[-last:]
    if len(times) < 2:
        return float("nan")
    span = (clock.total if now is not None else times[-1]) - times[0]
    return float((len(times) - 1) * 60.0 / span) if span > 0 else float("nan")


def running_table(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    rungs: Sequence[int],
    *,
    now: datetime | None = None,
) -> pd.DataFrame:
    """The trials that run now, the farthest first.

    Columns: ``number``, ``started``, ``running_seconds`` (NaN without ``now``), ``rung`` (how
    many of ``rungs``, the epochs that report, it has reached), ``rungs`` (how many there are),
    ``epoch`` (the last one reported; 0 before), ``epochs``, ``error`` (there; NaN before),
    ``macs``, ``params``, ``origin``.
    """
    running = trials[["number", "started", "macs", "params", "origin"]][
        trials["state"] == "running"
    ]
    if running.empty:
        return pd.DataFrame(columns=RUNNING_COLUMNS)
    numbers = running["number"]
    seen = curves[curves["number"].isin(numbers)].sort_values("epoch").groupby("number").last()
    epoch = numbers.map(seen["epoch"]).fillna(0).astype("int64")
    seconds = np.full(len(running), np.nan)
    if now is not None:
        seconds = (pd.Timestamp(now) - running["started"]).dt.total_seconds().clip(lower=0)
    table = pd.DataFrame(
        {
            "number": numbers,
            "started": running["started"],
            "running_seconds": seconds,
            "rung": np.searchsorted(np.asarray(rungs), epoch, side="right"),
            "rungs": len(rungs),
            "epoch": epoch,
            "epochs": rungs[-1] if len(rungs) else 0,
            "error": numbers.map(seen["error"]).astype(float),
            "macs": running["macs"],
            "params": running["params"],
            "origin": running["origin"],
        }
    )
    order = ["epoch", "number"]
    return table.sort_values(order, ascending=[False, True]).reset_index(drop=True)


def limits_table(
    trials: pd.DataFrame,
    *,
    max_trials: int | None,
    max_seconds: float | None,
    max_device_seconds: float | None,
    elapsed_seconds: float,
    given_up_seconds: float = 0.0,
    now: datetime | None = None,
) -> pd.DataFrame:
    """How near the run is to each limit that it was given, and when it will be there at its pace.

    Columns: ``limit`` ("trials", "seconds", "device_seconds"), ``done``, ``of``, ``share`` (0 to
    1), ``left_seconds`` (NaN before a pace is known), ``is_first`` (the limit that is expected
    to end the search). A row a limit; none where the run has no limit. Trials count as
    ``--trials`` counts them: those that trained.
    """
    trials = trials[[*_TIMES, "reused", "train_seconds"]]
    trained = trials[trials["state"].isin(["complete", "pruned"]) & ~trials["reused"].astype(bool)]
    spent = float(trials["train_seconds"].sum()) + given_up_seconds
    pace = recent_pace(trained, now=now) / 60.0
    each = float(trained.sort_values("finished")["train_seconds"].tail(RECENT_TRIALS).mean())
    limits = {
        "trials": (float(num_trained(trials)), max_trials, pace),
        "seconds": (elapsed_seconds, max_seconds, 1.0),
        "device_seconds": (spent, max_device_seconds, pace * each),
    }
    rows = [
        {
            "limit": name,
            "done": done,
            "of": float(of),
            "share": min(done / of, 1.0) if of else 1.0,
            "left_seconds": max(of - done, 0.0) / speed if speed > 0 else np.nan,
        }
        for name, (done, of, speed) in limits.items()
        if of is not None
    ]
    table = pd.DataFrame(rows, columns=LIMIT_COLUMNS[:-1])
    first = table["left_seconds"].min()
    return table.assign(is_first=(table["left_seconds"] == first) & ~table.index.duplicated())


_TIMES = ["state", "started", "finished"]
"""All that a pace needs; a large run's descriptions would be copied with every choice of rows."""


def _ended(trials: pd.DataFrame) -> pd.DataFrame:
    trials = trials[_TIMES]
    return trials[(trials["state"] != "running") & trials["finished"].notna()]


def _seconds(times: pd.Series) -> NDArray[np.float64]:
    """Timestamps as seconds since the epoch."""
    moments = times.to_numpy().astype("datetime64[us]").astype(np.int64)
    return np.asarray(moments / 1e6, dtype=np.float64)


def _moments(seconds: NDArray[np.float64]) -> NDArray[np.datetime64]:
    """Seconds since the epoch as timestamps, to the millisecond."""
    return (1e3 * seconds).round().astype("datetime64[ms]")


class _Worked:
    """The clock that runs while trials do: wall time to seconds at work, and back.

    It stands still where none of the trials that ended was at work. With ``now`` it has run
    since the last of them ended.
    """

    def __init__(self, trials: pd.DataFrame, now: datetime | None) -> None:
        ended = _ended(trials)
        starts = _seconds(ended["started"].fillna(ended["finished"]))
        ends = _seconds(ended["finished"])
        if now is not None and len(ends):
            last = ends.max()
            starts = np.append(starts, last)
            ends = np.append(ends, max(_seconds(pd.Series([now]))[0], last))
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        latest = np.maximum.accumulate(ends) if len(ends) else ends
        # A stretch of work begins where a trial starts after all before it have ended.
        begins = np.flatnonzero(np.append(True, starts[1:] > latest[:-1])[: len(starts)])
        self._lows = starts[begins]
        highs = latest[np.append(begins[1:] - 1, len(latest) - 1)] if len(begins) else latest
        self._worked = np.append(0.0, np.cumsum(highs - self._lows))
        self._highs = highs
        self.total = float(self._worked[-1])

    def before(self, walls: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds at work before moments of the clock."""
        if not len(self._lows):
            return np.zeros(len(walls))
        stretch = np.clip(np.searchsorted(self._lows, walls, side="right") - 1, 0, None)
        inside = np.minimum(walls, self._highs[stretch]) - self._lows[stretch]
        return np.asarray(self._worked[stretch] + np.maximum(inside, 0.0), dtype=np.float64)

    def begin(self, work: NDArray[np.float64]) -> NDArray[np.float64]:
        """The moments when the next second after so many at work began."""
        return self._moments(work, np.searchsorted(self._worked[1:], work, side="right"))

    def end(self, work: NDArray[np.float64]) -> NDArray[np.float64]:
        """The moments when so many seconds at work were complete."""
        return self._moments(work, np.searchsorted(self._worked[1:], work, side="left"))

    def _moments(
        self, work: NDArray[np.float64], stretch: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        stretch = np.clip(stretch, 0, len(self._lows) - 1)
        return np.asarray(self._lows[stretch] + work - self._worked[stretch], dtype=np.float64)
