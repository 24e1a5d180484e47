"""Many vectors at once: the choices that matter are those of one vector after another."""

from __future__ import annotations

import numpy as np
import pytest

from nas.space import SearchSpace, space_names

NESTED = """
format: 1
name: nested
stem:
  - {op: conv, kernel: [3x3, 5x5], stride: 2, channels: [8, 16]}
  - {op: pool, kind: max, kernel: [2, 3], stride: 2}
stages:
  count: [1, 3]
  cells: {low: 1, high: 3}
cell:
  residual: {options: [false, true], scope: stage}
  branches:
    1x1: {forms: 1x1, channels: {low: 8, high: 24, step: 8}}
    wide:
      present: {options: [false, true], scope: cell}
      forms: {options: [3x3, 3x3+3x3, 1x3+3x1], scope: cell}
      inner: {options: [8, 16], scope: cell}
      reduce: {options: [none, 8], scope: cell}
      channels: {options: [8, 16], scope: cell}
    pooled:
      pool: {options: [max, avg], scope: cell}
      channels: {options: [none, 8], scope: cell}
reductions:
  kind: [max, avg, conv, cell]
  max: {kernel: [2, 3]}
  avg: {kernel: 2}
  conv: {kernel: 3, channels: [16, 32]}
  cell:
    branches:
      3x3: {forms: [3x3, 3x3+3x3], reduce: [none, 8], channels: [16, 32]}
      pool: {pool: max, channels: none}
head:
  dropout: [0.1, 0.2]
  hidden: [[none, 32]]
"""


def spaces() -> dict[str, SearchSpace]:
    shipped = {name: SearchSpace.load(name) for name in space_names()}
    return {**shipped, "nested": SearchSpace.from_yaml(NESTED, "nested")}


@pytest.mark.parametrize("name", [*space_names(), "nested"])
def test_the_mask_is_that_of_each_vector(name: str) -> None:
    space = spaces()[name]
    rng = np.random.default_rng(3)
    sizes = [len(domain.values) for domain in space.parameters.values()]
    positions = rng.integers(sizes, size=(400, len(sizes)))
    mask = space.active_mask(positions)
    for row, expected in zip(positions.tolist(), mask, strict=True):
        values = {
            choice: domain.values[at]
            for (choice, domain), at in zip(space.parameters.items(), row, strict=True)
        }
        found = {choice for choice, here in zip(space.parameters, expected, strict=True) if here}
        assert found == space.active(values), values
    assert mask.any(axis=0).all(), "every choice matters in some vector"
    assert len(space.active_mask(positions[:0])) == 0
