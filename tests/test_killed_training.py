"""``nas train`` killed (SIGKILL) at random moments and resumed ends with the bits of one piece.

A real process each time. The moments are spread over its life: while it starts, trains,
validates, writes a checkpoint or its results; so some kills come before the first checkpoint.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import small_architecture, small_split
from test_full_training import write_images

ROOT = Path(__file__).parents[1]
EPOCHS = 20
KILLS = 4
RECIPE = {
    "batch_size": 16,
    "augment": "crop-flip",
    "cutout": 0.3,
    "operations": 1,
    "magnitude": 0.3,
    "ema_decay": 0.95,
}


def start(place: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "nas", "train", str(place / "architecture.json")),
            *("--data", f"folder:{place / 'images'}", "--recipe", str(place / "mine.yaml")),
            *("--epochs", str(EPOCHS), "--validation", "20", "--precision", "float32"),
            # Neither the number of threads nor anything else that matters is given.
            *("--tensorboard", "--device", "cpu", "--out", str(out), *more),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NAS_CACHE": str(place / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, err = process.communicate(timeout=550)
    assert process.returncode == 0, err.decode()


def steps_of(folder: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [item.step for item in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    split = small_split(140)
    write_images(split.take(torch.arange(100)), tmp_path / "images" / "train")
    write_images(split.take(torch.arange(100, 140)), tmp_path / "images" / "test")
    (tmp_path / "mine.yaml").write_text(json.dumps(RECIPE))
    (tmp_path / "architecture.json").write_text(small_architecture().to_json())
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finish(start(tmp_path, whole))

    seed = int.from_bytes(os.urandom(4), "big")
    moments = random.Random(seed)
    epochs_at_kills: list[int] = []
    # At least one in the midst; on a busy machine some come too late, when all is trained.
    for _ in range(8 * KILLS):
        if len(epochs_at_kills) >= KILLS and any(0 < e < EPOCHS for e in epochs_at_kills):
            break
        if (parts / "training.json").exists():
            shutil.rmtree(parts)
            epochs_at_kills.clear()
        epochs_at_kills.append(killed_at_random(tmp_path, parts, moments))
    said = f"seed {seed}: killed after epochs {epochs_at_kills}"
    assert any(0 < epoch < EPOCHS for epoch in epochs_at_kills), said
    finish(start(tmp_path, parts, "--resume"))

    for name in ("weights.safetensors", "last.safetensors"):
        one, two = load_file(whole / name), load_file(parts / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), said
    first, second = (json.loads((out / "training.json").read_text()) for out in (whole, parts))
    for name in ("train_losses", "validation_losses", "accuracy", "loss", "best_epoch"):
        assert first[name] == second[name], said
    assert sorted(item.name for item in parts.iterdir()) == sorted(
        item.name for item in whole.iterdir()
    )
    steps = steps_of(parts / "tensorboard")
    assert steps == steps_of(whole / "tensorboard"), said
    assert steps["loss/train"] == steps["accuracy/validation"] == list(range(1, EPOCHS + 1))
    assert steps["accuracy/test"] == [EPOCHS]


def killed_at_random(place: Path, out: Path, moments: random.Random) -> int:
    """Start or go on, kill within some epochs; how many epochs the checkpoint then holds."""
    checkpoint = out / "checkpoint.pt"
    before = changed_at(checkpoint)
    process = start(place, out, "--resume")
    # A random number of checkpoints is awaited, and then a random part of an epoch.
    for _ in range(moments.randrange(4)):
        while changed_at(checkpoint) == before and process.poll() is None:
            time.sleep(0.001)
        before = changed_at(checkpoint)
    time.sleep(moments.random() * 0.2)
    process.kill()
    process.communicate(timeout=240)
    if not checkpoint.exists():
        return EPOCHS if (out / "training.json").exists() else 0
    return int(torch.load(checkpoint, weights_only=True)["training"]["epoch"])


def changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
