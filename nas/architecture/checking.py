"""What the parts of an architecture refuse: one message of field, rule and value."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

MAX_CHANNELS = 65_536
MAX_CLASSES = 1_000_000
MAX_CELLS = 256
MAX_OPS = 64

STRICT = ConfigDict(extra="forbid")


def check_integer(owner: str, name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer in a range; a bool is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{owner}.{name} must be an integer from {low} to {high:,}, not {value!r}")


def is_number(value: object) -> bool:
    """Whether it is an integer or a float; a bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_fraction(owner: object, name: str) -> None:
    """Refuse what is not in [0, 1); make it a float."""
    value = getattr(owner, name)
    if not is_number(value) or not 0 <= value < 1:
        rule = "must be at least 0 and under 1"
        raise ValueError(f"{type(owner).__name__}.{name} {rule}, not {value!r}")
    set_float(owner, name, value)


def set_float(owner: object, name: str, value: float) -> None:
    """Make 0, 0.0 and -0.0 one value, so that equal networks have one JSON."""
    object.__setattr__(owner, name, float(value) + 0.0)


def freeze(owner: object, name: str) -> None:
    """Make a field a tuple, where it is a list."""
    object.__setattr__(
        owner, name, as_tuple(f"{type(owner).__name__}.{name}", getattr(owner, name))
    )


def as_tuple(name: str, value: object) -> tuple[Any, ...]:
    """Refuse what is neither tuple nor list: a cell in place of a stage of one, for instance."""
    if not isinstance(value, tuple | list):
        raise ValueError(f"{name} must be a tuple or a list, not {value!r}")
    return tuple(value)


def check_type(name: str, value: object, kind: type) -> None:
    """Refuse a value of another type."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ValueError(f"{name} must be {article} {kind.__name__}, not {value!r}")


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """A text for a message, cut where it is long."""
    return text if len(text) <= 60 else f"{text[:57]}..."
