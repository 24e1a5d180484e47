"""Builds the table of a space: which layers and networks are measured, and how.

The layers are chosen among those of some hundred random networks: of each kind the ones that lie
farthest apart. They are visited in rounds, with whole random networks among them, in another
order each time, so that what slows the machine for a while slows all alike; the slower half of
the rounds is then left out. From some of the networks the predictor learns how layers add up; the
others, held out, say how good it is.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture, Shape, check
from nas.datasets.progress import progress_bar
from nas.latency.clock import GRAPH_REPEATS, Spread, Stopwatch, Timing, spread_of, stopwatch
from nas.latency.form import inference_form, layer_form, layer_input, network_input
from nas.latency.layers import Layer, executed_layers
from nas.latency.machine import this_setting
from nas.latency.predictor import fit_predictor
from nas.latency.setting import Setting
from nas.latency.solitude import measuring
from nas.latency.table import LatencyTable, Measured, MeasuredNetwork
from nas.space import SearchSpace, first_fit

NUM_DRAWN = 400
"""Random networks whose layers the measured ones are chosen from."""


FEWEST = 5
"""Rounds that are made, and used, however long they take."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: layers, networks to fit and to check by, seconds, rounds."""

    layers: int = 560
    fit_networks: int = 16
    check_networks: int = 24
    seconds: float = 40.0
    rounds: tuple[int, int] = (9, 40)


EFFORT = Effort()


def build_table(
    space: SearchSpace,
    image: Shape,
    classes: int,
    device: str = "cpu",
    *,
    effort: Effort | None = None,
    progress: bool = True,
) -> LatencyTable:
    """Measure a space's layers at a target on this machine, and fit their predictor.

    ``device`` is ``cpu`` or ``cuda``, ``effort`` :data:`EFFORT` unless given. With ``progress`` a
    bar on standard error shows the rounds.

    Raises:
        ValueError: no network of the space fits the image.
        RuntimeError: trials train on this machine, or another measurement runs.
    """
    began, effort = time.monotonic(), effort or EFFORT
    setting = this_setting(device)
    chosen = _chosen_layers(space, image, classes, effort.layers)
    networks = _networks(space, image, classes, effort)
    with measuring(), stopwatch(device, setting.threads) as watch:
        timers = [_layer_timer(watch, layer, device) for layer in chosen]
        timers += [_network_timer(watch, item, image, classes, device) for item in networks]
        spreads = _measure(timers, effort, progress)
    layers = dict(zip(chosen, spreads, strict=False))
    found = list(zip(networks, spreads[len(chosen) :], strict=True))
    table = _fitted(layers, found, image, classes, effort.fit_networks)
    return LatencyTable(
        space=space.name,
        fingerprint=space.fingerprint,
        image=image,
        classes=classes,
        setting=setting,
        created=datetime.now().isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        disturbed=round(float(np.mean([spread.disturbed for spread in spreads])), 4),
        **table,
    )


def expected_seconds() -> float:
    """About how long a table takes to build at most: its rounds, and a third for the rest."""
    return 4 / 3 * EFFORT.seconds


def measure_network(
    architecture: Architecture,
    image: Shape,
    classes: int,
    device: str = "cpu",
    *,
    rounds: int = 50,
    progress: bool = True,
) -> tuple[Spread, Setting]:
    """The latency of one network on this machine: its timings (microseconds), and where.

    Raises:
        ValueError: the architecture does not fit the image.
        RuntimeError: trials train on this machine, or another measurement runs.
    """
    setting = this_setting(device)
    with measuring(), stopwatch(device, setting.threads) as watch:
        timer = _network_timer(watch, architecture, image, classes, device)
        effort = replace(EFFORT, rounds=(rounds, rounds))
        return _measure([timer], effort, progress)[0], setting


def measure_networks(
    architectures: Sequence[Architecture],
    image: Shape,
    classes: int,
    device: str = "cpu",
    *,
    rounds: int = 15,
    progress: bool = True,
) -> list[Spread]:
    """The latencies of several networks, visited in turns; errors as :func:`measure_network`."""
    with measuring(), stopwatch(device, this_setting(device).threads) as watch:
        timers = [_network_timer(watch, item, image, classes, device) for item in architectures]
        return _measure(timers, replace(EFFORT, rounds=(rounds, rounds)), progress)


# ------------------------------------------------------------------------------- what is measured


def _chosen_layers(space: SearchSpace, image: Shape, classes: int, most: int) -> list[Layer]:
    """Layers of the space's random networks, of each kind the ones farthest apart.

    A kind gets places by the root of how many different layers it has.
    """
    drawn = _fitting(space, image, classes, seed=20, number=NUM_DRAWN)
    seen = Counter(layer for item in drawn for layer in executed_layers(item, image, classes))
    kinds: dict[str, list[Layer]] = {}
    for layer in sorted(seen):
        kinds.setdefault(layer.kind, []).append(layer)
    total = sum(math.sqrt(len(layers)) for layers in kinds.values())
    chosen = []
    for layers in kinds.values():
        places = max(4, round(most * math.sqrt(len(layers)) / total))
        chosen += _spread_out(layers, places)
    return chosen


