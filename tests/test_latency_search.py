"""Latency as an objective and a budget; tables that are measured, kept, and taken along."""

from __future__ import annotations

import json
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import nas
from latency_tables import keep_made_table, made_table
from small_search import small_data, small_task

from nas.analysis.picks import resolve_pick
from nas.architecture import Architecture, Shape
from nas.latency import LatencyTable, building, machine, solitude
from nas.latency.building import Effort, build_table, measure_network, measure_networks
from nas.latency.finding import find_table, obtain_table
from nas.latency.machine import this_setting
from nas.latency.table import cache_directory, read_table, table_path, write_table
from nas.records import Run
from nas.records.writing import RunWriter
from nas.report import write_report
from nas.search.display import NoDisplay
from nas.search.launch import run_search
from nas.search.plan import plan_search
from nas.search.request import SearchRequest
from nas.search.samplers import distributions_of
from nas.space import SearchSpace
from nas.task import Target, Task

TINY = SearchSpace.load("tiny")
IMAGE, CLASSES = Shape(1, 12, 12), 3
LITTLE = Effort(layers=12, fit_networks=3, check_networks=3, seconds=0.1, rounds=(3, 3))


class Notes(NoDisplay):
    """What a search said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and the lock of this test alone: others train meanwhile."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(solitude, "lock_path", lambda: tmp_path / "lock")
    monkeypatch.setattr(building, "EFFORT", LITTLE)
    monkeypatch.setattr(building, "NUM_DRAWN", 60)
    # Two threads wait for each other where other tests have the cores.
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)


def invented(architecture: Architecture, task: Task, seed: int) -> float:
    return int(architecture.fingerprint, 16) % 97 / 100


def search(path: Path, **settings: Any) -> Run:
    defaults: dict[str, Any] = {
        "name": "run",
        "results": path / "results",
        "trials": 5,
        "objectives": ("error", "latency_ms"),
        "evaluate": invented,
        "seed": 0,
    }
    return run_search(TINY, small_task(), **{**defaults, **settings})


# --------------------------------------------------------------------------------- measuring


def test_a_table_is_measured_and_its_error_is_of_networks_held_out() -> None:
    table = build_table(TINY, IMAGE, CLASSES, effort=LITTLE)
    assert table.setting == this_setting("cpu")
    assert table.setting.batch == 1
    for _, measured in table.layers:
        assert 0 < measured.low <= measured.median <= measured.high
        assert 1 <= measured.n <= 3
    fit = {network.fingerprint for network in table.networks if not network.is_held_out}
    check = {network.fingerprint for network in table.networks if network.is_held_out}
    assert (len(fit), len(check), fit & check) == (3, 3, set())
    assert table.error.n == 3
    kinds = {layer.kind.split()[0] for layer, _ in table.layers}
    assert kinds == {"conv", "max", "avg", "concat", "add", "mean", "linear"}
    for network in TINY.enumerate():
        assert table.predict_ms(network) > 0


def test_rounds_in_which_the_machine_was_slow_are_left_out() -> None:
    own = np.array([1.0, 20.0, 300.0])
    # Rounds 1, 4 and 5 were slow for all; in round 2 one thing alone was.
    speed = np.array([1.0, 3.0, 1.01, 1.02, 1.5, 9.0, 1.03, 1.04, 1.05, 1.06])
    seconds = own[:, None] * speed[None]
    seconds[0, 2] = 50.0
    assert building._fast_rounds(seconds) == [0, 2, 3, 6, 7]
    assert building._fast_rounds(seconds[:, :3]) == [0, 1, 2]


def test_the_same_layers_and_networks_are_measured_again() -> None:
    one, two = (build_table(TINY, IMAGE, CLASSES, effort=LITTLE) for _ in range(2))
    assert [layer for layer, _ in one.layers] == [layer for layer, _ in two.layers]
    assert [item.fingerprint for item in one.networks] == [
        item.fingerprint for item in two.networks
    ]


def test_one_network_and_several_are_measured_with_their_spread() -> None:
    items = [TINY.random(np.random.default_rng(seed)) for seed in range(3)]
    spread, setting = measure_network(items[0], IMAGE, CLASSES, rounds=7)
    assert setting.device == "cpu"
    assert 0 < spread.low <= spread.median <= spread.high
    assert spread.n <= 7
    assert 0 <= spread.disturbed <= 1
    assert len(measure_networks(items, IMAGE, CLASSES, rounds=3)) == 3


def test_torch_has_its_threads_again_after_a_measurement() -> None:
    import torch

    before = torch.get_num_threads()
    measure_network(TINY.random(np.random.default_rng(0)), IMAGE, CLASSES, rounds=1)
    assert torch.get_num_threads() == before
    assert torch.is_grad_enabled()


def test_a_table_is_kept_and_not_measured_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert find_table(TINY, IMAGE, CLASSES, "cpu") is None
    table = obtain_table(TINY, IMAGE, CLASSES, "cpu", note=said.append)
    assert [words.split()[0] for words in said] == ["measuring", str(len(table.layers))]
    monkeypatch.setattr(building, "build_table", no_measurement)
    assert obtain_table(TINY, IMAGE, CLASSES, "cpu", note=said.append) == table
    assert len(said) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cuda"},
        {"machine": "another"},
        {"threads": 64},
        {"batch": 2},
        {"torch": "0.1"},
    ],
)
def test_a_table_of_another_setting_lies_elsewhere(change: dict[str, Any]) -> None:
    here = this_setting("cpu")
    there = replace(here, **change)
    paths = {table_path("tiny", "f", IMAGE, CLASSES, setting) for setting in (here, there)}
    assert len(paths) == 2
    assert there.differences(here)


def test_tables_differ_by_space_image_and_classes() -> None:
    setting = this_setting("cpu")
    asked = [("f", IMAGE, 3), ("g", IMAGE, 3), ("f", Shape(3, 12, 12), 3), ("f", IMAGE, 4)]
    assert len({table_path("tiny", *one, setting) for one in asked}) == 4


def test_a_damaged_table_is_named_with_what_to_do() -> None:
    table = keep_made_table(TINY, IMAGE, CLASSES)
    path = table_path(TINY.name, TINY.fingerprint, IMAGE, CLASSES, table.setting)
    path.write_text(path.read_text()[:1000])
    with pytest.raises(ValueError, match="remove it to measure again") as caught:
        find_table(TINY, IMAGE, CLASSES, "cpu")
    assert str(path) in str(caught.value)
    path.write_text("{}")
    with pytest.raises(ValueError, match="remove the file to measure again"):
        read_table(path)


def test_a_table_that_is_stopped_at_its_last_moment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the table goes to the disk: there is no other way to have it just there."""
    synced: list[int] = []

    def stop(descriptor: int) -> None:
        # All of it is in the file, whose name is still its own: only then may it be renamed.
        synced.append(os.fstat(descriptor).st_size)
        raise KeyboardInterrupt

    path, table = tmp_path / "kept" / "table.json", made_table(TINY, IMAGE, CLASSES)
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_table(table, path)
    assert synced == [len(json.dumps(table.to_data()))]
    assert list(path.parent.iterdir()) == []


