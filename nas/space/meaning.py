"""What the parts of a space's file mean together: overrides taken in, contradictions refused.

The checks make each architecture of a space the outcome of exactly one set of active choices: at
least one branch of a cell is always present, and no two branches of a cell, nor two forms of one,
can come out as the same kernels in a row. Hence exact sizes and canonical encodings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.space.domains import show
from nas.space.layout import Found, Signature
from nas.space.schema import (
    MISSING,
    AuxiliarySpec,
    BranchSpec,
    CellSpec,
    HeadSpec,
    PoolSpec,
    ReducingCell,
    ReductionOverride,
    ReductionsSpec,
    SpaceFile,
    merge,
)
from nas.space.values import Value, fixed

DEFAULT_SCOPES = {
    "present": "stage",
    "pool": "stage",
    "forms": "stage",
    "residual": "stage",
    "cells": "stage",
    "kind": "stage",
    "reduce": "cell",
    "channels": "cell",
    "inner": "cell",
}
"""Who shares a choice where the file does not say: kinds are a stage's, widths a cell's."""

MAX_BRANCHES = 16


def is_choice(value: Value) -> bool:
    """Whether there is more than one value."""
    return len(value.domain.values) > 1


def scope_of(field: str, value: Value) -> str:
    """Who shares a value: the fixed ones are each part's own."""
    return (value.scope or DEFAULT_SCOPES[field]) if is_choice(value) else "cell"


def integers(value: Value) -> list[int]:
    """The values of a count."""
    return [int(number) for number in value.domain.values if number is not None]


def merged_cells(spec: SpaceFile, num_stages: int) -> list[CellSpec]:
    """What a cell of each stage can be, without branches that are never present.

    Raises:
        ValueError: an override has no stage or replaces a choice of the network, or a cell
            contradicts itself.
    """
    _check_numbers("stages.overrides", spec.stages.overrides, num_stages, "stages")
    merged = []
    for stage in range(num_stages):
        cell, where = spec.cell, "cell.branches"
        override = spec.stages.overrides.get(stage)
        if override is not None:
            path = f"stages.overrides.{stage}"
            where = f"cell.branches, with {path}"
            _check_replaced(f"{path}.cells", "cells", spec.stages.cells, override.cells)
            _check_replaced(f"{path}.residual", "residual", cell.residual, override.residual)
            branches = _merged_branches(f"{path}.branches", cell.branches, override.branches)
            residual = override.residual or cell.residual
            cell = CellSpec(residual=residual, branches=branches)
        branches = _settled_branches(where, cell.branches)
        merged.append(CellSpec(residual=cell.residual, branches=branches))
    return merged


def merged_reductions(spec: ReductionsSpec, num_reductions: int) -> list[ReductionOverride]:
    """What each reduction can be: ``kind`` is given, and the parts of the kinds that it can take.

    Raises:
        ValueError: an override has no reduction or replaces a choice of the network, or a part is
            missing or contradicts itself.
    """
    _check_numbers("reductions.overrides", spec.overrides, num_reductions, "reductions")
    merged = []
    for index in range(num_reductions):
        override = spec.overrides.get(index, ReductionOverride())
        path = f"reductions.overrides.{index}"
        _check_replaced(f"{path}.kind", "kind", spec.kind, override.kind)
        parts: dict[str, Any] = {"kind": override.kind or spec.kind}
        for kind in parts["kind"].values:
            base, given = getattr(spec, kind), getattr(override, kind)
            if base is None and given is None:
                raise ValueError(f"reductions.{kind}: it must be given, since kind can be {kind}")
            if kind == "cell":
                parts[kind] = _merged_strided_cell(path, base, given)
            else:
                parts[kind] = merge(base, given) if base and given else given or base
        merged.append(ReductionOverride(**parts))
    return merged


def _merged_strided_cell(
    path: str, base: ReducingCell | None, given: ReducingCell | None
) -> ReducingCell:
    branches = base.branches if base else {}
    if given:
        branches = _merged_branches(f"{path}.cell.branches", branches, given.branches)
    for name, branch in branches.items():
        for field, value in branch:
            if value.scope is not None:
                raise ValueError(
                    f"reductions.cell.branches.{name}.{field}: scope has no meaning here (each "
                    f"reduction has its own), not {value.scope!r}"
                )
    return ReducingCell(branches=_settled_branches("reductions.cell.branches", branches))


def _check_numbers(path: str, overrides: Mapping[int, Any], count: int, what: str) -> None:
    for number in overrides:
        if not 0 <= number < count:
            there_are = f"{what} 0 to {count - 1}" if count else f"no {what}"
            raise ValueError(f"{path}.{number}: there are {there_are}")


def _check_replaced(path: str, field: str, base: Value, given: Value | None) -> None:
    if given is None:
        return
    if scope_of(field, base) == "network":
        raise ValueError(f"{path}: a choice of scope network cannot be overridden")
    if scope_of(field, given) == "network":
        raise ValueError(f"{path}: a choice in an override cannot be of scope network")


def _merged_branches(
    path: str, base: Mapping[str, BranchSpec], given: Mapping[str, BranchSpec]
) -> dict[str, BranchSpec]:
    merged = dict(base)
    for name, branch in given.items():
        known = base.get(name, branch)
        for field in branch.model_fields_set:
            value = getattr(branch, field)
            if value is not MISSING:
                _check_replaced(f"{path}.{name}.{field}", field, getattr(known, field), value)
        merged[name] = merge(known, branch)
    return merged


