"""The files of a full training: each appears whole or not at all, and the old one stays so long."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

ARCHITECTURE = "architecture.json"
WEIGHTS = "weights.safetensors"
LAST_WEIGHTS = "last.safetensors"
MODEL_CARD = "MODEL_CARD.md"
TRAINING = "training.json"
CHECKPOINT = "checkpoint.pt"


class ResultFiles:
    """The directory of one full training; it is created by the first file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def training(self) -> dict[str, Any] | None:
        """What ``training.json`` holds, or None where no training was finished.

        Raises:
            ValueError: the file is not a JSON object.
        """
        path = self.folder / TRAINING
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: is not complete JSON: {error}") from None
        if not isinstance(data, dict):
            raise ValueError(f"{path}: must be a JSON object")
        return data

    def checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None.

        Raises:
            ValueError: the file is no checkpoint.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            first = (str(error).splitlines() or ["empty"])[0]
            raise ValueError(f"{path}: is no checkpoint: {first}; remove it") from None
        if not isinstance(state, dict):
            raise ValueError(f"{path}: is no checkpoint of a training; remove it")
        return state

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the directory, see that it can be written, and keep other processes out.

        What was made of it and its parents is removed again where nothing came to lie in it.

        Raises:
            ValueError: another process trains into it.
            OSError: it cannot be written.
        """
        made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.folder}: another process is training into it") from None
            probe = self._partial(CHECKPOINT)
            probe.write_bytes(b"")
            probe.unlink()
            yield
        finally:
            os.close(descriptor)
            with suppress(OSError):  # something came to lie in it
                for path in made:
                    path.rmdir()

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        # In memory first: torch's own writing to a file hides that the disk is full.
        content = io.BytesIO()
        torch.save(dict(state), content)
        self._write(CHECKPOINT, content.getbuffer())

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint, if there is one."""
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def write_results(
        self,
        architecture: str,
        weights: Mapping[str, Tensor],
        training: Mapping[str, Any],
        *,
        last_weights: Mapping[str, Tensor] | None = None,
        card: str | None = None,
    ) -> None:
        """Write the network, its weights, and last ``training.json``; drop the checkpoint.

        ``last_weights`` are those of the last epoch, where ``weights`` are another's.
        """
        self._write(ARCHITECTURE, f"{architecture}\n".encode())
        self._write(WEIGHTS, _safetensors(weights))
        if last_weights is not None:
            self._write(LAST_WEIGHTS, _safetensors(last_weights))
        if card is not None:
            self.write_card(card)
        self._write(TRAINING, f"{json.dumps(training, indent=2)}\n".encode())
        self.drop_checkpoint()

    def write_card(self, text: str) -> None:
        """Replace the model card."""
        self._write(MODEL_CARD, text.encode())

    def _write(self, name: str, content: bytes | memoryview) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._partial(name)
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                # The new name must not reach the disk before the content does.
                os.fsync(file.fileno())
            partial.replace(self.folder / name)
        except OSError as error:
            # Of the file that was wanted: the system names none, or the partial one.
            raise OSError(error.errno, error.strerror, str(self.folder / name)) from None
        finally:
            partial.unlink(missing_ok=True)

    def _partial(self, name: str) -> Path:
        return self.folder / f".{name}.partial"


def _safetensors(weights: Mapping[str, Tensor]) -> bytes:
    # It wants plain row-major tensors; ours are channels_last. Its `save_file` makes files that
    # only their owner can read.
    return save({name: item.detach().cpu().contiguous() for name, item in weights.items()})
