"""Confirming a run with real, small trainings: chosen, trained, killed, resumed, exported."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import psutil
import pytest
import torch
from command_line import invented_error, make_images, nas
from dashboard_calls import Page
from started_processes import started, wait_for

from nas.analysis.confirmed_figures import confirmed_figure, proxy_figure
from nas.analysis.confirmed_summary import find_summary, summarise_confirmation
from nas.analysis.tables import front_table
from nas.architecture import Shape
from nas.confirm import ConfirmRequest, confirm_run, plan_confirmation
from nas.confirm.finalists import choose_finalists
from nas.confirm.landmarks import choose_landmarks, parse_landmarks
from nas.confirm.prepare import prepare
from nas.confirm.progress import ConfirmProgress, NoConfirmDisplay, Pace
from nas.datasets import describe_data
from nas.presets import cifar_googlenet
from nas.records import Run, list_runs, open_run, run_names
from nas.records.confirmation import (
    Confirmation,
    Finalist,
    confirmation_location,
    open_confirmation,
)
from nas.records.writing import create_run
from nas.report import write_report
from nas.search.launch import run_search
from nas.search.study import DriverLock
from nas.space import SearchSpace
from nas.task import RECIPES, Task, create_task, proxy, scaled, with_recipe

SMALL = ConfirmRequest(
    top=2, seeds=2, controls=1, landmarks=("random:1",), epochs=3, workers=2, device="cpu"
)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images") / "bands", classes=3, images=60, side=16)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A finished run of the tiny space on real images, with invented errors; to be copied."""
    small = {"validation_images": 30, "recipe": {"batch_size": 32}, "proxy": {"epochs": 2}}
    task = create_task(describe_data(f"folder:{images}"), small)
    results = tmp_path_factory.mktemp("searched")
    run_search("tiny", task, name="run", results=results, trials=40, evaluate=invented_error)
    return results / "run"


def copied(searched: Path, results: Path) -> Run:
    shutil.copytree(searched, results / "run")
    return open_run(results / "run")


@pytest.fixture
def run(tmp_path: Path, searched: Path) -> Run:
    return copied(searched, tmp_path)


@pytest.fixture(scope="session")
def confirmed(tmp_path_factory: pytest.TempPathFactory, searched: Path) -> Confirmation:
    """A confirmation that was never interrupted; tests only read it."""
    return confirm_run(copied(searched, tmp_path_factory.mktemp("confirmed")), SMALL)


NUMBERS = ["name", "seed", "state", "error", "loss", "test_error", "test_loss", "epochs"]


def numbers(confirmation: Confirmation) -> pd.DataFrame:
    table = confirmation.trainings.sort_values(["name", "seed"])
    return table[NUMBERS].reset_index(drop=True)


def curves(confirmation: Confirmation) -> pd.DataFrame:
    """Rungs without their seconds, by network and seed."""
    rows = confirmation.trainings[["name", "seed", "row"]]
    table = confirmation.study.curves.merge(rows, left_on="number", right_on="row")
    columns = ["name", "seed", "epoch", "train_loss", "validation_loss", "error"]
    return table[columns].sort_values(["name", "seed", "epoch"]).reset_index(drop=True)


def weights(confirmation: Confirmation) -> dict[str, bytes]:
    files = sorted(confirmation.path.glob("*/weights.safetensors"))
    return {file.parent.name: file.read_bytes() for file in files}


def check_same(one: Confirmation, other: Confirmation) -> None:
    pd.testing.assert_frame_equal(numbers(one), numbers(other), check_exact=True)
    pd.testing.assert_frame_equal(curves(one), curves(other), check_exact=True)
    assert weights(one) == weights(other)


# ------------------------------------------------------------------ which networks


def test_finalists_are_the_picks_then_spread_along_the_front(run: Run) -> None:
    front = front_table(run.trials, run.settings.objectives)["number"].tolist()
    assert len(front) > 4
    everything = choose_finalists(run, 100, 0)
    assert [item.number for item in everything] == front
    picks = {pick: item.number for item in everything for pick in item.picks}
    assert picks["cheapest"] == front[0]
    assert picks["best"] == front[-1]
    assert [item.number for item in choose_finalists(run, 1, 0)] == [picks["knee"]]
    three = choose_finalists(run, 3, 0)
    assert {item.number for item in three} == set(picks.values())
    four = choose_finalists(run, 4, 0)
    assert {item.number for item in three} < {item.number for item in four}
    assert {item.role for item in four} == {"front"}
    row = run.trials.set_index("number").loc[picks["knee"]]
    knee = next(item for item in four if "knee" in item.picks)
    assert (knee.proxy_error, knee.costs["macs"]) == (row["error"], row["macs"])
    assert knee.network == run.architecture(picks["knee"])


