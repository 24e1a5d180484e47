"""Data sets of the Hugging Face hub, by way of its ``datasets`` library and its cache.

Without a network, what the library has cached is used. ``datasets`` takes a second to import; it
is imported when the first such set is. No code of a data set is ever run.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from nas.datasets.columns import (
    Columns,
    class_names_of,
    encoded_images,
    find_columns,
    labels_of,
)
from nas.datasets.decoding import common_shape
from nas.datasets.source import (
    TEST_NAMES,
    EncodedImage,
    Labels,
    SplitName,
    file_identity,
    no_test_split,
)
from nas.datasets.split import DataInfo

_SAMPLE = 64  # images whose headers are read to find the shape
_CHUNK = 512


class HuggingFaceSource:
    """A data set OWNER/NAME, or OWNER/NAME:CONFIG where it has several configurations."""

    def __init__(self, repository: str, *, name: str | None = None, hint: str = "") -> None:
        """``name`` stands for it elsewhere; ``hint`` says what to do without a network."""
        self.name = f"hf:{repository}" if name is None else name
        self._hint = hint
        self._path, _, self._config = repository.partition(":")

    def describe(self) -> DataInfo:
        """From the data set's own description and the headers of its first images.

        Raises:
            ValueError: there is no such set, or its columns or labels are wrong.
            ConnectionError: it is not cached and the hub cannot be reached.
        """
        sample = next(self._chunks(self._train, _SAMPLE), [])
        image = common_shape(self.name, sample)
        test = self._test_name
        num_test = self._train.info.splits[test].num_examples if test else None
        return DataInfo(self.name, image, self._class_names, len(self._train), num_test)

    def labels(self, split: SplitName) -> Labels:
        """From the label column.

        Raises:
            ValueError: there is no such split, or a label is missing or out of range.
        """
        column = self._column(self._data(split), self._columns.label)
        return labels_of(f"{self.name} {split}", self._columns, column, self._class_names)

    def pixels(self, split: SplitName) -> None:
        """Images must be decoded."""
        return

    def chunks(self, split: SplitName) -> Iterator[list[EncodedImage]]:
        """Images' bytes, from the library's memory-mapped cache."""
        return self._chunks(self._data(split), _CHUNK)

    def identity(self, split: SplitName) -> str:
        """The library's cache files, whose path tells the revision."""
        files = [Path(entry["filename"]) for entry in self._data(split).cache_files]
        return file_identity([(str(path), path) for path in files])

    def _load(self, split: str) -> Any:
        try:
            return _load(self._path, self._config or None, split)
        except ConnectionError as error:
            raise ConnectionError(f"{self.name}: {error}{self._hint}") from None

    @cached_property
    def _train(self) -> Any:
        data = self._load("train")
        if not len(data):
            raise ValueError(f"{self.name}: the train split has no rows")
        return data

    @cached_property
    def _test_name(self) -> str | None:
        known = self._train.info.splits or {}
        return next((name for name in TEST_NAMES if name in known), None)

    @cached_property
    def _test(self) -> Any:
        if self._test_name is None:
            known = ", ".join(self._train.info.splits or {})
            raise no_test_split(self.name, f"its splits are {known}")
        return self._load(self._test_name)

    def _data(self, split: SplitName) -> Any:
        return self._train if split == "train" else self._test

    @cached_property
    def _columns(self) -> Columns:
        return find_columns(self.name, self._train.features.arrow_schema)

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        column = None
        if self._columns.class_names is None:
            column = self._column(self._train, self._columns.label)
        return class_names_of(self.name, self._columns, column)

    def _column(self, data: Any, column: str) -> Any:
        if column not in data.column_names:
            raise ValueError(f"{self.name}: the test split has no column {column}, train has")
        return data.select_columns([column]).with_format("arrow")[:].column(0)

    def _chunks(self, data: Any, size: int) -> Iterator[list[EncodedImage]]:
        column = self._columns.image
        if column not in data.column_names:
            raise ValueError(f"{self.name}: the test split has no column {column}, train has")
        number = 0
        # The arrow format hands the bytes over; any other would decode them one by one.
        for table in data.select_columns([column]).with_format("arrow").iter(size):
            yield encoded_images(str(data.split), number, table.column(0), Path())
            number += table.num_rows


def _load(path: str, config: str | None, split: str) -> Any:
    import datasets

    with _offline_without_network():
        try:
            return datasets.load_dataset(path, config, split=split)
        except ConnectionError:
            raise ConnectionError(
                f"{path} is not in the cache of Hugging Face datasets and "
                f"{datasets.config.HF_ENDPOINT} cannot be reached"
            ) from None
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise ValueError(f"hf:{path} cannot be loaded: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _offline_without_network() -> Iterator[None]:
    """Tell the libraries at once that the hub's name does not resolve.

    They would find out themselves, after 20 seconds of printed retries for each request.
    """
    import datasets
    import huggingface_hub

    host = urlsplit(datasets.config.HF_ENDPOINT).hostname or ""
    # Behind a proxy, names are resolved by the proxy.
    if getproxies() or _resolves(host):
        yield
        return
    switches: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    for switch in switches:
        switch.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
