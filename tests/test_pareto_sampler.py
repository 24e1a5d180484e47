"""The learning sampler: its contract with Optuna, its surrogate, and that it learns."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import NSGAIISampler, RandomSampler
from optuna.trial import TrialState
from scipy.stats import norm

from nas.pareto import hypervolume
from nas.search.evolution import EvolutionSampler
from nas.search.pareto_sampler import ParetoSampler
from nas.search.pareto_sampler.acquisition import expected_gain
from nas.search.pareto_sampler.costs import Costs
from nas.search.pareto_sampler.encoding import Encoder
from nas.search.pareto_sampler.forms import Form, Parameter
from nas.search.pareto_sampler.history import Endings, History
from nas.search.pareto_sampler.model import Model, Objectives
from nas.search.pareto_sampler.pool import Source
from nas.search.pareto_sampler.surrogate import Process, Warp

optuna.logging.set_verbosity(optuna.logging.ERROR)

Params = dict[str, Any]
OPS = ("none", "skip", "pool", "conv1", "conv3")
OP_COST = {"none": 0.0, "skip": 0.0, "pool": 0.1, "conv1": 1.0, "conv3": 3.0}
OP_QUALITY = {"none": -1.0, "skip": 0.3, "pool": 0.0, "conv1": 1.0, "conv3": 1.6}


def cell_cost(params: Params) -> float:
    return 1.0 + sum((1 + 0.3 * i) * OP_COST[params[f"e{i}"]] for i in range(6))


def cell_error(params: Params) -> float:
    ops = [params[f"e{i}"] for i in range(6)]
    quality = sum((1.2 - 0.1 * i) * OP_QUALITY[op] for i, op in enumerate(ops))
    quality += 0.8 * (ops[0] == ops[5]) - 0.8 * (ops[1] == ops[2]) + 0.6 * (ops[3] == "skip")
    return 0.05 + 0.85 / (1 + math.exp(0.8 * quality))


def cell_params(trial: optuna.Trial) -> Params:
    return {f"e{i}": trial.suggest_categorical(f"e{i}", OPS) for i in range(6)}


def cell_objective(trial: optuna.Trial) -> tuple[float, float]:
    params = cell_params(trial)
    return cell_error(params), cell_cost(params)


def study_of(
    sampler: optuna.samplers.BaseSampler, directions: Sequence[str] = ("minimize", "minimize")
) -> optuna.Study:
    return optuna.create_study(directions=list(directions), sampler=sampler)


def values_of(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [tuple(sorted(trial.params.items())) for trial in study.trials]


def cell_hypervolume(sampler: optuna.samplers.BaseSampler, num_trials: int) -> float:
    study = study_of(sampler)
    study.optimize(cell_objective, n_trials=num_trials)
    return hypervolume([trial.values for trial in study.trials], (0.9, 40.0), log_axes=[1])


class Ticking(ParetoSampler):
    """Few points a pool and few startup trials, so that tests are short."""

    def __init__(self, known: Any = None, **options: Any) -> None:
        options = {"seed": 0, "num_startup": 6, "pool_size": 120, **options}
        super().__init__({1: cell_cost} if known is None else known, **options)


@pytest.fixture(params=["pareto", "evolution"])
def make(request: pytest.FixtureRequest) -> Callable[..., ParetoSampler]:
    """Each sampler under the one contract."""
    if request.param == "pareto":
        return Ticking

    def evolution(known: Any = None, **options: Any) -> ParetoSampler:
        options = {"seed": 0, "num_startup": 6, **options}
        return EvolutionSampler({1: cell_cost} if known is None else known, **options)

    return evolution


class TestContract:
    def test_never_repeats_until_all_are_tried_and_then_says_so(self, make: Any) -> None:
        study = study_of(make({1: lambda params: params["a"] + 1.0}))

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            a, b = trial.suggest_int("a", 0, 4), trial.suggest_categorical("b", ["x", "y", "z"])
            return a * 0.1 + (b == "y"), a + 1.0

        study.optimize(objective, n_trials=15)
        assert len(set(values_of(study))) == 15
        with pytest.warns(UserWarning, match="no feasible parameter set is left"):
            study.optimize(objective, n_trials=2)

    def test_the_same_seed_gives_the_same_study_and_another_one_another(self, make: Any) -> None:
        found = []
        for seed in (3, 3, 4):
            study = study_of(make(seed=seed))
            study.optimize(cell_objective, n_trials=16)
            found.append(values_of(study))
        assert found[0] == found[1] != found[2]

    def test_no_seed_draws_one(self, make: Any) -> None:
        found = []
        for _ in range(2):
            study = study_of(make(seed=None))
            study.optimize(cell_objective, n_trials=8)
            found.append(values_of(study))
        assert found[0] != found[1]

    def test_resumed_with_a_new_sampler_it_goes_on(self, make: Any) -> None:
        study = study_of(make())
        study.optimize(cell_objective, n_trials=12)
        study.sampler = make()
        study.optimize(cell_objective, n_trials=12)
        whole = study_of(make())
        whole.optimize(cell_objective, n_trials=24)
        assert len(set(values_of(study))) == 24
        if isinstance(study.sampler, EvolutionSampler):
            assert values_of(study) == values_of(whole)

    @pytest.mark.parametrize("kind", ["raises", "nan", "inf"])
    def test_infeasible_points_are_avoided_once_forms_are_known(self, make: Any, kind: str) -> None:
        def known(params: Params) -> float:
            if params["e0"] in {"none", "conv3"}:
                if kind == "raises":
                    raise ValueError("does not fit")
                return math.nan if kind == "nan" else math.inf
            return cell_cost(params)

        study = study_of(make({1: known}))
        study.optimize(cell_objective, n_trials=24)
        assert all(trial.params["e0"] not in {"none", "conv3"} for trial in study.trials[4:])

    def test_floats_steps_logs_constants_and_any_direction(self, make: Any) -> None:
        def known(params: Params) -> float:
            return -float(params["width"]) * params["constant"]

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
            share = trial.suggest_float("share", 0.0, 1.0)
            half = trial.suggest_float("half", 0.0, 2.0, step=0.5)
            width = trial.suggest_int("width", 1, 1024, log=True)
            step = trial.suggest_int("step", 16, 96, step=16)
            constant = trial.suggest_int("constant", 2, 2)
            flag = trial.suggest_categorical("flag", [None, True])
            accuracy = share - abs(math.log10(rate) + 2) + half + math.log(width) + step / 50
            params = {"width": width, "constant": constant}
            return accuracy + bool(flag), known(params)

        study = study_of(make({1: known}), ["maximize", "maximize"])
        study.optimize(objective, n_trials=24)
        assert len(set(values_of(study))) == 24

    def test_conditional_parameters_ask_known_only_for_forms_seen(self, make: Any) -> None:
        shapes = {1: {"depth", "w0"}, 2: {"depth", "w0", "w1"}, 3: {"depth", "w0", "w1", "w2"}}

        def known(params: Params) -> float:
            # Any parameter set that is not one of the space raises KeyError or fails here.
            widths = [params[f"w{i}"] for i in range(params["depth"])]
            return float(sum(widths))

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            depth = trial.suggest_categorical("depth", [1, 2, 3])
            widths = [trial.suggest_int(f"w{i}", 1, 64) for i in range(depth)]
            return 1 / sum(widths) + 0.1 / depth, float(sum(widths))

        sampler = make({1: known})
        study = study_of(sampler)
        study.optimize(objective, n_trials=50)
        assert len(set(values_of(study))) == 50
        assert Counter(trial.params["depth"] for trial in study.trials).keys() == shapes.keys()
        for trial in study.trials:
            assert set(trial.params) == shapes[trial.params["depth"]]
        forms = sampler._history.forms
        assert len(forms) == 3
        source = Source(forms, None, None, np.random.default_rng(0))
        pool = source.random(200).joined(
            source.near([(form, row) for form in forms for row in form.observed], 200)
        )
        for form, row in pool.points:
            params = form.values(row)
            assert set(params) == shapes[params["depth"]]

    def test_a_function_that_lacks_a_parameter_everywhere_is_not_hidden(self) -> None:
        study = study_of(Ticking({1: lambda params: params["typo"]}))
        with pytest.raises(KeyError, match="typo"):
            study.optimize(cell_objective, n_trials=20)

    def test_an_objective_that_the_study_lacks_is_refused(self, make: Any) -> None:
        study = study_of(make({2: cell_cost}))
        with pytest.raises(ValueError, match="known has objective 2, but the study has 2"):
            study.ask()

    def test_one_sampler_serves_one_study(self, make: Any) -> None:
        sampler = make()
        study_of(sampler).ask()
        with pytest.raises(ValueError, match="one study"):
            study_of(sampler).ask()

    def test_it_can_be_copied(self, make: Any) -> None:
        sampler = make()
        study = study_of(sampler)
        study.optimize(cell_objective, n_trials=10)
        copied = copy.deepcopy(sampler)
        study.sampler = copied
        study.optimize(cell_objective, n_trials=3)
        assert len(set(values_of(study))) == 13

    def test_failed_and_pruned_trials_are_not_proposed_again(self, make: Any) -> None:
        def objective(trial: optuna.Trial) -> tuple[float, float]:
            params = cell_params(trial)
            if trial.number % 4 == 1:
                trial.set_user_attr("curve", [[1, 0.7], [2, 0.6]])
                raise optuna.TrialPruned
            if trial.number % 4 == 2:
                raise ZeroDivisionError
            trial.set_user_attr("curve", [[1, 0.8], [4, cell_error(params)]])
            return cell_error(params), cell_cost(params)

        study = study_of(make())
        study.optimize(objective, n_trials=40, catch=(ZeroDivisionError,))
        assert len(set(values_of(study))) == 40

    def test_values_that_are_infinite_do_not_stop_it(self, make: Any) -> None:
        def objective(trial: optuna.Trial) -> tuple[float, float]:
            params = cell_params(trial)
            return (math.inf if trial.number % 5 == 0 else 0.5), cell_cost(params)

        study = study_of(make())
        study.optimize(objective, n_trials=14)
        assert len(study.trials) == 14

    def test_three_objectives_and_none_known(self, make: Any) -> None:
        def objective(trial: optuna.Trial) -> tuple[float, float, float]:
            params = cell_params(trial)
            return cell_error(params), cell_cost(params), float(trial.number % 3)

        study = study_of(make({}), ["minimize", "minimize", "maximize"])
        study.optimize(objective, n_trials=12)
        assert len(set(values_of(study))) == 12

    @pytest.mark.parametrize("num_startup", [6, 20])
    def test_running_trials_are_kept_apart_from_the_start(
        self, make: Any, num_startup: int
    ) -> None:
        study = study_of(make(num_startup=num_startup))
        running = []
        for _ in range(40):
            trial = study.ask()
            running.append((trial, cell_params(trial)))
            if len(running) == 8:
                trial, params = running.pop(0)
                study.tell(trial, (cell_error(params), cell_cost(params)))
        assert len(set(values_of(study))) == 40

    def test_a_space_object_is_asked_for_features_mutants_and_feasibility(self, make: Any) -> None:
        class Space:
            mutated = 0

            def features(self, params: Params) -> list[float]:
                return [float(list(params.values()).count("conv3"))]

            def mutate(self, params: Params, generator: np.random.Generator) -> Params:
                self.mutated += 1
                return {**params, "e5": OPS[int(generator.integers(5))]}

            def canonical(self, params: Params) -> Params | None:
                # The answer of e0 means nothing.
                return None if params["e1"] == "pool" else {**params, "e0": OPS[0]}

        space = Space()
        study = study_of(make(space=space))
        study.optimize(cell_objective, n_trials=14)
        assert space.mutated > 0
        # Before the first finished trials the parameters are not known.
        assert all(trial.params["e1"] != "pool" for trial in study.trials[4:])
        assert all(trial.params["e0"] == OPS[0] for trial in study.trials[4:])

    def test_violated_constraints_and_failures_teach_to_keep_away(self) -> None:
        def objective(trial: optuna.Trial) -> tuple[float, float]:
            params = cell_params(trial)
            trial.set_constraint("limit", 1.0 if params["e2"] == "conv3" else -1.0)
            return cell_error(params), cell_cost(params)

        study = study_of(Ticking(num_startup=12))
        study.optimize(objective, n_trials=40)
        late = [trial.params["e2"] == "conv3" for trial in study.trials[25:]]
        assert sum(late) <= 3


def test_no_duplicate_in_1000_proposals_with_8_running() -> None:
    # One fit for many proposals keeps this short; results come in any order.
    study = study_of(Ticking(pool_size=40, per_fit=50))
    running: list[tuple[optuna.Trial, Params]] = []
    generator = np.random.default_rng(0)
    for _ in range(1000):
        trial = study.ask()
        running.append((trial, cell_params(trial)))
        if len(running) == 8:
            trial, params = running.pop(int(generator.integers(8)))
            study.tell(trial, (cell_error(params), cell_cost(params)))
    assert len(set(values_of(study))) == 1000


def test_fits_become_rarer_as_trials_become_many() -> None:
    sampler = Ticking(pool_size=40)
    study = study_of(sampler)
    generator = np.random.default_rng(0)
    distributions: dict[str, BaseDistribution] = {
        f"e{i}": CategoricalDistribution(OPS) for i in range(6)
    }
    for _ in range(1000):
        params = {name: OPS[int(generator.integers(5))] for name in distributions}
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                values=[cell_error(params), cell_cost(params)],
            )
        )
    study.optimize(cell_objective, n_trials=13)
    assert 1 <= sampler.num_fits <= 3


@pytest.mark.parametrize("other", [RandomSampler, NSGAIISampler])
def test_it_needs_half_the_trials_of_others(other: Any) -> None:
    for seed in range(2):
        theirs = cell_hypervolume(other(seed=seed), 60)
        ours = cell_hypervolume(ParetoSampler({1: cell_cost}, seed=seed, pool_size=400), 30)
        assert ours > 1.02 * theirs, seed


def test_evolution_beats_random() -> None:
    for seed in range(3):
        theirs = cell_hypervolume(RandomSampler(seed=seed), 100)
        ours = cell_hypervolume(EvolutionSampler({1: cell_cost}, seed=seed), 100)
        assert ours > theirs, seed


def test_the_first_trials_are_spread_over_the_known_cost() -> None:
    study = study_of(ParetoSampler({1: cell_cost}, seed=0, num_startup=20))
    study.optimize(cell_objective, n_trials=20)
    costs = np.log([trial.values[1] for trial in study.trials[4:]])
    random = study_of(RandomSampler(seed=0))
    random.optimize(cell_objective, n_trials=20)
    assert costs.std() > 1.3 * np.log([trial.values[1] for trial in random.trials[4:]]).std()


def test_importing_it_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys, nas.search.pareto_sampler, nas.search.evolution;"
        "print([name for name in ('torch', 'ray', 'sklearn') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


class TestParts:
    @pytest.mark.parametrize(
        "distribution",
        [
            CategoricalDistribution([None, True, "a", 3]),
            IntDistribution(3, 15, step=4),
            IntDistribution(1, 300, log=True),
            FloatDistribution(-1.0, 2.0),
            FloatDistribution(1e-4, 1.0, log=True),
            FloatDistribution(0.0, 0.9, step=0.3),
            IntDistribution(5, 5),
        ],
    )
    def test_codes_and_values_are_inverse_and_moves_stay_inside(
        self, distribution: BaseDistribution
    ) -> None:
        generator = np.random.default_rng(0)
        one = Parameter("p", distribution)
        codes = one.from_unit(generator.random(200))
        for code in [*codes, *one.moved(codes, generator)]:
            value = one.value(code)
            assert distribution._contains(distribution.to_internal_repr(value))
            assert one.code(value) == pytest.approx(code, abs=1e-9)
        if one.num_levels > 1:
            assert len(np.unique(codes)) > 1
            assert (one.moved(codes, generator) != codes).all()

    def test_the_slope_of_the_likelihood_is_its_difference(self) -> None:
        generator = np.random.default_rng(0)
        form = Form(0, {f"p{i}": CategoricalDistribution(OPS) for i in range(3)})
        rows = form.random(20, generator)
        encoder = Encoder([form])
        encoded = encoder.encode([(form, row) for row in rows], generator.random((20, 2)), 1)
        process = Process(encoded, encoder.blocks, encoder.kinds)
        y, noise = generator.standard_normal(20), np.zeros(20)
        parts = encoded.near, encoded.linear * process._linear_scale, y, noise
        at = process.vector + 0.3 * generator.standard_normal(len(process.vector))
        _, slope = process._likelihood(at, *parts)
        for index in range(len(at)):
            step = np.zeros(len(at))
            step[index] = 1e-5
            up, _ = process._likelihood(at + step, *parts)
            down, _ = process._likelihood(at - step, *parts)
            assert slope[index] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-5)

    def test_the_gain_of_two_objectives_is_the_hypervolume_added(self) -> None:
        generator = np.random.default_rng(1)
        front, points = generator.random((12, 2)), generator.random((40, 2))
        reference = np.array([0.9, 0.95])
        gains = expected_gain(points[None], front, reference)
        before = hypervolume(front, reference)
        for point, gain in zip(points, gains, strict=True):
            added = hypervolume(np.vstack([front, point]), reference) - before
            assert gain == pytest.approx(added, abs=1e-12)

    def test_the_gain_of_three_objectives_orders_like_the_hypervolume_added(self) -> None:
        generator = np.random.default_rng(1)
        front, points = generator.random((8, 3)), 0.8 * generator.random((40, 3))
        reference = np.ones(3)
        gains = expected_gain(points[None], front, reference)
        before = hypervolume(front, reference)
        added = [hypervolume(np.vstack([front, one]), reference) - before for one in points]
        assert np.corrcoef(gains, added)[0, 1] > 0.95

    @pytest.mark.parametrize("scale", [1.0, 1e6])
    def test_warping_is_monotone_and_its_own_inverse(self, scale: float) -> None:
        values = scale * np.random.default_rng(0).lognormal(0, 1.5, 200)
        warp = Warp(values)
        z = warp.forward(np.sort(values))
        assert (np.diff(z) > 0).all()
        assert np.abs(z).max() < 8
        assert warp.backward(z) == pytest.approx(np.sort(values), rel=1e-6)

    def test_a_measurement_varies_by_its_noise_too(self) -> None:
        generator = np.random.default_rng(3)
        form = Form(0, {"x": FloatDistribution(0.0, 1.0)})
        rows = form.random(80, generator)
        points = [(form, row) for row in rows]
        spread = []
        for noise in (0.0, 0.5):
            encoder = Encoder([form])
            encoded = encoder.encode(points, np.zeros((80, 0)), 0)
            process = Process(encoded, encoder.blocks, encoder.kinds)
            y = 2 * rows[:, 0] - 1 + noise * generator.standard_normal(80)
            process.fit(y, np.zeros(80), np.arange(80), None, 30)
            process.condition(y, np.zeros(80))
            prediction = process.predict(encoded)
            spread.append(np.sqrt(prediction.measured_variance).mean())
            assert np.sqrt(prediction.variance).mean() < 0.25
        assert spread[0] < 0.1
        assert 0.35 < spread[1] < 0.65

    def test_gains_count_the_luck_of_a_measurement(self) -> None:
        """Where nothing but noise tells points apart, another draw may still be better."""
        form = Form(0, {"x": FloatDistribution(0.0, 1.0)})
        generator = np.random.default_rng(0)
        study = optuna.create_study(directions=["minimize", "minimize"])
        for x in generator.random(60):
            error = 0.3 + 0.05 * float(generator.standard_normal())
            study.add_trial(
                optuna.trial.create_trial(
                    values=[error, 1.0], params={"x": x}, distributions=form.distributions
                )
            )
        history = History()
        history.update(study.get_trials())
        costs = Costs({1: lambda params: 1.0}, None)
        objectives = Objectives(study.directions, costs, history.points)
        model = Model()
        model.fit(objectives, history.forms, generator)
        source = Source(history.forms, costs, None, generator)
        pool = source.random(50)
        model._limit = np.array([1.0, 2.0])
        # Better than the mean by less than a measurement's luck, and more than the mean's doubt.
        model._front = np.array([[0.28, 1.0]])
        (prediction,) = model._predict(pool)
        expected = model._gains(pool, [prediction])
        below = norm(0.3, 0.05).expect(lambda y: 0.28 - y, lb=-1, ub=0.28)
        assert expected.mean() == pytest.approx(below, rel=0.5)

    def test_early_values_are_brought_to_the_end(self) -> None:
        last = np.linspace(0.1, 0.5, 12)
        curves = [([(1.0, value + 0.3), (4.0, value)], float(value)) for value in last]
        endings = Endings(curves, lambda values: values)
        ending = endings.expect([(1.0, 0.6)])
        assert ending is not None
        assert ending.value == pytest.approx(0.3, abs=1e-6)
        assert endings.expect([(2.0, 0.6)]) is None

    def test_pruned_curves_improve_the_prediction(self) -> None:
        errors = []
        for with_curve in (True, False):
            study = study_of(Ticking(seed=1))
            generator = np.random.default_rng(5)
            for number in range(80):
                params = {f"e{i}": OPS[int(generator.integers(5))] for i in range(6)}
                error = cell_error(params)
                curve = [[1, error + 0.05]] if number % 4 else [[1, error + 0.05], [8, error]]
                study.add_trial(
                    optuna.trial.create_trial(
                        state=TrialState.PRUNED if number % 4 else TrialState.COMPLETE,
                        values=None if number % 4 else [error, cell_cost(params)],
                        params=params,
                        distributions={name: CategoricalDistribution(OPS) for name in params},
                        user_attrs={"curve": curve} if with_curve else {},
                    )
                )
            study.optimize(cell_objective, n_trials=1)
            sampler = study.sampler
            assert isinstance(sampler, ParetoSampler)
            errors.append(_misprediction(sampler))
        assert errors[0] < 0.8 * errors[1], errors

    def test_costs_ask_a_function_once_for_a_point(self) -> None:
        calls = []
        form = Form(0, {"a": IntDistribution(0, 3)})
        costs = Costs({0: lambda params: calls.append(1) or 1.0}, None)  # type: ignore[func-returns-value]
        for _ in range(3):
            costs.of(form, np.array([2.0]))
        assert len(calls) == 1


def _misprediction(sampler: ParetoSampler) -> float:
    generator = np.random.default_rng(9)
    form = sampler._history.forms[0]
    source = Source([form], sampler._costs, None, generator)
    pool = source.random(200)
    model = sampler._model
    expected = model._expected(pool, model._predict(pool))[:, 0]
    true = [cell_error(form.values(row)) for _, row in pool.points]
    return float(np.abs(expected - np.array(true)).mean())


def _with_running(num_running: int, asks: int = 12) -> tuple[ParetoSampler, list[Params]]:
    """Proposals beside trials that run, after some that ended."""
    sampler = ParetoSampler({1: cell_cost}, seed=0, pool_size=60)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    study.sampler = RandomSampler(seed=0)
    for _ in range(12):
        trial = study.ask()
        params = cell_params(trial)
        study.tell(trial, [cell_error(params), cell_cost(params)])
    for _ in range(num_running):
        cell_params(study.ask())
    study.sampler = sampler
    return sampler, [cell_params(study.ask()) for _ in range(asks)]


def test_beside_many_that_run_one_fit_gives_several_proposals() -> None:
    alone, _ = _with_running(0, asks=6)
    assert alone.num_fits == 6
    beside, proposed = _with_running(50)
    assert beside.num_fits == 2
    assert len({tuple(one.items()) for one in proposed}) == 12


def test_points_believed_at_once_count_as_those_believed_one_by_one() -> None:
    forms = [Form(0, {f"e{i}": CategoricalDistribution(OPS) for i in range(6)})]
    rows = forms[0].random(40, np.random.default_rng(0))
    encoder = Encoder(forms)
    points = [(forms[0], row) for row in rows]
    known = encoder.encode(points[:15], np.zeros((15, 0)), 0)
    process = Process(known, encoder.blocks, encoder.kinds)
    process.condition(np.linspace(-1, 1, 15), np.zeros(15))
    at_once, by_one = (
        process.predict(encoder.encode(points[15:], np.zeros((25, 0)), 0)) for _ in range(2)
    )
    before = at_once.variance.copy()
    at_once.believe_first(7)
    for index in range(7):
        by_one.believe(index)
    np.testing.assert_allclose(at_once.variance, by_one.variance, rtol=1e-9)
    assert (at_once.variance < before).all()
    at_once.believe(20)
    by_one.believe(20)
    np.testing.assert_allclose(at_once.variance, by_one.variance, rtol=1e-9)


def test_a_running_trial_that_gets_more_parameters_is_looked_up_again() -> None:
    sampler = ParetoSampler({1: cell_cost}, seed=0)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=RandomSampler(seed=0))
    trial = study.ask()
    cell_params(trial)
    study.tell(trial, [0.5, 1.0])
    running = study.ask()
    running.suggest_categorical("e0", OPS)
    sampler._history.update(study.get_trials())
    assert sampler._pending(study.get_trials(states=[TrialState.RUNNING])) == []
    params = cell_params(running)
    ((form, row),) = sampler._pending(study.get_trials(states=[TrialState.RUNNING]))
    assert form.values(row) == params
