"""From replayed searches to the tables that answer what a search engine is asked.

A *series* is a contestant with or without halving, over all its seeds. The cost axis is
logarithmic unless a table says otherwise. Left out: how it is printed and drawn
(:mod:`efficiency.page`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from efficiency.measures import Ended, Median, by_trials, first_reach, history, median, ratio
from efficiency.samplers import OPTUNA, limit_of
from efficiency.table import SCALES, SIGNALS, Array, Scale, Table
from nas.analysis.rank_correlations import tau

TARGETS = (0.95, 0.98, 0.99)
AT_TRIALS = 200
PAST_TRIALS = 20
ASKED_AT = (10, 50, 100, 200, 400, 800)
ASK_WINDOW = 10


@dataclass(frozen=True, eq=False)
class Series:
    """All searches of one contestant in one mode."""

    name: str
    sampler: str
    halving: str | None
    workers: int
    table: Table
    searches: tuple[Ended, ...]

    @lru_cache(maxsize=4)  # noqa: B019 - series live as long as the report
    def histories(self, scale: Scale) -> tuple[Array, ...]:
        """Each search's share of the full hypervolume by ended trials."""
        return tuple(history(one, self.table, scale) for one in self.searches)

    def seconds_to(self, target: float, scale: Scale = "log") -> list[float]:
        """Device-seconds until each search has a share; infinite where it never has."""
        pairs = zip(self.histories(scale), self.searches, strict=True)
        return [first_reach(values, one.device_seconds, target) for values, one in pairs]

    def trials_to(self, target: float, scale: Scale = "log") -> list[float]:
        """Trials until each search has a share."""
        return [
            first_reach(values, range(1, len(values) + 1), target)
            for values in self.histories(scale)
        ]

    def share_at(self, trials: int, scale: Scale = "log") -> list[float]:
        """Each search's share after so many trials, or at its end where that came before."""
        return [float(one[min(trials, len(one)) - 1]) for one in self.histories(scale)]


def target_rows(all_series: Sequence[Series]) -> list[dict[str, Any]]:
    """Device-seconds and trials to each share, by series and scale of the cost axis."""
    return [
        {
            "series": one.name,
            "scale": scale,
            "seeds": len(one.searches),
            **{f"seconds_to_{t:.0%}": median(one.seconds_to(t, scale)) for t in TARGETS},
            **{f"trials_to_{t:.0%}": median(one.trials_to(t, scale)) for t in TARGETS},
            f"share_at_{AT_TRIALS}": median(one.share_at(AT_TRIALS, scale)),
        }
        for scale in SCALES
        for one in all_series
    ]


def bars(all_series: Sequence[Series], ours: str) -> list[dict[str, Any]]:
    """The questions of the search engine, with what was measured and what is asked for."""
    by_key = {(one.sampler, one.halving, one.workers): one for one in all_series}

    def find(sampler: str, halving: str | None = None) -> Series | None:
        return by_key.get((sampler, halving, 1))

    optuna = [one for name in OPTUNA if (one := find(name)) is not None]
    # Where a sampler is too slow for many long searches, many short ones say how soon it is.
    short = {one.sampler.partition(":")[0]: one for one in all_series if _is_short(one)}
    soon = {one.name: one for one in optuna} | short
    random, alone, halved = find("random"), find(ours), find(ours, halving="")
    rows: list[dict[str, Any]] = []
    if halved and random:
        rows += [_speed(halved, random, 0.98, 4.0)]
    if halved and optuna:
        rows += [_speed(halved, _soonest(list(soon.values()), 0.98), 0.98, 2.0)]
    if alone and optuna:
        rows += [_half_the_trials(alone, optuna)]
    if alone and random:
        rows += [_never_worse(alone, random)]
    if alone and halved:
        rows += [_speed(halved, alone, target, 3.0) for target in TARGETS]
        rows += [_lost(halved, alone)]
    return rows


def _is_short(one: Series) -> bool:
    is_alone = one.halving is None and one.workers == 1
    name = one.sampler.partition(":")[0]
    return is_alone and name in OPTUNA and limit_of(one.sampler) is not None


def _soonest(some: Sequence[Series], target: float) -> Series:
    return min(some, key=lambda one: (median(one.seconds_to(target)).value, one.name))


