"""The weights of the fused form, from those of the plain one: norms folded, 1x1s joined.

:mod:`nas.export.fused_source` writes the network that they belong to. Computed in float64, given
as float32. Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nas.architecture import Architecture, Cell, Conv, Pool, merged_branches

if TYPE_CHECKING:
    from torch import Tensor, nn

Weights = dict[str, "Tensor"]


def named_cells(architecture: Architecture) -> Iterator[tuple[str, Cell | Conv | Pool]]:
    """The cells of the stages, then the reductions, by the names of their modules."""
    for index, stage in enumerate(architecture.stages):
        for position, cell in enumerate(stage):
            yield f"stages.{index}.{position}", cell
    for index, reduction in enumerate(architecture.reductions):
        yield f"reductions.{index}", reduction


def all_cells(architecture: Architecture) -> Iterator[Cell]:
    """The cells of the stages and those that reduce."""
    return (item for _, item in named_cells(architecture) if isinstance(item, Cell))


def fuse_weights(architecture: Architecture, weights: Mapping[str, Tensor]) -> Weights:
    """The weights of the fused source; heads for training are left out."""
    fold = _Fold(weights, architecture.norm.eps if architecture.norm.kind == "batch" else None)
    fused = fold.branch("stem", "stem", architecture.stem)
    for name, item in named_cells(architecture):
        if isinstance(item, Cell):
            fused |= fold.cell(name, item)
        elif isinstance(item, Conv):
            fused |= fold.conv(name, f"{name}.conv")
    fused |= {key: value for key, value in weights.items() if key.startswith("head.")}
    return {key: value.contiguous() for key, value in fused.items()}


class _Fold:
    """Folds the layers of one network; ``eps`` is that of its norms, None without norms."""

    def __init__(self, weights: Mapping[str, Tensor], eps: float | None) -> None:
        self.weights, self.eps = weights, eps

    def conv(self, name: str, fused: str) -> Weights:
        """A convolution's weight and bias with its norm's part, named ``fused``.

        The weight is ``w * gamma / sqrt(var + eps)``, the bias ``beta`` less ``mean`` by the same
        factor (arXiv:1502.03167, algorithm 2, lines 9 to 11).
        """
        weight = self.weights[f"{name}.conv.weight"]
        if self.eps is None:
            bias = self.weights[f"{name}.conv.bias"]
        else:
            gamma, beta, mean, variance = (
                self.weights[f"{name}.norm.{part}"].double()
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = gamma / (variance + self.eps).sqrt()
            weight = (weight.double() * factor.view(-1, 1, 1, 1)).float()
            bias = (beta - mean * factor).float()
        return {f"{fused}.weight": weight, f"{fused}.bias": bias}

    def branch(self, name: str, fused: str, ops: Sequence[object], *, skipped: int = 0) -> Weights:
        """The convolutions of a row of ops; the first ``skipped`` are computed elsewhere."""
        found: Weights = {}
        for index, op in enumerate(ops):
            if isinstance(op, Conv) and index >= skipped:
                found |= self.conv(f"{name}.{index}", f"{fused}.{index - skipped}.conv")
        return found

    def cell(self, name: str, cell: Cell) -> Weights:
        """A cell's branches, the merged convolution, and the projection where it is residual."""
        import torch

        merged = merged_branches(cell)
        inner = f"{name}.cell" if cell.residual else name
        found: Weights = {}
        if merged:
            firsts = [self.conv(f"{name}.branches.{index}.0", "") for index in merged]
            for part in (".weight", ".bias"):
                found[f"{inner}.merged.conv{part}"] = torch.cat([first[part] for first in firsts])
        for index, ops in enumerate(cell.branches):
            branch = f"branches.{index}"
            skipped = int(index in merged)
            found |= self.branch(f"{name}.{branch}", f"{inner}.{branch}", ops, skipped=skipped)
        if cell.residual:
            found |= self.conv(f"{name}.projection", f"{name}.projection")
        return found


def fold_norms(network: nn.Module) -> None:
    """Fold each norm of a plain network into the convolution beside it, in place; it must be in
    evaluation mode. The 1x1 convolutions stay apart."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(conv, norm)
            module.norm = nn.Identity()
