"""States of trials that run, in a directory or any fsspec URL, so that a lost trial goes on.

A state lies under its trial's (number, proxy, task, seed), behind a digest of its bytes: what is
damaged or of another trial is found out, never trained on. It is written whole or not at all.
Left out: what is in a state (:class:`nas.evaluate.Evaluation`) and when one is written
(:mod:`nas.search.ray_executor`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from nas.search.executor import Job
from nas.task import proxy

_DIGEST_BYTES = 32


class CheckpointError(Exception):
    """A checkpoint is there and cannot be used; the message says why."""


def local_directory(url: str) -> Path | None:
    """The directory that a URL or a path names on this machine; None for another storage."""
    protocol, path = fsspec.core.split_protocol(url)
    return Path(path) if protocol in (None, "file", "local") else None


def check_url(url: str) -> None:
    """Refuse a storage that nothing here can write to; leaves no file there.

    Raises:
        ValueError: the protocol is unknown, its package is missing, or it cannot be written.
    """
    shown = f"artifacts must be a directory or an fsspec URL that can be written: {url!r}"
    try:
        fs, root = fsspec.core.url_to_fs(url)
        fs.makedirs(root, exist_ok=True)
        probe = f"{root.rstrip('/')}/.probe-{os.getpid()}"
        fs.pipe_file(probe, b"")
        fs.rm_file(probe)
    except Exception as error:  # noqa: BLE001 - every storage has its own errors
        raise ValueError(f"{shown}: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class Checkpoints:
    """The states below ``url``: a directory's path, or an fsspec URL such as s3://bucket/run.

    A directory on a machine must exist there; one that another machine does not have is passed
    by: nothing is written, and nothing is found.
    """

    url: str

    @cached_property
    def _storage(self) -> tuple[Any, str]:
        fs, root = fsspec.core.url_to_fs(self.url)
        return fs, root.rstrip("/")

    @property
    def is_here(self) -> bool:
        """Whether this machine can reach the states."""
        directory = local_directory(self.url)
        return directory is None or directory.is_dir()

    def create(self) -> None:
        """Make the directory, where the storage has directories.

        Raises:
            OSError: it cannot be made.
        """
        fs, root = self._storage
        fs.makedirs(root, exist_ok=True)

    def save(self, job: Job, state: dict[str, Any]) -> None:
        """Write a state over the job's last one.

        Raises:
            Exception: whatever the storage raises; the last state is as it was.
        """
        import torch

        if not self.is_here:
            return
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        fs, _ = self._storage
        path = self._path(job)
        whole = hashlib.sha256(content).digest() + content
        if local_directory(self.url) is None:
            fs.pipe_file(path, whole)  # an object appears when all of it is there
            return
        part = f"{path}.{os.getpid()}.part"
        fs.pipe_file(part, whole)
        os.replace(part, path)

    def load(self, job: Job) -> dict[str, Any] | None:
        """The job's state; None where there is none.

        Raises:
            CheckpointError: it is damaged or cannot be read.
        """
        import torch

        if not self.is_here:
            return None
        fs, _ = self._storage
        try:
            whole = fs.cat_file(self._path(job))
        except FileNotFoundError:
            return None
        except Exception as error:  # every storage has its own errors
            raise CheckpointError(f"{type(error).__name__}: {error}") from error
        digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise CheckpointError("its bytes are damaged")
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
        return state

    def delete(self, number: int) -> None:
        """Remove all states of a trial; without one nothing happens.

        Raises:
            Exception: whatever the storage raises.
        """
        if not self.is_here:
            return
        fs, root = self._storage
        for path in fs.glob(f"{root}/{number}-*"):
            fs.rm_file(path)

    def tidy(self) -> None:
        """Remove the directory on this machine, if nothing is left in it."""
        directory = local_directory(self.url)
        if directory is not None:
            with contextlib.suppress(OSError):  # there are states for a resume in it
                directory.rmdir()

    def _path(self, job: Job) -> str:
        _, root = self._storage
        identity = (proxy(job.architecture, job.task).fingerprint, job.task.fingerprint, job.seed)
        key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        return f"{root}/{job.number}-{key}.pt"
