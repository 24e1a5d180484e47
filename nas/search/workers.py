"""Which workers a search gets: devices, their number, and what they share.

Left out: the processes themselves (:mod:`nas.search.local_executor`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.cores import usable_cores
from nas.search.executor import Executor
from nas.task import Task

if TYPE_CHECKING:
    from nas.datasets import Split, TrainValidation
    from nas.search.work import Evaluate


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` is CUDA where there is a GPU.

    Raises:
        ValueError: another word, or CUDA without a GPU.
    """
    if device == "cpu":
        return device
    if device not in ("auto", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, not {device!r}")
    import torch

    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ValueError("device cuda: this machine has no GPU that torch can use")
    return "cuda" if has_gpu else "cpu"


def worker_devices(device: str, workers: int | None) -> list[str]:
    """The device of each worker: one a core by default, or one a GPU.

    Raises:
        ValueError: not a number from 1, or more than there are GPUs.
    """
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers must be an integer from 1, not {workers!r}")
    if device == "cpu":
        return ["cpu"] * (workers or usable_cores())
    import torch

    gpus = torch.cuda.device_count()
    if workers is not None and workers > gpus:
        raise ValueError(f"on GPUs there is one worker each: at most {gpus} workers, not {workers}")
    return [f"cuda:{index}" for index in range(workers or gpus)]


def check_concurrency(device: str, concurrency: int | None) -> None:
    """Refuse a number of trials at once that a worker on ``device`` cannot run.

    Raises:
        ValueError: not a number from 1, or given for a processor.
    """
    if concurrency is None:
        return
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"concurrency must be an integer from 1, not {concurrency!r}")
    if device == "cpu":
        raise ValueError(
            f"concurrency {concurrency}: it is the number of trials at once on each GPU, and on a "
            f"processor every worker runs one; say how many workers instead (--workers)"
        )


def create_executor(
    task: Task,
    device: str,
    workers: int | None,
    *,
    concurrency: int | None = None,
    evaluate: Evaluate | None = None,
    data: Split | TrainValidation | None = None,
    is_limited: bool = False,
) -> Executor:
    """An executor on this machine; the data is loaded and shared first.

    ``concurrency`` is the number of trials at once on each GPU, None to choose it by measurement.
    ``is_limited``: a trial's time is limited, which needs a process that can be killed.

    Raises:
        ValueError: workers, data or function are wrong.
        OSError: the data cannot be read, or does not fit the shared memory.
    """
    from nas.search.local_executor import InProcessExecutor, LocalExecutor
    from nas.search.work import OwnFunction, ProxyTraining

    devices = worker_devices(device, 1 if evaluate is not None and workers is None else workers)
    if evaluate is not None:
        own = OwnFunction(evaluate)
        is_here = len(devices) == 1 and not is_limited
        return InProcessExecutor(own) if is_here else LocalExecutor(own, devices)
    split = load_training_data(task, data)
    from nas.datasets import measure_statistics

    statistics = measure_statistics(split.train)
    # Workers of any device get it so; this also checks that /dev/shm is large enough.
    shared = split.share_memory()
    work = ProxyTraining(shared, statistics, concurrency, precision=task.precision)
    return LocalExecutor(work, devices)


def load_training_data(task: Task, data: Split | TrainValidation | None) -> TrainValidation:
    """The task's training data at the proxy's resolution, with the validation part carved off.

    Raises:
        ValueError: there is no such data set, or the given images do not fit the task.
    """
    from nas.datasets import TrainValidation, carve, load_data

    if isinstance(data, TrainValidation):
        parts = data
    else:
        split = data or load_data(task.data, resolution=task.proxy.resolution, split="train")
        parts = carve(split, task.validation_images)
    if parts.train.image != task.proxy_image:
        raise ValueError(
            f"the images are {parts.train.image}, and the task's proxy trains on "
            f"{task.proxy_image}: change one of them"
        )
    if parts.train.num_classes > task.target.classes:
        raise ValueError(
            f"the data has {parts.train.num_classes} classes, and the task's target "
            f"{task.target.classes}"
        )
    return parts
