"""How many different architectures a space holds: exact, and without listing them.

An architecture is its active choices, so counting is summing over what can be active:

* Given the structure (stages, and cells of each), the branches of the cells vary independently.
* A choice that several cells share counts once, and only where one of them uses it. So each cell's
  outcomes are sorted by the *set* of shared choices they use (a bit mask), cells are combined by
  the union of their sets (a product after the sum over subsets, undone by inclusion-exclusion),
  and then each used choice multiplies by its values.
* What is left of the network's choices is, per branch, a short sum of terms, each a product over
  stages. Multiplying the branches' sums out (equal terms together) leaves products over stages,
  and these are summed over all structures stage by stage.

The work grows with stages x cells and with the subsets of a branch's shared choices (at most 64),
not with the number of structures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from typing import TypeAlias

from nas.space.domains import Scalar
from nas.space.layout import BRANCH_FIELDS, CellPlace, Choice, Layout

Classes: TypeAlias = list[tuple[Scalar, int]]
"""Values that make the same other choices active: one of them, and how many they are."""

Fields: TypeAlias = Mapping[str, Choice]
"""The choices of one branch (or of "residual" alone) in the cells of a stage, by field."""

Counts: TypeAlias = dict[int, int]
"""Outcomes by the mask of the shared choices that they use."""

Table: TypeAlias = tuple[tuple[int, ...], ...]
"""A factor for each stage and each number of cells that it can have."""


def count_architectures(layout: Layout) -> int:
    """The number of different architectures of a space."""
    units = _units(layout)
    tables = [_cells_of(layout, stage) for stage in range(len(layout.stages))]
    terms = _multiply_out([_terms(unit, tables) for unit in units])
    everywhere = _sum_structures(layout, terms, tables, lambda stage, cells: True)
    total = everywhere
    if layout.auxiliary is not None:
        heads = layout.auxiliary.cells

        def has_no_head(stage: int, cells: int) -> bool:
            return not any(at == stage and cell < cells for at, cell in heads)

        without = _sum_structures(layout, terms, tables, has_no_head)
        shared = prod(layout.choices[i].count for i in layout.auxiliary.fields.values())
        present = layout.choices[layout.auxiliary.present].domain.values
        total = without + (everywhere - without) * sum(shared if yes else 1 for yes in present)
    return total * prod(layout.choices[index].count for index in _always(layout))


def _always(layout: Layout) -> Iterator[int]:
    """The choices that every architecture depends on, but for the structure."""
    for op in layout.stem:
        yield from op.fields.values()
    yield from layout.head.fields.values()
    yield from layout.hidden
    yield layout.norm


def _cells_of(layout: Layout, stage: int) -> list[int]:
    values = layout.choices[layout.cells[stage]].domain.values
    return [int(value) for value in values if value is not None]


def _units(layout: Layout) -> list[list[Fields]]:
    """What varies independently in the cells: each branch, and residual; its fields by stage."""
    choices = layout.choices
    stages: list[dict[str, Fields]] = []
    for cells in layout.stages:
        place = cells[0]
        assert place.residual is not None
        units = {branch.name: _fields(layout, place, branch.name) for branch in place.branches}
        stages.append({**units, "residual": {"residual": choices[place.residual]}})
    names = dict.fromkeys(name for stage in stages for name in stage)
    return [[stage.get(name, {}) for stage in stages] for name in names]


def _fields(layout: Layout, place: CellPlace, name: str) -> Fields:
    branch = next(branch for branch in place.branches if branch.name == name)
    return {field: layout.choices[getattr(branch, field)] for field in BRANCH_FIELDS}


def _classes(field: str, choice: Choice) -> Classes:
    """Which values of a field differ in what else is active."""
    values = choice.domain.values
    if field == "present":
        return [(value, 1) for value in values]
    groups: dict[Scalar, tuple[Scalar, int]] = {}
    for value in values:
        matters: Scalar = True
        if field == "channels":
            matters = value is None
        elif field == "forms":
            matters = "+" in str(value)
        first, number = groups.get(matters, (value, 0))
        groups[matters] = (first, number + 1)
    return list(groups.values())


def _outcomes(
    fields: Fields, shared: Mapping[str, tuple[Scalar, int]]
) -> Iterator[tuple[int, int]]:
    """What one cell can make of a branch: (mask of the shared choices used, number of outcomes).

    ``shared`` holds a value and a bit for each choice that the cell does not make itself.
    """

    def pick(field: str) -> list[tuple[Scalar, int, int]]:
        if field in shared:
            value, bit = shared[field]
            return [(value, 1, bit)]
        return [(value, number, 0) for value, number in _classes(field, fields[field])]

    def rest(active: list[str]) -> tuple[int, int]:
        picked = [pick(field) for field in active]
        mask = sum(options[0][2] for options in picked)
        return mask, prod(sum(number for _, number, _ in options) for options in picked)

    if not fields:
        yield 0, 1
        return
    if "residual" in fields:
        yield rest(["residual"])
        return
    for present, number, mask in pick("present"):
        if not present:
            yield mask, number
            continue
        for channels, widths, channels_bit in pick("channels"):
            used = mask | channels_bit
            if channels is None:
                more, times = rest(["pool"])
                yield used | more, number * widths * times
                continue
            for form, forms, forms_bit in pick("forms"):
                others = ["pool", "reduce", "inner"] if "+" in str(form) else ["pool", "reduce"]
                more, times = rest(others)
                yield used | forms_bit | more, number * widths * forms * times


def _submasks(mask: int) -> Iterator[int]:
    sub = mask
    while True:
        yield sub
        if sub == 0:
            return
        sub = (sub - 1) & mask


def _sum_subsets(counts: Counts, full: int) -> Counts:
    """For each set, the outcomes that use nothing outside it."""
    return {
        mask: sum(number for used, number in counts.items() if used & ~mask == 0)
        for mask in _submasks(full)
    }


def _by_exact_set(sums: Counts) -> Counts:
    """Undo :func:`_sum_subsets`: the outcomes that use just this set."""
    exact: Counts = {}
    for mask in sums:
        exact[mask] = sum((-1) ** (mask & ~sub).bit_count() * sums[sub] for sub in _submasks(mask))
    return exact


_Assignment: TypeAlias = dict[str, tuple[Scalar, int, int]]
"""By field: the class's value, how many values it has, and whether (0) it is the first class."""


