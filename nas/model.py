"""A network as a torch module, built from its description; :mod:`nas.cost` counts the same modules.

The 1x1 convolutions that read a cell's input are merged: one convolution and one norm compute
them all, which trains the same network faster. Merged or not, a network has the same initial
bits for the same seed and the same state dict, under the plain network's names, so that
checkpoints load into either form. Merging is exact for optimisers that work element by element
(SGD, Adam), not for those that look at whole tensors (LARS, Muon, clipping by tensor).

Initialisation: convolutions and hidden linear layers He normal over their inputs
(arXiv:1502.01852, eq. 10), classifiers normal with deviation 0.01, biases zero. A residual
cell's projection starts as zero, so that the cell starts as the identity and depth costs nothing
in the first epochs (arXiv:1706.02677, section 5.1).

Tensors are N, C, H, W in any float dtype, contiguous or ``channels_last``, which is kept.
Left out: training (:mod:`nas.training`), and folding norms into convolutions (exporters do).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas import kernels
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
    check,
    check_classes,
    merged_branches,
    op_shape,
)


class Logits(NamedTuple):
    """What a network answers in training: N x classes each, auxiliary heads in their order."""

    main: Tensor
    auxiliary: tuple[Tensor, ...]


def build(
    architecture: Architecture,
    image: Shape,
    classes: int,
    *,
    merge: bool = True,
    auxiliary: bool = True,
    loops: bool = True,
    seed: int | None = None,
) -> Network:
    """Build a network for an image's shape and a number of classes, freshly initialised.

    ``seed`` fixes the initial bits whatever the global generator's state, which it leaves alone;
    without it the global generator is used. Without ``auxiliary`` there are no auxiliary heads,
    and checkpoints of the network with them load all the same. ``loops`` lets
    :mod:`nas.kernels` compute where it fits: on a processor, and nothing changes but rounding.

    Raises:
        ValueError: the architecture does not fit the image, or ``classes`` is no positive integer.
    """
    check(architecture, image)
    check_classes(classes)
    network = Network(architecture, image, classes, auxiliary=auxiliary)
    initialise(network, None if seed is None else torch.Generator().manual_seed(seed))
    for module in network.modules():
        if merge and isinstance(module, InceptionCell):
            module.merge()
    # After merging, which makes new modules.
    for module in network.modules():
        if isinstance(module, ConvNormReLU | Pool3x3 | InceptionCell | _Conv2d):
            module.loops = loops
    return network


class Network(nn.Module):
    """Stem, stages of cells with reductions between them, head; auxiliary heads for training.

    Its modules are those of the plain network; use :func:`build`, which initialises and merges.
    """

    def __init__(
        self, architecture: Architecture, image: Shape, classes: int, *, auxiliary: bool = True
    ) -> None:
        super().__init__()
        self.architecture, self.image, self.classes = architecture, image, classes
        shapes = dict(cell_shapes(architecture, image))
        norm, names = architecture.norm, list(shapes)
        channels = {name: shapes[names[index - 1]].channels for index, name in enumerate(names)}
        self.stem = branch(architecture.stem, image.channels, norm)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                InceptionCell(cell, channels[f"stages.{stage}.{index}"], norm)
                for index, cell in enumerate(cells)
            )
            for stage, cells in enumerate(architecture.stages)
        )
        self.reductions = nn.ModuleList(
            reduction(item, channels[f"reductions.{index}"], norm)
            for index, item in enumerate(architecture.reductions)
        )
        self.head = Classifier(architecture.head, shapes[names[-1]], classes)
        # Last, so that the main network's initial bits do not depend on the auxiliary heads.
        self.auxiliary = nn.ModuleList(
            AuxiliaryClassifier(head, shapes[f"stages.{head.stage}.{head.cell}"], classes, norm)
            for head in (architecture.auxiliary if auxiliary else ())
        )
        self._tapped = frozenset((head.stage, head.cell) for head in architecture.auxiliary)
        self.register_load_state_dict_pre_hook(_drop_auxiliary)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Images, N x C x H x W and normalised, to logits, N x classes."""
        logits: Tensor = self.head(self._trunk(x, None))
        return logits

    def forward_with_auxiliary(self, x: Tensor) -> Logits:
        """Images to the logits of the main and the auxiliary heads: for training.

        Without auxiliary heads the tuple is empty.
        """
        taps: list[Tensor] = []
        main = self.head(self._trunk(x, taps))
        heads = zip(self.auxiliary, taps, strict=False)  # built without heads: none to run
        return Logits(main, tuple(head(tap) for head, tap in heads))

    def _trunk(self, x: Tensor, taps: list[Tensor] | None) -> Tensor:
        x = self.stem(x)
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.reductions[index - 1](x)
            for position, cell in enumerate(cast("nn.ModuleList", stage)):
                x = cell(x)
                if taps is not None and (index, position) in self._tapped:
                    taps.append(x)
        return x


