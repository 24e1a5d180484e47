"""CIFAR-10: a search, then full trainings of what it found, and GoogLeNet beside them.

    python benchmarks/cifar10.py --data hf:uoft-cs/cifar10 [--stop-after 9m]
    python benchmarks/cifar10.py --data parquet:DIR --images 512 --epochs 1 --trials 2  (a trial)
    python benchmarks/cifar10.py --report

One `nas search` of at most 15 minutes of device time, then `nas train` of each pick with each
seed, then of the CIFAR-sized GoogLeNet with the same recipe. Everything resumes: the same command
goes on where the last one was stopped, by --stop-after, Ctrl-C or kill. A table is written after
every training, into OUT/README.md and OUT/table.json, with published figures beside it.

Accuracies are those of the test split, measured once a training; the picks are made from the
search alone, by images carved from the training split. The last epoch's averaged weights count:
no epoch is chosen. An interval is Student's t over seeds; with one seed it is Wilson's, which
knows the test images' sampling only and is marked so.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.quantities import format_count, format_seconds, parse_time

SEARCH = "search"
REFERENCE = "cifar_googlenet"


@dataclass(frozen=True)
class Published:
    """Test accuracy on CIFAR-10 in %, and millions of MACs, as a paper gives them."""

    name: str
    accuracy: float
    mega_macs: int
    source: str


PUBLISHED = (
    Published("GoogLeNet", 95.05, 1520, "arXiv:2002.10179"),
    Published("GoogLeNet pruned by HRankPlus", 95.04, 649, "github.com/lmbxmu/HRankPlus"),
    Published("GoogLeNet pruned by HRankPlus", 94.82, 395, "github.com/lmbxmu/HRankPlus"),
    Published("GoogLeNet, filters by ABCPruner", 94.84, 513, "arXiv:2001.08565"),
)


@dataclass(frozen=True)
class Job:
    """A training: what ``nas train`` is asked for, and the seed."""

    name: str
    what: tuple[str, ...]
    seed: int

    def folder(self, out: Path) -> Path:
        """Where it leaves its files."""
        return out / f"{self.name}-seed{self.seed}"


def jobs(out: Path, picks: Sequence[str], seeds: int, reference_seeds: int) -> list[Job]:
    """The trainings in their order: what was found first."""
    run = str(out / SEARCH)
    found = [
        Job(name_of(pick), (run, "--pick", pick), seed) for pick in picks for seed in range(seeds)
    ]
    return found + [Job(REFERENCE, (REFERENCE,), seed) for seed in range(reference_seeds)]


def name_of(pick: str) -> str:
    """A pick as the name of a directory."""
    return "".join(letter if letter.isalnum() else "-" for letter in pick)


# Running


class Deadline:
    """Stops the command that runs then, as Ctrl-C does; later ones are not begun."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def run(self, words: Sequence[str]) -> str | None:
        """Run ``nas``; what it wrote, or None where it was stopped in time.

        Raises:
            SystemExit: it failed; its own message stands above.
        """
        left = None if self._end is None else self._end - time.monotonic()
        if left is not None and left <= 0:
            return None
        print("nas " + " ".join(words), file=sys.stderr)
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", *words], stdout=subprocess.PIPE, text=True
        )
        try:
            out, _ = process.communicate(timeout=left)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.send_signal(signal.SIGINT)
            process.communicate()
            return None
        if process.returncode:
            raise SystemExit(process.returncode)
        return out


def search_words(options: argparse.Namespace, data: str) -> list[str]:
    words = ["search", options.space, "--name", SEARCH, "--results", str(options.out)]
    words += ["--data", data, "--device", options.device, "--max-macs", options.max_macs]
    words += ["--device-seconds", options.search_time]
    given = {
        "--trials": options.trials,
        "--width": options.proxy_width,
        "--epochs": options.proxy_epochs,
        "--images": options.proxy_images,
    }
    for option, value in given.items():
        if value is not None:
            words += [option, str(value)]
    return words


def is_searched(out: Path) -> bool:
    """Whether the search came to its end."""
    from nas.records import open_run

    return has_begun(out) and open_run(str(out / SEARCH)).state == "finished"


def has_begun(out: Path) -> bool:
    from nas.records.stored import DATABASE

    return (out / SEARCH / DATABASE).is_file()


def run_all(options: argparse.Namespace) -> bool:
    """Go on with search and trainings; whether all is done."""
    deadline = Deadline(parse_time(options.stop_after) if options.stop_after else None)
    data = subset(options.data, options.images) if options.images else options.data
    if not is_searched(options.out):
        words = search_words(options, data)
        if has_begun(options.out):
            words = ["search", "--name", SEARCH, "--results", str(options.out), "--resume"]
        deadline.run(words)
        if not is_searched(options.out):
            return False
    for job in planned(options):
        if (job.folder(options.out) / "training.json").is_file():
            continue
        words = ["train", *job.what, "--data", data, "--recipe", options.recipe]
        words += ["--epochs", str(options.epochs), "--seed", str(job.seed)]
        words += ["--device", options.device, "--out", str(job.folder(options.out)), "--resume"]
        if deadline.run(words) is None:
            return False
        write_report(options)
    return True


def planned(options: argparse.Namespace) -> list[Job]:
    return jobs(options.out, options.pick or ["knee"], options.seeds, options.reference_seeds)


