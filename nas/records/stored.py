"""What is stored of a run and of a trial, as plain data; how it is laid out on disk.

A run is one Optuna study. By default it is ``results/NAME/study.db`` (SQLite) with the study
``NAME`` in it; any SQLAlchemy URL does as well. A trial's row holds the sampler's parameters,
the objectives' values and three user attributes, each JSON:

``proposal``  what was known before training: architecture, costs, fingerprints, seed, origin, and
              what its sampler expected of it, where it says so
``curve``     a list of [epoch, train loss, validation loss, error, seconds, seconds of set-up],
              grown while it runs; runs of older versions lack the last
``result``    epochs, seconds, whether it came from the cache, the reason of an end, and, where
              a rung was the end, rank and rivals there; runs of older versions lack these

Times are local; seconds, bytes and counts are plain integers and floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from nas.architecture import Architecture
from nas.cost import LATENCY
from nas.records.parsing import read_as, shown

FORMAT = 1
"""The version of what is written here; a newer one is refused."""

DATABASE = "study.db"
LOCK = "driver.lock"
CONFIRMATION = ":confirm"
"""The end of the name of a confirmation's study; no run's name has a colon."""

RESULTS = Path("results")
DEFAULT_TRIALS = 64
"""The limit of a search that was given none."""

State: TypeAlias = Literal["complete", "running", "pruned", "failed"]
RunState: TypeAlias = Literal["running", "finished", "interrupted", "unreadable"]

STATES: dict[str, State] = {
    "COMPLETE": "complete",
    "RUNNING": "running",
    "WAITING": "running",
    "PRUNED": "pruned",
    "FAIL": "failed",
}

COSTS = ("macs", "params", "activation_bytes", "peak_activation_bytes")
"""The costs that every trial has; ``latency_ms`` only those of runs that ask for it."""

LATENCY_TABLE = "latency"
"""The key under which a study holds the table that its trials' latencies come from."""

TRIAL_COLUMNS = {
    "number": "int64",
    "state": "str",
    "error": "float64",
    "macs": "int64",
    "params": "int64",
    "activation_bytes": "int64",
    "peak_activation_bytes": "int64",
    "latency_ms": "float64",
    "fingerprint": "str",
    "proxy_fingerprint": "str",
    "seed": "int64",
    "epochs": "int64",
    "train_seconds": "float64",
    "started": "datetime64[us]",
    "finished": "datetime64[us]",
    "reason": "str",
    "origin": "str",
    "expected_share": "float64",
    "reused": "bool",
    "architecture": "str",
}
CURVE_COLUMNS = {
    "number": "int64",
    "epoch": "int64",
    "train_loss": "float64",
    "validation_loss": "float64",
    "error": "float64",
    "train_seconds": "float64",
    "setup_seconds": "float64",
}


