"""The loops of nas/kernels beside torch's own operations, forward and backward, on one thread.

    python benchmarks/kernels.py [--repeats 60] [--json FILE]

Batches of 64 channels_last maps as proxies have them. torch and the loops take turns; each figure
is the median of this thread's processor time, the ratio the median of the turns' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from contestants.hardware import describe_hardware
from torch import Tensor, nn
from torch.nn import functional

from nas import kernels
from nas.training.allocator import keep_freed_memory

BATCH = 64
SHAPES = ((8, 28), (16, 14), (48, 14), (96, 14), (96, 7), (192, 7), (128, 4))
"""Channels and side."""

Operation = Callable[..., Tensor]


def operations(channels: int) -> Iterator[tuple[str, int, Operation, Operation]]:
    """Name, number of maps it takes, torch's form and ours."""
    theirs, ours = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
    yield (
        "batch norm + ReLU",
        1,
        lambda maps: functional.relu(theirs(maps), inplace=True),
        lambda maps: kernels.norm_relu(maps, ours),
    )
    yield "max pooling", 1, lambda maps: functional.max_pool2d(maps, 3, 1, 1), kernels.max_pool
    yield (
        "average pooling",
        1,
        lambda maps: functional.avg_pool2d(maps, 3, 1, 1, count_include_pad=False),
        kernels.average_pool,
    )
    yield (
        "sum + ReLU",
        2,
        lambda first, second: functional.relu(first + second, inplace=True),
        kernels.add_relu,
    )


def measure(
    operation: tuple[str, int, Operation, Operation],
    channels: int,
    side: int,
    dtype: torch.dtype,
    repeats: int,
) -> dict[str, Any]:
    """One row: microseconds of a pass forward and backward."""
    name, count, theirs, ours = operation
    maps = [
        torch.randn(BATCH, channels, side, side)
        .to(dtype, memory_format=torch.channels_last)
        .requires_grad_()
        for _ in range(count)
    ]
    gradient = torch.randn_like(maps[0])
    times: dict[str, list[float]] = {"torch": [], "loops": []}
    for turn in range(repeats + 3):
        for who, form in (("torch", theirs), ("loops", ours)):
            start = time.thread_time()
            torch.autograd.grad(form(*maps), maps, gradient)
            if turn >= 3:  # the first turns compile and fill caches
                times[who].append(time.thread_time() - start)
    ratios = [one / other for one, other in zip(times["torch"], times["loops"], strict=True)]
    return {
        "operation": name,
        "channels": channels,
        "side": side,
        "dtype": str(dtype).removeprefix("torch."),
        "torch_us": 1e6 * statistics.median(times["torch"]),
        "loops_us": 1e6 * statistics.median(times["loops"]),
        "ratio": statistics.median(ratios),
        "n": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="turns of each (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as workers do
    hardware = describe_hardware("cpu")
    rows = []
    print("| operation | maps | format | torch (us) | loops (us) | ratio |")
    print("|---|---|---|---:|---:|---:|")
    for dtype in (torch.bfloat16, torch.float32):
        for channels, side in SHAPES:
            for operation in operations(channels):
                if operation[0] == "sum + ReLU" and dtype == torch.float32:
                    continue  # left to torch
                row = measure(operation, channels, side, dtype, arguments.repeats)
                rows.append(row)
                print(
                    f"| {row['operation']} | {BATCH} x {channels} x {side} x {side} "
                    f"| {row['dtype']} | {row['torch_us']:,.0f} | {row['loops_us']:,.0f} "
                    f"| {row['ratio']:.1f} |"
                )
    print(f"\nn = {arguments.repeats} turns; " + ", ".join(f"{k} {v}" for k, v in hardware.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"hardware": hardware, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
