"""How many architectures a space holds: the count against every architecture, listed.

Small spaces are generated with all kinds of choice, all scopes and overrides. The witness is plain:
decode every vector of values, put the architectures in a set.
"""

import os
from itertools import product
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.space import SearchSpace

EXAMPLES = int(os.environ.get("NAS_TEST_EXAMPLES", "20"))
MOST = 1_500
"""Vectors of a generated space."""


class Budget:
    """Draws choices while the number of vectors stays under MOST, then fixed values."""

    def __init__(self, draw: Any, stages: int, cells: int) -> None:
        self.draw, self.stages, self.cells, self.left = draw, stages, cells, float(MOST)

    def value(self, options: list[Any], scopes: str = "network stage cell") -> Any:
        """One of the options, or a list of some, with a scope of ``scopes``."""
        chosen = self.draw(st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True))
        scope = self.draw(st.sampled_from(scopes.split()))
        times = {"network": 1, "stage": self.stages, "cell": self.cells, "once": 1}[scope]
        if len(chosen) == 1 or len(chosen) ** times > self.left:
            return chosen[0]
        self.left /= len(chosen) ** times
        return chosen if scope == "once" else {"options": chosen, "scope": scope}

    def branch(self, scopes: str, branch: dict[str, list[Any]]) -> dict[str, Any]:
        return {field: self.value(options, scopes) for field, options in branch.items()}


ALWAYS = {"forms": ["1x1"], "channels": [8, 16]}
BRANCHES: dict[str, dict[str, list[Any]]] = {
    "a": {
        "present": [True, False],
        "forms": ["3x3", "3x3+3x3"],
        "reduce": [4, 8, "none"],
        "channels": [8, 16],
        "inner": [5, 6],
    },
    "b": {
        "present": [True, False],
        "pool": ["max", "avg"],
        "channels": ["none", 8, 16],
        "forms": ["1x1", "3x3+3x3"],
        "inner": [5, 6],
    },
    "c": {
        "present": [True, False],
        "pool": ["none", "max"],
        "forms": ["5x5", "1x7+7x1", "1x5+5x1"],
        "reduce": [4, "none"],
        "channels": [8, 9],
        "inner": [8, 9],
    },
}


@st.composite
def spaces(draw: Any) -> SearchSpace:
    """A small space."""
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
    depths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
    budget = Budget(draw, max(counts), max(counts) * max(depths))
    names = draw(st.lists(st.sampled_from(list(BRANCHES)), max_size=2, unique=True))
    cell_scopes = "network stage cell"
    branches = {"always": budget.branch(cell_scopes, ALWAYS)}
    branches |= {name: budget.branch(cell_scopes, BRANCHES[name]) for name in names}
    data: dict[str, Any] = {
        "format": 1,
        "name": "generated",
        "stem": [{"op": "conv", "kernel": 3, "channels": budget.value([8, 16], "once")}],
        "stages": {"count": counts, "cells": budget_cells(draw, depths)},
        "cell": {"residual": budget.value([False, True]), "branches": branches},
    }
    overrides = {}
    for stage in range(max(counts)):
        if draw(st.booleans()):
            overrides[stage] = override(draw, budget, branches)
            if is_stage_scoped(data["stages"]["cells"]) and draw(st.booleans()):
                overrides[stage]["cells"] = draw(st.sampled_from([1, 2, [1, 2]]))
    data["stages"]["overrides"] = overrides
    data["reductions"] = {
        "kind": budget.value(["max", "avg", "conv", "cell"], "network stage"),
        "max": {"ceil": budget.value([False, True], "once")},
        "conv": {"channels": budget.value([8, 16], "once")},
        "cell": {
            "branches": {
                "always": budget.branch("once", ALWAYS),
                "a": budget.branch("once", BRANCHES["a"]),
            }
        },
    }
    if draw(st.booleans()):
        data["auxiliary"] = {
            "present": budget.value([False, True], "once"),
            "heads": [{"stage": max(counts) - 1, "cell": 0}],
            "hidden": budget.value([8, 16], "once"),
        }
        if max(depths) > 1 and 0 not in overrides:
            data["auxiliary"]["heads"].append({"stage": 0, "cell": 1})
    data["norm"] = {"kind": budget.value(["batch", "none"], "once")}
    return SearchSpace.from_yaml(yaml.safe_dump(data, sort_keys=False))


def budget_cells(draw: Any, depths: list[int]) -> Any:
    return {"options": depths, "scope": draw(st.sampled_from(["network", "stage"]))}


def is_stage_scoped(value: Any) -> bool:
    return len(value["options"]) == 1 or value["scope"] == "stage"


def override(draw: Any, budget: Budget, branches: dict[str, Any]) -> dict[str, Any]:
    """Other values for some of the branches' fields that are not the network's, or a new branch."""
    changed: dict[str, Any] = {}
    for name, branch in branches.items():
        options = {"always": ALWAYS, **BRANCHES}[name]
        for field, value in branch.items():
            is_network = isinstance(value, dict) and value["scope"] == "network"
            if not is_network and draw(st.integers(0, 3)) == 0:
                changed.setdefault(name, {})[field] = budget.value(options[field], "stage cell")
    if draw(st.booleans()):
        changed["new"] = {"forms": "7x7", "channels": budget.value([8, 9], "stage cell")}
    return {"branches": changed}


