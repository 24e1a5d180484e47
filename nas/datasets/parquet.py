"""A directory of Parquet files: train*.parquet, and test*.parquet or val*.parquet.

pyarrow is imported when the first file is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

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


class ParquetSource:
    """Images inside Parquet files, as Hugging Face datasets writes them."""

    def __init__(self, directory: Path) -> None:
        self.name = f"parquet:{directory}"
        self._directory = directory

    def describe(self) -> DataInfo:
        """From the files' metadata, the labels, and the headers of the first images.

        Raises:
            ValueError: files, columns or labels are missing or wrong.
        """
        sample = next(self._chunks(self._train, _SAMPLE), [])
        image = common_shape(self.name, sample)
        num_test = self._count(self._test) if self._test else None
        return DataInfo(self.name, image, self._class_names, self._count(self._train), num_test)

    def labels(self, split: SplitName) -> Labels:
        """From the label column.

        Raises:
            ValueError: there is no such split, or a label is missing or out of range.
        """
        column = self._label_column(self._files(split))
        return labels_of(f"{self.name} {split}", self._columns, column, self._class_names)

    def pixels(self, split: SplitName) -> None:
        """Images must be decoded."""
        return

    def chunks(self, split: SplitName) -> Iterator[list[EncodedImage]]:
        """Images' bytes, file by file."""
        return self._chunks(self._files(split), _CHUNK)

    def identity(self, split: SplitName) -> str:
        """Names, sizes and times of change of the files."""
        return file_identity([(path.name, path) for path in self._files(split)])

    @cached_property
    def _train(self) -> list[Path]:
        if not self._directory.is_dir():
            kind = "is not a directory" if self._directory.exists() else "does not exist"
            raise ValueError(f"{self.name}: {self._directory} {kind}")
        files = self._named("train")
        if not files:
            raise ValueError(f"{self.name}: {self._directory} has no file train*.parquet")
        if not self._count(files):
            raise ValueError(f"{self.name}: {files[0].name} has no rows")
        return files

    @cached_property
    def _test(self) -> list[Path]:
        return next((files for name in TEST_NAMES if (files := self._named(name))), [])

    def _named(self, prefix: str) -> list[Path]:
        return sorted(self._directory.glob(f"{prefix}*.parquet"))

    def _files(self, split: SplitName) -> list[Path]:
        if split == "train":
            return self._train
        if not self._test:
            raise no_test_split(self.name, "it would be test*.parquet or val*.parquet")
        return self._test

    def _open(self, path: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{self.name}: {path.name} cannot be read: {reason}") from None

    def _count(self, files: list[Path]) -> int:
        total = 0
        for path in files:
            with self._open(path) as file:
                total += file.metadata.num_rows
        return total

    @cached_property
    def _columns(self) -> Columns:
        with self._open(self._train[0]) as file:
            return find_columns(f"{self.name}: {self._train[0].name}", file.schema_arrow)

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        column = self._label_column(self._train) if self._columns.class_names is None else None
        return class_names_of(self.name, self._columns, column)

    def _label_column(self, files: list[Path]) -> Any:
        import pyarrow as pa

        parts = []
        for path in files:
            with self._open(path) as file:
                self._check_has(path, file, self._columns.label)
                parts += file.read(columns=[self._columns.label]).column(0).chunks
        return pa.chunked_array(parts)

    def _check_has(self, path: Path, file: Any, column: str) -> None:
        if column not in file.schema_arrow.names:
            raise ValueError(
                f"{self.name}: {path.name} has no column {column}, {self._train[0].name} has"
            )

    def _chunks(self, files: list[Path], size: int) -> Iterator[list[EncodedImage]]:
        for path in files:
            number = 0
            with self._open(path) as file:
                self._check_has(path, file, self._columns.image)
                for batch in file.iter_batches(size, columns=[self._columns.image]):
                    yield encoded_images(path.name, number, batch.column(0), self._directory)
                    number += batch.num_rows
