"""What a network costs, exactly, from its description: parameters, MACs, activation bytes.

The counting mirrors :mod:`nas.model` op by op and module by module, under the same names; nothing
is built, and torch is not needed. Counts are for one image in evaluation mode:

* **parameters**: weights, biases where there is no norm, two a channel for batch norm.
* **MACs**: multiply-adds of convolutions and linear layers; biases, norms, poolings and
  activations are not counted (as in arXiv:1409.4842 and ``torch.utils.flop_counter``).
* **activation bytes**: what the layers write. A convolution with its norm and ReLU is one layer
  and one tensor, as inference runtimes fuse them; adding a residual and its ReLU happen in place;
  flattening is a view. The image belongs to the caller and is not counted.
* **peak activation bytes**: the most that is alive at once in ``Network.forward`` with its 1x1
  convolutions merged and its norms folded. What a module reads stays alive until it returns.

Left out: gradients, optimiser state, the kernels' workspaces, the indices of max pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Branch,
    Cell,
    Conv,
    Head,
    Pool,
    Reduction,
    Shape,
    check_classes,
    check_image,
    check_one_size,
    merged_branches,
    op_shape,
)
from nas.quantities import format_count, format_milliseconds

COSTS = ("macs", "params", "activation_bytes")
"""The counted costs that a search can minimise or bound."""

LATENCY = "latency_ms"
"""The cost that is measured: milliseconds of one image, predicted by :mod:`nas.latency`."""

SEARCHED_COSTS = (*COSTS, LATENCY)
"""All costs that a search can minimise or bound."""

COST_LABELS = {
    "macs": "MACs",
    "params": "parameters",
    "activation_bytes": "activation bytes",
    "peak_activation_bytes": "peak activation bytes",
    LATENCY: "latency",
}
"""Costs in words for people."""

DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one element, by the dtypes that activations can have."""


def format_cost(name: str, value: float) -> str:
    """A cost's value as people read it: ``300M``; ``3.21 ms`` where it is a latency."""
    return format_milliseconds(value) if name == LATENCY else format_count(value)


def describe_cost(name: str, value: float) -> str:
    """A cost's value and what it is: ``300M MACs``, ``3.21 ms latency``."""
    return f"{format_cost(name, value)} {COST_LABELS[name]}"


class LayerCost(NamedTuple):
    """One layer's cost; ``kind`` reads like "conv 3x3/2", "max pool 3x3/2" or "linear"."""

    name: str
    kind: str
    input: Shape
    output: Shape
    params: int
    macs: int
    activation_bytes: int


_PARAMS, _MACS, _BYTES = map(attrgetter, ("params", "macs", "activation_bytes"))


@dataclass(frozen=True, slots=True)
class Cost:
    """A network's cost: a row a layer, and totals that are the sums of the rows."""

    rows: tuple[LayerCost, ...]
    params: int
    macs: int
    activation_bytes: int
    peak_activation_bytes: int


def count_cost(
    architecture: Architecture,
    image: Shape,
    classes: int,
    *,
    auxiliary: bool = False,
    dtype: str = "float32",
) -> Cost:
    """Count an architecture on an image.

    With ``auxiliary`` the auxiliary heads have rows too, after the network's own. They do not run
    in ``Network.forward``, so the peak stays the same.

    Raises:
        ValueError: the architecture does not fit the image; or the image, the number of classes
            or the dtype is wrong in itself.
    """
    check_image(image)
    check_classes(classes)
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPE_BYTES)}, not {dtype!r}")
    count = _Count(2 if architecture.norm.kind == "batch" else 1, DTYPE_BYTES[dtype])
    shapes = count.network(architecture, image, classes)
    for index, head in enumerate(architecture.auxiliary):
        shape, name = shapes[head.stage][head.cell], f"auxiliary.{index}"
        if auxiliary:
            count.auxiliary_head(name, head, shape, classes)
        else:
            op_shape(head.pool, shape, f"{name}.pool")
    rows = tuple(count.rows)
    return Cost(
        rows=rows,
        params=sum(map(_PARAMS, rows)),
        macs=sum(map(_MACS, rows)),
        activation_bytes=sum(map(_BYTES, rows)),
        peak_activation_bytes=max(count.alive),
    )


_Map: TypeAlias = tuple[Shape, int]
"""What comes out of a layer or module, and its bytes where it is a tensor of its own."""