def all_vectors(space: SearchSpace) -> set[Architecture]:
    names, domains = list(space.parameters), space.parameters.values()
    vectors = product(*(domain.values for domain in domains))
    return {space.decode(dict(zip(names, vector, strict=True))) for vector in vectors}


def number_of_vectors(space: SearchSpace) -> int:
    return int(np.prod([len(domain.values) for domain in space.parameters.values()] or [1]))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_size_is_the_number_of_different_architectures(space: SearchSpace, seed: int) -> None:
    listed = list(space.enumerate())
    assert len(set(listed)) == len(listed) == space.size
    if number_of_vectors(space) > 4 * MOST:
        return
    everything = all_vectors(space)
    assert everything == set(listed)
    rng = np.random.default_rng(seed)
    parents = sorted(everything, key=lambda one: one.fingerprint)
    first, second = (parents[int(rng.integers(len(parents)))] for _ in range(2))
    assert space.decode(space.encode(first)) == first
    assert space.crossover(first, second, rng) in everything
    if len(everything) > 1:
        mutant = space.mutate(first, rng)
        assert mutant in everything
        assert mutant != first


def space_of(branches: str, cells: str = "2", count: str = "2") -> SearchSpace:
    return SearchSpace.from_yaml(
        f"{{format: 1, name: x, stem: [], stages: {{count: {count}, cells: {cells}}}, "
        f"cell: {{branches: {{base: {{forms: 1x1, channels: 8}}, {branches}}}}}}}"
    )


# Two stages of two cells; one branch beside the fixed one. By hand:
BY_HAND = [
    # each cell: absent, or one of 3 widths: 4 ** 4
    (
        "b: {forms: 3x3, present: {options: [false, true], scope: cell}, channels: [1, 2, 3]}",
        4**4,
    ),
    # each stage: absent, or 3 widths a cell: (1 + 3 ** 2) ** 2
    ("b: {forms: 3x3, present: [false, true], channels: [1, 2, 3]}", (1 + 9) ** 2),
    # absent in all cells, or somewhere, with one of 3 widths for all: 1 + 3 * (2 ** 4 - 1)
    (
        "b: {forms: 3x3, present: {options: [false, true], scope: cell}, "
        "channels: {options: [1, 2, 3], scope: network}}",
        1 + 3 * 15,
    ),
    # a stage: absent, or somewhere, with one of 3 widths: 1 + 3 * (2 ** 2 - 1), squared
    (
        "b: {forms: 3x3, present: {options: [false, true], scope: cell}, "
        "channels: {options: [1, 2, 3], scope: stage}}",
        (1 + 3 * 3) ** 2,
    ),
    # the lead's formula: sum over k of C(2, k) * 3 ** k * 2 a stage; a kind for the network
    (
        "b: {forms: 3x3, pool: {options: [max, avg], scope: network}, "
        "present: {options: [false, true], scope: cell}, channels: [1, 2, 3], "
        "reduce: {options: [4, 5], scope: stage}}",
        1 + 2 * ((1 + 2 * (4**2 - 1)) ** 2 - 1),
    ),
    # inner widths matter for the double form only; forms a cell's: (1 + 3) ** 4
    (
        "b: {forms: {options: [5x5, 3x3+3x3], scope: cell}, channels: 8, inner: [1, 2, 3]}",
        4**4,
    ),
    # ... and with one inner width for the network: all 5x5, or 3 widths for the rest
    (
        "b: {forms: {options: [5x5, 3x3+3x3], scope: cell}, channels: 8, "
        "inner: {options: [1, 2, 3], scope: network}}",
        1 + 3 * (2**4 - 1),
    ),
]


@pytest.mark.parametrize(("branch", "expected"), BY_HAND)
def test_size_by_hand(branch: str, expected: int) -> None:
    assert space_of(branch).size == expected


def test_size_over_structures_by_hand() -> None:
    branch = "b: {forms: 3x3, channels: [1, 2, 3]}"
    # One stage of 1 or 2 cells: 3 + 9. Two such stages: squared.
    assert space_of(branch, cells="[1, 2]", count="[1, 2]").size == 12 + 12**2
    # One number of cells for all stages: 3 ** 1 + 3 ** 2, and 3 ** 2 + 3 ** 4.
    shared = "{options: [1, 2], scope: network}"
    assert space_of(branch, cells=shared, count="[1, 2]").size == 12 + (9 + 81)


def test_the_size_of_a_huge_space_needs_no_listing() -> None:
    branches = (
        "b: {forms: 3x3, present: {options: [false, true], scope: cell}, channels: [1, 2, 3]}"
    )
    space = space_of(branches, cells="{low: 1, high: 16}", count="{low: 1, high: 16}")
    stage = sum(4**cells for cells in range(1, 17))
    assert space.size == sum(stage**stages for stages in range(1, 17))


def test_tiny_holds_a_thousand() -> None:
    space = SearchSpace.load("tiny")
    assert 600 <= space.size <= 1_500
    assert len(set(space.enumerate())) == space.size == len(all_vectors(space))
