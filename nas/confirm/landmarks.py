"""Networks that the run never tried, to measure its finalists against.

``googlenet-narrow``  the GoogLeNet that fits the target, its widths scaled to cost what the most
                      expensive finalist of the front does
``random:N``          N random networks of the run's space, each at about the cost of one of the
                      front's finalists
a preset's name       that preset as it is, whatever it costs
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.architecture import Architecture, Shape
from nas.latency import LatencyTable
from nas.presets import PRESETS, cifar_googlenet, googlenet
from nas.quantities import unknown_name
from nas.records.confirmation import Finalist, Role
from nas.search.proposals import Judge, Judged, Refusal
from nas.space import SearchSpace
from nas.task import Task, scaled

NARROW = "googlenet-narrow"
DRAWS = 1_000
"""Random networks among which the ones of the right cost are found; a second or two."""

NEAR = 0.05
"""Decades by which costs may differ and still be about the same: 12 per cent."""

LARGE_IMAGE = 128
"""Pixels a side from which on GoogLeNet keeps its own stem."""

_RANDOM = re.compile(r"random:(\d{1,3})")


@dataclass(frozen=True)
class Landmarks:
    """What was asked for: preset names (:data:`NARROW` among them) and random networks."""

    presets: tuple[str, ...]
    num_random: int


def parse_landmarks(words: Sequence[str]) -> Landmarks:
    """Read landmarks as a user writes them; no words are no landmarks.

    Raises:
        ValueError: a word is no landmark, the message gives the nearest; or random networks are
            asked for twice.
    """
    presets, num_random = [], 0
    for word in dict.fromkeys(words):
        drawn = _RANDOM.fullmatch(word)
        if drawn and num_random:
            raise ValueError(f"landmarks name random networks twice: random:{num_random}, {word}")
        if drawn:
            num_random = int(drawn[1])
        elif word in PRESETS or word == NARROW:
            presets.append(word)
        else:
            raise ValueError(unknown_name("landmark", word, [*PRESETS, NARROW, "random:N"]))
    return Landmarks(tuple(dict.fromkeys(presets)), num_random)


def choose_landmarks(
    landmarks: Landmarks,
    finalists: Sequence[Finalist],
    space: SearchSpace,
    task: Task,
    budgets: Mapping[str, float],
    costs: Sequence[str],
    latency: LatencyTable | None = None,
) -> list[Finalist]:
    """The landmarks for these finalists; ``costs`` are those that should agree, by name.

    ``task`` is that of the full training. Random networks keep to the run's ``budgets``;
    ``latency`` is the run's table, where latency is among its costs.

    Raises:
        ValueError: a preset does not fit the target; the message says why.
    """
    judge = Judge(task, {}, latency=latency)
    front = [item for item in finalists if item.role == "front"]
    found = []
    for name in landmarks.presets:
        if name == NARROW:
            found.append(_narrow(front[-1], judge, costs, task.target.image))
        else:
            found.append(_finalist(name, "preset", PRESETS[name](), judge))
    seen = {item.network.fingerprint for item in finalists}
    within = Judge(task, budgets, latency=latency)
    return found + _random(landmarks.num_random, front, space, within, costs, seen)


def _finalist(name: str, role: Role, architecture: Architecture, judge: Judge) -> Finalist:
    judged = judge.judge(architecture)
    if isinstance(judged, Refusal):
        raise ValueError(f"landmark {name} is left out: {judged.reason}")
    return Finalist(name, role, architecture.to_json(), dict(judged.costs))


def _narrow(like: Finalist, judge: Judge, costs: Sequence[str], image: Shape) -> Finalist:
    """The fitting GoogLeNet, at the width whose costs are the nearest to those of ``like``."""
    whole = googlenet() if min(image.height, image.width) >= LARGE_IMAGE else cifar_googlenet()
    best: tuple[float, float] | None = None
    for width in np.geomspace(1 / 32, 1, 81).tolist():
        judged = judge.judge(scaled(whole, width))
        if isinstance(judged, Judged):
            distance = _distance(judged.costs, like.costs, costs)
            best = min(best or (distance, width), (distance, width))
    if best is None:
        return _finalist(NARROW, "preset", whole, judge)  # says why it does not fit
    return _finalist(NARROW, "preset", scaled(whole, best[1]), judge)


def _random(
    count: int,
    front: Sequence[Finalist],
    space: SearchSpace,
    judge: Judge,
    names: Sequence[str],
    seen: set[str],
) -> list[Finalist]:
    """Random networks, the nearest in cost to finalists that stand evenly along the front."""
    if not count:
        return []
    drawn = [space.random(np.random.default_rng([1, index])) for index in range(DRAWS)]
    new = {item.fingerprint: item for item in drawn if item.fingerprint not in seen}
    counted = [(item, judge.count(item)) for item in new.values()]
    known = [(item, costs) for item, costs in counted if not isinstance(costs, Refusal)]
    # The cheapest finalists may cost less than chance ever draws: what is near is matched.
    near = [f for f in front if min(_distance(c, f.costs, names) for _, c in known) <= NEAR]
    front = near or front[-1:]
    places = [round((index + 0.5) * len(front) / count - 0.5) for index in range(count)]
    found: list[Finalist] = []
    for place in places:
        like = front[min(max(place, 0), len(front) - 1)]
        by_cost = sorted(known, key=lambda pair: _distance(pair[1], like.costs, names))
        for architecture, costs in by_cost:
            judged = judge.judge(architecture)
            if isinstance(judged, Judged) and architecture.fingerprint not in seen:
                name, text = f"random{len(found)}", architecture.to_json()
                found.append(Finalist(name, "random", text, dict(costs)))
                seen = {*seen, architecture.fingerprint}
                break
    return found


def _distance(
    ours: Mapping[str, float], theirs: Mapping[str, float], names: Sequence[str]
) -> float:
    """How far two networks' costs are apart, in decades, summed over the costs."""
    return sum(abs(math.log10(ours[name] / theirs[name])) for name in names)
