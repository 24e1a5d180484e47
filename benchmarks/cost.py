"""How long counting GoogLeNet takes, beside building it and running torch's counter.

    python benchmarks/cost.py [--repeats 2000]

Both count parameters and MACs of the same network; the results must be equal. Times are medians
of one run on one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.architecture import Shape
from nas.cost import count_cost
from nas.model import build
from nas.presets import googlenet

ARCHITECTURE, IMAGE, CLASSES = googlenet(), Shape(3, 224, 224), 1000


def from_description() -> tuple[int, int]:
    cost = count_cost(ARCHITECTURE, IMAGE, CLASSES)
    return cost.params, cost.macs


def from_module() -> tuple[int, int]:
    with torch.device("meta"):
        network = build(ARCHITECTURE, IMAGE, CLASSES, auxiliary=False).eval()
        x = torch.empty(1, *IMAGE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def seconds(function: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def show(name: str, times: list[float]) -> None:
    micro = [1e6 * value for value in times]
    low, middle, high = statistics.quantiles(micro, n=4)
    print(f"{name:<38} n={len(micro):<6} {middle:>10,.0f} us   ({low:,.0f} to {high:,.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=2000, help="countings timed")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    counted, built = from_description(), from_module()  # warm
    if counted != built:
        raise SystemExit(f"the counts differ: {counted} from the description, {built} built")
    print(f"GoogLeNet, {IMAGE}, {CLASSES} classes: {counted[0]:,} parameters, {counted[1]:,} MACs")
    print(
        f"{processor()}, {os.cpu_count()} CPUs, one thread; Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
    print(f"{'':<38} {'':<8} {'median':>13}   (quartiles)")
    fast = seconds(from_description, repeats)
    slow = seconds(from_module, max(repeats // 200, 5))
    show("count_cost, from the description", fast)
    show("build on meta + FlopCounterMode", slow)
    print(f"ratio {statistics.median(slow) / statistics.median(fast):,.0f}")


if __name__ == "__main__":
    main()
