"""How far predicted latencies are from measured ones, on networks that no table has seen.

    python benchmarks/latency_prediction.py --space googlenet_small [--networks 50] [--rounds 15]
    python benchmarks/latency_prediction.py --show

The first builds the space's table anew, as a search would but with as many networks held out as are
asked for, then measures as many others in turns, none of the table's, and writes
``results/latency/SPACE.json``: the table, each network's measurement and prediction. Both are of
this machine with nothing else at work: a minute or two a space. The second writes
``results/latency/table.md`` from all such files, with MACs alone beside the predictions.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture, check
from nas.cli.inputs import default_classes, parse_image
from nas.cli.spaces import native_image
from nas.cost import count_cost
from nas.latency import LatencyTable, PredictionError, prediction_error
from nas.latency.building import EFFORT, build_table, measure_networks
from nas.space import SearchSpace

RESULTS = Path("results/latency")
SEED = 50
"""Of the drawn networks; tables draw from others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", help="a shipped space's name or a file")
    parser.add_argument("--image", help="such as 224; default: the space's native size")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--show", action="store_true", help="write the table of all results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.show:
        show(given.out)
        return
    if given.space is None:
        parser.error("--space or --show is needed")
    space = SearchSpace.load(given.space)
    image = native_image(space) if given.image is None else parse_image(given.image)
    effort = replace(EFFORT, check_networks=given.networks)
    table = build_table(space, image, default_classes(image), given.device, effort=effort)
    networks = drawn(space, table, given.networks)
    spreads = measure_networks(networks, image, table.classes, given.device, rounds=given.rounds)
    rows = [
        {
            "fingerprint": item.fingerprint,
            "macs": count_cost(item, image, table.classes).macs,
            "measured_ms": spread.median / 1000,
            "low_ms": spread.low / 1000,
            "high_ms": spread.high / 1000,
            "predicted_ms": table.predict_ms(item),
            "disturbed": spread.disturbed,
        }
        for item, spread in zip(networks, spreads, strict=True)
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    suffix = "" if given.device == "cpu" else f"-{given.device}"
    path = given.out / f"{space.name}{suffix}.json"
    path.write_text(json.dumps({"table": table.to_data(), "networks": rows}) + "\n")
    print(f"{path}: {line(path)}")


def drawn(space: SearchSpace, table: LatencyTable, number: int) -> list[Architecture]:
    """Random networks that fit, all different, none that the table measured."""
    seen = {network.fingerprint for network in table.networks}
    found: list[Architecture] = []
    for index in range(20 * number):
        item = space.random(np.random.default_rng([SEED, index]))
        if item.fingerprint in seen:
            continue
        try:
            check(item, table.image)
        except ValueError:
            continue  # it does not fit the image
        seen.add(item.fingerprint)
        found.append(item)
        if len(found) == number:
            break
    return found


def line(path: Path) -> str:
    """A space's row of the table."""
    data = json.loads(path.read_text())
    table, rows = LatencyTable.from_data(data["table"], str(path)), data["networks"]
    measured = [row["measured_ms"] for row in rows]
    error = prediction_error(measured, [row["predicted_ms"] for row in rows])
    by_macs = prediction_error(measured, macs_line(rows))
    spread = np.median([(row["high_ms"] - row["low_ms"]) / row["measured_ms"] for row in rows])
    cells = [
        table.space,
        f"{table.image}",
        f"{min(measured):.3g} to {max(measured):.3g}",
        f"{len(table.layers)} / {len(table.networks)}",
        f"{table.seconds:.0f}",
        *words(table.error),
        *words(error),
        f"{100 * by_macs.median:.1f}",
        f"{by_macs.rank_correlation:.3f}",
        f"{100 * spread:.0f}",
        f"{100 * np.mean([row['disturbed'] for row in rows]):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def words(error: PredictionError) -> tuple[str, ...]:
    return (
        f"{error.n}",
        f"{100 * error.median:.1f}",
        f"{100 * error.percentile_90:.1f}",
        f"{error.rank_correlation:.3f}",
    )


def macs_line(rows: list[dict[str, Any]]) -> list[float]:
    """Latencies by MACs alone: the best line through these very networks, in relative squares.

    It has seen what it predicts: a favour that the table does not get.
    """
    macs = np.array([row["macs"] for row in rows], dtype=float)
    measured = np.array([row["measured_ms"] for row in rows])
    columns = np.stack([np.ones_like(macs), macs], axis=1)
    factors, *_ = np.linalg.lstsq(columns / measured[:, None], np.ones(len(rows)), rcond=None)
    return list((columns @ factors).tolist())


HEAD = """# Predicted latencies beside measured ones

Random networks of each space and how far off their predicted latencies are, as shares of the
measured ones. *Held out* are networks that were timed in the same rounds as the table's layers and
that no fit has seen: how well layers tell of networks. *Later* are other networks, timed by
themselves afterwards: what a user sees, a machine that is faster or slower by then included.
`benchmarks/latency_prediction.py` makes this page; the JSON files beside it hold every row.
"""

COLUMNS = (
    "space",
    "image",
    "measured (ms)",
    "layers / networks in the table",
    "seconds to build",
    "held out: n",
    "median error (%)",
    "90th percentile (%)",
    "rank correlation",
    "later: n",
    "median error (%)",
    "90th percentile (%)",
    "rank correlation",
    "by MACs alone, median error (%)",
    "by MACs alone, rank correlation",
    "spread of a measurement (%)",
    "disturbed (%)",
)


def show(out: Path) -> None:
    paths = sorted(out.glob("*.json"))
    settings = {
        str(LatencyTable.from_data(json.loads(path.read_text())["table"], str(path)).setting)
        for path in paths
    }
    text = (
        f"{HEAD}\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
        + "\n".join(map(line, paths))
        + "\n\n"
    )
    text += "".join(f"Measured on {setting}.\n" for setting in sorted(settings))
    text += (
        "\nThe line by MACs is fitted to the very networks that it is judged by, which the table "
        "is not. The spread is between quartiles of one network's timings; disturbed are visits "
        "at which other processes had the cores.\n"
    )
    (out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
