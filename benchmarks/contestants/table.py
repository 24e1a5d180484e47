"""From rows to the table: rates, ratios by block with intervals, differences by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

DRAWS = 10_000
PLAIN_FORMS = ("a", "a1")
STRONG_FORMS = ("b", "b1", "b2")
SEPARATE_PREFIX = "d"


def check_equal_work(rows: pd.DataFrame) -> None:
    """Each trial that did not fail has passed the same images with every contestant.

    Raises:
        ValueError: one has not; the message names it.
    """
    trained = rows[rows["error"].notna()]
    counts = trained.groupby(["width", "index", "seed"])["images"].agg(["min", "max"])
    unequal = counts[counts["min"] != counts["max"]]
    if len(unequal):
        key, images = unequal.index[0], unequal.iloc[0]
        raise ValueError(
            f"contestants trained unequally: width, architecture, seed {key} passed "
            f"{images['min']} to {images['max']} images"
        )


def turns_of(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a turn: contestant, block, width, trials, images, seconds, memory."""
    grouped = rows.groupby(["width", "contestant", "block"], sort=False)
    return grouped.agg(
        trials=("turn_trials", "first"),
        images=("images", "sum"),
        seconds=("turn_seconds", "first"),
        cpu_seconds=("turn_cpu_seconds", "first"),
        peak_bytes=("peak_bytes", "first"),
        device_bytes=("device_bytes", "first"),
        startup_seconds=("startup_seconds", "first"),
    ).reset_index()


def ratio_with_interval(
    turns: pd.DataFrame, contestant: str, other: str
) -> tuple[float, float, float, int]:
    """How many times faster than ``other``: median over blocks, 95 % bootstrap interval, n.

    ``turns`` are of one width. Both ran the same trials in each block, one turn after the other,
    so that what slows the machine for a while slows both. Without a common block all are NaN.
    """
    seconds = turns.pivot(index="block", columns="contestant", values="seconds")
    if contestant not in seconds or other not in seconds:
        return float("nan"), float("nan"), float("nan"), 0
    ratios = (seconds[other] / seconds[contestant]).dropna().to_numpy()
    if not len(ratios):
        return float("nan"), float("nan"), float("nan"), 0
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (DRAWS, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high), len(ratios)


def fastest(turns: pd.DataFrame, contestants: Sequence[str]) -> str | None:
    """The contestant with most trials an hour among those that were measured."""
    known = turns[turns["contestant"].isin(list(contestants))]
    if known.empty:
        return None
    sums = known.groupby("contestant")[["trials", "seconds"]].sum()
    return str((sums["trials"] / sums["seconds"]).idxmax())


def differences_to(rows: pd.DataFrame, contestant: str, other: str) -> pd.Series[float]:
    """By seed, the mean over architectures of error(contestant) - error(other), paired."""
    errors = _errors(rows)
    if contestant not in errors or other not in errors:
        return pd.Series(dtype=float)
    paired = (errors[contestant] - errors[other]).dropna()
    return paired.groupby("seed").mean()


def differences_of_seeds(rows: pd.DataFrame, contestant: str) -> pd.Series[float]:
    """By pair of seeds, the mean over architectures of the difference: what noise alone does."""
    errors = _errors(rows)
    if contestant not in errors:
        return pd.Series(dtype=float)
    by_seed = errors[contestant].unstack("seed")
    return pd.Series(
        {
            f"{first}-{second}": float((by_seed[first] - by_seed[second]).dropna().mean())
            for first, second in combinations(by_seed.columns, 2)
        },
        dtype=float,
    )


