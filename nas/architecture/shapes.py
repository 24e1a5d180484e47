"""The shapes of maps, layer by layer, and whether an architecture fits an image."""

from __future__ import annotations

from collections.abc import Sequence

from nas.architecture.cells import Cell
from nas.architecture.checking import MAX_CHANNELS, MAX_CLASSES, check_integer
from nas.architecture.network import Architecture
from nas.architecture.ops import AdaptivePool, Conv, Pool, Shape


def op_shape(op: Conv | Pool | AdaptivePool, shape: Shape, name: str = "op") -> Shape:
    """The shape that comes out of an op.

    Raises:
        ValueError: nothing is left of the map; the message names the op by ``name``.
    """
    channels, height, width = shape
    if isinstance(op, Conv):
        if op.stride > 1:
            height, width = op.output_side(height), op.output_side(width)
        # Counting cost does little else: the named tuple's own constructor takes twice as long.
        return tuple.__new__(Shape, (op.channels, height, width))
    height, width = op.output_side(height), op.output_side(width)
    if height < 1 or width < 1:
        raise ValueError(f"{name} ({op}) does not fit a map of {shape.height}x{shape.width} pixels")
    return Shape(channels, height, width)


def cell_shape(cell: Cell, shape: Shape, name: str = "cell") -> Shape:
    """The shape that comes out of a cell.

    Raises:
        ValueError: an op does not fit, or the branches' maps differ in size.
    """
    outs = []
    for index, branch in enumerate(cell.branches):
        out = shape
        for position, op in enumerate(branch):
            out = op_shape(op, out, f"{name}.branches.{index}.{position}")
        outs.append(out)
    check_one_size(name, outs)
    return Shape(cell.output_channels(shape.channels), outs[0].height, outs[0].width)


def check_one_size(name: str, outs: Sequence[Shape]) -> None:
    """Refuse to concatenate the maps of a cell's branches where their sizes differ.

    Raises:
        ValueError: they do; the message names the cell by ``name``, and the sizes.
    """
    sizes = {out[1:] for out in outs}
    if len(sizes) > 1:
        shown = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise ValueError(f"{name}: its branches end in maps of different sizes, {shown} pixels")


def cell_shapes(architecture: Architecture, image: Shape) -> list[tuple[str, Shape]]:
    """The shape after the stem, each cell and each reduction, in order, by the layer's name.

    Raises:
        ValueError: the architecture does not fit the image.
    """
    shape = image
    for index, op in enumerate(architecture.stem):
        shape = op_shape(op, shape, f"stem.{index}")
    shapes = [("stem", shape)]
    for index, stage in enumerate(architecture.stages):
        for position, cell in enumerate(stage):
            name = f"stages.{index}.{position}"
            shape = cell_shape(cell, shape, name)
            shapes.append((name, shape))
        if index < len(architecture.reductions):
            reduction, name = architecture.reductions[index], f"reductions.{index}"
            if isinstance(reduction, Cell):
                shape = cell_shape(reduction, shape, name)
            else:
                shape = op_shape(reduction, shape, name)
            shapes.append((name, shape))
    return shapes


def check_image(image: Shape) -> None:
    """Refuse an image without channels or pixels.

    Raises:
        ValueError: a side or the number of channels is no integer from 1.
    """
    for name, value in zip(Shape._fields, image, strict=True):
        check_integer("image", name, value, 1, MAX_CHANNELS)


def check_classes(classes: int) -> None:
    """Refuse what is no number of classes.

    Raises:
        ValueError: it is no integer from 1.
    """
    if not isinstance(classes, int) or isinstance(classes, bool) or not 1 <= classes <= MAX_CLASSES:
        raise ValueError(f"classes must be an integer from 1 to {MAX_CLASSES:,}, not {classes!r}")


def check(architecture: Architecture, image: Shape) -> None:
    """Refuse an image that the architecture does not fit.

    Raises:
        ValueError: a window is larger than its map, branches end in maps of different sizes, or
            an auxiliary pooling does not fit; the message names the layer and the map.
    """
    check_image(image)
    shapes = dict(cell_shapes(architecture, image))
    for index, head in enumerate(architecture.auxiliary):
        shape = shapes[f"stages.{head.stage}.{head.cell}"]
        op_shape(head.pool, shape, f"auxiliary.{index}.pool")
