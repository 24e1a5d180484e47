"""Repeats: means, pooled spreads and intervals against the textbook and against simulation."""

import numpy as np
import pytest
from scipy.stats import t
from synthetic_runs import OBJECTIVES, M, trials_frame

from nas.analysis.figures import front_figure
from nas.analysis.repeats import error_bars_table, noise_table, repeats_table
from nas.analysis.tables import trials_table


def trained(*rows):
    """Trials from (fingerprint, seed, error) and what differs."""
    return trials_frame(
        [
            (
                more.pop("state", "complete"),
                error,
                5 * M,
                {"proxy_fingerprint": name, "seed": seed, **more},
            )
            for name, seed, error, more in ((*row[:3], dict(*row[3:])) for row in rows)
        ]
    )


RUNS = {
    "a": trained(("x", 1, 0.20), ("y", 1, 0.40), ("z", 1, 0.5), ("x", 2, 0.24)),
    "b": trained(
        ("x", 3, 0.22),
        ("y", 2, 0.44),
        ("z", 1, 0.5),  # the same seed: the same training, no repeat
        ("w", 1, 0.1),
        ("w", 2, 0.1, {"reused": True}),
        ("z", 2, None, {"state": "failed"}),
    ),
}


def test_repeats_by_hand():
    table = repeats_table(RUNS).set_index("fingerprint")
    assert list(table.index) == ["x", "y"]
    x, y = table.loc["x"], table.loc["y"]
    assert (x["seeds"], x["run"], x["number"]) == (3, "a", 0)
    assert (x["mean"], x["least"], x["most"]) == pytest.approx((0.22, 0.20, 0.24))
    assert x["sd"] == pytest.approx(0.02)
    # Pooled: squares 2 * 0.02^2 of x and 2 * 0.02^2 of y, over two and one degrees of freedom.
    pooled = np.sqrt((2 * 0.0004 + 2 * 0.0004) / 3)
    half = t.ppf(0.975, 3) * pooled
    assert y["high"] - y["mean"] == pytest.approx(half / np.sqrt(2))
    assert x["mean"] - x["low"] == pytest.approx(half / np.sqrt(3))
    noise = noise_table(RUNS).iloc[0]
    assert (noise["networks"], noise["trainings"]) == (2, 5)
    assert noise["sd"] == pytest.approx(pooled)
    assert noise["low"] < pooled < noise["high"]


def test_each_trial_of_a_repeated_network_has_its_bars():
    table = error_bars_table(RUNS, "b")
    assert table["number"].tolist() == [0, 1]
    assert table["seeds"].tolist() == [3, 2]
    figure = front_figure(trials_table(RUNS["b"], OBJECTIVES), OBJECTIVES, repeats=table)
    bars = next(trace for trace in figure.data if trace.name.startswith("mean over seeds"))
    assert list(bars.y) == table["mean"].tolist()
    assert list(bars.error_y.array) == pytest.approx((table["high"] - table["mean"]).tolist())
    assert list(bars.customdata) == [0, 1]


def test_without_repeats_there_is_nothing_to_say():
    single = {"a": trained(("x", 1, 0.2), ("y", 2, 0.3))}
    assert repeats_table(single).empty
    assert noise_table(single).empty
    assert error_bars_table(single, "a").empty
    assert repeats_table({}).empty
    trials = single["a"]
    plain = front_figure(trials_table(trials, OBJECTIVES), OBJECTIVES)
    same = front_figure(
        trials_table(trials, OBJECTIVES), OBJECTIVES, repeats=error_bars_table(single, "a")
    )
    assert plain.to_json() == same.to_json()


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered, total = 0, 0
    for _ in range(120):
        truth = rng.uniform(0.1, 0.5, 5)
        seeds = [2, 2, 3, 3, 2]
        rows = [
            (str(network), seed, truth[network] + 0.01 * rng.normal())
            for network, count in enumerate(seeds)
            for seed in range(count)
        ]
        table = repeats_table({"a": trained(*rows)})
        middle = truth[table["fingerprint"].astype(int)]
        covered += int(((table["low"] <= middle) & (middle <= table["high"])).sum())
        total += 5
    assert 0.92 <= covered / total <= 0.98