def test_controls_are_dominated_trials_spread_by_cost(run: Run) -> None:
    front = set(front_table(run.trials, run.settings.objectives)["number"])
    controls = [item for item in choose_finalists(run, 2, 3) if item.role == "control"]
    assert len(controls) == 3
    assert not {item.number for item in controls} & front
    macs = [item.costs["macs"] for item in controls]
    assert macs == sorted(macs)
    dominated = len(run.trials) - len(front)
    every = [item for item in choose_finalists(run, 2, 1000) if item.role == "control"]
    assert len(every) == dominated


def test_landmarks_cost_about_what_finalists_do() -> None:
    run = open_run(Path(__file__).parents[1] / "results" / "quickstart")
    words = ("googlenet-narrow", "random:3", "cifar_googlenet")
    prepared = prepare(run, ConfirmRequest(top=3, landmarks=words, device="cpu"))
    networks = {item.name: item for item in prepared.confirm.finalists}
    best = next(item for item in networks.values() if "best" in item.picks)
    narrow = networks["googlenet-narrow"]
    assert narrow.network in [scaled(cifar_googlenet(), x) for x in np.geomspace(1 / 32, 1, 81)]
    assert narrow.costs["macs"] == pytest.approx(best.costs["macs"], rel=0.1)
    assert networks["cifar_googlenet"].network == cifar_googlenet()
    space = SearchSpace.from_json(run.settings.space)
    front = [item for item in networks.values() if item.role == "front"]
    drawn = [item for item in networks.values() if item.role == "random"]
    assert len({item.network.fingerprint for item in drawn}) == 3
    for item in drawn:
        assert (item.number, item.proxy_error, item.picks) == (None, None, ())
        assert space.contains(item.network)
        away = [abs(np.log10(item.costs["macs"] / other.costs["macs"])) for other in front]
        assert min(away) < 0.1
    # Nothing is left to chance: a plan and the confirmation itself mean the same networks.
    again = prepare(run, ConfirmRequest(top=3, landmarks=words, device="cpu"))
    assert again.confirm == prepared.confirm


def test_random_networks_keep_to_the_budgets() -> None:
    run = open_run(Path(__file__).parents[1] / "results" / "quickstart")
    own = {item.costs["macs"] for item in _random_of(run, {})}
    tight = int(min(own) * 1.01)
    assert max(own) > tight
    assert max(item.costs["macs"] for item in _random_of(run, {"macs": tight})) <= tight


def _random_of(run: Run, budgets: dict[str, float]) -> list[Finalist]:
    prepared = prepare(run, ConfirmRequest(top=3, landmarks=(), device="cpu"))
    space, finalists = SearchSpace.from_json(run.settings.space), prepared.confirm.finalists
    asked = parse_landmarks(["random:4"])
    return choose_landmarks(asked, finalists, space, prepared.task, budgets, ["macs"])


def test_landmarks_are_read_with_care() -> None:
    found = parse_landmarks(["random:3", "googlenet", "googlenet"])
    assert (found.presets, found.num_random) == (("googlenet",), 3)
    assert parse_landmarks([]).presets == ()
    with pytest.raises(ValueError, match=r"unknown landmark 'random'; did you mean 'random:N'\?"):
        parse_landmarks(["random"])
    with pytest.raises(ValueError, match="random networks twice: random:3, random:2"):
        parse_landmarks(["random:3", "random:2"])


def test_no_network_is_retrained_twice(tmp_path: Path) -> None:
    """A landmark may be named twice, or be what the search found: one set of directories."""
    task = create_task(describe_data("fashion-mnist-mini"), {})
    run = run_search(
        *("googlenet_small", task),
        name="run",
        results=tmp_path,
        trials=8,
        # So good that it stands on the front.
        evaluate=lambda network, *_: 0.1 if network == cifar_googlenet() else 0.5,
        seed_with=["cifar_googlenet"],
        workers=1,
    )
    words = ("cifar_googlenet", "googlenet-narrow", "googlenet-narrow", "random:2", "random:2")
    prepared = prepare(run, ConfirmRequest(top=8, landmarks=words, device="cpu"))
    names = [item.name for item in prepared.confirm.finalists]
    assert "trial0" in names
    assert [name for name in names if not name.startswith("trial")] == ["random0", "random1"]
    networks = [item.network.fingerprint for item in prepared.confirm.finalists]
    assert len(set(networks)) == len(names) == len(set(names))
    # The narrow one is as wide as the largest finalist, which is GoogLeNet itself.
    said = [f"landmark {name} is the network of trial0: trained once" for name in words[:2]]
    assert prepared.notes == tuple(said)


