"""A baseline in processes of its own, started once: trials go in, outcomes come out.

Each process has its own setting of threads and waits for its pipe while others run. It ignores
Ctrl-C (the benchmark decides) and ends when its pipe does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Literal, TypeAlias

import psutil
import torch
import torch.multiprocessing  # tensors then travel as handles of shared memory

from nas.datasets import Statistics, TrainValidation

from .plain import PlainTrainer
from .strong import StrongTrainer
from .trials import Outcome, Trial
from .usage import with_children

Kind: TypeAlias = Literal["plain", "strong"]


@dataclass(frozen=True)
class Ready:
    """A process is ready for trials."""


@dataclass(frozen=True)
class Answer:
    """What a trial gave, and the most memory that torch reserved on a GPU so far."""

    outcome: Outcome
    device_bytes: int


@dataclass(frozen=True)
class Failure:
    """Why a process gave up."""

    reason: str


class Processes:
    """``number`` processes of one kind of baseline, ``threads`` threads each."""

    def __init__(
        self,
        kind: Kind,
        number: int,
        threads: int,
        data: TrainValidation,
        statistics: Statistics,
        device: str,
    ) -> None:
        start = time.perf_counter()
        self._device_bytes = [0] * number
        self._busy: set[int] = set()
        self._members: list[tuple[BaseProcess, Connection]] = []
        context = multiprocessing.get_context("spawn")
        for _ in range(number):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(there, kind, threads, data, statistics, device), name=kind
            )
            process.start()
            there.close()
            self._members.append((process, here))
        for place in range(number):
            self._receive(place)
        self.startup_seconds = time.perf_counter() - start

    @property
    def pids(self) -> list[int]:
        """The processes' ids, without those of their loaders."""
        return [process.pid for process, _ in self._members if process.pid is not None]

    @property
    def device_bytes(self) -> int:
        """The sum of the most that torch reserved on a GPU in each process."""
        return sum(self._device_bytes)

    def run(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Run the trials, the next one wherever a process is free.

        Raises:
            RuntimeError: a process failed.
        """
        waiting, busy, outcomes = list(trials), self._busy, list[Outcome]()
        while waiting or busy:
            for place, (_, connection) in enumerate(self._members):
                if waiting and place not in busy:
                    connection.send(waiting.pop(0))
                    busy.add(place)
            ready = wait([self._members[place][1] for place in busy])
            for place in [place for place in busy if self._members[place][1] in ready]:
                answer = self._receive(place)
                assert isinstance(answer, Answer), answer
                self._device_bytes[place] = answer.device_bytes
                outcomes.append(answer.outcome)
                busy.remove(place)
        return outcomes

    def close(self) -> None:
        """End the processes and their loaders: asked where they are idle, else killed."""
        running = with_children(self.pids)
        for place, (member, connection) in enumerate(self._members):
            if place not in self._busy:
                with contextlib.suppress(OSError):
                    connection.send(None)
                member.join(10)
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for member, connection in self._members:
            member.join()
            connection.close()
        self._members = []

    def _receive(self, place: int) -> object:
        process, connection = self._members[place]
        try:
            message = connection.recv()
        except EOFError:
            process.join(5)
            message = Failure(f"it ended with exit code {process.exitcode}")
        if isinstance(message, Failure):
            raise RuntimeError(f"a process of {process.name} failed: {message.reason}")
        return message


def _serve(
    connection: Connection,
    kind: Kind,
    threads: int,
    data: TrainValidation,
    statistics: Statistics,
    device: str,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    try:
        trainer = _trainer(kind, data, statistics, device)
        connection.send(Ready())
        while (trial := connection.recv()) is not None:
            outcome = trainer.run(trial)
            reserved = torch.cuda.max_memory_reserved() if device != "cpu" else 0
            connection.send(Answer(outcome, reserved))
    except (EOFError, BrokenPipeError):
        return  # the benchmark is gone
    except Exception as error:  # noqa: BLE001 - whatever it is, the benchmark shows it and stops
        connection.send(Failure(f"{type(error).__name__}: {error}"))


def _trainer(
    kind: Kind, data: TrainValidation, statistics: Statistics, device: str
) -> PlainTrainer | StrongTrainer:
    trainer = PlainTrainer if kind == "plain" else StrongTrainer
    return trainer(data, statistics, device)