# Modules, in the order of nas.cost's counting.


class ConvNormReLU(nn.Module):
    """A :class:`~nas.architecture.Conv`; the last one before a residual's sum has no ReLU."""

    def __init__(self, op: Conv, channels: int, norm: Norm, *, relu: bool = True) -> None:
        super().__init__()
        height, width = op.kernel
        self.conv = _Conv2d(
            channels,
            op.channels,
            op.kernel,
            op.stride,
            padding=(height // 2, width // 2),
            bias=norm.kind == "none",
        )
        self.norm = nn.BatchNorm2d(op.channels, eps=norm.eps) if norm.kind == "batch" else None
        self.relu = relu
        self.loops = True

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps, N x C x H x W."""
        x = self.conv(x)
        if self.norm is not None:
            is_exact = self.training or not torch.is_grad_enabled()
            if self.loops and is_exact and kernels.fits(x):
                return kernels.norm_relu(x, self.norm, relu=self.relu)
            x = self.norm(x)
        return functional.relu(x, inplace=True) if self.relu else x


def pool(op: Pool | AdaptivePool) -> nn.Module:
    """A pooling; averages do not count the padding."""
    if isinstance(op, AdaptivePool):
        return nn.AdaptiveAvgPool2d(op.side)
    if (op.kernel, op.stride, op.padding, op.ceil) == (3, 1, 1, False):
        return Pool3x3(op.kind)
    if op.kind == "max":
        return nn.MaxPool2d(op.kernel, op.stride, op.padding, ceil_mode=op.ceil)
    return nn.AvgPool2d(
        op.kernel, op.stride, op.padding, ceil_mode=op.ceil, count_include_pad=False
    )


class Pool3x3(nn.Module):
    """The pooling of branches: stride and padding 1; averages do not count the padding."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.loops = True

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps of the same shape, N x C x H x W."""
        fits = self.loops and kernels.fits(x)
        if self.kind == "max":
            return kernels.max_pool(x) if fits else functional.max_pool2d(x, 3, 1, 1)
        if fits:
            return kernels.average_pool(x)
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def extra_repr(self) -> str:
        """The kind, in a printed network."""
        return self.kind


def branch(ops: Branch, channels: int, norm: Norm) -> nn.Sequential:
    """Ops in a row, named by their position; the empty one is the identity."""
    modules = nn.Sequential()
    for op in ops:
        modules.append(ConvNormReLU(op, channels, norm) if isinstance(op, Conv) else pool(op))
        channels = branch_channels((op,), channels)
    return modules


def reduction(item: Reduction, channels: int, norm: Norm) -> nn.Module:
    """What stands between two stages."""
    if isinstance(item, Cell):
        return InceptionCell(item, channels, norm)
    return ConvNormReLU(item, channels, norm) if isinstance(item, Conv) else pool(item)


class InceptionCell(nn.Module):
    """Branches on one input, concatenated, and added to it where the cell is residual.

    ``merged`` computes the first convolutions of the branches in ``merged_branches``, which then
    lack their module "0". ``_sources`` says what each branch reads: 0 is the cell's input, and
    1, 2, ... are the parts of the merged convolution's output.
    """

    def __init__(self, cell: Cell, channels: int, norm: Norm) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branch(ops, channels, norm) for ops in cell.branches)
        self.projection: ConvNormReLU | None = None
        if cell.residual:
            depth = sum(branch_channels(ops, channels) for ops in cell.branches)
            self.projection = ConvNormReLU(Conv((1, 1), channels), depth, norm, relu=False)
        self.merged: ConvNormReLU | None = None
        self.mergeable = merged_branches(cell)
        self.widths = [op.channels for op in self.mergeable.values()]
        self._sources = [0] * len(cell.branches)
        self._channels, self._norm = channels, norm
        self.loops = True

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps, N x C x H x W."""
        readers = self._sources.count(0) + (self.merged is not None) + (self.projection is not None)
        fits = self.loops and kernels.fits(x)
        reads = iter(kernels.fork(x, readers) if fits else (x,) * readers)
        y = self._concatenated(reads)
        return y if self.projection is None else self._residual(self.projection(y), next(reads))

    def _concatenated(self, reads: Iterator[Tensor]) -> Tensor:
        # A function of its own, so that the branches' maps are freed before the projection.
        parts: tuple[Tensor, ...] = ()
        if self.merged is not None:
            parts = self.merged(next(reads)).split(self.widths, 1)
        outs = [
            branch(parts[source - 1] if source else next(reads))
            for branch, source in zip(self.branches, self._sources, strict=True)
        ]
        return outs[0] if len(outs) == 1 else torch.cat(outs, 1)

    def _residual(self, y: Tensor, x: Tensor) -> Tensor:
        if (
            self.loops
            and x.dtype == y.dtype == torch.bfloat16
            and kernels.fits(x)
            and kernels.fits(y)
        ):
            return kernels.add_relu(y, x)
        return functional.relu(y.add_(x), inplace=True)

    def merge(self) -> None:
        """Compute the mergeable convolutions as one from now on; weights and statistics move."""
        if not self.mergeable or self.merged is not None:
            return
        merged = ConvNormReLU(Conv((1, 1), sum(self.widths)), self._channels, self._norm)
        state = _join(
            [self.branches[index].get_submodule("0").state_dict() for index in self.mergeable]
        )
        merged.load_state_dict(state, assign=True)
        self.merged = merged
        for part, index in enumerate(self.mergeable):
            rest = list(self.branches[index].named_children())[1:]
            self.branches[index] = nn.Sequential(OrderedDict(rest))
            self._sources[index] = 1 + part
        self.register_state_dict_post_hook(_save_plain)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_load_plain)  # type: ignore[no-untyped-call]