def _speed(ours: Series, other: Series, target: float, asked: float) -> dict[str, Any]:
    found = ratio(other.seconds_to(target), ours.seconds_to(target))
    return {
        "question": f"device-seconds to {target:.0%}: {other.name} / {ours.name}",
        "measured": found,
        "asked": f">= {asked:g}",
        "met": bool(found.value >= asked),
    }


def _half_the_trials(ours: Series, optuna: Sequence[Series]) -> dict[str, Any]:
    best = max(optuna, key=lambda one: (median(one.share_at(AT_TRIALS)).value, one.name))
    goal = median(best.share_at(AT_TRIALS)).value
    found = median([trials / AT_TRIALS for trials in ours.trials_to(goal)])
    return {
        "question": f"trials of {ours.name} to the median hypervolume of {best.name} at "
        f"{AT_TRIALS} trials ({goal:.2%}), as a share of these",
        "measured": found,
        "asked": "<= 0.5",
        "met": bool(found.value <= 0.5),
    }


def _never_worse(ours: Series, random: Series) -> dict[str, Any]:
    middles = [by_trials(one.histories("log")).middle for one in (ours, random)]
    length = min(map(len, middles))
    lead = middles[0][PAST_TRIALS:length] - middles[1][PAST_TRIALS:length]
    worst = float(lead.min()) if len(lead) else math.nan
    return {
        "question": f"least lead of {ours.name} over {random.name} past {PAST_TRIALS} trials "
        "(medians, share of the full hypervolume)",
        "measured": Median(worst, worst, worst, len(ours.searches), len(ours.searches)),
        "asked": ">= 0",
        "met": bool(worst >= 0),
    }


def _lost(halved: Series, alone: Series) -> dict[str, Any]:
    """The final shares: both at their ends, which is the whole table unless trials were limited."""
    ends = [[float(values[-1]) for values in one.histories("log")] for one in (halved, alone)]
    found = ratio(ends[0], ends[1])
    lost = Median(1 - found.value, 1 - found.high, 1 - found.low, found.reached, found.seeds)
    return {
        "question": f"final hypervolume lost by {halved.name} against {alone.name}",
        "measured": lost,
        "asked": "<= 0.02",
        "met": bool(lost.value <= 0.02),
    }


def effort_rows(all_series: Sequence[Series]) -> list[dict[str, Any]]:
    """Trials, completed and stopped; seconds of stopped ones; repeats; ask time as it grows."""
    rows = []
    for one in all_series:
        found: Sequence[Any] = one.searches
        complete = [np.mean(np.array(s.rungs) == len(one.table.rungs)) for s in found]
        rows.append(
            {
                "series": one.name,
                "trials": float(np.median([len(s.rows) for s in found])),
                "complete": float(np.median(complete)),
                "trained_twice": sum(len(s.rows) - len(set(s.rows)) for s in found),
                "repeats_per_trial": float(np.median([np.mean(s.repeats) for s in found])),
                "drawn_at_random": float(np.median([s.fills for s in found])),
                "ask_ms": {at: ms for at in ASKED_AT if (ms := _ask_ms(found, at)) is not None},
            }
        )
    return rows


def _ask_ms(searches: Sequence[Any], at: int) -> float | None:
    windows = [one.ask_ms[at - ASK_WINDOW : at] for one in searches if len(one.ask_ms) >= at]
    return float(np.median(np.concatenate(windows))) if windows else None


def signal_rows(table: Table) -> list[dict[str, Any]]:
    """Kendall's tau-b of each signal at each rung with the final error, and with another seed's.

    The last column is the noise: how well the final error of seed 0 ranks that of seed 1.
    """
    first = table.curves[0]
    rows = []
    for place, epoch in enumerate(table.rungs):
        row: dict[str, Any] = {
            "epoch": epoch,
            "seconds_share": float(np.nanmedian(first.seconds[:, place] / first.seconds[:, -1])),
        }
        for signal in SIGNALS:
            values = getattr(first, signal)[:, place]
            row[signal] = tau(values.tolist(), table.error.tolist())
            if 1 in table.curves:
                other = table.curves[1]
                row[f"{signal}_other_seed"] = tau(
                    values[other.rows].tolist(), other.error[:, -1].tolist()
                )
        rows.append(row)
    return rows


def plain(value: Any) -> Any:
    """Results as JSON takes them."""
    if isinstance(value, Median):
        return value.to_data()
    if hasattr(value, "items") and hasattr(value, "low"):
        return {name: getattr(value, name) for name in ("value", "low", "high", "items")}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
