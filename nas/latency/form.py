"""The form of a network whose latency is measured: what a product runs eagerly.

Evaluation mode, no auxiliary heads, 1x1 convolutions merged, batch norm folded into the
convolutions before it, float32, one image. On a processor the layout is channels_last, which
was 1.1 to 1.8 times as fast as the default there; on a GPU it is the default. torch's own
operations compute it: the loops of :mod:`nas.kernels` stay with training. Weights are drawn
freshly; their values do not change a layer's time.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nas.architecture import Architecture, Conv, Norm, Shape
from nas.latency.layers import PART, Layer
from nas.latency.setting import BATCH
from nas.model import ConvNormReLU, Pool3x3, build, pool

_NO_NORM = Norm("none")


def layout_of(device: str) -> torch.memory_format:
    """How maps and weights lie in memory on a device."""
    return torch.channels_last if device == "cpu" else torch.contiguous_format


def inference_form(
    architecture: Architecture, image: Shape, classes: int, device: str = "cpu"
) -> nn.Module:
    """The network as it is measured.

    Raises:
        ValueError: the architecture does not fit the image, or ``classes`` is no positive integer.
    """
    network = build(architecture, image, classes, auxiliary=False, loops=False, seed=0).eval()
    for module in network.modules():
        if isinstance(module, ConvNormReLU) and module.norm is not None:
            folded = fuse_conv_bn_eval(module.conv, module.norm)
            module.conv, module.norm = folded, None
    return _placed(network, device)


def network_input(image: Shape, device: str = "cpu") -> Tensor:
    """Images that a network reads: 1 x C x H x W of noise."""
    x = torch.rand(BATCH, *image, generator=torch.Generator().manual_seed(0))
    return x.to(device, memory_format=layout_of(device))


def layer_form(layer: Layer, device: str = "cpu") -> nn.Module:
    """A module that computes this layer alone, as :func:`inference_form` does.

    It takes what :func:`layer_input` makes.
    """
    module = _module(layer)
    if isinstance(module, ConvNormReLU):
        # The convolution's own values wait for nas.model.initialise.
        generator = torch.Generator().manual_seed(0)
        nn.init.kaiming_normal_(module.conv.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(cast("Tensor", module.conv.bias))
        module.loops = module.conv.loops = False
    elif isinstance(module, Pool3x3):
        module.loops = False
    return _placed(module.eval(), device)


def layer_input(layer: Layer, device: str = "cpu") -> Tensor:
    """What a layer reads: 1 x C x H x W of noise, or 1 x features."""
    generator = torch.Generator().manual_seed(0)
    if layer.kind in ("hidden", "linear"):
        return torch.rand(BATCH, layer.inputs, generator=generator).to(device)
    channels = layer.outputs if layer.kind == "concat" else layer.inputs
    whole = 2 * channels if layer.kind.endswith(PART) else channels
    x = torch.rand(BATCH, whole, layer.height, layer.width, generator=generator)
    return x.to(device, memory_format=layout_of(device))[:, :channels]


def _placed(module: nn.Module, device: str) -> nn.Module:
    placed = module.requires_grad_(False).to(device)
    # torch's own annotations leave this call out.
    return placed.to(memory_format=layout_of(device))  # type: ignore[call-overload, no-any-return]


def _module(layer: Layer) -> nn.Module:
    if layer.is_conv:
        return ConvNormReLU(Conv(layer.kernel, layer.outputs, layer.stride), layer.inputs, _NO_NORM)
    if layer.kind in _ALONE:
        return _ALONE[layer.kind]()
    if layer.kind == "concat":
        return _Concat(layer.inputs)
    if layer.kind in ("hidden", "linear"):
        make = _Hidden if layer.kind == "hidden" else nn.Linear
        return make(layer.inputs, layer.outputs)
    return pool(layer.pool)


class _Concat(nn.Module):
    """Parts of equal width: how they are cut does not change what is copied."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(x.tensor_split(self.parts, 1), 1)


class _Add(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x.add_(x), inplace=True)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _Hidden(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x), inplace=True)


_ALONE: dict[str, type[nn.Module]] = {"add": _Add, "mean": _Mean}
