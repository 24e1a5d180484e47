"""The proof of every format, for GoogLeNet and random architectures of each space.

    python benchmarks/export_proofs.py [--architectures 10] [--formats source,fused,onnx,pt2,int8]
        [--out results/export_proofs]

Each network gets random weights and is exported at its space's smallest usual image; every format
is loaded by its own runtime in a fresh process and compared on random numbers. One line of JSON a
network is appended to proofs.jsonl, and what stands there is not done again (`--formats aot` adds
the slow one to what there is); table.md sums up. The exit code is 1 where a proof failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contestants.hardware import describe_hardware

from nas.architecture import Architecture, Shape
from nas.export import Preprocessing, ProofError
from nas.export.artefacts import Bench, Job
from nas.export.bundle import FILES, FUSED_WEIGHTS
from nas.presets import PRESET_IMAGES, load_preset
from nas.space import SearchSpace

SIDES = {"tiny": 28, "googlenet_small": 32, "googlenet": 128, "inception_v3": 128}
"""Pixels of a side for each space's networks."""


class Subject(NamedTuple):
    """A network to export: of a space, or a preset."""

    group: str
    number: int
    architecture: Architecture
    image: Shape
    classes: int


def subjects(count: int) -> Iterator[Subject]:
    yield Subject("preset", 0, load_preset("googlenet"), PRESET_IMAGES["googlenet"], 1000)
    for name, side in SIDES.items():
        space = SearchSpace.load(name)
        for number in range(count):
            architecture = space.random(np.random.default_rng(number))
            yield Subject(name, number, architecture, Shape(3, side, side), 10)


def prove_all(subject: Subject, formats: list[str]) -> dict[str, Any]:
    """A row: what each format's proof found, or why it failed."""
    row: dict[str, Any] = {
        "group": subject.group,
        "number": subject.number,
        "fingerprint": subject.architecture.fingerprint,
        "formats": {},
    }
    job = Job(
        subject.architecture,
        subject.image,
        subject.classes,
        f"{subject.group}-{subject.number}",
        weights=None,
        preprocessing=Preprocessing(),
        auxiliary=False,
        is_proxy=False,
    )
    with tempfile.TemporaryDirectory(prefix="proofs-") as name:
        folder = Path(name)
        bench = Bench(job, folder)
        for wanted in formats:
            try:
                path, weights = folder / f"made_{FILES[wanted]}", folder / FUSED_WEIGHTS
                proof = bench.prove(bench.write(wanted, path, weights))
            except ProofError as error:
                row["formats"][wanted] = {"failed": str(error)}
                continue
            row["formats"][wanted] = {
                "largest_difference": proof.largest_difference,
                "largest_output": proof.largest_output,
                "limit": proof.limit,
                "noise": proof.noise,
                "top1_agreement": proof.top1_agreement,
            }
    return row


def read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def done(rows: list[dict[str, Any]], subject: Subject) -> set[str]:
    """The formats of a network that were proven, or failed, before."""
    key = (subject.group, subject.number)
    same = [row["formats"] for row in rows if (row["group"], row["number"]) == key]
    return {name for formats in same for name in formats}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """For each group and format: how many passed, and the worst of what was found."""
    lines = [
        "| networks of | format | passed | largest difference over largest logit | most noise |",
        "|---|---|---|---|---|",
    ]
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row["formats"] for row in rows if row["group"] == group]
        for wanted in dict.fromkeys(name for formats in mine for name in formats):
            found = [formats[wanted] for formats in mine if wanted in formats]
            passed = [each for each in found if "failed" not in each]
            ratios = [each["largest_difference"] / each["largest_output"] for each in passed]
            noises = [each["noise"] for each in passed]
            worst = f"{max(ratios):.1e} | {max(noises):.1e}" if passed else " | "
            lines.append(f"| {group} | {wanted} | {len(passed)} of {len(found)} | {worst} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architectures", type=int, default=10, help="of each space")
    parser.add_argument("--formats", default="source,fused,onnx,pt2,int8")
    parser.add_argument("--out", type=Path, default=Path("results/export_proofs"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "proofs.jsonl"
    rows = read_rows(path)
    for subject in subjects(options.architectures):
        missing = [name for name in options.formats.split(",") if name not in done(rows, subject)]
        if not missing:
            continue
        row = prove_all(subject, missing)
        rows.append(row)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(subject.group, subject.number, *missing, "done", flush=True)
    hardware = ", ".join(f"{key} {value}" for key, value in describe_hardware("cpu").items())
    head = [f"Random weights, 8 images of random numbers; {hardware}.", ""]
    (options.out / "table.md").write_text("\n".join([*head, *table(rows)]) + "\n")
    print("\n".join(table(rows)))
    sys.exit(any("failed" in each for row in rows for each in row["formats"].values()))


if __name__ == "__main__":
    main()
