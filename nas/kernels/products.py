"""1x1 convolutions of channels_last maps in bfloat16 on a processor, as matrix products.

A convolution with a 1x1 kernel and stride 1 is one product of pixels by channels, and the maps are
stored that way. torch's convolution of few channels or small maps takes up to twice as long.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        matrix = weight.reshape(weight.shape[:2]).to(maps.dtype)
        ctx.save_for_backward(maps, matrix)
        ctx.weight_dtype = weight.dtype
        return _as_maps(torch.mm(_pixels(maps), matrix.t()), maps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        maps, matrix = ctx.saved_tensors
        pixels = _pixels(gradient.contiguous(memory_format=torch.channels_last))
        of_maps = None
        if ctx.needs_input_grad[0]:
            of_maps = _as_maps(torch.mm(pixels, matrix), maps)
        # Rounded to the maps' dtype before it is the weight's, as torch's autocast does.
        of_weight = torch.mm(pixels.t(), _pixels(maps)).to(ctx.weight_dtype)
        return of_maps, of_weight[:, :, None, None]


def pointwise(maps: Tensor, weight: Tensor) -> Tensor:
    """See :func:`nas.kernels.pointwise`."""
    out: Tensor = _Pointwise.apply(maps, weight)  # type: ignore[no-untyped-call]
    return out


def _pixels(maps: Tensor) -> Tensor:
    """The maps as a matrix of pixels by channels, over the same memory."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _as_maps(pixels: Tensor, like: Tensor) -> Tensor:
    count, _, height, width = like.shape
    return pixels.view(count, height, width, -1).permute(0, 3, 1, 2)
