"""A table of latencies: what was measured of a space's layers and networks, and what it predicts.

It is JSON of some hundred kilobytes, kept in the user's cache directory under what it depends on,
and copied into each run that uses it. Reading one needs no torch. Left out: measuring
(:mod:`nas.latency.building`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture, Shape
from nas.latency.layers import Layer
from nas.latency.predictor import Predictor
from nas.latency.setting import Setting
from nas.records.parsing import read_as, shown

FORMAT = 1
"""The version of the JSON; a newer one is refused."""

BUSY_SHARE = 0.2
"""A table of whose timings more were disturbed than this says so."""


@dataclass(frozen=True)
class Measured:
    """What was measured: median and quartiles, in microseconds, of ``n`` undisturbed timings."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class MeasuredNetwork:
    """A random network: what was measured (ms) and predicted; ``is_held_out`` from the fit."""

    fingerprint: str
    measured_ms: float
    low_ms: float
    high_ms: float
    predicted_ms: float
    is_held_out: bool


@dataclass(frozen=True)
class PredictionError:
    """How far predictions are from measurements of ``n`` networks that the fit has not seen.

    Errors are shares of what was measured; ``rank_correlation`` is Spearman's.
    """

    n: int
    median: float
    percentile_90: float
    rank_correlation: float


@dataclass(frozen=True)
class LatencyTable:
    """Measured layers and networks of a space at a target, in one setting, and their predictor.

    ``seconds`` is what the measurements took, ``disturbed`` the share of timings that other
    processes disturbed, ``created`` local time.
    """

    space: str
    fingerprint: str
    image: Shape
    classes: int
    setting: Setting
    created: str
    seconds: float
    disturbed: float
    layers: tuple[tuple[Layer, Measured], ...]
    networks: tuple[MeasuredNetwork, ...]
    predictor: Predictor

    @cached_property
    def error(self) -> PredictionError:
        """Of the networks that the fit has not seen."""
        held_out = [network for network in self.networks if network.is_held_out]
        return prediction_error(
            [network.measured_ms for network in held_out],
            [network.predicted_ms for network in held_out],
        )

    @property
    def was_busy(self) -> bool:
        """Whether others disturbed the measurements so often that they are in doubt."""
        return self.disturbed > BUSY_SHARE

    def predict_ms(self, architecture: Architecture) -> float:
        """The predicted latency of a network at the table's target, in milliseconds.

        Raises:
            ValueError: the network does not fit the target's image.
        """
        return self.predictor.predict_ms(architecture, self.image, self.classes)

    def to_data(self) -> dict[str, Any]:
        """As JSON data with a format version; :meth:`from_data` reads it back."""
        return {
            "format": FORMAT,
            "space": self.space,
            "fingerprint": self.fingerprint,
            "image": list(self.image),
            "classes": self.classes,
            "setting": self.setting.to_data(),
            "created": self.created,
            "seconds": self.seconds,
            "disturbed": self.disturbed,
            "error": asdict(self.error),
            "layers": [[*layer, *asdict(measured).values()] for layer, measured in self.layers],
            "networks": [asdict(network) for network in self.networks],
            "predictor": self.predictor.to_data(),
        }

    @staticmethod
    def from_data(data: Mapping[str, Any], where: str) -> LatencyTable:
        """Read what :meth:`to_data` wrote.

        Raises:
            ValueError: a newer format, or no table of latencies; the message begins with ``where``.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"{where}: is no table of latencies")
        if data.get("format", 0) != FORMAT:
            raise ValueError(
                f"{where}: has format {data.get('format')!r}, and this version reads {FORMAT}"
            )
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ValueError(f"{where}: is no whole table of latencies ({shown(error)})") from None


@dataclass(frozen=True)
class _FamilyData:
    base: list[float]
    length: float
    layers: list[tuple[str, int, int, int, int]]
    weights: list[float]


@dataclass(frozen=True)
class _PredictorData:
    families: dict[str, _FamilyData]
    factor: float
    per_layer_us: float


@dataclass(frozen=True)
class _TableData:
    """The shape of :meth:`LatencyTable.to_data`; what else stands there does not matter."""

    space: str
    fingerprint: str
    image: tuple[int, int, int]
    classes: int
    setting: Setting
    created: str
    seconds: float
    disturbed: float
    layers: list[tuple[str, int, int, int, int, float, float, float, int]]
    networks: list[MeasuredNetwork]
    predictor: _PredictorData


def _read(data: Mapping[str, Any]) -> LatencyTable:
    checked = read_as(_TableData, dict(data), "it")
    for network in checked.networks:
        if not 0 < network.measured_ms < math.inf:
            raise ValueError(f"a network takes {network.measured_ms} ms")
    layers = tuple((Layer(*row[:5]), Measured(*row[5:])) for row in data["layers"])
    return LatencyTable(
        space=str(data["space"]),
        fingerprint=str(data["fingerprint"]),
        image=Shape(*data["image"]),
        classes=int(data["classes"]),
        setting=Setting.from_data(data["setting"]),
        created=str(data["created"]),
        seconds=float(data["seconds"]),
        disturbed=float(data["disturbed"]),
        layers=layers,
        networks=tuple(MeasuredNetwork(**row) for row in data["networks"]),
        predictor=Predictor.from_data(data["predictor"]),
    )


def prediction_error(measured: Sequence[float], predicted: Sequence[float]) -> PredictionError:
    """How far predictions are from measurements, both in milliseconds.

    Raises:
        ValueError: there are none, or not equally many.
    """
    if not measured or len(measured) != len(predicted):
        raise ValueError(f"{len(measured)} measurements and {len(predicted)} predictions")
    true, guess = np.array(measured), np.array(predicted)
    errors = np.abs(guess / true - 1)
    return PredictionError(
        n=len(true),
        median=float(np.median(errors)),
        percentile_90=float(np.quantile(errors, 0.9)),
        rank_correlation=_rank_correlation(true, guess),
    )


def _rank_correlation(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    """Spearman's: the correlation of ranks, those of equal values averaged."""
    first, second = _ranks(one), _ranks(two)
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else math.nan


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: np.ndarray[Any, Any] = (last - (counts - 1) / 2)[inverse]
    return middle


# ------------------------------------------------------------------------------------ kept tables


def cache_directory() -> Path:
    """Where tables are kept; it need not exist yet: ``$NAS_CACHE`` or ``~/.cache/nas``."""
    given = os.environ.get("NAS_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "nas") / "latency"


def table_path(space: str, fingerprint: str, image: Shape, classes: int, setting: Setting) -> Path:
    """Where the table of a space, target and setting is kept; it need not exist yet."""
    key = [FORMAT, fingerprint, list(image), classes, setting.to_data()]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", space).strip("-.")[:40]
    return cache_directory() / f"{readable}-{image}-{digest}.json"


def read_table(path: Path) -> LatencyTable | None:
    """The table that is kept there; None where there is none.

    Raises:
        ValueError: the file is no table; the message names it and says what to do.
    """
    if not path.is_file():
        return None
    try:
        return LatencyTable.from_data(json.loads(path.read_text(encoding="utf-8")), str(path))
    except ValueError as error:
        if str(path) in str(error):
            raise ValueError(f"{error}; remove the file to measure again") from None
        raise ValueError(f"{path}: is damaged ({error}); remove it to measure again") from None


def write_table(table: LatencyTable, path: Path) -> None:
    """Keep a table; other processes see it whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(table.to_data(), file)
            file.flush()
            # The new name must not reach the disk before the content does.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
