"""Known networks as architectures, by name: GoogLeNet, its relatives, and two comparisons.

A preset is a function without required arguments; :func:`load_preset` finds it by its name and
:data:`PRESET_IMAGES` says for which image it was made. Weights are no part of a preset.

Left out: local response normalisation in GoogLeNet (see :mod:`nas.architecture`), the forks
inside a branch of the original Inception-v3, and the projected shortcuts of ResNet's first cells.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Literal, NamedTuple

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Branch,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Shape,
)


class _Widths(NamedTuple):
    """One row of GoogLeNet's table 1 (arXiv:1409.4842)."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    projection: int


# Cells 3a-3b, 4a-4e, 5a-5b of the paper.
_GOOGLENET = (
    (
        _Widths(64, 96, 128, 16, 32, 32),
        _Widths(128, 128, 192, 32, 96, 64),
    ),
    (
        _Widths(192, 96, 208, 16, 48, 64),
        _Widths(160, 112, 224, 24, 64, 64),
        _Widths(128, 128, 256, 24, 64, 64),
        _Widths(112, 144, 288, 32, 64, 64),
        _Widths(256, 160, 320, 32, 128, 128),
    ),
    (
        _Widths(256, 160, 320, 32, 128, 128),
        _Widths(384, 192, 384, 48, 128, 128),
    ),
)

# Caffe rounds the size of a pooled map up: 112-56-28-14-7 pixels without padding.
_CEIL_POOL = Pool("max", 3, 2, padding=0, ceil=True)


def _conv(kernel: int, channels: int, stride: int = 1) -> Conv:
    return Conv((kernel, kernel), channels, stride)


def _reduced_cell(widths: _Widths, large_kernel: int = 5) -> Cell:
    return Cell(
        (
            (_conv(1, widths.one),),
            (_conv(1, widths.three_reduce), _conv(3, widths.three)),
            (_conv(1, widths.five_reduce), _conv(large_kernel, widths.five)),
            (Pool(), _conv(1, widths.projection)),
        )
    )


def _naive_cell(widths: _Widths) -> Cell:
    return Cell(
        (
            (_conv(1, widths.one),),
            (_conv(3, widths.three),),
            (_conv(5, widths.five),),
            (Pool(),),
        )
    )


def _googlenet_stages(cell: Callable[[_Widths], Cell]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(cell(widths) for widths in stage) for stage in _GOOGLENET)


_GOOGLENET_STEM = (_conv(7, 64, 2), _CEIL_POOL, _conv(1, 64), _conv(3, 192), _CEIL_POOL)


def googlenet(norm: Literal["batch", "none"] = "batch") -> Architecture:
    """GoogLeNet with true 5x5 branches and auxiliary heads after 4a and 4d (arXiv:1409.4842).

    ``norm="none"`` is the paper's own network, with a bias in each convolution.
    """
    return Architecture(
        stem=_GOOGLENET_STEM,
        stages=_googlenet_stages(_reduced_cell),
        reductions=(_CEIL_POOL, _CEIL_POOL),
        auxiliary=(AuxiliaryHead(stage=1, cell=0), AuxiliaryHead(stage=1, cell=3)),
        head=Head(dropout=0.4),
        norm=Norm(norm),
    )


def torchvision_googlenet() -> Architecture:
    """torchvision's ``googlenet``: 3x3 where the 5x5 belongs (pytorch/vision#906).

    Its other particulars: the last reducing pool is 2x2, auxiliary heads pool adaptively to
    4x4, dropout is 0.2.
    """
    return Architecture(
        stem=_GOOGLENET_STEM,
        stages=_googlenet_stages(lambda widths: _reduced_cell(widths, large_kernel=3)),
        reductions=(_CEIL_POOL, Pool("max", 2, 2, padding=0, ceil=True)),
        auxiliary=tuple(AuxiliaryHead(1, cell, pool=AdaptivePool(4)) for cell in (0, 3)),
        head=Head(dropout=0.2),
        norm=Norm("batch", eps=0.001),
    )


def naive_googlenet() -> Architecture:
    """GoogLeNet of naive modules: no reduces, no pool projection (arXiv:1409.4842, figure 2a).

    A pooling branch keeps its input's depth, so each cell is deeper than the one before.
    """
    return Architecture(
        stem=_GOOGLENET_STEM,
        stages=_googlenet_stages(_naive_cell),
        reductions=(_CEIL_POOL, _CEIL_POOL),
        auxiliary=(AuxiliaryHead(stage=1, cell=0), AuxiliaryHead(stage=1, cell=3)),
        head=Head(dropout=0.4),
    )


def cifar_googlenet() -> Architecture:
    """GoogLeNet's nine cells behind a stem of one 3x3 convolution, for 32-pixel images."""
    reduction = Pool("max", 3, 2)
    return Architecture(
        stem=(_conv(3, 192),),
        stages=_googlenet_stages(_reduced_cell),
        reductions=(reduction, reduction),
        head=Head(dropout=0.4),
    )


