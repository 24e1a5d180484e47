"""What an architecture refuses, when two are equal, and that JSON keeps them."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import (
    FORMAT,
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Reduction,
    Shape,
    branch_channels,
    branch_stride,
    cell_shape,
    cell_shapes,
    check,
    merged_branches,
    op_shape,
)
from nas.presets import googlenet, load_preset, resnet_like
from tests.strategies import IMAGE, architectures

CELL = Cell(((Conv((3, 3), 4),),))


def refused(message: str) -> Any:
    return pytest.raises(ValueError, match=f"^{re.escape(message)}")


# What is refused at construction.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv((3, 3), 0), "Conv.channels must be an integer from 1 to 65,536, not 0"),
        (lambda: Conv((3, 3), -8), "Conv.channels must be an integer from 1 to 65,536, not -8"),
        (lambda: Conv((3, 3), 65_537), "Conv.channels must be an integer from 1 to 65,536"),
        (lambda: Conv((3, 3), 4.0), "Conv.channels must be an integer from 1 to 65,536, not 4.0"),
        (lambda: Conv((3, 3), True), "Conv.channels must be an integer from 1 to 65,536, not True"),
        (lambda: Conv((2, 3), 4), "Conv.kernel must be odd on both sides, not (2, 3)"),
        (lambda: Conv((3, 33), 4), "Conv.kernel must be an integer from 1 to 31, not 33"),
        (lambda: Conv((3,), 4), "Conv.kernel must be (height, width), not (3,)"),
        (lambda: Conv(3, 4), "Conv.kernel must be (height, width), not 3"),
        (lambda: Conv((3, 3), 4, 0), "Conv.stride must be an integer from 1 to 8, not 0"),
        (lambda: Conv((3, 3), 4, 9), "Conv.stride must be an integer from 1 to 8, not 9"),
        (lambda: Pool("median"), "Pool.kind must be 'max' or 'avg', not 'median'"),
        (lambda: Pool("max", 1), "Pool.kernel must be an integer from 2 to 31, not 1"),
        (lambda: Pool("max", 3, 0), "Pool.stride must be an integer from 1 to 8, not 0"),
        (lambda: Pool("max", 3, 1, 2), "Pool.padding must be an integer from 0 to 1, not 2"),
        (lambda: Pool("max", 3, 1, -1), "Pool.padding must be an integer from 0 to 1, not -1"),
        (lambda: Pool(ceil=1), "Pool.ceil must be true or false, not 1"),
        (lambda: AdaptivePool(0), "AdaptivePool.side must be an integer from 1 to 32, not 0"),
        (lambda: Cell(()), "Cell.branches must hold a branch with an op, not ()"),
        (lambda: Cell(((),)), "Cell.branches must hold a branch with an op, not ((),)"),
        (lambda: Cell(Conv((3, 3), 4)), "Cell.branches must be a tuple or a list, not Conv("),
        (
            lambda: Cell((Conv((3, 3), 4),)),
            "Cell.branches[0] must be a tuple or a list, not Conv(",
        ),
        (lambda: Cell((("3x3",),)), "Cell.branches must hold Conv and Pool ops, not '3x3'"),
        (
            lambda: Cell(((AdaptivePool(),),)),
            "Cell.branches must hold Conv and Pool ops, not AdaptivePool(side=4)",
        ),
        (
            lambda: Cell(((Pool(),),) * 65),
            "Cell.branches must hold at most 64 branches of 64 ops",
        ),
        (
            lambda: Cell(((Pool(),) * 65,)),
            "Cell.branches must hold at most 64 branches of 64 ops",
        ),
        (
            lambda: Cell(((Conv((3, 3), 4),), (Pool("max", 3, 2),))),
            "Cell.branches must all have one stride, not [1, 2]",
        ),
        (
            lambda: Cell(((Conv((3, 3), 4, 2),), ())),
            "Cell.branches must all have one stride, not [2, 1]",
        ),
        (lambda: Cell(CELL.branches, residual=1), "Cell.residual must be true or false, not 1"),
        (
            lambda: Cell(((Conv((3, 3), 4, 2),),), residual=True),
            "Cell.residual needs stride 1, not 2",
        ),
        (
            lambda: AuxiliaryHead(-1, 0),
            "AuxiliaryHead.stage must be an integer from 0 to 256, not -1",
        ),
        (
            lambda: AuxiliaryHead(0, "0"),
            "AuxiliaryHead.cell must be an integer from 0 to 256, not '0'",
        ),
        (
            lambda: AuxiliaryHead(0, 0, Conv((1, 1), 4)),
            "AuxiliaryHead.pool must be a pooling, not Conv(",
        ),
        (
            lambda: AuxiliaryHead(0, 0, channels=0),
            "AuxiliaryHead.channels must be an integer from 1 to 65,536, not 0",
        ),
        (
            lambda: AuxiliaryHead(0, 0, hidden=0),
            "AuxiliaryHead.hidden must be an integer from 1 to 65,536, not 0",
        ),
        (
            lambda: AuxiliaryHead(0, 0, dropout=1.0),
            "AuxiliaryHead.dropout must be at least 0 and under 1, not 1.0",
        ),
        (
            lambda: AuxiliaryHead(0, 0, weight=0),
            "AuxiliaryHead.weight must be over 0 and at most 10, not 0",
        ),
        (
            lambda: AuxiliaryHead(0, 0, weight=True),
            "AuxiliaryHead.weight must be over 0 and at most 10, not True",
        ),
        (
            lambda: AuxiliaryHead(0, 0, weight=float("nan")),
            "AuxiliaryHead.weight must be over 0 and at most 10, not nan",
        ),
        (lambda: Head("max"), "Head.pool must be 'average' or 'flatten', not 'max'"),
        (
            lambda: Head(hidden=(0,)),
            "Head.hidden must be an integer from 1 to 65,536, not 0",
        ),
        (lambda: Head(hidden=8), "Head.hidden must be a tuple or a list, not 8"),
        (lambda: Head(hidden=(8,) * 65), "Head.hidden must hold at most 64 widths"),
        (lambda: Head(dropout=1), "Head.dropout must be at least 0 and under 1, not 1"),
        (lambda: Head(dropout=-0.1), "Head.dropout must be at least 0 and under 1, not -0.1"),
        (lambda: Head(dropout="0"), "Head.dropout must be at least 0 and under 1, not '0'"),
        (
            lambda: Head(dropout=float("nan")),
            "Head.dropout must be at least 0 and under 1, not nan",
        ),
        (lambda: Norm("layer"), "Norm.kind must be 'batch' or 'none', not 'layer'"),
        (lambda: Norm("batch", 0.0), "Norm.eps must be over 0 and under 1, not 0.0"),
        (lambda: Norm("batch", 1), "Norm.eps must be over 0 and under 1, not 1"),
        (
            lambda: Architecture((), ()),
            "Architecture.stages must hold 1 to 64 stages, not 0",
        ),
        (
            lambda: Architecture((), ((CELL,),) * 65),
            "Architecture.stages must hold 1 to 64 stages, not 65",
        ),
        (
            lambda: Architecture((), ((),)),
            "Architecture.stages[0] must hold 1 to 256 cells, not 0",
        ),
        (
            lambda: Architecture((), ((CELL,) * 257,)),
            "Architecture.stages[0] must hold 1 to 256 cells, not 257",
        ),
        (
            lambda: Architecture((), (CELL,)),
            "Architecture.stages[0] must be a tuple or a list, not Cell(",
        ),
        (
            lambda: Architecture((), ((Pool(),),)),
            "Architecture.stages[0][0] must be a Cell with stride 1, not Pool(",
        ),
        (
            lambda: Architecture((), ((CELL, Cell(((Conv((3, 3), 4, 2),),))),)),
            "Architecture.stages[0][1] must be a Cell with stride 1, not Cell(",
        ),
        (
            lambda: Architecture((CELL,), ((CELL,),)),
            "Architecture.stem must hold at most 64 Conv and Pool ops",
        ),
        (
            lambda: Architecture((Pool(),) * 65, ((CELL,),)),
            "Architecture.stem must hold at most 64 Conv and Pool ops",
        ),
        (
            lambda: Architecture(Pool(), ((CELL,),)),
            "Architecture.stem must be a tuple or a list, not Pool(",
        ),
        (
            lambda: Architecture((), ((CELL,), (CELL,))),
            "Architecture.reductions must hold one reduction between two stages (1), not 0",
        ),
        (
            lambda: Architecture((), ((CELL,), (CELL,)), (Pool("max", 3, 1),)),
            "Architecture.reductions[0] must be a Pool, Conv or Cell with a stride of at least 2",
        ),
        (
            lambda: Architecture((), ((CELL,), (CELL,)), ("pool",)),
            "Architecture.reductions[0] must be a Pool, Conv or Cell with a stride of at least 2",
        ),
        (
            lambda: Architecture((), ((CELL,),), auxiliary=(AuxiliaryHead(0, 1),)),
            "Architecture.auxiliary[0] must follow a cell that exists, not stages.0.1",
        ),
        (
            lambda: Architecture((), ((CELL,),), auxiliary=(AuxiliaryHead(1, 0),)),
            "Architecture.auxiliary[0] must follow a cell that exists, not stages.1.0",
        ),
        (
            lambda: Architecture(
                (), ((CELL, CELL),), auxiliary=(AuxiliaryHead(0, 1), AuxiliaryHead(0, 0))
            ),
            "Architecture.auxiliary must follow the order of the cells, one a cell, "
            "not [(0, 1), (0, 0)]",
        ),
        (
            lambda: Architecture((), ((CELL,),), auxiliary=(AuxiliaryHead(0, 0),) * 2),
            "Architecture.auxiliary must follow the order of the cells, one a cell",
        ),
        (
            lambda: Architecture((), ((CELL,),), auxiliary=(Head(),)),
            "Architecture.auxiliary[0] must be an AuxiliaryHead, not Head(",
        ),
        (
            lambda: Architecture((), ((CELL,),), head=None),
            "Architecture.head must be a Head, not None",
        ),
        (
            lambda: Architecture((), ((CELL,),), norm="batch"),
            "Architecture.norm must be a Norm, not 'batch'",
        ),
    ],
)
def test_refuses(make: Callable[[], object], message: str) -> None:
    with refused(message):
        make()


def test_what_is_made_cannot_change() -> None:
    architecture = googlenet()
    with pytest.raises(FrozenInstanceError):
        architecture.norm = Norm("none")  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        architecture.stages[0][0].residual = True  # type: ignore[misc]


# When two are equal.


def shuffled(cell: Cell, rng: random.Random) -> Cell:
    branches = list(cell.branches)
    rng.shuffle(branches)
    return Cell(tuple(branches), cell.residual)


@given(architectures(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_branches_does_not_matter(
    architecture: Architecture, rng: random.Random
) -> None:
    def turn(item: Reduction) -> Reduction:
        return shuffled(item, rng) if isinstance(item, Cell) else item

    other = replace(
        architecture,
        stages=tuple(tuple(shuffled(c, rng) for c in stage) for stage in architecture.stages),
        reductions=tuple(map(turn, architecture.reductions)),
    )
    assert other == architecture
    assert hash(other) == hash(architecture)
    assert other.fingerprint == architecture.fingerprint
    assert other.to_json() == architecture.to_json()


def test_canonical_order_is_the_papers() -> None:
    branches = [
        (),
        (Pool("avg"),),
        (Pool(), Conv((1, 1), 2)),
        (Conv((1, 1), 2), Conv((5, 5), 4)),
        (Conv((1, 1), 2), Conv((3, 3), 4)),
        (Conv((3, 3), 4),),
        (Conv((1, 1), 3),),
        (Conv((1, 1), 9),),
    ]
    order = [7, 6, 5, 4, 3, 1, 2, 0]
    assert Cell(tuple(branches)).branches == tuple(branches[index] for index in order)


@given(architectures(), architectures())
@settings(max_examples=50)
def test_equal_exactly_when_fingerprints_are(first: Architecture, second: Architecture) -> None:
    assert (first == second) == (first.fingerprint == second.fingerprint)


@pytest.mark.parametrize(
    "other",
    [
        replace(googlenet(), head=Head(dropout=0.2)),
        replace(googlenet(), head=Head("flatten")),
        replace(googlenet(), head=Head(hidden=(8,))),
        replace(googlenet(), norm=Norm("batch", 1e-5)),
        replace(googlenet(), norm=Norm("none")),
        replace(googlenet(), auxiliary=()),
        replace(googlenet(), reductions=(Pool("max", 3, 2),) * 2),
        replace(googlenet(), reductions=(Pool("avg", 3, 2, 0, ceil=True),) * 2),
        replace(googlenet(), stem=googlenet().stem[:-1]),
        replace(googlenet(), stages=googlenet().stages[::-1]),
    ],
)
def test_every_part_counts(other: Architecture) -> None:
    if len(other.auxiliary) == len(googlenet().auxiliary):
        other = replace(other, auxiliary=googlenet().auxiliary)
    assert other != googlenet()
    assert other.fingerprint != googlenet().fingerprint


def test_one_value_one_fingerprint() -> None:
    """Lists and tuples, 0 and 0.0 and -0.0, and eps without a norm describe the same network."""

    def make(sequence: type, zero: float, eps: float) -> Architecture:
        cell = Cell(sequence([sequence([Conv(sequence([3, 3]), 4)])]))
        return Architecture(
            stem=sequence([]),
            stages=sequence([sequence([cell])]),
            auxiliary=sequence([AuxiliaryHead(0, 0, dropout=zero, weight=int(1 + zero))]),
            head=Head(hidden=sequence([8]), dropout=zero),
            norm=Norm("none", eps),
        )

    networks = [make(tuple, 0, 0.1), make(list, 0.0, 0.2), make(tuple, -0.0, 0.3)]
    assert len(set(networks)) == 1
    assert len({network.fingerprint for network in networks}) == 1
    assert Architecture.from_json(networks[0].to_json()).to_json() == networks[0].to_json()


def test_the_fingerprint_is_for_ever() -> None:
    """Runs on disk know a network by it: a change needs a new format."""
    assert FORMAT == 1
    assert googlenet().fingerprint == "e06fc723d7963872"
    assert re.fullmatch(r"[0-9a-f]{16}", googlenet().fingerprint)


# JSON.


@given(architectures(), st.sampled_from([None, 2]))
@settings(max_examples=50)
def test_json_round_trip(architecture: Architecture, indent: int | None) -> None:
    text = architecture.to_json(indent)
    again = Architecture.from_json(text)
    assert again == architecture
    assert again.to_json(indent) == text
    assert Architecture.from_json(text.encode()) == architecture


def change(path: list[int | str], value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        if value is ...:
            del data[path[-1]]
        else:
            data[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], FORMAT + 1, "format 2 is newer than this version reads (1)"),
        (["format"], "1", "format must be an integer from 1, not '1'"),
        (["format"], True, "format must be an integer from 1, not True"),
        (["format"], 0, "format must be an integer from 1, not 0"),
        (["format"], ..., "format is missing: this JSON object is no architecture"),
        (["stages"], ..., "architecture.stages is missing"),
        (["stages"], "abc", "architecture.stages must be a list, not 'abc'"),
        (["stages"], [], "Architecture.stages must hold 1 to 64 stages, not 0"),
        (["depth"], 3, "architecture.depth is no field of an architecture; it holds 3"),
        (
            ["stem", 0, "groups"],
            3,
            "architecture.stem[0].groups is no field of an architecture; it holds 3",
        ),
        (
            ["stem", 0, "channels"],
            -3,
            "architecture.stem[0]: Conv.channels must be an integer from 1 to 65,536, not -3",
        ),
        (
            ["stages", 1, 2, "branches", 1, 1, "channels"],
            10**30,
            "architecture.stages[1][2].branches[1][1]: Conv.channels must be an integer "
            "from 1 to 65,536, not 1000000",
        ),
        (
            ["stem", 0, "channels"],
            64.0,
            "architecture.stem[0].channels must be an integer, not 64.0",
        ),
        (
            ["stem", 0, "channels"],
            "64",
            "architecture.stem[0].channels must be an integer, not '64'",
        ),
        (
            ["stem", 0, "channels"],
            None,
            "architecture.stem[0].channels must be an integer, not None",
        ),
        (["stem", 0, "channels"], ..., "architecture.stem[0].channels is missing"),
        (
            ["stem", 0, "kernel"],
            [7, 7, 7],
            "architecture.stem[0].kernel must hold fewer values, not [7, 7, 7]",
        ),
        (["stem", 0, "kernel"], [7], "architecture.stem[0].kernel[1] is missing"),
        (["stem", 0, "kernel"], 7, "architecture.stem[0].kernel must be a list, not 7"),
        (["stem", 0, "op"], "lstm", "architecture.stem[0].op must be 'conv' or 'pool', not 'lstm'"),
        (["stem", 0, "op"], 3, "architecture.stem[0].op must be 'conv' or 'pool', not 3"),
        (["stem", 0, "op"], ..., "architecture.stem[0].op is missing in {'kernel': [7, 7], "),
        (["stem", 0], 7, "architecture.stem[0] must be an object, not 7"),
        (
            ["stages", 0, 0, "branches", 0, 0, "op"],
            "cell",
            "architecture.stages[0][0].branches[0][0].op must be 'conv' or 'pool', not 'cell'",
        ),
        (
            ["reductions", 0, "op"],
            "foo",
            "architecture.reductions[0].op must be 'pool' or 'conv' or 'cell', not 'foo'",
        ),
        (
            ["reductions", 0, "kind"],
            "median",
            "architecture.reductions[0].kind must be 'max' or 'avg', not 'median'",
        ),
        (
            ["auxiliary", 0, "pool", "op"],
            "conv",
            "architecture.auxiliary[0].pool.op must be 'pool' or 'adaptive', not 'conv'",
        ),
        (
            ["auxiliary", 0, "pool", "ceil"],
            1,
            "architecture.auxiliary[0].pool.ceil must be true or false, not 1",
        ),
        (
            ["head", "pool"],
            "max",
            "architecture.head.pool must be 'average' or 'flatten', not 'max'",
        ),
        (["head", "dropout"], "0", "architecture.head.dropout must be a number, not '0'"),
        (["norm"], "batch", "architecture.norm must be an object, not 'batch'"),
        (
            ["norm", "eps"],
            0,
            "architecture.norm: Norm.eps must be over 0 and under 1, not 0.0",
        ),
    ],
)
def test_bad_json_is_refused_by_its_place(path: list[int | str], value: Any, message: str) -> None:
    data = json.loads(googlenet().to_json())
    change(path, value)(data)
    with refused(message) as caught:
        Architecture.from_json(json.dumps(data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", [0, 1, 100, -1])
def test_truncated_json_is_refused(end: int) -> None:
    with refused("the architecture is not valid, complete JSON: "):
        Architecture.from_json(googlenet().to_json()[:end])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "an architecture must be a JSON object, not [1]"),
        ("null", "an architecture must be a JSON object, not None"),
        ("{}", "format is missing: this JSON object is no architecture"),
        (b"\xff\xfe{", "the architecture is not valid, complete JSON: "),
        ("[" * 100_000, "the architecture is not valid, complete JSON: "),
        ('{"format": ' + "9" * 5000 + "}", "the architecture is not valid, complete JSON: "),
        ('{"format": 1, "\\ud800": 1}', "architecture: Invalid JSON: "),
    ],
)
def test_what_is_no_architecture_is_refused(text: str | bytes, message: str) -> None:
    with refused(message):
        Architecture.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_json_of_no_numbers_is_refused(number: str) -> None:
    text = googlenet().to_json()
    assert '"dropout":0.4' in text
    with refused("architecture.head: Head.dropout must be at least 0 and under 1, not "):
        Architecture.from_json(text.replace('"dropout":0.4', f'"dropout":{number}'))


@given(architectures(), st.data())
@settings(max_examples=30)
def test_damaged_json_raises_nothing_but_value_error(
    architecture: Architecture, data: st.DataObject
) -> None:
    text = architecture.to_json()
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(1, 8))
    damaged = text[:start] + data.draw(st.text(max_size=4)) + text[start + length :]
    with contextlib.suppress(ValueError):
        Architecture.from_json(damaged)


# Shapes.


@pytest.mark.parametrize(
    ("op", "side", "expected"),
    [
        (Conv((3, 3), 4), 7, 7),
        (Conv((3, 3), 4, 2), 7, 4),
        (Conv((5, 5), 4, 3), 7, 3),
        (Pool("max", 3, 2), 7, 4),
        (Pool("max", 3, 2, padding=0), 7, 3),
        (Pool("max", 3, 2, padding=0), 8, 3),
        (Pool("max", 3, 2, padding=0, ceil=True), 8, 4),
        (Pool("max", 2, 2, padding=0, ceil=True), 7, 4),
        # The last window would start in the right padding.
        (Pool("max", 2, 2, padding=1, ceil=True), 3, 2),
        (Pool("max", 3, 1, padding=0), 2, 0),
        (AdaptivePool(4), 9, 4),
    ],
)
def test_sides(op: Conv | Pool | AdaptivePool, side: int, expected: int) -> None:
    assert op.output_side(side) == expected


def test_shapes_of_ops_and_cells() -> None:
    assert op_shape(Conv((1, 3), 5, 2), Shape(3, 9, 4)) == Shape(5, 5, 2)
    assert op_shape(Pool("avg"), Shape(3, 9, 4)) == Shape(3, 9, 4)
    with refused("stem.1 (max 3x3) does not fit a map of 2x9 pixels"):
        op_shape(Pool("max", 3, 1, 0), Shape(3, 2, 9), "stem.1")
    branches = ((Conv((1, 1), 2), Conv((3, 3), 4)), (Pool(),), ())
    assert cell_shape(Cell(branches), Shape(3, 9, 4)) == Shape(10, 9, 4)
    assert cell_shape(Cell(branches, residual=True), Shape(3, 9, 4)) == Shape(3, 9, 4)
    assert branch_channels(branches[0], 3) == 4
    assert branch_channels((), 3) == 3
    assert branch_stride((Conv((1, 1), 2, 2), Pool("max", 3, 3))) == 6
    smaller = Cell(((Pool("max", 3, 1, padding=0),), ()))
    with refused("stages.0.0: its branches end in maps of different sizes, 2x2 and 4x4 pixels"):
        cell_shape(smaller, Shape(3, 4, 4), "stages.0.0")


def test_shapes_of_googlenet() -> None:
    # arXiv:1409.4842, table 1.
    shapes = dict(cell_shapes(googlenet(), Shape(3, 224, 224)))
    assert shapes["stem"] == Shape(192, 28, 28)
    assert shapes["stages.0.1"] == Shape(480, 28, 28)
    assert shapes["reductions.0"] == Shape(480, 14, 14)
    assert shapes["stages.1.4"] == Shape(832, 14, 14)
    assert shapes["stages.2.1"] == Shape(1024, 7, 7)


@given(architectures())
@settings(max_examples=30)
def test_drawn_architectures_fit(architecture: Architecture) -> None:
    check(architecture, IMAGE)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Shape(3, 0, 224), "image.height must be an integer from 1 to 65,536, not 0"),
        (Shape(3, 8, 8), "stem.4 (max 3x3/2) does not fit a map of 2x2 pixels"),
        (Shape(3, 64, 64), "auxiliary.0.pool (avg 5x5/3) does not fit a map of 4x4 pixels"),
    ],
)
def test_check_refuses(image: Shape, message: str) -> None:
    with refused(message):
        check(googlenet(), image)
    check(googlenet(), Shape(1, 96, 80))


def test_merged_branches() -> None:
    one, three = Conv((1, 1), 2), Conv((3, 3), 4)
    cell = Cell(((one,), (one, three), (Pool(), one), (three,), ()))
    assert merged_branches(cell) == {0: one, 2: one}
    assert cell.branches[2] == (one, three)
    assert merged_branches(Cell(((one,), (three,)))) == {}
    strided = Conv((1, 1), 2, stride=2)
    assert merged_branches(Cell(((strided,), (strided, three)))) == {}
    half = Conv((1, 1), 2), Conv((3, 3), 4, 2)
    assert len(merged_branches(Cell((half, half)))) == 2


# Text.


def test_reads_well() -> None:
    lines = str(googlenet()).splitlines()
    assert lines[0] == "stem        7x7/2 64 > max 3x3/2 > 1x1 64 > 3x3 192 > max 3x3/2"
    assert lines[1] == (
        "stages.0.0   1x1 64 | 1x1 96 > 3x3 128 | 1x1 16 > 5x5 32 | max 3x3 > 1x1 32"
    )
    assert lines[3] == "reduction   max 3x3/2"
    assert lines[-4:] == [
        "auxiliary   after stages.1.0: avg 5x5/3 > 1x1 128 > linear 1024 (weight 0.3)",
        "auxiliary   after stages.1.3: avg 5x5/3 > 1x1 128 > linear 1024 (weight 0.3)",
        "head        global average > dropout 0.4 > classifier",
        "norm        batch norm (eps 0.001)",
    ]
    assert str(Cell(((Conv((1, 7), 4),), ()), residual=True)) == "1x7 4 | identity + input"
    assert str(Norm("none")) == "no norm, biases"
    assert str(Head("flatten", (64,))) == "flatten > linear 64 > dropout 0.4 > classifier"
    assert str(AdaptivePool(4)) == "avg to 4x4"
    assert str(Architecture((), ((CELL,),))).startswith("stem        none\n")
    assert str(Shape(3, 224, 192)) == "3x224x192"


def test_counts_cells() -> None:
    assert googlenet().num_cells == 9
    assert resnet_like().num_cells == 13
    assert load_preset("inception_v3").num_cells == 9
