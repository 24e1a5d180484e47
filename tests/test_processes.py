"""Two real processes over gloo: the same images, nearly the same losses, one writer, resuming.

They are started by torchrun, as users do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import IMAGE, small_architecture, small_split
from test_full_training import write_images

from nas.architecture import Architecture, Norm
from nas.task import RECIPES
from nas.training.epoch import EpochTensors
from nas.training.order import Batches
from nas.training.processes import PATIENCE, Processes, launched_processes

ROOT = Path(__file__).parents[1]
RECIPE = {
    "batch_size": 16,
    "learning_rate": 0.1,
    "augment": "crop-flip",
    "cutout": 0.3,
    "operations": 1,
    "magnitude": 0.3,
    "ema_decay": 0.9,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    split = small_split(140)
    write_images(split.take(torch.arange(100)), root / "images" / "train")
    write_images(split.take(torch.arange(100, 140)), root / "images" / "test")
    (root / "recipe.yaml").write_text(json.dumps(RECIPE))
    return root


def write_architecture(place: Path, *, norm: str) -> Architecture:
    architecture = replace(small_architecture(dropout=0.0), auxiliary=())
    if norm == "none":
        architecture = replace(architecture, norm=Norm("none"))
    (place / f"{norm}.json").write_text(architecture.to_json())
    return architecture


def words(place: Path, norm: str, out: str, *more: str) -> list[str]:
    return [
        *("train", str(place / f"{norm}.json"), "--data", f"folder:{place / 'images'}"),
        *("--recipe", str(place / "recipe.yaml"), "--epochs", "6", "--validation", "20"),
        *("--precision", "float32", "--device", "cpu", "--threads", "1"),
        *("--out", str(place / out), *more),
    ]


def start(
    place: Path, arguments: list[str], processes: int, script: str = ""
) -> subprocess.Popen[str]:
    """``nas`` with these arguments, or a script in its place, in so many processes."""
    program = ["-m", "nas"]
    if script:
        program = [str(place / "script.py")]
        (place / "script.py").write_text(script)
    if processes > 1:
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        program = ["-m", *launcher, *program]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *program, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NAS_CACHE": str(place / "cache"),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place: Path, arguments: list[str], processes: int) -> tuple[str, str]:
    process = start(place, arguments, processes)
    out, err = process.communicate(timeout=550)
    assert process.returncode == 0, err
    return out, err


def training_of(place: Path, out: str) -> dict[str, object]:
    content = json.loads((place / out / "training.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_train_as_one_does(place: Path) -> None:
    write_architecture(place, norm="none")
    run(place, words(place, "none", "one"), 1)
    out, err = run(place, words(place, "none", "two"), 2)
    one, two = training_of(place, "one"), training_of(place, "two")
    assert two["train_losses"] == pytest.approx(one["train_losses"], rel=1e-4)
    assert two["validation_losses"] == pytest.approx(one["validation_losses"], rel=1e-4)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert (one["processes"], two["processes"]) == (1, 2)
    weights = [load_file(place / name / "weights.safetensors") for name in ("one", "two")]
    for name, item in weights[0].items():
        torch.testing.assert_close(item, weights[1][name], rtol=1e-3, atol=1e-4)
    # Only the first one tells: an epoch is one line, and the result stands there once.
    assert sum("epoch 6/6" in line for line in err.splitlines()) == 1
    assert out.count("test accuracy") == 1


KILLED = """
import os, signal, sys
from nas.cli import main
from nas.training.result_files import ResultFiles

write = ResultFiles.write_checkpoint


def and_die(files, state):
    write(files, state)
    if state["training"]["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)


ResultFiles.write_checkpoint = and_die
sys.exit(main(sys.argv[1:]))
"""
"""The first process is killed when it has written its second checkpoint, however fast it is."""

APART = """
import os, sys
from nas.cli import main

words = sys.argv[1:]
if os.environ["RANK"] == "1":
    words[words.index("--out") + 1] += "-elsewhere"
sys.exit(main(words))
"""
"""Machines that share no disk: the second process looks for its checkpoint elsewhere."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_killed_go_on_bit_for_bit(place: Path) -> None:
    write_architecture(place, norm="batch")
    run(place, words(place, "batch", "whole"), 2)
    killed = start(place, words(place, "batch", "parts"), 2, KILLED)
    _, err = killed.communicate(timeout=550)
    assert killed.returncode != 0
    checkpoint = place / "parts" / "checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["training"]["epoch"] == 2, err
    assert not (place / "parts" / "training.json").exists()

    apart = start(place, words(place, "batch", "parts", "--resume"), 2, APART)
    _, err = apart.communicate(timeout=550)
    assert apart.returncode != 0
    assert "found checkpoints of different epochs, [2, 0]" in err
    run(place, words(place, "batch", "parts", "--resume"), 2)
    whole, parts = training_of(place, "whole"), training_of(place, "parts")
    assert whole["train_losses"] == parts["train_losses"]
    one, two = (load_file(place / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    refused = start(place, words(place, "batch", "parts", "--resume"), 1)
    _, err = refused.communicate(timeout=550)
    assert refused.returncode == 2
    assert "with processes 2, not None" in err


# Without processes: the seam by itself


def test_a_batch_is_cut_into_the_parts_of_one_processs_batch() -> None:
    recipe = RECIPES["default"].model_validate({**RECIPES["cifar"].model_dump(), "batch_size": 12})
    batches = Batches.plan(60, 12)
    device = torch.device("cpu")
    alone = EpochTensors(batches, IMAGE, recipe, 2, device)
    parts = [
        EpochTensors(batches, IMAGE, recipe, 2, device, Processes(rank, 3)) for rank in range(3)
    ]
    for tensors in (alone, *parts):
        tensors.fill(seed=5, epoch=1)
    for name in ("rows", "flips", "crops", "blanks", "strengths"):
        whole = getattr(alone, name)
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], 1), whole)
        assert whole.any()
    for name in ("rates", "decays"):
        assert all(torch.equal(getattr(part, name), getattr(alone, name)) for part in parts)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 10 images cannot be shared equally by 4"):
        Processes(0, 4).part(10)


def test_half_of_torchruns_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(ValueError, match="start several processes with torchrun"),
        launched_processes("cpu"),
    ):
        raise AssertionError("it was started")


def test_processes_wait_longer_for_one_another_than_torch_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first prepares a large data set alone: that may take hours, and torch waits minutes."""
    asked: dict[str, object] = {}

    def remember(backend: str, **options: object) -> None:
        asked.update(backend=backend, **options)

    names = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.distributed, "init_process_group", remember)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with launched_processes("cpu") as processes:
        assert processes == Processes(1, 2, 1, 2)
    assert asked == {"backend": "gloo", "timeout": PATIENCE}
