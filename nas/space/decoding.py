"""From a vector of values, one an entry of the layout, to the architecture; what is active in it.

Every vector is an architecture. The entries that it depends on are *active*; two vectors are the
same architecture exactly when they have the same active entries with the same values. The way back
is :mod:`nas.space.encoding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from nas.architecture import (
    Architecture,
    AuxiliaryHead,
    Branch,
    Cell,
    Conv,
    Head,
    Norm,
    Op,
    Pool,
    Reduction,
)
from nas.space.layout import CellPlace, Layout, OpPlace, ReductionPlace
from nas.space.values import parse_kernel

Vector = Sequence[Any]
"""A value for each of a layout's choices."""


@lru_cache(maxsize=65_536)
def build_branch(
    pool: Any, reduce: int | None, channels: int | None, form: str, inner: str | int, stride: int
) -> Branch:
    """The ops of a branch that is present.

    Its stride stands on the pooling where there is one (a 1x1 convolution of stride 2 behind it
    would give the same numbers for more work), else on the last convolution.
    """
    ops: list[Op] = []
    if pool is not None:
        ops.append(Pool(pool, 3, stride, padding=1))
    if channels is None:
        return tuple(ops)
    kernels = [parse_kernel(kernel) for kernel in form.split("+")]
    if reduce is not None:
        ops.append(Conv((1, 1), reduce))
    width = reduce if inner == "reduce" else channels if inner == "channels" else inner
    ops.extend(Conv(kernel, width) for kernel in kernels[:-1])  # type: ignore[arg-type]
    ops.append(Conv(kernels[-1], channels, stride if pool is None else 1))
    return tuple(ops)


def decode_vector(layout: Layout, vector: Vector) -> Architecture:
    """The architecture of a vector whose values are all in their domains."""
    num_stages = vector[layout.count]
    stages = tuple(
        tuple(_cell(place, vector) for place in layout.stages[stage][: vector[layout.cells[stage]]])
        for stage in range(num_stages)
    )
    head = layout.head.fields
    return Architecture(
        stem=tuple(_op(place, vector) for place in layout.stem),
        stages=stages,
        reductions=tuple(_reduction(p, vector) for p in layout.reductions[: num_stages - 1]),
        auxiliary=_auxiliary(layout, vector),
        head=Head(
            pool=vector[head["pool"]],
            hidden=tuple(vector[i] for i in layout.hidden if vector[i] is not None),
            dropout=vector[head["dropout"]],
        ),
        norm=Norm(vector[layout.norm], layout.eps),
    )


def _op(place: OpPlace, vector: Vector) -> Conv | Pool:
    values = {field: vector[index] for field, index in place.fields.items()}
    if place.is_conv:
        values["kernel"] = parse_kernel(values["kernel"])
        return Conv(**values)
    return Pool(**values)


def _cell(place: CellPlace, vector: Vector) -> Cell:
    branches = [
        build_branch(
            vector[branch.pool],
            vector[branch.reduce],
            vector[branch.channels],
            vector[branch.forms],
            vector[branch.inner],
            place.stride,
        )
        for branch in place.branches
        if vector[branch.present]
    ]
    return Cell(tuple(branches), place.residual is not None and vector[place.residual])


def _reduction(place: ReductionPlace, vector: Vector) -> Reduction:
    kind = vector[place.kind]
    if kind == "cell":
        assert place.cell is not None
        return _cell(place.cell, vector)
    values = {field: vector[index] for field, index in place.ops[kind].fields.items()}
    if kind == "conv":
        return Conv(parse_kernel(values["kernel"]), values["channels"], stride=2)
    return Pool(kind, stride=2, **values)


def heads_there(layout: Layout, vector: Vector) -> list[tuple[int, int]]:
    """The cells of this vector that an auxiliary head may follow, in order."""
    if layout.auxiliary is None:
        return []
    num_stages = vector[layout.count]
    return [
        (stage, cell)
        for stage, cell in layout.auxiliary.cells
        if stage < num_stages and cell < vector[layout.cells[stage]]
    ]


def _auxiliary(layout: Layout, vector: Vector) -> tuple[AuxiliaryHead, ...]:
    place = layout.auxiliary
    if place is None or not vector[place.present]:
        return ()
    values = {field: vector[index] for field, index in place.fields.items()}
    return tuple(
        AuxiliaryHead(stage, cell, pool=place.pool, **values)
        for stage, cell in heads_there(layout, vector)
    )


def active_entries(layout: Layout, vector: Vector) -> Iterator[int]:
    """The entries that the architecture depends on; one that cells share comes more than once."""
    for op in layout.stem:
        yield from op.fields.values()
    num_stages = vector[layout.count]
    yield layout.count
    for stage in range(num_stages):
        yield layout.cells[stage]
        for cell in layout.stages[stage][: vector[layout.cells[stage]]]:
            yield from _active_in_cell(cell, vector)
    for place in layout.reductions[: num_stages - 1]:
        yield place.kind
        kind = vector[place.kind]
        if kind != "cell":
            yield from place.ops[kind].fields.values()
        elif place.cell is not None:
            yield from _active_in_cell(place.cell, vector)
    if layout.auxiliary is not None and heads_there(layout, vector):
        yield layout.auxiliary.present
        if vector[layout.auxiliary.present]:
            yield from layout.auxiliary.fields.values()
    yield from layout.head.fields.values()
    yield from layout.hidden
    yield layout.norm


def _active_in_cell(place: CellPlace, vector: Vector) -> Iterator[int]:
    if place.residual is not None:
        yield place.residual
    for branch in place.branches:
        yield branch.present
        if not vector[branch.present]:
            continue
        yield branch.pool
        yield branch.channels
        if vector[branch.channels] is not None:
            yield branch.reduce
            yield branch.forms
            if "+" in vector[branch.forms]:
                yield branch.inner
