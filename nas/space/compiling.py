"""From the file of a space to its layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from nas.architecture import MAX_CELLS, AdaptivePool, Pool
from nas.space.layout import (
    BRANCH_FIELDS,
    AuxiliaryPlace,
    BranchPlace,
    CellPlace,
    Choice,
    Layout,
    OpPlace,
    ReductionPlace,
)
from nas.space.meaning import (
    check_hidden,
    check_places,
    check_pool,
    integers,
    merged_cells,
    merged_reductions,
    scope_of,
    signatures,
)
from nas.space.schema import (
    AuxiliaryPool,
    AuxiliarySpec,
    BranchSpec,
    CellSpec,
    HeadSpec,
    PoolSpec,
    ReducingConv,
    ReductionOverride,
    SpaceFile,
    StagesSpec,
    StemConv,
)
from nas.space.values import Value

MAX_PARAMETERS = 2_000
_RANKS = {"count": 0, "cells": 1, "kind": 1, "present": 2, "channels": 3, "forms": 4}
_LAST_RANK = 5


def compile_layout(spec: SpaceFile) -> Layout:
    """Lay out a space.

    Raises:
        ValueError: parts do not go together; the message gives path, rule and value.
    """
    layout = _Builder().build(spec)
    parameters = len(layout.parameters)
    if parameters > MAX_PARAMETERS:
        raise ValueError(f"there must be at most {MAX_PARAMETERS:,} choices, not {parameters:,}")
    return layout


class _Builder:
    """The vector so far; a choice is made where it is asked for first."""

    def __init__(self) -> None:
        self.choices: list[Choice] = []
        self.index: dict[str, int] = {}

    def build(self, spec: SpaceFile) -> Layout:
        check_hidden(spec.head)
        stem = tuple(self.op(f"stem.{index}", op) for index, op in enumerate(spec.stem))
        count = self.add("stages.count", spec.stages.count, rank=_RANKS["count"])
        num_stages = max(integers(spec.stages.count))
        cell_specs = merged_cells(spec, num_stages)
        cells, depths = self.depths(spec.stages, num_stages)
        return Layout(
            stem=stem,
            count=count,
            cells=cells,
            stages=tuple(map(self.stage, range(num_stages), cell_specs, depths)),
            reductions=tuple(
                self.reduction(index, reduction)
                for index, reduction in enumerate(
                    merged_reductions(spec.reductions, num_stages - 1)
                )
            ),
            auxiliary=self.auxiliary(spec.auxiliary, depths),
            head=self.op("head", spec.head),
            hidden=tuple(
                self.add(f"head.hidden.{index}", width)
                for index, width in enumerate(spec.head.hidden)
            ),
            norm=self.add("norm.kind", spec.norm.kind),
            eps=spec.norm.eps,
            choices=tuple(self.choices),
        )

    def add(self, name: str, value: Value, scope: str = "network", rank: int = _LAST_RANK) -> int:
        """The index of the choice of that name."""
        if name not in self.index:
            self.index[name] = len(self.choices)
            self.choices.append(Choice(name, value.domain, scope, rank))
        return self.index[name]

    def scoped(self, prefixes: Mapping[str, str], owner: str, field: str, value: Value) -> int:
        """The index of a choice whose name tells who shares it."""
        scope = scope_of(field, value)
        return self.add(
            f"{prefixes[scope]}{owner}{field}", value, scope, _RANKS.get(field, _LAST_RANK)
        )

    def op(self, name: str, spec: StemConv | PoolSpec | ReducingConv | HeadSpec) -> OpPlace:
        if isinstance(spec, PoolSpec):
            check_pool(name, spec)
        fields = {key: value for key, value in spec if isinstance(value, Value)}
        return OpPlace(
            name,
            is_conv=isinstance(spec, StemConv | ReducingConv),
            fields={key: self.add(f"{name}.{key}", value) for key, value in fields.items()},
        )

    def depths(self, spec: StagesSpec, num_stages: int) -> tuple[tuple[int, ...], list[int]]:
        """Where each stage's number of cells stands, and the largest it can be."""
        cells, depths = [], []
        for stage in range(num_stages):
            override = spec.overrides.get(stage)
            value = (override and override.cells) or spec.cells
            prefix = f"stages.{stage}."
            prefixes = {"network": "stages.", "stage": prefix, "cell": prefix}
            cells.append(self.scoped(prefixes, "", "cells", value))
            depths.append(max(integers(value)))
        if sum(depths) > MAX_CELLS:
            raise ValueError(
                f"stages.cells: there must be at most {MAX_CELLS} in all, not {sum(depths)}"
            )
        return tuple(cells), depths

    def stage(self, stage: int, spec: CellSpec, depth: int) -> tuple[CellPlace, ...]:
        table = signatures(f"cell.branches (stage {stage})", spec.branches)
        cells = []
        for position in range(depth):
            name = f"stages.{stage}.{position}"
            prefixes = {"network": "", "stage": f"stages.{stage}.", "cell": f"{name}."}
            residual = self.scoped(prefixes, "", "residual", spec.residual)
            branches = self.branches(spec.branches, partial(self.scoped, prefixes))
            cells.append(CellPlace(name, residual, branches, table))
        return tuple(cells)

    def branches(
        self, specs: Mapping[str, BranchSpec], add: Callable[[str, str, Value], int]
    ) -> tuple[BranchPlace, ...]:
        return tuple(
            BranchPlace(
                name, *(add(f"{name}.", field, getattr(branch, field)) for field in BRANCH_FIELDS)
            )
            for name, branch in specs.items()
        )

    def reduction(self, index: int, spec: ReductionOverride) -> ReductionPlace:
        name = f"reductions.{index}"
        assert spec.kind is not None
        prefixes = {"network": "reductions.", "stage": f"{name}.", "cell": f"{name}."}
        kind = self.scoped(prefixes, "", "kind", spec.kind)
        ops = {
            key: self.op(f"{name}.{key}", part)
            for key, part in (("max", spec.max), ("avg", spec.avg), ("conv", spec.conv))
            if part is not None
        }
        cell = None
        if spec.cell is not None:
            table = signatures(f"{name}.cell.branches", spec.cell.branches)
            own = dict.fromkeys(("network", "stage", "cell"), f"{name}.cell.")
            branches = self.branches(spec.cell.branches, partial(self.scoped, own))
            cell = CellPlace(f"{name}.cell", None, branches, table)
        return ReductionPlace(name, kind, ops, cell)

    def auxiliary(self, spec: AuxiliarySpec | None, depths: list[int]) -> AuxiliaryPlace | None:
        if spec is None or spec.present.values == (False,):
            return None
        check_places(spec, depths)
        fields = ("channels", "hidden", "dropout", "weight")
        return AuxiliaryPlace(
            present=self.add("auxiliary.present", spec.present, rank=_RANKS["present"]),
            fields={key: self.add(f"auxiliary.{key}", getattr(spec, key)) for key in fields},
            cells=tuple(sorted((place.stage, place.cell) for place in spec.heads)),
            pool=_auxiliary_pool(spec.pool),
        )


def _auxiliary_pool(spec: AuxiliaryPool) -> Pool | AdaptivePool:
    if spec.side is not None:
        return AdaptivePool(spec.side)
    return Pool("avg", spec.kernel, spec.stride, padding=0)
