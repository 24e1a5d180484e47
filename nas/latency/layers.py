"""What a network executes, layer by layer, in the form whose latency is measured.

It mirrors :class:`nas.model.Network` with its 1x1 convolutions merged and its norms folded
(:mod:`nas.latency.form`), in ``forward``'s order; a layer is what one or two of torch's calls
compute. From the description alone: torch is not needed. Left out: times.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

from nas.architecture import (
    Architecture,
    Branch,
    Cell,
    Conv,
    Pool,
    Reduction,
    Shape,
    check_classes,
    check_image,
    check_one_size,
    merged_branches,
    op_shape,
)

PART = " of part"
"""How the kind of a layer ends that reads some channels of a map that others share."""


class Layer(NamedTuple):
    """One executed layer; ``kind`` says what it is, and the numbers how large.

    Kinds are ``conv HxW/S`` (with bias and ReLU), ``max KxK/S padding P`` or ``avg ...`` (with
    ``ceil`` where sizes are rounded up), ``concat``, ``add`` (a residual's sum and ReLU),
    ``mean`` (global average), ``hidden`` (linear and ReLU) and ``linear``. ``inputs`` and
    ``outputs`` are channels, ``height`` and ``width`` pixels of what it reads. For ``concat``
    ``inputs`` is the number of parts. A kind that ends in `` of part`` reads some channels of the
    merged convolution's map, which do not lie side by side in memory.
    """

    kind: str
    inputs: int
    outputs: int
    height: int
    width: int

    @property
    def is_conv(self) -> bool:
        """Whether it is a convolution."""
        return self.kind.startswith("conv ")

    @property
    def kernel(self) -> tuple[int, int]:
        """The window of a convolution or pooling, height and width; (1, 1) for all else."""
        return _window(self.kind)[:2]

    @property
    def stride(self) -> int:
        """By what it divides the map."""
        return _window(self.kind)[2]

    @property
    def pool(self) -> Pool:
        """The pooling that it is.

        Raises:
            ValueError: it is none.
        """
        words = self.kind.removesuffix(PART).split()
        if words[0] not in ("max", "avg"):
            raise ValueError(f"{self.kind} is no pooling")
        kind: Literal["max", "avg"] = "max" if words[0] == "max" else "avg"
        return Pool(kind, self.kernel[0], self.stride, int(words[3]), "ceil" in words)


@cache
def _window(kind: str) -> tuple[int, int, int]:
    """Height, width and stride of a kind such as ``conv 3x3/2``."""
    words = kind.split()
    if len(words) < 2:
        return (1, 1, 1)
    sides, stride = words[1].split("/")
    height, width = sides.split("x")
    return int(height), int(width), int(stride)


def executed_layers(architecture: Architecture, image: Shape, classes: int) -> list[Layer]:
    """The layers of one forward pass without auxiliary heads, in their order.

    Raises:
        ValueError: the architecture does not fit the image, or image or classes are wrong.
    """
    check_image(image)
    check_classes(classes)
    walk = _Walk()
    shape = walk.ops(architecture.stem, image, "stem")
    for index, stage in enumerate(architecture.stages):
        for position, cell in enumerate(stage):
            shape = walk.cell(cell, shape, f"stages.{index}.{position}")
        if index < len(architecture.reductions):
            shape = walk.reduction(architecture.reductions[index], shape, f"reductions.{index}")
    walk.head(architecture, shape, classes)
    return walk.layers


class _Walk:
    """The layers so far, while a network's modules pass by."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def ops(self, branch: Sequence[Conv | Pool], shape: Shape, name: str) -> Shape:
        for index, op in enumerate(branch):
            shape = self.op(op, shape, f"{name}.{index}")
        return shape

    def op(self, op: Conv | Pool, shape: Shape, name: str) -> Shape:
        out = op_shape(op, shape, name)
        self.layers.append(_layer(op, shape, out.channels))
        return out

    def reduction(self, item: Reduction, shape: Shape, name: str) -> Shape:
        if isinstance(item, Cell):
            return self.cell(item, shape, name)
        return self.op(item, shape, name)

    def cell(self, cell: Cell, shape: Shape, name: str) -> Shape:
        merged = merged_branches(cell)
        if merged:
            width = sum(conv.channels for conv in merged.values())
            self.layers.append(_layer(Conv((1, 1), width), shape, width))
        outs = [
            self._branch(branch, shape, merged.get(index), f"{name}.branches.{index}")
            for index, branch in enumerate(cell.branches)
        ]
        check_one_size(name, outs)
        out = outs[0]
        if len(outs) > 1:
            out = out._replace(channels=sum(part.channels for part in outs))
            self.layers.append(Layer("concat", len(outs), out.channels, out.height, out.width))
        if cell.residual:
            out = self.op(Conv((1, 1), shape.channels), out, f"{name}.projection")
            self.layers.append(_map_layer("add", out))
        return out

    def _branch(self, branch: Branch, shape: Shape, merged: Conv | None, name: str) -> Shape:
        if merged is None:
            return self.ops(branch, shape, name)
        start, shape = len(self.layers), op_shape(merged, shape, name)
        shape = self.ops(branch[1:], shape, name)
        if start < len(self.layers):
            reader = self.layers[start]
            self.layers[start] = reader._replace(kind=f"{reader.kind}{PART}")
        return shape

    def head(self, architecture: Architecture, shape: Shape, classes: int) -> None:
        head = architecture.head
        features = shape.size
        if head.pool == "average":
            self.layers.append(_map_layer("mean", shape))
            features = shape.channels
        for width in head.hidden:
            self.layers.append(Layer("hidden", features, width, 1, 1))
            features = width
        self.layers.append(Layer("linear", features, classes, 1, 1))


def _layer(op: Conv | Pool, shape: Shape, channels: int) -> Layer:
    if isinstance(op, Conv):
        kind = f"conv {op.kernel[0]}x{op.kernel[1]}/{op.stride}"
    else:
        ceil = " ceil" if op.ceil else ""
        kind = f"{op.kind} {op.kernel}x{op.kernel}/{op.stride} padding {op.padding}{ceil}"
    return Layer(kind, shape.channels, channels, shape.height, shape.width)


def _map_layer(kind: str, shape: Shape) -> Layer:
    return Layer(kind, shape.channels, shape.channels, shape.height, shape.width)
