"""Runs ``nas`` in this process, as tests of the command line do: fast, with its own streams."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.architecture import Architecture, Shape
from nas.cli import main
from nas.cost import count_cost
from nas.records import Run
from nas.search.launch import run_search
from nas.task import RECIPES, Proxy, Target, Task


@dataclass(frozen=True)
class Result:
    """What a command left: exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What was written, read as JSON."""
        return json.loads(self.out)


def nas(*words: object) -> Result:
    """Run ``nas`` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Result(code, out.getvalue(), err.getvalue())


def invented_error(architecture: Architecture, task: Task, seed: int) -> float:
    """An error that falls with cost, as trained networks' do; made up, at once."""
    cost = count_cost(architecture, task.target.image, task.target.classes)
    return 0.9 / (1 + math.log10(cost.macs) / 4) + int(architecture.fingerprint, 16) % 97 / 1000


def make_run(results: Path, name: str = "first", trials: int = 12) -> Run:
    """A finished run of the tiny space with invented errors; takes a second."""
    images = Shape(1, 28, 28)
    task = Task(
        data="fashion-mnist-mini",
        target=Target(image=images, classes=10),
        proxy=Proxy(epochs=2),
        recipe=RECIPES["default"],
        precision="float32",
        validation_images=100,
    )
    return run_search(
        "tiny", task, name=name, results=results, trials=trials, evaluate=invented_error
    )


def make_images(directory: Path, classes: int = 2, images: int = 24, side: int = 12) -> Path:
    """A folder of grey PNG images that can be told apart: train and test, a folder a class."""
    rng = np.random.default_rng(0)
    for split, number in (("train", images), ("test", images // 2)):
        for label in range(classes):
            folder = directory / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 120, (side, side)) + 120 * label // max(classes - 1, 1)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return directory
