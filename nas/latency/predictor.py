"""The time of a network's layers, and of networks, predicted from layers that were measured.

A layer's time is a base that counts what it does, ``a + b * MACs + c * bytes`` with factors of at
least 0, times what its neighbours among the measured layers took beyond or below their bases: a
Gaussian process over the logarithms of its sizes (Rasmussen & Williams, "Gaussian Processes for
Machine Learning", 2006, eq. 2.25; its scale and noise by leaving one out, eq. 5.12). Far from all
measured layers the base alone is left. A network takes the sum of its layers and something for
each of them; both factors come from whole networks that were measured.

NumPy alone. Times are microseconds for layers, milliseconds for networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture, Shape
from nas.latency.layers import PART, Layer, executed_layers

Vector: TypeAlias = NDArray[np.float64]

ANY = "any"
"""The family of layers whose own family was not measured."""

LENGTHS = (0.7, 1.0, 1.5, 2.5, 4.0)
NOISES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Scales (in doublings of a size) and shares of noise that leaving one out chooses among."""

SIMILARITY = 0.6
"""How much a layer of one kind says of one of another in its family, from 0 to 1."""

BLOCK = 16
"""Channels that a vector unit computes at once (AVX-512, float32): other widths are padded."""

MOST_KEPT = 200_000


@dataclass(frozen=True)
class Family:
    """What was learned of layers that do alike: factors of the base, and the process.

    ``weights`` are the process's, one a measured layer of the family.
    """

    base: tuple[float, float, float]
    length: float
    layers: tuple[Layer, ...]
    weights: tuple[float, ...]

    @cached_property
    def _known(self) -> _Points:
        return _Points.of(self.layers)

    def predict(self, layers: Sequence[Layer]) -> Vector:
        """Microseconds of each layer."""
        base = _work(layers) @ np.array(self.base)
        if not any(self.weights):
            return np.asarray(base)
        kernel = _kernel(_Points.of(layers), self._known, self.length)
        return np.asarray(base * np.exp(kernel @ np.array(self.weights)))