def test_nothing_of_the_network_is_reduced(run: Run) -> None:
    prepared = prepare(run, SMALL)
    own = Task.from_json(run.settings.task)
    assert prepared.task.proxy_image == own.target.image
    assert prepared.task.proxy.images is None
    assert prepared.task.validation_images == own.validation_images
    for item in prepared.confirm.finalists:
        assert proxy(item.network, prepared.task) == with_recipe(item.network, prepared.task.recipe)


# ------------------------------------------------------------------ what is stored


def test_each_network_is_trained_with_each_seed(confirmed: Confirmation) -> None:
    table = confirmed.trainings
    networks = confirmed.settings.finalists
    assert [item.role for item in networks] == ["front", "front", "control", "random"]
    assert len(table) == 2 * len(networks)
    assert set(table["state"]) == {"complete"}
    assert table.groupby("name")["seed"].agg(list).tolist() == [[0, 1]] * len(networks)
    assert set(table["epochs"]) == {3}
    assert (table.groupby("name")["loss"].nunique() == 2).all()  # seeds are not the same training
    assert table[["error", "loss", "test_error", "test_loss"]].notna().all(axis=None)
    assert confirmed.is_done
    assert confirmed.test_images == 90
    assert confirmed.study.state == "finished"
    # Three bands that can be told apart: full training learns, so something was trained.
    assert table["error"].min() < 0.4


def test_test_errors_are_those_of_the_weights_on_the_test_images(
    confirmed: Confirmation,
) -> None:
    from safetensors.torch import load_file

    from nas.datasets import load_data
    from nas.model import build

    task = Task.from_json(confirmed.study.settings.task)
    split = load_data(task.data, split="test")
    row = confirmed.trainings.iloc[0]
    item = confirmed.settings.finalists[0]
    folder = confirmed.path / f"{row['name']}-seed{row['seed']}"
    network = build(with_recipe(item.network, task.recipe), task.target.image, 3).eval()
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    training = json.loads((folder / "training.json").read_text())
    pixels = split.images.float() / 255
    pixels = (pixels - training["mean"][0]) / training["std"][0]
    with torch.inference_mode():
        wrong = int((network(pixels).argmax(1) != split.labels).sum())
    assert row["test_error"] == wrong / len(split)
    assert training["accuracy"] == 1 - row["error"]
    assert training["measured_on"] == "validation"


def test_a_training_says_what_it_is(run: Run) -> None:
    recipe = RECIPES["default"].model_copy(update={"batch_size": 32, "ema_decay": 0.9})
    asked = replace(SMALL, top=1, seeds=1, controls=0, epochs=1, recipe=recipe)
    found = confirm_run(run, replace(asked, landmarks=("googlenet-narrow",)))
    for item in found.settings.finalists:
        folder = found.path / f"{item.name}-seed0"
        training = json.loads((folder / "training.json").read_text())
        assert (training["is_averaged"], training["num_validation"]) == (True, 30)
        card = (folder / "MODEL_CARD.md").read_text()
        assert "the last epoch, as a moving average" in card
        assert "| Run | run |" in card
        is_trial = item.number is not None
        assert (f"| Trial | {item.number} |" in card) == is_trial
        assert ("| Landmark | googlenet-narrow |" in card) == (not is_trial)
        assert "those that won are flattered by it" in card


def test_the_run_is_as_it_was(confirmed: Confirmation) -> None:
    path = confirmed.run.path
    again = open_run(path)
    assert again.name == "run"
    assert len(again.trials) == len(confirmed.run.trials)
    assert again.state == "finished"
    assert run_names(path.parent) == ["run"]
    assert [(item.name, item.state) for item in list_runs(path.parent)] == [("run", "finished")]
    assert open_run(f"sqlite:///{path / 'study.db'}").name == "run"
    found = open_confirmation(again)
    assert found is not None
    pd.testing.assert_frame_equal(found.trainings, confirmed.trainings)


def test_a_run_without_confirmation_has_none(run: Run) -> None:
    assert open_confirmation(run) is None


def test_export_takes_a_training(confirmed: Confirmation, tmp_path: Path) -> None:
    folder = next(iter(sorted(confirmed.path.glob("trial*-seed0"))))
    result = nas("export", folder, "--out", tmp_path / "out", "--format", "json,source,weights")
    assert result.code == 0, result.err
    assert "with its weights" in result.out
    described = json.loads((tmp_path / "out" / "export.json").read_text())
    assert described["class_names"] == ["class0", "class1", "class2"]
    number = int(folder.name.removeprefix("trial").split("-")[0])
    words = ["--pick", f"trial:{number}", "--weights", folder, "--format", "json,source,weights"]
    result = nas("export", confirmed.run.path, *words, "--out", tmp_path / "again")
    assert result.code == 0, result.err


