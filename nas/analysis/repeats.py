"""How much of an error is chance: networks that were trained several times with different seeds.

A network's error changes with the seed. Trainings of the same proxy with different seeds, within
a run or over several runs of one task, say by how much. The spread is pooled over all repeated
networks, ``sd^2 = sum((error - mean of its network)^2) / sum(seeds - 1)``, the residual of a
one-way analysis of variance, because two or three seeds say little about one network's own.
Intervals assume that the spread is the same for all of them. Results taken over from an earlier
training are no repeats and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
REPEAT_COLUMNS = [
    "fingerprint", "run", "number", "seeds", "mean", "sd", "low", "high", "least", "most",
]  # fmt: skip
NOISE_COLUMNS = ["networks", "trainings", "sd", "low", "high"]


def repeats_table(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The networks that were trained with two seeds or more, the most repeated first.

    ``runs`` are trials by run, of one task. Columns: ``fingerprint`` (of the proxy), ``run`` and
    ``number`` (of the first training), ``seeds``, ``mean``, ``sd`` (its own), ``low`` and
    ``high`` (95 % interval of the mean by the pooled spread), ``least``, ``most``.
    """
    trainings = _repeated(runs)
    if trainings.empty:
        return pd.DataFrame(columns=REPEAT_COLUMNS)
    groups = trainings.groupby("proxy_fingerprint", sort=False)
    table = groups.agg(
        run=("run", "first"),
        number=("number", "first"),
        seeds=("error", "size"),
        mean=("error", "mean"),
        sd=("error", "std"),
        least=("error", "min"),
        most=("error", "max"),
    ).reset_index(names="fingerprint")
    half = _half_width(trainings) / np.sqrt(table["seeds"])
    table = table.assign(low=table["mean"] - half, high=table["mean"] + half)
    table = table.sort_values(["seeds", "mean"], ascending=[False, True], kind="stable")
    return table[REPEAT_COLUMNS].reset_index(drop=True)


def error_bars_table(runs: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """The repeated networks among the complete trials of the run ``name``: a row a trial.

    Columns: ``number``, ``seeds``, ``mean``, ``low``, ``high`` as in :func:`repeats_table`.
    """
    repeats = repeats_table(runs).set_index("fingerprint")[["seeds", "mean", "low", "high"]]
    trials = runs[name]
    complete = trials[["number", "proxy_fingerprint"]][trials["state"] == "complete"]
    table = complete.join(repeats, on="proxy_fingerprint", how="inner")
    return table.drop(columns="proxy_fingerprint").reset_index(drop=True)


def noise_table(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The pooled spread of errors over seeds in one row; no row where nothing was repeated.

    Columns: ``networks``, ``trainings``, ``sd``, ``low``, ``high`` (95 % by the chi-squared law).
    """
    from scipy.special import chdtri  # scipy.stats takes a second to import

    trainings = _repeated(runs)
    if trainings.empty:
        return pd.DataFrame(columns=NOISE_COLUMNS)
    sd, freedom = _pooled(trainings)
    tail = (1 - CONFIDENCE) / 2
    # chdtri is the chi-squared value that is exceeded with that probability.
    low, high = (sd * np.sqrt(freedom / chdtri(freedom, above)) for above in (tail, 1 - tail))
    networks = trainings["proxy_fingerprint"].nunique()
    return pd.DataFrame([(networks, len(trainings), sd, low, high)], columns=NOISE_COLUMNS)


def _repeated(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a training of the networks that have several, in order; equal seeds count once."""
    columns = ["proxy_fingerprint", "number", "seed", "error"]
    parts = []
    for name, trials in runs.items():
        kept = (trials["state"] == "complete") & ~trials["reused"].astype(bool)
        # Columns before rows: a large run's descriptions would be copied too.
        parts.append(trials[columns][kept & trials["error"].notna()].assign(run=name))
    if not parts:
        return pd.DataFrame(columns=[*columns, "run"])
    trainings = pd.concat(parts, ignore_index=True).drop_duplicates(["proxy_fingerprint", "seed"])
    return trainings[trainings.duplicated("proxy_fingerprint", keep=False)]


def _pooled(trainings: pd.DataFrame) -> tuple[float, int]:
    """The pooled standard deviation and its degrees of freedom."""
    errors = trainings.groupby("proxy_fingerprint")["error"]
    squares = float(((trainings["error"] - errors.transform("mean")) ** 2).sum())
    freedom = len(trainings) - errors.ngroups
    return float(np.sqrt(squares / freedom)), freedom


def _half_width(trainings: pd.DataFrame) -> float:
    """Half the interval of a single training, by Student's t."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    sd, freedom = _pooled(trainings)
    return float(stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2) * sd)