def test_a_table_that_cannot_be_kept_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    cache_directory().parent.mkdir()
    cache_directory().write_text("a file where the directory should be")
    said: list[str] = []
    table = obtain_table(TINY, IMAGE, CLASSES, "cpu", note=said.append)
    assert table.predict_ms(TINY.random(np.random.default_rng(0))) > 0
    assert any("cannot be kept" in words for words in said)


def no_measurement(*_: object, **__: object) -> None:
    raise AssertionError("it was measured")


# ------------------------------------------------------------------------- nothing trains meanwhile


def test_nothing_is_measured_while_others_train() -> None:
    item = TINY.random(np.random.default_rng(0))
    with (
        solitude.training(pytest.fail),
        solitude.training(pytest.fail),
        pytest.raises(RuntimeError, match="trials train on this machine"),
    ):
        measure_network(item, IMAGE, CLASSES, rounds=1)
    assert measure_network(item, IMAGE, CLASSES, rounds=1)[0].n == 1


def test_trainings_wait_for_the_end_of_a_measurement() -> None:
    said: list[str] = []
    waits, trained = threading.Event(), threading.Event()

    def note(words: str) -> None:
        said.append(words)
        waits.set()

    def train() -> None:
        with solitude.training(note):
            trained.set()

    thread = threading.Thread(target=train)
    with solitude.measuring():
        thread.start()
        assert waits.wait(240)
        assert not trained.is_set()
    thread.join(240)
    assert trained.is_set()
    assert len(said) == 1


