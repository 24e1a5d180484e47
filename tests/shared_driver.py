"""One driver of a shared run in a process of its own: ``python shared_driver.py '{"..."}'``.

Training is scripted and takes a moment; what is submitted is written down in ``log``, a line each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_search import small_task, trained

from nas.architecture import Shape
from nas.search.display import NoDisplay
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search
from nas.space import SearchSpace
from nas.task import Target, Task

TINY = SearchSpace.load("tiny")


def narrow_task(width: float = 0.25) -> Task:
    """At a width of 1/4 many networks of the space have the same proxy."""
    small = small_task(4)
    target = Target(image=Shape(1, 16, 16), classes=10)
    return small.model_copy(
        update={"target": target, "proxy": small.proxy.model_copy(update={"width": width})}
    )


class Slow(ScriptedExecutor):
    """As slow as training, in small: a report of each job every few milliseconds.

    Nothing ends before the file ``go`` is there.
    """

    go: Path

    def poll(self, timeout: float) -> list[Report]:
        time.sleep(0.003)
        return super().poll(timeout) if self.go.exists() else []


def logged(path: str, hangs: bool) -> Callable[[Job], list[Report]]:
    """A script that notes who was given which trial."""

    def script(job: Job) -> list[Report]:
        line = f"{job.number} {os.getpid()}\n".encode()
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line)
        os.close(handle)
        return [Report(job.number, "started")] if hangs else trained(job)

    return script


def drive(settings: dict[str, Any]) -> None:
    """Run one driver to its end."""
    settings = dict(settings)
    hangs, capacity = settings.pop("hangs", False), settings.pop("capacity")
    log, width = settings.pop("log"), settings.pop("width")
    executor = Slow(logged(log, hangs), capacity)
    executor.go = Path(log).with_name("go")
    run = run_search(
        TINY, narrow_task(width), executor=executor, join=True, display=NoDisplay(), **settings
    )
    ended = run.ended_so_far
    print(ended.message if ended else "not ended", flush=True)


if __name__ == "__main__":
    drive(json.loads(sys.argv[1]))
