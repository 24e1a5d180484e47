"""Presets against the tables that they come from."""

from __future__ import annotations

import pytest

from nas.architecture import AdaptivePool, Architecture, Cell, Conv, Pool, Shape, cell_shapes, check
from nas.presets import (
    PRESET_IMAGES,
    PRESETS,
    cifar_googlenet,
    googlenet,
    inception_v3,
    load_preset,
    naive_googlenet,
    resnet_like,
    torchvision_googlenet,
)

# arXiv:1409.4842, table 1: input channels, map side, and the six widths of each cell.
GOOGLENET_CELLS = {
    "stages.0.0": (192, 28, 64, 96, 128, 16, 32, 32),
    "stages.0.1": (256, 28, 128, 128, 192, 32, 96, 64),
    "stages.1.0": (480, 14, 192, 96, 208, 16, 48, 64),
    "stages.1.1": (512, 14, 160, 112, 224, 24, 64, 64),
    "stages.1.2": (512, 14, 128, 128, 256, 24, 64, 64),
    "stages.1.3": (512, 14, 112, 144, 288, 32, 64, 64),
    "stages.1.4": (528, 14, 256, 160, 320, 32, 128, 128),
    "stages.2.0": (832, 7, 256, 160, 320, 32, 128, 128),
    "stages.2.1": (832, 7, 384, 192, 384, 48, 128, 128),
}


def named_cells(architecture: Architecture) -> dict[str, Cell]:
    return {
        f"stages.{stage}.{index}": cell
        for stage, cells in enumerate(architecture.stages)
        for index, cell in enumerate(cells)
    }


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_its_image_and_survives_json(name: str) -> None:
    architecture = load_preset(name)
    check(architecture, PRESET_IMAGES[name])
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_presets_and_images_have_the_same_names() -> None:
    assert list(PRESETS) == list(PRESET_IMAGES)
    assert all(PRESETS[name].__name__ == name for name in PRESETS)


def test_presets_differ() -> None:
    networks = [load_preset(name) for name in PRESETS] + [googlenet("none")]
    assert len({network.fingerprint for network in networks}) == len(networks)


@pytest.mark.parametrize("side", [5, 3])
def test_googlenet_cell_by_cell(side: int) -> None:
    architecture = googlenet() if side == 5 else torchvision_googlenet()
    cells = named_cells(architecture)
    assert list(cells) == list(GOOGLENET_CELLS)
    for name, (_, _, one, reduce3, three, reduce5, five, projection) in GOOGLENET_CELLS.items():
        branches = (
            (Conv((1, 1), one),),
            (Conv((1, 1), reduce3), Conv((3, 3), three)),
            (Conv((1, 1), reduce5), Conv((side, side), five)),
            (Pool("max", 3, 1, padding=1), Conv((1, 1), projection)),
        )
        # With two 3x3 branches the wider one comes first in canonical order.
        assert sorted(cells[name].branches, key=repr) == sorted(branches, key=repr), name


@pytest.mark.parametrize("build", [googlenet, torchvision_googlenet])
def test_googlenet_maps(build: object) -> None:
    assert callable(build)
    shapes = cell_shapes(build(), Shape(3, 224, 224))
    inputs = {shapes[i + 1][0]: shapes[i][1] for i in range(len(shapes) - 1)}
    for name, (channels, side, *_) in GOOGLENET_CELLS.items():
        assert inputs[name] == Shape(channels, side, side), name
    assert shapes[-1][1] == Shape(1024, 7, 7)


def test_googlenet_auxiliary_heads_follow_4a_and_4d() -> None:
    heads = googlenet().auxiliary
    assert [(head.stage, head.cell) for head in heads] == [(1, 0), (1, 3)]
    for head in heads:
        assert (head.channels, head.hidden, head.dropout, head.weight) == (128, 1024, 0.7, 0.3)
        assert head.pool == Pool("avg", 5, 3, padding=0)
    assert googlenet().head.dropout == 0.4


def test_torchvision_particulars() -> None:
    architecture = torchvision_googlenet()
    ceil = Pool("max", 3, 2, padding=0, ceil=True)
    assert [op for op in architecture.stem if isinstance(op, Pool)] == [ceil, ceil]
    assert architecture.reductions == (ceil, Pool("max", 2, 2, padding=0, ceil=True))
    assert architecture.norm.eps == 0.001
    assert architecture.head.dropout == 0.2
    assert {head.pool for head in architecture.auxiliary} == {AdaptivePool(4)}


def test_naive_googlenet_has_no_reduces_and_grows() -> None:
    architecture = naive_googlenet()
    for cell in named_cells(architecture).values():
        assert [len(branch) for branch in cell.branches] == [1, 1, 1, 1]
    # The pooling branch keeps the depth: 192 + (64 + 128 + 32), 416 + (128 + 192 + 96), ...
    channels = [s.channels for name, s in cell_shapes(architecture, Shape(3, 224, 224))]
    assert channels[1:3] == [416, 832]
    assert channels[-1] == 192 + sum(row[2] + row[4] + row[6] for row in GOOGLENET_CELLS.values())


def test_cifar_googlenet_has_googlenets_cells() -> None:
    architecture = cifar_googlenet()
    assert architecture.stages == googlenet().stages
    assert architecture.stem == (Conv((3, 3), 192),)
    sides = [shape.height for _, shape in cell_shapes(architecture, Shape(3, 32, 32))]
    assert sides == [32, 32, 32, 16, 16, 16, 16, 16, 16, 8, 8, 8]
    assert architecture.auxiliary == ()


def test_inception_v3_has_the_later_blocks() -> None:
    architecture = inception_v3()
    assert all(isinstance(reduction, Cell) for reduction in architecture.reductions)
    kernels = {
        op.kernel
        for cell in named_cells(architecture).values()
        for branch in cell.branches
        for op in branch
        if isinstance(op, Conv)
    }
    assert {(1, 7), (7, 1), (1, 3), (3, 1), (3, 3)} <= kernels
    pools = {
        op.kind
        for cell in named_cells(architecture).values()
        for branch in cell.branches
        for op in branch
        if isinstance(op, Pool)
    }
    assert pools == {"avg"}
    # arXiv:1512.00567, table 1: 35, 17 and 8 pixels, here 38, 19 and 10 with "same" padding;
    # 288, 768 and 1280 channels go into the pooling of each stage.
    shapes = dict(cell_shapes(architecture, Shape(3, 299, 299)))
    assert shapes["stages.0.2"] == Shape(288, 38, 38)
    assert shapes["stages.1.3"] == Shape(768, 19, 19)
    assert shapes["stages.2.1"] == Shape(1280, 10, 10)


def test_resnet_like_is_a_chain_of_bottlenecks() -> None:
    architecture = resnet_like()
    for cell in named_cells(architecture).values():
        assert cell.residual
        assert len(cell.branches) == 1
    shapes = dict(cell_shapes(architecture, Shape(3, 224, 224)))
    assert shapes["stages.0.2"] == Shape(256, 56, 56)
    assert shapes["stages.3.1"] == Shape(2048, 7, 7)
    # ResNet-50 has 3 + 4 + 6 + 3 bottlenecks; the widening ones are the stem's and reductions'.
    assert architecture.num_cells + len(architecture.reductions) == 3 + 4 + 6 + 3


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="no preset is named 'googlnet'; did you mean 'googlenet'"):
        load_preset("googlnet")
    with pytest.raises(ValueError, match="There are googlenet, torchvision_googlenet"):
        load_preset("zzz")