class Classifier(nn.Module):
    """Global average or flattening, hidden layers with ReLU and dropout, the linear classifier."""

    def __init__(self, head: Head, shape: Shape, classes: int) -> None:
        super().__init__()
        self.averages = head.pool == "average"
        widths = [shape.channels if self.averages else shape.size, *head.hidden]
        self.hidden = nn.ModuleList(
            _Linear(width, out) for width, out in zip(widths[:-1], head.hidden, strict=True)
        )
        self.dropout = dropout(head.dropout)
        self.classifier = _Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps, N x C x H x W, to logits, N x classes."""
        x = x.mean((2, 3)) if self.averages else x.flatten(1)
        for linear in self.hidden:
            x = self.dropout(functional.relu(linear(x), inplace=True))
        if not self.hidden:
            x = self.dropout(x)
        logits: Tensor = self.classifier(x)
        return logits


class AuxiliaryClassifier(nn.Module):
    """A classifier on a cell's output, for training (arXiv:1409.4842, section 5)."""

    def __init__(self, head: AuxiliaryHead, shape: Shape, classes: int, norm: Norm) -> None:
        super().__init__()
        self.pool = pool(head.pool)
        self.conv = ConvNormReLU(Conv((1, 1), head.channels), shape.channels, norm)
        pooled = op_shape(head.pool, shape)
        self.hidden = _Linear(head.channels * pooled.height * pooled.width, head.hidden)
        self.dropout = dropout(head.dropout)
        self.classifier = _Linear(head.hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps, N x C x H x W, to logits, N x classes."""
        x = self.conv(self.pool(x)).flatten(1)
        x = functional.relu(self.hidden(x), inplace=True)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


class Dropout(nn.Dropout):
    """Dropout whose masks come from ``generator``, which lies on the maps' device.

    A training sets its own, so that several in one process do not disturb each other and a
    CUDA graph can register it. None is the device's global generator.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training:
            return x
        keep = 1 - self.p
        if keep == 0:
            return x * 0
        mask = torch.empty_like(x).bernoulli_(keep, generator=self.generator)
        return x * mask.div_(keep)


def dropout(probability: float) -> nn.Module:
    """Dropout, or nothing where nothing drops: a mask of ones would still be drawn."""
    return Dropout(probability) if probability > 0 else nn.Identity()


# Initial values. torch's own are not drawn: they would cost time and the global generator's state.


class _Conv2d(nn.Conv2d):
    loops = True

    def reset_parameters(self) -> None:
        """Wait for :func:`initialise`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps, N x C x H x W."""
        is_pointwise = self.kernel_size == self.stride == (1, 1) and self.bias is None
        if is_pointwise and self.loops and kernels.fits_product(x):
            return kernels.pointwise(x, self.weight)
        return super().forward(x)


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Wait for :func:`initialise`."""


def initialise(network: Network, generator: torch.Generator | None) -> None:
    """Draw a plain network's weights, module by module in the order of the state dict."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if name.endswith("classifier"):
                nn.init.normal_(module.weight, std=0.01, generator=generator)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, InceptionCell) and module.projection is not None:
            norm, conv = module.projection.norm, module.projection.conv
            nn.init.zeros_(conv.weight if norm is None else norm.weight)


