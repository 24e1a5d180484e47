"""Training one network fully, at its own width, on all training images; what ``nas train`` runs.

The test split is read once, after the last epoch, and nothing is chosen by it. A checkpoint after
each epoch lets an interrupted training go on. Left out: seeds and intervals over several
trainings.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

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
from nas.training.history import History
from nas.training.loop import Plan, Training, host_copy
from nas.training.model_card import model_card
from nas.training.precision import resolve_precision
from nas.training.processes import ALONE, Processes
from nas.training.report import TrainingReport, accuracy_interval
from nas.training.result_files import ResultFiles
from nas.training.telling import Progress, Teller
from nas.training.tensorboard import FOLDER, CurveLog, check_tensorboard
from nas.training.threads import ThreadChooser
from nas.training.validation import Validation

DEFAULT_EPOCHS = 10

_CARVE_SEED = 0
"""The same images validate whatever the training's seed: seeds can be compared."""


@dataclass(frozen=True, slots=True)
class FullSettings:
    """All that the result of a full training depends on, but the machine.

    ``precision`` "auto" is resolved when the training starts. ``resolution`` is the side of
    square images, or height and width; None keeps the images' own size. ``classes`` are the
    classifier's: at least the data's, and None for just those. ``validation_images`` are carved
    from the training images to choose the best epoch by; 0 trains on all images.
    """

    data: str
    recipe: Recipe = RECIPES["default"]
    epochs: int = DEFAULT_EPOCHS
    resolution: int | tuple[int, int] | None = None
    seed: int = 0
    precision: Literal["auto"] | Precision = "auto"
    classes: int | None = None
    validation_images: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")
        if self.validation_images < 0:
            raise ValueError(f"validation_images must be at least 0, not {self.validation_images}")


