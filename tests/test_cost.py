"""Three witnesses for every count: by hand, the built module, and torch's own counters."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from nas.architecture import (
    Architecture,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Shape,
)
from nas.cost import COSTS, Cost, LayerCost, count_cost
from nas.model import Network, build
from nas.presets import PRESET_IMAGES, PRESETS, googlenet, load_preset, torchvision_googlenet
from tests.strategies import IMAGE, architectures

IMAGENET = Shape(3, 224, 224)

# Weights and MACs of each cell, counted by hand from arXiv:1409.4842, table 1.
GOOGLENET_CELLS = {
    "stages.0.0": (163_328, 128_049_152),
    "stages.0.1": (388_096, 304_267_264),
    "stages.1.0": (375_552, 73_608_192),
    "stages.1.1": (448_512, 87_908_352),
    "stages.1.2": (509_440, 99_850_240),
    "stages.1.3": (604_672, 118_515_712),
    "stages.1.4": (867_328, 169_996_288),
    "stages.2.0": (1_042_432, 51_079_168),
    "stages.2.1": (1_442_816, 70_697_984),
    "stem.0": (9_408, 118_013_952),
    "stem.2": (4_096, 12_845_056),
    "stem.3": (110_592, 346_816_512),
    "head.classifier": (1_024_000, 1_024_000),
}


def weights(row: LayerCost) -> int:
    """Parameters of a network without norm, but for its biases: one an output channel."""
    return row.params - row.output.channels if row.params else 0


def rows_under(cost: Cost, name: str) -> list[LayerCost]:
    return [row for row in cost.rows if row.name == name or row.name.startswith(f"{name}.")]


# By hand.


@pytest.mark.parametrize("name", GOOGLENET_CELLS)
def test_googlenet_cell_by_cell(name: str) -> None:
    rows = rows_under(count_cost(googlenet("none"), IMAGENET, 1000), name)
    counted = sum(map(weights, rows)), sum(row.macs for row in rows)
    assert counted == GOOGLENET_CELLS[name]


@pytest.mark.parametrize(
    ("architecture", "params", "macs"),
    [
        (googlenet("none"), 6_998_552, 1_582_671_872),
        (googlenet("batch"), 7_005_832, 1_582_671_872),
        # torchvision.models.googlenet(aux_logits=False), pytorch/vision 0.24
        (torchvision_googlenet(), 6_624_904, 1_498_376_192),
    ],
    ids=["no norm", "batch norm", "torchvision"],
)
def test_googlenet_totals(architecture: Architecture, params: int, macs: int) -> None:
    cost = count_cost(architecture, IMAGENET, 1000)
    assert (cost.params, cost.macs) == (params, macs)


def test_torchvision_total_with_auxiliary_heads() -> None:
    # 13,004,888 is what torchvision documents for GoogLeNet_Weights.IMAGENET1K_V1's full model.
    cost = count_cost(torchvision_googlenet(), IMAGENET, 1000, auxiliary=True)
    convs, hidden = (512 + 528) * 128 + 2 * 256, 2 * (2048 * 1024 + 1024)
    assert cost.params == 6_624_904 + convs + hidden + 2 * (1024 * 1000 + 1000) == 13_004_888


@pytest.mark.parametrize(
    ("branch", "macs"),
    [
        ((Conv((5, 5), 32),), (120_422_400,)),
        ((Conv((1, 1), 16), Conv((5, 5), 32)), (2_408_448, 10_035_200)),
    ],
    ids=["naive", "reduced"],
)
def test_the_papers_example_of_a_reduce(branch: tuple[Conv, ...], macs: tuple[int, ...]) -> None:
    # arXiv:1409.4842, section 4: 32 filters of 5x5 on 28x28x192, with and without 16 before.
    architecture = Architecture((), ((Cell((branch,)),),))
    rows = rows_under(count_cost(architecture, Shape(192, 28, 28), 10), "stages.0.0")
    assert tuple(row.macs for row in rows) == macs
    assert sum(macs) == (120_422_400 if len(branch) == 1 else 12_443_648)


def test_every_row_of_a_small_network_by_hand() -> None:
    cell = Cell(
        ((Conv((1, 1), 4),), (Conv((1, 1), 2), Conv((3, 3), 5)), (Pool("avg"),)), residual=True
    )
    architecture = Architecture(
        stem=(Conv((3, 3), 8, stride=2),),
        stages=((cell,), (Cell(((Conv((1, 3), 6),),)),)),
        reductions=(Pool("max", 3, 2),),
        head=Head("flatten", hidden=(7,)),
        norm=Norm("batch"),
    )
    cost = count_cost(architecture, Shape(1, 9, 8), 10, dtype="float16")
    big, small = (5, 4), (3, 2)
    assert cost.rows == (
        # name, kind, input, output, params, macs, bytes of two an element
        ("stem.0", "conv 3x3/2", (1, 9, 8), (8, *big), 72 + 16, 72 * 20, 320),
        ("stages.0.0.branches.0.0", "conv 1x1", (8, *big), (4, *big), 32 + 8, 32 * 20, 160),
        ("stages.0.0.branches.1.0", "conv 1x1", (8, *big), (2, *big), 16 + 4, 16 * 20, 80),
        ("stages.0.0.branches.1.1", "conv 3x3", (2, *big), (5, *big), 90 + 10, 90 * 20, 200),
        ("stages.0.0.branches.2.0", "avg pool 3x3", (8, *big), (8, *big), 0, 0, 320),
        ("stages.0.0.concat", "concat", (17, *big), (17, *big), 0, 0, 680),
        ("stages.0.0.projection", "conv 1x1", (17, *big), (8, *big), 136 + 16, 136 * 20, 320),
        ("reductions.0", "max pool 3x3/2", (8, *big), (8, *small), 0, 0, 96),
        ("stages.1.0.branches.0.0", "conv 1x3", (8, *small), (6, *small), 144 + 12, 144 * 6, 72),
        ("head.hidden.0", "linear", (36, 1, 1), (7, 1, 1), 36 * 7 + 7, 36 * 7, 14),
        ("head.classifier", "linear", (7, 1, 1), (10, 1, 1), 80, 70, 20),
    )
    # The first cell's concatenation: its input, the merged 1x1s, 3x3, pooling, and the result.
    assert cost.peak_activation_bytes == 320 + (160 + 80) + 200 + 320 + 680


def test_kinds_read_well() -> None:
    cost = count_cost(torchvision_googlenet(), IMAGENET, 1000, auxiliary=True)
    kinds = {row.kind for row in cost.rows}
    assert kinds == {
        "conv 7x7/2",
        "conv 1x1",
        "conv 3x3",
        "max pool 3x3/2",
        "max pool 3x3",
        "max pool 2x2/2",
        "concat",
        "global average",
        "avg pool to 4x4",
        "linear",
    }


# Totals.


@given(architectures())
@settings(max_examples=50)
def test_totals_are_the_sums_of_the_rows(architecture: Architecture) -> None:
    for auxiliary in (False, True):
        cost = count_cost(architecture, IMAGE, 5, auxiliary=auxiliary)
        for name in COSTS:
            assert getattr(cost, name) == sum(getattr(row, name) for row in cost.rows), name
        assert 0 < cost.peak_activation_bytes <= cost.activation_bytes
        assert len({row.name for row in cost.rows}) == len(cost.rows)


@pytest.mark.parametrize(
    ("dtype", "num_bytes"), [("float64", 8), ("float32", 4), ("bfloat16", 2), ("float16", 2)]
)
def test_dtype_scales_the_bytes_alone(dtype: str, num_bytes: int) -> None:
    reference = count_cost(googlenet(), IMAGENET, 1000)
    cost = count_cost(googlenet(), IMAGENET, 1000, dtype=dtype)
    assert cost.activation_bytes * 4 == reference.activation_bytes * num_bytes
    assert cost.peak_activation_bytes * 4 == reference.peak_activation_bytes * num_bytes
    assert (cost.params, cost.macs) == (reference.params, reference.macs)
    assert getattr(torch, dtype).itemsize == num_bytes


# The built module, and torch.utils.flop_counter.


def built(architecture: Architecture, image: Shape, classes: int, merge: bool) -> Network:
    with torch.device("meta"):
        return build(architecture, image, classes, merge=merge).eval()


def check_against_torch(architecture: Architecture, image: Shape, classes: int) -> None:
    main = count_cost(architecture, image, classes)
    full = count_cost(architecture, image, classes, auxiliary=True)
    for merge in (True, False):
        network = built(architecture, image, classes, merge)
        auxiliary = sum(p.numel() for p in network.auxiliary.parameters())
        assert full.params == sum(p.numel() for p in network.parameters())
        assert main.params == full.params - auxiliary
        x = torch.empty(1, *image, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x)
        assert counter.get_total_flops() == 2 * main.macs
        if not architecture.auxiliary:
            continue
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.forward_with_auxiliary(x)
        assert counter.get_total_flops() == 2 * full.macs


@pytest.mark.parametrize("name", PRESETS)
def test_presets_cost_what_torch_counts(name: str) -> None:
    check_against_torch(load_preset(name), PRESET_IMAGES[name], 1000)


@given(architectures())
@settings(max_examples=25)
def test_architectures_cost_what_torch_counts(architecture: Architecture) -> None:
    check_against_torch(architecture, IMAGE, 5)


@given(architectures())
@settings(max_examples=25)
def test_rows_are_the_modules(architecture: Architecture) -> None:
    """A row's parameters are those of the module of its name."""
    cost = count_cost(architecture, IMAGE, 5, auxiliary=True)
    modules = dict(built(architecture, IMAGE, 5, merge=False).named_modules())
    for row in cost.rows:
        if row.params:
            assert row.params == sum(p.numel() for p in modules[row.name].parameters()), row.name
    counted = sum(p.numel() for p in modules[""].parameters())
    assert counted == cost.params


