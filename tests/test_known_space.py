"""What our samplers are told of a search space, and searches that use them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_search import error_of, trained
from test_search import IMAGE, TINY, search, task

from nas.cost import count_cost
from nas.search.executor import Job, Report
from nas.search.known_space import KnownSpace
from nas.search.proposals import Judge
from nas.search.samplers import Mirror

MEDIAN_MACS = 250_000


def known(budgets: dict[str, int] | None = None) -> KnownSpace:
    return KnownSpace(TINY, Judge(task(), budgets or {}))


def drawn(seed: int) -> dict[str, Any]:
    """Raw parameters, as a sampler draws them: inactive choices have any value."""
    generator = np.random.default_rng(seed)
    values = {}
    for name, parameter in TINY.parameters.items():
        options = getattr(parameter, "values", None) or list(
            range(parameter.low, parameter.high + 1, parameter.step)  # type: ignore[union-attr]
        )
        values[name] = options[int(generator.integers(len(options)))]
    return values


class TestKnownSpace:
    """Costs, features, mutants and canonical encodings."""

    def test_costs_are_counted_at_the_target_in_decades(self) -> None:
        space = known()
        for seed in range(20):
            values = drawn(seed)
            cost = count_cost(TINY.decode(values), IMAGE, 10)
            for name in ("macs", "params", "activation_bytes"):
                expected = math.log10(getattr(cost, name))
                assert space.cost(name)(values) == pytest.approx(expected)

    def test_equal_networks_have_one_encoding(self) -> None:
        space, seen = known(), {}
        for seed in range(300):
            values = drawn(seed)
            canonical = space.canonical(values)
            assert canonical is not None
            fingerprint = TINY.decode(values).fingerprint
            assert seen.setdefault(fingerprint, canonical) == canonical
            assert TINY.decode(canonical).fingerprint == fingerprint
            assert space.canonical(canonical) == canonical
        assert len(seen) < 300

    def test_what_breaks_a_budget_may_not_be_tried(self) -> None:
        space = known({"macs": MEDIAN_MACS})
        refused = []
        for seed in range(60):
            values = drawn(seed)
            over = count_cost(TINY.decode(values), IMAGE, 10).macs > MEDIAN_MACS
            refused.append(over)
            assert (space.canonical(values) is None) == over
            if over:
                with pytest.raises(ValueError, match="refused"):
                    space.cost("macs")(values)
        assert 0 < sum(refused) < 60

    def test_mutants_are_near_and_canonical(self) -> None:
        space, generator = known(), np.random.default_rng(0)
        for seed in range(30):
            values = space.canonical(drawn(seed))
            assert values is not None
            mutant = space.mutate(values, generator)
            assert set(mutant) == set(values)
            assert space.canonical(mutant) == mutant
            assert mutant != values

    def test_features_are_equally_many_numbers(self) -> None:
        space = known()
        rows = np.array([space.features(drawn(seed)) for seed in range(40)])
        assert np.isfinite(rows).all()
        assert (rows.std(axis=0) > 0).sum() >= 5


@pytest.mark.parametrize("sampler", ["pareto", "evolution"])
class TestSearches:
    """Whole searches with our samplers."""

    def test_nothing_is_proposed_twice_or_over_a_budget(self, tmp_path: Path, sampler: str) -> None:
        run = search(
            tmp_path, sampler=sampler, trials=60, budgets={"macs": MEDIAN_MACS}, capacity=4
        )
        assert run.rejections.total == 0
        assert run.trials["fingerprint"].is_unique
        assert (run.trials["macs"] <= MEDIAN_MACS).all()
        assert (run.trials["origin"] == f"sampler:{sampler}").all()
        # Canonical values are stored: other samplers may go on from them.
        for number, values in run.values.items():
            assert TINY.encode(run.architecture(number)) == values

    def test_same_seed_same_trials(self, tmp_path: Path, sampler: str) -> None:
        runs = [search(tmp_path / str(i), sampler=sampler, trials=30) for i in (0, 1)]
        assert list(runs[0].trials["architecture"]) == list(runs[1].trials["architecture"])

    def test_it_beats_random(self, tmp_path: Path, sampler: str) -> None:
        from nas.pareto import hypervolume

        volumes: dict[str, list[float]] = {sampler: [], "random": []}
        for name, found in volumes.items():
            for seed in range(2):
                run = search(tmp_path / f"{name}{seed}", sampler=name, trials=40, seed=seed)
                points = run.trials[["error", "macs"]].to_numpy()
                found.append(hypervolume(points, run.settings.reference, log_axes=(1,)))
        assert min(volumes[sampler]) > max(volumes["random"])

    def test_a_resumed_search_goes_on_and_repeats_nothing(
        self, tmp_path: Path, sampler: str
    ) -> None:
        search(tmp_path, sampler=sampler, trials=25)
        run = search(tmp_path, sampler=sampler, trials=50, resume=True)
        assert len(run.trials) >= 50
        assert run.trials["fingerprint"].is_unique
        assert run.rejections.total == 0

    def test_stopped_trials_teach_their_curves(self, tmp_path: Path, sampler: str) -> None:
        told: list[Any] = []
        tell = Mirror.learn

        def learn(self: Mirror, handle: int, error: Any, costs: Any, curve: Any = ()) -> None:
            told.append((error, list(curve)))
            tell(self, handle, error, costs, curve)

        def worse(job: Job) -> list[Report]:
            return trained(job, lambda one: min(0.85, error_of(one) + 0.3 * (job.number % 2)))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Mirror, "learn", learn)
            run = search(tmp_path, worse, sampler=sampler, trials=60, halving=True)
        stopped = run.trials[(run.trials["state"] == "pruned") & ~run.trials["reused"]]
        assert len(stopped)
        curves = [curve for error, curve in told if error is None]
        assert len(curves) >= len(stopped)
        assert all(curve and curve[0][0] == 1 for curve in curves)


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    run = search(tmp_path, sampler="evolution", trials=5_000, budgets={"macs": 60_000})
    assert run.ended is not None
    assert run.ended.kind == "proposals"
    assert run.trials["fingerprint"].is_unique
