"""What a worker does with a job: train a proxy on the data, or call the caller's own function.

A :class:`Work` travels to the worker once and is opened there; what it opens makes an iterator
of rung results from a job. Both executors turn that into reports by :func:`reports_of`.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from nas.architecture import Architecture
from nas.evaluate import Evaluation, EvaluationFailed, RungResult
from nas.search.executor import Job, Report
from nas.task import Task

if TYPE_CHECKING:
    from nas.datasets import Statistics, TrainValidation

Steps: TypeAlias = Callable[[Job], Iterator[RungResult]]
Evaluate: TypeAlias = Callable[[Architecture, Task, int], float]


class DeviceError(RuntimeError):
    """The device cannot be used any more by this process, whatever is run on it."""


class Work(Protocol):
    """Something a worker can do; instances are pickled to it."""

    @property
    def needs_main(self) -> bool:
        """Whether a worker must import the caller's main module."""
        ...

    def open(self, device: str, *, own_process: bool) -> Steps:
        """Prepare the process once; called in the worker."""
        ...


@dataclass(frozen=True)
class ProxyTraining:
    """Train the job's proxy on data that all workers share.

    On the CPU the tensors are in shared memory; a CUDA worker copies them to its device once.
    """

    data: TrainValidation
    statistics: Statistics
    needs_main: bool = False

    def open(self, device: str, *, own_process: bool) -> Steps:
        """Set the threads and bring the data to the device."""
        import torch

        if own_process and device == "cpu":
            torch.set_num_threads(1)
        data = self.data if device == "cpu" else self.data.to(device)

        def steps(job: Job) -> Iterator[RungResult]:
            evaluation = Evaluation(
                job.architecture,
                job.task,
                job.seed,
                data=data,
                statistics=self.statistics,
                device=device,
            )
            while not evaluation.done:
                yield evaluation.advance()

        return steps


@dataclass(frozen=True)
class OwnFunction:
    """Call ``evaluate(architecture, task, seed)``, which returns an error from 0 to 1.

    An exception in it fails the trial with that as the reason.
    """

    evaluate: Evaluate

    @property
    def needs_main(self) -> bool:
        """Whether the function is defined in the caller's main module."""
        return getattr(self.evaluate, "__module__", None) == "__main__"

    def open(self, device: str, *, own_process: bool) -> Steps:
        """Nothing to prepare."""

        def steps(job: Job) -> Iterator[RungResult]:
            start = time.perf_counter()
            error = float(self.evaluate(job.architecture, job.task, job.seed))
            if not 0 <= error <= 1:  # NaN is not, either
                raise EvaluationFailed(f"evaluate returned {error}, not an error from 0 to 1")
            yield RungResult(
                epoch=1,
                train_loss=math.nan,
                validation_loss=math.nan,
                error=error,
                train_seconds=time.perf_counter() - start,
                images_seen=0,
            )

        return steps


def reports_of(job: Job, steps: Steps) -> Iterator[Report]:
    """The reports of one job; the last is ``done`` or ``failed``.

    Raises:
        DeviceError: nothing can be computed in this process any more.
    """
    yield Report(job.number, "started")
    result = None
    try:
        for result in steps(job):
            yield Report(job.number, "rung", result)
    except EvaluationFailed as failure:
        yield Report(job.number, "failed", result, failure.reason)
    except Exception as error:  # a worker outlives any trial; the reason is kept
        if _is_device_failure(error):
            raise DeviceError(_shown(error)) from error
        yield Report(job.number, "failed", result, _shown(error))
    else:
        yield Report(job.number, "done", result)


def _is_device_failure(error: Exception) -> bool:
    """Whether CUDA failed in a way after which every further call in the process fails, too."""
    import torch

    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in text:
        return False
    # Newer versions of torch have a class for it.
    kind: type[Exception] | None = getattr(torch, "AcceleratorError", None)
    is_of_kind = kind is not None and isinstance(error, kind)
    return is_of_kind or (isinstance(error, RuntimeError) and "CUDA error" in text)


def _shown(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.name}, line {last.lineno} of {last.filename})"
