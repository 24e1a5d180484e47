"""The throughput benchmark: baselines that train the same thing, and the table's arithmetic."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_training import small_architecture, small_data, small_task

from nas.architecture import Architecture
from nas.model import build
from nas.space import SearchSpace
from nas.task import Task, proxy
from nas.training.loop import Plan, Training
from nas.training.order import epoch_order
from nas.training.schedule import learning_rate
from nas.training.seeds import derive_seed

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import throughput  # noqa: E402
from contestants import launches, overhead, table  # noqa: E402
from contestants.network import create_network  # noqa: E402
from contestants.plain import EpochSampler, Images, PlainTrainer  # noqa: E402
from contestants.recipe import augmented, epoch_orders, rate_factor  # noqa: E402
from contestants.rows import Row, RowFile  # noqa: E402
from contestants.strong import ResidentImages, StrongTrainer, StrongTraining  # noqa: E402
from contestants.trials import Trial, cut_blocks, draw_architectures, proxy_macs  # noqa: E402
from contestants.usage import peak_bytes  # noqa: E402


def trial_of(task: Task, index: int = 0, seed: int = 3) -> Trial:
    return Trial(index, small_architecture(0.0), task, seed, derive_seed(seed, "weights"))


# The baselines train the same networks by the same recipe.


def drawn(number: int) -> list[Architecture]:
    space = SearchSpace.load("googlenet_small")
    task = small_task().model_copy(
        update={"target": small_task().target.model_copy(update={"image": (1, 28, 28)})}
    )
    return draw_architectures(space, [Task.from_json(task.to_json())], number, 150_000_000)


@pytest.mark.parametrize(
    "architecture", [small_architecture(), *drawn(6)], ids=lambda item: item.fingerprint
)
def test_an_untrained_baseline_is_our_network(architecture: Architecture) -> None:
    shape = small_task().target.image._replace(height=28, width=28)
    ours = build(architecture, shape, 10, seed=7)
    baseline = create_network(architecture, shape, 10, seed=7, norm_momentum=0.3)
    mine, theirs = ours.state_dict(), baseline.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours.eval(), baseline.eval()
        torch.testing.assert_close(baseline(x)[0], ours(x), rtol=1e-5, atol=1e-6)


def test_a_baseline_is_made_of_torchs_own_modules() -> None:
    network = create_network(small_architecture(), small_task().proxy_image, 4, 0, 0.3)
    leaves = [module for module in network.modules() if not list(module.children())]
    assert {type(module).__module__.split(".")[0] for module in leaves} == {"torch"}
    norms = [module for module in leaves if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.3}


def test_strong_eager_steps_lose_what_our_steps_lose() -> None:
    """Equal order, no augmentation, no dropout: the same recipe gives the same losses."""
    # A decay so large that sparing other weights would show.
    task = small_task(augment="none", dropout=0.0, weight_decay=0.1, learning_rate=0.2)
    data, statistics = small_data()
    trial = trial_of(task)
    architecture = without_dropout(proxy(trial.architecture, task))
    assert architecture.auxiliary, "auxiliary losses have to be in it"
    plan = Plan(task.recipe, "float32", task.target.classes, task.proxy.epochs, task.proxy.images)
    ours = Training(architecture, data.train, statistics, plan, trial.seed)
    baseline = StrongTraining(architecture, trial, torch.device("cpu"))
    images = ResidentImages(data.train, statistics, torch.device("cpu"))
    baseline.network.train()
    for epoch in range(2):
        order = epoch_order(ours.batches, trial.seed, epoch)
        losses = []
        for place, rows in enumerate(order):
            step = epoch * len(order) + place
            factor = rate_factor(task.recipe, step, len(order), task.proxy.epochs)
            losses.append(baseline.step(*images.training(rows, "none"), factor).item())
        assert ours.run_epoch().loss == pytest.approx(np.mean(losses), rel=2e-4)
    after = ours.network.state_dict()
    for name, tensor in baseline.network.state_dict().items():
        torch.testing.assert_close(tensor, after[name], rtol=1e-2, atol=2e-3, msg=name)


def without_dropout(architecture: Architecture) -> Architecture:
    heads = tuple(replace(head, dropout=0.0) for head in architecture.auxiliary)
    return replace(architecture, auxiliary=heads)


def test_the_baselines_schedule_is_the_products() -> None:
    for name in ("triangle", "steps"):
        schedule = (
            {"kind": "triangle", "warmup": 0.2}
            if name == "triangle"
            else {"kind": "steps", "factor": 0.5, "epochs": 2}
        )
        recipe = small_task(schedule=schedule).recipe
        for step in range(20):
            rate = recipe.learning_rate * rate_factor(recipe, step, 5, 4)
            assert rate == pytest.approx(learning_rate(recipe, step, 5, 4))


def test_both_baselines_give_the_same_normalised_images() -> None:
    data, statistics = small_data()
    rows = [5, 0, 17]
    plain, labels = Images(data.train, statistics, "none").__getitems__(rows)
    resident = ResidentImages(data.train, statistics, torch.device("cpu"))
    strong, same = resident.training(torch.tensor(rows), "none")
    torch.testing.assert_close(plain, strong)
    assert torch.equal(labels, same)
    assert strong.is_contiguous(memory_format=torch.channels_last)


def test_augmenting_flips_half_and_crops_within_the_margin() -> None:
    torch.manual_seed(0)
    batch = torch.arange(1, 1 + 400 * 64, dtype=torch.float32).view(400, 1, 8, 8)
    flipped = augmented(batch, "flip")
    is_flipped = (flipped != batch).flatten(1).any(1)
    assert torch.equal(flipped[is_flipped], batch[is_flipped].flip(3))
    assert 150 < int(is_flipped.sum()) < 250
    cropped = augmented(batch, "crop")
    kept = cropped[:, 0, 4, 4] - batch[:, 0, 4, 4]
    assert {float(value) for value in kept} == {8.0 * y + x for y in (-1, 0, 1) for x in (-1, 0, 1)}
    assert torch.equal(augmented(batch, "none"), batch)


def test_an_epoch_goes_on_where_the_last_one_ended() -> None:
    orders = epoch_orders(10, 3, 2, seed=1)
    passed = torch.cat([next(orders).flatten() for _ in range(5)])
    assert torch.equal(torch.bincount(passed), torch.full((10,), 3))


def test_a_sampler_begins_each_trial_anew() -> None:
    task, sampler = small_task(), EpochSampler(200)
    sampler.restart(task, 1)
    first = [list(sampler), list(sampler)]
    assert (len(first[0]), len(first[0][0])) == (3, 32)
    sampler.restart(task, 1)
    assert [list(sampler), list(sampler)] == first
    assert first[0] != first[1]


@pytest.mark.parametrize("policy", ["flip", "crop-flip"])
def test_strong_eager_learns(policy: str) -> None:
    data, statistics = small_data()
    outcome = StrongTrainer(data, statistics, "cpu").run(trial_of(small_task(augment=policy)))
    assert outcome.images == 4 * 96
    assert outcome.error < 0.55  # chance is 0.75


def test_plain_pytorch_learns_and_passes_the_same_images() -> None:
    data, statistics = small_data()
    outcome = PlainTrainer(data, statistics, "cpu").run(trial_of(small_task(augment="flip")))
    assert outcome.images == 4 * 96
    assert outcome.error < 0.55


# Which trials, in which blocks.


def test_drawn_architectures_are_different_and_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = drawn(6)
    assert len({item.fingerprint for item in found}) == 6
    monkeypatch.setattr("contestants.trials.MOST_DRAWN", 20)
    with pytest.raises(ValueError, match="only 0 have"):
        draw_architectures(SearchSpace.load("googlenet_small"), [small_task()], 1, 10)


def test_blocks_hold_every_trial_once_a_repeat_and_the_longest_first() -> None:
    trials = [trial_of(small_task(), index, seed) for index in range(3) for seed in range(3)]
    blocks = cut_blocks(trials, 4, repeats=2)
    assert [block.key for block in blocks] == [f"0.5/{r}/{n}" for r in range(2) for n in range(3)]
    for repeat in (blocks[:3], blocks[3:]):
        keys = [(trial.index, trial.seed) for block in repeat for trial in block.trials]
        assert sorted(keys) == [(i, s) for i in range(3) for s in range(3)]
    mixed = [replace(trial_of(small_task(), n), architecture=a) for n, a in enumerate(drawn(4))]
    shape = {"image": (1, 28, 28)}
    larger = small_task().model_copy(
        update={"target": small_task().target.model_copy(update=shape)}
    )
    mixed = [replace(trial, task=Task.from_json(larger.to_json())) for trial in mixed]
    sizes = [proxy_macs(trial) for trial in cut_blocks(mixed, 4)[0].trials]
    assert sizes == sorted(sizes, reverse=True)


# Rows and table.


def row(block: str, contestant: str, seed: int, error: float, **changes: float) -> Row:
    made = Row(
        block=block,
        contestant=contestant,
        width=0.25,
        index=0,
        seed=seed,
        seconds=1.0,
        error=error,
        images=100,
        turn_trials=1,
        turn_seconds=10.0,
        turn_cpu_seconds=8.0,
        peak_bytes=2**20,
        device_bytes=0,
        startup_seconds=1.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def hand_made() -> pd.DataFrame:
    """Three blocks of one trial: a takes 10, 20, 30 s; b2 half of it; c2 a tenth, 2 s, 6 s."""
    rows = []
    for seed, seconds in enumerate((10.0, 20.0, 30.0)):
        block = f"0.25/0/{seed}"
        noise = (0.00, 0.01, 0.03)[seed]
        rows.append(row(block, "a", seed, 0.20 + noise, turn_seconds=seconds))
        rows.append(row(block, "b", seed, 0.21 + noise, turn_seconds=seconds * 0.9))
        rows.append(row(block, "b2", seed, 0.20 + noise, turn_seconds=seconds / 2))
        error = 0.19 + noise + 0.01 * seed
        rows.append(row(block, "c2", seed, error, turn_seconds=(1.0, 2.0, 6.0)[seed]))
    return pd.DataFrame([vars_of(item) for item in rows])


def vars_of(item: Row) -> dict[str, object]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def test_ratios_are_medians_over_blocks_to_the_fastest_form() -> None:
    summary = table.summarise(hand_made(), ["a", "b", "b2", "c2"]).set_index("contestant")
    ours = summary.loc["c2"]
    assert (ours["best_a"], ours["best_b"]) == ("a", "b2")
    assert ours["to_a"] == 10  # of 10, 10, 5
    assert (ours["to_a_low"], ours["to_a_high"]) == (5, 10)
    assert ours["to_b"] == 5
    assert summary.loc["a", "to_a"] == 1
    assert math.isnan(ours["to_d"])
    assert ours["trials_per_hour"] == pytest.approx(3 / 9 * 3600)
    assert ours["images_per_second"] == pytest.approx(300 / 9)
    assert ours["cpu_seconds_per_trial"] == 8


def test_a_turns_seconds_count_once() -> None:
    rows = hand_made()
    two = pd.concat([rows, rows.assign(index=1)]).assign(turn_trials=2)
    summary = table.summarise(two, ["a", "c2"]).set_index("contestant")
    assert summary.loc["c2", "trials_per_hour"] == pytest.approx(6 / 9 * 3600)
    assert summary.loc["c2", "to_a"] == 10


def test_errors_are_compared_in_pairs_and_beside_the_noise_of_seeds() -> None:
    summary = table.summarise(hand_made(), ["a", "c2"]).set_index("contestant")
    ours = summary.loc["c2"]
    assert ours["difference"] == pytest.approx(0)  # -0.01, 0, +0.01
    assert ours["difference_low"] == pytest.approx(-0.01)
    assert ours["difference_high"] == pytest.approx(0.01)
    assert summary.loc["a", "seed_noise"] == pytest.approx(0.03)
    assert ours["error"] == pytest.approx((0.19 + 0.21 + 0.24) / 3)


def test_a_failed_training_is_named_and_left_out_of_the_differences() -> None:
    rows = hand_made()
    rows.loc[(rows["contestant"] == "c2") & (rows["seed"] == 2), "error"] = math.nan
    summary = table.summarise(rows, ["a", "c2"]).set_index("contestant")
    assert summary.loc["c2", "failed"] == 1
    assert summary.loc["c2", "difference"] == pytest.approx(-0.005)
    assert "(1 failed)" in table.markdown(summary.reset_index())


def test_unequal_work_is_refused() -> None:
    rows = hand_made()
    table.check_equal_work(rows)
    rows.loc[3, "images"] = 64
    with pytest.raises(ValueError, match="trained unequally"):
        table.check_equal_work(rows)


def test_the_text_has_every_contestant_and_the_interval() -> None:
    text = table.markdown(table.summarise(hand_made(), ["a", "b", "b2", "c2"]))
    assert "n = 3 blocks, 3 trials each" in text
    assert "| c2 | ours, two processes | 1,200 |" in text
    assert "10.00 [5.00, 10.00]" in text


def test_a_stopped_benchmark_goes_on_after_its_last_whole_turn(tmp_path: Path) -> None:
    settings = {"seeds": 3}
    file = RowFile(tmp_path, settings)
    file.append([row("x", "a", 0, 0.25, turn_trials=2), row("x", "a", 1, math.nan, turn_trials=2)])
    file.append([row("x", "b", 0, 0.5, turn_trials=2), row("x", "b", 1, 0.5, turn_trials=2)])
    text = file.path.read_text()
    file.path.write_text(text[:-20])  # a kill within the last row
    again = RowFile(tmp_path, settings)
    assert again.has("x", "a")
    assert not again.has("x", "b")
    assert not again.has("y", "a")
    again.append([row("x", "b", 0, 0.5, turn_trials=2), row("x", "b", 1, 0.5, turn_trials=2)])
    assert again.path.read_text() == text
    pd.testing.assert_frame_equal(RowFile(tmp_path, settings).rows, again.rows)
    with pytest.raises(ValueError, match="other settings \\(seeds; seeds was 3 and is 4\\)"):
        RowFile(tmp_path, {"seeds": 4})


def test_the_time_left_is_that_of_what_is_missing(tmp_path: Path) -> None:
    trials = [trial_of(small_task(), index, 0) for index in range(4)]
    blocks = cut_blocks(trials, 1)
    file = RowFile(tmp_path, {})
    for name, seconds in (("a", 30.0), ("c2", 3.0)):
        file.append([row(blocks[0].key, name, 0, 0.5, width=0.5, turn_seconds=seconds)])
    assert throughput.seconds_left(file, blocks, ["a", "c2"]) == 3 * 33


# The real thing, small.


@pytest.mark.slow  # six processes import torch
def test_every_contestant_trains_the_same_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads that wait for one another on a busy machine would make this a matter of minutes.
    monkeypatch.setattr(throughput, "usable_cores", lambda: 1)
    words = ["--architectures", "2", "--seeds", "1", "--images", "128", "--epochs", "1"]
    words += ["--widths", "0.125", "--device", "cpu", "--precision", "float32", "--block", "2"]
    names = ["a", "b", "b2", "c2"]  # a1 and c1 are the same code with other numbers
    words += ["--space", "tiny", "--overhead-trials", "0", "--contestants", *names]
    words += ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "copy.json")]
    arguments = throughput.parse_arguments(words)
    result = throughput.run(arguments)
    assert json.loads((tmp_path / "copy.json").read_text()) == result
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert rows.groupby("contestant").size().to_dict() == dict.fromkeys(names, 2)
    assert set(rows["images"]) == {128}
    assert rows["error"].between(0, 1).all()
    assert (rows["turn_seconds"] >= rows["seconds"]).all()
    assert (rows["turn_cpu_seconds"] > 0).all()
    assert (rows["peak_bytes"] > 100 * 2**20).all()
    assert (tmp_path / "out" / "table.md").read_text().count("| c2 |") == 1
    before = (tmp_path / "out" / "rows.csv").read_bytes()
    throughput.run(arguments)  # all is there: nothing starts
    assert (tmp_path / "out" / "rows.csv").read_bytes() == before


def test_a_wrong_contestant_is_refused() -> None:
    arguments = throughput.parse_arguments(["--contestants", "z"])
    with pytest.raises(ValueError, match="contestants on cpu are a, a1, b, b2, c1, c2, not 'z'"):
        throughput.chosen_contestants(arguments, "cpu")


@pytest.mark.parametrize(
    ("measure", "rungs"),
    [(overhead.measure_overhead, 1), (overhead.measure_overhead_of_rungs, 3)],
)
def test_overhead_is_that_of_a_real_search(measure, rungs: int) -> None:  # type: ignore[no-untyped-def]
    task = small_task()
    measured = measure("tiny", task, "random", 3, 10**9)
    assert (measured.trials, measured.rungs) == (3, rungs)
    assert measured.cpu_ms > 0
    assert "| random |" in overhead.markdown([measured])


def test_launches_are_measured_at_every_width_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "WIDTHS", (0.125, 0.25))
    monkeypatch.setattr(launches, "BATCHES", (8,))
    monkeypatch.setattr(launches, "STEPS", 2)
    data, statistics = small_data()
    measured = launches.measure_launches(
        small_architecture(), small_task(), data, statistics, "cpu"
    )
    assert [(item.width, item.batch) for item in measured] == [(0.125, 8), (0.25, 8)]
    assert all(item.eager_ms > 0 and item.replay_ms > 0 for item in measured)


def test_peak_memory_is_the_processes_own() -> None:
    import os

    assert peak_bytes([os.getpid()]) > 50 * 2**20
    assert peak_bytes([2**22 + 1]) == 0
