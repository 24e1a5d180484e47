"""The main job at the command line, on real workers and images: search, train, export, go on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Result, make_images, make_run, nas
from safetensors.torch import load_file

from nas import Shape, export_architecture
from nas.architecture import Architecture
from nas.records import open_run
from nas.space import SearchSpace


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{make_images(tmp_path_factory.mktemp('data') / 'images')}"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, images: str) -> tuple[Path, Result]:
    """A run by real workers, and what its last screen said."""
    results = tmp_path_factory.mktemp("results")
    words = ["--data", images, "--name", "first", "--results", results, "--trials", 3]
    task = ["--epochs", 2, "--width", "0.5", "--precision", "float32", "--workers", 1]
    result = nas("search", "tiny", *words, *task, "--max-macs", "3M", "--seed", 5)
    assert result.code == 0, result.err
    return results / "first", result


def next_commands(text: str) -> list[list[str]]:
    lines = text.split("\nNext\n")[1].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("  nas ")]


@pytest.fixture(scope="module")
def trained(searched: tuple[Path, Result]) -> tuple[Path, Result]:
    """The knee, trained by the very command that the search proposed."""
    path, result = searched
    train, _ = next_commands(result.out)
    assert train[0] == "train"
    done = nas(*train, "--epochs", 2, "--precision", "float32", "--threads", 1)
    assert done.code == 0, done.err
    return path / "knee", done


def test_search_ends_with_front_report_and_next_steps(searched: tuple[Path, Result]) -> None:
    path, result = searched
    assert "knee" in result.out
    assert (path / "report.html").is_file()
    assert str(path / "report.html") in result.out.replace("\n", "")
    assert [words[0] for words in next_commands(result.out)] == ["train", "export"]


def test_search_options_reach_the_run(searched: tuple[Path, Result], images: str) -> None:
    run = open_run(searched[0])
    task = json.loads(run.settings.task)
    assert (task["data"], task["proxy"]["epochs"], task["proxy"]["width"]) == (images, 2, 0.5)
    assert task["precision"] == "float32"
    assert run.settings.seed == 5
    assert run.settings.budgets == {"macs": 3_000_000}
    assert len(run.trials) == 3
    assert set(run.curves["epoch"]) == {1, 2}


def test_train_measures_once_and_keeps_the_weights(trained: tuple[Path, Result]) -> None:
    folder, result = trained
    assert "test accuracy" in result.out
    report = json.loads((folder / "training.json").read_text())
    assert report["epochs"] == 2
    assert report["num_measured"] == 24
    assert next_commands(result.out) == [
        ["export", str(folder), "--out", str(folder / "export")],
    ]


def test_export_of_the_trained_network(trained: tuple[Path, Result], tmp_path: Path) -> None:
    folder, _ = trained
    out = tmp_path / "out"
    result = nas("export", folder, "--out", out)
    assert result.code == 0, result.err
    assert "Proof: each in a fresh Python" in result.out
    assert "PROXY" not in result.out
    summary = json.loads((out / "export.json").read_text())
    proof = summary["proofs"]["source"]
    assert (proof["weights"], proof["num_images"]) == ("exported", 24)
    assert proof["images"] == f"{summary['training']['data']}, test split"
    assert summary["class_names"] == ["class0", "class1"]
    assert summary["training"]["measured_on"] == "test"
    names: dict[str, object] = {}
    exec((out / "network.py").read_text(), names)
    network = names["Network"]()  # type: ignore[operator]
    network.load_state_dict(load_file(out / "weights.safetensors"), strict=True)
    pixels = torch.randint(0, 255, (2, 1, 12, 12), dtype=torch.uint8)
    assert network.eval()(names["preprocess"](pixels)).shape == (2, 2)  # type: ignore[operator]


def test_python_takes_a_training_directory(trained: tuple[Path, Result], tmp_path: Path) -> None:
    architecture = Architecture.from_json((trained[0] / "architecture.json").read_text())
    image = Shape(1, 12, 12)
    export_architecture(
        architecture, image, 2, out=tmp_path / "out", weights=trained[0], formats=["weights"]
    )
    summary = json.loads((tmp_path / "out" / "export.json").read_text())
    assert summary["class_names"] == ["class0", "class1"]
    assert summary["training"]["epochs"] == 2


def test_export_takes_the_weights_of_a_training(
    searched: tuple[Path, Result], trained: tuple[Path, Result], tmp_path: Path
) -> None:
    words = ["export", searched[0], "--weights", trained[0], "--out", tmp_path / "out"]
    result = nas(*words, "--format", "weights", "--json")
    assert result.code == 0, result.err
    assert set(result.data["files"]) == {"weights"}
    # Where it is from is told as well as what it was trained on.
    summary = json.loads((tmp_path / "out" / "export.json").read_text())
    assert summary["run"]["name"] == searched[0].name
    assert summary["training"]["epochs"] == 2
    other = nas("export", "cifar_googlenet", "--weights", trained[0], "--out", tmp_path / "two")
    assert other.code == 2
    assert "holds the weights of" in other.err


def test_a_description_takes_image_and_classes_of_its_training(
    trained: tuple[Path, Result], tmp_path: Path
) -> None:
    description = tmp_path / "mine.json"
    description.write_bytes((trained[0] / "architecture.json").read_bytes())
    words = ["export", description, "--weights", trained[0], "--out", tmp_path / "out"]
    result = nas(*words, "--format", "json,weights")
    assert result.code == 0, result.err
    summary = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (summary["image"], summary["classes"]) == ([1, 12, 12], 2)
    for given in (["--image", "1x14x14"], ["--classes", "3"]):
        refused = nas(*words, "--overwrite", *given)
        assert refused.code == 2
        assert "are those of the training in --weights already" in refused.err


def test_export_of_a_proxy_says_so_and_is_the_same_network(
    searched: tuple[Path, Result], tmp_path: Path
) -> None:
    result = nas(
        "export",
        searched[0],
        "--pick",
        "trial:1",
        "--proxy",
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    assert result.code == 0, result.err
    assert "PROXY" in result.out
    summary = json.loads((tmp_path / "out" / "export.json").read_text())
    assert summary["is_proxy"] is True
    assert summary["proxy"]["error"] == summary["proxy"]["recorded_error"]
    run = open_run(searched[0])
    assert summary["proxy"]["of"] == run.trials["fingerprint"].iloc[1]
    assert summary["fingerprint"] == run.trials["proxy_fingerprint"].iloc[1]


def test_export_of_a_pick_without_weights(searched: tuple[Path, Result], tmp_path: Path) -> None:
    result = nas(
        "export", searched[0], "--pick", "best", "--format", "json", "--out", tmp_path / "o"
    )
    assert result.code == 0, result.err
    run = open_run(searched[0])
    best = run.trials.sort_values(["error", "macs"])["fingerprint"].iloc[0]
    text = (tmp_path / "o" / "architecture.json").read_text()
    assert Architecture.from_json(text).fingerprint == best
    cost = nas("cost", tmp_path / "o", "--json")
    assert cost.data["image"] == [1, 12, 12]
    assert cost.data["classes"] == 2


def test_resume_goes_on_with_what_was_recorded(tmp_path: Path) -> None:
    make_run(tmp_path, "own", trials=2)
    refused = nas("search", "--name", "own", "--resume", "--results", tmp_path, "--trials", 3)
    assert refused.code == 2
    assert "function" in refused.err


def test_resume_adds_trials(searched: tuple[Path, Result], images: str) -> None:
    path, _ = searched
    before = open_run(path).trials
    words = ["search", "--name", "first", "--resume", "--results", path.parent, "--workers", 1]
    # What was given before may be given again, in part; what differs is refused.
    result = nas(*words, "--data", images, "--epochs", 2, "--trials", 4)
    assert result.code == 0, result.err
    after = open_run(path).trials
    assert len(after) == 4
    assert after["fingerprint"].tolist()[:3] == before["fingerprint"].tolist()
    refused = nas(*words, "--epochs", 3)
    assert refused.code == 2
    assert "task.proxy.epochs is 2 in the run and 3 now" in refused.err


def test_resume_takes_the_task_file_of_its_beginning(tmp_path: Path, images: str) -> None:
    task = tmp_path / "task.yaml"
    task.write_text("precision: auto\nproxy: {epochs: 1, width: 0.5}\n")
    words = ["--name", "filed", "--results", tmp_path, "--task", task, "--workers", 1]
    begun = nas("search", "tiny", "--data", images, *words, "--trials", 1)
    assert begun.code == 0, begun.err
    resumed = nas("search", *words, "--resume", "--trials", 2)
    assert resumed.code == 0, resumed.err
    assert len(open_run(tmp_path / "filed").trials) == 2


def test_plan_says_what_it_would_take_and_writes_nothing(
    tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["search", "tiny", "--data", images, "--name", "new", "--results", tmp_path / "r"]
    options = ["--precision", "float32", "--workers", 1, "--trials", 7, "--max-macs", "90K"]
    result = nas(*words, *options, "--plan")
    assert result.code == 0, result.err
    assert "7 trials" in result.out
    assert "1 on cpu, a trial at a time" in result.out
    assert "macs <= 90K" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    assert nas(*words, "--plan", "--resume").code == 2


def in_tiny() -> Architecture:
    """A member of the space, to begin a search with."""
    return SearchSpace.load("tiny").random(np.random.default_rng(4))


def test_every_option_of_search_reaches_the_run(tmp_path: Path, images: str) -> None:
    (tmp_path / "task.yaml").write_text("validation_images: 7\neta: 3\nproxy: {epochs: 3}\n")
    (tmp_path / "mine.json").write_text(in_tiny().to_json())
    storage = f"sqlite:///{tmp_path / 'runs.db'}"
    words = f"""
        search tiny --data {images} --name all --results {tmp_path} --storage {storage}
        --trials 1 --time 5m --objectives error,params,macs --sampler random --seed 3
        --seed-with {tmp_path}/mine.json --max-params 1M --max-activation-bytes 2M
        --task {tmp_path}/task.yaml --image 16 --resolution 10 --images 20
        --epochs 1 --recipe paper --precision float32 --device cpu --workers 1
    """
    result = nas(*shlex.split(words))
    assert result.code == 0, result.err
    run = open_run(f"{storage}#all")
    settings, task = run.settings, json.loads(run.settings.task)
    assert settings.objectives == ("error", "params", "macs")
    assert (settings.sampler, settings.seed, settings.device) == ("random", 3, "cpu")
    assert settings.budgets == {"params": 1_000_000, "activation_bytes": 2_000_000}
    assert task["target"] == {"image": [1, 16, 16], "classes": 2}
    proxy = task["proxy"]
    assert (proxy["resolution"], proxy["images"], proxy["epochs"]) == (10, 20, 1)
    assert (task["validation_images"], task["eta"]) == (7, 3)
    assert task["recipe"]["name"] == "paper"
    assert run.trials["fingerprint"].tolist() == [in_tiny().fingerprint]
    shown = nas("show", f"{storage}#all")
    assert shown.code == 0
    assert f"'{storage}#all'" in shown.out or f"{storage}#all" in shown.out


def test_time_ends_a_search(tmp_path: Path, images: str) -> None:
    words = ["search", "tiny", "--data", images, "--name", "short", "--results", tmp_path]
    result = nas(*words, "--time", "1s", "--precision", "float32", "--workers", 1, "--epochs", 1)
    run = open_run(tmp_path / "short")
    assert run.ended is not None
    assert run.ended.kind == "time", run.ended
    # Far fewer than 64: without --trials nothing but the time is a limit.
    assert result.code == (0 if (run.trials["state"] == "complete").any() else 1)


def test_every_option_of_train_reaches_the_training(tmp_path: Path, images: str) -> None:
    (tmp_path / "mine.json").write_text(in_tiny().to_json())
    words = f"""
        train {tmp_path}/mine.json --data {images} --out {tmp_path}/out --epochs 1
        --recipe paper --resolution 10 --seed 4 --precision float32 --device cpu --threads 1
    """
    result = nas(*shlex.split(words))
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (found["seed"], found["image"], found["threads"]) == (4, [1, 10, 10], 1)
    assert found["recipe"]["name"] == "paper"
    assert found["precision"] == "float32"
    again = nas(*shlex.split(words))
    assert again.code == 2
    assert "finished" in again.err
    assert nas(*shlex.split(words), "--resume").code == 0


def test_train_of_a_pick_goes_into_the_run(searched: tuple[Path, Result]) -> None:
    path, _ = searched
    words = ["--epochs", 1, "--precision", "float32", "--threads", 1]
    result = nas("train", path, "--pick", "trial:0", *words)
    assert result.code == 0, result.err
    trained = Architecture.from_json((path / "trial0" / "architecture.json").read_text())
    assert trained == open_run(path).architecture(0)


def test_every_option_of_export_reaches_the_files(tmp_path: Path) -> None:
    words = ["export", "googlenet", "--out", tmp_path / "out", "--format", "json,source"]
    result = nas(*words, "--name", "mine", "--image", "1x96x96", "--classes", 4, "--auxiliary")
    assert result.code == 0, result.err
    text = (tmp_path / "out" / "network.py").read_text()
    assert text.startswith('"""mine: an Inception network for 1x96x96 images and 4 classes.')
    assert "forward_with_auxiliary" in text
    assert "already holds an export" in nas(*words).err
    replaced = nas(
        "export",
        "cifar_googlenet",
        "--out",
        tmp_path / "out",
        "--overwrite",
        "--json",
        "--format",
        "json",
    )
    assert replaced.code == 0, replaced.err
    assert replaced.data["largest_difference"] is None
    assert not (tmp_path / "out" / "network.py").exists()


def test_a_pick_is_trained_and_exported_at_the_target_of_its_run(
    tmp_path: Path, images: str
) -> None:
    words = f"""
        search tiny --data {images} --name wide --results {tmp_path} --trials 1 --epochs 1
        --image 1x16x20 --classes 5 --resolution 12 --precision float32 --workers 1
    """
    found = nas(*shlex.split(words))
    assert found.code == 0, found.err
    train, export = next_commands(found.out)
    done = nas(*train, "--epochs", 1, "--precision", "float32", "--threads", 1)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "wide" / "knee" / "training.json").read_text())
    row = open_run(tmp_path / "wide").trials.iloc[0]
    assert (report["image"], report["classes"]) == ([1, 16, 20], 5)
    assert (report["macs"], report["params"]) == (row["macs"], row["params"])
    exported = nas(*export)
    assert exported.code == 0, exported.err
    files = tmp_path / "wide" / "knee" / "export"
    assert json.loads((files / "export.json").read_text())["classes"] == 5
    other = nas(*train, "--out", tmp_path / "o", "--resolution", 10, "--classes", 1)
    assert other.code == 2