class _Count:
    """The rows, and what is alive after each layer, while they pass by in ``forward``'s order.

    ``channel_params`` are a convolution's parameters beside its weights, a channel: a bias, or a
    norm's scale and shift.
    """

    def __init__(self, channel_params: int, element_bytes: int) -> None:
        self.rows: list[LayerCost] = []
        self.alive: list[int] = []
        self._channel_params = channel_params
        self._element_bytes = element_bytes

    # Layers: a row each.

    def conv(self, name: str, op: Conv, shape: Shape) -> _Map:
        out = op_shape(op, shape, name)
        weights = op.kernel[0] * op.kernel[1] * shape.channels * op.channels
        params = weights + op.channels * self._channel_params
        macs = weights * out.height * out.width
        return self._row(name, _conv_kind(op.kernel, op.stride), shape, out, params, macs)

    def pool(self, name: str, op: Pool | AdaptivePool, shape: Shape) -> _Map:
        return self._row(name, _pool_kind(op), shape, op_shape(op, shape, name), 0, 0)

    def linear(self, name: str, features: Shape, width: int) -> _Map:
        weights = features.channels * width
        return self._row(name, "linear", features, Shape(width, 1, 1), weights + width, weights)

    def _row(self, name: str, kind: str, shape: Shape, out: Shape, params: int, macs: int) -> _Map:
        channels, height, width = out
        written = channels * height * width * self._element_bytes
        # A search counts every proposal: a named tuple's own constructor takes three times as long.
        row = tuple.__new__(LayerCost, (name, kind, shape, out, params, macs, written))
        self.rows.append(row)
        return out, written

    # Modules: their layers in order, and what is alive meanwhile. ``held`` are the bytes alive
    # before the module, what it reads among them (0 for the image).

    def network(self, architecture: Architecture, image: Shape, classes: int) -> list[list[Shape]]:
        """Count all but the auxiliary heads; return the shape after each cell of each stage."""
        shape, held = image, 0
        for index, op in enumerate(architecture.stem):
            shape, held = self.op(f"stem.{index}", op, shape, held)
        shapes: list[list[Shape]] = []
        for index, stage in enumerate(architecture.stages):
            shapes.append([])
            for position, cell in enumerate(stage):
                shape, held = self.cell(f"stages.{index}.{position}", cell, shape, held)
                shapes[-1].append(shape)
            if index < len(architecture.reductions):
                reduction = architecture.reductions[index]
                shape, held = self.reduction(f"reductions.{index}", reduction, shape, held)
        self.head(architecture.head, shape, held, classes)
        return shapes

    def op(self, name: str, op: Conv | Pool, shape: Shape, held: int) -> _Map:
        out = self.conv(name, op, shape) if isinstance(op, Conv) else self.pool(name, op, shape)
        self.alive.append(held + out[1])
        return out

    def reduction(self, name: str, reduction: Reduction, shape: Shape, held: int) -> _Map:
        if isinstance(reduction, Cell):
            return self.cell(name, reduction, shape, held)
        return self.op(name, reduction, shape, held)

    def cell(self, name: str, cell: Cell, shape: Shape, held: int) -> _Map:
        out, written = self.branches(name, cell, shape, held)
        if not cell.residual:
            return out, written
        projection = Conv((1, 1), shape.channels)
        return self.op(f"{name}.projection", projection, out, held + written)

    def branches(self, name: str, cell: Cell, shape: Shape, held: int) -> _Map:
        merged = merged_branches(cell)
        if merged:
            width = sum([conv.channels for conv in merged.values()])
            held += width * shape.height * shape.width * self._element_bytes
            self.alive.append(held)
        outs = []
        for index, branch in enumerate(cell.branches):
            path = f"{name}.branches.{index}"
            out, written = self.branch(path, branch, shape, held, merged.get(index))
            outs.append(out)
            held += written
        if len(outs) == 1:
            return out, written
        check_one_size(name, outs)
        depth = Shape(sum([out.channels for out in outs]), out.height, out.width)
        out, written = self._row(f"{name}.concat", "concat", depth, depth, 0, 0)
        self.alive.append(held + written)
        return out, written

    def branch(
        self, path: str, branch: Branch, shape: Shape, held: int, merged: Conv | None
    ) -> _Map:
        written = 0
        for position, op in enumerate(branch):
            if merged is op and position == 0:
                # It writes into the tensor that all merged convolutions share.
                shape, _ = self.conv(f"{path}.0", merged, shape)
            else:
                shape, written = self.op(f"{path}.{position}", op, shape, held + written)
        return shape, written

    def head(self, head: Head, shape: Shape, held: int, classes: int) -> None:
        if head.pool == "average":
            shape, written = self._row(
                "head.pool", "global average", shape, Shape(shape.channels, 1, 1), 0, 0
            )
            self.alive.append(held + written)
        else:
            shape, written = Shape(shape.size, 1, 1), 0
        widths = [(f"head.hidden.{index}", width) for index, width in enumerate(head.hidden)]
        for name, width in [*widths, ("head.classifier", classes)]:
            before = written
            shape, written = self.linear(name, shape, width)
            self.alive.append(held + before + written)

    def auxiliary_head(self, name: str, head: AuxiliaryHead, shape: Shape, classes: int) -> None:
        shape, _ = self.pool(f"{name}.pool", head.pool, shape)
        shape, _ = self.conv(f"{name}.conv", Conv((1, 1), head.channels), shape)
        shape, _ = self.linear(f"{name}.hidden", Shape(shape.size, 1, 1), head.hidden)
        self.linear(f"{name}.classifier", shape, classes)


@cache
def _conv_kind(kernel: tuple[int, int], stride: int) -> str:
    return f"conv {kernel[0]}x{kernel[1]}" + (f"/{stride}" if stride > 1 else "")


def _pool_kind(op: Pool | AdaptivePool) -> str:
    if isinstance(op, AdaptivePool):
        return f"avg pool to {op.side}x{op.side}"
    return f"{op.kind} pool {op.kernel}x{op.kernel}" + (f"/{op.stride}" if op.stride > 1 else "")
