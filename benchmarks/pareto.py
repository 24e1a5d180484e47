"""How long fronts and hypervolumes take, beside Optuna's own and pymoo's, up to a million points.

    python benchmarks/pareto.py [--repeats 5] [--limit 20] [--out results/pareto/cpu.jsonl]

Points are uniform in the unit cube (few on the front), or on a sphere (all of them on it: the
hardest case). The libraries take turns within each repeat, on the same points; masks must be equal
and volumes agree to nine digits. A library whose last, ten times smaller case took over a
hundredth of ``--limit`` seconds where time grows by the square, or whose case would take too long
by that rule, is left out of the next, which the table says. One thread.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.pareto import hypervolume, nondominated

Array = NDArray[np.float64]

REFERENCE = 1.1
SIZES = {2: (1_000, 10_000, 100_000, 1_000_000), 3: (1_000, 10_000, 100_000)}
CLOUDS = ("uniform", "sphere")
GROWTH = 100.0
"""What ten times the points take at worst: time by their square."""


@dataclass(frozen=True)
class Row:
    """One library's time for one question about one cloud; seconds, of ``repeats`` runs."""

    question: str
    cloud: str
    objectives: int
    points: int
    on_front: int
    library: str
    repeats: int
    median: float | None
    least: float | None
    most: float | None
    ratio: float | None


def cloud(kind: str, count: int, objectives: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    if kind == "uniform":
        return random.random((count, objectives))
    directions = np.abs(random.normal(size=(count, objectives)))
    return 1 - directions / np.linalg.norm(directions, axis=1, keepdims=True)


def optuna_front(points: Array) -> NDArray[np.bool_]:
    from optuna.study._multi_objective import _is_pareto_front

    return _is_pareto_front(points, assume_unique_lexsorted=False)


def pymoo_front(points: Array) -> NDArray[np.bool_]:
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    mask = np.zeros(len(points), dtype=bool)
    mask[NonDominatedSorting().do(points, only_non_dominated_front=True)] = True
    return mask


def our_volume(points: Array) -> float:
    return hypervolume(points, np.full(points.shape[1], REFERENCE))


def optuna_volume(points: Array) -> float:
    from optuna._hypervolume import compute_hypervolume

    return float(compute_hypervolume(points, np.full(points.shape[1], REFERENCE)))


def pymoo_volume(points: Array) -> float:
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=np.full(points.shape[1], REFERENCE))(points))


QUESTIONS: dict[str, dict[str, Callable[[Array], object]]] = {
    "front": {"nas.pareto": nondominated, "Optuna": optuna_front, "pymoo": pymoo_front},
    "hypervolume": {"nas.pareto": our_volume, "Optuna": optuna_volume, "pymoo": pymoo_volume},
}


def check_equal(question: str, answers: dict[str, object], where: str) -> None:
    first = answers["nas.pareto"]
    for library, answer in answers.items():
        if question == "front":
            equal = np.array_equal(np.asarray(first), np.asarray(answer))
        else:
            equal = math.isclose(float(str(first)), float(str(answer)), rel_tol=1e-9)
        if not equal:
            raise SystemExit(f"{library} and nas.pareto disagree: {question}, {where}")


def timed(
    points: Array, question: str, libraries: list[str], repeats: int, where: str
) -> dict[str, list[float]]:
    """Seconds of each library; all take a turn in each repeat, the first library first."""
    times: dict[str, list[float]] = {name: [] for name in libraries}
    answers: dict[str, object] = {}
    for _ in range(repeats):
        for name in libraries:
            start = time.perf_counter()
            answers[name] = QUESTIONS[question][name](points)
            times[name].append(time.perf_counter() - start)
    check_equal(question, answers, where)
    return times


def rows(repeats: int, limit: float, sizes: dict[int, tuple[int, ...]] = SIZES) -> Iterator[Row]:
    for question, libraries in QUESTIONS.items():
        for objectives, counts in sizes.items():
            for kind in CLOUDS:
                last = dict.fromkeys(libraries, 0.0)
                for count in counts:
                    points = cloud(kind, count, objectives)
                    points.flags.writeable = False
                    taking = [
                        name
                        for name in libraries
                        if name == "nas.pareto" or GROWTH * last[name] <= limit
                    ]
                    where = f"{count} points, {objectives}-D, {kind}"
                    times = timed(points, question, taking, repeats, where)
                    last = {
                        name: min(times[name]) if name in times else math.inf for name in libraries
                    }
                    ours = statistics.median(times["nas.pareto"])
                    on_front = int(nondominated(points).sum())
                    for name in libraries:
                        found = times.get(name)
                        middle = statistics.median(found) if found else None
                        yield Row(
                            question=question,
                            cloud=kind,
                            objectives=objectives,
                            points=count,
                            on_front=on_front,
                            library=name,
                            repeats=repeats,
                            median=middle,
                            least=min(found) if found else None,
                            most=max(found) if found else None,
                            ratio=middle / ours if middle is not None else None,
                        )


def hardware() -> dict[str, str | int | None]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "moocore", "optuna", "pymoo")},
    }


def show(row: Row) -> str:
    if row.median is None:
        return f"{row.library:<11} {'left out: too slow':>18}"
    spread = f"{1000 * row.least:,.1f} to {1000 * row.most:,.1f}" if row.least and row.most else ""
    return f"{row.library:<11} {1000 * row.median:>12,.1f} ms   x{row.ratio:<9,.2f} ({spread})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="runs timed of each")
    parser.add_argument("--limit", type=float, default=20, help="seconds that one may take")
    parser.add_argument("--out", type=Path, help="where to write the rows as JSON lines")
    options = parser.parse_args()
    found = hardware()
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    print(f"medians of {options.repeats} interleaved runs, one thread; x: times nas.pareto's")
    written = [json.dumps(found)]
    heading = ""
    for row in rows(options.repeats, options.limit):
        title = (
            f"\n{row.question}, {row.objectives}-D, {row.cloud}: "
            f"{row.points:,} points, {row.on_front:,} on the front"
        )
        if title != heading:
            heading = title
            print(title)
        print(show(row), flush=True)
        written.append(json.dumps(asdict(row)))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()
