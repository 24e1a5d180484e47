"""What a worker does for a confirmation: a full training with checkpoints, or a measurement.

A training is an :class:`~nas.evaluate.Evaluation` whose task reduces nothing. After each epoch
its state goes to ``checkpoint.pt`` in a directory of its own; a job that begins there again goes
on from it, to the same bits. What it leaves is what ``nas train`` leaves: ``architecture.json``,
``weights.safetensors``, ``MODEL_CARD.md`` and ``training.json``, which appear whole or not at all.

Left out: which jobs there are and what becomes of them (:mod:`nas.confirm.driver`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nas.cost import count_cost
from nas.evaluate import Evaluation, RungResult
from nas.search.executor import Job
from nas.search.work import Begin, ProxyTraining, Running, prepare_processor
from nas.task import Precision, proxy
from nas.training.model_card import model_card
from nas.training.result_files import ResultFiles

if TYPE_CHECKING:
    from nas.datasets import Split, Statistics, TrainValidation

Folders: TypeAlias = Mapping[tuple[str, int], str]
"""The directory of a training by (fingerprint of the architecture, seed)."""


def folder_of(job: Job, folders: Folders) -> Path:
    """Where a job's training is kept."""
    return Path(folders[job.architecture.fingerprint, job.seed])


@dataclass(frozen=True)
class FullTraining:
    """Train the job's architecture in full, and leave a directory of a training.

    ``origins`` say where each architecture is from, by its fingerprint, for the model card.
    """

    data: TrainValidation
    statistics: Statistics
    folders: Folders
    origins: Mapping[str, Mapping[str, Any]]
    concurrency: int | None = None
    precision: Precision | None = None
    needs_main: bool = False

    def open(self, device: str, *, own_process: bool) -> Begin:
        """Prepare the process as for proxies."""
        proxies = ProxyTraining(
            self.data, self.statistics, self.concurrency, self.needs_main, self.precision
        )
        train = proxies.open(device, own_process=own_process)

        def begin(job: Job) -> Running:
            files = ResultFiles(folder_of(job, self.folders))
            results = finished_results(files, job)
            if results is not None:
                return _Finished(results[-1])
            evaluation = train(job)
            assert isinstance(evaluation, Evaluation)
            saved = files.checkpoint()
            if saved is not None:
                evaluation.load_state_dict(saved)
            return _CheckpointedTraining(job, evaluation, files, self)

        return begin


def finished_results(files: ResultFiles, job: Job) -> list[RungResult] | None:
    """The rungs of a training that was finished; None where it was not.

    Raises:
        ValueError: the directory holds another training, or a file is damaged.
    """
    content = files.training()
    if content is None:
        return None
    wanted = _identity(job)
    if content.get("confirmation") != wanted:
        raise ValueError(
            f"{files.folder} holds another training: {content.get('confirmation')!r}, not "
            f"{wanted!r}; remove it"
        )
    return [RungResult(**result) for result in content["results"]]


@dataclass(frozen=True)
class Begun:
    """What a checkpoint holds of a training: whole epochs, their seconds, the rungs passed."""

    epochs: int = 0
    seconds: float = 0.0
    results: tuple[RungResult, ...] = ()


NOT_BEGUN = Begun()


def begun_training(files: ResultFiles, job: Job) -> Begun:
    """How far a job's training came before it was interrupted; no epochs where it was not begun."""
    try:
        saved = files.checkpoint() or {}
    except (ValueError, OSError):
        return NOT_BEGUN  # the worker that is to go on from it says what is wrong
    if (saved.get("task"), saved.get("seed")) != (job.task.fingerprint, job.seed):
        return NOT_BEGUN
    results = tuple(RungResult(**result) for result in saved["results"])
    return Begun(saved["training"]["epoch"], saved["train_seconds"], results)


def _identity(job: Job) -> dict[str, Any]:
    return {
        "architecture": job.architecture.fingerprint,
        "task": job.task.fingerprint,
        "seed": job.seed,
    }


