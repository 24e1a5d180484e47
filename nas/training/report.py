"""What a full training gave: the content of ``training.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TrainingReport:
    """What a full training gave; ``training.json`` holds the same.

    ``accuracy`` and ``loss`` were measured once, on ``measured_on``: "test", or "held-out" where
    the data has no test split (a tenth of the training images, kept from training).
    ``accuracy_interval`` is Wilson's, at 95 %: how far the accuracy on other images of the same
    kind may lie, for these very weights; another seed's weights are not in it.

    ``weights`` says which weights these are: "best" by the validation part's accuracy, of epoch
    ``best_epoch``, or "last" where there is no such part (``num_validation`` 0). ``is_averaged``
    says that they are the recipe's moving average. ``num_train`` images were trained on.

    Costs are for one image without auxiliary heads; ``seconds`` add up over interruptions.
    ``origin`` says where the architecture is from: a run and its trial, a preset, or a file.
    """

    data: str
    accuracy: float
    loss: float
    measured_on: str
    num_train: int
    num_measured: int
    image: list[int]
    classes: int
    class_names: list[str]
    mean: list[float]
    std: list[float]
    fingerprint: str
    macs: int
    params: int
    activation_bytes: int
    recipe: dict[str, Any]
    epochs: int
    seed: int
    precision: str
    train_losses: list[float]
    seconds: float
    device: str
    threads: int
    versions: dict[str, str]
    accuracy_interval: list[float] = field(default_factory=list)
    weights: str = "last"
    best_epoch: int | None = None
    is_averaged: bool = False
    num_validation: int = 0
    validation_losses: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    processes: int = 1
    origin: dict[str, Any] = field(default_factory=dict)


def accuracy_interval(accuracy: float, num_images: int, level: float = 0.95) -> list[float]:
    """Wilson's interval of a share of ``num_images`` images (E. B. Wilson, JASA 1927)."""
    from scipy.stats import binomtest

    right = round(accuracy * num_images)
    interval = binomtest(right, num_images).proportion_ci(level, method="wilson")
    return [float(interval.low), float(interval.high)]