def train_architecture(  # noqa: PLR0913 - the whole of a training in one call
    architecture: Architecture,
    settings: FullSettings,
    *,
    out: Path,
    device: torch.device | str = "cpu",
    threads: int | Literal["auto"] | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    origin: Mapping[str, Any] | None = None,
    processes: Processes = ALONE,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingReport:
    """Train on all training images and measure once on the test split.

    Writes ``architecture.json``, ``weights.safetensors`` (under the plain network's names),
    ``MODEL_CARD.md`` and, last, ``training.json`` into ``out``; each appears whole or not at all.
    With validation images the weights are those of the best epoch on them, and
    ``last.safetensors`` holds the last ones. ``checkpoint.pt`` is replaced after every epoch;
    with ``resume`` a training of the same settings goes on from it, on a processor bit for bit,
    and a finished one is returned as it is.

    ``threads`` None takes what the checkpoint was trained with, else OMP_NUM_THREADS where it is
    set, else every core: other numbers round differently. "auto" takes one where that is faster
    at the moment (:mod:`nas.training.threads`): the bits then depend on what else the machine
    does.
    ``tensorboard`` writes curves into a folder of that name. ``origin`` is noted in the results.
    Of several ``processes`` each makes this call; the first writes and tells.

    Raises:
        ValueError: wrong settings or data; ``out`` holds a training and ``resume`` is false; or
            the training in ``out`` is another one: the message says what differs.
        TrainingFailed: a loss that is not finite, or out of memory.
        OSError: the files cannot be written.
    """
    files = ResultFiles(out)
    identity = _identity(architecture, settings, processes)
    finished = _finished(files, identity, resume)
    if finished is not None:
        return finished
    saved = _checkpoint(files, identity, resume)
    if tensorboard:
        check_tensorboard()
    with _restored_threads():
        wanted = threads or (saved or {}).get("threads")
        chooses = wanted == "auto" and torch.device(device).type == "cpu"
        cores = _cores(processes)
        torch.set_num_threads(wanted if isinstance(wanted, int) else cores)
        job = _Job(architecture, settings, torch.device(device), saved, on_progress)
        job.chooser = ThreadChooser(cores) if chooses else None
        job.processes, job.origin = processes, dict(origin or {})
        with ExitStack() as stack:
            if processes.is_first:
                stack.enter_context(files.claimed())
            return job.run(files, identity, tensorboard=tensorboard)


class _Job:
    """One call of :func:`train_architecture`, after its checks of ``out``."""

    processes = ALONE
    chooser: ThreadChooser | None = None
    origin: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}

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
        self.seconds_before = saved["seconds"] if saved else 0.0
        self.history = History.from_state_dict(saved["history"]) if saved else History()
        precision = saved["precision"] if saved else settings.precision
        self.precision = resolve_precision(precision, device)
        self.info = describe_data(settings.data)
        self.trained = with_recipe(architecture, settings.recipe)
        self.classes = _classes(self.info, settings.classes)
        self.image = resized(self.info.image, settings.resolution)
        # Before images are read: a network that does not fit them is a matter of milliseconds.
        check(self.trained, self.image)

    def run(
        self, files: ResultFiles, identity: dict[str, Any], *, tensorboard: bool
    ) -> TrainingReport:
        # Measured where it is "auto": each process could find another.
        self.precision = self.processes.of_first(self.precision)
        with self.processes.first_alone():  # it also prepares the images for the others
            train, validation = self._parts()
        statistics = measure_statistics(train)
        self._check_data(files.folder, {"images": len(train), **asdict(statistics)})
        with memory_failures(self._need), ExitStack() as stack:
            training = self._training(train.to(self.device), statistics)
            self._check_together(files.folder, training.epoch)
            log = None
            if tensorboard and self.processes.is_first:
                log = self._curve_log(files.folder / FOLDER, training)
                stack.callback(log.close)
            self._train(training, validation, files, identity, log)
            last, judged = self._choose_weights(training)
            held_out = self._measured_split().to(self.device)
            measured = training.validate(held_out)
            report = self._report(train, statistics, len(held_out), measured)
            if log is not None:
                log.write_measured(report.measured_on, report.accuracy, report.loss)
        if self.processes.is_first:
            content = {**asdict(report), "identity": identity}
            text = self.architecture.to_json(indent=2)
            card = model_card(content)
            files.write_results(text, judged, content, last_weights=last, card=card)
        return report

    def _check_data(self, folder: Path, seen: dict[str, Any]) -> None:
        """Refuse to go on with other images than those of before."""
        self.data = {name: list(v) if isinstance(v, tuple) else v for name, v in seen.items()}
        before = (self.saved or {}).get("data", self.data)
        changed = [name for name in self.data if before.get(name) != self.data[name]]
        if changed:
            name = changed[0]
            raise ValueError(
                f"{folder}: the training images have changed since it was interrupted: {name} was "
                f"{before.get(name)} and is {self.data[name]}; take another directory"
            )

    def _check_together(self, folder: Path, epoch: int) -> None:
        """Refuse processes that would go on from different epochs, and so wait for one another."""
        epochs = self.processes.gathered(epoch)
        if len(set(epochs)) > 1:
            raise ValueError(
                f"{folder}: the processes found checkpoints of different epochs, {epochs}: all of "
                f"them need the same directory"
            )

    def _parts(self) -> tuple[Split, Split | None]:
        """The images to train on, and those to choose the best epoch by."""
        train = load_data(self.settings.data, resolution=self.settings.resolution, split="train")
        if self.info.num_test is None:
            train = carve(train, max(1, len(train) // 10)).train
        if not self.settings.validation_images:
            return train, None
        parts = carve(train, self.settings.validation_images, _CARVE_SEED)
        return parts.train, parts.validation.to(self.device)

    def _measured_split(self) -> Split:
        name, resolution = self.settings.data, self.settings.resolution
        if self.info.num_test is not None:
            return load_data(name, resolution=resolution, split="test")
        train = load_data(name, resolution=resolution, split="train")
        return carve(train, max(1, len(train) // 10)).validation

    def _training(self, split: Split, statistics: Statistics) -> Training:
        plan = Plan(self.settings.recipe, self.precision, self.classes, self.settings.epochs)
        training = Training(
            self.trained, split, statistics, plan, self.settings.seed, self.processes
        )
        if self.saved is not None:
            training.load_state_dict(self.saved["training"])
        return training

    def _curve_log(self, folder: Path, training: Training) -> CurveLog:
        log = CurveLog(folder, self.settings.recipe, training.batches, self.settings.epochs)
        log.write(self.history)
        return log

    def _train(
        self,
        training: Training,
        validation: Split | None,
        files: ResultFiles,
        identity: dict[str, Any],
        log: CurveLog | None,
    ) -> None:
        history = self.history
        teller = Teller(
            training, self.on_progress, history.train_losses, history.validation_accuracies
        )

        def after_step(step: int) -> None:
            if self.chooser is not None:
                self.chooser()
            teller(step)

        while training.epoch < self.settings.epochs:
            result = training.run_epoch(after_step)
            history.train_losses.append(result.loss)
            history.seconds.append(result.seconds)
            if validation is not None and history.add_validation(training.validate(validation)):
                history.best = host_copy(training.judged)
            if self.processes.is_first:
                files.write_checkpoint(self._checkpoint(training, identity))
            if log is not None:
                log.write(history, first=training.epoch)

    def _checkpoint(self, training: Training, identity: dict[str, Any]) -> dict[str, Any]:
        return {
            "identity": identity,
            "precision": self.precision,
            "data": self.data,
            "threads": "auto" if self.chooser else torch.get_num_threads(),
            "training": training.state_dict(),
            "history": self.history.state_dict(),
            "seconds": self._seconds(),
        }

    def _choose_weights(
        self, training: Training
    ) -> tuple[dict[str, Tensor] | None, dict[str, Tensor]]:
        """The last weights where others are judged, and those that are: they are loaded."""
        last, best = host_copy(training.judged), self.history.best
        if best is None:
            return None, last
        training.judged.load_state_dict(best)
        return last, best

    def _report(
        self, train: Split, statistics: Statistics, num_measured: int, measured: Validation
    ) -> TrainingReport:
        cost = count_cost(self.architecture, train.image, self.classes)
        history, accuracy = self.history, 1 - measured.error
        return TrainingReport(
            data=self.settings.data,
            accuracy=accuracy,
            accuracy_interval=accuracy_interval(accuracy, num_measured),
            loss=measured.loss,
            measured_on="held-out" if self.info.num_test is None else "test",
            weights="last" if history.best is None else "best",
            best_epoch=history.best_epoch,
            is_averaged=self.settings.recipe.ema_decay is not None,
            num_train=len(train),
            num_measured=num_measured,
            num_validation=self.settings.validation_images,
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
            train_losses=list(history.train_losses),
            validation_losses=list(history.validation_losses),
            validation_accuracies=list(history.validation_accuracies),
            seconds=self._seconds(),
            device=_device_name(self.device),
            threads=self.chooser.most_used if self.chooser else torch.get_num_threads(),
            processes=self.processes.count,
            versions=_versions(),
            origin=dict(self.origin),
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.start

    def _need(self) -> str:
        batch = self.settings.recipe.batch_size // self.processes.count
        return memory_need(self.trained, self.image, self.classes, batch, self.precision)


def _identity(
    architecture: Architecture, settings: FullSettings, processes: Processes
) -> dict[str, Any]:
    """What a checkpoint must agree with, as JSON has it."""
    resolution = settings.resolution
    # Later settings, left out where they are as they always were.
    later = {}
    if settings.validation_images:
        later["validation_images"] = settings.validation_images
    if processes.count > 1:
        later["processes"] = processes.count
    return {
        "architecture": architecture.fingerprint,
        "data": settings.data,
        "recipe": settings.recipe.model_dump(mode="json"),
        "epochs": settings.epochs,
        "resolution": list(resolution) if isinstance(resolution, tuple) else resolution,
        "classes": settings.classes,
        "seed": settings.seed,
        "precision": settings.precision,
        **later,
    }


def _finished(files: ResultFiles, identity: dict[str, Any], resume: bool) -> TrainingReport | None:
    content = files.training()
    if content is None:
        return None
    if not resume:
        raise ValueError(f"{files.folder} holds a finished training: --out names another directory")
    _check_same(files.folder, content.pop("identity", None), identity, content.get("precision"))
    # An interruption may have come between the last file and this.
    files.drop_checkpoint()
    # A later version may say more of a training.
    known = {item.name for item in fields(TrainingReport)}
    return TrainingReport(**{name: value for name, value in content.items() if name in known})


def _checkpoint(
    files: ResultFiles, identity: dict[str, Any], resume: bool
) -> dict[str, Any] | None:
    saved = files.checkpoint()
    if saved is None:
        return None
    if not resume:
        raise ValueError(
            f"{files.folder} holds an unfinished training: go on with --resume, or --out names "
            f"another directory"
        )
    _check_same(files.folder, saved.get("identity"), identity, saved.get("precision"))
    if "history" not in saved:
        raise ValueError(f"{files.folder} holds a checkpoint of an earlier version; remove it")
    return saved


def _check_same(
    folder: Path, saved: dict[str, Any] | None, wanted: dict[str, Any], became: str | None
) -> None:
    """``became`` is the precision that the saved training has: "auto" agrees with it."""
    saved = dict(saved or {})
    if saved.get("precision") == "auto" and wanted["precision"] == became:
        saved["precision"] = became
    for name in [*wanted, *(name for name in saved if name not in wanted)]:
        before, value = saved.get(name), wanted.get(name)
        if before != value:
            raise ValueError(
                f"{folder} holds a training with {name} {before!r}, not {value!r}: leave that as "
                f"it was to go on, or --out names another directory"
            )


def _classes(info: DataInfo, wanted: int | None) -> int:
    own = len(info.class_names)
    if wanted is not None and wanted < own:
        raise ValueError(
            f"{info.name} has {own} classes, and the classifier would have {wanted}: take another "
            f"data set, or --classes {own} or more"
        )
    return wanted or own


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.machine()


def _cores(processes: Processes) -> int:
    """Threads of this process, unless told: as the environment says, else its part of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, usable_cores() // processes.local_count)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    try:
        found["inception-nas"] = version("inception-nas")
    except PackageNotFoundError:  # a checkout that was never installed
        found["inception-nas"] = "unknown"
    return found


@contextmanager
def _restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