def test_a_search_measures_before_its_first_trial_and_cannot_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def measured(*given: Any, **more: Any) -> LatencyTable:
        happened.append("measured")
        return build_table(*given, **more)

    def evaluate(architecture: Architecture, task: Task, seed: int) -> float:
        with pytest.raises(RuntimeError, match="trials train"):
            measure_network(architecture, IMAGE, CLASSES)
        happened.append("trained")
        return invented(architecture, task, seed)

    monkeypatch.setattr(building, "build_table", measured)
    search(tmp_path, evaluate=evaluate, trials=3)
    assert happened == ["measured", "trained", "trained", "trained"]


def test_confirmations_and_full_trainings_hold_the_lock_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.confirm import launch
    from nas.training import full

    def probe(*_: object, **__: object) -> None:
        with solitude.measuring():
            raise AssertionError("it could be measured while something trains")

    monkeypatch.setattr(full, "train_architecture", probe)
    words = ("train", "cifar_googlenet", "--data", "fashion-mnist-mini", "--device", "cpu")
    result = nas(*words, "--epochs", 1, "--out", tmp_path / "out")
    assert (result.code, "trials train on this machine" in result.err) == (1, True)

    run = search(tmp_path, objectives=None, trials=2)
    monkeypatch.setattr(launch, "prepare", lambda *_: SimpleNamespace(task=None))
    monkeypatch.setattr(launch, "load_full_data", lambda _: None)
    monkeypatch.setattr(launch, "_drive", probe)
    with pytest.raises(RuntimeError, match="trials train on this machine"):
        launch.confirm_run(run)


# ------------------------------------------------------------------------------------ searching


def test_a_search_for_error_and_latency_trains_for_real(tmp_path: Path) -> None:
    run = search(tmp_path, evaluate=None, data=small_data(), device="cpu", workers=1, trials=3)
    table = LatencyTable.from_data(run.latency or {}, "run")
    kept = find_table(TINY, IMAGE, CLASSES, "cpu")
    assert table == kept
    for row in run.trials.to_dict("records"):
        assert row["state"] == "complete"
        assert row["latency_ms"] == table.predict_ms(run.architecture(row["number"]))
    assert run.settings.objectives == ("error", "latency_ms")
    assert max(run.trials["latency_ms"]) <= run.settings.reference[1] * 1.001


@pytest.mark.parametrize("sampler", ["pareto", "evolution", "nsga2", "tpe"])
def test_every_kind_of_sampler_knows_latency(tmp_path: Path, sampler: str) -> None:
    table = keep_made_table(TINY, IMAGE, CLASSES)
    run = search(tmp_path, sampler=sampler, trials=24, objectives=("error", "macs", "latency_ms"))
    found = run.trials
    assert len(found) == 24
    assert [table.predict_ms(run.architecture(n)) for n in found["number"]] == found[
        "latency_ms"
    ].tolist()
    assert run.settings.reference[2] >= found["latency_ms"].max()


def test_a_run_without_latency_has_none(tmp_path: Path) -> None:
    run = search(tmp_path, objectives=None, trials=2)
    assert run.latency is None
    assert run.trials["latency_ms"].isna().all()
    assert not cache_directory().exists()
    with pytest.raises(ValueError, match="the run has no latencies"):
        resolve_pick(run.trials, run.settings.objectives, "latency_ms<=5")


def latencies() -> list[float]:
    table = made_table(TINY, IMAGE, CLASSES)
    return sorted(table.predict_ms(item) for item in TINY.enumerate())


def test_what_is_slower_than_the_budget_is_rejected_with_the_reason(tmp_path: Path) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    limit = latencies()[300]
    run = search(
        tmp_path, objectives=None, budgets={"latency_ms": limit}, sampler="random", trials=20
    )
    assert (run.trials["latency_ms"] <= limit).all()
    assert run.rejections.counts["latency_ms"] > 0
    reasons = [row["reason"] for row in run.rejections.last if row["kind"] == "latency_ms"]
    assert all(" ms over the budget " in reason for reason in reasons)
    assert run.settings.budgets == {"latency_ms": limit}


