"""The files of a full training: each appears whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

ARCHITECTURE = "architecture.json"
WEIGHTS = "weights.safetensors"
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

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        self._write(CHECKPOINT, lambda path: torch.save(dict(state), path))

    def write_results(
        self, architecture: str, weights: Mapping[str, Tensor], training: Mapping[str, Any]
    ) -> None:
        """Write the network, its weights, and last ``training.json``; drop the checkpoint."""
        # safetensors wants plain row-major tensors; ours are channels_last.
        plain = {name: item.detach().cpu().contiguous() for name, item in weights.items()}
        text = json.dumps(training, indent=2) + "\n"
        self._write(ARCHITECTURE, lambda path: _write_text(path, architecture + "\n"))
        # Its `save_file` makes files that only their owner can read.
        self._write(WEIGHTS, lambda path: path.write_bytes(save(plain)))
        self._write(TRAINING, lambda path: _write_text(path, text))
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{name}.partial"
        try:
            write(partial)
            with partial.open("rb") as file:
                # The new name must not reach the disk before the content does.
                os.fsync(file.fileno())
            partial.replace(self.folder / name)
        finally:
            partial.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
