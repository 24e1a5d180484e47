"""Which choices matter, for many vectors at once: columns in place of one vector after another.

The rules are those of :func:`nas.space.decoding.active_entries`, entry by entry in its order; a
hundred thousand vectors take a second here and half a minute there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.space.layout import CellPlace, Layout

Mask: TypeAlias = NDArray[np.bool_]


def active_mask(layout: Layout, positions: NDArray[np.integer[Any]]) -> Mask:
    """Whether each of the layout's choices matters in each vector.

    Args:
        layout: the space's layout.
        positions: N, entries: where each value stands in the values of its choice; fixed entries,
            which have one value, are 0.

    Returns:
        N, entries.
    """
    return _Activity(layout, positions).mask


class _Activity:
    """The mask, marked entry by entry."""

    def __init__(self, layout: Layout, positions: NDArray[np.integer[Any]]) -> None:
        self.layout, self.positions = layout, positions
        self.mask: Mask = np.zeros(positions.shape, dtype=bool)
        everywhere: Mask = np.ones(len(positions), dtype=bool)
        for op in layout.stem:
            self.mark_fields(op.fields, everywhere)
        self.stages(everywhere)
        self.reductions()
        self.auxiliary()
        self.mark_fields(layout.head.fields, everywhere)
        for index in (*layout.hidden, layout.norm):
            self.mark(index, everywhere)

    def holds(self, index: int, rule: Any) -> Mask:
        """Where the entry's value satisfies the rule, a function of the value."""
        answers = np.array(
            [bool(rule(value)) for value in self.layout.choices[index].domain.values]
        )
        found: Mask = answers[self.positions[:, index]]
        return found

    def more_than(self, index: int, number: int) -> Mask:
        """Where the entry, a count, is over ``number``."""
        return self.holds(index, lambda count: count > number)

    def mark(self, index: int, where: Mask) -> None:
        self.mask[:, index] |= where

    def mark_fields(self, fields: Mapping[str, int], where: Mask) -> None:
        for index in fields.values():
            self.mark(index, where)

    def stages(self, everywhere: Mask) -> None:
        layout = self.layout
        self.mark(layout.count, everywhere)
        for stage, cells in enumerate(layout.stages):
            there = self.more_than(layout.count, stage)
            self.mark(layout.cells[stage], there)
            for number, cell in enumerate(cells):
                self.cell(cell, there & self.more_than(layout.cells[stage], number))

    def cell(self, place: CellPlace, there: Mask) -> None:
        if place.residual is not None:
            self.mark(place.residual, there)
        for branch in place.branches:
            self.mark(branch.present, there)
            present = there & self.holds(branch.present, bool)
            self.mark(branch.pool, present)
            self.mark(branch.channels, present)
            convolves = present & self.holds(branch.channels, lambda width: width is not None)
            self.mark(branch.reduce, convolves)
            self.mark(branch.forms, convolves)
            self.mark(
                branch.inner, convolves & self.holds(branch.forms, lambda form: "+" in str(form))
            )

    def reductions(self) -> None:
        for number, place in enumerate(self.layout.reductions):
            there = self.more_than(self.layout.count, number + 1)
            self.mark(place.kind, there)
            for kind, op in place.ops.items():
                self.mark_fields(op.fields, there & self.holds(place.kind, kind.__eq__))
            if place.cell is not None:
                self.cell(place.cell, there & self.holds(place.kind, "cell".__eq__))

    def auxiliary(self) -> None:
        place, layout = self.layout.auxiliary, self.layout
        if place is None:
            return
        possible: Mask = np.zeros(len(self.positions), dtype=bool)
        for stage, cell in place.cells:
            in_stage = self.more_than(layout.count, stage)
            possible |= in_stage & self.more_than(layout.cells[stage], cell)
        self.mark(place.present, possible)
        self.mark_fields(place.fields, possible & self.holds(place.present, bool))