def _settled_branches(path: str, branches: Mapping[str, BranchSpec]) -> dict[str, BranchSpec]:
    if len(branches) > MAX_BRANCHES:
        raise ValueError(f"{path}: there must be at most {MAX_BRANCHES}, not {len(branches)}")
    settled = {
        name: _settled_branch(f"{path}.{name}", branch)
        for name, branch in branches.items()
        if branch.present.values != (False,)
    }
    if not any(branch.present.values == (True,) for branch in settled.values()):
        raise ValueError(f"{path}: one branch at least must always be present (present: true)")
    return settled


def _settled_branch(path: str, branch: BranchSpec) -> BranchSpec:
    """The branch with defaults, and without choices that never matter; refused if contradictory."""
    pools, channels = branch.pool.values, branch.channels
    if channels is MISSING:
        raise ValueError(f"{path}.channels: it must be given (none for a pooling alone)")
    if None in channels.values and None in pools:
        raise ValueError(f"{path}.channels: none needs a pooling that is always there")
    forms = branch.forms
    if forms is MISSING:
        if None in pools and channels.values != (None,):
            raise ValueError(f"{path}.forms: it must be given, such as 3x3")
        forms = fixed("1x1")
    changes = {"forms": forms}
    if channels.values == (None,):
        changes = {"forms": fixed("1x1"), "reduce": fixed(None), "inner": fixed("channels")}
    elif not any("+" in str(form) for form in forms.values):
        changes["inner"] = fixed("channels")
    else:
        _check_inner(path, branch)
    return branch.model_copy(update=changes)


def _check_inner(path: str, branch: BranchSpec) -> None:
    words = [value for value in branch.inner.values if isinstance(value, str)]
    if words and is_choice(branch.inner):
        raise ValueError(
            f"{path}.inner: channels and reduce are no options (they can be the same width); "
            f"give one of them, or widths, not {words[0]!r} in a list"
        )
    if words == ["reduce"] and None in branch.reduce.values:
        raise ValueError(f"{path}.inner: reduce needs a reduce that is never none")


def signatures(path: str, branches: Mapping[str, BranchSpec]) -> dict[Signature, Found]:
    """Which branch and form a row of ops comes from, by its poolings and kernels.

    Raises:
        ValueError: two branches, or two forms of one, can come out alike.
    """
    table: dict[Signature, Found] = {}
    names = list(branches)
    for number, branch in enumerate(branches.values()):
        for signature, form, has_reduce in _signatures_of(branch):
            if signature in table:
                other = names[table[signature][0]]
                pool = "pooling > " if signature[0] else ""
                raise ValueError(
                    f"{path}: {names[number]} and {other} can both come out as "
                    f"{pool}{' > '.join(signature[1])}"
                    if other != names[number]
                    else f"{path}.{other}: two of its forms, with or without reduce, come out as "
                    f"{pool}{' > '.join(signature[1])}"
                )
            table[signature] = (number, form, has_reduce)
    return table


def _signatures_of(branch: BranchSpec) -> list[tuple[Signature, str | None, bool]]:
    found: list[tuple[Signature, str | None, bool]] = []
    for has_pool in sorted({pool is not None for pool in branch.pool.values}):
        if None in branch.channels.values:
            found.append(((has_pool, ()), None, False))
        if branch.channels.values == (None,):
            continue
        for form in map(str, branch.forms.values):
            for has_reduce in sorted({reduce is not None for reduce in branch.reduce.values}):
                kernels = ("1x1",) * has_reduce + tuple(form.split("+"))
                found.append(((has_pool, kernels), form, has_reduce))
    return found


def check_pool(path: str, spec: PoolSpec) -> None:
    """Refuse a padding that a kernel does not allow.

    Raises:
        ValueError: the largest padding is over half of the smallest kernel.
    """
    padding, kernel = max(integers(spec.padding)), min(integers(spec.kernel))
    if padding > kernel // 2:
        raise ValueError(
            f"{path}.padding: it must be at most half of the kernel ({kernel}), not {padding}"
        )


def check_places(spec: AuxiliarySpec, stages: list[int]) -> None:
    """Refuse auxiliary heads on cells that no architecture has, and two on one cell.

    Raises:
        ValueError: names the head.
    """
    seen = set()
    for index, place in enumerate(spec.heads):
        path, cell = f"auxiliary.heads.{index}", (place.stage, place.cell)
        if place.stage >= len(stages) or place.cell >= stages[place.stage]:
            raise ValueError(
                f"{path}: no architecture has a cell {place.cell} in stage {place.stage}"
            )
        if cell in seen:
            raise ValueError(f"{path}: stage {place.stage}, cell {place.cell} has a head already")
        seen.add(cell)


def check_hidden(spec: HeadSpec) -> None:
    """Refuse optional layers beside others: which of two is left out would not show.

    Raises:
        ValueError: names the layer.
    """
    for index, width in enumerate(spec.hidden):
        if None in width.values and len(spec.hidden) > 1:
            raise ValueError(
                f"head.hidden.{index}: {show(None)} is allowed where there is one layer only"
            )
