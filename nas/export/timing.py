"""How long artefacts take, side by side: one fresh process in which they take turns.

The eager module (the plain source file, in torch) is always one of them. Each figure is the
median of its runs with the quartiles; turns make what else the machine does fall on all alike.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.export.proof import TIMEOUT_SECONDS, Artefact, run_fresh

BATCHES = (1, 32)
SECONDS = 8.0
"""Of turns for each batch size, if that is more than :data:`LEAST_RUNS` rounds."""

LEAST_RUNS, MOST_RUNS = 3, 50


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one batch: median and quartiles of the runs, and what it is over eager."""

    format: str
    batch: int
    median_ms: float
    quartiles_ms: tuple[float, float]
    num_runs: int
    speedup: float


@dataclass(frozen=True)
class Latencies:
    """Of all artefacts on one machine; ``rows`` start with the eager module of each batch."""

    processor: str
    threads: int
    rows: tuple[Latency, ...]


def measure_latency(
    eager: Artefact,
    artefacts: Sequence[Artefact],
    place: Path,
    *,
    seconds: float = SECONDS,
    batches: Sequence[int] = BATCHES,
) -> Latencies:
    """Time the artefacts and the eager module in turns; ``place`` is a scratch directory.

    Raises:
        ProofError: an artefact does not run.
        OSError: ``place`` cannot be written.
    """
    import torch

    names = ["eager", *(artefact.format for artefact in artefacts)]
    rows = []
    for batch in batches:
        limits = {"seconds": seconds, "least": LEAST_RUNS, "most": MOST_RUNS}
        job = {"mode": "time", "batch": batch, **limits}
        found = run_fresh([eager, *artefacts], job, place, timeout=3 * TIMEOUT_SECONDS)
        rows += rows_of(names, batch, found["seconds"])
    return Latencies(_processor(), torch.get_num_threads(), tuple(rows))


def rows_of(names: Sequence[str], batch: int, seconds: Sequence[Sequence[float]]) -> list[Latency]:
    """The seconds of each one's runs as figures; the first is the eager module."""
    import numpy as np

    quartiles = [1000 * np.percentile(runs, (25, 50, 75)) for runs in seconds]
    eager = quartiles[0][1]
    return [
        Latency(
            format=name,
            batch=batch,
            median_ms=float(middle),
            quartiles_ms=(float(low), float(high)),
            num_runs=len(runs),
            speedup=float(eager / middle),
        )
        for name, runs, (low, middle, high) in zip(names, seconds, quartiles, strict=True)
    ]


def _processor() -> str:
    """The processor's name where Linux tells it, else its kind."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
