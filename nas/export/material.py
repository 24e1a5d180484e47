"""What there is to export: a network of ``nas train``, or the proxy that a search trained.

A search keeps no weights. A proxy's training is deterministic (architecture, task, seed), so it
is trained again, and its error compared with the recorded one. Left out: architectures without
weights, for which :func:`nas.export.export_architecture` needs nothing from here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, Shape
from nas.export.card import CARD
from nas.export.source import Preprocessing
from nas.task import Task, proxy

if TYPE_CHECKING:
    from torch import Tensor

    from nas.evaluate import RungResult
    from nas.records import Run

TRAINING = "training.json"

_SHOWN = ("data", "accuracy", "measured_on", "epochs", "seed", "precision", "recipe", "versions")


@dataclass(frozen=True)
class Material:
    """A network with its weights and all that belongs to it; ``card`` is its MODEL_CARD.md."""

    architecture: Architecture
    image: Shape
    classes: int
    weights: Path | Mapping[str, Tensor]
    preprocessing: Preprocessing
    details: Mapping[str, Any] = field(default_factory=dict)
    is_proxy: bool = False
    card: str | None = None


def is_trained(directory: Path) -> bool:
    """Whether ``nas train`` has written here, finished or not."""
    return any((directory / name).is_file() for name in (TRAINING, "checkpoint.pt"))


def read_trained(directory: Path) -> Material:
    """The network that ``nas train`` left in a directory.

    Raises:
        ValueError: there is none, it is not finished, or a file is damaged; the message names it.
    """
    if not (directory / TRAINING).is_file():
        what = "the training is not finished: end it with --resume of nas train (or nas confirm)"
        raise ValueError(
            f"{directory}: {what if is_trained(directory) else f'holds no {TRAINING}'}"
        )
    weights = directory / "weights.safetensors"
    if not weights.is_file():
        raise ValueError(f"{directory}: holds no {weights.name}")
    path = directory / "architecture.json"
    try:
        architecture = Architecture.from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    found = _read_training(directory / TRAINING)
    names = tuple(found["class_names"])
    if found["fingerprint"] != architecture.fingerprint:
        raise ValueError(f"{directory}: {TRAINING} is about another architecture than {path.name}")
    return Material(
        architecture=architecture,
        image=Shape(*found["image"]),
        classes=found["classes"],
        weights=weights,
        preprocessing=Preprocessing(
            # A classifier for more classes than the data has: the rest have no names.
            names if len(names) == found["classes"] else (),
            tuple(found["mean"]),
            tuple(found["std"]),
        ),
        details={"training": {name: found.get(name) for name in _SHOWN}},
        card=_read_card(directory / CARD),
    )


def trained_as(architecture: Architecture, directory: Path) -> Material:
    """The network of a directory of ``nas train``, if it is this one.

    Raises:
        ValueError: it is another, or none; the message names the directory.
    """
    material = read_trained(directory)
    if material.architecture != architecture:
        raise ValueError(
            f"{directory}: holds the weights of {material.architecture.fingerprint}, not of "
            f"{architecture.fingerprint}"
        )
    return material


def _read_card(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _read_training(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not complete JSON: {error}") from None
    for name in ("fingerprint", "image", "classes", "class_names", "mean", "std"):
        if not isinstance(found, dict) or name not in found:
            raise ValueError(f"{path}: holds no {name}")
    return found  # type: ignore[no-any-return]


def retrain_proxy(
    run: Run,
    number: int,
    *,
    device: str = "cpu",
    on_rung: Callable[[RungResult], None] | None = None,
) -> Material:
    """The narrowed network of a trial, trained again as the search trained it.

    ``details`` say which trial it is, its error now and the recorded one; on another machine or
    device the two may differ.

    Raises:
        ValueError: there is no such trial, or its run used a function of the caller's own.
        EvaluationFailed: the training fails.
    """
    from nas.datasets import measure_statistics
    from nas.evaluate import Evaluation
    from nas.search.workers import load_training_data

    if run.settings.evaluate is not None:
        raise ValueError(
            f"run {run.name!r} was judged by a function of its own: there is no proxy to export"
        )
    task = Task.from_json(run.settings.task)
    architecture = run.architecture(number)
    trial = run.trials.loc[run.trials["number"] == number].iloc[0]
    data = load_training_data(task, None)
    statistics = measure_statistics(data.train)
    evaluation = Evaluation(architecture, task, int(trial["seed"]), data, statistics, device)
    while not evaluation.done:
        result = evaluation.advance()
        if on_rung is not None:
            on_rung(result)
    error = evaluation.results[-1].error
    names = data.train.class_names
    return Material(
        architecture=proxy(architecture, task),
        image=task.proxy_image,
        classes=task.target.classes,
        # What its error was measured with: averaged weights, where the recipe has them.
        weights=evaluation.judged.state_dict(),
        preprocessing=Preprocessing(
            tuple(names) if len(names) == task.target.classes else (),
            tuple(statistics.mean),
            tuple(statistics.std),
        ),
        details={
            "proxy": {
                "run": run.name,
                "trial": number,
                "of": architecture.fingerprint,
                "data": task.data,
                "error": error,
                "recorded_error": None if trial["error"] != trial["error"] else trial["error"],
            }
        },
        is_proxy=True,
    )
