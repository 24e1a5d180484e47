"""Cells: branches side by side, in one canonical order; and what reduces between stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field

from nas.architecture.checking import MAX_OPS, STRICT, as_tuple
from nas.architecture.ops import Branch, Conv, Pool, branch_channels, branch_stride


def _op_key(op: Conv | Pool) -> tuple[Any, ...]:
    if isinstance(op, Conv):
        return (0, op.kernel, op.stride, -op.channels)
    return (1, (op.kernel, op.kernel), op.stride, op.padding, op.kind, op.ceil)


def _branch_key(branch: Branch) -> tuple[Any, ...]:
    """The canonical order: convolutions by receptive field, then poolings, then the identity.

    It is the paper's own order (1x1, 3x3, 5x5, pooling; arXiv:1409.4842, figure 2b). Wider
    branches come first among those of equal form.
    """
    rank = 2 if not branch else 1 if isinstance(branch[0], Pool) else 0
    kernels = [op.kernel if isinstance(op, Conv) else (op.kernel, op.kernel) for op in branch]
    field_of_view = sum(height + width - 2 for height, width in kernels)
    return (rank, field_of_view, len(branch), tuple(_op_key(op) for op in branch))


@dataclass(frozen=True, slots=True)
class Cell:
    """Branches side by side on one input, concatenated along channels in canonical order.

    A residual cell projects the concatenation to the input's channels with a 1x1 convolution
    and its norm (no ReLU), adds the input, and applies a ReLU (Inception-ResNet,
    arXiv:1602.07261, figure 10). All branches divide the image by the same stride.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    branches: tuple[Branch, ...]
    residual: bool = False
    op: Literal["cell"] = field(default="cell", repr=False)

    def __post_init__(self) -> None:
        branches = tuple(
            as_tuple(f"Cell.branches[{index}]", branch)
            for index, branch in enumerate(as_tuple("Cell.branches", self.branches))
        )
        if not any(branches):
            raise ValueError(f"Cell.branches must hold a branch with an op, not {self.branches!r}")
        if len(branches) > MAX_OPS or max(map(len, branches)) > MAX_OPS:
            raise ValueError(f"Cell.branches must hold at most {MAX_OPS} branches of {MAX_OPS} ops")
        for branch in branches:
            for op in branch:
                if not isinstance(op, Conv | Pool):
                    raise ValueError(f"Cell.branches must hold Conv and Pool ops, not {op!r}")
        strides = [branch_stride(branch) for branch in branches]
        if len(set(strides)) > 1:
            raise ValueError(f"Cell.branches must all have one stride, not {strides}")
        if not isinstance(self.residual, bool):
            raise ValueError(f"Cell.residual must be true or false, not {self.residual!r}")
        if self.residual and strides[0] > 1:
            raise ValueError(f"Cell.residual needs stride 1, not {strides[0]}")
        object.__setattr__(self, "branches", tuple(sorted(branches, key=_branch_key)))

    def __str__(self) -> str:
        text = " | ".join(" > ".join(map(str, b)) if b else "identity" for b in self.branches)
        return f"{text} + input" if self.residual else text

    @property
    def stride(self) -> int:
        """By what the cell divides height and width."""
        return branch_stride(self.branches[0])

    def output_channels(self, channels: int) -> int:
        """Channels that come out when ``channels`` go in."""
        if self.residual:
            return channels
        return sum(branch_channels(branch, channels) for branch in self.branches)


def merged_branches(cell: Cell) -> dict[int, Conv]:
    """The first convolutions that are computed as one, by their branch; none if only one could be.

    They are 1x1 convolutions of stride 1, which read the cell's input. :mod:`nas.model` merges
    them, and :mod:`nas.cost` knows their outputs to be one tensor.
    """
    found = {}
    for index, branch in enumerate(cell.branches):
        op = branch[0] if branch else None
        if isinstance(op, Conv) and op.kernel == (1, 1) and op.stride == 1:
            found[index] = op
    return found if len(found) > 1 else {}


Reduction: TypeAlias = Annotated[Pool | Conv | Cell, Field(discriminator="op")]
"""What stands between two stages: a pooling, a strided convolution, or a strided cell."""
