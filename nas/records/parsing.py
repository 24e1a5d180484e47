"""From the texts of a storage to data of a known shape; whatever is wrong is one line.

A database may hold anything: other programs write to it, disks fail, people edit rows.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

MOST_SHOWN = 120
"""Letters of a value that a message shows."""

T = TypeVar("T")


def shown(value: object) -> str:
    """A value in a message: one line, not too long."""
    text = " ".join(str(value).split())
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def load_json(text: object, what: str) -> Any:
    """The data of a JSON text.

    Raises:
        ValueError: it is none; ``what`` begins the message.
    """
    try:
        return json.loads(cast("str", text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{what} is damaged: {shown(error)}") from None


def read_as(kind: type[T], data: Any, what: str) -> T:
    """JSON data as an object of a class, or of a generic type such as ``dict[str, int]``.

    Raises:
        ValueError: it has another shape; the message names the place, the rule and the value.
    """
    try:
        # As JSON, lists are tuples where tuples are asked for, and a text is no number.
        return cast("T", _adapter(kind).validate_json(json.dumps(data), strict=True))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        value = "" if fault["type"] == "missing" else f", not {shown(repr(fault['input']))}"
        rule = str(fault["msg"]).replace("Input should", "it must").lower()
        where = f"{shown(place)}: " if place else ""
        raise ValueError(f"{what} is damaged: {where}{rule}{value}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is damaged: {shown(error)}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