def _factorised(reduce: int, channels: int, side: int, times: int = 1) -> Branch:
    """A 1x1 reduce, then ``times`` side x side kernels as 1 x side and side x 1."""
    pair = (Conv((1, side), channels), Conv((side, 1), channels))
    return (_conv(1, reduce), *pair * times)


def _cell_a(projection: int) -> Cell:
    return Cell(
        (
            (_conv(1, 64),),
            (_conv(1, 48), _conv(5, 64)),
            (_conv(1, 64), _conv(3, 96), _conv(3, 96)),
            (Pool("avg"), _conv(1, projection)),
        )
    )


def _cell_b(reduce: int) -> Cell:
    return Cell(
        (
            (_conv(1, 192),),
            _factorised(reduce, 192, 7),
            _factorised(reduce, 192, 7, times=2),
            (Pool("avg"), _conv(1, 192)),
        )
    )


def _cell_c() -> Cell:
    return Cell(
        (
            (_conv(1, 320),),
            _factorised(384, 384, 3),
            (_conv(1, 448), _conv(3, 384), _conv(3, 384)),
            (Pool("avg"), _conv(1, 192)),
        )
    )


def inception_v3() -> Architecture:
    """A network in the manner of Inception-v3 (arXiv:1512.00567), of flat branches.

    Double 3x3, 1x7-7x1 and 1x3-3x1 kernels, average pooling in the cells, and strided cells as
    reductions. Unlike the original all padding is "same", the factors of a kernel are as wide as
    the branch, and no branch forks (so the last cells are 1,280 deep, not 2,048).
    """
    first = Cell(
        (
            (_conv(3, 384, 2),),
            (_conv(1, 64), _conv(3, 96), _conv(3, 96, 2)),
            (Pool("max", 3, 2),),
        )
    )
    second = Cell(
        (
            (_conv(1, 192), _conv(3, 320, 2)),
            (_conv(1, 192), _conv(3, 192), _conv(3, 192, 2)),
            (Pool("max", 3, 2),),
        )
    )
    return Architecture(
        stem=(
            _conv(3, 32, 2),
            _conv(3, 32),
            _conv(3, 64),
            Pool("max", 3, 2),
            _conv(1, 80),
            _conv(3, 192),
            Pool("max", 3, 2),
        ),
        stages=(
            (_cell_a(32), _cell_a(64), _cell_a(64)),
            (_cell_b(128), _cell_b(160), _cell_b(160), _cell_b(192)),
            (_cell_c(), _cell_c()),
        ),
        reductions=(first, second),
        auxiliary=(AuxiliaryHead(stage=1, cell=3, hidden=768),),
        head=Head(dropout=0.2),
    )


def _bottleneck(channels: int) -> Cell:
    """ResNet's bottleneck: a residual cell's own projection is the last 1x1 convolution."""
    return Cell(((_conv(1, channels), _conv(3, channels)),), residual=True)


def resnet_like() -> Architecture:
    """A chain of one-branch residual cells with the widths and depths of ResNet-50.

    The cells that widen or stride (arXiv:1512.03385, table 1) are the stem's last convolution and
    the reductions here, and have no shortcut.
    """

    def reduction(channels: int) -> Cell:
        return Cell(((_conv(1, channels), _conv(3, channels, 2), _conv(1, 4 * channels)),))

    return Architecture(
        stem=(_conv(7, 64, 2), Pool("max", 3, 2), _conv(1, 256)),
        stages=(
            (_bottleneck(64),) * 3,
            (_bottleneck(128),) * 3,
            (_bottleneck(256),) * 5,
            (_bottleneck(512),) * 2,
        ),
        reductions=(reduction(128), reduction(256), reduction(512)),
        head=Head(dropout=0.0),
    )


PRESETS: dict[str, Callable[[], Architecture]] = {
    "googlenet": googlenet,
    "torchvision_googlenet": torchvision_googlenet,
    "naive_googlenet": naive_googlenet,
    "cifar_googlenet": cifar_googlenet,
    "inception_v3": inception_v3,
    "resnet_like": resnet_like,
}
"""Every preset by its name."""

PRESET_IMAGES: dict[str, Shape] = {
    "googlenet": Shape(3, 224, 224),
    "torchvision_googlenet": Shape(3, 224, 224),
    "naive_googlenet": Shape(3, 224, 224),
    "cifar_googlenet": Shape(3, 32, 32),
    "inception_v3": Shape(3, 299, 299),
    "resnet_like": Shape(3, 224, 224),
}
"""The image for which each preset was made."""


def load_preset(name: str) -> Architecture:
    """The preset of that name.

    Raises:
        ValueError: there is none; the message gives the nearest name and all of them.
    """
    if name in PRESETS:
        return PRESETS[name]()
    nearest = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise ValueError(f"no preset is named {name!r}{hint} There are {', '.join(PRESETS)}")