# ------------------------------------------------------------------ interrupted and resumed


def test_resuming_what_is_done_trains_nothing(confirmed: Confirmation) -> None:
    before = weights(confirmed), confirmed.study.trials["finished"].tolist()
    again = confirm_run(confirmed.run, ConfirmRequest(resume=True, device="cpu"))
    assert (weights(again), again.study.trials["finished"].tolist()) == before


def test_more_seeds_are_added_to_the_same_numbers(run: Run, confirmed: Confirmation) -> None:
    first = confirm_run(run, replace(SMALL, seeds=1))
    assert first.settings.seeds == 1
    both = confirm_run(run, ConfirmRequest(seeds=2, resume=True, workers=1, device="cpu"))
    check_same(both, confirmed)
    assert both.study.settings.trials == 8


def test_fewer_seeds_leave_the_last_ones_out(run: Run, confirmed: Confirmation) -> None:
    """A confirmation that takes too long ends with the seeds that are there."""
    confirm_run(run, replace(SMALL, landmarks=(), controls=0))
    once = confirm_run(run, ConfirmRequest(seeds=1, resume=True, device="cpu"))
    assert set(once.trainings["seed"]) == {0}
    assert once.is_done
    assert len(list(once.path.iterdir())) == 4  # nothing is deleted
    both = confirm_run(run, ConfirmRequest(seeds=2, resume=True, device="cpu"))
    assert len(both.trainings) == 4
    wanted = numbers(confirmed)
    wanted = wanted[wanted["name"].isin(both.finalists["name"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(numbers(both), wanted, check_exact=True)


def test_a_training_whose_files_were_lost_to_the_kill_is_taken_up(
    run: Run, confirmed: Confirmation
) -> None:
    """The worker wrote its files, and the driver died before it recorded the end."""
    asked = replace(SMALL, seeds=1)
    confirm_run(run, asked)
    with contextlib.closing(connection_to(run.path / "study.db")) as connection:
        connection.execute(
            "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 0 "
            "AND study_id = (SELECT study_id FROM studies WHERE study_name = 'run:confirm')"
        )
        # A trial's state and its values are written together, or neither.
        connection.execute(
            "DELETE FROM trial_values WHERE trial_id IN "
            "(SELECT trial_id FROM trials WHERE state = 'RUNNING')"
        )
        connection.commit()
    folder = next((run.path / "confirm").glob("*-seed0"))
    written = (folder / "weights.safetensors").stat().st_mtime_ns
    again = confirm_run(open_run(run.path), ConfirmRequest(resume=True, seeds=2, device="cpu"))
    assert (folder / "weights.safetensors").stat().st_mtime_ns == written
    check_same(again, confirmed)


def connection_to(path: Path) -> Any:
    import sqlite3

    return sqlite3.connect(path)


def command(*words: object) -> contextlib.AbstractContextManager[psutil.Popen]:
    return started(sys.executable, "-m", "nas", *map(str, words))


def has_a_long_way_to_go(folder: Path) -> bool:
    """Whether a training of twelve epochs has a checkpoint, and will not end at once."""
    for checkpoint in folder.glob("*/checkpoint.pt"):
        # It may be gone by now, when its training has ended.
        with contextlib.suppress(FileNotFoundError):
            if torch.load(checkpoint, weights_only=True)["training"]["epoch"] <= 3:
                return True
    return False


LONG = ["--top", 2, "--controls", 1, "--landmarks", "random:1", "--seeds", 2, "--epochs", 12]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, searched: Path) -> Confirmation:
    """Twelve epochs, never interrupted, on one worker."""
    run = copied(searched, tmp_path_factory.mktemp("whole"))
    return confirm_run(run, replace(SMALL, epochs=12, workers=1))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_gives_the_same_bits(
    run: Run, whole: Confirmation, how: signal.Signals
) -> None:
    words = ["confirm", run.path, "--device", "cpu", "--workers", 2]
    folder = run.path / "confirm"
    with command(*words, *LONG) as process:
        # In the midst of trainings: some are done, some have a checkpoint.
        wait_for(
            lambda: any(folder.glob("*/training.json")) and has_a_long_way_to_go(folder),
            process,
        )
        children = process.children(recursive=True)
        process.send_signal(how)
        out, err = process.communicate(timeout=240)
        _, alive = psutil.wait_procs(children, timeout=120)
        assert alive == []
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    found = open_confirmation(open_run(run.path))
    assert found is not None
    assert found.study.state == "interrupted"
    # A training whose files are there may not be recorded yet: that is taken up, too.
    assert len(found.complete_rows) < 8
    assert found.test == {}
    checkpoints = list(folder.glob("*/checkpoint.pt"))
    assert checkpoints
    if how == signal.SIGINT:
        assert "stopped by Ctrl-C; go on with --resume" in err
        # What is recorded is told; which of the trainings are depends on the moment of the stop.
        done = found.trainings["state"] == "complete"
        is_any = (found.trainings.loc[done, "number"] >= 0).any()
        assert ("So far, after" if is_any else "Nothing of the run is trained yet.") in out

    with command(*words, "--resume") as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "8 trainings done" in err
    after = open_confirmation(open_run(run.path))
    assert after is not None
    check_same(after, whole)
    assert not list(folder.glob("*/checkpoint.pt"))


# ------------------------------------------------------------------ what is refused


def test_another_confirmation_is_named(confirmed: Confirmation) -> None:
    run = confirmed.run
    with pytest.raises(ValueError, match=r"has a confirmation already \(finished: 4 networks, 2"):
        confirm_run(run, SMALL)
    other = {
        "top": (3, "with top 2, not 3"),
        "epochs": (9, "with epochs 3, not 9"),
        "controls": (0, "with controls 1, not 0"),
        "landmarks": ((), r'with landmarks \["random:1"\], not \[\]'),
        "data": ("fashion-mnist-mini", "with data "),
        "recipe": (RECIPES["paper"], "with recipe.name "),
    }
    for name, (value, message) in other.items():
        request = replace(ConfirmRequest(resume=True, device="cpu"), **{name: value})
        with pytest.raises(ValueError, match=message):
            confirm_run(run, request)


def test_resume_needs_something_to_resume(run: Run) -> None:
    with pytest.raises(ValueError, match="run 'run' has no confirmation to resume"):
        confirm_run(run, ConfirmRequest(resume=True))


def test_overwrite_begins_anew(run: Run) -> None:
    confirm_run(run, replace(SMALL, seeds=1, controls=0, landmarks=()))
    stale = run.path / "confirm" / "stale"
    stale.mkdir()
    again = confirm_run(
        run, replace(SMALL, seeds=1, top=1, controls=0, landmarks=(), overwrite=True)
    )
    assert len(again.settings.finalists) == 1
    assert not stale.exists()
    assert len(list((run.path / "confirm").iterdir())) == 1


def test_a_run_at_work_is_left_alone(run: Run) -> None:
    from nas.records import Location

    lock = DriverLock(Location(run.url, run.name, run.path))
    try:
        with pytest.raises(ValueError, match=rf"being searched by process {os.getpid()}"):
            confirm_run(run, SMALL)
    finally:
        lock.release()


def test_two_at_a_time_are_refused(run: Run) -> None:
    lock = DriverLock(confirmation_location(run))
    try:
        with pytest.raises(ValueError, match=rf"is being confirmed already: .*{os.getpid()}"):
            confirm_run(run, SMALL)
    finally:
        lock.release()
    assert open_confirmation(run) is None


def test_half_of_a_confirmation_can_be_overwritten(run: Run) -> None:
    """Killed between the study and its settings."""
    location = confirmation_location(run)
    create_run(location, run.settings, {"confirm": {"top": 1}})
    with pytest.raises(ValueError, match="no settings"):
        confirm_run(run, SMALL)
    asked = replace(SMALL, top=1, seeds=1, controls=0, landmarks=(), overwrite=True)
    assert confirm_run(run, asked).is_done


def test_a_run_without_a_front(tmp_path: Path, images: Path) -> None:
    def fail(*_: object) -> float:
        return float("nan")

    task = create_task(describe_data(f"folder:{images}"), {"validation_images": 30})
    run = run_search("tiny", task, name="none", results=tmp_path, trials=2, evaluate=fail)
    result = nas("confirm", run.path)
    assert result.code == 2
    assert result.err == "error: run 'none' has no front to confirm: no trial is complete\n"


def test_bad_input_is_one_line_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    lines = {
        ("confirm", tmp_path / "nothing"): "is not a run",
        ("confirm", run.path, "--data", "folder:/no/such"): "/no/such",
        ("confirm", run.path, "--landmarks", "goglenet"): "did you mean 'googlenet'?",
        ("confirm", run.path, "--landmarks", "googlenet"): "landmark googlenet is left out: ",
        ("confirm", run.path, "--top", "0"): "must be an integer from 1",
        ("confirm", run.path, "--recipe", "papr"): "did you mean 'paper'?",
        ("confirm", run.path, "--device", "tpu"): "device must be auto, cpu or cuda",
        ("confirm", run.path, "--resume", "--overwrite"): "opposites",
        ("confirm", run.path, "--concurrency", "2", "--device", "cpu"): "concurrency 2",
    }
    for words, expected in lines.items():
        result = nas(*words)
        assert result.code == 2, (words, result.err)
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
        assert expected in result.err
    assert open_confirmation(open_run(run.path)) is None
    assert not (run.path / "confirm").exists()


def test_a_run_of_your_own_tensors_asks_for_data(run: Run, monkeypatch: Any) -> None:
    task = Task.from_json(run.settings.task).model_copy(update={"data": "tensors"})
    monkeypatch.setattr(run, "settings", replace(run.settings, task=task.to_json()))
    with pytest.raises(ValueError, match=r"'tensors' of run 'run' cannot be loaded .*give it with"):
        prepare(run, SMALL)


def test_runs_that_share_a_storage(tmp_path: Path, images: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    small = {"validation_images": 30, "recipe": {"batch_size": 32}}
    task = create_task(describe_data(f"folder:{images}"), small)
    for name in ("one", "two"):
        run_search(
            "tiny",
            task,
            name=name,
            results=tmp_path,
            trials=6,
            storage=url,
            objectives=("error", "params"),
            evaluate=invented_error,
        )
    one = open_run(url, "one")
    one.path = tmp_path / "one"  # by its URL a run lies in ./results
    asked = replace(SMALL, top=2, seeds=1, controls=0, landmarks=("googlenet-narrow",))
    found = confirm_run(one, asked)
    assert found.study.name == "one:confirm"
    assert found.cost_names[0] == "params"
    assert open_confirmation(open_run(url, "two")) is None
    with pytest.raises(ValueError, match="holds several studies; there are 'one', 'two'"):
        open_run(url)
    again = open_run(url, "one")
    again.path = tmp_path / "one"
    summary = summarise_confirmation(open_confirmation(again) or found)
    assert summary.trained == 3
    assert "Take trial" in summary.verdict.text

    # They are listed, and one of them goes with its confirmation and its directory.
    words = ("runs", "--storage", url, "--results", tmp_path)
    assert nas("runs", "--results", tmp_path, "--json").data == []
    listed = {item["name"]: item for item in nas(*words, "--json").data}
    assert {name: item["trials"] for name, item in listed.items()} == {
        "one": {"complete": 6},
        "two": {"complete": 6},
    }
    assert listed["one"]["disk_bytes"] > 10_000
    missing = nas(*words, "--delete", "onee")
    assert (missing.code, "did you mean 'one'" in missing.err) == (2, True), missing.err
    deleted = nas(*words, "--delete", "one", "--json")
    assert deleted.data == {"deleted": "one", "bytes": listed["one"]["disk_bytes"]}
    assert not (tmp_path / "one").exists()
    assert [item["name"] for item in nas(*words, "--json").data] == ["two"]
    assert "one:confirm" not in optuna.get_all_study_names(url)
    nothing = nas("runs", "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert (nothing.code, "there is no database" in nothing.err) == (2, True)


def test_changed_data_is_refused(run: Run, images: Path, tmp_path: Path) -> None:
    copy = make_images(tmp_path / "copy", classes=3, images=60, side=16)
    asked = replace(SMALL, top=1, seeds=1, controls=0, landmarks=(), data=f"folder:{copy}")
    confirm_run(run, asked)
    next((copy / "train" / "class0").glob("*.png")).unlink()
    with pytest.raises(ValueError, match=r"training data has changed, data.images is 180"):
        confirm_run(run, ConfirmRequest(resume=True, seeds=2, device="cpu"))


def test_a_failed_training_is_told_and_tried_again(run: Run) -> None:
    asked = replace(SMALL, top=1, seeds=1, controls=0, landmarks=())
    name = prepare(run, asked).confirm.finalists[0].name
    blocked = run.path / "confirm" / f"{name}-seed0"
    blocked.parent.mkdir()
    blocked.write_text("a file where the directory belongs")
    failed = confirm_run(run, asked)
    assert failed.trainings["state"].tolist() == ["failed"]
    assert str(blocked) in failed.trainings["reason"].iloc[0]
    assert failed.study.ended is not None
    assert failed.study.ended.message == "1 of 1 trainings failed; --resume tries them again"
    blocked.unlink()
    again = confirm_run(run, ConfirmRequest(resume=True, device="cpu"))
    assert again.trainings["state"].tolist() == ["complete"]
    assert again.is_done


# ------------------------------------------------------------------ plan, progress, command line


def test_plan_says_what_it_would_take_and_writes_nothing(run: Run) -> None:
    plan = plan_confirmation(run, SMALL)
    assert (plan.trainings, plan.trainings_done, plan.seeds, plan.epochs) == (8, 0, 2, 3)
    assert plan.images == 150
    assert len(plan.networks) == 4
    longest = max(item.seconds for item in plan.networks)
    total = 2 * sum(item.seconds for item in plan.networks)
    assert plan.seconds == pytest.approx(max(total / 2, longest))
    assert open_confirmation(open_run(run.path)) is None
    words = ["--top", "2", "--controls", "0", "--landmarks", "none", "--seeds", "4"]
    result = nas("confirm", run.path, "--plan", "--json", *words)
    assert result.data["trainings"] == 8
    shown = nas("confirm", run.path, "--plan", *words)
    assert "8: 2 networks, 4 seeds" in shown.out


def test_pace_takes_times_as_they_come() -> None:
    pace = Pace({"small": 1e6, "large": 4e6, "huge": 16e6})
    assert pace.left([("small", 0.0)], 2) is None
    pace.observe("small", 10.0)
    assert pace.expected("large") == pytest.approx(20.0)  # as the square root of its size
    pace.observe("huge", 160.0)
    assert pace.expected("large") == pytest.approx(40.0)  # in proportion, as the two say
    assert pace.left([("small", 4.0), ("large", 0.0), ("huge", 100.0)], 2) == pytest.approx(60.0)
    huge = [("huge", 150.0), ("huge", 170.0)]
    assert pace.left([("small", 0.0)] * 8 + huge, 2) == pytest.approx(45.0)
    assert pace.left([], 2) is None


class StopsAt(NoConfirmDisplay):
    """Presses Ctrl-C as soon as the training has passed so many epochs; keeps what was shown."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self.shown: list[ConfirmProgress] = []

    def update(self, progress: ConfirmProgress) -> None:
        if len(self.shown) == 0 or not self.is_stopped:
            self.shown.append(progress)
            if self.is_stopped:
                signal.raise_signal(signal.SIGINT)

    @property
    def is_stopped(self) -> bool:
        running = self.shown[-1].running
        return bool(running) and running[0].epoch >= self._epoch


def test_what_is_saved_is_not_waited_for_again(run: Run) -> None:
    """Hours may be left or minutes: the epochs in a checkpoint are told from those to come."""
    epochs = 2_000  # so many that no machine ends before it is stopped
    asked = replace(SMALL, top=1, seeds=1, controls=0, landmarks=(), epochs=epochs)
    confirm_run(run, asked, display=StopsAt(4))
    (checkpoint,) = (run.path / "confirm").glob("*/checkpoint.pt")
    saved = torch.load(checkpoint, weights_only=True)
    epoch, seconds = saved["training"]["epoch"], saved["train_seconds"]
    assert epoch >= 4

    again = ConfirmRequest(resume=True, device="cpu")
    plan = plan_confirmation(open_run(run.path), again)
    assert plan.seconds == pytest.approx(plan.networks[0].seconds * (1 - epoch / epochs))
    display = StopsAt(2 * epoch)
    stopped = confirm_run(open_run(run.path), again, display=display)
    first = display.shown[0]
    assert first.running[0].epoch == epoch
    assert first.left_seconds == pytest.approx(seconds * (epochs / epoch - 1), rel=0.01)
    # The rungs of before the interruption are still there, each once.
    rungs = stopped.study.curves["epoch"].tolist()
    assert rungs == list(Task.from_json(stopped.study.settings.task).rungs[: len(rungs)])
    assert rungs[-1] >= 2 * epoch


def test_command_prints_table_and_verdict(confirmed: Confirmation) -> None:
    result = nas("confirm", confirmed.run.path, "--resume", "--device", "cpu")
    assert result.code == 0
    assert "Confirmed: 4 networks, 3 epochs of folder:" in " ".join(result.out.split())
    for item in confirmed.settings.finalists:
        assert item.name.replace("trial", "trial ") in result.out
    joined = " ".join(result.out.split())
    assert "of 2 front trials stay on the front" in joined
    assert "Take trial " in joined
    assert "nas export " in joined
    data = nas("confirm", confirmed.run.path, "--resume", "--device", "cpu", "--json").data
    assert data["verdict"] in joined
    assert (data["trained"], data["wanted"], data["front"]) == (8, 8, 2)
    assert [row["error"] for row in data["trainings"]] == confirmed.trainings["error"].tolist()
    by_name = {row["name"]: row for row in data["networks"]}
    errors = confirmed.trainings.groupby("name")["error"].mean()
    assert by_name["random0"]["mean"] == pytest.approx(errors["random0"])
    assert by_name["random0"]["proxy_error"] is None


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_the_terminal(
    confirmed: Confirmation, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = nas("confirm", confirmed.run.path, "--resume", "--device", "cpu")
    table = result.out.split("\n±")[0]
    lines = [line.rstrip() for line in table.splitlines()]
    assert max(len(line) for line in lines) <= width
    assert sum(line.startswith(("trial ", "random")) for line in lines) == 4
    assert ("shrunk" in table) == (width == 120)
    assert "…" not in table


def test_image_of_the_target_is_kept() -> None:
    # A network whose last map is one pixel trains as it is where nothing is reduced.
    task = create_task(
        describe_data("fashion-mnist-mini"),
        {"proxy": {"width": 1.0, "images": None, "stem": "own", "resolution": None}},
    )
    space = SearchSpace.load("inception_v3")
    changed = 0
    for index in range(40):
        network = space.random(np.random.default_rng(index))
        try:
            trained = proxy(network, task)
        except ValueError:
            continue
        assert trained == with_recipe(network, task.recipe)
        changed += 1
    assert changed > 10
    assert task.proxy_image == Shape(1, 28, 28)


# ------------------------------------------------------------------ where else it is seen


def test_show_has_table_and_verdict(confirmed: Confirmation, run: Run) -> None:
    path = confirmed.run.path
    verdict = nas("confirm", path, "--resume", "--device", "cpu", "--json").data["verdict"]
    shown = nas("show", path)
    assert verdict in " ".join(shown.out.split())
    assert "Confirmed: 4 networks" in shown.out
    data = nas("show", path, "--json").data["confirmation"]
    assert (data["verdict"], data["trained"], data["state"]) == (verdict, 8, "finished")
    assert nas("show", run.path, "--json").data["confirmation"] is None
    assert "Confirmed" not in nas("show", run.path).out


def test_report_has_a_section(confirmed: Confirmation, run: Run, tmp_path: Path) -> None:
    page = write_report(open_run(confirmed.run.path), tmp_path / "with.html").read_text()
    assert "Confirmed at full budget" in page
    assert "front trials stay on the front" in page
    assert '"confirmed":{"data"' in page
    assert '"confirmed-proxy":{"data"' in page
    assert page.count("<td>dominated in the search</td>") == 1
    plain = write_report(run, tmp_path / "without.html").read_text()
    assert "Confirmed at full budget" not in plain


def test_figures_draw_every_network_with_its_interval(confirmed: Confirmation) -> None:
    summary = find_summary(open_run(confirmed.run.path))
    assert summary is not None
    table = summary.table
    figure = confirmed_figure(table)
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    drawn = {n: y for trace in marks for n, y in zip(trace.customdata, trace.y, strict=True)}
    assert drawn == dict(zip(table["number"], table["mean"], strict=True))
    for trace in marks:
        high = np.add(trace.y, trace.error_y.array)
        rows = table.set_index("number").loc[list(trace.customdata)]
        assert high == pytest.approx(rows["high"].to_numpy())
    against = proxy_figure(table)
    shown = [n for trace in against.data for n in trace.customdata]
    assert sorted(shown) == sorted(table.loc[table["number"] >= 0, "number"])


def test_dashboard_names_the_error_at_full_budget(confirmed: Confirmation, run: Run) -> None:
    number = next(item.number for item in confirmed.settings.finalists)
    mean = confirmed.trainings.groupby("number")["error"].mean()[number]
    page = Page([open_run(confirmed.run.path)], f"/architecture?trial={number}")
    facts = json.dumps(page.ask("architecture-facts.children"))
    assert "at full budget" in facts
    assert f"{100 * mean:.1f}" in facts
    assert "2 seeds; on the front with probability" in facts
    other = Page([run], f"/architecture?trial={number}")
    assert "at full budget" not in json.dumps(other.ask("architecture-facts.children"))


def test_a_page_sees_a_confirmation_that_goes_on(run: Run) -> None:
    before = open_run(run.path).version
    assert open_run(run.path).version == before
    confirm_run(run, replace(SMALL, top=1, seeds=1, controls=0, landmarks=()))
    after = open_run(run.path).version
    assert after != before
    confirm_run(run, ConfirmRequest(resume=True, seeds=2, device="cpu"))
    assert open_run(run.path).version != after
