"""What a network is: immutable data, refused when wrong, equal when the networks are equal.

An :class:`Architecture` is a stem, stages of cells with a reduction between two stages,
auxiliary heads for training, and a head. It knows neither tensors nor images nor classes:
:mod:`nas.cost` counts it, :mod:`nas.model` builds it, :mod:`nas.space` varies it. What can be
wrong without knowing the image is refused at construction; :func:`check` refuses what does not
fit one.

Numbering starts at 0 everywhere, and a layer has one name in cost tables, parameter names and
state dicts: ``stem.I``, ``stages.S.C.branches.B.O``, ``stages.S.C.projection``,
``reductions.R`` (or ``reductions.R.branches.B.O``), ``auxiliary.K.*``, ``head.*``.

Left out: local response normalisation (it has no parameters and batch norm replaced it),
grouped and dilated convolutions, convolutions without "same" padding.
"""

from nas.architecture.cells import Cell, Reduction, merged_branches
from nas.architecture.checking import MAX_CELLS, MAX_CHANNELS, MAX_CLASSES, MAX_OPS
from nas.architecture.heads import AuxiliaryHead, Head, Norm
from nas.architecture.network import Architecture
from nas.architecture.ops import (
    AdaptivePool,
    Branch,
    Conv,
    Op,
    Pool,
    Shape,
    branch_channels,
    branch_stride,
)
from nas.architecture.reading import FORMAT
from nas.architecture.shapes import (
    cell_shape,
    cell_shapes,
    check,
    check_classes,
    check_image,
    check_one_size,
    op_shape,
)

__all__ = [
    "FORMAT",
    "MAX_CELLS",
    "MAX_CHANNELS",
    "MAX_CLASSES",
    "MAX_OPS",
    "AdaptivePool",
    "Architecture",
    "AuxiliaryHead",
    "Branch",
    "Cell",
    "Conv",
    "Head",
    "Norm",
    "Op",
    "Pool",
    "Reduction",
    "Shape",
    "branch_channels",
    "branch_stride",
    "cell_shape",
    "cell_shapes",
    "check",
    "check_classes",
    "check_image",
    "check_one_size",
    "merged_branches",
    "op_shape",
]
