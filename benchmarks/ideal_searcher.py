"""What a better model of the error could gain: a searcher that knows all networks but the next.

    python benchmarks/ideal_searcher.py [--table results/tiny_table/table.json.gz] [--trials 200]

A Gaussian process is fitted to the whole complete table; each network is predicted from all others
(leave one out: C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006,
section 5.4.2). The searcher takes the largest expected gain of hypervolume (logarithmic cost) by
these predictions, as the mean alone has it and with a training's luck. No search can know this
much: what it needs shows how much of a real one's trials is spent on learning.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from efficiency.measures import first_reach
from efficiency.table import Array, Table
from rich.console import Console
from rich.table import Table as Shown
from scipy.stats import kendalltau, norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

from nas.pareto import hypervolume_history

SHARES = (0.95, 0.98, 0.99, 0.997)
DRAWS = 24


def features(table: Table) -> Array:
    """A row a network: its choices (one-hot, or numbers) and its costs in decades, standardised."""
    encodings = [table.space.encode(one) for one in table.space.enumerate()]
    columns = []
    for name in table.space.parameters:
        values = [one[name] for one in encodings]
        found = sorted(set(values), key=str)
        if all(isinstance(value, int) and not isinstance(value, bool) for value in found):
            columns.append(np.array(values, dtype=float))
        else:
            columns += [np.array([value == one for value in values], float) for one in found[1:]]
    columns += [np.log10(cost) for cost in (table.macs, table.params, table.activation_bytes)]
    matrix = np.array([column for column in columns if column.std() > 0]).T
    return np.asarray((matrix - matrix.mean(axis=0)) / matrix.std(axis=0))


def left_out(matrix: Array, values: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each value given all others."""
    kernel = (
        ConstantKernel(1.0) * Matern(np.full(matrix.shape[1], 3.0), (0.1, 1e3), nu=2.5)
        + ConstantKernel(0.5) * DotProduct()
        + WhiteKernel(0.1)
    )
    fitted = GaussianProcessRegressor(kernel).fit(matrix, values)
    inverse = np.linalg.inv(fitted.kernel_(matrix))
    variances = 1 / np.diag(inverse)
    return values - (inverse @ values) * variances, np.sqrt(variances)


def gains(draws: Array, decades: Array, front: list[tuple[float, float]], limits: Array) -> Array:
    """The area that each network's draws would add to a front of (cost in decades, error)."""
    cheapest_first = sorted(front)
    costs = [cost for cost, _ in cheapest_first]
    levels = np.minimum.accumulate([limits[0], *(error for _, error in cheapest_first)])
    found = np.zeros(len(draws))
    for level, low, high in zip(levels, [-math.inf, *costs], [*costs, limits[1]], strict=True):
        width = np.maximum(high - np.maximum(decades, low), 0.0)
        found += width * np.maximum(level - draws, 0.0).mean(axis=1)
    return found


def search(table: Table, draws: Array, trials: int) -> Array:
    """The share of the full hypervolume after each trial."""
    decades = np.log10(table.macs)
    limits = np.array([table.reference[0], math.log10(table.reference[1])])
    order: list[int] = []
    for _ in range(trials):
        front = [(float(decades[row]), float(table.error[row])) for row in order]
        gain = gains(draws, decades, front, limits)
        gain[order] = -1.0
        order.append(int(gain.argmax()))
    volumes = hypervolume_history(table.points(order), table.reference, log_axes=(1,))
    return np.asarray(volumes / table.full_hypervolume["log"])


def main() -> None:
    """Fit, search, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", type=Path, default=Path("results/tiny_table/table.json.gz"))
    parser.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    table, console = Table.read(options.table), Console()
    logs = np.log(table.error)
    middle, scale = float(logs.mean()), float(logs.std())
    values = (logs - middle) / scale
    means, deviations = left_out(features(table), values)
    explained = 1 - float(((means - values) ** 2).mean())
    tau = kendalltau(means, values).statistic
    console.print(
        f"{len(values):,} networks, each predicted from all others: {100 * explained:.1f} % of the "
        f"variance of log(error) is explained, Kendall's tau {tau:.2f}"
    )
    middles = norm.ppf((np.arange(DRAWS) + 0.5) / DRAWS)
    shown = Shown("gain by", *(f"trials to {100 * share:g} %" for share in SHARES), "share at end")
    for label, quantiles in (("the mean", np.zeros(1)), ("the mean and its luck", middles)):
        drawn = np.exp((means[:, None] + deviations[:, None] * quantiles) * scale + middle)
        shares = search(table, drawn, options.trials)
        reached = [first_reach(shares, range(1, len(shares) + 1), share) for share in SHARES]
        words = ["-" if math.isinf(one) else f"{one:.0f}" for one in reached]
        shown.add_row(label, *words, f"{100 * shares[-1]:.2f} %")
    console.print(shown)


if __name__ == "__main__":
    main()
