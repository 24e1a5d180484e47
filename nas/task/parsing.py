"""Settings from outside: plain YAML, strict models, and one line for the first thing wrong."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """A frozen model that takes no unknown field and converts nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


_Model = TypeVar("_Model", bound=Settings)

_TAGS = ("triangle", "steps", "cosine")
"""Kinds of schedules: pydantic puts them into a field's path, where a file has no such step."""


def read_yaml_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ValueError: no UTF-8 text, no plain YAML, or not a mapping.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error}") from None
    return read_yaml(text, str(path))


def read_yaml(text: str, source: str) -> dict[str, Any]:
    """A mapping from plain YAML; Python objects in it are refused, not built."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{source}{place}: {' '.join(str(error.problem).split())}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{source}: is not plain YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{source}: must be a mapping of settings, not {_shown(data)}")
    return data


def parse_settings(model: type[_Model], data: Any, source: str) -> _Model:
    """A model from nested data; ValueError names source, path, rule and value."""
    try:
        # As JSON, so that lists become tuples while everything else stays strict.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ValueError(f"{source}: {_first_error(error)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        # A date, or an anchor within itself.
        raise ValueError(f"{source}: holds what JSON cannot: {error}") from None


def unknown_value(source: str, path: str, value: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the known ones, with the nearest."""
    names = list(known)
    near = difflib.get_close_matches(str(value)[:100], names, n=1, cutoff=0.0)
    return ValueError(
        f"{source}: {path}: must be one of {', '.join(names)}, not {_shown(value)}; "
        f"did you mean {near[0]!r}?"
    )


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = ".".join(_cut(str(step)) for step in first["loc"] if step not in _TAGS)
    rule = first["msg"].removeprefix("Value error, ")
    start = f"{path}: " if path else ""
    if first["type"] == "extra_forbidden":
        return f"{start}is not a setting; remove it (value {_shown(first['input'])})"
    if first["type"] in ("value_error", "missing"):
        return f"{start}{rule}"
    return f"{start}{rule}, not {_shown(first['input'])}"


def _shown(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
