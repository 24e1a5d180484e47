"""A directory that appears complete or not at all, and what may stand where it goes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUMMARY = "export.json"


def check_target(target: Path, overwrite: bool, known: frozenset[str]) -> None:
    """Refuse a target that holds anything but, with ``overwrite``, an earlier export.

    ``known`` are the names of the files that an export may hold.

    Raises:
        ValueError: it does; the message names it.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"{target}: is a file; an export needs a directory")
    present = {item.name for item in target.iterdir()}
    if not present:
        return
    strange = sorted(present - known - {SUMMARY, "__pycache__"})
    if SUMMARY not in present or strange:
        what = f" ({strange[0]})" if strange else ""
        raise ValueError(f"{target}: holds other files{what}; choose a directory of its own")
    if not overwrite:
        raise ValueError(f"{target}: already holds an export; --overwrite replaces it")


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A directory beside the target that becomes it, unless an error leaves nothing at all."""
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    staging = target.parent / f".{target.name}.{mark}.new"
    try:
        _make(staging, target)
        yield staging
        _keep(staging)
        _replace(target, staging, target.parent / f".{target.name}.{mark}.old")
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # something else came to lie in it
            for parent in missing:
                parent.rmdir()
        raise


def _keep(staging: Path) -> None:
    """Have the disk hold all files: a power cut must not leave the directory with empty ones."""
    for path in (*staging.iterdir(), staging):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _make(staging: Path, target: Path) -> None:
    """Create the directory; an error names the target, which is the path that the user knows."""
    try:
        staging.mkdir()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


def _replace(target: Path, staging: Path, aside: Path) -> None:
    try:
        if target.exists():
            os.replace(target, aside)
        os.replace(staging, target)
    except BaseException:  # Ctrl-C too may come between the two
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
