"""3x3 pooling with stride and padding 1 of channels_last maps on a processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nas.kernels import pool_loops as loops
from nas.kernels.memory import TAGS


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        images, channels, height, width = maps.shape
        out = torch.empty_like(maps)
        places = torch.empty_like(maps, dtype=torch.uint8)
        frame = torch.empty((height + 2) * (width + 2) * channels)
        find = loops.max_of_float32 if maps.dtype == torch.float32 else loops.max_of_bfloat16
        find(
            maps.data_ptr(), out.data_ptr(), places.data_ptr(), frame.data_ptr(),
            images, height, width, channels,
        )  # fmt: skip
        ctx.save_for_backward(places)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (places,) = ctx.saved_tensors
        images, channels, height, width = places.shape
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(gradient)
        frame = torch.empty((height + 2) * (width + 2) * channels, dtype=gradient.dtype)
        frame_places = torch.empty(frame.shape, dtype=torch.uint8)
        loops.max_gradient(
            gradient.data_ptr(), places.data_ptr(), out.data_ptr(), frame.data_ptr(),
            frame_places.data_ptr(), gradient.element_size(), images, height, width, channels,
            TAGS[gradient.dtype],
        )  # fmt: skip
        return out


class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        return _average(maps, is_gradient=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return _average(gradient, is_gradient=True)


def _average(maps: Tensor, *, is_gradient: bool) -> Tensor:
    images, channels, height, width = maps.shape
    out = torch.empty_like(maps)
    frame = torch.empty((height + 2) * (width + 2) * channels)
    shares = torch.empty(width * channels)
    loops.average(
        maps.data_ptr(), out.data_ptr(), frame.data_ptr(), shares.data_ptr(),
        maps.element_size(), images, height, width, channels, is_gradient, TAGS[maps.dtype],
    )  # fmt: skip
    return out


def max_pool(maps: Tensor) -> Tensor:
    """See :func:`nas.kernels.max_pool`."""
    out: Tensor = _MaxPool.apply(maps)  # type: ignore[no-untyped-call]
    return out


def average_pool(maps: Tensor) -> Tensor:
    """See :func:`nas.kernels.average_pool`."""
    out: Tensor = _AveragePool.apply(maps)  # type: ignore[no-untyped-call]
    return out
