"""Sums of channels_last maps in bfloat16 on a processor, forwards and backwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nas.kernels import sum_loops as loops
from nas.kernels.memory import TAGS


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, count: int) -> tuple[Tensor, ...]:
        return tuple(maps.view_as(maps) for _ in range(count))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        dense = [item.contiguous(memory_format=torch.channels_last) for item in gradients]
        out, sums = torch.empty_like(dense[0]), torch.empty(loops.BLOCK)
        addresses = torch.tensor([item.data_ptr() for item in dense])
        loops.total(
            addresses.data_ptr(),
            len(dense),
            out.data_ptr(),
            out.element_size(),
            out.numel(),
            sums.data_ptr(),
            TAGS[out.dtype],
        )
        return out, None


class _AddReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        out, tag = torch.empty_like(first), TAGS[first.dtype]
        addresses = first.data_ptr(), second.data_ptr(), out.data_ptr()
        loops.add_relu(*addresses, first.numel(), tag)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(output)
        addresses = gradient.data_ptr(), output.data_ptr(), out.data_ptr()
        loops.relu_gradient(*addresses, out.numel(), TAGS[out.dtype])
        return out, out


def fork(maps: Tensor, count: int) -> tuple[Tensor, ...]:
    """See :func:`nas.kernels.fork`."""
    out: tuple[Tensor, ...] = _Fork.apply(maps, count)  # type: ignore[no-untyped-call]
    return out


def add_relu(first: Tensor, second: Tensor) -> Tensor:
    """See :func:`nas.kernels.add_relu`."""
    out: Tensor = _AddReLU.apply(first, second)  # type: ignore[no-untyped-call]
    return out