@dataclass(frozen=True)
class Predictor:
    """Predicts the latency of networks: ``per_layer_us`` and ``factor`` are of whole networks."""

    families: Mapping[str, Family]
    factor: float
    per_layer_us: float

    @cached_property
    def _kept(self) -> dict[Layer, float]:
        return {}

    def layer_us(self, layers: Sequence[Layer]) -> Vector:
        """Microseconds of each layer by itself."""
        kept = self._kept
        if len(kept) > MOST_KEPT:
            kept.clear()
        missing: dict[str, list[Layer]] = {}
        for layer in dict.fromkeys(layers):
            if layer not in kept:
                missing.setdefault(family_of(layer), []).append(layer)
        for name, group in missing.items():
            family = self.families.get(name) or self.families[ANY]
            kept.update(zip(group, family.predict(group).tolist(), strict=True))
        return np.array([kept[layer] for layer in layers])

    def layers_ms(self, layers: Sequence[Layer]) -> float:
        """Milliseconds of a network that executes these layers, to the tenth of a microsecond."""
        total = self.factor * math.fsum(self.layer_us(layers)) + self.per_layer_us * len(layers)
        # Rounded, so that other processors' last bits cannot make another number of it.
        return round(total / 1000, 4)

    def predict_ms(self, architecture: Architecture, image: Shape, classes: int) -> float:
        """The latency of a network for one image.

        Raises:
            ValueError: the architecture does not fit the image.
        """
        return self.layers_ms(executed_layers(architecture, image, classes))

    def to_data(self) -> dict[str, Any]:
        """As JSON data; :meth:`from_data` reads it back."""
        families = {
            name: {
                "base": list(family.base),
                "length": family.length,
                "weights": list(family.weights),
                "layers": [list(layer) for layer in family.layers],
            }
            for name, family in self.families.items()
        }
        return {
            "families": families,
            "factor": self.factor,
            "per_layer_us": self.per_layer_us,
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Predictor:
        """Read what :meth:`to_data` wrote.

        Raises:
            KeyError, TypeError: it is something else.
        """
        families = {
            str(name): Family(
                tuple(item["base"]),
                float(item["length"]),
                tuple(Layer(*layer) for layer in item["layers"]),
                tuple(item["weights"]),
            )
            for name, item in data["families"].items()
        }
        return Predictor(families, float(data["factor"]), float(data["per_layer_us"]))


def family_of(layer: Layer) -> str:
    """The first word of its kind: conv, max, avg, concat, add, mean, hidden or linear."""
    return layer.kind.split()[0]


def fit_predictor(
    times: Mapping[Layer, float], networks: Sequence[tuple[Sequence[Layer], float]]
) -> Predictor:
    """Learn from measured layers (microseconds) and whole networks (their layers, milliseconds).

    Raises:
        ValueError: there are none, or a time is not over 0.
    """
    if not times or not networks:
        raise ValueError("a predictor needs measured layers and networks")
    if min([*times.values(), *(ms for _, ms in networks)]) <= 0:
        raise ValueError("measured times must be over 0")
    groups: dict[str, dict[Layer, float]] = {}
    for layer, time in sorted(times.items()):
        groups.setdefault(family_of(layer), {})[layer] = time
    families = {name: _fit_family(group) for name, group in groups.items()}
    families[ANY] = Family(_fit_base(dict(sorted(times.items()))), 1.0, (), ())
    plain = Predictor(families, 1.0, 0.0)
    rows = np.array(
        [[math.fsum(plain.layer_us(layers)), float(len(layers))] for layers, _ in networks]
    )
    measured = np.array([1000 * ms for _, ms in networks])
    factor, per_layer = _fit_positive(rows / measured[:, None])
    return Predictor(families, factor, per_layer)


def _fit_family(times: Mapping[Layer, float]) -> Family:
    layers, measured = tuple(times), np.array(list(times.values()))
    base = _fit_base(times)
    beyond = np.log(measured / (_work(layers) @ np.array(base)))
    if len(layers) < 3 or np.abs(beyond).max() < 1e-9:
        return Family(base, 1.0, layers, (0.0,) * len(layers))
    points = _Points.of(layers)
    best = (math.inf, 1.0, np.zeros(len(layers)))
    for length, noise in itertools.product(LENGTHS, NOISES):
        kernel = _kernel(points, points, length)
        inverse = np.linalg.inv(kernel + noise * np.eye(len(layers)))
        weights = inverse @ beyond
        left_out = weights / np.diag(inverse)
        error = float(np.abs(left_out).mean())
        if error < best[0]:
            best = (error, length, weights)
    return Family(base, best[1], layers, tuple(best[2].tolist()))


def _fit_base(times: Mapping[Layer, float]) -> tuple[float, float, float]:
    measured = np.array(list(times.values()))
    constant, macs, moved = _fit_positive(_work(list(times)) / measured[:, None])
    return constant, macs, moved


def _fit_positive(rows: NDArray[np.float64]) -> tuple[float, ...]:
    """Factors of at least 0 of the columns, whose sum is to be 1 in each row: least squares.

    All subsets of the few columns are tried: the best one without a negative factor.
    """
    columns = rows.shape[1]
    best, found = math.inf, np.zeros(columns)
    for size in range(1, columns + 1):
        for subset in map(list, itertools.combinations(range(columns), size)):
            scale = np.abs(rows[:, subset]).max(axis=0)
            used = [index for index, top in zip(subset, scale, strict=True) if top > 0]
            if used != subset:
                continue
            scaled = rows[:, subset] / scale
            factors, *_ = np.linalg.lstsq(scaled, np.ones(len(rows)), rcond=None)
            miss = float(((scaled @ factors - 1) ** 2).sum())
            # More factors have to earn their place: a draw goes to the fewer.
            if (factors >= 0).all() and miss < best * (1 - 1e-6) - 1e-15:
                best, found = miss, np.zeros(columns)
                found[subset] = factors / scale
    return tuple(found.tolist())


def _work(layers: Sequence[Layer]) -> NDArray[np.float64]:
    """One, MACs (or elements that are looked at) and bytes moved of each layer: N x 3."""
    return np.array([_work_of(layer) for layer in layers], dtype=float).reshape(len(layers), 3)


def _work_of(layer: Layer) -> tuple[float, float, float]:
    height, width = layer.kernel
    stride = layer.stride
    read = layer.height * layer.width
    written = -(-layer.height // stride) * -(-layer.width // stride)
    if layer.kind == "concat":
        return 1.0, 0.0, 8.0 * layer.outputs * read
    if layer.is_conv or layer.kind in ("hidden", "linear"):
        weights = height * width * layer.inputs * layer.outputs
        blocks = -(-layer.outputs // BLOCK) * BLOCK
        macs = height * width * layer.inputs * blocks * written
        moved = layer.inputs * read + layer.outputs * written + weights
        return 1.0, float(macs), 4.0 * moved
    looked = height * width * layer.inputs * written
    return 1.0, float(looked), 4.0 * (layer.inputs * read + layer.outputs * written)


def _features(layers: Sequence[Layer]) -> NDArray[np.float64]:
    """Sizes in doublings, and how much of its blocks of channels a layer leaves empty."""
    rows = [
        (
            math.log2(layer.inputs),
            math.log2(layer.outputs),
            math.log2(layer.height * layer.width) / 2,
            2 * math.log2(-(-layer.inputs // BLOCK) * BLOCK / layer.inputs),
            2 * math.log2(-(-layer.outputs // BLOCK) * BLOCK / layer.outputs),
        )
        for layer in layers
    ]
    return np.array(rows, dtype=float).reshape(len(rows), 5)


@dataclass(frozen=True)
class _Points:
    """Layers as points: features (N x 5), their kinds, and which of those each has."""

    features: NDArray[np.float64]
    kinds: tuple[str, ...]
    places: NDArray[np.int64]

    @staticmethod
    def of(layers: Sequence[Layer]) -> _Points:
        kinds = tuple(dict.fromkeys(layer.kind for layer in layers))
        places = np.array([kinds.index(layer.kind) for layer in layers], dtype=np.int64)
        return _Points(_features(layers), kinds, places)


def _kernel(first: _Points, second: _Points, length: float) -> NDArray[np.float64]:
    distances = ((first.features[:, None] - second.features[None]) ** 2).sum(axis=2)
    likeness = np.array([[_likeness(one, two) for two in second.kinds] for one in first.kinds])
    likeness = likeness[first.places[:, None], second.places[None]]
    return np.asarray(likeness * np.exp(-distances / (2 * length**2)))


@cache
def _likeness(one: str, two: str) -> float:
    if one == two:
        return 1.0
    return math.sqrt(SIMILARITY) if one.removesuffix(PART) == two.removesuffix(PART) else SIMILARITY
