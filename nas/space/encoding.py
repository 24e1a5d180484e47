"""From an architecture to its canonical vector in a space, or what the space has not.

The way there is :mod:`nas.space.decoding`.
"""

from __future__ import annotations

from typing import Any

from nas.architecture import Architecture, Branch, Cell, Conv, Head, Op, Pool, Reduction
from nas.space.decoding import build_branch, decode_vector, heads_there
from nas.space.domains import NotInSpaceError, Scalar, show
from nas.space.layout import (
    AuxiliaryPlace,
    BranchPlace,
    CellPlace,
    Layout,
    OpPlace,
    ReductionPlace,
)


def encode_architecture(layout: Layout, architecture: Architecture) -> list[Scalar]:
    """The canonical vector of an architecture: inactive entries have their first value.

    Raises:
        NotInSpaceError: the architecture is not in the space; the message names what differs.
    """
    return _Encoder(layout).encode(architecture)


class _Encoder:
    """The entries that an architecture has fixed so far."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.values: dict[int, Scalar] = {}

    def encode(self, architecture: Architecture) -> list[Scalar]:
        layout = self.layout
        self.op_row(architecture.stem)
        self.set(layout.count, len(architecture.stages))
        for stage, cells in enumerate(architecture.stages):
            self.set(layout.cells[stage], len(cells))
            for cell, place in zip(cells, layout.stages[stage], strict=False):
                self.cell(place, cell)
        for reduction, reduction_place in zip(
            architecture.reductions, layout.reductions, strict=False
        ):
            self.reduction(reduction_place, reduction)
        self.head(architecture.head)
        self.set(layout.norm, architecture.norm.kind)
        vector = [
            self.values.get(index, choice.domain.values[0])
            for index, choice in enumerate(layout.choices)
        ]
        if layout.auxiliary is not None:
            self.auxiliary(layout.auxiliary, architecture, vector)
        self.compare(architecture, decode_vector(layout, vector))
        return vector

    def set(self, index: int, value: Scalar) -> None:
        choice = self.layout.choices[index]
        try:
            found = choice.domain.find(value)
        except NotInSpaceError as error:
            raise NotInSpaceError(f"{choice.name} is {error}") from None
        if self.values.setdefault(index, found) != found:
            raise NotInSpaceError(
                f"{choice.name} is {show(self.values[index])} in one place and {show(found)} in "
                f"another, and the space has one for the {choice.scope}"
            )

    def op_row(self, stem: tuple[Op, ...]) -> None:
        if len(stem) != len(self.layout.stem):
            raise NotInSpaceError(
                f"stem has {len(stem)} ops, and the space has {len(self.layout.stem)}"
            )
        for place, op in zip(self.layout.stem, stem, strict=True):
            self.op(place, op)

    def op(self, place: OpPlace, op: Conv | Pool) -> None:
        if isinstance(op, Conv) != place.is_conv:
            other = "convolution" if place.is_conv else "pooling"
            raise NotInSpaceError(f"{place.name} is {op}, and the space has a {other}")
        for field, index in place.fields.items():
            value = getattr(op, field)
            self.set(index, _kernel_text(value) if isinstance(value, tuple) else value)

    def cell(self, place: CellPlace, cell: Cell) -> None:
        if place.residual is not None:
            self.set(place.residual, cell.residual)
        found: dict[int, Branch] = {}
        for ops in cell.branches:
            kernels = tuple(_kernel_text(op.kernel) for op in ops if isinstance(op, Conv))
            has_pool = bool(ops) and isinstance(ops[0], Pool)
            match = place.signatures.get((has_pool, kernels))
            if match is None or match[0] in found or len(kernels) + has_pool != len(ops):
                shown = " > ".join(map(str, ops)) or "identity"
                more = " twice" if match is not None and match[0] in found else ""
                raise NotInSpaceError(f"{place.name} has a branch {shown}{more}, the space has not")
            number, form, has_reduce = match
            found[number] = ops
            self.branch(place, place.branches[number], ops, form, has_reduce)
        for number, branch in enumerate(place.branches):
            self.set(branch.present, number in found)

    def branch(
        self,
        cell: CellPlace,
        place: BranchPlace,
        ops: Branch,
        form: str | None,
        has_reduce: bool,
    ) -> None:
        convs = [op for op in ops if isinstance(op, Conv)]
        pool = ops[0].kind if isinstance(ops[0], Pool) else None
        channels = convs[-1].channels if convs else None
        reduce = convs[0].channels if has_reduce else None
        inner: Any = self.layout.choices[place.inner].domain.values[0]
        inside = convs[has_reduce:-1]
        if inside and not isinstance(inner, str):
            inner = inside[0].channels
            self.set(place.inner, inner)
        self.set(place.pool, pool)
        self.set(place.channels, channels)
        if form is not None:
            self.set(place.reduce, reduce)
            self.set(place.forms, form)
        built = build_branch(pool, reduce, channels, form or "1x1", inner, cell.stride)
        if built != ops:
            raise NotInSpaceError(
                f"{cell.name}.{place.name} is {_spell(ops)}, and the space has {_spell(built)}"
            )

    def reduction(self, place: ReductionPlace, reduction: Reduction) -> None:
        if isinstance(reduction, Cell):
            self.set(place.kind, "cell")
            if place.cell is not None:
                self.cell(place.cell, reduction)
            return
        kind = "conv" if isinstance(reduction, Conv) else reduction.kind
        self.set(place.kind, kind)
        if reduction.stride != 2:
            raise NotInSpaceError(
                f"{place.name} has stride {reduction.stride}, and the space has 2"
            )
        self.op(place.ops[kind], reduction)

    def head(self, head: Head) -> None:
        for field, index in self.layout.head.fields.items():
            self.set(index, getattr(head, field))
        widths: list[Scalar] = list(head.hidden)
        if not widths and len(self.layout.hidden) == 1:
            widths = [None]
        if len(widths) != len(self.layout.hidden):
            raise NotInSpaceError(
                f"head.hidden has {len(widths)} layers, and the space has {len(self.layout.hidden)}"
            )
        for index, width in zip(self.layout.hidden, widths, strict=True):
            self.set(index, width)

    def auxiliary(
        self, place: AuxiliaryPlace, architecture: Architecture, vector: list[Scalar]
    ) -> None:
        if not heads_there(self.layout, vector):
            return
        self.set(place.present, bool(architecture.auxiliary))
        for field, index in place.fields.items():
            for head in architecture.auxiliary:
                self.set(index, getattr(head, field))
        for index in (place.present, *place.fields.values()):
            vector[index] = self.values.get(index, vector[index])

    def compare(self, architecture: Architecture, decoded: Architecture) -> None:
        """Whatever has no choice must be as the space has it."""
        for part in ("stem", "reductions", "stages", "auxiliary", "head", "norm"):
            ours, theirs = getattr(decoded, part), getattr(architecture, part)
            if ours != theirs:
                raise NotInSpaceError(
                    f"{part} is {_spell(theirs)}, and the space has {_spell(ours)}"
                )


def _kernel_text(kernel: tuple[int, int]) -> str:
    return f"{kernel[0]}x{kernel[1]}"


def _spell(part: Any) -> str:
    text = " > ".join(map(str, part)) or "none" if isinstance(part, tuple) else str(part)
    return text if len(text) <= 120 else f"{text[:117]}..."
