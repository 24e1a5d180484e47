"""Points that may be tried next: never seen, of a known form, feasible, with their costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto_sampler.costs import Costs, Space
from nas.search.pareto_sampler.forms import Form, Rows, branch_columns

Matrix = NDArray[np.float64]

SMALL = 20_000
"""Forms with at most so many points are gone through one by one when few are left."""


class Pool:
    """Points, and their costs and features as rows of ``extra``."""

    def __init__(self, points: Sequence[tuple[Form, Rows]], extra: Matrix) -> None:
        self.points, self.extra = list(points), extra

    def __len__(self) -> int:
        return len(self.points)

    def take(self, indices: NDArray[np.int64]) -> Pool:
        """Some of the points, in the order given."""
        return Pool([self.points[index] for index in indices], self.extra[indices])

    def joined(self, other: Pool) -> Pool:
        """The points of both; those of this one first."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return Pool(self.points + other.points, np.concatenate([self.extra, other.extra]))


def _joined(pools: Sequence[Pool]) -> Pool:
    result = Pool([], np.zeros((0, 0)))
    for pool in pools:
        result = result.joined(pool)
    return result


class Source:
    """Makes pools in a study's forms; ``costs`` None asks for none (all then count as feasible)."""

    def __init__(
        self,
        forms: Sequence[Form],
        costs: Costs | None,
        space: Space | None,
        generator: np.random.Generator,
    ) -> None:
        self._forms, self._costs, self._space = forms, costs, space
        self._generator = generator
        self._taken: dict[int, set[bytes]] = {form.index: set() for form in forms}
        self._branches = {
            form.index: branch_columns(form, [other for other in forms if other is not form])
            for form in forms
            if form.observed
        }

    def hold(self, pool: Pool) -> Pool:
        """The points of a pool that are still to be tried; none of them is made again."""
        kept = []
        for index, (form, row) in enumerate(pool.points):
            key = form.key(row)
            taken = self._taken.setdefault(form.index, set())
            if key not in form.seen and key not in taken:
                taken.add(key)
                kept.append(index)
        return pool.take(np.array(kept, dtype=np.int64))

    def random(self, number: int) -> Pool:
        """Points drawn evenly, the forms by how many trials had them; all left of a small one."""
        sizes = np.array([max(len(form.observed), 1) for form in self._forms], dtype=float)
        counts = self._generator.multinomial(number, sizes / sizes.sum())
        parts = []
        for form, count in zip(self._forms, counts, strict=True):
            if form.is_finite and form.size <= min(max(2 * number, 4 * len(form.seen)), SMALL):
                rows = form.all_rows()
                rows = rows[self._generator.permutation(len(rows))]
            else:
                rows = form.random(int(count), self._generator)
            parts.append(self._part(form, rows, number))
        return _joined(parts)

    def near(self, parents: Sequence[tuple[Form, Rows]], number: int) -> Pool:
        """Mutants and crosses of points; of each form as many as its share of the parents."""
        parts = []
        for form in self._forms:
            mine = [row for other, row in parents if other is form]
            if mine:
                count = max(number * len(mine) // len(parents), 2)
                parts.append(self._part(form, self._children(form, np.array(mine), count), count))
        return _joined(parts)

    def mutants(self, parent: tuple[Form, Rows], number: int) -> Pool:
        """Mutants of one point; by the space object where there is one."""
        form, row = parent
        rows = form.mutated(np.repeat(row[None], number, axis=0), self._generator)
        if self._space is not None:
            for index in range(number):
                self._mutate(form, row, rows, index)
        return self._part(form, rows, number)

    def _mutate(self, form: Form, parent: Rows, children: Rows, index: int) -> None:
        """Put a space object's mutant in a place, unless it is of another form."""
        assert self._space is not None
        mutant = self._space.mutate(form.values(parent), self._generator)
        if set(mutant) == set(form.distributions):
            children[index] = form.row(mutant)

    def _canonical(self, form: Form, rows: Rows, most: int, space: Space) -> Rows:
        """The first rows that stand for points not yet met and that may be tried.

        A space object may take a millisecond a point, so it is asked for no more than needed.
        """
        taken = self._taken[form.index]
        found: dict[bytes, Rows] = {}
        for row in rows:
            if len(found) >= most:
                break
            point = space.canonical(form.values(row))
            if point is None or set(point) != set(form.distributions):
                continue
            canonical = form.row(point)
            key = form.key(canonical)
            if key not in form.seen and key not in taken:
                found.setdefault(key, canonical)
        return np.array(list(found.values())).reshape(len(found), rows.shape[1])

    def _children(self, form: Form, parents: Rows, number: int) -> Rows:
        generator = self._generator
        first, second = parents[generator.integers(len(parents), size=(2, number))]
        is_crossed = generator.random(number) < 0.4
        children = np.where(
            is_crossed[:, None],
            form.crossed(first, second, generator),
            form.mutated(first, generator),
        )
        again = is_crossed & (generator.random(number) < 0.3)
        children[again] = form.mutated(children[again], generator)
        if self._space is not None:
            for index in np.flatnonzero(~is_crossed)[::2]:
                self._mutate(form, first[index], children, index)
        return children

    def _part(self, form: Form, rows: Rows, most: int) -> Pool:
        branches = self._branches.get(form.index)
        if branches:
            seen = np.array(form.observed)
            origin = seen[self._generator.integers(len(seen), size=len(rows))]
            rows = rows.copy()
            rows[:, branches] = origin[:, branches]
        if self._space is not None:
            rows = self._canonical(form, rows, most, self._space)
        taken, fresh = self._taken[form.index], []
        for index, key in enumerate(form.keys(rows)):
            if key not in form.seen and key not in taken:
                taken.add(key)
                fresh.append(index)
        # More than asked for: some will not be feasible.
        rows = rows[fresh]
        if self._costs is None:
            return Pool([(form, row) for row in rows[:most]], np.zeros((len(rows[:most]), 0)))
        kept, extra = self._costs.of_all(form, rows[:most])
        if not len(kept) and len(rows) > most:
            kept, extra = self._costs.of_all(form, rows[most:])
            kept, extra = kept[:most], extra[:most]
        return Pool([(form, row) for row in kept], extra)
