"""The flat, fixed vector of a space's choices, and where an architecture's parts stand in it.

Every part of every stage up to the largest number and of every cell up to the largest number has
its place, so each vector of values is an architecture (:mod:`nas.space.decoding`). A choice of
scope ``network`` or ``stage`` stands in the vector once and several cells point to it. A fixed
value stands there too: its choice has one value and is no parameter.

Left out: how a file becomes a layout (:mod:`nas.space.compiling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.architecture import AdaptivePool, Pool
from nas.space.domains import Domain

BRANCH_FIELDS = ("present", "pool", "reduce", "channels", "forms", "inner")
Signature = tuple[bool, tuple[str, ...]]
"""What tells branches apart whatever their widths: whether they pool, and their kernels."""

Found = tuple[int, str | None, bool]
"""What a signature stands for: the branch's number, its form, and whether it has a reduce."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of the vector. ``rank`` orders choices: activity depends on lower ranks only."""

    name: str
    domain: Domain
    scope: str
    rank: int

    @property
    def count(self) -> int:
        """Number of values; a choice with one is no parameter."""
        return len(self.domain.values)


@dataclass(frozen=True, slots=True)
class BranchPlace:
    """Where a branch's fields stand in the vector; named as in the file."""

    name: str
    present: int
    pool: int
    reduce: int
    channels: int
    forms: int
    inner: int


@dataclass(frozen=True, slots=True)
class CellPlace:
    """Where a cell's choices stand; a strided cell (``residual`` is None) stands between stages."""

    name: str
    residual: int | None
    branches: tuple[BranchPlace, ...]
    signatures: Mapping[Signature, Found]

    @property
    def stride(self) -> int:
        """Of each branch."""
        return 2 if self.residual is None else 1


@dataclass(frozen=True, slots=True)
class OpPlace:
    """Where the fields of a convolution or a pooling stand, each under its name."""

    name: str
    is_conv: bool
    fields: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReductionPlace:
    """Where the choices of one reduction stand, for each kind that it can take."""

    name: str
    kind: int
    ops: Mapping[str, OpPlace]
    cell: CellPlace | None


@dataclass(frozen=True, slots=True)
class AuxiliaryPlace:
    """Where the choices of the auxiliary heads stand, and the cells that heads follow."""

    present: int
    fields: Mapping[str, int]
    cells: tuple[tuple[int, int], ...]
    pool: Pool | AdaptivePool


@dataclass(frozen=True, slots=True)
class Layout:
    """A space, compiled: all choices and where each part of an architecture finds its own."""

    choices: tuple[Choice, ...]
    stem: tuple[OpPlace, ...]
    count: int
    cells: tuple[int, ...]
    stages: tuple[tuple[CellPlace, ...], ...]
    reductions: tuple[ReductionPlace, ...]
    auxiliary: AuxiliaryPlace | None
    head: OpPlace
    hidden: tuple[int, ...]
    norm: int
    eps: float

    @property
    def parameters(self) -> list[int]:
        """The entries of the vector that are choices indeed."""
        return [index for index, choice in enumerate(self.choices) if choice.count > 1]
