"""Where one trial's time goes on a processor, in percent, beside the least that it could take.

    python benchmarks/trial_profile.py [--architectures 4] [--width 0.25] [--json FILE]

Trains the proxies of random architectures on one thread, as a search's worker does: once whole,
for the seconds of set-up, training and validation, and a few steps under torch.profiler, for the
parts of training. The floors: operations counted by nas.cost (three passes a training image, one
a validation image) over the rate of a large matrix product in the same format; bytes of
activations over the rate of a copy. Both rates are measured on the same thread.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contestants.hardware import describe_hardware
from contestants.trials import draw_architectures
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

import nas.training.loop
import nas.training.step
from nas.architecture import Architecture
from nas.cost import count_cost
from nas.datasets import Statistics, TrainValidation, describe_data, measure_statistics
from nas.evaluate import Evaluation
from nas.quantities import parse_size
from nas.search.workers import load_training_data
from nas.space import SearchSpace
from nas.task import Precision, Task, create_task, proxy
from nas.training.precision import resolve_precision

Seconds = defaultdict[str, float]

PROFILED_STEPS = 8

BYTE_PASSES = 5
"""Times that a training step moves each activation at least: written and read forward; its
gradient written and read, and itself read again, backward. A validation moves it twice."""

ELSE = "everything else: Python, autograd's own"

PARTS: tuple[tuple[str, str], ...] = (
    ("set-up", r"^trial: set-up"),
    ("validation", r"^trial: validation"),
    ("augmentation and gather", r"^trial: augmentation|index_select"),
    ("optimiser", r"^Optimizer\."),
    ("convolution, backward", r"ConvolutionBackward|convolution_backward|_PointwiseBackward"),
    (
        "convolution, forward",
        r"^aten::(conv2d|convolution|_convolution)|mkldnn_convolution|_Pointwise",
    ),
    ("sums of branches", r"_Fork|AddReLU|^aten::add_?$|: AddBackward"),
    ("batch norm, with its ReLU where fused", r"norm"),
    ("pooling", r"pool"),
    ("ReLU", r"relu|threshold|clamp_min"),
    ("concat and split", r"(^aten::|: )(cat|split|narrow|slice)"),
    ("casts between formats", r"^aten::(to|_to_copy)$|ToCopyBackward"),
    ("head and loss", r"cross_entropy|softmax|nll_loss|linear|addmm|mean|dropout"),
)
"""Parts by the first pattern that an op's name has, in any case; its children belong to it."""


@dataclass(frozen=True)
class Profile:
    """Seconds of one trial: by part (they add up to ``seconds``), and both floors.

    ``profiler_factor`` is how much slower the profiler made a step: small ops suffer most.
    """

    architecture: str
    macs: int
    seconds: float
    parts: dict[str, float]
    operations_floor: float
    bytes_floor: float
    profiler_factor: float


@dataclass(frozen=True)
class Rates:
    """Operations and bytes (read and written) a second on one thread."""

    operations: float
    bytes: float


def part_of(name: str) -> str | None:
    """The part that an op belongs to, or None: its children are looked at."""
    for part, pattern in PARTS:
        if re.search(pattern, name, re.IGNORECASE):
            return part
    return None


def seconds_by_part(events: Sequence[FunctionEvent]) -> dict[str, float]:
    """Walk each tree of events: what is known takes all of its time, the rest goes deeper."""
    found = Seconds(float)
    waiting = [event for event in events if event.cpu_parent is None]
    while waiting:
        event = waiting.pop()
        part = part_of(event.name)
        if part is not None:
            found[part] += event.cpu_time_total / 1e6
            continue
        found[ELSE] += event.self_cpu_time_total / 1e6
        waiting += event.cpu_children
    return dict(found)


@contextmanager
def labelled(timed: Seconds) -> Iterator[None]:
    """Name validation and augmentation in profiles, and count validation's seconds."""
    wrapped = [
        (nas.training.loop, "validation_sums", "validation"),
        (nas.training.step, "augment", "augmentation"),
        (nas.training.step, "normalise", "augmentation"),
    ]
    before = [getattr(module, name) for module, name, _ in wrapped]
    for (module, name, label), function in zip(wrapped, before, strict=True):
        setattr(module, name, _labelled(function, label, timed))
    try:
        yield
    finally:
        for (module, name, _), function in zip(wrapped, before, strict=True):
            setattr(module, name, function)


def _labelled(function: Callable[..., Any], label: str, timed: Seconds) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        with record_function(f"trial: {label}"):
            result = function(*args, **kwargs)
        timed[label] += time.perf_counter() - start
        return result

    return call


def run_trial(
    architecture: Architecture, task: Task, data: TrainValidation, statistics_: Statistics
) -> Seconds:
    """Seconds of the phases of a whole trial."""
    timed = Seconds(float)
    with labelled(timed):
        with record_function("trial: set-up"):
            evaluation = Evaluation(architecture, task, 0, data, statistics_)
        while not evaluation.done:
            result = evaluation.advance()
    evaluation.close()
    timed["set-up"] = evaluation.setup_seconds
    validated = timed["validation"]
    timed["training"] = result.train_seconds - evaluation.setup_seconds - validated
    return timed


