"""Tables of latencies without a clock: layers whose times follow a formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.architecture import Shape
from nas.latency import LatencyTable, Predictor, Setting, fit_predictor
from nas.latency.layers import Layer, executed_layers
from nas.latency.machine import this_setting
from nas.latency.table import Measured, MeasuredNetwork, table_path, write_table
from nas.space import SearchSpace

FACTOR, PER_LAYER_US = 1.25, 4.0
"""What the made networks take beyond the sums of their layers."""


def made_us(layer: Layer) -> float:
    """A time of a formula that the predictor's base can express (widths are multiples of 16)."""
    height, width = layer.kernel
    pixels = -(-layer.height // layer.stride) * -(-layer.width // layer.stride)
    if layer.is_conv:
        return 3.0 + 2e-3 * height * width * layer.inputs * layer.outputs * pixels / 100
    return 2.0


def layers_of(space: SearchSpace, image: Shape, classes: int, num: int = 60) -> list[list[Layer]]:
    drawn = (space.random(np.random.default_rng([77, index])) for index in range(num))
    return [executed_layers(item, image, classes) for item in drawn]


def network_ms(layers: list[Layer], time: Callable[[Layer], float] = made_us) -> float:
    total = FACTOR * sum(map(time, layers)) + PER_LAYER_US * len(layers)
    return total / 1000


def made_predictor(networks: list[list[Layer]]) -> Predictor:
    times = {layer: made_us(layer) for network in networks for layer in network}
    return fit_predictor(times, [(network, network_ms(network)) for network in networks[:8]])


def made_table(
    space: SearchSpace, image: Shape, classes: int, setting: Setting | None = None
) -> LatencyTable:
    networks = layers_of(space, image, classes)
    predictor = made_predictor(networks)
    layers = sorted({layer for network in networks for layer in network})
    return LatencyTable(
        space=space.name,
        fingerprint=space.fingerprint,
        image=image,
        classes=classes,
        setting=setting or this_setting("cpu"),
        created="2026-01-01T00:00:00",
        seconds=1.0,
        disturbed=0.0,
        layers=tuple((layer, Measured(made_us(layer), 1.0, 9.0, 5)) for layer in layers),
        networks=tuple(
            MeasuredNetwork(
                fingerprint=f"{index:016x}",
                measured_ms=network_ms(network),
                low_ms=network_ms(network),
                high_ms=network_ms(network),
                predicted_ms=predictor.layers_ms(network),
                is_held_out=index >= 8,
            )
            for index, network in enumerate(networks[:20])
        ),
        predictor=predictor,
    )


def keep_made_table(space: SearchSpace, image: Shape, classes: int) -> LatencyTable:
    """Put a made table where a search on this machine looks for one."""
    table = made_table(space, image, classes)
    write_table(table, table_path(space.name, space.fingerprint, image, classes, table.setting))
    return table
