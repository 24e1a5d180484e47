"""Files that keep what was read of a run's finished trials: Parquet segments and a manifest.

A table's directory holds segments, each the rows of some thousand trials in the order in which
they were read, and ``manifest.json``, which names the segments with their checksums. Every file is
written beside and renamed, under a name of its own; the manifest comes last. So a reader sees the
last whole state whenever a writer was killed, and what a manifest does not name is litter. One
process at a time writes, the one that has the lock; the others read, and keep in memory what they
read anew. A file that is damaged, of another version or of another study makes the table as good
as empty: it is read from the storage again.

Left out: what is in the rows, and whether they still are those of the storage
(:mod:`nas.records.store`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import weakref
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from nas.records.databases import shown_url
from nas.records.stored import Location

FORMAT = 1
"""The version of the files; another one is read from the storage again."""

DIRECTORY = "cache"
MANIFEST = "manifest.json"
_SEGMENT = re.compile(r"[0-9]{6}-[0-9a-f]{16}\.parquet")
_LITTER = re.compile(rf"({_SEGMENT.pattern}|\.[0-9a-f]{{16}}\.tmp)")
_REPEATED = ("state", "origin")
"""Columns of texts that many rows share."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class Witness:
    """The trial of a segment that ended last, as the storage has it.

    Finished trials never change and are never taken out one by one. So if this one is the same in
    the storage, those that were read before it are as well. ``digest`` is of its attributes.
    """

    trial_id: int
    number: int
    state: str
    started: str
    finished: str
    digest: str


@dataclass(frozen=True)
class Segment:
    """A file of rows; ``trials`` counts the finished trials that were read for it."""

    file: str
    crc32: int
    trials: int
    witness: Witness


@dataclass(frozen=True)
class Manifest:
    """What a table's files hold: all finished trials up to the id ``upto`` but the open ones."""

    upto: int
    unfinished: tuple[int, ...]
    segments: tuple[Segment, ...]


def cache_directory(location: Location) -> Path | None:
    """Where a run's cache belongs; it need not exist yet. None where there is no place for it.

    That is the run's own directory, where the database lies in it and where it can be written (or
    has a cache already), else a directory of the user's own: ``$NAS_CACHE`` or ``~/.cache/nas``.
    """
    database = location.database
    if database is not None and database.parent == location.path:
        own = location.path / DIRECTORY
        if own.is_dir() or os.access(location.path, os.W_OK):
            return own
    given = os.environ.get("NAS_CACHE")
    try:
        root = Path(given) if given else Path.home() / ".cache" / "nas"
    except RuntimeError:  # a user without a home
        return None
    where = str(database.resolve()) if database is not None else shown_url(location.url)
    key = hashlib.sha256(f"{where}\n{location.name}".encode()).hexdigest()
    return root / "runs" / key[:32]


