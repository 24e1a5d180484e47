"""Batch norm followed by ReLU as one operation, for channels_last maps on a processor."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nas.kernels import norm_loops as loops
from nas.kernels.memory import TAGS

LANES = 384
"""Numbers of an inner loop, about: enough for vector instructions, few enough to stay in cache."""


def norm_relu(maps: Tensor, norm: nn.BatchNorm2d, *, relu: bool = True) -> Tensor:
    """See :func:`nas.kernels.norm_relu`."""
    if norm.momentum is None or norm.weight is None or norm.running_mean is None:
        raise ValueError("the loops need a batch norm with a momentum, scales and statistics")
    floor = 0.0 if relu else -math.inf
    if not norm.training:
        return _applied(maps, norm, floor)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    out: Tensor = _NormReLU.apply(  # type: ignore[no-untyped-call]
        maps,
        norm.weight,
        norm.bias,
        norm.running_mean,
        norm.running_var,
        norm.momentum,
        norm.eps,
        floor,
    )
    return out


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        floor: float,
    ) -> Tensor:
        rows, width, channels = _cut(maps)
        lanes = torch.empty(loops.NUM_LANES * width)
        statistics = torch.empty(2, channels)
        means = statistics.data_ptr()
        inverses = means + 4 * channels
        loops.collect(
            maps.data_ptr(),
            maps.element_size(),
            rows,
            width,
            channels,
            lanes.data_ptr(),
            means,
            inverses,
            eps,
            momentum,
            running_mean.data_ptr(),
            running_var.data_ptr(),
            TAGS[maps.dtype],
        )
        scales, shifts = weight.data_ptr(), bias.data_ptr()
        loops.prepare(width, channels, lanes.data_ptr(), means, inverses, scales, shifts)
        ctx.save_for_backward(maps, lanes, statistics)
        ctx.floor = floor
        return _result(maps, lanes, rows, width, floor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        maps, lanes, statistics = ctx.saved_tensors
        rows, width, channels = _cut(maps)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        out, of_norm = torch.empty_like(maps), torch.empty(2, channels)
        loops.differentiate(
            maps.data_ptr(),
            gradient.data_ptr(),
            out.data_ptr(),
            maps.element_size(),
            rows,
            width,
            channels,
            lanes.data_ptr(),
            statistics.data_ptr() + 4 * channels,
            of_norm.data_ptr(),
            of_norm.data_ptr() + 4 * channels,
            ctx.floor,
            TAGS[maps.dtype],
        )
        return out, of_norm[0], of_norm[1], None, None, None, None, None


def _applied(maps: Tensor, norm: nn.BatchNorm2d, floor: float) -> Tensor:
    """With the running statistics, which are the means and variances of evaluation."""
    wants_gradient = maps.requires_grad or norm.weight.requires_grad
    if torch.is_grad_enabled() and wants_gradient:
        raise RuntimeError("in evaluation mode the loops have no gradient: use torch.no_grad()")
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018
    rows, width, channels = _cut(maps)
    lanes = torch.empty(loops.NUM_LANES * width)
    inverses = torch.rsqrt(norm.running_var + norm.eps)
    loops.prepare(
        width,
        channels,
        lanes.data_ptr(),
        norm.running_mean.data_ptr(),
        inverses.data_ptr(),
        norm.weight.data_ptr(),
        norm.bias.data_ptr(),
    )
    return _result(maps, lanes, rows, width, floor)


def _result(maps: Tensor, lanes: Tensor, rows: int, width: int, floor: float) -> Tensor:
    out = torch.empty_like(maps)
    loops.apply(
        maps.data_ptr(),
        out.data_ptr(),
        maps.element_size(),
        rows,
        width,
        lanes.data_ptr(),
        floor,
        TAGS[maps.dtype],
    )
    return out


def _cut(maps: Tensor) -> tuple[int, int, int]:
    """Rows, width and channels for the loops: rows of whole pixels, all of one width."""
    count, channels, height, width = maps.shape
    pixels = count * height * width
    repeats = 1
    while repeats * channels < LANES and pixels % (2 * repeats) == 0:
        repeats *= 2
    return pixels // repeats, repeats * channels, channels
