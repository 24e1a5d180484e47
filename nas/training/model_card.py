"""``MODEL_CARD.md``: what a trained network is, on what, how well, at what cost, and from where.

Written from ``training.json`` alone, so that it says what was recorded and nothing else. The
header is the one that Hugging Face reads. Left out: exports, which add their own proofs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.quantities import format_count, format_seconds
from nas.training.report import accuracy_interval
from nas.training.result_files import MODEL_CARD, TRAINING, ResultFiles

_UNSAID: dict[str, Any] = {
    "weights": "last",
    "best_epoch": None,
    "is_averaged": False,
    "num_validation": 0,
    "processes": 1,
    "origin": {},
}
"""What a ``training.json`` that does not say it means."""


def write_model_card(folder: Path) -> Path:
    """Write the card of a directory that holds a ``training.json``; returns the card's path.

    Raises:
        ValueError: there is none, or it is not complete.
        OSError: the card cannot be written.
    """
    content = ResultFiles(folder).training()
    if content is None:
        raise ValueError(f"{folder}: holds no {TRAINING}")
    ResultFiles(folder).write_card(model_card(content))
    return folder / MODEL_CARD


def model_card(training: Mapping[str, Any]) -> str:
    """The card as Markdown, from the content of a ``training.json``.

    Raises:
        ValueError: a field is missing; the message names it.
    """
    training = {**_UNSAID, **training}
    try:
        training["accuracy_interval"] = accuracy_interval(
            training["accuracy"], training["num_measured"]
        )
        sections = [
            _header(training),
            _summary(training),
            _accuracy(training),
            _data(training),
            _recipe(training),
            _cost(training),
            _provenance(training),
        ]
    except KeyError as error:
        raise ValueError(f"{TRAINING}: holds no {error.args[0]}") from None
    return "\n\n".join(sections) + "\n"


def _header(training: Mapping[str, Any]) -> str:
    dataset = str(training["data"])
    lines = ["---", "library_name: pytorch", "pipeline_tag: image-classification"]
    if dataset.startswith("hf:"):
        lines.append(f"datasets: [{json.dumps(dataset.removeprefix('hf:'))}]")
    return "\n".join([*lines, "tags: [inception, neural-architecture-search]", "---"])


def _summary(training: Mapping[str, Any]) -> str:
    channels, height, width = training["image"]
    return (
        f"# Inception network {training['fingerprint']}\n\n"
        f"An image classifier of Inception cells for {training['classes']} classes and images of "
        f"{channels} x {height} x {width} (channels, height, width). `architecture.json` describes "
        "the network and `weights.safetensors` holds its weights."
    )


def _accuracy(training: Mapping[str, Any]) -> str:
    accuracy, interval = training["accuracy"], training["accuracy_interval"]
    low, high = (100 * limit for limit in interval)
    last = "the last epoch"
    if training["weights"] == "best":
        last = (
            f"epoch {training['best_epoch']}, the best of {training['epochs']} on the validation "
            "images"
        )
    average = ", as a moving average (weights and batch norm's statistics)"
    rows = {
        "Top-1 accuracy": f"{100 * accuracy:.2f} %",
        "95 % interval": f"{low:.2f} to {high:.2f} % (Wilson; of the images measured, for these "
        "weights: other seeds' weights vary beyond it)",
        "Cross-entropy": f"{training['loss']:.4f}",
        "Measured on": f"{training['num_measured']:,} {training['measured_on']} images, "
        + _when(training["measured_on"]),
        "Weights of": last + (average if training["is_averaged"] else ""),
    }
    if training["best_epoch"] is not None:
        best = training["validation_accuracies"][training["best_epoch"] - 1]
        rows["Validation accuracy"] = (
            f"{100 * best:.2f} % (the highest of {training['epochs']} epochs, so optimistic)"
        )
    return "## Accuracy\n\n" + _table(rows)


def _when(measured_on: str) -> str:
    if measured_on == "validation":
        return "by which architectures were compared: those that won are flattered by it"
    return "once, after training; no choice was made by it"


def _data(training: Mapping[str, Any]) -> str:
    held = training["num_validation"]
    names = ", ".join(str(name) for name in training["class_names"][:20])
    more = len(training["class_names"]) - 20
    rows = {
        "Data set": f"`{training['data']}`",
        "Trained on": f"{training['num_train']:,} images",
        "Validated on": f"{held:,} images carved from the training split" if held else "none",
        "Classes": names + (f" and {more:,} more" if more > 0 else ""),
        "Normalisation": "pixels / 255, minus "
        + _numbers(training["mean"])
        + ", by "
        + _numbers(training["std"])
        + " (a channel each)",
    }
    return "## Data\n\n" + _table(rows)


def _recipe(training: Mapping[str, Any]) -> str:
    settings = {
        **training["recipe"],
        "epochs": training["epochs"],
        "precision": training["precision"],
        "processes": training["processes"],
    }
    shown = {name: f"`{json.dumps(value)}`" for name, value in settings.items()}
    return "## Recipe\n\n" + _table(shown)


def _cost(training: Mapping[str, Any]) -> str:
    rows = {
        "Multiply-adds": f"{training['macs']:,} ({format_count(training['macs'])}) an image",
        "Parameters": f"{training['params']:,} ({format_count(training['params'])})",
        "Activations": f"{training['activation_bytes']:,} bytes an image",
        "Training": f"{format_seconds(training['seconds'])} on {training['device']}",
    }
    return "## Cost\n\n" + _table(rows)


def _provenance(training: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    origin = {name.capitalize(): str(value) for name, value in training["origin"].items()}
    rows = {
        **origin,
        "Architecture": f"`{training['fingerprint']}`",
        "Seed": str(training["seed"]),
        "Versions": versions,
    }
    return "## Provenance\n\n" + _table(rows)


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {_cell(name)} | {_cell(text)} |" for name, text in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
