"""What may stand in the file of a search space, part by part; docs/spaces.md says how to write one.

A :class:`SpaceFile` is right in each of its parts; what parts mean together is
:mod:`nas.space.layout`'s, reading the file :mod:`nas.space.reading`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from nas.architecture import MAX_CELLS, MAX_CHANNELS, MAX_OPS
from nas.quantities import parse_size, unknown_name
from nas.space.values import (
    Value,
    boolean,
    fixed,
    form,
    inner_width,
    kernel,
    number,
    or_none,
    read_value,
    spell,
    whole,
    word,
)

FORMAT = 1
"""The version of the file; a newer one is refused."""

MAX_STAGES = 16
RESERVED = ("stem", "stages", "reductions", "auxiliary", "head", "norm", "residual", "cells")
REDUCTION_KINDS = ("max", "avg", "conv", "cell")

_BRANCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*", re.ASCII)
_ONCE: tuple[str, ...] = ()

_width = whole("a width", 1, MAX_CHANNELS)
_fraction = number("it", 0, 1, rule="at least 0 and under 1")

Width = Annotated[Value, read_value(_width)]
Structure = Annotated[Value, read_value(boolean)]
NetworkWidth = Annotated[Value, read_value(_width, _ONCE)]
NetworkFraction = Annotated[Value, read_value(_fraction, _ONCE)]
NetworkFlag = Annotated[Value, read_value(boolean, _ONCE)]
Stride = Annotated[Value, read_value(whole("a stride", 1, 8), _ONCE)]
ConvKernel = Annotated[Value, read_value(kernel, _ONCE)]
PoolKind = Annotated[Value, read_value(word("max", "avg"), _ONCE)]
PoolKernel = Annotated[Value, read_value(whole("a pooling's kernel", 2, 31), _ONCE)]
Padding = Annotated[Value, read_value(whole("a padding", 0, 15), _ONCE)]


class _Part(BaseModel):
    """A mapping of the file; a key that it does not know is an error that names the nearest."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, raw: Any) -> Any:
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, Mapping):
            raise ValueError(f"it must have keys ({', '.join(cls.model_fields)}), not {spell(raw)}")
        for key in raw:
            if key not in cls.model_fields:
                raise ValueError(unknown_name("key", key, cls.model_fields))
        return raw


class StemConv(_Part):
    """A convolution of the stem, with its norm and ReLU."""

    op: Literal["conv"]
    kernel: ConvKernel
    channels: NetworkWidth
    stride: Stride = fixed(1)


class PoolSpec(_Part):
    """A pooling: of the stem (with ``op``, ``kind`` and ``stride``) or as a reduction."""

    kernel: PoolKernel = fixed(3)
    padding: Padding = fixed(1)
    ceil: NetworkFlag = fixed(False)


class StemPool(PoolSpec):
    """A pooling of the stem."""

    op: Literal["pool"]
    kind: PoolKind = fixed("max")
    stride: Stride


MISSING = fixed("missing")
"""Stands where a branch gives no ``channels`` or ``forms``; never reaches a layout."""


class BranchSpec(_Part):
    """One branch: pooling or none, 1x1 reduce or none, and a form; or pooling and a projection.

    ``channels`` is the width of the last convolution, ``none`` where a pooling stands alone.
    """

    present: Structure = fixed(True)
    pool: Annotated[Value, read_value(or_none(word("max", "avg")))] = fixed(None)
    reduce: Annotated[Value, read_value(or_none(_width))] = fixed(None)
    channels: Annotated[Value, read_value(or_none(_width))]
    forms: Annotated[Value, read_value(form)]
    inner: Annotated[Value, read_value(inner_width)] = fixed("channels")


def _check_branch_names(raw: Any) -> Any:
    for name in raw if isinstance(raw, Mapping) else ():
        if not isinstance(name, str) or not _BRANCH_NAME.fullmatch(name) or name.isdecimal():
            raise ValueError(
                f"a branch's name must be letters, digits, +, - and _, and no number, "
                f"not {spell(name)}"
            )
        if name in RESERVED:
            raise ValueError(f"a branch's name must not be one of {', '.join(RESERVED)}: {name!r}")
    return raw


def _partial(raw: Any) -> Any:
    """Let a branch of an override, or one that completes a pooling, leave out what is required.

    Missing keys get a mark that the layout replaces or refuses.
    """
    if not isinstance(raw, Mapping):
        return raw
    return {
        name: {"channels": MISSING, "forms": MISSING, **branch}
        if isinstance(branch, Mapping)
        else branch
        for name, branch in raw.items()
    }


Branches = Annotated[
    dict[str, BranchSpec], BeforeValidator(_partial), BeforeValidator(_check_branch_names)
]


class CellSpec(_Part):
    """What a cell of any stage can be."""

    residual: Structure = fixed(False)
    branches: Branches


class StageOverride(_Part):
    """What differs in one stage: its number of cells, or parts of the cell."""

    cells: Annotated[Value, read_value(whole("a number of cells", 1, MAX_CELLS), _ONCE)] | None = (
        None
    )
    residual: Structure | None = None
    branches: Branches = {}


