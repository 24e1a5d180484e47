"""Which number format a device trains faster in: asked once, then recorded in the task."""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import Tensor, nn

from nas.task import Precision

FASTER = 1.1
"""bfloat16 must beat float32 by this factor: below it, its coarser numbers are not worth it."""


def resolve_precision(
    requested: Literal["auto", "float32", "bfloat16"], device: torch.device | str = "cpu"
) -> Precision:
    """The precision to record: what is requested, or for "auto" what suits the device.

    A GPU trains in bfloat16 where its hardware has it. A processor is asked by a probe of about
    0.2 seconds on one thread (a merged 1x1 and a 3x3 convolution as proxies have them).

    Raises:
        ValueError: the request is none of the three.
    """
    if requested == "auto":
        return _suited(torch.device(device))
    if requested not in ("float32", "bfloat16"):
        raise ValueError(f"precision must be auto, float32 or bfloat16, not {requested!r}")
    return requested


def _suited(device: torch.device) -> Precision:
    if device.type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if has_it else "float32"
    seconds = _probe_seconds()
    return "bfloat16" if seconds["float32"] > FASTER * seconds["bfloat16"] else "float32"


def _probe_seconds() -> dict[Precision, float]:
    """Median seconds of a forward and backward pass, interleaved, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        layers, images = _probe_network(), torch.ones(32, 64, 14, 14)
        images = images.to(memory_format=torch.channels_last)
        times: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(6):
            for precision, taken in times.items():
                taken.append(_timed_pass(layers, images, precision))
    finally:
        torch.set_num_threads(threads)
    # The first pass of each chooses and compiles its kernels.
    return {precision: sorted(taken[1:])[2] for precision, taken in times.items()}


def _probe_network() -> nn.Sequential:
    # Modules draw their first weights from the global generator; a probe leaves it alone.
    with torch.random.fork_rng(devices=[]):
        layers = nn.Sequential(
            nn.Conv2d(64, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _timed_pass(layers: nn.Sequential, images: Tensor, precision: Precision) -> float:
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        output: Tensor = layers(images)
    output.float().sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start
