"""Words for where a trial stands, why, and how it came to be proposed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def state_word(state: str, run_state: str) -> str:
    """A trial's state in words: what nobody works on any more is not running."""
    if state == "running" and run_state != "running":
        return "unfinished"
    return "stopped early" if state in ("pruned", "stopped") else state


def proposed_words(data: Mapping[str, Any]) -> str:
    """Who proposed a trial, and what was expected of it."""
    kind, _, name = data["origin"].partition(":")
    found = {
        "sampler": f"by the sampler {name}",
        "seed": f"as {name}, which was given to be tried first",
        "smallest": f"as the smallest network in {name}: no random one met the budget",
        "mutation": "as a mutation of an earlier network: the sampler's own were rejected",
        "random": "at random: the sampler's own were rejected",
    }
    words = found.get(kind, str(data["origin"]))
    share = data["expected_share"]
    if not math.isnan(share):
        words += f", expected to add {share_words(share)} to the hypervolume"
    if data["rejected_before"]:
        before = data["rejected_before"]
        words += f"; {before} {'other was' if before == 1 else 'others were'} rejected before it"
    return words


def standing_words(data: Mapping[str, Any]) -> str:
    """Where a trial stands and why."""
    standing, reason = data["standing"], data["reason"]
    if standing == "front":
        picks = joined([f"the {pick}" for pick in data["picks"]])
        words = "on the front: no trial that trained to its end beats it"
        words += f"; it is {picks}" if picks else ""
    elif standing == "dominated":
        by = trial_words([row["number"] for row in data["dominators"]])
        words = f"complete, but dominated by {by}"
    elif standing == "stopped":
        return _stopped_words(reason)
    elif standing == "unfinished":
        return "unfinished: a resumed search runs it again"
    else:
        return f"{standing}: {reason}" if reason else str(standing)
    return f"{words} (not trained: {reason})" if reason else words


def _stopped_words(reason: str) -> str:
    """What was recorded, which may begin by itself with where it was stopped."""
    if reason.startswith("stopped"):
        return reason
    return f"stopped early{' ' if reason.startswith('as ') else ': '}{reason}".rstrip(": ")


def trial_words(numbers: Sequence[int], most: int = 3) -> str:
    """``trial 4``, ``trials 4 and 7``, ``trials 4, 7, 9 and 20 more``."""
    words = [str(number) for number in numbers[:most]]
    if len(numbers) > most:
        words.append(f"{len(numbers) - most} more")
    return f"trial{'s' if len(words) > 1 else ''} {joined(words)}"


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; nothing of nothing."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def share_words(share: float) -> str:
    """A share of a hypervolume in per cent; what is too small to matter is not spelt out."""
    return "under 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %"
