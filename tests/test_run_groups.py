"""Which runs repeat each other and which compare."""

from synthetic_runs import make_run

from nas.analysis.run_groups import incomparable, run_groups, seed_pairs


def settings_of(results, *ways):
    return {
        f"run{index}": make_run(results, f"run{index}", trials=0, **way).settings
        for index, way in enumerate(ways)
    }


def test_runs_that_differ_in_seed_alone_are_one_group(tmp_path):
    settings = settings_of(tmp_path, {"seed": 1}, {"seed": 2})
    assert set(run_groups(settings).values()) == {"all runs"}
    assert seed_pairs(settings, run_groups(settings)) == {"run0": 1, "run1": 2}
    assert incomparable(settings) == ""


def test_groups_are_named_by_what_differs(tmp_path):
    ways = [
        {"sampler": sampler, "halving": halving, "seed": seed}
        for sampler, halving in (("pareto", True), ("random", False))
        for seed in (1, 2)
    ]
    settings = settings_of(tmp_path, *ways)
    groups = run_groups(settings)
    assert list(groups.values()) == ["pareto, stops early"] * 2 + ["random, trains to the end"] * 2
    assert seed_pairs(settings, groups) == {"run0": 1, "run1": 2, "run2": 1, "run3": 2}
    settings["run3"] = settings["run1"]
    assert seed_pairs({**settings, "run3": settings["run2"]}, groups) is None
    budgets = settings_of(tmp_path / "more", {"budgets": {}}, {"budgets": {"macs": 5}})
    assert set(run_groups(budgets).values()) == {"no budgets", "macs <= 5"}


def test_what_does_not_compare_is_said(tmp_path):
    goals = settings_of(tmp_path, {}, {"objectives": ("error", "params")})
    assert "objectives or reference point" in incomparable(goals)
    reference = settings_of(tmp_path / "r", {}, {"reference": (0.5, 1e9)})
    assert "hypervolumes do not compare" in incomparable(reference)
    from synthetic_runs import TASK

    task = TASK.model_copy(update={"validation_images": 1000})
    tasks = settings_of(tmp_path / "t", {}, {"task": task})
    assert "their errors do not compare" in incomparable(tasks)
