"""Training one network fully, at its own width, on all training images; what ``nas train`` runs.

The test split is read once, after the last epoch. A checkpoint after each epoch lets an
interrupted training go on. Left out: seeds and intervals over several trainings.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from nas.architecture import Architecture, check
from nas.cores import usable_cores
from nas.cost import count_cost
from nas.datasets import (
    DataInfo,
    Split,
    Statistics,
    carve,
    describe_data,
    load_data,
    measure_statistics,
)
from nas.datasets.loading import resized
from nas.task import RECIPES, Precision, Recipe, with_recipe
from nas.training.failures import memory_failures, memory_need
from nas.training.loop import Plan, Training
from nas.training.precision import resolve_precision
from nas.training.result_files import ResultFiles
from nas.training.threads import ThreadChooser
from nas.training.validation import Validation

DEFAULT_EPOCHS = 10

_TELL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class FullSettings:
    """All that the result of a full training depends on, but the machine.

    ``precision`` "auto" is resolved when the training starts. ``resolution`` is the side of
    square images, or height and width; None keeps the images' own size. ``classes`` are the
    classifier's: at least the data's, and None for just those.
    """

    data: str
    recipe: Recipe = RECIPES["default"]
    epochs: int = DEFAULT_EPOCHS
    resolution: int | tuple[int, int] | None = None
    seed: int = 0
    precision: Literal["auto"] | Precision = "auto"
    classes: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is; ``train_loss`` is the last whole epoch's, None before it."""

    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float | None
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class TrainingReport:
    """What a full training gave; ``training.json`` holds the same.

    ``accuracy`` and ``loss`` were measured once, on ``measured_on``: "test", or "held-out" where
    the data has no test split (a tenth of the training images, kept from training). Costs are
    for one image without auxiliary heads; ``seconds`` add up over interruptions.
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


def train_architecture(
    architecture: Architecture,
    settings: FullSettings,
    *,
    out: Path,
    device: torch.device | str = "cpu",
    threads: int | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingReport:
    """Train on all training images and measure once on the test split.

    Writes ``architecture.json``, ``weights.safetensors`` (under the plain network's names) and,
    last, ``training.json`` into ``out``; each appears whole or not at all. ``checkpoint.pt`` is
    replaced after every epoch; with ``resume`` a training of the same settings goes on from it,
    and a finished one is returned as it is. ``threads`` None takes every
    core, or one where that is faster at the moment (:mod:`nas.training.threads`).

    Raises:
        ValueError: wrong settings or data; ``out`` holds a training and ``resume`` is false; or
            the training in ``out`` is another one: the message says what differs.
        TrainingFailed: a loss that is not finite, or out of memory.
        OSError: the files cannot be written.
    """
    files = ResultFiles(out)
    identity = _identity(architecture, settings)
    finished = _finished(files, identity, resume)
    if finished is not None:
        return finished
    saved = _checkpoint(files, identity, resume)
    with _restored_threads():
        torch.set_num_threads(threads or usable_cores())
        job = _Job(architecture, settings, torch.device(device), saved, on_progress)
        job.chooses_threads = threads is None and job.device.type == "cpu"
        return job.run(files, identity)


class _Job:
    """One call of :func:`train_architecture`, after its checks of ``out``."""

    def __init__(
        self,
        architecture: Architecture,
        settings: FullSettings,
        device: torch.device,
        saved: dict[str, Any] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.start = time.perf_counter()
        self.architecture, self.settings, self.device = architecture, settings, device
        self.saved, self.on_progress = saved, on_progress
        self.chooses_threads = False
        self.chooser: ThreadChooser | None = None
        self.seconds_before = saved["seconds"] if saved else 0.0
        self.losses: list[float] = list(saved["train_losses"]) if saved else []
        precision = saved["precision"] if saved else settings.precision
        self.precision = resolve_precision(precision, device)
        self.info = describe_data(settings.data)
        self.trained = with_recipe(architecture, settings.recipe)
        self.classes = _classes(self.info, settings.classes)
        self.image = resized(self.info.image, settings.resolution)
        # Before images are read: a network that does not fit them is a matter of milliseconds.
        check(self.trained, self.image)

    def run(self, files: ResultFiles, identity: dict[str, Any]) -> TrainingReport:
        train = self._train_split()
        statistics = measure_statistics(train)
        with memory_failures(self._need):
            training = self._train(train.to(self.device), statistics, files, identity)
        held_out = self._measured_split().to(self.device)
        with memory_failures(self._need):
            measured = training.validate(held_out)
        report = self._report(train, statistics, len(held_out), measured)
        weights = training.network.state_dict()
        content = {**asdict(report), "identity": identity}
        files.write_results(self.architecture.to_json(indent=2), weights, content)
        return report

    def _train_split(self) -> Split:
        train = load_data(self.settings.data, resolution=self.settings.resolution, split="train")
        if self.info.num_test is not None:
            return train
        return carve(train, max(1, len(train) // 10)).train

    def _measured_split(self) -> Split:
        name, resolution = self.settings.data, self.settings.resolution
        if self.info.num_test is not None:
            return load_data(name, resolution=resolution, split="test")
        train = load_data(name, resolution=resolution, split="train")
        return carve(train, max(1, len(train) // 10)).validation

    def _train(
        self, split: Split, statistics: Statistics, files: ResultFiles, identity: dict[str, Any]
    ) -> Training:
        plan = Plan(self.settings.recipe, self.precision, self.classes, self.settings.epochs)
        training = Training(self.trained, split, statistics, plan, self.settings.seed)
        if self.saved is not None:
            training.load_state_dict(self.saved["training"])
        teller = _Teller(training, self.on_progress, self.losses)
        if self.chooses_threads:
            self.chooser = ThreadChooser(usable_cores())

        def after_step(step: int) -> None:
            if self.chooser is not None:
                self.chooser()
            teller(step)

        while training.epoch < self.settings.epochs:
            self.losses.append(training.run_epoch(after_step).loss)
            files.write_checkpoint(
                {
                    "identity": identity,
                    "precision": self.precision,
                    "training": training.state_dict(),
                    "train_losses": self.losses,
                    "seconds": self._seconds(),
                }
            )
        return training

    def _report(
        self, train: Split, statistics: Statistics, num_measured: int, measured: Validation
    ) -> TrainingReport:
        cost = count_cost(self.architecture, train.image, self.classes)
        return TrainingReport(
            data=self.settings.data,
            accuracy=1 - measured.error,
            loss=measured.loss,
            measured_on="held-out" if self.info.num_test is None else "test",
            num_train=len(train),
            num_measured=num_measured,
            image=list(train.image),
            classes=self.classes,
            class_names=list(train.class_names),
            mean=list(statistics.mean),
            std=list(statistics.std),
            fingerprint=self.architecture.fingerprint,
            macs=cost.macs,
            params=cost.params,
            activation_bytes=cost.activation_bytes,
            recipe=self.settings.recipe.model_dump(mode="json"),
            epochs=self.settings.epochs,
            seed=self.settings.seed,
            precision=self.precision,
            train_losses=list(self.losses),
            seconds=self._seconds(),
            device=_device_name(self.device),
            threads=self.chooser.most_used if self.chooser else torch.get_num_threads(),
            versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.start

    def _need(self) -> str:
        batch = self.settings.recipe.batch_size
        return memory_need(self.trained, self.image, self.classes, batch, self.precision)


class _Teller:
    """Turns steps into :class:`Progress`, at most five times a second and at epochs' ends."""

    def __init__(
        self,
        training: Training,
        tell: Callable[[Progress], None] | None,
        losses: list[float],
    ) -> None:
        self._training, self._tell, self._losses = training, tell, losses
        self._start = self._told = time.perf_counter()
        self._steps_before = training.epoch * training.batches.steps

    def __call__(self, step: int) -> None:
        now, batches = time.perf_counter(), self._training.batches
        if self._tell is None or (step < batches.steps and now - self._told < _TELL_SECONDS):
            return
        self._told = now
        epochs = self._training.plan.epochs
        done = self._training.epoch * batches.steps + step
        seconds_a_step = (now - self._start) / (done - self._steps_before)
        self._tell(
            Progress(
                epoch=self._training.epoch + 1,
                epochs=epochs,
                step=step,
                steps=batches.steps,
                train_loss=self._losses[-1] if self._losses else None,
                images_per_second=batches.size / seconds_a_step,
                seconds_left=seconds_a_step * (epochs * batches.steps - done),
            )
        )


def _identity(architecture: Architecture, settings: FullSettings) -> dict[str, Any]:
    """What a checkpoint must agree with, as JSON has it; "auto" agrees with what it became."""
    resolution = settings.resolution
    return {
        "architecture": architecture.fingerprint,
        "data": settings.data,
        "recipe": settings.recipe.model_dump(mode="json"),
        "epochs": settings.epochs,
        "resolution": list(resolution) if isinstance(resolution, tuple) else resolution,
        "classes": settings.classes,
        "seed": settings.seed,
        "precision": settings.precision,
    }


def _finished(files: ResultFiles, identity: dict[str, Any], resume: bool) -> TrainingReport | None:
    content = files.training()
    if content is None:
        return None
    if not resume:
        raise ValueError(f"{files.folder} holds a finished training: take another directory")
    _check_same(files.folder, content.pop("identity", None), identity)
    return TrainingReport(**content)


def _checkpoint(
    files: ResultFiles, identity: dict[str, Any], resume: bool
) -> dict[str, Any] | None:
    saved = files.checkpoint()
    if saved is None:
        return None
    if not resume:
        raise ValueError(
            f"{files.folder} holds an unfinished training: resume it or take another directory"
        )
    _check_same(files.folder, saved.get("identity"), identity)
    return saved


def _check_same(folder: Path, saved: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        before = (saved or {}).get(name)
        if before != value:
            raise ValueError(
                f"{folder} holds a training with another {name}: {before!r}, not {value!r}"
            )


def _classes(info: DataInfo, wanted: int | None) -> int:
    own = len(info.class_names)
    if wanted is not None and wanted < own:
        raise ValueError(f"classes must be at least the {own} of {info.name}, not {wanted}")
    return wanted or own


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.machine()


@contextmanager
def _restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