def _spread_out(layers: Sequence[Layer], most: int) -> list[Layer]:
    """The largest layer, then always the one farthest from all that were taken."""
    if len(layers) <= most:
        return list(layers)
    sizes = np.log2(np.array([layer[1:] for layer in layers], dtype=float))
    taken = [int(sizes.sum(axis=1).argmax())]
    nearest = _distances(sizes, taken[0])
    while len(taken) < most:
        taken.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(sizes, taken[-1]))
    return [layers[index] for index in taken]


def _distances(sizes: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    return np.asarray(((sizes - sizes[index]) ** 2).sum(axis=1))


def _networks(space: SearchSpace, image: Shape, classes: int, effort: Effort) -> list[Architecture]:
    """Networks to fit by, then those to check by: all different."""
    return _fitting(
        space, image, classes, seed=21, number=effort.fit_networks + effort.check_networks
    )


def _fitting(
    space: SearchSpace, image: Shape, classes: int, *, seed: int, number: int
) -> list[Architecture]:
    """Different random networks that fit the image, as many as are found, at least one.

    Raises:
        ValueError: none fits.
    """
    found: dict[str, Architecture] = {}
    for item in _drawn(space, seed, 10 * number):
        if len(found) == number:
            break
        try:
            check(item, image)
        except ValueError:
            continue  # it does not fit the image
        found.setdefault(item.fingerprint, item)
    return list(found.values()) or [first_fit(space, image)]


def _drawn(space: SearchSpace, seed: int, most: int) -> Iterator[Architecture]:
    for index in range(most):
        yield space.random(np.random.default_rng([seed, index]))


# -------------------------------------------------------------------------------------- measuring


def _layer_timer(watch: Stopwatch, layer: Layer, device: str) -> Callable[[], Timing]:
    x = layer_input(layer, device)
    return watch.prepare(layer_form(layer, device), x, GRAPH_REPEATS)


def _network_timer(
    watch: Stopwatch, architecture: Architecture, image: Shape, classes: int, device: str
) -> Callable[[], Timing]:
    form = inference_form(architecture, image, classes, device)
    return watch.prepare(form, network_input(image, device))


def _measure(
    timers: Sequence[Callable[[], Timing]], effort: Effort, progress: bool
) -> list[Spread]:
    """Visit all in rounds, each round in another order, after one that only warms up."""
    start = time.monotonic()
    for timer in timers:
        timer()
    each = time.monotonic() - start
    least, most = effort.rounds
    rounds = int(min(max(effort.seconds / each, least), most))
    timings: list[list[Timing]] = [[] for _ in timers]
    generator = np.random.default_rng(0)
    with progress_bar("measuring latency", rounds, enabled=progress) as advance:
        for _ in range(rounds):
            for index in generator.permutation(len(timers)).tolist():
                timings[index].append(timers[index]())
            advance(1)
            # Others may have come to slow the machine down since the first round.
            if len(timings[0]) >= FEWEST and time.monotonic() - start > 2 * effort.seconds:
                break
    kept = _fast_rounds(np.array([[timing.seconds for timing in found] for found in timings]))
    return [spread_of([found[place] for place in kept]) for found in timings]


def _fast_rounds(seconds: NDArray[np.float64]) -> list[int]:
    """The faster half of the rounds (items x rounds), and at least :data:`FEWEST`.

    A round is slow if most of what is in it is: then the machine was, and says nothing of the
    layers. Which timings of a round are used never depends on the timings themselves.
    """
    slowness = np.median(seconds / np.median(seconds, axis=1, keepdims=True), axis=0)
    count_kept = max(min(FEWEST, len(slowness)), -(-len(slowness) // 2))
    return sorted(np.argsort(slowness, kind="stable")[:count_kept].tolist())


def _fitted(
    layers: Mapping[Layer, Spread],
    networks: Sequence[tuple[Architecture, Spread]],
    image: Shape,
    classes: int,
    num_fit: int,
) -> dict[str, Any]:
    executed = [executed_layers(item, image, classes) for item, _ in networks]
    # A space of a few networks has none to hold out: then all are both.
    fit = min(num_fit, max(1, len(networks) // 2))
    used = [
        (found, spread.median / 1000)
        for found, (_, spread) in zip(executed[:fit], networks[:fit], strict=True)
    ]
    predictor = fit_predictor({layer: spread.median for layer, spread in layers.items()}, used)
    measured = [
        MeasuredNetwork(
            fingerprint=item.fingerprint,
            measured_ms=round(spread.median / 1000, 5),
            low_ms=round(spread.low / 1000, 5),
            high_ms=round(spread.high / 1000, 5),
            predicted_ms=predictor.layers_ms(found),
            is_held_out=place >= fit or len(networks) == 1,
        )
        for place, found, (item, spread) in zip(count(), executed, networks, strict=False)
    ]
    rows = tuple(
        (layer, Measured(round(s.median, 3), round(s.low, 3), round(s.high, 3), s.n))
        for layer, s in layers.items()
    )
    return {"layers": rows, "networks": tuple(measured), "predictor": predictor}