class TableFiles:
    """The files of one table of a run.

    Args:
        directory: of the run's cache.
        table: the table's name, which its own directory gets.
        identity: what the rows depend on besides the trials themselves.
    """

    def __init__(self, directory: Path, table: str, identity: str) -> None:
        self._directory = directory / table
        self._identity = hashlib.sha256(f"{FORMAT}\n{identity}".encode()).hexdigest()
        self._loaded: bytes | None = None
        self._has_lock = False

    @property
    def path(self) -> Path:
        """The table's directory."""
        return self._directory

    def load(self, schema: Any) -> tuple[Manifest, list[tuple[Segment, Any]]] | None:
        """The manifest and its segments' rows; None where there is none that can be used.

        Raises:
            OSError: files that are there cannot be read.
        """
        for _ in range(_ATTEMPTS):
            manifest = self._read_manifest()
            if manifest is None:
                return None
            try:
                return manifest, [(one, self._read(one, schema)) for one in manifest.segments]
            except FileNotFoundError:
                continue  # a writer has replaced it between the two readings
            except (ValueError, pa.ArrowException):
                return None
        return None

    def lock(self) -> bool:
        """Become the one that writes, until this object goes; whether that came about.

        Raises:
            OSError: the directory cannot be written.
        """
        if self._has_lock:
            return True
        cache = self._directory.parent
        if cache.is_symlink() or self._directory.is_symlink():
            raise OSError(f"{cache} leads to another place")
        if cache.name == DIRECTORY:
            # Not its parents: a run that was deleted must not come back as an empty directory.
            cache.mkdir(exist_ok=True)
        self._directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError:
            os.close(handle)
            raise
        weakref.finalize(self, os.close, handle)
        self._has_lock = True
        return True

    @property
    def is_as_loaded(self) -> bool:
        """Whether the manifest on disk still is the one that was loaded or written last here."""
        return self._manifest_bytes() == self._loaded

    def write_segment(self, table: Any, number: int, trials: int, witness: Witness) -> Segment:
        """Write rows as a segment; no manifest names it yet.

        Raises:
            OSError: there is no room, or the disk is read-only.
        """
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        # Most texts occur once: a dictionary of them would only cost time.
        names = [
            field.name
            for field in table.schema
            if field.type != pa.large_string() or field.name in _REPEATED
        ]
        pq.write_table(
            table, sink, compression="zstd", use_dictionary=names, write_statistics=False
        )
        content = sink.getvalue()
        file = f"{number:06d}-{secrets.token_hex(8)}.parquet"
        self._write(file, content)
        return Segment(file, zlib.crc32(content), trials, witness)

    def write_manifest(self, manifest: Manifest) -> None:
        """Make the segments that it names the table, and remove all others.

        Raises:
            OSError: there is no room, or the disk is read-only.
        """
        data = {"format": FORMAT, "identity": self._identity, **asdict(manifest)}
        content = json.dumps(data).encode()
        self._write(MANIFEST, content)
        self._loaded = content
        self._remove_litter({segment.file for segment in manifest.segments})

    def clear(self) -> None:
        """Remove all that was written: it is of another study."""
        if not self._has_lock:
            return
        with contextlib.suppress(OSError):
            (self._directory / MANIFEST).unlink(missing_ok=True)
        self._loaded = None
        self._remove_litter(set())

    def _read_manifest(self) -> Manifest | None:
        content = self._loaded = self._manifest_bytes()
        if content is None:
            return None
        try:
            data = json.loads(content)
            if data["format"] != FORMAT or data["identity"] != self._identity:
                return None
            return Manifest(
                int(data["upto"]),
                tuple(map(int, data["unfinished"])),
                tuple(_segment(one) for one in data["segments"]),
            )
        except (ValueError, KeyError, TypeError):
            return None

    def _manifest_bytes(self) -> bytes | None:
        try:
            return (self._directory / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read(self, segment: Segment, schema: Any) -> Any:
        import pyarrow.parquet as pq

        content = (self._directory / segment.file).read_bytes()
        if zlib.crc32(content) != segment.crc32:
            raise ValueError(f"{segment.file} is damaged")
        # On a busy machine threads cost more than they save.
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        if not table.schema.equals(schema):
            raise ValueError(f"{segment.file} has other columns")
        return table

    def _write(self, name: str, content: Any) -> None:
        temporary = self._directory / f".{secrets.token_hex(8)}.tmp"
        try:
            temporary.write_bytes(content)
            os.replace(temporary, self._directory / name)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _remove_litter(self, kept: set[str]) -> None:
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                if _LITTER.fullmatch(path.name) and path.name not in kept:
                    path.unlink(missing_ok=True)


def _segment(data: dict[str, Any]) -> Segment:
    if not _SEGMENT.fullmatch(str(data["file"])):
        raise ValueError(f"{data['file']!r} is no segment")
    witness = Witness(**data["witness"])
    return Segment(str(data["file"]), int(data["crc32"]), int(data["trials"]), witness)
