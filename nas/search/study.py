"""Creating and resuming a run: its name, its settings, its lock. Nothing is written on bad input.

Left out: rows (:mod:`nas.records`), the loop (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from nas.cost import SEARCHED_COSTS
from nas.quantities import unknown_name
from nas.records import Location, RunSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

FIXED = ("space", "task", "objectives", "budgets", "seed", "evaluate")
"""Settings that a resumed search must share; the sampler may change."""


def check_name(name: str) -> str:
    """The name, if it can be a directory of its own under results.

    Raises:
        ValueError: it cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            f"a run's name must be 1 to 100 letters, digits, '.', '_' or '-', beginning with a "
            f"letter or digit, not {_short(repr(name))}"
        )
    return name


def check_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """The objectives, if they are error and costs, each once.

    Raises:
        ValueError: one is unknown (the message gives the nearest) or repeated, or error is not
            among them.
    """
    known = ("error", *SEARCHED_COSTS)
    names = tuple(objectives)
    for name in names:
        if name not in known:
            raise ValueError(unknown_name("objective", name, known))
    if "error" not in names or len(set(names)) < len(names):
        raise ValueError(
            f"objectives must be error and any of {', '.join(SEARCHED_COSTS)}, each once, "
            f"not {', '.join(names) or 'none'}"
        )
    return names


def versions() -> dict[str, str]:
    """The versions that a run's bits depend on."""
    found = {"python": platform.python_version()}
    for package in ("inception-nas", "torch", "optuna", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def now() -> str:
    """The local time, to the second."""
    return datetime.now().isoformat(timespec="seconds")


def check_resumed(recorded: RunSettings, given: Mapping[str, Any], name: str) -> None:
    """Refuse to resume with other settings than the run was created with.

    ``given`` holds the settings that the caller gave (None: as recorded).

    Raises:
        ValueError: one differs; the message names the field, the recorded and the given value.
    """
    assert set(given) <= {item.name for item in fields(RunSettings)}
    for field in FIXED:
        if given.get(field) is None:
            continue
        then, now_ = _plain(getattr(recorded, field)), _plain(given[field])
        for path, old, new in _differences(then, now_, field):
            raise ValueError(
                f"run {name!r} cannot go on with {_OTHER.get(field, f'another {field}')}: "
                f"{_change(path, old, new)}"
            )


def check_data(recorded: RunSettings, digest: Mapping[str, int], name: str) -> None:
    """Refuse to resume with other training data; a run of before it was recorded takes any.

    Raises:
        ValueError: the data differs; the message says in what.
    """
    if recorded.data is None:
        return
    for path, old, new in _differences(recorded.data, dict(digest), "data"):
        raise ValueError(
            f"run {name!r} cannot go on: its training data has changed, {_change(path, old, new)}"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return list(value) if isinstance(value, tuple) else value


def _differences(then: Any, now_: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now_, dict):
        for key in [*then, *(key for key in now_ if key not in then)]:
            yield from _differences(then.get(key), now_.get(key), f"{path}.{key}")
    elif then != now_:
        yield path, then, now_


_OTHER = {"objectives": "other objectives", "budgets": "other budgets"}


def _change(path: str, old: Any, new: Any) -> str:
    if old is None:
        return f"the run has no {path}, and {_short(json.dumps(new))} is given now"
    given = "nothing" if new is None else _short(json.dumps(new))
    return f"{path} is {_short(json.dumps(old))} in the run and {given} now"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


class DriverLock:
    """Holds a run for one driver; the kernel lets go of it however the driver ends.

    With ``is_shared`` for several, who all say so: it only keeps out who wants to be alone.

    Raises:
        ValueError: another process drives the run; the message has its id.
        OSError: the lock's file cannot be written.
    """

    def __init__(self, location: Location, *, is_shared: bool = False) -> None:
        self._path = location.lock
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        how = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            by = "several drivers" if owner is None else f"process {owner}"
            rule = "work with them (--join)" if owner is None else "stop that first"
            raise ValueError(
                f"run {location.name!r} is already driven by {by}; {rule}, or take another name"
            ) from None
        self._descriptor, self._is_shared = descriptor, is_shared
        os.ftruncate(descriptor, 0)
        if is_shared:
            return  # those who look find its drivers in the study
        # For those who only look: `nas runs` and `nas show`.
        started = psutil.Process().create_time()
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "started": started}).encode(), 0)

    def release(self) -> None:
        """Let another driver have the run."""
        if not self._is_shared:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _owner(descriptor: int) -> str | None:
    """The process that has the lock for itself; None where several share it."""
    try:
        return str(json.loads(os.pread(descriptor, 1000, 0))["pid"])
    except (ValueError, KeyError):
        return None


def function_name(function: object) -> str:
    """The module and name of a function, as a run records it."""
    module = getattr(function, "__module__", "")
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"