def _assignments(fields: Fields, scope: str) -> Iterator[_Assignment]:
    """Each way to fix the classes of a branch's choices of one scope."""
    shared = [
        field for field, choice in fields.items() if choice.scope == scope and choice.count > 1
    ]
    per_field = [
        [(value, number, rank) for rank, (value, number) in enumerate(_classes(f, fields[f]))]
        for f in shared
    ]
    for combination in product(*per_field):
        yield dict(zip(shared, combination, strict=True))


def _weight(assignment: _Assignment, bits: Mapping[str, int], used: int) -> int:
    """The values of the used choices; 0 where an unused one is not in its first class.

    What does not depend on a choice comes in each of its classes; it counts in the first.
    """
    weight = 1
    for field, (_, number, rank) in assignment.items():
        if used & bits[field]:
            weight *= number
        elif rank:
            return 0
    return weight


def _stage_counts(
    fields: Fields, network: Mapping[str, tuple[Scalar, int]], bits: Mapping[str, int], cells: int
) -> Counts:
    """What ``cells`` cells of a stage can make of a branch, by the network's choices they use."""
    network_mask = sum(bit for _, bit in network.values())
    total: Counts = defaultdict(int)
    for assignment in _assignments(fields, "stage"):
        shared = {field: (value, bits[field]) for field, (value, _, _) in assignment.items()}
        counts: Counts = defaultdict(int)
        for mask, number in _outcomes(fields, {**network, **shared}):
            counts[mask] += number
        full = network_mask | sum(bits[field] for field in shared)
        sums = {mask: number**cells for mask, number in _sum_subsets(counts, full).items()}
        for used, number in _by_exact_set(sums).items():
            total[used & network_mask] += number * _weight(assignment, bits, used)
    return total


