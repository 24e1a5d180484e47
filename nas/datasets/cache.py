"""Decoded and resized images on disk, so that a data set is prepared once.

One safetensors file a split and shape, under ``$NAS_CACHE`` or ``~/.cache/nas``. The file's name
is a hash of what the images are and how they were made; a checksum guards its content. Files are
written beside and renamed, so that two processes cannot see half a file; a damaged one is made
again. Old files are never removed: delete the directory to free the space.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nas.datasets.source import Pixels

_VERSION = 1  # of what `decode_images` makes of an image
_log = logging.getLogger(__name__)


def cache_directory() -> Path:
    """Where prepared data sets are kept; it need not exist yet."""
    given = os.environ.get("NAS_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "nas") / "datasets"


def cached_images(label: str, identity: str, build: Callable[[], Pixels]) -> torch.Tensor:
    """The images that ``build`` gave for this label and identity before, or gives now.

    The label also makes the file's name readable. Without a place to write, the images are still
    returned, and a warning says that they will be prepared again.
    """
    key = hashlib.sha256(f"{_VERSION}\n{label}\n{identity}".encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-")[-60:]
    path = cache_directory() / f"{readable}-{key[:24]}.safetensors"
    images = _read(path, key)
    if images is None:
        images = torch.from_numpy(build())
        _write(path, key, images)
    return images


def _read(path: Path, key: str) -> torch.Tensor | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            images: torch.Tensor = file.get_tensor("images")
    except (SafetensorError, OSError) as error:
        _log.warning("%s is damaged and is made again: %s", path, error)
        return None
    if metadata != {"key": key, "checksum": _checksum(images)}:
        _log.warning("%s is damaged and is made again: its checksum does not fit", path)
        return None
    return images


def _write(path: Path, key: str, images: torch.Tensor) -> None:
    metadata = {"key": key, "checksum": _checksum(images)}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        os.close(handle)
        save_file({"images": images}, temporary, metadata)
        os.replace(temporary, path)
    except (SafetensorError, OSError) as error:
        _log.warning("%s cannot be written, images will be prepared again: %s", path, error)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _checksum(images: torch.Tensor) -> str:
    content: Any = images.numpy()  # a buffer, which NumPy's types do not say
    return f"{zlib.crc32(content):08x}"