class _CheckpointedTraining:
    """A training that is saved after each epoch; see :class:`nas.search.work.Running`."""

    def __init__(
        self, job: Job, evaluation: Evaluation, files: ResultFiles, work: FullTraining
    ) -> None:
        self._job, self._evaluation, self._files, self._work = job, evaluation, files, work
        self._saved_epoch = evaluation.epoch
        self._is_written = False

    @property
    def share(self) -> float:
        return self._evaluation.share

    @share.setter
    def share(self, share: float) -> None:
        self._evaluation.share = share

    @property
    def done(self) -> bool:
        return self._is_written

    @property
    def is_busy(self) -> bool:
        return self._evaluation.is_busy

    @property
    def steps_done(self) -> int:
        return self._evaluation.steps_done

    @property
    def setup_seconds(self) -> float:
        return self._evaluation.setup_seconds

    @property
    def device_bytes(self) -> int:
        return self._evaluation.device_bytes

    def turn(self) -> RungResult | None:
        """Train on; an epoch's end is saved, the last rung's result comes with its files."""
        result = self._evaluation.turn()
        if self._evaluation.done:
            self._write_results()
        elif self._evaluation.epoch > self._saved_epoch:
            self._files.write_checkpoint(self._evaluation.state_dict())
            self._saved_epoch = self._evaluation.epoch
        return result

    def close(self) -> None:
        self._evaluation.close()

    def _write_results(self) -> None:
        weights, content = self._evaluation.judged.state_dict(), self._content()
        text = self._job.architecture.to_json(indent=2)
        self._files.write_results(text, weights, content, card=model_card(content))
        self._is_written = True

    def _content(self) -> dict[str, Any]:
        """What ``nas train`` writes of a training, measured on the validation images."""
        task, results = self._job.task, self._evaluation.results
        train, statistics = self._work.data.train, self._work.statistics
        cost = count_cost(self._job.architecture, task.target.image, task.target.classes)
        return {
            "data": task.data,
            "accuracy": 1 - results[-1].error,
            "loss": results[-1].validation_loss,
            "measured_on": "validation",
            "is_averaged": task.recipe.ema_decay is not None,
            "num_train": len(train),
            "num_measured": len(self._work.data.validation),
            "num_validation": len(self._work.data.validation),
            "image": list(task.target.image),
            "classes": task.target.classes,
            "class_names": list(train.class_names),
            "mean": list(statistics.mean),
            "std": list(statistics.std),
            "fingerprint": self._job.architecture.fingerprint,
            "macs": cost.macs,
            "params": cost.params,
            "activation_bytes": cost.activation_bytes,
            "recipe": task.recipe.model_dump(mode="json"),
            "epochs": task.proxy.epochs,
            "seed": self._job.seed,
            "precision": task.precision,
            "train_losses": list(self._evaluation.train_losses),
            "seconds": results[-1].train_seconds,
            "device": self._device_name(),
            "threads": self._threads(),
            "versions": _versions(),
            "origin": dict(self._work.origins[self._job.architecture.fingerprint]),
            "results": [asdict(result) for result in results],
            "confirmation": _identity(self._job),
        }

    def _threads(self) -> int:
        import torch

        # An evaluation computes on one thread of a processor, whatever the process has.
        return 1 if self._evaluation.device.type == "cpu" else torch.get_num_threads()

    def _device_name(self) -> str:
        import torch

        device = self._evaluation.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _versions() -> dict[str, str]:
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__)}


class _Finished:
    """A training whose files were there already: one turn."""

    share = 1.0
    is_busy = False
    device_bytes = steps_done = 0
    setup_seconds = 0.0

    def __init__(self, result: RungResult) -> None:
        self._result = result
        self.done = False

    def turn(self) -> RungResult:
        self.done = True
        return self._result

    def close(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True)
class TestMeasurement:
    """Measure a trained network on the test split: error and loss, in one turn."""

    __test__ = False  # no test case, whatever its name

    data: Split
    folders: Folders
    precision: Precision | None = None
    concurrency: int | None = 1
    needs_main: bool = False

    def open(self, device: str, *, own_process: bool) -> Begin:
        """Prepare the process and bring the images to the device."""
        if device == "cpu":
            prepare_processor(self.precision, own_process=own_process)
        elif own_process:
            import torch

            # What names no device would open a context on the first GPU.
            torch.cuda.set_device(device)
        split = self.data.to(device)
        return lambda job: _Measuring(job, split, folder_of(job, self.folders))


class _Measuring:
    """One network on one split; see :class:`nas.search.work.Running`."""

    share = 1.0
    is_busy = False
    device_bytes = steps_done = 0
    setup_seconds = 0.0

    def __init__(self, job: Job, split: Split, folder: Path) -> None:
        self._job, self._split, self._folder = job, split, folder
        self.done = False

    def turn(self) -> RungResult:
        """Load the weights and measure.

        Raises:
            ValueError: the directory holds no finished training of the job's.
        """
        from nas.training.validation import validate

        job, files = self._job, ResultFiles(self._folder)
        content, results = files.training(), finished_results(files, job)
        if content is None or results is None:
            raise ValueError(f"{self._folder}: the weights are gone; confirm with --overwrite")
        measured = validate(self._network(), self._split, _statistics(content), job.task.precision)
        self.done = True
        return RungResult(
            epoch=results[-1].epoch,
            train_loss=results[-1].train_loss,
            validation_loss=measured.loss,
            error=measured.error,
            train_seconds=0.0,
            images_seen=len(self._split),
        )

    def _network(self) -> Any:
        import torch
        from safetensors.torch import load_file

        from nas.model import build
        from nas.training.result_files import WEIGHTS

        target = self._job.task.target
        network = build(proxy(self._job.architecture, self._job.task), target.image, target.classes)
        network.load_state_dict(load_file(self._folder / WEIGHTS))
        device = self._split.images.device
        return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def close(self) -> None:
        """Nothing to free."""


def _statistics(content: Mapping[str, Any]) -> Statistics:
    from nas.datasets import Statistics

    return Statistics(tuple(content["mean"]), tuple(content["std"]))