# A real measurement of what is alive.


class Liveness(TorchDispatchMode):
    """Bytes of the storages that ops made and that still live, and their peak.

    The indices of max pooling (int64) are left out: torch makes them, and drops them before it
    returns; inference runtimes do not.
    """

    def __init__(self, *owned: Tensor) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in owned}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self._see(tensor.untyped_storage())
        self.peak = max(self.peak, self.alive)
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.alive += num_bytes
        weakref.finalize(storage, self._die, key, num_bytes)

    def _die(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.alive -= num_bytes


def measured_peak(architecture: Architecture, image: Shape, classes: int) -> int:
    network = build(architecture, image, classes, seed=0).eval()
    x = torch.randn(1, *image)
    with torch.no_grad(), Liveness(x, *network.parameters(), *network.buffers()) as liveness:
        network(x)
    assert liveness.alive == 0
    return liveness.peak


def without_norm(architecture: Architecture) -> Architecture:
    return replace(architecture, norm=Norm("none"))


@pytest.mark.parametrize("name", PRESETS)
def test_peak_of_presets_is_what_lives(name: str) -> None:
    architecture, image = load_preset(name), PRESET_IMAGES[name]
    peak = count_cost(architecture, image, 10).peak_activation_bytes
    assert peak == measured_peak(without_norm(architecture), image, 10)


PAIR_AND_INPUT = Architecture(
    stem=(),
    stages=((Cell(((Conv((1, 1), 1),), (Conv((1, 1), 1),)), residual=True),),),
    reductions=(),
    head=Head("average"),
    norm=Norm("none"),
)
"""Its branches' maps are freed before the projection, whose output is larger than they are."""


@given(architectures(norms=("none",)))
@example(PAIR_AND_INPUT)
@settings(max_examples=60)
def test_peak_of_architectures_is_what_lives(architecture: Architecture) -> None:
    peak = count_cost(architecture, IMAGE, 5).peak_activation_bytes
    assert peak == measured_peak(architecture, IMAGE, 5)


# What is refused.


@pytest.mark.parametrize(
    ("image", "classes", "dtype", "message"),
    [
        (Shape(3, 224, 0), 10, "float32", "image.width must be an integer from 1"),
        (Shape(-1, 224, 224), 10, "float32", "image.channels must be an integer from 1"),
        (IMAGENET, 0, "float32", "classes must be an integer from 1 to 1,000,000, not 0"),
        (IMAGENET, True, "float32", "classes must be an integer from 1 to 1,000,000, not True"),
        (IMAGENET, 10, "int4", "dtype must be one of float64, .*, not 'int4'"),
        (Shape(3, 8, 8), 10, "float32", r"stem.4 \(max 3x3/2\) does not fit a map of 2x2 pixels"),
        (
            Shape(3, 64, 64),
            10,
            "float32",
            r"auxiliary.0.pool \(avg 5x5/3\) does not fit a map of 4x4 pixels",
        ),
    ],
)
def test_refuses(image: Shape, classes: int, dtype: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_cost(googlenet(), image, classes, dtype=dtype)


def test_refuses_branches_of_different_sizes() -> None:
    # A 2x2 pooling without ceil rounds 7 pixels down to 3, a strided convolution up to 4.
    reduction = Cell(((Conv((3, 3), 4, 2),), (Pool("max", 2, 2, padding=0),)))
    cell = Cell(((Conv((1, 1), 4),),))
    architecture = Architecture((), ((cell,), (cell,)), (reduction,))
    with pytest.raises(ValueError, match=r"reductions.0: .*different sizes, 3x3 and 4x4 pixels"):
        count_cost(architecture, Shape(3, 7, 7), 10)
    assert count_cost(architecture, Shape(3, 8, 8), 10).macs > 0