class StagesSpec(_Part):
    """How many stages there are, how many cells each has, and where a stage differs."""

    count: Annotated[Value, read_value(whole("a number of stages", 1, MAX_STAGES), _ONCE)]
    cells: Annotated[Value, read_value(whole("a number of cells", 1, 64), ("network", "stage"))]
    overrides: dict[int, StageOverride] = {}


class ReducingConv(_Part):
    """A strided convolution as a reduction."""

    kernel: ConvKernel = fixed("3x3")
    channels: NetworkWidth


class ReducingCell(_Part):
    """A strided cell as a reduction."""

    branches: Branches


class ReductionOverride(_Part):
    """What differs in the reduction after one stage."""

    kind: Annotated[Value, read_value(word(*REDUCTION_KINDS), _ONCE)] | None = None
    max: PoolSpec | None = None
    avg: PoolSpec | None = None
    conv: ReducingConv | None = None
    cell: ReducingCell | None = None


class ReductionsSpec(_Part):
    """What stands between two stages, always with stride 2."""

    kind: Annotated[Value, read_value(word(*REDUCTION_KINDS), ("network", "stage"))] = fixed("max")
    max: PoolSpec = PoolSpec()
    avg: PoolSpec = PoolSpec()
    conv: ReducingConv | None = None
    cell: ReducingCell | None = None
    overrides: dict[int, ReductionOverride] = {}


class Place(_Part):
    """The cell that an auxiliary head follows."""

    stage: Annotated[int, Field(strict=True, ge=0, lt=MAX_STAGES)]
    cell: Annotated[int, Field(strict=True, ge=0, lt=MAX_CELLS)]


class AuxiliaryPool(_Part):
    """An average pooling without padding, or to ``side`` x ``side`` pixels whatever the map."""

    kernel: Annotated[int, Field(strict=True, ge=2, le=31)] = 5
    stride: Annotated[int, Field(strict=True, ge=1, le=8)] = 3
    side: Annotated[int, Field(strict=True, ge=1, le=32)] | None = None

    @model_validator(mode="after")
    def _check_one_way(self) -> AuxiliaryPool:
        if self.side is not None and self.model_fields_set != {"side"}:
            raise ValueError("it must give either side, or kernel and stride, not both")
        return self


class AuxiliarySpec(_Part):
    """Heads for training only; one whose cell an architecture does not have is left out."""

    present: NetworkFlag
    heads: Annotated[list[Place], Field(min_length=1, max_length=MAX_OPS)]
    pool: AuxiliaryPool = AuxiliaryPool()
    channels: NetworkWidth = fixed(128)
    hidden: NetworkWidth = fixed(1024)
    dropout: NetworkFraction = fixed(0.7)
    weight: Annotated[
        Value, read_value(number("it", 1e-9, 10.0000001, rule="over 0 and at most 10"), _ONCE)
    ] = fixed(0.3)


class HeadSpec(_Part):
    """Pooling or flattening, fully connected layers, dropout."""

    pool: Annotated[Value, read_value(word("average", "flatten"), _ONCE)] = fixed("average")
    hidden: list[Annotated[Value, read_value(or_none(_width), _ONCE)]] = []
    dropout: NetworkFraction = fixed(0.4)


class NormSpec(_Part):
    """Batch norm, or none (then convolutions have a bias)."""

    kind: Annotated[Value, read_value(word("batch", "none"), _ONCE)] = fixed("batch")
    eps: Annotated[float, Field(gt=0, lt=1)] = 0.001


def _check_format(raw: object) -> object:
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 1:
        raise ValueError(f"it must be {FORMAT}, not {spell(raw)}")
    if raw > FORMAT:
        raise ValueError(
            f"{raw} is newer than this version reads ({FORMAT}); update the package to read it"
        )
    return raw


def _read_budgets(raw: object) -> dict[str, int]:
    names = ("macs", "params", "activation_bytes")
    if not isinstance(raw, Mapping):
        raise ValueError(f"it must have keys ({', '.join(names)}), not {spell(raw)}")
    for name in raw:
        if name not in names:
            raise ValueError(unknown_name("key", name, names))
    return {name: parse_size(value, name) for name, value in raw.items()}


class SpaceFile(_Part):
    """The whole file."""

    format: Annotated[int, BeforeValidator(_check_format)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    stem: list[Annotated[StemConv | StemPool, Field(discriminator="op")]] = Field(
        max_length=MAX_OPS
    )
    stages: StagesSpec
    cell: CellSpec
    reductions: ReductionsSpec = ReductionsSpec()
    auxiliary: AuxiliarySpec | None = None
    head: HeadSpec = HeadSpec()
    norm: NormSpec = NormSpec()
    budgets: Annotated[dict[str, int], BeforeValidator(_read_budgets)] = {}


PartType = TypeVar("PartType", bound=_Part)


def merge(base: PartType, override: _Part) -> PartType:
    """``base`` with the fields that ``override`` was given; a field is replaced as a whole."""
    given = {
        name: getattr(override, name)
        for name in override.model_fields_set
        if getattr(override, name) is not None and getattr(override, name) is not MISSING
    }
    return base.model_copy(update=given)
