"""Reading the file of a search space, and one line for whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from nas.space.schema import SpaceFile
from nas.space.values import spell

MAX_FILE_BYTES = 1_000_000

# pydantic's own rules, in the words of the others.
_RULES = {
    "dict_type": "it must have keys",
    "int_parsing": "it must be an integer",
    "int_type": "it must be an integer",
    "list_type": "it must be a list",
    "model_attributes_type": "it must have keys",
    "string_pattern_mismatch": "it must be up to 64 letters, digits, _, . and -",
    "string_type": "it must be text",
    "too_short": "the list must not be empty",
}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, and a key given twice is an error instead of the last one's victory."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if key_node.tag != "tag:yaml.org,2002:merge" and isinstance(key, str):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                seen.append(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping that the file holds; no object but YAML's own is ever constructed.

    Raises:
        ValueError: it is no YAML, or no mapping; the message is one line that names the place.
    """
    if len(text) > MAX_FILE_BYTES:
        raise ValueError(
            f"{source}: it must be at most {MAX_FILE_BYTES:,} bytes, not {len(text):,}"
        )
    try:
        # The loader is a SafeLoader.
        data = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{source}{place}: {_one_line(error.problem)}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{source}: it is not YAML: {_one_line(error)}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{source}: it must be a mapping with a format, not {spell(data)}")
    return data


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def read_space_file(data: Mapping[str, Any], source: str) -> SpaceFile:
    """Check what :func:`parse_yaml` read.

    Raises:
        ValueError: one line with the file, the path, the rule and the value (of the first fault).
    """
    try:
        return SpaceFile.model_validate(dict(data))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ValueError(f"{source}: {_path(fault['loc'])}{_rule(fault)}") from None


def _path(steps: tuple[int | str, ...]) -> str:
    # pydantic names the member of the union after the stem's index.
    shown = steps[:2] + steps[3:] if steps[:1] == ("stem",) and len(steps) > 2 else steps
    shown = tuple(step for step in shown if step != "[key]")
    return f"{'.'.join(_short(step) for step in shown)}: " if shown else ""


def _short(step: int | str) -> str:
    text = str(step)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _rule(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return message
    if fault["type"] == "missing":
        return "it must be given"
    if fault["type"].startswith("union_tag"):
        return f"op must be conv or pool, not {spell(fault['input'])}"
    rule = _RULES.get(fault["type"]) or message.replace("Input should", "it must")
    return f"{rule}, not {spell(fault['input'])}"
