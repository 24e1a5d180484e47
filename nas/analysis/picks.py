"""From words to a trial: knee, best, cheapest, the best under a limit, or one by its number."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from nas.analysis.tables import picks_table
from nas.cost import COSTS, LATENCY, SEARCHED_COSTS, format_cost
from nas.quantities import parse_milliseconds, parse_size, unknown_name

PICKS = "knee, best, cheapest, trial:N or a limit such as macs<=50M"

NAMED = ("knee", "best", "cheapest")

_LIMIT = re.compile(r"\s*(\w+)\s*<=\s*([^<=]+?)\s*")
_TRIAL = re.compile(r"trial:(\d{1,9})")


def resolve_pick(trials: pd.DataFrame, objectives: Sequence[str], pick: str) -> int:
    """The number of the trial that ``pick`` means.

    ``knee`` bends the front most, ``best`` has the smallest error, ``cheapest`` the smallest cost
    on the front (of the first objective that is a cost). ``trial:N`` is any trial, complete or
    not. ``macs<=50M`` has the smallest error within limits on ``macs``, ``params`` or
    ``activation_bytes``, which need not be objectives, or on ``latency_ms`` (``latency_ms<=5``)
    where the run has a table of latencies; a comma joins several limits. Equal errors go to the
    smaller cost. Errors are those of the validation split.

    Raises:
        ValueError: no such pick, no such trial, or nothing within the limits; the message says
            what there is.
    """
    words = pick.strip()
    number = _TRIAL.fullmatch(words)
    if number:
        return _numbered(trials, int(number[1]))
    if words in NAMED:
        table = picks_table(trials, objectives)
        if table.empty:
            raise ValueError(f"cannot pick the {words}: {_nothing(trials)}")
        found = table.loc[table["pick"] == words, "number"]
        if found.empty:
            raise ValueError("cannot pick the cheapest: the run has no cost among its objectives")
        return int(found.iloc[0])
    if "<=" in words:
        return _within(trials, objectives, words)
    raise ValueError(f"{unknown_name('pick', pick, NAMED)}; a pick is {PICKS}")


def _numbered(trials: pd.DataFrame, number: int) -> int:
    if not (trials["number"] == number).any():
        there = f"0 to {trials['number'].max()}" if len(trials) else "none yet"
        raise ValueError(f"there is no trial {number}; the run has {there}")
    return number


def _within(trials: pd.DataFrame, objectives: Sequence[str], words: str) -> int:
    within = trials[["number", "state", "error", *SEARCHED_COSTS]]
    within = within[(within["state"] == "complete") & within["error"].notna()]
    if within.empty:
        raise ValueError(f"cannot pick {words}: {_nothing(trials)}")
    for part in words.split(","):
        name, limit = _limit(part)
        if name == LATENCY and within[LATENCY].isna().all():
            raise ValueError(
                f"cannot pick {words}: the run has no latencies; they are measured for searches "
                f"with latency_ms among their objectives or budgets"
            )
        kept = within[within[name] <= limit]
        if kept.empty:
            least = within.sort_values([name, "number"])[["number", name]].iloc[0]
            raise ValueError(
                f"no complete trial is within {words}; the least {name} is "
                f"{format_cost(name, least[name])} (trial {least['number']:.0f})"
            )
        within = kept
    own = [name for name in objectives if name != "error"]
    order = ["error", *own, *(name for name in COSTS if name not in own), "number"]
    return int(within.sort_values(order)["number"].iloc[0])


def _limit(part: str) -> tuple[str, float]:
    match = _LIMIT.fullmatch(part)
    if not match:
        raise ValueError(f"a limit must read like macs<=50M, not {part.strip()!r}")
    if match[1] not in SEARCHED_COSTS:
        raise ValueError(unknown_name("cost", match[1], SEARCHED_COSTS))
    parse = parse_milliseconds if match[1] == LATENCY else parse_size
    return match[1], parse(match[2], match[1])


def _nothing(trials: pd.DataFrame) -> str:
    states = trials["state"].value_counts()
    if states.empty:
        return "the run has no trials yet"
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"no trial is complete ({counts})"
