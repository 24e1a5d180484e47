"""A complete table: every architecture of a small space with its costs and its learning curve.

One gzipped JSON file, by columns. Seconds are processor seconds of one thread from the start of
the trial (building included) to the end of a rung, validation included. An architecture's row is
its place in ``space.enumerate()``. A training that failed has NaN from there on.

Left out: how the rows are measured (benchmarks/complete_table.py) and what is searched in them
(benchmarks/replay.py).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.pareto import hypervolume
from nas.space import SearchSpace

Array = NDArray[np.float64]
Scale = Literal["log", "linear"]
SCALES: tuple[Scale, ...] = ("log", "linear")
COSTS = ("macs", "params", "activation_bytes")
SIGNALS = ("error", "validation_loss", "train_loss_sum")
"""What is known of a trial at a rung; halving may rank by any of them."""

_DIGITS = {"error": 6, "validation_loss": 5, "train_loss_sum": 5, "seconds": 4}


@dataclass(frozen=True)
class Curves:
    """All trainings with one seed; the arrays are (rows, rungs), ``rows`` are architectures."""

    rows: NDArray[np.int64]
    error: Array
    validation_loss: Array
    train_loss_sum: Array
    seconds: Array

    @staticmethod
    def of(
        rows: Sequence[int], curves: Sequence[Sequence[Mapping[str, Any]]], rungs: int
    ) -> Curves:
        """From one list of rungs a training; what a failed one did not reach becomes NaN."""
        arrays = {
            name: np.array(
                [
                    [rung[name] for rung in curve] + [np.nan] * (rungs - len(curve))
                    for curve in curves
                ]
            ).reshape(len(rows), rungs)
            for name in _DIGITS
        }
        return Curves(rows=np.array(rows, dtype=np.int64), **arrays)

    def to_data(self) -> dict[str, Any]:
        """As JSON takes it; NaN is null there."""
        data: dict[str, Any] = {"rows": self.rows.tolist()}
        for name, digits in _DIGITS.items():
            column = getattr(self, name).round(digits).tolist()
            data[name] = [[None if v != v else v for v in curve] for curve in column]  # noqa: PLR0124
        return data

    @staticmethod
    def from_data(data: Mapping[str, Any], rungs: int) -> Curves:
        """What :meth:`to_data` gave."""
        arrays = {
            name: np.array(data[name], dtype=np.float64).reshape(len(data["rows"]), rungs)
            for name in _DIGITS
        }
        return Curves(rows=np.array(data["rows"], dtype=np.int64), **arrays)


@dataclass(frozen=True)
class Table:
    """Costs (rows) and curves of every architecture; ``about`` says how they were measured.

    ``curves`` is by seed; seed 0 has all rows, the others tell the noise.
    """

    space: SearchSpace
    rungs: tuple[int, ...]
    num_classes: int
    macs: Array
    params: Array
    activation_bytes: Array
    curves: Mapping[int, Curves]
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        size, rows = self.space.size, self.curves[0].rows
        if rows.tolist() != list(range(size)):
            raise ValueError(
                f"seed 0 of a complete table must have {size:,} rows, not {len(rows):,}"
            )
        for name in COSTS:
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name} must have {size:,} values")

    @property
    def chance(self) -> float:
        """The error of guessing."""
        return 1 - 1 / self.num_classes

    @property
    def error(self) -> Array:
        """The last rung's error of each row; NaN where the training failed."""
        return self.curves[0].error[:, -1]

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen digits that tell one table from another."""
        return hashlib.sha256(self._to_json()).hexdigest()[:16]

    @cached_property
    def row_by_fingerprint(self) -> dict[str, int]:
        """The row of each architecture."""
        return {one.fingerprint: row for row, one in enumerate(self.space.enumerate())}

    def points(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> Array:
        """(error, MACs) of some rows or of all, as :mod:`nas.pareto` takes them."""
        points = np.column_stack([self.error, self.macs])
        return points if rows is None else points[np.asarray(rows, dtype=np.int64)]

    @property
    def reference(self) -> tuple[float, float]:
        """The reference point: chance error and the largest cost, so the dearest row adds none."""
        return self.chance, float(self.macs.max())

    @cached_property
    def full_hypervolume(self) -> dict[Scale, float]:
        """The hypervolume of the whole table, by the scale of the cost axis."""
        return {
            scale: hypervolume(self.points(), self.reference, log_axes=log_axes(scale))
            for scale in SCALES
        }

    def write(self, path: Path) -> None:
        """Write the table; equal tables make equal files."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(self._to_json(), mtime=0))

    @staticmethod
    def read(path: Path) -> Table:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: it is no table, or not a complete one.
        """
        try:
            data = json.loads(gzip.decompress(path.read_bytes()))
        except OSError as error:
            raise ValueError(f"{path}: no table can be read there: {error}") from None
        rungs = tuple(data["rungs"])
        return Table(
            space=SearchSpace.from_json(json.dumps(data["space"])),
            rungs=rungs,
            num_classes=data["num_classes"],
            curves={
                int(seed): Curves.from_data(curves, len(rungs))
                for seed, curves in data["curves"].items()
            },
            about=data["about"],
            **{name: np.array(data["costs"][name], dtype=np.float64) for name in COSTS},
        )

    def _to_json(self) -> bytes:
        # The encodings follow from the space; they are there for readers without this project.
        encodings = [self.space.encode(one) for one in self.space.enumerate()]
        data = {
            "format": 1,
            "about": dict(self.about),
            "space": json.loads(self.space.to_json()),
            "rungs": list(self.rungs),
            "num_classes": self.num_classes,
            "values": {name: [one[name] for one in encodings] for name in self.space.parameters},
            "costs": {name: getattr(self, name).astype(int).tolist() for name in COSTS},
            "curves": {str(seed): curves.to_data() for seed, curves in self.curves.items()},
        }
        return json.dumps(data, separators=(",", ":")).encode()


def log_axes(scale: Scale) -> tuple[int, ...]:
    """The logarithmic axes of (error, MACs)."""
    return (1,) if scale == "log" else ()