def subset(data: str, count: int) -> str:
    """A data set of ``count`` training and half as many test images, each class in proportion.

    It lies in the cache, not in the repository: the images are not ours to give away.
    """
    from nas.datasets import cache_directory, carve, load_data

    folder = cache_directory().parent / "subsets" / f"{name_of(data)}-{count}"
    for split, number in (("train", count), ("test", count // 2)):
        path = folder / f"{split}.parquet"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_parquet(carve(load_data(data, split=split), number).validation, path)
    return f"parquet:{folder}"


def write_parquet(split: Any, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def encoded() -> Iterator[dict[str, bytes]]:
        for image in split.images:
            content = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(content, "png")
            yield {"bytes": content.getvalue()}

    table = pa.table({"image": list(encoded()), "label": split.labels.tolist()})
    pq.write_table(table, path)


# The table


@dataclass(frozen=True)
class Row:
    """A network with all its finished trainings; accuracies in %, one a seed."""

    name: str
    macs: int
    params: int
    seeds: list[int]
    accuracies: list[float]
    mean: float
    low: float
    high: float
    interval: str
    train_seconds: float
    device: str
    fingerprint: str


def rows_of(out: Path, planned_jobs: Sequence[Job]) -> list[Row]:
    """The networks whose trainings are finished, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for job in planned_jobs:
        path = job.folder(out) / "training.json"
        if path.is_file():
            found.setdefault(job.name, []).append(json.loads(path.read_text(encoding="utf-8")))
    return [row_of(name, trainings) for name, trainings in found.items()]


def row_of(name: str, trainings: Sequence[dict[str, Any]]) -> Row:
    accuracies = [100 * one["accuracy"] for one in trainings]
    first = trainings[0]
    if len(trainings) == 1:
        low, high = (100 * limit for limit in first["accuracy_interval"])
    else:
        low, high = interval_over_seeds(accuracies)
    return Row(
        name=name,
        macs=first["macs"],
        params=first["params"],
        seeds=[one["seed"] for one in trainings],
        accuracies=accuracies,
        mean=statistics.fmean(accuracies),
        low=low,
        high=high,
        interval="Wilson, test images only" if len(trainings) == 1 else "t over seeds",
        train_seconds=statistics.fmean(one["seconds"] for one in trainings),
        device=first["device"],
        fingerprint=first["fingerprint"],
    )


def interval_over_seeds(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t for the mean of at least two values."""
    from scipy.stats import t

    half = t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return float(mean - half), float(mean + half)


def markdown(rows: Sequence[Row], options: argparse.Namespace) -> str:
    lines = ["# CIFAR-10", "", *setting(rows, options), ""]
    lines += [
        "| network | MACs | parameters | test accuracy | 95 % interval | seeds | a training |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        each = ", ".join(f"{value:.2f}" for value in row.accuracies)
        lines.append(
            f"| {row.name} | {format_count(row.macs)} | {format_count(row.params)} | "
            f"{row.mean:.2f} % | {row.low:.2f} to {row.high:.2f} ({row.interval}) | {each} | "
            f"{format_seconds(row.train_seconds)} on {row.device} |"
        )
    lines += [
        f"| {one.name} (published: {one.source}) | {one.mega_macs:,}M |  | {one.accuracy:.2f} % |"
        "  |  |  |"
        for one in PUBLISHED
    ]
    return "\n".join(lines) + "\n"


def setting(rows: Sequence[Row], options: argparse.Namespace) -> list[str]:
    """What was done, in words: with a subset, that its figures mean nothing."""
    out: Path = options.out
    lines = [
        f"Space {options.space}, at most {options.max_macs} MACs; recipe {options.recipe}, "
        f"epochs: {options.epochs}. Made by `python benchmarks/cifar10.py`."
    ]
    if has_begun(out):
        from nas.records import open_run

        trials = open_run(str(out / SEARCH)).trials
        done = trials[trials["state"].isin(["complete", "pruned"])]
        lines.append(
            f"The search trained {len(done)} proxies in "
            f"{format_seconds(float(done['train_seconds'].sum()))} of device time."
        )
    if options.images:
        lines.append(
            f"**A trial of the script on {options.images:,} training images: these accuracies say "
            "nothing about the networks.**"
        )
    missing = len(planned(options)) - sum(len(row.seeds) for row in rows)
    if missing:
        lines.append(f"{missing} of {len(planned(options))} trainings are not finished.")
    return lines


def write_report(options: argparse.Namespace) -> None:
    """Write the table of what is finished."""
    rows = rows_of(options.out, planned(options))
    options.out.mkdir(parents=True, exist_ok=True)
    content = {
        "rows": [asdict(row) for row in rows],
        "published": [asdict(one) for one in PUBLISHED],
    }
    (options.out / "table.json").write_text(json.dumps(content, indent=2) + "\n")
    text = markdown(rows, options)
    (options.out / "README.md").write_text(text)
    print(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="hf:uoft-cs/cifar10")
    parser.add_argument("--out", type=Path, default=Path("results/cifar10"))
    parser.add_argument("--space", default="googlenet_small")
    parser.add_argument("--max-macs", default="152M")
    parser.add_argument("--search-time", default="15m", help="device time of the search")
    parser.add_argument("--trials", type=int, help="at most so many trials as well")
    parser.add_argument("--proxy-width", type=float)
    parser.add_argument("--proxy-epochs", type=int)
    parser.add_argument("--proxy-images", type=int)
    parser.add_argument("--pick", action="append", help="of the search; may be repeated (knee)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reference-seeds", type=int, default=3)
    parser.add_argument("--recipe", default="cifar")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--images", type=int, help="a subset, to try the script")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--stop-after", help="end in time, to go on later: 9m")
    parser.add_argument("--report", action="store_true", help="only write the table")
    options = parser.parse_args(arguments)
    done = True if options.report else run_all(options)
    write_report(options)
    if not done:
        print("not finished: the same command goes on", file=sys.stderr)
    return 0 if done else 3


if __name__ == "__main__":
    raise SystemExit(main())