def test_a_budget_below_the_smallest_network_says_how_much_that_takes(tmp_path: Path) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    least = latencies()[0]
    with pytest.raises(ValueError, match="meets the budget latency_ms <= ") as caught:
        search(tmp_path, budgets={"latency_ms": 0.5 * least})
    assert f"the smallest found has {least:.3g} ms" in str(caught.value)
    assert not (tmp_path / "results" / "run").exists()


def test_a_pick_can_be_bounded_by_latency(tmp_path: Path) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    run = search(tmp_path, trials=12)
    limit = run.trials["latency_ms"].median()
    within = run.trials[run.trials["latency_ms"] <= limit]
    best = within.sort_values("error")["number"].iloc[0]
    for words in (
        f"latency_ms<={limit}",
        f"latency_ms<={limit}ms",
        f"latency_ms<={1000 * limit}us",
    ):
        assert resolve_pick(run.trials, run.settings.objectives, words) == best
    with pytest.raises(ValueError, match=r"the least latency_ms is .* ms"):
        resolve_pick(run.trials, run.settings.objectives, "latency_ms<=1us")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objectives": ("error", "latency_ms", "latency_ms")}, "each once"),
        ({"objectives": ("error", "latency")}, "did you mean 'latency_ms'"),
        ({"latency_device": "tpu"}, "device must be auto, cpu or cuda, not 'tpu'"),
        ({"objectives": None, "latency_device": "cpu"}, "a latency device needs latency_ms"),
        ({"budgets": {"latency_ms": 0}}, "must be over 0 ms, not 0"),
        ({"budgets": {"latency_ms": math.inf}}, "must be over 0 ms, not inf"),
        ({"budgets": {"latency_ms": True}}, "must be over 0 ms, not True"),
    ],
)
def test_bad_settings_of_latency_are_one_line(
    tmp_path: Path, settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "build_table", no_measurement)
    with pytest.raises(ValueError, match=words) as caught:
        search(tmp_path, **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_a_wrong_setting_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "build_table", no_measurement)
    with pytest.raises(ValueError, match="workers must be"):
        search(tmp_path, evaluate=None, data=small_data(), workers=0, device="cpu")


# ------------------------------------------------------------------------------------- resuming


def moved(run: Run, **change: Any) -> LatencyTable:
    """The run as if it had begun on another machine."""
    table = LatencyTable.from_data(run.latency or {}, "run")
    table = replace(table, setting=replace(table.setting, **change))
    location = replace_location(run)
    writer = RunWriter(location, run.settings.objectives, distributions_of(TINY))
    writer.set_attribute("latency", table.to_data())
    writer.close()
    return table


def replace_location(run: Run) -> Any:
    from nas.records import Location

    return Location(run.url, run.name, run.path)


def test_a_resumed_run_goes_on_with_its_own_table_and_says_of_which_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    run = search(tmp_path, trials=3)
    table = moved(run, machine="a faster one", threads=64)
    # What this machine would measure now is another table.
    other = replace(
        table, predictor=replace(table.predictor, factor=7.0), setting=this_setting("cpu")
    )
    write_table(other, table_path("tiny", TINY.fingerprint, IMAGE, CLASSES, other.setting))
    monkeypatch.setattr(building, "build_table", no_measurement)
    notes = Notes()
    again = search(tmp_path, trials=6, resume=True, objectives=None, seed=None, display=notes)
    assert len(again.trials) == 6
    for row in again.trials.to_dict("records"):
        assert row["latency_ms"] == table.predict_ms(again.architecture(row["number"]))
    said = next(line for line in notes.lines if "not of this machine" in line)
    assert "machine a faster one there" in said
    assert "threads 64 there" in said


def test_a_run_resumed_where_it_began_says_nothing_of_machines(tmp_path: Path) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    search(tmp_path, trials=2)
    notes = Notes()
    search(tmp_path, trials=3, resume=True, objectives=None, seed=None, display=notes)
    assert not [line for line in notes.lines if "latenc" in line]


def test_a_run_does_not_go_on_with_another_latency_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    run = search(tmp_path, trials=2)
    moved(run, device="cuda")
    with pytest.raises(ValueError, match="latencies are of cuda, and cpu is given now"):
        search(tmp_path, trials=3, resume=True, latency_device="cpu")


# -------------------------------------------------------------------------------- plans, commands


def planned(path: Path, **settings: Any) -> Any:
    target = Target(image=Shape(1, 28, 28), classes=10)
    changes = {"data": "fashion-mnist-mini", "target": target, "validation_images": 500}
    task = small_task(epochs=1, images=64).model_copy(update=changes)
    request = SearchRequest(name="x", results=path, device="cpu", trials=2, **settings)
    return plan_search(TINY, task, request)


