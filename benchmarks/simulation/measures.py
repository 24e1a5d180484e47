"""What a simulation says: how busy the workers were, what they waited for, what the driver took.

The figures are those of a window: from the moment when every worker has had a job until the last
job is given out, so that neither the start, where all workers ask at once, nor the end, where
nothing is left to give, is mixed with the long time between. Where the driver never gets to give
every worker a job, the window is the second half of the time until the last job.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.clock import NOTHING, Array
from simulation.search import Simulated

Window = tuple[float, float]


def summary(found: Simulated) -> dict[str, Any]:
    """The figures of one simulation as JSON takes them; seconds are simulated ones."""
    setup, log = found.setup, found.log
    window, is_full = _window(found)
    length = window[1] - window[0]
    busy = _within(np.array(log.busy).reshape(-1, 2), window)
    begun = np.array(log.submitted)
    given = int(((begun > window[0]) & (begun <= window[1])).sum())
    ended = len(log.ended)
    all_busy = float(np.diff(np.array(log.busy).reshape(-1, 2)).sum())
    mean = all_busy / max(ended, 1)
    utilisation = busy / (setup.workers * length)
    return {
        **{name: value for name, value in asdict(setup).items() if name != "storage"},
        "trials_ended": ended,
        "stopped_share": round(log.num_stopped / max(ended, 1), 3),
        "simulated_seconds": round(found.end, 1),
        "window": [round(moment, 1) for moment in window],
        "window_trials": given,
        "had_all_workers_at_work": is_full,
        "seconds_to_first_jobs": round(window[0], 1) if is_full else None,
        "trial_seconds": round(mean, 2),
        "offered_per_second": round(setup.workers / mean, 3),
        "reached_per_second": round(given / length, 3),
        "utilisation": round(utilisation, 4),
        "utilisation_of_all": round(all_busy / (setup.workers * found.end), 4),
        "idle": _idle(found, window),
        "waits": {cause: _waits(found, cause, window) for cause in ("proposal", "decision")},
        "driver_ms_per_trial": _driver(found, window, given),
        "driver_busy_share": round(1 - _spent(found, window)[NOTHING] / length, 4),
        "per_trial": {
            name: round(count / max(len(begun), 1), 2) for name, count in found.database.items()
        },
        "peak_megabytes": round(found.peak_bytes / 2**20),
    }


def _window(found: Simulated) -> tuple[Window, bool]:
    begun, workers = found.log.submitted, found.setup.workers
    if len(begun) > workers:
        return (begun[workers - 1], begun[-1]), True
    return (begun[-1] / 2, begun[-1]), False


def _within(spans: NDArray[np.float64], window: Window) -> float:
    """How much of all spans lies in the window."""
    return float(np.maximum(np.diff(np.clip(spans, *window), axis=1), 0.0).sum())


def _spent(found: Simulated, window: Window) -> dict[str, float]:
    moments, spent = found.meter.timeline()
    return {
        part: float(np.diff(np.interp(window, moments, seconds))[0])
        for part, seconds in spent.items()
    }


def _driver(found: Simulated, window: Window, trials: int) -> dict[str, float]:
    """The driver's milliseconds a trial by part; the largest first, then their sum."""
    spent = _spent(found, window)
    del spent[NOTHING]
    each = {part: 1000 * seconds / max(trials, 1) for part, seconds in spent.items()}
    ordered = sorted(each, key=each.__getitem__, reverse=True)
    shown = {part: round(each[part], 3) for part in ordered if each[part] > 0}
    return {**shown, "all": round(sum(each.values()), 3)}


def _idle(found: Simulated, window: Window) -> dict[str, dict[str, float]]:
    """Shares of the workers' time: what they waited for, and what the driver did meanwhile.

    What a worker waits for while the driver works on its own request counts as that work, too:
    a wait for storage is the time in which the driver was writing.
    """
    moments, spent = found.meter.timeline()
    total = found.setup.workers * (window[1] - window[0])
    shares: dict[str, dict[str, float]] = {}
    for cause in ("proposal", "decision"):
        spans = np.array(
            [(one.begin, one.end) for one in found.log.idle if one.cause == cause]
        ).reshape(-1, 2)
        inside = np.clip(spans, *window)
        parts = {
            part: float(_grown(inside, moments, seconds).sum()) / total
            for part, seconds in spent.items()
        }
        shares[cause] = {
            "all": round(_within(spans, window) / total, 4),
            **{part: round(share, 4) for part, share in parts.items() if share > 0.00005},
        }
    return shares


def _grown(spans: Array, moments: Array, seconds: Array) -> Array:
    return np.asarray(np.diff(np.interp(spans, moments, seconds), axis=1)[:, 0])


def _waits(found: Simulated, cause: str, window: Window) -> dict[str, float]:
    """Seconds of waits that ended in the window."""
    waits = [
        one.end - one.begin
        for one in found.log.idle
        if one.cause == cause and window[0] < one.end <= window[1]
    ]
    if not waits:
        return {}
    quantiles = np.quantile(waits, [0.5, 0.95, 1.0])
    names = ("median", "of_95_percent", "longest")
    return {name: round(float(q), 3) for name, q in zip(names, quantiles, strict=True)}
