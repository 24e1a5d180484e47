"""A search space: what its choices are, and architectures of it from any source of answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture
from nas.quantities import unknown_name
from nas.space.activity import active_mask
from nas.space.compiling import compile_layout
from nas.space.counting import count_architectures
from nas.space.decoding import active_entries, decode_vector
from nas.space.domains import Domain, NotInSpaceError, Range, Scalar, show
from nas.space.encoding import encode_architecture
from nas.space.reading import parse_yaml, read_space_file

SHIPPED = Path(__file__).parents[2] / "search_spaces"
"""Where the shipped spaces lie: beside the package, in a checkout and where it is installed."""


class Choices(Protocol):
    """Who answers a space's questions; an ``optuna.Trial`` does."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """An integer from ``low`` to ``high`` in steps."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of ``choices``."""


def space_names() -> list[str]:
    """The names of the shipped spaces."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


class SearchSpace:
    """A space of architectures, as a flat and fixed set of choices.

    Each choice exists whatever the others are, and those that do not matter are ignored. So any
    values, one a choice, are an architecture; and an architecture has one canonical encoding, in
    which the choices that do not matter have their first value. docs/spaces.md says how to write
    a space.
    """

    def __init__(self, data: Mapping[str, Any], source: str) -> None:
        spec = read_space_file(data, source)
        try:
            self._layout = compile_layout(spec)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        self._data = dict(data)
        self.name = spec.name
        self.description = " ".join(spec.description.split())
        self.budgets: dict[str, int] = dict(spec.budgets)
        self._prepare()

    def _prepare(self) -> None:
        choices = self._layout.choices
        self._free = self._layout.parameters
        self.parameters: dict[str, Domain] = {
            choices[index].name: choices[index].domain for index in self._free
        }
        self._index = {choices[index].name: index for index in self._free}
        self._values = [choice.domain.values for choice in choices]
        self._lowest = [values[0] for values in self._values]
        self._counts = np.array([choices[index].count for index in self._free], dtype=np.int64)

    @staticmethod
    def load(name_or_path: str | Path) -> SearchSpace:
        """A shipped space by its name, or one of your own by the path of its file.

        Raises:
            ValueError: there is no such space or file, or the file is wrong; one line.
        """
        text = str(name_or_path)
        if text in space_names():
            path = SHIPPED / f"{text}.yaml"
        else:
            path = Path(name_or_path)
            if path.is_dir():
                raise ValueError(f"{text} is a directory, not a space file")
            looks_like_path = path.suffix in (".yaml", ".yml", ".json") or len(path.parts) > 1
            if not looks_like_path and not path.is_file():
                raise ValueError(unknown_name("search space", text, space_names()))
        return SearchSpace.from_yaml(_read_text(path), str(path))

    @staticmethod
    def from_yaml(text: str, source: str = "the space") -> SearchSpace:
        """A space from the text of its file; ``source`` names it in messages.

        Raises:
            ValueError: the text is wrong; one line with source, path, rule and value.
        """
        return SearchSpace(parse_yaml(text, source), source)

    def to_json(self) -> str:
        """The space on one line; :meth:`from_json` reads it back."""
        return json.dumps(self._data)

    @staticmethod
    def from_json(text: str, source: str = "the recorded space") -> SearchSpace:
        """The space that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no space; one line.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{source}: it is not complete JSON: {error}") from None
        if not isinstance(data, dict):
            raise ValueError(f"{source}: it must be a JSON object")
        return SearchSpace(data, source)

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {len(self.parameters)} choices)"

    def __reduce__(self) -> tuple[Any, ...]:
        return SearchSpace.from_json, (self.to_json(),)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen digits that spaces of the same choices share; name and budgets are left out."""
        layout = self._layout
        choices = [[choice.name, repr(choice.domain)] for choice in layout.choices]
        heads = repr(layout.auxiliary and (layout.auxiliary.cells, layout.auxiliary.pool))
        text = json.dumps([choices, heads, layout.eps])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """The number of different architectures, exactly."""
        return count_architectures(self._layout)

    def suggest(self, choices: Choices) -> Architecture:
        """The architecture of the answers to all of the space's questions, in a fixed order."""
        values: dict[str, Scalar] = {}
        for name, domain in self.parameters.items():
            if isinstance(domain, Range):
                values[name] = choices.suggest_int(name, domain.low, domain.high, step=domain.step)
            else:
                values[name] = choices.suggest_categorical(name, domain.values)
        return self.decode(values)

    def decode(self, values: Mapping[str, Any]) -> Architecture:
        """The architecture of some values by the choices' names; inactive ones may be left out.

        Raises:
            ValueError: a choice that matters has no value, or one that it cannot have, or a name
                is not the space's.
        """
        return decode_vector(self._layout, self._vector(values))

    def encode(self, architecture: Architecture) -> dict[str, Scalar]:
        """The canonical values of an architecture: inactive choices have their first value.

        Raises:
            NotInSpaceError: it is not in the space; the message names what differs.
        """
        return self._named(encode_architecture(self._layout, architecture))

    def contains(self, architecture: Architecture) -> bool:
        """Whether the architecture is in the space; :meth:`encode` says why not."""
        try:
            encode_architecture(self._layout, architecture)
        except NotInSpaceError:
            return False
        return True

    def active(self, values: Mapping[str, Any]) -> frozenset[str]:
        """The names of the choices that matter, given the values of all.

        Raises:
            ValueError: as :meth:`decode`.
        """
        return frozenset(self._active_names(self._vector(values)))

    def active_mask(self, positions: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Whether each choice matters in each of many vectors: N, choices, as ``parameters``.

        ``positions`` (N, choices) say where each value stands in the values of its domain.
        """
        entries = np.zeros((len(positions), len(self._layout.choices)), dtype=positions.dtype)
        entries[:, self._free] = positions
        return active_mask(self._layout, entries)[:, self._free]

    def random(self, rng: np.random.Generator) -> Architecture:
        """An architecture from uniform answers to each question."""
        return decode_vector(self._layout, self._random_vector(rng))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Another architecture of the space, by another answer to one active question.

        What the new answer makes active is drawn anew, but a new cell copies the one before it.

        Raises:
            NotInSpaceError: the architecture is not in the space.
            ValueError: the space has no other architecture.
        """
        before = encode_architecture(self._layout, architecture)
        active = sorted(self._active_free(before))
        if not active:
            raise ValueError(f"the space {self.name} has one architecture, nothing can be changed")
        index = active[int(rng.integers(len(active)))]
        after = self._random_vector(rng)
        for kept in active:
            after[kept] = before[kept]
        others = [value for value in self._values[index] if value != before[index]]
        after[index] = others[int(rng.integers(len(others)))]
        self._copy_to_new_cells(before, after)
        return decode_vector(self._layout, after)

    def crossover(
        self, first: Architecture, second: Architecture, rng: np.random.Generator
    ) -> Architecture:
        """An architecture with the answers of either parent; where one has none, the other's.

        Raises:
            NotInSpaceError: a parent is not in the space.
        """
        vectors = [encode_architecture(self._layout, parent) for parent in (first, second)]
        active = [self._active_free(vector) for vector in vectors]
        child = list(self._lowest)
        coins = rng.integers(2, size=len(self._free))
        for index, coin in zip(self._free, coins.tolist(), strict=True):
            parent = coin if index in active[coin] else 1 - coin
            child[index] = vectors[parent][index]
        return decode_vector(self._layout, child)

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture, once; see ``size`` first."""
        for vector in self._vectors(list(self._lowest), 0):
            yield decode_vector(self._layout, vector)

    def _vectors(self, vector: list[Scalar], rank: int) -> Iterator[list[Scalar]]:
        """Complete a vector whose choices of lower rank are settled."""
        choices = self._layout.choices
        if rank > max(choice.rank for choice in choices):
            yield vector
            return
        # What is active at a rank depends on lower ranks only.
        here = [i for i in sorted(self._active_free(vector)) if choices[i].rank == rank]
        for values in product(*(self._values[index] for index in here)):
            for index, value in zip(here, values, strict=True):
                vector[index] = value
            yield from self._vectors(list(vector), rank + 1)

    def _random_vector(self, rng: np.random.Generator) -> list[Scalar]:
        vector = list(self._lowest)
        drawn = rng.integers(self._counts).tolist()
        for index, position in zip(self._free, drawn, strict=True):
            vector[index] = self._values[index][position]
        return vector

    def _copy_to_new_cells(self, before: list[Scalar], after: list[Scalar]) -> None:
        """Give each cell that was not there before the choices of its predecessor."""
        layout = self._layout
        num_before, num_after = before[layout.count], after[layout.count]
        for stage in range(int(num_after or 0)):
            old = int(before[layout.cells[stage]] or 0) if stage < int(num_before or 0) else 0
            new = int(after[layout.cells[stage]] or 0)
            for position in range(max(old, 1), new):
                source, target = layout.stages[stage][position - 1 : position + 1]
                for one, other in zip(source.branches, target.branches, strict=True):
                    for field in ("present", "pool", "reduce", "channels", "forms", "inner"):
                        after[getattr(other, field)] = after[getattr(one, field)]
                if source.residual is not None and target.residual is not None:
                    after[target.residual] = after[source.residual]

    def _active_free(self, vector: list[Scalar]) -> set[int]:
        counts = self._layout.choices
        return {i for i in active_entries(self._layout, vector) if counts[i].count > 1}

    def _active_names(self, vector: list[Scalar]) -> Iterator[str]:
        for index in self._active_free(vector):
            yield self._layout.choices[index].name

    def _named(self, vector: Sequence[Scalar]) -> dict[str, Scalar]:
        return {name: vector[index] for name, index in self._index.items()}

    def _vector(self, values: Mapping[str, Any]) -> list[Scalar]:
        vector, faults = list(self._lowest), {}
        for name, index in self._index.items():
            if name not in values:
                faults[index] = f"{name} must be given"
                continue
            try:
                vector[index] = self.parameters[name].find(values[name])
            except NotInSpaceError as error:
                faults[index] = f"{name} is {error}"
        if len(values) > len(self._index) - len(faults):
            unknown = next((name for name in values if name not in self._index), None)
            if unknown is not None:
                raise ValueError(f"the space {self.name} has no choice {show(unknown)}")
        if faults:
            # An answer that is wrong where nothing depends on it is ignored like a right one.
            matter = sorted(self._active_free(vector) & set(faults))
            if matter:
                raise ValueError(faults[matter[0]])
        return vector


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: a space's file must be UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{path}: the space's file cannot be read: {error.strerror}") from None
