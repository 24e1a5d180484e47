"""Which columns of a table hold the images and the labels, and labels as integers from 0.

For tables as Hugging Face datasets writes them: an image is a struct of ``bytes`` and ``path`` (or
plain bytes), a label an integer or a text; the schema's metadata may name the features and the
classes. pyarrow is imported when the first table is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.datasets.source import EncodedImage, Labels

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixels", "bytes")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "category", "y")
_MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Columns:
    """Names of the two columns; ``class_names`` where the table says them."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def find_columns(name: str, schema: Any) -> Columns:
    """The image and the label column of a table: by feature, else by type and a common name.

    ``schema`` is a ``pyarrow.Schema``; ``name`` stands in messages.

    Raises:
        ValueError: there is none, or it is not clear which.
    """
    features = _features(schema)
    images = [field.name for field in schema if _holds_images(field, features)]
    marked = [column for column in images if _kind(features, column) == "Image"]
    image = _choose(name, "image", marked or images, IMAGE_NAMES, schema)
    labels = [f.name for f in schema if f.name != image and _kind(features, f.name) == "ClassLabel"]
    if not labels:
        labels = [f.name for f in schema if f.name in LABEL_NAMES and _holds_labels(f)]
    label = _choose(name, "label", labels, LABEL_NAMES, schema)
    classes = features.get(label, {}).get("names")
    return Columns(image, label, tuple(classes) if classes else None)


def _features(schema: Any) -> dict[str, Any]:
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata["info"]["features"]
    except (ValueError, KeyError, TypeError):
        # Metadata of other writers, or none: the columns' types and names must do.
        return {}
    return features if isinstance(features, dict) else {}


def _kind(features: dict[str, Any], column: str) -> str | None:
    feature = features.get(column)
    return feature.get("_type") if isinstance(feature, dict) else None


def _holds_images(field: Any, features: dict[str, Any]) -> bool:
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    if pa.types.is_struct(field.type):
        index = field.type.get_field_index("bytes")
        return index >= 0 and is_bytes(field.type.field(index).type)
    return is_bytes(field.type) and (
        _kind(features, field.name) == "Image" or field.name in IMAGE_NAMES
    )


def _holds_labels(field: Any) -> bool:
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return bool(pa.types.is_integer(kind) or _is_text(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _choose(name: str, what: str, found: list[str], preferred: tuple[str, ...], schema: Any) -> str:
    if len(found) == 1:
        return found[0]
    for column in preferred:
        if column in found:
            return column
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    problem = f"several {what} columns" if found else f"no {what} column"
    raise ValueError(
        f"{name}: {problem}; one of them should be called {preferred[0]}. Columns: {columns}"
    )


def class_names_of(name: str, columns: Columns, train_labels: Any) -> tuple[str, ...]:
    """The classes: as the table names them, else those of the training split's labels.

    ``train_labels`` is a ``pyarrow.ChunkedArray``; texts become classes in their order, integers
    are named by themselves, from 0 to the largest.

    Raises:
        ValueError: there are fewer than two.
    """
    names = columns.class_names
    if names is None:
        values = _values(name, columns, train_labels)
        if values.dtype.kind == "i":
            names = tuple(str(label) for label in range(_largest(name, columns, values) + 1))
        else:
            names = tuple(sorted(set(values.tolist())))
    if len(names) < 2:
        raise ValueError(f"{name}: column {columns.label} has {len(names)} class, two are needed")
    return names


def _largest(name: str, columns: Columns, values: npt.NDArray[Any]) -> int:
    largest = int(values.max(initial=-1))
    if largest >= _MAX_CLASSES:
        raise ValueError(
            f"{name}: label {largest:,} in column {columns.label} is no class from 0 to "
            f"{_MAX_CLASSES - 1:,}"
        )
    return largest


def labels_of(name: str, columns: Columns, column: Any, class_names: tuple[str, ...]) -> Labels:
    """A ``pyarrow.ChunkedArray`` of labels as integers that index ``class_names``.

    Raises:
        ValueError: a label is missing or is none of the classes.
    """
    values = _values(name, columns, column)
    if values.dtype.kind != "i":
        index = {text: label for label, text in enumerate(class_names)}
        wrong = sorted(set(values.tolist()) - set(index))
        if wrong:
            raise ValueError(
                f"{name}: label {wrong[0]!r} in column {columns.label} is a class that training "
                "does not have"
            )
        return np.array([index[text] for text in values.tolist()], dtype=np.int64)
    outside = (values < 0) | (values >= len(class_names))
    if outside.any():
        row = int(outside.argmax())
        hint = "; this split's labels are hidden" if (values == -1).all() else ""
        raise ValueError(
            f"{name}: label {values[row]} of image {row:,} in column {columns.label} is not from "
            f"0 to {len(class_names) - 1} ({len(class_names)} classes){hint}"
        )
    return values


def _values(name: str, columns: Columns, column: Any) -> npt.NDArray[Any]:
    """Labels as a NumPy array of int64 or of texts."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        raise ValueError(
            f"{name}: {column.null_count:,} of {len(column):,} labels in column {columns.label} "
            "are missing"
        )
    if pa.types.is_integer(column.type):
        integers: Labels = column.to_numpy().astype(np.int64)
        return integers
    if _is_text(column.type):
        return np.array(column.to_pylist(), dtype=object)
    raise ValueError(
        f"{name}: column {columns.label} holds {column.type}, not whole numbers or texts"
    )


def encoded_images(where: str, first: int, column: Any, directory: Path) -> list[EncodedImage]:
    """The images of a ``pyarrow`` column; ``directory`` is where relative paths start.

    An image is called by its path, else by ``where`` and its number, counted from ``first``.
    """
    return [
        _encoded(f"{where} image {number}", value, directory)
        for number, value in enumerate(column.to_pylist(), first)
    ]


def _encoded(number: str, value: Any, directory: Path) -> EncodedImage:
    path = value.get("path") if isinstance(value, dict) else None
    content = value.get("bytes") if isinstance(value, dict) else value
    name = f"{number} ({path})" if path else number
    if content is None and path:
        return EncodedImage(name, directory / path)
    # A missing image is an empty file, which decoding then names and counts.
    return EncodedImage(name, content or b"")