@dataclass(frozen=True)
class RunSettings:
    """What a run was created with; a resumed search must agree with it.

    ``space`` and ``task`` are JSON. ``reference`` is the reference point of the hypervolume, one
    value an objective. ``evaluate`` names the caller's own function, if there was one.
    ``trials``, ``seconds`` and ``device_seconds`` limit the run over all restarts, and
    ``patience`` ends it when little more is expected; None is no limit. Rows of before they were
    recorded had the default. ``trial_seconds`` limits each trial. ``halving``: trials may be
    stopped at their rungs. ``first`` are networks to try before all others, as (origin,
    architecture JSON). ``data`` has the sizes and a checksum of the training data, where the
    search loads it.
    """

    space: str
    task: str
    objectives: tuple[str, ...]
    reference: tuple[float, ...]
    seed: int
    sampler: str
    budgets: dict[str, float]
    created: str
    versions: dict[str, str]
    device: str
    precision: str
    evaluate: str | None = None
    trials: int | None = DEFAULT_TRIALS
    seconds: float | None = None
    device_seconds: float | None = None
    patience: float | None = None
    trial_seconds: float | None = None
    halving: bool = False
    first: tuple[tuple[str, str], ...] = ()
    data: dict[str, int] | None = None

    def to_data(self) -> dict[str, Any]:
        """The settings as JSON data with a format version."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_data(data: Mapping[str, Any], where: str) -> RunSettings:
        """Read what :meth:`to_data` wrote.

        Raises:
            ValueError: a newer format, or a field is missing or of another type; the message
                names the run and the field.
        """
        check_format(data, where)
        known = {item.name for item in fields(RunSettings)}
        values = {name: value for name, value in data.items() if name in known}
        settings = read_as(RunSettings, values, f"{where}: its 'settings'")
        objectives, reference = settings.objectives, settings.reference
        names = ("error", *COSTS, LATENCY)
        if "error" not in objectives or not set(objectives) <= set(names):
            raise ValueError(
                f"{where}: its objectives must be error and any of {', '.join(names[1:])}, not "
                f"{shown(', '.join(objectives))}"
            )
        finite = [math.isfinite(value) for value in (*reference, *settings.budgets.values())]
        if len(reference) != len(objectives) or not all(finite):
            raise ValueError(
                f"{where}: its reference point and budgets must be numbers, one an objective, not "
                f"{shown(reference)} and {shown(settings.budgets)}"
            )
        # Whole numbers stay whole.
        return replace(settings, budgets=dict(values["budgets"]))


def check_format(data: Any, where: str) -> None:
    """Refuse settings that are none, or of a newer version.

    Raises:
        ValueError: they are; the message begins with ``where``.
    """
    version = data.get("format", 0) if isinstance(data, Mapping) else None
    if not isinstance(version, int):
        raise ValueError(f"{where}: its settings are damaged: they have no format")
    if version > FORMAT:
        raise ValueError(
            f"{where} has format {shown(version)}, newer than this version reads ({FORMAT}); "
            f"update the package to read it"
        )


@dataclass(frozen=True)
class Proposal:
    """What is known of a trial before it trains.

    ``costs`` are counted at the target: macs, params, activation_bytes, peak_activation_bytes; and
    latency_ms, where the run has a table of latencies.
    ``sampler_state`` is what the sampler must find again after a resume. ``expected_share`` is
    what the sampler expected it to add to the hypervolume, where it says so.
    """

    architecture: Architecture
    values: Mapping[str, Any]
    costs: Mapping[str, float]
    proxy_fingerprint: str
    seed: int
    origin: str
    sampler_state: Mapping[str, Any] = field(default_factory=dict)
    expected_share: float | None = None


@dataclass(frozen=True)
class Stop:
    """Where a trial was stopped: the rung, its rank there (1 is the best) of so many seen.

    ``dominated_by`` are the numbers of the nearest trials that dominate it, at most a few.
    """

    epoch: int
    rank: int
    seen: int
    dominated_by: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: ``error`` only where it is complete, ``reason`` where it is not.

    ``is_lost``: its workers died, which says nothing about its network. ``stop`` says more of one
    that was stopped at a rung.
    """

    state: State
    error: float | None = None
    epochs: int = 0
    train_seconds: float = 0.0
    reused: bool = False
    reason: str = ""
    is_lost: bool = False
    stop: Stop | None = None


@dataclass(frozen=True)
class Rejections:
    """Proposals that no row was written for: how many a reason, and the last hundred.

    A row of ``last`` has the trial ``number`` it was proposed for, the ``kind`` that the counts
    have and the ``reason`` in full, and its ``values`` in the order of the space's parameters.
    """

    counts: dict[str, int] = field(default_factory=dict)
    last: tuple[dict[str, Any], ...] = ()

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Ended:
    """Why the last driver stopped: ``interrupted`` runs go on with resume."""

    kind: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Location:
    """Where a run is: its database, the study's name there, and its directory."""

    url: str
    name: str
    path: Path

    @property
    def database(self) -> Path | None:
        """The SQLite file, or None for a database server."""
        url = sqlalchemy.make_url(self.url)
        if url.get_backend_name() != "sqlite" or not url.database:
            return None
        return Path(url.database)

    @property
    def lock(self) -> Path:
        """The driver's lock: in the run's directory, or beside a SQLite file that runs share."""
        database = self.database
        if database is None or database.parent == self.path:
            return self.path / LOCK
        return database.with_name(f"{database.name}.{self.name}.{LOCK}")


def locate(name: str, results: str | Path = RESULTS, storage: str | None = None) -> Location:
    """Where the run ``name`` is or would be; ``storage`` is a URL, None for a file of its own.

    Raises:
        ValueError: ``storage`` is no SQLAlchemy URL.
    """
    path = Path(results) / name
    url = f"sqlite:///{path / DATABASE}" if storage is None else storage
    try:
        sqlalchemy.make_url(url)
    except SQLAlchemyError:
        raise ValueError(f"storage must be a URL such as sqlite:///runs.db, not {url!r}") from None
    return Location(url, name, path)


def cause(error: BaseException) -> str:
    """What went wrong below SQLAlchemy and Optuna, in one line."""
    origin = getattr(error, "orig", None) or error.__cause__ or error
    origin = getattr(origin, "orig", None) or origin
    return str(origin).splitlines()[0]
