"""What a choice can be: an integer range, or one of some options. Values are plain scalars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

Scalar: TypeAlias = int | float | str | bool | None
"""What a choice takes; None is written ``none`` in a space's file."""


class NotInSpaceError(ValueError):
    """An architecture, or a value, that a space does not have; the message says what differs."""


@dataclass(frozen=True)
class Range:
    """The integers ``low``, ``low + step``, ... ``high``; ``step`` divides ``high - low``."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError(f"step must be at least 1, not {self.step}")
        if self.low > self.high:
            raise ValueError(f"low must be at most high, not {self.low} over {self.high}")
        if (self.high - self.low) % self.step:
            raise ValueError(
                f"step must divide high - low ({self.high - self.low}), not {self.step}"
            )

    def __str__(self) -> str:
        step = f" by {self.step}" if self.step > 1 else ""
        return f"{self.low} to {self.high}{step}"

    @property
    def values(self) -> Sequence[Scalar]:
        """All values, the lowest first."""
        return range(self.low, self.high + 1, self.step)

    def find(self, value: object) -> int:
        """The value as an int of the range.

        Raises:
            NotInSpaceError: it is none of them.
        """
        value = _plain(value)
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        if not whole or value not in self.values:
            raise NotInSpaceError(f"{show(value)}, and the space has {self}")
        return int(value)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Options:
    """One of ``values``, which all differ."""

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("the list must not be empty")
        if len(self._by_key) < len(self.values):
            keys = [_key(value) for value in self.values]
            twice = next(value for value in self.values if keys.count(_key(value)) > 1)
            raise ValueError(f"the list must not hold a value twice, as it does {show(twice)}")

    def __str__(self) -> str:
        return " or ".join(map(show, self.values))

    @cached_property
    def _by_key(self) -> dict[tuple[bool, Scalar], Scalar]:
        return {_key(value): value for value in self.values}

    def find(self, value: object) -> Scalar:
        """The value as it stands in the list.

        Raises:
            NotInSpaceError: it is none of them.
        """
        value = _plain(value)
        try:
            return self._by_key[_key(value)]
        except (KeyError, TypeError):
            raise NotInSpaceError(f"{show(value)}, and the space has {self}") from None


Domain: TypeAlias = Range | Options


def show(value: object) -> str:
    """A value as a space's file would have it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _key(value: object) -> tuple[bool, Scalar]:
    # True equals 1 to Python, and they are different options to us.
    return isinstance(value, bool), value  # type: ignore[return-value]


def _plain(value: object) -> object:
    """A numpy scalar, as a row of a table holds it, as Python's own."""
    return value.item() if hasattr(value, "item") else value
