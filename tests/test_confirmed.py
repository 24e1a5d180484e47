"""The statistics of a confirmation, against cases that were computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from nas.analysis.confirmed import (
    agreement_table,
    confirmed_table,
    estimates,
    front_probabilities,
    shrunk_means,
    spread_of,
    tau_interval,
)
from nas.analysis.verdict import give_verdict

OBJECTIVES = ("error", "macs")


def arrays(*rows: list[float]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float64) for row in rows]


# ------------------------------------------------------------------ means and intervals


def test_few_seeds_share_one_spread() -> None:
    # Squares about the own means: 2 * 0.05^2 = 0.005, and 0.01 + 0.01 + 0.04 = 0.06; freedom 1 + 2.
    errors = arrays([0.1, 0.2], [0.3, 0.3, 0.6])
    spread = spread_of(errors)
    assert spread.kind == "pooled"
    assert spread.sd == pytest.approx([math.sqrt(0.065 / 3)] * 2)
    assert spread.freedom.tolist() == [3, 3]
    table = estimates(errors)
    # The 97.5 % point of Student's t with three degrees of freedom, from its tables: 3.182.
    half = 3.182 * math.sqrt(0.065 / 3)
    assert table["mean"].tolist() == pytest.approx([0.15, 0.4])
    assert table["low"].tolist() == pytest.approx([0.0, 0.4 - half / math.sqrt(3)], abs=1e-4)
    assert table["high"].tolist() == pytest.approx(
        [0.15 + half / math.sqrt(2), 0.4 + half / math.sqrt(3)], abs=1e-4
    )


def test_from_five_seeds_on_each_network_has_its_own_spread() -> None:
    errors = arrays([0.10, 0.12, 0.14, 0.16, 0.18], [0.5] * 4 + [0.55])
    spread = spread_of(errors)
    assert spread.kind == "own"
    # 2 * (0.04^2 + 0.02^2) / 4, and (4 * 0.01^2 + 0.04^2) / 4.
    assert spread.sd**2 == pytest.approx([0.001, 0.0005])
    assert spread.freedom.tolist() == [4, 4]
    # 2.776 is the 97.5 % point with four degrees of freedom.
    assert estimates(errors)["high"][0] == pytest.approx(
        0.14 + 2.776 * math.sqrt(0.001 / 5), abs=1e-4
    )
    # One network of fewer seeds, and all share again.
    assert spread_of([*errors, np.array([0.3, 0.4])]).kind == "pooled"


def test_one_seed_has_a_mean_and_no_interval() -> None:
    errors = arrays([0.2], [0.3])
    table = estimates(errors)
    assert table["mean"].tolist() == [0.2, 0.3]
    assert table[["low", "high", "sd"]].isna().all(axis=None)
    assert np.isnan(front_probabilities(errors, np.array([[1.0], [2.0]]))).all()
    assert shrunk_means(errors, np.array([1.0, 2.0])).tolist() == [0.2, 0.3]


def test_an_untrained_network_is_not_known_and_troubles_no_other() -> None:
    errors = arrays([0.2, 0.22], [], [0.3, 0.3])
    costs = np.array([[2.0], [1.0], [3.0]])
    table = estimates(errors)
    assert table["mean"].isna().tolist() == [False, True, False]
    chances = front_probabilities(errors, costs)
    assert chances[0] == 1.0
    assert np.isnan(chances[1])
    assert 0 <= chances[2] < 0.1


# ------------------------------------------------------------------ the true front


def test_probability_of_the_front_is_students_law_for_two_networks() -> None:
    # Posterior of the difference of two means with a common variance: Student's t with n1 + n2 - 2
    # degrees of freedom about the difference, scaled by sd * sqrt(1 / n1 + 1 / n2).
    errors = arrays([0.20, 0.22, 0.24], [0.19, 0.21])
    squares = 2 * 0.02**2 + 2 * 0.01**2
    scale = math.sqrt(squares / 3) * math.sqrt(1 / 3 + 1 / 2)
    dearer_is_better = float(t.cdf((0.22 - 0.20) / scale, 3))
    cheap_first = front_probabilities(errors, np.array([[1.0], [2.0]]))
    assert cheap_first[0] == 1.0  # nothing costs as little
    assert cheap_first[1] == pytest.approx(dearer_is_better, abs=0.01)
    equal_costs = front_probabilities(errors, np.array([[1.0], [1.0]]))
    assert equal_costs == pytest.approx([1 - dearer_is_better, dearer_is_better], abs=0.01)


def test_own_spreads_make_the_noisier_network_less_sure() -> None:
    steady, noisy = [0.200, 0.201, 0.199, 0.2, 0.2], [0.1, 0.3, 0.12, 0.28, 0.22]
    limit = [0.210, 0.209, 0.211, 0.21, 0.21]
    costs = np.array([[1.0], [2.0]])
    sure = front_probabilities(arrays(limit, steady), costs)[1]
    unsure = front_probabilities(arrays(limit, noisy), costs)[1]
    assert sure > 0.999
    assert 0.5 < unsure < 0.8


def test_probabilities_are_the_same_again_and_follow_the_seed() -> None:
    errors = arrays([0.2, 0.25], [0.21, 0.22], [0.15, 0.2])
    costs = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]])
    first = front_probabilities(errors, costs)
    assert first.tolist() == front_probabilities(errors, costs).tolist()
    assert first.tolist() == [1.0] * 3  # no one costs no more than another in both
    one_cost = costs[:, :1]
    other = front_probabilities(errors, one_cost, seed=1)
    assert other == pytest.approx(front_probabilities(errors, one_cost), abs=0.02)
    assert other.tolist() != front_probabilities(errors, one_cost).tolist()


# ------------------------------------------------------------------ shrinkage


def test_shrinkage_is_morris_estimate() -> None:
    # Six networks, costs a decade apart: the line through the means by hand. x = 0..5, the
    # deviations +-0.01 alternate: slope = sum((x - 2.5) d) / 17.5 = -0.03 / 17.5.
    deviations = np.array([1, -1, 1, -1, 1, -1]) * 0.01
    means = 0.3 + deviations
    errors = [np.array([mean - 0.01, mean + 0.01]) for mean in means]
    x = np.arange(6.0)
    line = 0.3 + (-0.03 / 17.5) * (x - 2.5)
    # sd^2 = 6 * 2 * 0.0001 / 6 = 0.0002; its mean over two seeds, times 6 / 8 for the estimate.
    variance = 0.0002 / 2 * 6 / 8
    between = ((means - line) ** 2).sum() / 4 - variance
    assert between > 0
    share = (6 - 4) / (6 - 2) * variance / (variance + between)
    expected = means - share * (means - line)
    assert shrunk_means(errors, 10**x) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < share < 0.5


def test_shrinkage_ends_where_it_should() -> None:
    x = np.arange(6.0)
    # No spread over seeds: nothing is drawn anywhere.
    sure = [np.array([value, value]) for value in (0.5, 0.1, 0.4, 0.2, 0.5, 0.3)]
    assert shrunk_means(sure, 10**x) == pytest.approx([row.mean() for row in sure])
    # Nothing but spread: as far as the formula lets it, (k - 4) / (k - 2).
    means = np.array([0.31, 0.29, 0.30, 0.31, 0.29, 0.30])
    wild = [np.array([mean - 0.2, mean + 0.2]) for mean in means]
    line = np.polyval(np.polyfit(x, means, 1), x)
    assert shrunk_means(wild, 10**x) == pytest.approx(means - 0.5 * (means - line))
    # Four networks have a mean in place of a line, 1/3 of the way; three stay as they are.
    assert shrunk_means(wild[:4], 10 ** x[:4]) == pytest.approx(
        means[:4] - (means[:4] - means[:4].mean()) / 3
    )
    assert shrunk_means(wild[:3], 10 ** x[:3]) == pytest.approx(means[:3])


def test_shrinkage_lifts_the_curse_of_the_winner() -> None:
    """The least of many equal networks looks better than it is, shrunk much less so."""
    random = np.random.default_rng(0)
    plain, shrunk = [], []
    for _ in range(300):
        errors = list(0.3 + 0.02 * random.standard_normal((8, 3)))
        means = np.array([row.mean() for row in errors])
        best = int(means.argmin())
        plain.append(means[best] - 0.3)
        shrunk.append(shrunk_means(errors, np.logspace(0, 7, 8))[best] - 0.3)
    assert np.mean(plain) < -0.014
    assert abs(np.mean(shrunk)) < 0.6 * abs(np.mean(plain))


# ------------------------------------------------------------------ how far the proxy ranks


def confirmed(proxy: list[float], full: list[float], macs: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"proxy_error": proxy, "mean": full, "macs": macs})


def test_taus_by_hand() -> None:
    # Proxy: of ten pairs only (4th, 5th) is the other way round: (9 - 1) / 10. MACs: the first
    # two have the same, so nine pairs count on that side, all in order: 9 / sqrt(9 * 10).
    table = agreement_table(
        confirmed([0.5, 0.4, 0.3, 0.1, 0.2], [0.5, 0.4, 0.3, 0.2, 0.1], [1, 1, 2, 3, 4])
    )
    assert table["predictor"].tolist() == ["proxy", "macs"]
    assert table["tau"].tolist() == pytest.approx([0.8, 9 / math.sqrt(90)])
    assert table["networks"].tolist() == [5, 5]
    # Of 120 orders of five, 5 have at most one inversion, and as many are as far the other way.
    assert table["p_value"][0] == pytest.approx(10 / 120)
    # atanh(0.8) = 1.0986; 1.96 * sqrt(0.437 / 1) = 1.2957.
    assert table[["low", "high"]].iloc[0].tolist() == pytest.approx(
        [math.tanh(1.0986 - 1.2957), math.tanh(1.0986 + 1.2957)], abs=1e-4
    )


def test_landmarks_without_a_proxy_error_do_not_count() -> None:
    table = agreement_table(
        confirmed([0.5, math.nan, 0.3], [0.5, 0.9, 0.2], [1, 2, 3]),
    )
    assert table["tau"].tolist() == [1.0, 1.0]
    assert table["networks"].tolist() == [2, 2]
    nothing = agreement_table(confirmed([math.nan], [0.2], [1]))
    assert nothing["tau"].isna().all()


def test_a_perfect_order_is_not_certain() -> None:
    # Seven items, 21 pairs: atanh(20 / 21) = 1.8568 less 1.96 * sqrt(0.437 / 3) = 0.7480.
    low, high = tau_interval(1.0, 7)
    assert (low, high) == (pytest.approx(math.tanh(1.8568 - 0.7480), abs=1e-4), 1.0)
    assert tau_interval(-1.0, 7) == (-1.0, pytest.approx(-low))
    assert tau_interval(1.0, 4) == (-1.0, 1.0)
    assert tau_interval(1.0, 40)[0] > 0.9


# ------------------------------------------------------------------ table and verdict


def finalists_frame() -> pd.DataFrame:
    rows = [
        ("trial3", "front", 3, "cheapest", 0.50, 1e6),
        ("trial7", "front", 7, "knee", 0.30, 2e6),
        ("trial9", "front", 9, "best", 0.20, 9e6),
        ("trial4", "control", 4, "", 0.32, 4e6),
        ("random0", "random", -1, "", math.nan, 8e6),
    ]
    columns = ["name", "role", "number", "picks", "proxy_error", "macs"]
    return pd.DataFrame(rows, columns=columns).assign(fingerprint="")


def trainings_frame(errors: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"name": name, "seed": seed, "state": "complete", "error": error, "test_error": math.nan,
         "train_seconds": 2.0 + seed}
        for name, values in errors.items()
        for seed, error in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


ERRORS = {
    "trial3": [0.40, 0.41],
    "trial7": [0.20, 0.21],
    "trial9": [0.16, 0.17],
    "trial4": [0.25, 0.24],
    "random0": [0.10, 0.11],
}


def test_table_says_who_is_on_the_front_and_who_beats_whom() -> None:
    trainings = trainings_frame(ERRORS)
    failed = {"name": "trial3", "seed": 2, "state": "failed", "error": math.nan}
    trainings = pd.concat([trainings, pd.DataFrame([failed])], ignore_index=True)
    table = confirmed_table(finalists_frame(), trainings, OBJECTIVES)
    assert table["name"].tolist() == list(ERRORS)
    assert table["seeds"].tolist() == [2] * 5
    assert table["on_front"].tolist() == [True, True, False, False, True]
    assert table["beaten_by"].tolist() == ["", "", "random0", "trial7", ""]
    assert table["train_seconds"].tolist() == [2.5] * 5
    assert table["front_probability"].iloc[0] == 1.0
    assert table["front_probability"].iloc[2] < 0.05
    assert table["test_mean"].isna().all()


def test_verdict_in_words() -> None:
    table = confirmed_table(finalists_frame(), trainings_frame(ERRORS), OBJECTIVES)
    verdict = give_verdict(table, agreement_table(table), OBJECTIVES, trained=10, wanted=10)
    assert (verdict.survivors, verdict.finalists, verdict.pick) == (2, 3, 7)
    assert verdict.text.startswith(
        "2 of 3 front trials stay on the front: trial 9 falls behind random0. random0 (8M MACs), "
        "which the run never tried, is on the front, too. The proxy's order agrees with tau 1.00 "
        "[-1.00, 1.00], MACs alone with 0.67 [-1.00, 1.00] (n = 4). Take trial 7: error 20.50 % ["
    )
    early = give_verdict(table, agreement_table(table), OBJECTIVES, trained=10, wanted=15)
    assert early.text.startswith("So far, after 10 of 15 trainings: 2 of 3")


def test_a_dominated_trial_that_holds_better_is_named() -> None:
    better = {**ERRORS, "trial4": [0.15, 0.16]}
    table = confirmed_table(finalists_frame(), trainings_frame(better), OBJECTIVES)
    text = give_verdict(table, agreement_table(table), OBJECTIVES, trained=10, wanted=10).text
    assert (
        "falls behind random0. Trial 4, dominated in the search, joins the front. random0" in text
    )


def test_verdict_of_one_seed_and_of_none() -> None:
    once = trainings_frame({name: values[:1] for name, values in ERRORS.items()})
    table = confirmed_table(finalists_frame(), once, OBJECTIVES)
    verdict = give_verdict(table, agreement_table(table), OBJECTIVES, trained=5, wanted=5)
    assert verdict.text.endswith(
        "Take trial 7: error 20.00 % with one seed, which says nothing of chance."
    )
    empty = confirmed_table(finalists_frame(), once[:0], OBJECTIVES)
    nothing = give_verdict(empty, agreement_table(empty), OBJECTIVES, trained=0, wanted=5)
    assert (nothing.text, nothing.pick) == ("Nothing of the run is trained yet.", None)


def test_only_the_error_as_objective_takes_the_smallest() -> None:
    finalists = finalists_frame()[:4]
    table = confirmed_table(finalists, trainings_frame(ERRORS), ("error",))
    assert table["on_front"].tolist() == [False, False, True, False]
    verdict = give_verdict(table, agreement_table(table), ("error",), trained=8, wanted=8)
    assert verdict.pick == 9


def test_the_test_split_is_reported_and_moves_nothing() -> None:
    trainings = trainings_frame(ERRORS)
    plain = confirmed_table(finalists_frame(), trainings, OBJECTIVES)
    test = trainings.assign(test_error=np.linspace(0.9, 0.1, len(trainings)))
    table = confirmed_table(finalists_frame(), test, OBJECTIVES)
    assert table["test_mean"].tolist() == pytest.approx(
        np.linspace(0.9, 0.1, 10).reshape(5, 2).mean(axis=1).tolist()
    )
    columns = [name for name in table.columns if not name.startswith("test")]
    pd.testing.assert_frame_equal(table[columns], plain[columns])
