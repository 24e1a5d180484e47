"""Attainment surfaces: by hand, and against counting the runs that reach each goal."""

import numpy as np
import pytest
from synthetic_runs import M, trials_frame

from nas.analysis.attainment import attainment_table
from nas.analysis.comparison_figures import attainment_figure


def run_of(*points):
    return trials_frame([("complete", error, macs * M) for error, macs in points])


RUNS = {
    "a": run_of((0.5, 1), (0.2, 10)),
    "b": run_of((0.4, 2), (0.3, 5), (0.6, 20)),
    "c": run_of((0.25, 8)),
}


def corners(table, runs):
    rows = table[table["runs"] == runs]
    return [(cost / M, error) for cost, error in zip(rows["macs"], rows["error"], strict=True)]


def test_surfaces_by_hand():
    table = attainment_table(RUNS)
    assert corners(table, 1) == [(1, 0.5), (2, 0.4), (5, 0.3), (8, 0.25), (10, 0.2)]
    # Two runs: from 2M on a (0.5) and b; from 8M b (0.3) and c; from 10M a and c.
    assert corners(table, 2) == [(2, 0.5), (8, 0.3), (10, 0.25)]
    # All three: c begins at 8M, where a has 0.5 and b 0.3.
    assert corners(table, 3) == [(8, 0.5), (10, 0.3)]
    assert table["level"].unique() == pytest.approx([1 / 3, 2 / 3, 1])
    assert set(table["of"]) == {3}


@pytest.mark.parametrize("seed", range(4))
def test_surfaces_are_those_of_counting(seed):
    rng = np.random.default_rng(seed)
    runs = {
        str(name): run_of(
            *zip(
                rng.choice(np.arange(1, 9) / 10, 12),
                rng.choice(np.arange(1, 9), 12).tolist(),
                strict=True,
            )
        )
        for name in range(5)
    }
    table = attainment_table(runs, levels=(0.2, 0.4, 0.6, 0.8, 1.0))
    for cost in range(1, 9):
        for error in np.arange(1, 9) / 10:
            reached = sum(
                bool(((t["macs"] <= cost * M) & (t["error"] <= error)).any()) for t in runs.values()
            )
            for count in range(1, 6):
                rows = table[table["runs"] == count]
                inside = ((rows["macs"] <= cost * M) & (rows["error"] <= error)).any()
                assert inside == (reached >= count), f"seed {seed}: {cost}, {error}, {count}"


def test_a_run_without_results_counts_but_attains_nothing():
    runs = {**RUNS, "d": trials_frame([("failed", None, M)])}
    table = attainment_table(runs)
    assert set(table["of"]) == {4}
    assert set(table["runs"]) == {1, 2}  # no goal was attained by all four
    assert corners(table, 2) == corners(attainment_table(RUNS), 2)
    assert attainment_table({}).empty
    assert list(attainment_table({}).columns) == ["group", "level", "runs", "of", "macs", "error"]


def test_groups_and_levels():
    table = attainment_table(RUNS, groups={"a": "x", "b": "y", "c": "y"}, levels=(0.5,))
    assert set(zip(table["group"], table["runs"], table["of"], strict=True)) == {
        ("x", 1, 1),
        ("y", 1, 2),
    }
    params = attainment_table(RUNS, x="params")
    assert params["params"].min() == M // 10
    with pytest.raises(ValueError, match=r"up to 1, not 1\.5"):
        attainment_table(RUNS, levels=(1.5,))


def test_the_band_lies_between_the_best_and_the_worst():
    table = attainment_table(RUNS)
    band, median = attainment_figure(table).data
    assert band.fill == "toself"
    assert min(band.y) == 0.2
    assert max(band.y) == 0.5
    assert list(median.x) == [2 * M, 8 * M, 10 * M, 10 * M]
    assert list(median.y) == [0.5, 0.3, 0.25, 0.25]
    assert "2 of 3 runs" in median.name
    hostile = attainment_table(RUNS, groups=dict.fromkeys(RUNS, "<b>x</b>"))
    assert "<b>x" not in attainment_figure(hostile).data[1].name
    one = attainment_figure(attainment_table({"a": RUNS["a"]}))
    assert [trace.fill for trace in one.data] == [None]
    assert not attainment_figure(attainment_table({})).data
