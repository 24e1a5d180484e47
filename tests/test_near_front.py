"""The epsilon-front: gaps by hand and by brute force, and few networks for a whole front."""

import numpy as np
import pytest
from synthetic_runs import OBJECTIVES, TRIALS, M, trials_frame

from nas.analysis.near_front import gaps_table, near_front_table, thinned_front_table
from nas.analysis.tables import front_table

# The front is 2 (0.20, 10M), 4 (0.50, 4M), 5 (0.19, 200M) and 7, which equals 2.


def gaps(kind):
    table = gaps_table(TRIALS, OBJECTIVES, kind=kind)
    return dict(zip(table["number"], table["gap"], strict=True))


def test_factors_by_hand():
    found = gaps("multiplicative")
    assert set(found) == {0, 2, 4, 5, 7, 8}  # complete ones alone
    assert [found[number] for number in (2, 4, 5, 7)] == [0, 0, 0, 0]
    # 0 is (0.30, 20M) behind (0.20, 10M): half as much again in error, twice the MACs.
    assert found[0] == pytest.approx(0.5)
    # 8 is (0.35, 30M): 0.75 in error, three times the MACs.
    assert found[8] == pytest.approx(0.75)
    table = gaps_table(TRIALS, OBJECTIVES)
    assert table.loc[table["number"] == 0, "beaten_by"].item() == 2
    assert table.loc[table["number"] == 4, "beaten_by"].item() == -1


def test_shares_of_the_span_by_hand():
    found = gaps("additive")
    # The front spans 0.31 of error and log10(50) decades of MACs.
    assert found[0] == pytest.approx(min(0.1 / 0.31, np.log10(2) / np.log10(50)))


def brute_gap(row, front, kind):
    def lead(other):
        if kind == "multiplicative":
            return (row / other).min() - 1
        logs = [np.column_stack([p[..., 0], np.log10(p[..., 1])]) for p in (row[None], other[None])]
        span = np.array([np.ptp(front[:, 0]), np.ptp(np.log10(front[:, 1]))])
        return ((logs[0] - logs[1])[0] / span).min()

    return max(0.0, *(lead(other) for other in front))


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_those_of_brute_force(kind, seed):
    rng = np.random.default_rng(seed)
    errors = rng.choice([0.1, 0.2, 0.3, 0.4], 40) + rng.choice([0, 0.01], 40)
    costs = rng.choice([1, 2, 5, 10, 20], 40) * M
    errors, costs = np.append(errors, [0.05, 0.9]), np.append(costs, [100 * M, M // 2])
    trials = trials_frame([("complete", e, int(c)) for e, c in zip(errors, costs, strict=True)])
    front = front_table(trials, OBJECTIVES)[["error", "macs"]].to_numpy(float)
    table = gaps_table(trials, OBJECTIVES, kind=kind)
    for row in table.to_dict("records"):
        expected = brute_gap(np.array([row["error"], row["macs"]]), front, kind)
        assert row["gap"] == pytest.approx(expected, abs=1e-12), f"seed {seed}, {row}"
        assert row["is_front"] == ([row["error"], row["macs"]] in front.tolist())


def test_the_near_front_grows_with_epsilon_and_begins_with_the_front():
    front = front_table(TRIALS, OBJECTIVES)
    none = near_front_table(TRIALS, OBJECTIVES, 0.0)
    assert none["number"].tolist() == front["number"].tolist()
    assert near_front_table(TRIALS, OBJECTIVES, 0.5)["number"].tolist() == [4, 2, 7, 0, 5]
    assert len(near_front_table(TRIALS, OBJECTIVES, 0.8)) == 6
    with pytest.raises(ValueError, match="at least 0, not -1"):
        near_front_table(TRIALS, OBJECTIVES, -1)


def test_few_networks_stand_for_the_front():
    # 5 is 5 % better than 2 and 7, at 20 times the MACs: 2 stands for it within 6 %.
    thinned = thinned_front_table(TRIALS, OBJECTIVES, 0.06)
    assert dict(zip(thinned["number"], thinned["covers"], strict=True)) == {4: 1, 2: 3}
    exact = thinned_front_table(TRIALS, OBJECTIVES, 0.0)
    assert exact["covers"].tolist() == [1, 2, 1]  # 2 and 7 are equal
    assert thinned_front_table(TRIALS, OBJECTIVES, 1000.0)["covers"].tolist() == [4]


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_a_thinned_front_covers_all_of_it(kind):
    rng = np.random.default_rng(3)
    macs = np.sort(rng.uniform(1, 100, 60)) * M
    errors = np.sort(rng.uniform(0.1, 0.6, 60))[::-1]
    trials = trials_frame([("complete", e, int(c)) for e, c in zip(errors, macs, strict=True)])
    thinned = thinned_front_table(trials, OBJECTIVES, 0.1, kind=kind)
    assert 1 < len(thinned) < 40
    assert thinned["covers"].sum() == 60
    kept = trials[trials["number"].isin(thinned["number"])]
    span = {"error": np.ptp(errors), "macs": np.ptp(np.log10(macs))}
    for row in trials.to_dict("records"):
        if kind == "multiplicative":
            near = (kept["error"] <= 1.1 * row["error"]) & (kept["macs"] <= 1.1 * row["macs"] + 1)
        else:
            near = kept["error"] <= row["error"] + 0.1 * span["error"] + 1e-9
            logs = np.log10(kept["macs"]) - np.log10(row["macs"])
            near &= logs <= 0.1 * span["macs"] + 1e-9
        assert near.any(), row


def test_nothing_is_near_no_front():
    failed = TRIALS[TRIALS["state"] == "failed"]
    for table in (
        gaps_table(failed, OBJECTIVES),
        near_front_table(failed, OBJECTIVES),
        thinned_front_table(failed, OBJECTIVES),
    ):
        assert table.empty
        assert "number" in table


def test_latencies_are_objectives_like_others():
    objectives = ("error", "latency_ms")
    trials = TRIALS.assign(latency_ms=TRIALS["macs"] / M)
    found = gaps_table(trials, objectives)
    assert found.set_index("number").loc[0, "gap"] == pytest.approx(0.5)
