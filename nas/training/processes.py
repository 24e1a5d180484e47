"""Several processes that train one network together, each on its part of every batch.

A batch is the recipe's whatever their number: the same images, in the same order, with the same
crops and flips as in one process, cut into equal parts. Gradients are averaged by torch's
``DistributedDataParallel``. Batch norm uses each process's own part (as torch does unless told
otherwise), and the running statistics are averaged after every epoch. Left out: starting the
processes; ``torchrun`` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many this process is; ``local_rank`` among those of its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and tells."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """Which of ``size`` images of a batch are this process's.

        Raises:
            ValueError: they cannot be shared equally.
        """
        if size % self.count:
            raise ValueError(
                f"a batch of {size} images cannot be shared equally by {self.count} processes: "
                "take another batch_size in the recipe, or another number of processes"
            )
        share = size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum_(self, numbers: Tensor) -> None:
        """Add up, in place, what each process has."""
        if self.count > 1:
            distributed.all_reduce(numbers)

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Average, in place, floating tensors that each process has."""
        if self.count == 1:
            return
        for item in tensors:
            distributed.all_reduce(item)
            item.div_(self.count)

    def of_first(self, value: _Value) -> _Value:
        """What the first process has, in all of them."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gathered(self, value: _Value) -> list[_Value]:
        """What each process has, in all of them, by rank."""
        if self.count == 1:
            return [value]
        values = [value] * self.count
        distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process do the block before the others: what it leaves, they find."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()


ALONE = Processes()

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: the first prepares a large data set alone.

torchrun ends all when one fails, so that none waits in vain.
"""


@contextmanager
def launched_processes(device: str) -> Iterator[Processes]:
    """The group that ``torchrun`` started this process in; alone without it.

    ``device`` is "cpu" or a CUDA device: gloo or NCCL carries the numbers.

    Raises:
        ValueError: torchrun's variables are incomplete or wrong.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    processes = _from_environment()
    backend = "gloo" if device == "cpu" else "nccl"
    if backend == "nccl":
        torch.cuda.set_device(processes.local_rank)
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()


def _from_environment() -> Processes:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        return Processes(*(int(os.environ[name]) for name in names))
    except (KeyError, ValueError):
        given = ", ".join(f"{name}={os.environ.get(name)}" for name in names)
        raise ValueError(f"start several processes with torchrun; it sets {given}") from None
