"""``confirm_run``: everything is checked before anything is written; then trained and measured."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from nas.confirm.driver import Confirming
from nas.confirm.prepare import Prepared, prepare
from nas.confirm.progress import ConfirmDisplay, NoConfirmDisplay
from nas.confirm.request import ConfirmRequest
from nas.confirm.work import Folders, FullTraining, TestMeasurement
from nas.latency.solitude import training
from nas.records import Ended, Run
from nas.records.confirmation import Confirmation, has_confirmation, open_confirmation
from nas.records.writing import RunWriter, create_run, delete_study
from nas.search.data_digest import digest_data
from nas.search.local_executor import LocalExecutor
from nas.search.study import DriverLock, check_data
from nas.search.workers import worker_devices
from nas.task import Task

if TYPE_CHECKING:
    from nas.datasets import Split, TrainValidation


def confirm_run(
    run: Run, request: ConfirmRequest | None = None, *, display: ConfirmDisplay | None = None
) -> Confirmation:
    """Retrain a run's finalists at full budget and return what came of it; Ctrl-C stops cleanly.

    An interrupted confirmation, or one that needs more seeds, goes on with ``resume``; the numbers
    are those of one that was never interrupted. The test split is measured once, when all are
    trained.

    Raises:
        ValueError: a setting is wrong, and nothing was written.
        OSError: data or storage cannot be read or written (any more).
        RuntimeError: no worker can be kept alive.
    """
    asked = request or ConfirmRequest()
    shown = display or NoConfirmDisplay()
    prepared = prepare(run, asked)
    data = load_full_data(prepared.task)
    try:
        with training(shown.note):
            return _drive(prepared, asked, data, shown)
    finally:
        shown.close()


def load_full_data(task: Task) -> TrainValidation:
    """The task's training data at the target's size, with the validation part carved off.

    Raises:
        ValueError, OSError: it cannot be loaded.
    """
    from nas.datasets import load_data
    from nas.search.workers import load_training_data

    image = task.target.image
    split = load_data(task.data, resolution=(image.height, image.width), split="train")
    return load_training_data(task, split)


def _drive(
    prepared: Prepared, request: ConfirmRequest, data: TrainValidation, display: ConfirmDisplay
) -> Confirmation:
    digest = digest_data(data)
    if prepared.recorded is not None:
        check_data(prepared.recorded.study.settings, digest, prepared.location.name)
    lock = _lock(prepared)
    try:
        if request.overwrite:
            _delete(prepared)
        recorded = _begin(prepared, digest)
        writer = RunWriter(prepared.location, prepared.settings.objectives, {})
        try:
            for note in prepared.notes:
                display.note(note)
            ended = _train_and_measure(prepared, request, data, writer, recorded, display)
            display.note(ended.message)
        finally:
            writer.close()
    finally:
        lock.release()
    return _read(prepared)


def _lock(prepared: Prepared) -> DriverLock:
    try:
        return DriverLock(prepared.location)
    except ValueError as error:
        raise ValueError(f"run {prepared.run.name!r} is being confirmed already: {error}") from None


def _begin(prepared: Prepared, digest: dict[str, int]) -> Confirmation:
    """Create the confirmation, or record what a resumed one changes."""
    settings = {**prepared.settings.to_data(), "data": digest}
    if prepared.recorded is None:
        confirm = prepared.confirm.to_data()
        create_run(prepared.location, prepared.settings, {"settings": settings, "confirm": confirm})
        return _read(prepared)
    writer = RunWriter(prepared.location, prepared.settings.objectives, {})
    try:
        writer.set_attribute("settings", settings)
        writer.set_attribute("confirm", prepared.confirm.to_data())
    finally:
        writer.close()
    return _read(prepared)


def _read(prepared: Prepared) -> Confirmation:
    found = open_confirmation(prepared.run)
    assert found is not None, "it was created"
    return found


def _delete(prepared: Prepared) -> None:
    if has_confirmation(prepared.run):
        delete_study(prepared.location)
    if prepared.location.path.is_dir():
        shutil.rmtree(prepared.location.path)


def _train_and_measure(
    prepared: Prepared,
    request: ConfirmRequest,
    data: TrainValidation,
    writer: RunWriter,
    recorded: Confirmation,
    display: ConfirmDisplay,
) -> Ended:
    folders = folders_of(prepared)
    executor = _executor(prepared, request, data, folders)
    devices = len(worker_devices(prepared.device, request.workers))
    confirming = Confirming(prepared, executor, writer, folders, display, devices)
    try:
        ended = confirming.train(recorded)
    finally:
        executor.close()
    if ended.kind == "interrupted":
        return ended
    test = _test_split(prepared.task)
    if test is None:
        return ended
    return _measure(prepared, request, test, writer, confirming, ended)


def folders_of(prepared: Prepared) -> dict[tuple[str, int], str]:
    """The directory of each training."""
    return {
        (item.network.fingerprint, seed): str(prepared.location.path / f"{item.name}-seed{seed}")
        for item in prepared.confirm.finalists
        for seed in range(prepared.confirm.seeds)
    }


def origins_of(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Where each network is from, by its fingerprint: a trial of the run, or a landmark."""
    return {
        item.network.fingerprint: {
            "run": prepared.run.name,
            **({"landmark": item.name} if item.number is None else {"trial": item.number}),
        }
        for item in prepared.confirm.finalists
    }


def _executor(
    prepared: Prepared, request: ConfirmRequest, data: TrainValidation, folders: Folders
) -> LocalExecutor:
    from nas.datasets import measure_statistics

    statistics = measure_statistics(data.train)
    work = FullTraining(
        data.share_memory(),
        statistics,
        folders,
        origins_of(prepared),
        request.concurrency,
        prepared.task.precision,
    )
    return LocalExecutor(work, worker_devices(prepared.device, request.workers))


def _test_split(task: Task) -> Split | None:
    """The test images at the target's size; None where the data has none."""
    from nas.datasets import describe_data, load_data

    if describe_data(task.data).num_test is None:
        return None
    image = task.target.image
    return load_data(task.data, resolution=(image.height, image.width), split="test")


def _measure(
    prepared: Prepared,
    request: ConfirmRequest,
    test: Split,
    writer: RunWriter,
    confirming: Confirming,
    ended: Ended,
) -> Ended:
    trained = _read(prepared)
    if not set(trained.complete_rows) - set(trained.test):
        return ended
    images = test.share_memory()
    work = TestMeasurement(images, folders_of(prepared), prepared.task.precision)
    executor = LocalExecutor(work, worker_devices(prepared.device, request.workers))
    # Should this driver die without a word, this is what it leaves.
    message = "stopped before the test split was measured; go on with --resume"
    writer.set_ended(Ended("interrupted", message, confirming.seconds))
    try:
        found = {**trained.test, **confirming.measure(trained, executor)}
    except KeyboardInterrupt:
        return Ended("interrupted", message, confirming.seconds)
    finally:
        executor.close()
    # All at once: whoever looks sees none of it, or the whole.
    results = {str(row): list(pair) for row, pair in sorted(found.items())}
    writer.set_attribute("test", {"images": len(images), "results": results})
    writer.set_ended(ended)
    return ended
