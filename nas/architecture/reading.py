"""Between data and JSON; pydantic's errors in one line of place, rule and value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from nas.architecture.checking import shortened, shown

FORMAT = 1
"""The version that :meth:`Architecture.to_json` writes; a newer one is refused."""

T = TypeVar("T")


def load_data(text: str | bytes) -> dict[str, Any]:
    """The fields of an architecture's JSON, its format checked and taken out.

    Raises:
        ValueError: the text is no JSON object, or of a newer format.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the architecture is not valid, complete JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"an architecture must be a JSON object, not {shown(data)}")
    if "format" not in data:
        raise ValueError("format is missing: this JSON object is no architecture")
    version = data.pop("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"format must be an integer from 1, not {shown(version)}")
    if version > FORMAT:
        raise ValueError(
            f"format {version} is newer than this version reads ({FORMAT}); "
            f"update the package to read it"
        )
    return data


def to_data(value: Any) -> Any:
    """Tuples and dataclasses as lists and dicts."""
    if isinstance(value, tuple):
        return [to_data(item) for item in value]
    if not is_dataclass(value):
        return value
    return {item.name: to_data(getattr(value, item.name)) for item in fields(value)}


def parse(reader: TypeAdapter[T], data: dict[str, Any]) -> T:
    """Read a whole; the first thing wrong is told in one line."""
    try:
        # Lists become tuples here; the checks of the dataclasses do the rest.
        return reader.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise ValueError(_explain(error.errors(include_url=False)[0], data)) from None


# pydantic's words for what a reader of JSON can get wrong, in ours.
_RULES = {
    "int_type": " must be an integer",
    "int_from_float": " must be an integer",
    "float_type": " must be a number",
    "bool_type": " must be true or false",
    "tuple_type": " must be a list",
    "dataclass_type": " must be an object",
    "dict_type": " must be an object",
    "too_long": " must hold fewer values",
}


def _explain(error: ErrorDetails, data: dict[str, Any]) -> str:
    """One line of the place, the rule and the value."""
    kind, context = error["type"], error.get("ctx", {})
    where, value = "architecture" + _path(error["loc"], data), shown(error["input"])
    whole = {
        "missing": f"{where} is missing",
        "unexpected_keyword_argument": f"{where} is no field of an architecture; it holds {value}",
        "union_tag_not_found": f"{where}.op is missing in {value}",
    }
    if kind in whole:
        return whole[kind]
    if kind == "value_error":
        message = str(context["error"])
        return message if message.startswith("Architecture.") else f"{where}: {message}"
    if kind == "union_tag_invalid":
        options = context["expected_tags"].replace(", ", " or ")
        return f"{where}.op must be {options}, not {shown(error['input']['op'])}"
    rule = _RULES.get(kind, f": {error['msg']}")
    if kind == "literal_error":
        rule = f" must be {context['expected']}"
    return f"{where}{rule}, not {value}"


def _path(steps: Sequence[int | str], value: Any) -> str:
    """Where in the data an error is; pydantic names an op's tag as a step of its own."""
    path = ""
    for step in steps:
        if isinstance(value, dict) and value.get("op") == step:
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{shortened(step)}"
        inside = isinstance(value, dict) and step in value
        inside = inside or (isinstance(value, list) and isinstance(step, int) and step < len(value))
        value = value[step] if inside else None
    return path
