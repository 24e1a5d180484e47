"""An Inception network in plain torch, one module an op: what the baselines train.

Branches are separate, norms are ``nn.BatchNorm2d``, poolings are torch's. Names, initial bits
and outputs are those of :func:`nas.model.build` without merging (a test compares them); the code
shares only the description with it.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    Reduction,
    Shape,
    branch_channels,
    cell_shapes,
    op_shape,
)


class ConvBlock(nn.Module):
    """Convolution, batch norm (or a bias), ReLU."""

    def __init__(self, op: Conv, channels: int, norm: Norm, *, relu: bool = True) -> None:
        super().__init__()
        height, width = op.kernel
        self.conv = nn.Conv2d(
            channels,
            op.channels,
            op.kernel,
            op.stride,
            padding=(height // 2, width // 2),
            bias=norm.kind == "none",
        )
        self.norm = nn.BatchNorm2d(op.channels, eps=norm.eps) if norm.kind == "batch" else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps, N x C x H x W."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return functional.relu(x, inplace=True) if self.relu else x


def pooling(op: Pool | AdaptivePool) -> nn.Module:
    """torch's pooling for an op."""
    if isinstance(op, AdaptivePool):
        return nn.AdaptiveAvgPool2d(op.side)
    if op.kind == "max":
        return nn.MaxPool2d(op.kernel, op.stride, op.padding, ceil_mode=op.ceil)
    return nn.AvgPool2d(
        op.kernel, op.stride, op.padding, ceil_mode=op.ceil, count_include_pad=False
    )


def sequence(ops: Branch, channels: int, norm: Norm) -> nn.Sequential:
    """Ops in a row."""
    modules = nn.Sequential()
    for op in ops:
        modules.append(ConvBlock(op, channels, norm) if isinstance(op, Conv) else pooling(op))
        channels = branch_channels((op,), channels)
    return modules


class InceptionBlock(nn.Module):
    """Branches on one input, concatenated; with a residual connection where the cell has one."""

    def __init__(self, cell: Cell, channels: int, norm: Norm) -> None:
        super().__init__()
        self.branches = nn.ModuleList(sequence(ops, channels, norm) for ops in cell.branches)
        self.projection: ConvBlock | None = None
        if cell.residual:
            depth = sum(branch_channels(ops, channels) for ops in cell.branches)
            self.projection = ConvBlock(Conv((1, 1), channels), depth, norm, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps, N x C x H x W."""
        outs = [branch(x) for branch in self.branches]
        y = outs[0] if len(outs) == 1 else torch.cat(outs, 1)
        if self.projection is None:
            return y
        return functional.relu(self.projection(y) + x, inplace=True)


class Classifier(nn.Module):
    """Average or flatten, hidden layers with dropout, linear."""

    def __init__(self, head: Head, shape: Shape, classes: int) -> None:
        super().__init__()
        self.averages = head.pool == "average"
        widths = [shape.channels if self.averages else shape.size, *head.hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(width, out) for width, out in zip(widths[:-1], head.hidden, strict=True)
        )
        self.dropout = nn.Dropout(head.dropout)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps, N x C x H x W, to logits, N x classes."""
        x = x.mean((2, 3)) if self.averages else x.flatten(1)
        for linear in self.hidden:
            x = self.dropout(functional.relu(linear(x), inplace=True))
        if not self.hidden:
            x = self.dropout(x)
        return cast("Tensor", self.classifier(x))


class AuxiliaryClassifier(nn.Module):
    """A classifier on a cell's output, for training."""

    def __init__(self, head: AuxiliaryHead, shape: Shape, classes: int, norm: Norm) -> None:
        super().__init__()
        self.pool = pooling(head.pool)
        self.conv = ConvBlock(Conv((1, 1), head.channels), shape.channels, norm)
        pooled = op_shape(head.pool, shape)
        self.hidden = nn.Linear(head.channels * pooled.height * pooled.width, head.hidden)
        self.dropout = nn.Dropout(head.dropout)
        self.classifier = nn.Linear(head.hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps, N x C x H x W, to logits, N x classes."""
        x = self.conv(self.pool(x)).flatten(1)
        x = functional.relu(self.hidden(x), inplace=True)
        return cast("Tensor", self.classifier(self.dropout(x)))


class PlainNetwork(nn.Module):
    """Stem, stages with reductions between them, head, auxiliary heads."""

    def __init__(self, architecture: Architecture, image: Shape, classes: int) -> None:
        super().__init__()
        shapes = dict(cell_shapes(architecture, image))
        norm, names = architecture.norm, list(shapes)
        before = {name: shapes[names[place - 1]].channels for place, name in enumerate(names)}
        self.stem = sequence(architecture.stem, image.channels, norm)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                InceptionBlock(cell, before[f"stages.{stage}.{index}"], norm)
                for index, cell in enumerate(cells)
            )
            for stage, cells in enumerate(architecture.stages)
        )
        self.reductions = nn.ModuleList(
            _reduction(item, before[f"reductions.{index}"], norm)
            for index, item in enumerate(architecture.reductions)
        )
        self.head = Classifier(architecture.head, shapes[names[-1]], classes)
        self.auxiliary = nn.ModuleList(
            AuxiliaryClassifier(head, shapes[f"stages.{head.stage}.{head.cell}"], classes, norm)
            for head in architecture.auxiliary
        )
        self._taps = [(head.stage, head.cell) for head in architecture.auxiliary]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Normalised images, N x C x H x W, to the main logits and, in training, the others."""
        tapped: dict[tuple[int, int], Tensor] = {}
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            if number > 0:
                x = self.reductions[number - 1](x)
            for place, cell in enumerate(cast("nn.ModuleList", stage)):
                x = cell(x)
                tapped[number, place] = x
        main = self.head(x)
        if not self.training:
            return main, []
        return main, [
            head(tapped[tap]) for head, tap in zip(self.auxiliary, self._taps, strict=True)
        ]


def _reduction(item: Reduction, channels: int, norm: Norm) -> nn.Module:
    if isinstance(item, Cell):
        return InceptionBlock(item, channels, norm)
    return ConvBlock(item, channels, norm) if isinstance(item, Conv) else pooling(item)


def create_network(
    architecture: Architecture, image: Shape, classes: int, seed: int, norm_momentum: float
) -> PlainNetwork:
    """The network with the initial weights of ``seed``."""
    # Without torch's own initial values, which would be drawn in vain.
    network = _without_initial_values(architecture, image, classes)
    generator = torch.Generator().manual_seed(seed)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if name.endswith("classifier"):
                nn.init.normal_(module.weight, std=0.01, generator=generator)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = norm_momentum
    for module in network.modules():
        if isinstance(module, InceptionBlock) and module.projection is not None:
            norm, conv = module.projection.norm, module.projection.conv
            nn.init.zeros_(conv.weight if norm is None else norm.weight)
    return network


def _without_initial_values(architecture: Architecture, image: Shape, classes: int) -> PlainNetwork:
    with torch.device("meta"):
        network = PlainNetwork(architecture, image, classes)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return network