def profile_trial(
    architecture: Architecture,
    task: Task,
    data: TrainValidation,
    statistics_: Statistics,
    rates: Rates,
) -> Profile:
    """Run a trial whole and a few steps of it under the profiler."""
    few = {"images": PROFILED_STEPS * task.recipe.batch_size, "epochs": 1}
    short = task.model_copy(update={"proxy": task.proxy.model_copy(update=few)})
    run_trial(architecture, short, data, statistics_)  # compiles the kernels
    whole = run_trial(architecture, task, data, statistics_)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        profiled = run_trial(architecture, short, data, statistics_)
    steps = seconds_by_part(profiler.events())
    of_training = {key: steps.get(key, 0.0) for key in (*dict(PARTS), ELSE)}
    del of_training["set-up"], of_training["validation"]
    scale = whole["training"] / sum(of_training.values())
    parts = {"set-up": whole["set-up"], "validation": whole["validation"]}
    parts |= {key: value * scale for key, value in of_training.items()}
    num_images = task.proxy.images or len(data.train)
    each = whole["training"] / (num_images * task.proxy.epochs)
    trained = proxy(architecture, task)
    cost = count_cost(trained, task.proxy_image, task.target.classes, dtype=task.precision)
    return Profile(
        architecture=architecture.fingerprint,
        macs=cost.macs,
        seconds=sum(parts.values()),
        parts=parts,
        operations_floor=2 * cost.macs * _passes(task, num_images, 3, 1) / rates.operations,
        bytes_floor=cost.activation_bytes * _passes(task, num_images, BYTE_PASSES, 2) / rates.bytes,
        profiler_factor=profiled["training"] / (few["images"] * each),
    )


def _passes(task: Task, num_images: int, training: int, validation: int) -> int:
    trained = num_images * task.proxy.epochs
    return trained * training + task.validation_images * len(task.rungs) * validation


def measure_rates(precision: Precision, tensor_bytes: int) -> Rates:
    """The fastest of some products of 2048 x 2048, and of copies of ``tensor_bytes``."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    matrix = torch.randn(2048, 2048).to(dtype)
    product = min(_seconds(lambda: matrix @ matrix) for _ in range(6))
    source = torch.zeros(tensor_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = min(_seconds(lambda: target.copy_(source)) for _ in range(200))
    return Rates(2 * 2048**3 / product, 2 * tensor_bytes / copy)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def middle_tensor_bytes(architectures: Sequence[Architecture], task: Task) -> int:
    """Bytes of the median layer's output for a batch: a copy of it is as near to the caches."""
    image, classes = task.proxy_image, task.target.classes
    sizes = [
        row.activation_bytes * task.recipe.batch_size
        for item in architectures
        for row in count_cost(proxy(item, task), image, classes, dtype=task.precision).rows
    ]
    return int(statistics.median(sizes))


def markdown(profiles: Sequence[Profile], rates: Rates) -> str:
    """Parts and floors in percent of all trials' seconds."""
    total = sum(item.seconds for item in profiles)
    sums = Seconds(float)
    for item in profiles:
        for part, seconds in item.parts.items():
            sums[part] += seconds
    lines = ["part | percent | least to most of a trial", "--- | --- | ---"]
    for part, seconds in sorted(sums.items(), key=lambda pair: -pair[1]):
        shares = [100 * item.parts[part] / item.seconds for item in profiles]
        share = 100 * seconds / total
        lines.append(f"{part} | {share:.1f} | {min(shares):.1f} to {max(shares):.1f}")
    operations = sum(item.operations_floor for item in profiles)
    moved = sum(item.bytes_floor for item in profiles)
    rows = "\n".join(f"| {line} |" for line in lines)
    factor = statistics.median(item.profiler_factor for item in profiles)
    return (
        f"n = {len(profiles)} architectures, {total / len(profiles):.2f} s a trial, one thread\n\n"
        f"{rows}\n\n"
        f"floor by operations: {100 * operations / total:.1f} % of the time "
        f"(at {rates.operations / 1e9:,.0f} G operations a second)\n"
        f"floor by bytes: {100 * moved / total:.1f} % of the time "
        f"(at {rates.bytes / 1e9:,.1f} GB a second)\n"
        f"the profiler slowed a step by {factor:.2f}"
    )


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--data", default="fashion-mnist-mini")
    add("--space", default="googlenet_small")
    add("--max-macs", default="150M", help="at the target")
    add("--architectures", type=int, default=4)
    add("--width", type=float, help="default: the proxy's")
    add("--epochs", type=int, help="default: the proxy's")
    add("--images", type=int, help="an epoch; default: the proxy's")
    add("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    add("--json", type=Path)
    return parser.parse_args(given)


def run(arguments: argparse.Namespace) -> list[Profile]:
    """Profile, print, write."""
    torch.set_num_threads(1)
    given = {name: getattr(arguments, name) for name in ("width", "epochs", "images")}
    changes = {key: value for key, value in given.items() if value is not None}
    precision = resolve_precision(arguments.precision, "cpu")
    task = create_task(describe_data(arguments.data), {"proxy": changes}, precision=precision)
    space = SearchSpace.load(arguments.space)
    macs = parse_size(arguments.max_macs)
    architectures = draw_architectures(space, [task], arguments.architectures, macs)
    data = load_training_data(task, None)
    statistics_ = measure_statistics(data.train)
    rates = measure_rates(precision, middle_tensor_bytes(architectures, task))
    profiles = []
    for architecture in architectures:
        profiles.append(profile_trial(architecture, task, data, statistics_, rates))
        print(f"{len(profiles)}/{len(architectures)} trials profiled", flush=True)
    hardware = describe_hardware("cpu")
    described = ", ".join(f"{key} {value}" for key, value in hardware.items())
    print(f"\n{described}, width {task.proxy.width:g}, {precision}\n\n{markdown(profiles, rates)}")
    if arguments.json:
        result = {
            "hardware": hardware,
            "task": json.loads(task.to_json()),
            "rates": vars(rates),
            "profiles": [vars(item) for item in profiles],
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return profiles


if __name__ == "__main__":
    run(parse_arguments())
