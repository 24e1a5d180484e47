"""Which number format a device trains faster in: asked once, then recorded in the task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nas.task import Precision

FASTER = 1.2
"""bfloat16 must beat float32 by this factor: below it, its coarser numbers are not worth it."""

PROBES = 12
"""Passes of each format that are timed; the fastest counts."""

HARDWARE = ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16")
"""What processors call their bfloat16 arithmetic (x86, then ARM)."""


def resolve_precision(
    requested: Literal["auto", "float32", "bfloat16"], device: torch.device | str = "cpu"
) -> Precision:
    """The precision to record: what is requested, or for "auto" what suits the device.

    A GPU trains in bfloat16 where its hardware has it. A processor without bfloat16 arithmetic
    trains in float32. One with it is asked by a probe of about half a second on one thread (a
    merged 1x1 and a 3x3 convolution as proxies have them): bfloat16 must be 1.2 times faster.
    The probe takes turns and keeps each format's fastest pass in this thread's processor time,
    which other load on the machine hardly changes. To be independent of it, name the format.

    Raises:
        ValueError: the request is none of the three.
    """
    if requested == "auto":
        return _suited(torch.device(device))
    if requested not in ("float32", "bfloat16"):
        raise ValueError(f"precision must be auto, float32 or bfloat16, not {requested!r}")
    return requested


def has_bfloat16() -> bool:
    """Whether this machine's processor computes in bfloat16 itself, and torch makes use of it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.cpu, "get_capabilities"):
        # Older torch: also true where bfloat16 is emulated, which the probe then finds slow.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in HARDWARE)


def _suited(device: torch.device) -> Precision:
    if device.type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if has_it else "float32"
    if not has_bfloat16():
        return "float32"
    return _faster(_probe_passes())


def _faster(passes: Mapping[Precision, Sequence[float]]) -> Precision:
    """The format by the fastest pass of each: whatever interrupts a pass only makes it slower."""
    is_clear = min(passes["float32"]) > FASTER * min(passes["bfloat16"])
    return "bfloat16" if is_clear else "float32"


def _probe_passes() -> dict[Precision, list[float]]:
    """Processor seconds of forward and backward passes, interleaved, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        layers, images = _probe_network(), torch.ones(32, 64, 14, 14)
        images = images.to(memory_format=torch.channels_last)
        passes: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(PROBES + 1):
            for precision, taken in passes.items():
                taken.append(_timed_pass(layers, images, precision))
    finally:
        torch.set_num_threads(threads)
    # The first pass of each chooses and compiles its kernels.
    return {precision: taken[1:] for precision, taken in passes.items()}


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
    start = time.thread_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        output: Tensor = layers(images)
    output.float().sum().backward()  # type: ignore[no-untyped-call]
    return time.thread_time() - start
