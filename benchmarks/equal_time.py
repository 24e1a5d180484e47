"""What searches find in equal time: real ones, of the product's own space, on the embedded data.

    python benchmarks/equal_time.py [--time 100s] [--seeds 5] [--contestants nsga2 pareto]
    python benchmarks/equal_time.py --report

Each search is the quickstart's (googlenet_small, fashion-mnist-mini, at most 150M MACs) with a
limit of time in place of one of trials. Seeds are interleaved: every contestant once a seed, in an
order that turns, so that what else the machine does meets all of them. One row a search in
OUT/searches.jsonl; the same command goes on. The hypervolume has the run's own reference point,
which follows from space and task and is the same for all; stopped trials add nothing to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

CONTESTANTS = ("nsga2", "pareto", "pareto+halving")


def search(contestant: str, seed: int, time: str, folder: Path) -> dict[str, Any]:
    """Run one search in a process of its own and read what it found."""
    sampler, _, halving = contestant.partition("+")
    name = f"{contestant.replace('+', '-')}-{seed}"
    nas = [sys.executable, "-m", "nas"]
    words = ["search", "googlenet_small", "--data", "fashion-mnist-mini", "--max-macs", "150M"]
    words += ["--name", name, "--time", time, "--sampler", sampler, "--seed", str(seed)]
    words += ["--halving" if halving else "--no-halving"]
    subprocess.run([*nas, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shown = subprocess.run(
        [*nas, "show", f"results/{name}", "--json"], cwd=folder, check=True, capture_output=True
    )
    data = json.loads(shown.stdout)
    return {
        "contestant": contestant,
        "seed": seed,
        "time": time,
        "hypervolume": data["hypervolume"],
        "reference": data["reference"],
        "trials": data["trials"],
        "front": len(data["front"]),
        "smallest_error": min((row["error"] for row in data["front"]), default=None),
        "spend": data["spend"],
        "load": round(os.getloadavg()[0], 1),
    }


def report(rows: Sequence[dict[str, Any]]) -> str:
    """The hypervolumes by contestant and seed, and each one's ratio to the first's by seed."""
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    found = {(row["contestant"], row["seed"]): row for row in rows}
    seeds = sorted({seed for _, seed in found if all((name, seed) in found for name in names)})
    lines = [
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{rows[0]['time']} a search, seeds {', '.join(map(str, seeds))}",
        "",
        "| sampler | " + " | ".join(f"seed {seed}" for seed in seeds)
        + " | median | to the first, by seed | trained trials |",
        "|---|" + "---|" * (len(seeds) + 3),
    ]  # fmt: skip
    for name in names:
        values = np.array([found[name, seed]["hypervolume"] for seed in seeds])
        first = np.array([found[names[0], seed]["hypervolume"] for seed in seeds])
        trials = [found[name, seed]["trials"] for seed in seeds]
        trained = [sum(one.get(state, 0) for state in ("complete", "pruned")) for one in trials]
        ratios = values / first
        lines.append(
            f"| {name} | "
            + " | ".join(f"{value:.3f}" for value in values)
            + f" | {np.median(values):.3f} | {ratios.min():.2f} to {ratios.max():.2f}"
            + f" | {np.median(trained):.0f} |"
        )
    return "\n".join(lines)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--time", default="100s")
    add("--seeds", type=int, default=5)
    add("--contestants", nargs="+", default=list(CONTESTANTS))
    add("--out", type=Path, default=Path("results/equal_time"))
    add("--report", action="store_true", help="run nothing, show what there is")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    given = parse_arguments(words)
    path = given.out / "searches.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["contestant"], row["seed"], row["time"]) for row in rows}
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            turn = seed % len(given.contestants)
            for one in [*given.contestants[turn:], *given.contestants[:turn]]:
                if given.report or (one, seed, given.time) in done:
                    continue
                row = search(one, seed, given.time, Path(folder))
                rows.append(row)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(
                    f"{one}, seed {seed}: hypervolume {row['hypervolume']:.3f}, "
                    f"front of {row['front']}, load {row['load']}",
                    file=sys.stderr,
                    flush=True,
                )
    kept = [row for row in rows if row["time"] == given.time]
    if not kept:
        raise SystemExit(f"{path} has no search of {given.time}")
    order = {name: place for place, name in enumerate(given.contestants)}
    kept.sort(key=lambda row: (order.get(row["contestant"], len(order)), row["seed"]))
    text = report(kept)
    (given.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
