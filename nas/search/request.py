"""What is asked of a search, in one object: the settings that beginning and planning one share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.architecture import Architecture
from nas.records import RESULTS
from nas.records.lasting import WAIT_SECONDS


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A search as it is asked for, not yet checked: :func:`~nas.search.launch.run_search` says
    what each setting means. None is the default in a new run and as recorded in a resumed one.
    """

    name: str
    results: str | Path = RESULTS
    objectives: Sequence[str] | None = None
    budgets: Mapping[str, float] | None = None
    sampler: str | None = None
    trials: int | None = None
    seconds: float | None = None
    device_seconds: float | None = None
    patience: float | None = None
    trial_seconds: float | None = None
    halving: bool | None = None
    workers: int | None = None
    concurrency: int | None = None
    device: str = "auto"
    latency_device: str | None = None
    seed: int | None = None
    seed_with: Sequence[str | Architecture] = ()
    storage: str | None = None
    storage_wait_seconds: float = WAIT_SECONDS
    resume: bool = False
    join: bool = False
    grace_seconds: float | None = None
    trains_here: bool = True
    """False: trials train on other machines, which may have a device that this one has not."""