def test_a_plan_measures_no_table_and_says_that_one_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "build_table", no_measurement)
    plan = planned(tmp_path, objectives=("error", "latency_ms"), budgets={"latency_ms": 1.0})
    assert plan.unmeasured == ("latency_ms",)
    assert plan.measure_seconds > 0
    assert plan.objectives == ("error", "latency_ms")
    assert "latency_ms" not in plan.costs


def test_a_plan_knows_latencies_where_there_is_a_table(tmp_path: Path) -> None:
    table = keep_made_table(TINY, Shape(1, 28, 28), 10)
    plan = planned(tmp_path, objectives=("error", "latency_ms"))
    assert plan.unmeasured == ()
    drawn = [TINY.random(np.random.default_rng([0, index])) for index in range(100)]
    known = [table.predict_ms(item) for item in drawn]
    assert plan.costs["latency_ms"] == (min(known), pytest.approx(np.median(known)), max(known))


def test_commands_show_the_run_with_its_latencies(tmp_path: Path) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    run = search(tmp_path, trials=8)
    data = nas("show", run.path, "--json").data
    assert data["latency"]["setting"] == this_setting("cpu").to_data()
    assert data["latency"]["error"]["n"] == 12
    by_number = dict(zip(run.trials["number"], run.trials["latency_ms"], strict=True))
    assert {row["number"]: row["latency_ms"] for row in data["front"]} == {
        row["number"]: by_number[row["number"]] for row in data["front"]
    }
    shown = nas("show", run.path).out
    assert "latency (ms)" in shown
    assert f"{data['front'][0]['latency_ms']:.3g}" in shown
    trial = nas("show", run.path, "--trial", data["front"][0]["number"]).out
    assert f"{data['front'][0]['latency_ms']:.3g} ms, predicted" in " ".join(trial.split())
    page = write_report([run], tmp_path / "r.html").read_text(encoding="utf-8")
    assert f'<td class="n">{data["front"][0]["latency_ms"]:.3g} ms</td>' in page
    assert "networks that were measured" in page


def test_a_network_is_measured_by_the_command(tmp_path: Path) -> None:
    file = tmp_path / "network.json"
    item = TINY.random(np.random.default_rng(4))
    file.write_text(item.to_json())
    table = keep_made_table(TINY, IMAGE, CLASSES)
    words = ("cost", file, "--image", "1x12x12", "--classes", 3, "--latency")
    data = nas(*words, "--json").data["latency"]
    assert 0 < data["low_ms"] <= data["median_ms"] <= data["high_ms"]
    assert data["predicted_ms"] == {"tiny": table.predict_ms(item)}
    assert "measured, half of" in " ".join(nas(*words).out.split())
    assert "latency" not in nas(*words[:-1], "--json").data


def test_a_space_is_measured_by_the_command_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("spaces", "tiny", "--latency", "--image", "1x12x12", "--classes", 3)
    first = nas(*words, "--json").data
    assert Path(first["file"]).is_file()
    assert first["error"]["n"] == 3
    assert sum(row["layers"] for row in first["kinds"]) == first["layers"]
    monkeypatch.setattr(building, "build_table", no_measurement)
    assert nas(*words, "--json").data == first
    assert "off by" in " ".join(nas(*words).out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("cost", "googlenet", "--device", "cpux", "--latency"),
            "device must be auto, cpu or cuda",
        ),
        (("cost", "googlenet", "--device", "cuda"), "--device is for --latency"),
        (("spaces", "--latency"), "--latency needs a SPACE"),
        (("spaces", "tiny", "--device", "cuda"), "--device and --classes are for --latency"),
        (("spaces", "googlenet", "--latency", "--image", "2"), "fits an image of 3x2x2"),
    ],
)
def test_bad_words_are_one_line(words: tuple[str, ...], said: str) -> None:
    result = nas(*words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert result.err.count("\n") == 1


def test_a_run_s_table_is_json_that_any_tool_reads(tmp_path: Path) -> None:
    keep_made_table(TINY, IMAGE, CLASSES)
    run = search(tmp_path, trials=1)
    assert json.loads(json.dumps(run.latency)) == run.latency