def _terms(unit: list[Fields], tables: list[list[int]]) -> dict[Table, int]:
    """The outcomes of one branch as a sum of coefficient x product over stages of a factor."""
    names = [*BRANCH_FIELDS, "residual"]
    bits = {field: 1 << index for index, field in enumerate(names)}
    # A network's choice is the same in each stage, but where it never matters (it is fixed there).
    whole = {
        field: choice
        for fields in unit
        for field, choice in fields.items()
        if choice.scope == "network"
    }
    terms: dict[Table, int] = defaultdict(int)
    for assignment in _assignments(whole, "network"):
        network = {field: (value, bits[field]) for field, (value, _, _) in assignment.items()}
        full = sum(bits[field] for field in network)
        sums = [
            [_sum_subsets(_stage_counts(fields, network, bits, cells), full) for cells in table]
            for fields, table in zip(unit, tables, strict=True)
        ]
        for mask in _submasks(full):
            coefficient = sum(
                (-1) ** (used & ~mask).bit_count() * _weight(assignment, bits, used)
                for used in _submasks(full)
                if mask & ~used == 0
            )
            terms[tuple(tuple(s[mask] for s in stage) for stage in sums)] += coefficient
    return terms


def _multiply_out(units: list[dict[Table, int]]) -> dict[Table, int]:
    """The product of the sums of all branches, equal terms together and those of 0 left out."""
    result: dict[Table, int] | None = None
    for unit in units:
        if result is None:
            result = unit
            continue
        merged: dict[Table, int] = defaultdict(int)
        for (left, left_number), (right, right_number) in product(result.items(), unit.items()):
            table = tuple(
                tuple(a * b for a, b in zip(*rows, strict=True))
                for rows in zip(left, right, strict=True)
            )
            # Every structure has a first stage.
            if any(table[0]):
                merged[table] += left_number * right_number
        result = {table: number for table, number in merged.items() if number}
    return result or {}


def _sum_structures(
    layout: Layout,
    terms: Mapping[Table, int],
    tables: list[list[int]],
    allowed: Callable[[int, int], bool],
) -> int:
    """All outcomes of cells and reductions over the structures whose every stage is allowed."""
    total = 0
    counts = layout.choices[layout.count].domain.values
    for num_stages in (int(value) for value in counts if value is not None):
        stages = range(num_stages)
        # One choice of the network gives each stage the same number of cells.
        is_shared = len(set(layout.cells[:num_stages])) < num_stages
        outcomes = 0
        for table, coefficient in terms.items():
            columns = [
                [
                    factor if allowed(stage, cells) else 0
                    for factor, cells in zip(table[stage], tables[stage], strict=True)
                ]
                for stage in stages
            ]
            if is_shared:
                outcomes += coefficient * sum(map(prod, zip(*columns, strict=True)))
            else:
                outcomes += coefficient * prod(map(sum, columns))
        total += outcomes * _count_reductions(layout, num_stages - 1)
    return total


def _count_reductions(layout: Layout, number: int) -> int:
    """The outcomes of the first ``number`` reductions."""
    places = layout.reductions[:number]
    if not places:
        return 1
    per_place = [
        {str(kind): _count_kind(layout, index, str(kind)) for kind in _kinds(layout, index)}
        for index in range(number)
    ]
    if len({place.kind for place in places}) == 1 and number > 1:
        return sum(prod(counts[kind] for counts in per_place) for kind in per_place[0])
    return prod(sum(counts.values()) for counts in per_place)


def _kinds(layout: Layout, index: int) -> list[str]:
    return [str(kind) for kind in layout.choices[layout.reductions[index].kind].domain.values]


def _count_kind(layout: Layout, index: int, kind: str) -> int:
    place = layout.reductions[index]
    if kind != "cell":
        return prod(layout.choices[i].count for i in place.ops[kind].fields.values())
    assert place.cell is not None
    return prod(
        sum(number for _, number in _outcomes(_fields(layout, place.cell, branch.name), {}))
        for branch in place.cell.branches
    )
