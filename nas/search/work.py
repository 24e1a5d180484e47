"""What a worker does with a job: train a proxy on the data, or call the caller's own function.

A :class:`Work` travels to the worker once and is opened there; what it opens makes a
:class:`Running` of a job, which is given turns by :class:`nas.search.rotation.Rotation`.
"""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from nas.architecture import Architecture
from nas.evaluate import Evaluation, EvaluationFailed, RungResult
from nas.search.executor import Job
from nas.task import Precision, Task

if TYPE_CHECKING:
    from nas.datasets import Statistics, TrainValidation


class Running(Protocol):
    """A job that has begun: work is done in turns, so that many can share a device.

    ``share`` is what part of the device's time is this job's. :class:`nas.evaluate.Evaluation`
    is one.
    """

    share: float

    @property
    def done(self) -> bool:
        """Whether the last rung was reached."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether the device still works on the last turn: another job's turn is better now."""
        ...

    @property
    def steps_done(self) -> int:
        """Training steps so far."""
        ...

    @property
    def setup_seconds(self) -> float:
        """Seconds of building and warming up, before the first step that counts."""
        ...

    @property
    def device_bytes(self) -> int:
        """Memory that the device keeps for it; 0 on a processor."""
        ...

    def turn(self) -> RungResult | None:
        """Do or queue a little work; a rung's result when it is there."""
        ...

    def close(self) -> None:
        """Free what it holds; calling it again does nothing."""
        ...


Begin: TypeAlias = Callable[[Job], Running]
Evaluate: TypeAlias = Callable[[Architecture, Task, int], float]


class DeviceError(RuntimeError):
    """The device cannot be used any more by this process, whatever is run on it."""

    @property
    def is_crash(self) -> bool:
        """Whether a program's own fault ends so, rather than the device's (memory, bus, driver)."""
        return any(words in str(self) for words in _PROGRAM_FAULTS)


_PROGRAM_FAULTS = (
    "illegal memory access",
    "illegal instruction",
    "illegal address",
    "misaligned address",
    "invalid program counter",
    "device-side assert",
)
"""How CUDA calls what a kernel did wrong; after them a process has lost its device."""


class Work(Protocol):
    """Something a worker can do; instances are pickled to it."""

    @property
    def needs_main(self) -> bool:
        """Whether a worker must import the caller's main module."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Jobs that a worker runs at once; None: as many as measurements on its GPU say."""
        ...

    def open(self, device: str, *, own_process: bool) -> Begin:
        """Prepare the process once; called in the worker."""
        ...


@dataclass(frozen=True)
class ProxyTraining:
    """Train the job's proxy on data that all workers share.

    On the CPU the tensors are in shared memory; a CUDA worker copies them to its device once.
    ``concurrency`` None is one trial at a time on a processor. ``precision`` is the jobs': what
    it needs is compiled before the first of them starts.
    """

    data: TrainValidation
    statistics: Statistics
    concurrency: int | None = None
    needs_main: bool = False
    precision: Precision | None = None

    def open(self, device: str, *, own_process: bool) -> Begin:
        """Set the threads and bring the data to the device."""
        if device == "cpu":
            prepare_processor(self.precision, own_process=own_process)
        elif own_process:
            import torch

            # Streams share the lines to the device, and wait for each other there: 8 lines unless
            # told, which is read when CUDA starts.
            os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
            # What names no device, such as pinned memory, would open a context on the first GPU.
            torch.cuda.set_device(device)
        data = self.data if device == "cpu" else self.data.to(device)

        def begin(job: Job) -> Running:
            return Evaluation(
                job.architecture,
                job.task,
                job.seed,
                data=data,
                statistics=self.statistics,
                device=device,
            )

        return begin


def prepare_processor(precision: Precision | None, *, own_process: bool) -> None:
    """Set a worker's process up for training on a processor, on one thread."""
    import torch

    from nas import kernels
    from nas.training.allocator import keep_freed_memory

    if own_process:
        torch.set_num_threads(1)
        keep_freed_memory()
    if precision is not None:
        kernels.compile_loops(torch.bfloat16 if precision == "bfloat16" else torch.float32)


@dataclass(frozen=True)
class OwnFunction:
    """Call ``evaluate(architecture, task, seed)``, which returns an error from 0 to 1.

    An exception in it fails the trial with that as the reason.
    """

    evaluate: Evaluate
    concurrency: int = 1

    @property
    def needs_main(self) -> bool:
        """Whether the function is defined in the caller's main module."""
        return getattr(self.evaluate, "__module__", None) == "__main__"

    def open(self, device: str, *, own_process: bool) -> Begin:
        """Nothing to prepare."""
        return lambda job: _Call(self.evaluate, job)


class _Call:
    """One call of the caller's function: a single turn, on the processor."""

    share = 1.0
    is_busy = False
    device_bytes = steps_done = 0
    setup_seconds = 0.0

    def __init__(self, evaluate: Evaluate, job: Job) -> None:
        self._evaluate, self._job = evaluate, job
        self.done = False

    def turn(self) -> RungResult:
        start = time.perf_counter()
        job = self._job
        error = float(self._evaluate(job.architecture, job.task, job.seed))
        if not 0 <= error <= 1:  # NaN is not, either
            raise EvaluationFailed(f"evaluate returned {error}, not an error from 0 to 1")
        self.done = True
        return RungResult(
            epoch=1,
            train_loss=math.nan,
            validation_loss=math.nan,
            error=error,
            train_seconds=time.perf_counter() - start,
            images_seen=0,
        )

    def close(self) -> None:
        """Nothing to free."""


class JobFailed(Exception):  # noqa: N818 - a failed trial is a result, not a bug
    """A job cannot go on; ``reason`` is for its report, ``is_memory`` where memory ran out."""

    def __init__(self, reason: str, *, is_memory: bool) -> None:
        super().__init__(reason)
        self.reason, self.is_memory = reason, is_memory


@contextmanager
def job_failures() -> Iterator[None]:
    """Turn whatever goes wrong with one job into its own failure.

    Raises:
        JobFailed: this job is over; others are not concerned.
        DeviceError: nothing can be computed in this process any more.
    """
    try:
        yield
    except EvaluationFailed as failure:
        raise JobFailed(failure.reason, is_memory=_MEMORY in failure.reason) from failure
    except Exception as error:  # a worker outlives any trial; the reason is kept
        if _is_device_failure(error):
            raise DeviceError(_shown(error)) from error
        raise JobFailed(_shown(error), is_memory=_MEMORY in str(error)) from error


_MEMORY = "out of memory"


def _is_device_failure(error: Exception) -> bool:
    """Whether CUDA failed in a way after which every further call in the process fails, too."""
    import torch

    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or _MEMORY in text:
        return False
    # Newer versions of torch have a class for it.
    kind: type[Exception] | None = getattr(torch, "AcceleratorError", None)
    is_of_kind = kind is not None and isinstance(error, kind)
    return is_of_kind or (isinstance(error, RuntimeError) and "CUDA error" in text)


def _shown(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.name}, line {last.lineno} of {last.filename})"
