"""What a search on Ray is told: what a trial gets, which cluster, where states are kept.

Checked without importing ray. Left out: connecting and running (:mod:`nas.search.ray_executor`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nas.quantities import unknown_name

EXECUTORS = ("local", "ray")

_ADDRESS = re.compile(r"auto|[A-Za-z0-9.\-\[\]:]+:\d{1,5}")


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """``gpus_per_trial`` None is one on CUDA; ``address`` None starts a Ray on this machine.

    ``artifacts`` is a directory or an fsspec URL for checkpoints, None for the run's directory.

    Raises:
        ValueError: one is wrong; the message names it, the rule and the value.
    """

    gpus_per_trial: float | None = None
    cpus_per_trial: float = 1.0
    address: str | None = None
    artifacts: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpus_per_trial < float("inf"):
            raise ValueError(f"cpus per trial must be over 0, not {self.cpus_per_trial!r}")
        if self.gpus_per_trial is not None and not 0 <= self.gpus_per_trial <= 1:
            raise ValueError(
                f"gpus per trial must be from 0 to 1, as a trial trains on one, "
                f"not {self.gpus_per_trial!r}"
            )
        if self.address is not None and self.address.startswith("ray://"):
            raise ValueError(
                f"a search cannot be driven through Ray Client ({self.address!r}): start it on a "
                f"machine of the cluster, with the address auto or HOST:PORT of its head"
            )
        if self.address is not None and not _ADDRESS.fullmatch(self.address):
            raise ValueError(f"a Ray address must be auto or HOST:PORT, not {self.address!r}")

    def device(self, asked: str) -> str:
        """The device that ``asked`` (auto, cpu or cuda) is with these options; auto may stay.

        Raises:
            ValueError: GPUs are asked for and cpu, or none and cuda.
        """
        if self.gpus_per_trial is None or asked not in ("auto", "cpu", "cuda"):
            return asked
        wanted = "cuda" if self.gpus_per_trial else "cpu"
        if asked not in ("auto", wanted):
            raise ValueError(
                f"device {asked} and {self.gpus_per_trial:g} GPUs per trial exclude each other"
            )
        return wanted

    def gpus_on(self, device: str) -> float:
        """The part of a GPU that a trial gets on ``device``."""
        if device == "cpu":
            return 0.0
        return 1.0 if self.gpus_per_trial is None else self.gpus_per_trial

    def checkpoints_url(self, directory: Path) -> str:
        """Where states are kept: below ``artifacts``, by the run's name, or in its directory."""
        if self.artifacts is None:
            return str(directory.resolve() / "checkpoints")
        if "://" not in self.artifacts:
            return str(Path(self.artifacts).resolve() / directory.name / "checkpoints")
        return f"{self.artifacts.rstrip('/')}/{directory.name}/checkpoints"

    def check_with(self, concurrency: int | None, directory: Path) -> None:
        """Refuse what goes with the local executor alone, and a storage that cannot be written.

        Raises:
            ValueError: so it is.
        """
        if concurrency is not None:
            raise ValueError(
                f"concurrency {concurrency}: on Ray a part of a GPU says it, such as "
                f"{1 / concurrency:.2g} GPUs per trial"
            )
        if self.artifacts is not None:
            from nas.search.checkpoints import check_url

            check_url(self.checkpoints_url(directory))


def check_executor(
    executor: object,
    *,
    gpus_per_trial: float | None = None,
    cpus_per_trial: float | None = None,
    ray_address: str | None = None,
    artifacts: str | None = None,
) -> RayOptions | None:
    """What Ray is told, where ``executor`` is ray; None where it is local, or an object.

    Raises:
        ValueError: there is no such executor, or an option is wrong or given to another.
    """
    if isinstance(executor, str) and executor not in EXECUTORS:
        raise ValueError(unknown_name("executor", executor, EXECUTORS))
    if executor == "ray":
        return RayOptions(
            gpus_per_trial=gpus_per_trial,
            cpus_per_trial=1.0 if cpus_per_trial is None else cpus_per_trial,
            address=ray_address,
            artifacts=artifacts,
        )
    given = {
        "gpus per trial": gpus_per_trial,
        "cpus per trial": cpus_per_trial,
        "Ray address": ray_address,
        "artifacts": artifacts,
    }
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} {value!r}: it goes with the executor ray alone")
    return None