# State dicts: a merged network's under the plain network's names.


def _join(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Several layers' tensors as one layer's; each has counted the same batches."""
    return {
        name: torch.cat([state[name] for state in states]) if tensor.dim() else tensor
        for name, tensor in states[0].items()
    }


def _plain_names(cell: InceptionCell, prefix: str, name: str) -> list[str]:
    return [f"{prefix}branches.{index}.0.{name}" for index in cell.mergeable]


def _pieces(cell: InceptionCell, tensor: Tensor) -> list[Tensor]:
    """One branch's part each; a scalar is a count of batches, the same for all."""
    return list(torch.split(tensor, cell.widths)) if tensor.dim() else [tensor] * len(cell.widths)


def _save_plain(cell: InceptionCell, state: dict[str, Any], prefix: str, _: object) -> None:
    start = f"{prefix}merged."
    for key in [key for key in state if key.startswith(start)]:
        tensor = state.pop(key)
        names = _plain_names(cell, prefix, key.removeprefix(start))
        for name, piece in zip(names, _pieces(cell, tensor), strict=True):
            # Files of tensors refuse one tensor under two names.
            state[name] = piece if tensor.dim() else piece.clone()
    for key in sorted((key for key in state if key.startswith(prefix)), key=_plain_order(prefix)):
        state[key] = state.pop(key)


def _plain_order(prefix: str) -> Callable[[str], list[int]]:
    """Branches by their numbers and their ops' numbers, then the rest; `sorted` is stable."""

    def order(key: str) -> list[int]:
        first, *steps = key.removeprefix(prefix).split(".")
        return [0, *map(int, steps[:2])] if first == "branches" else [1]

    return order


def _load_plain(
    cell: InceptionCell,
    state: dict[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    assert cell.merged is not None
    for name, current in cell.merged.state_dict().items():
        pieces = _pieces(cell, current)
        for place, key in enumerate(_plain_names(cell, prefix, name)):
            loaded = state.pop(key, None)
            if loaded is None:
                missing_keys.append(key)
            elif loaded.shape != pieces[place].shape:
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {loaded.shape} from "
                    f"checkpoint, the shape in current model is {pieces[place].shape}."
                )
            else:
                pieces[place] = loaded
        state[f"{prefix}merged.{name}"] = torch.cat(pieces) if current.dim() else pieces[0]


def _drop_auxiliary(network: Network, state: dict[str, Any], prefix: str, *_: object) -> None:
    if network.architecture.auxiliary and not network.auxiliary:
        for key in [key for key in state if key.startswith(f"{prefix}auxiliary.")]:
            del state[key]