def _errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Error by (index, seed) and contestant; repeats are averaged."""
    return rows.pivot_table(index=["index", "seed"], columns="contestant", values="error")


def summarise(rows: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """The table: a row for each width and contestant; ratios are (median, low, high)."""
    records: list[dict[str, Any]] = []
    all_turns = turns_of(rows)
    for width, turns in all_turns.groupby("width"):
        ours = rows[rows["width"] == width]
        present = set(turns["contestant"])
        separate = [name for name in order if name.startswith(SEPARATE_PREFIX)]
        references = {
            "a": fastest(turns, PLAIN_FORMS),
            "b": fastest(turns, STRONG_FORMS),
            "d": fastest(turns, separate),
        }
        records += [
            _record(float(str(width)), name, ours, turns, references)
            for name in order
            if name in present
        ]
    return pd.DataFrame(records)


def _record(
    width: float,
    name: str,
    rows: pd.DataFrame,
    turns: pd.DataFrame,
    references: Mapping[str, str | None],
) -> dict[str, Any]:
    own_turns = turns[turns["contestant"] == name]
    own_rows = rows[rows["contestant"] == name]
    hours = own_turns["seconds"].sum() / 3600
    record: dict[str, Any] = {
        "width": width,
        "contestant": name,
        "trials": int(own_turns["trials"].sum()),
        "blocks": len(own_turns),
        "trials_per_hour": own_turns["trials"].sum() / hours,
        "images_per_second": own_turns["images"].sum() / hours / 3600,
        "cpu_seconds_per_trial": own_turns["cpu_seconds"].sum() / own_turns["trials"].sum(),
        "error": own_rows["error"].mean(),
        "failed": int(own_rows["error"].isna().sum()),
        "peak_bytes": int(own_turns["peak_bytes"].max()),
        "device_bytes": int(own_turns["device_bytes"].max()),
        "startup_seconds": own_turns["startup_seconds"].median(),
    }
    for reference, other in references.items():
        ratio, low, high, _ = ratio_with_interval(turns, name, other or "")
        record |= {
            f"to_{reference}": ratio,
            f"to_{reference}_low": low,
            f"to_{reference}_high": high,
            f"best_{reference}": other,
        }
    differences = differences_to(rows, name, references["a"] or "")
    seeds = differences_of_seeds(rows, name).abs()
    return record | {
        "difference": differences.mean() if len(differences) else float("nan"),
        "difference_low": differences.min() if len(differences) else float("nan"),
        "difference_high": differences.max() if len(differences) else float("nan"),
        "seed_noise": seeds.max() if len(seeds) else float("nan"),
    }


DESCRIPTIONS = {
    "a": "plain PyTorch, torch's own threads",
    "a1": "plain PyTorch, one thread",
    "b": "strong eager, all threads",
    "b2": "strong eager, two one-thread processes",
    "c1": "ours, one process",
    "c2": "ours, two processes",
}


def markdown(table: pd.DataFrame) -> str:
    """The table for a terminal and for docs/, a part for each width."""
    return "\n\n".join(_part(float(str(width)), part) for width, part in table.groupby("width"))


def _part(width: float, part: pd.DataFrame) -> str:
    first = part.iloc[0]
    is_gpu = bool((part["device_bytes"] > 0).any())
    has_separate = bool(part["to_d"].notna().any())
    heads = ["", "", "trials/h", "images/s", f"to ({first['best_a']})", f"to ({first['best_b']})"]
    heads += [f"to ({first['best_d']})"] if has_separate else []
    heads += ["error", f"error - ({first['best_a']}), by seed", "between seeds"]
    heads += ["peak MiB", "GPU MiB"] if is_gpu else ["peak MiB"]
    heads += ["CPU s/trial", "start s"]
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    for _, row in part.iterrows():
        name = str(row["contestant"])
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        cells = [name, DESCRIPTIONS.get(name, _described(name))]
        cells += [f"{row['trials_per_hour']:,.0f}", f"{row['images_per_second']:,.0f}"]
        cells += [_ratio(row, "a"), _ratio(row, "b")]
        cells += [_ratio(row, "d")] if has_separate else []
        noise = "" if pd.isna(row["seed_noise"]) else f"{row['seed_noise']:.4f}"
        cells += [f"{row['error']:.4f}{failed}", _difference(row), noise]
        cells += [f"{row['peak_bytes'] / 2**20:,.0f}"]
        cells += [f"{row['device_bytes'] / 2**20:,.0f}"] if is_gpu else []
        cells += [f"{row['cpu_seconds_per_trial']:.1f}", f"{row['startup_seconds']:.1f}"]
        lines.append(" | ".join(cells))
    caption = (
        f"Width {width:g}: n = {int(first['blocks'])} blocks, {int(first['trials'])} trials each"
    )
    return "\n".join([caption, "", *(f"| {line} |" for line in lines)])


def _described(name: str) -> str:
    if name.startswith(SEPARATE_PREFIX):
        return f"strong eager, {name[1:]} processes"
    return "ours, automatic K" if name == "auto" else f"ours, K = {name[1:]}"


def _ratio(row: pd.Series[Any], reference: str) -> str:
    middle, low, high = (row[f"to_{reference}{part}"] for part in ("", "_low", "_high"))
    return "" if pd.isna(middle) else f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _difference(row: pd.Series[Any]) -> str:
    if pd.isna(row["difference"]):
        return ""
    return f"{row['difference']:+.4f} [{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"
