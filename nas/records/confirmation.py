"""A confirmation of a run as typed tables: what was retrained at full budget, and what it gave.

A confirmation is a study of its own in the run's storage, ``NAME:confirm``, laid out as a run's
(:mod:`nas.records.stored`): a row a training, whose ``origin`` names the network. Two attributes
of the study say more: ``confirm`` (:class:`ConfirmSettings`: which networks, how many seeds) and
``test`` (error and loss on the test split by row, written once when all are trained). Weights lie
beside it in ``RUN/confirm/NETWORK-seedN``.

Left out: choosing and training (:mod:`nas.confirm`), what follows (:mod:`nas.analysis.confirmed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd

from nas.architecture import Architecture
from nas.records import schema
from nas.records.parsing import read_as
from nas.records.reading import Run
from nas.records.stored import CONFIRMATION, COSTS, FORMAT, Location, check_format

Role: TypeAlias = Literal["front", "control", "preset", "random"]

FOLDER = "confirm"
"""The directory of the trainings within the run's."""

FINALIST_COLUMNS = {
    "name": "str",
    "role": "str",
    "number": "int64",
    "picks": "str",
    "proxy_error": "float64",
    "fingerprint": "str",
}
"""Of :attr:`Confirmation.finalists`, beside the costs; ``number`` is -1 for what is no trial."""

TRAINING_COLUMNS = {
    **FINALIST_COLUMNS,
    "seed": "int64",
    "state": "str",
    "error": "float64",
    "loss": "float64",
    "test_error": "float64",
    "test_loss": "float64",
    "epochs": "int64",
    "train_seconds": "float64",
    "reason": "str",
    "row": "int64",
}
"""Of :attr:`Confirmation.trainings`, beside the costs; ``row`` is the number in the study."""


@dataclass(frozen=True)
class Finalist:
    """A network that is retrained: a trial of the run, or a landmark.

    ``number`` is the run's trial and ``proxy_error`` its error there; None for a landmark.
    ``costs`` are counted at the run's target. ``architecture`` is JSON.
    """

    name: str
    role: Role
    architecture: str
    costs: dict[str, float]
    number: int | None = None
    picks: tuple[str, ...] = ()
    proxy_error: float | None = None

    @cached_property
    def network(self) -> Architecture:
        """The architecture itself."""
        return Architecture.from_json(self.architecture)


@dataclass(frozen=True)
class ConfirmSettings:
    """What is retrained and how often; a resumed confirmation must agree with it."""

    top: int
    seeds: int
    controls: int
    landmarks: tuple[str, ...]
    finalists: tuple[Finalist, ...]

    def to_data(self) -> dict[str, Any]:
        """As JSON data with a format version."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_data(data: Mapping[str, Any], where: str) -> ConfirmSettings:
        """Read what :meth:`to_data` wrote.

        Raises:
            ValueError: a newer format, or incomplete; the message says of what.
        """
        check_format(data, where)
        values = {key: value for key, value in data.items() if key != "format"}
        return read_as(ConfirmSettings, values, f"{where}: its settings")


class Confirmation:
    """A run's confirmation; each table is read once, when first asked for."""

    def __init__(self, run: Run, study: Run) -> None:
        self.run, self.study = run, study
        data = study.attribute("confirm")
        if data is None:
            raise ValueError(f"study {study.name!r} is no confirmation: no settings")
        self.settings = ConfirmSettings.from_data(data, f"the confirmation of run {run.name!r}")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The run's."""
        return self.study.settings.objectives

    @property
    def path(self) -> Path:
        """The directory of the trainings."""
        return self.study.path

    @cached_property
    def cost_names(self) -> tuple[str, ...]:
        """The costs that every finalist has, the objectives' own first."""
        own = [name for name in self.objectives if name != "error"]
        known = [set(item.costs) for item in self.settings.finalists]
        names = dict.fromkeys([*own, *COSTS])
        return tuple(name for name in names if all(name in costs for costs in known))

    @cached_property
    def finalists(self) -> pd.DataFrame:
        """One row a network, in the order they were chosen; columns of FINALIST_COLUMNS, costs."""
        rows = [
            {
                "name": item.name,
                "role": item.role,
                "number": -1 if item.number is None else item.number,
                "picks": ", ".join(item.picks),
                "proxy_error": float("nan") if item.proxy_error is None else item.proxy_error,
                "fingerprint": item.network.fingerprint,
                **{name: item.costs[name] for name in self.cost_names},
            }
            for item in self.settings.finalists
        ]
        table = pd.DataFrame(rows, columns=[*FINALIST_COLUMNS, *self.cost_names])
        return table.astype(FINALIST_COLUMNS)

    @cached_property
    def trainings(self) -> pd.DataFrame:
        """One row a network and seed that was begun: the last try; TRAINING_COLUMNS and costs."""
        rows = self.study.trials.rename(columns={"origin": "name", "number": "row"})
        rows = rows.drop_duplicates(["name", "seed"], keep="last")
        rows = rows[rows["seed"] < self.settings.seeds]
        curves = self.study.curves.sort_values("epoch").groupby("number")["validation_loss"].last()
        test = self.test
        measured = {
            "loss": rows["row"].map(curves),
            "test_error": rows["row"].map({row: pair[0] for row, pair in test.items()}),
            "test_loss": rows["row"].map({row: pair[1] for row, pair in test.items()}),
        }
        own = ["name", "seed", "state", "error", "epochs", "train_seconds", "reason", "row"]
        table = self.finalists.merge(rows[own].assign(**measured), on="name")
        table = table[[*TRAINING_COLUMNS, *self.cost_names]].astype(TRAINING_COLUMNS)
        return table.reset_index(drop=True)

    @property
    def complete_rows(self) -> list[int]:
        """The rows of the trainings that are done."""
        rows = self.trainings
        return [int(row) for row in rows.loc[rows["state"] == "complete", "row"]]

    @property
    def is_done(self) -> bool:
        """Whether every network has all of its trainings."""
        return len(self.complete_rows) == len(self.settings.finalists) * self.settings.seeds

    @cached_property
    def test_images(self) -> int:
        """Images of the test split; 0 before it was measured."""
        return self._test.images

    @cached_property
    def test(self) -> dict[int, tuple[float, float]]:
        """(error, loss) on the test split by row; empty before all are trained."""
        return dict(self._test.results)

    @property
    def _test(self) -> _Test:
        data = self.study.attribute("test") or {"images": 0, "results": {}}
        return read_as(_Test, data, f"the confirmation of run {self.run.name!r}: its 'test'")


@dataclass(frozen=True)
class _Test:
    images: int
    results: dict[int, tuple[float, float]]


def confirmation_location(run: Run) -> Location:
    """Where a run's confirmation is or would be."""
    return Location(run.url, run.name + CONFIRMATION, run.path / FOLDER)


def has_confirmation(run: Run) -> bool:
    """Whether the run's storage holds a study for its confirmation, whole or not.

    Raises:
        OSError: the storage cannot be read.
    """
    with run.database.snapshot() as connection:
        return confirmation_location(run).name in schema.studies(connection)


def open_confirmation(run: Run) -> Confirmation | None:
    """The run's confirmation, finished or not; None where there is none.

    Raises:
        OSError: the storage cannot be read.
        ValueError: what is there is no whole confirmation.
    """
    if not has_confirmation(run):
        return None
    return Confirmation(run, Run(confirmation_location(run)))
