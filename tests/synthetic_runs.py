"""Runs to look at: trials worked out by hand, and whole runs of random architectures."""

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, IntDistribution

from nas.architecture import Shape
from nas.cost import COSTS, count_cost
from nas.presets import cifar_googlenet
from nas.records import Ended, Outcome, Proposal, Rejections, RunSettings, locate, open_run
from nas.records.writing import RunWriter, create_run
from nas.space import Range, SearchSpace
from nas.task import RECIPES, Proxy, Target, Task

TASK = Task(
    data="fashion-mnist-mini",
    target=Target(image=Shape(1, 28, 28), classes=10),
    proxy=Proxy(width=0.25, images=4096, epochs=8),
    recipe=RECIPES["default"],
    precision="float32",
    validation_images=2000,
)
OBJECTIVES = ("error", "macs")


def trials_frame(rows):
    """Trials from (state, error, macs) and, as a mapping, what differs from the rest."""
    table = []
    for number, (state, error, macs, *more) in enumerate(rows):
        table.append(
            {
                "number": number,
                "state": state,
                "error": error if error is not None else np.nan,
                "macs": macs,
                "params": macs // 10,
                "activation_bytes": macs // 100,
                "peak_activation_bytes": macs // 200,
                "latency_ms": np.nan,
                "fingerprint": f"{number:016x}",
                "proxy_fingerprint": f"{number:016x}",
                "seed": number,
                "epochs": 4 if state == "complete" else 1,
                "train_seconds": 10.0,
                "started": pd.Timestamp("2026-01-01") + pd.Timedelta(minutes=number),
                "finished": pd.Timestamp("2026-01-01") + pd.Timedelta(minutes=number + 1),
                "reason": "",
                "origin": "sampler:nsga2",
                "reused": False,
                "architecture": "{}",
                **(more[0] if more else {}),
            }
        )
    return pd.DataFrame(table)


M = 1_000_000
TRIALS = trials_frame(
    [
        ("complete", 0.30, 20 * M),  # dominated by 2
        ("failed", None, 9 * M, {"reason": "loss is NaN", "train_seconds": 2.0}),
        ("complete", 0.20, 10 * M),  # front, the knee
        ("pruned", None, 80 * M, {"reason": "dominated at epoch 1", "train_seconds": 3.0}),
        ("complete", 0.50, 4 * M),  # front, cheapest
        ("complete", 0.19, 200 * M, {"origin": "seed:cifar_googlenet"}),  # front, best
        ("running", None, 5 * M, {"train_seconds": 0.0}),
        ("complete", 0.20, 10 * M, {"reused": True, "train_seconds": 0.0}),  # front: equals 2
        ("complete", 0.35, 30 * M),  # dominated by 0, 2, 7: only front trials are named
    ]
)
CURVES = pd.DataFrame(
    [
        (3, 1, 0.9, 0.8, 0.45, 3.0),
        (2, 2, 0.7, 0.6, 0.20, 8.0),
        (2, 1, 0.9, 0.8, 0.33, 4.0),
        (6, 1, 0.9, 0.8, 0.60, 4.0),
    ],
    columns=["number", "epoch", "train_loss", "validation_loss", "error", "train_seconds"],
)


SPREAD = 0.1
OLD_REJECTIONS = Rejections(
    {"macs 412M is over the budget of 300M": 31, "already trained as trial 4": 7},
    tuple({"number": n, "reason": "already trained as trial 4"} for n in range(12)),
)
"""As older versions recorded them: words, no kinds."""


def likely_error(macs, rng):
    """About what small image data give: a power of the cost with noise, never over chance."""
    return float(min(0.88, 0.06 + 0.45 * (macs / 2e6) ** -0.33 * np.exp(rng.normal(0, SPREAD))))


def likely_curve(error, rng, rungs):
    """A learning curve that ends in ``error``, as rows of the curves frame without the number."""
    points = []
    for epoch in rungs:
        left = (0.9 - error) * 0.55**epoch * (epoch < rungs[-1])
        seen = error + left * float(np.exp(rng.normal(0, 0.1)))
        points.append([epoch, 2.2 * seen + 0.1, 2.4 * seen + 0.15, seen, 2.5 * epoch])
    return points


def distributions(space):
    """The space's parameters as Optuna stores them."""
    return {
        name: IntDistribution(domain.low, domain.high, step=domain.step)
        if isinstance(domain, Range)
        else CategoricalDistribution(domain.values)
        for name, domain in space.parameters.items()
    }


def make_run(
    results,
    name,
    *,
    trials=24,
    objectives=OBJECTIVES,
    outcome=None,
    seed=0,
    space="googlenet_small",
    task=None,
    rejections=None,
    **more,
):
    """A run on disk as a search leaves it, of random architectures with likely errors.

    ``outcome`` says how a trial ends: number and error to an Outcome. ``more`` replaces settings.
    """
    space = SearchSpace.load(space)
    task = task or TASK
    rng = np.random.default_rng(seed)
    location = locate(name, results)
    reference = {"error": 0.9, "macs": 2e9, "params": 2e7, "activation_bytes": 1e8}
    settings = {
        "space": space.to_json(),
        "task": task.to_json(),
        "objectives": tuple(objectives),
        "reference": tuple(reference[objective] for objective in objectives),
        "seed": seed,
        "sampler": "nsga2",
        "budgets": {"macs": 300 * M},
        "created": "2026-01-01T10:00:00",
        "versions": {"inception-nas": "0.1.0", "torch": "2.11.0", "optuna": "5.0.0"},
        "device": "cpu",
        "precision": "float32",
        **more,
    }
    create_run(location, RunSettings(**settings))
    writer = RunWriter(location, objectives, distributions(space))
    for number in range(trials):
        _write_trial(writer, space, task, rng, number, outcome or usual_outcome)
    writer.set_rejections(rejections or OLD_REJECTIONS)
    writer.set_ended(Ended("trials", f"{trials} trials are done", 61.0 * trials))
    writer.close()
    return open_run(location.path)


def usual_outcome(number, error, curve):
    """Most trials end, some are stopped at a rung, a few fail."""
    if number % 9 == 8:
        return Outcome("failed", epochs=1, train_seconds=2.0, reason="the loss is NaN in epoch 1")
    if number % 5 == 4:
        kept = curve[1]
        reason = "dominated at epoch 2 by trials 0 and 3"
        return Outcome("pruned", epochs=kept[0], train_seconds=kept[4], reason=reason)
    return Outcome("complete", error, epochs=curve[-1][0], train_seconds=curve[-1][4])


def _write_trial(writer, space, task, rng, number, outcome):
    architecture = space.random(rng)
    origin = "sampler:nsga2"
    if number == 3 and space.contains(cifar_googlenet()):
        architecture, origin = cifar_googlenet(), "seed:cifar_googlenet"
    cost = count_cost(architecture, task.target.image, task.target.classes)
    costs = {name: getattr(cost, name) for name in (*COSTS, "peak_activation_bytes")}
    values = space.encode(architecture)
    proposal = Proposal(architecture, values, costs, architecture.fingerprint, number, origin)
    writer.add(proposal)
    error = likely_error(cost.macs, rng)
    curve = likely_curve(error, rng, task.rungs)
    ended = outcome(number, error, curve)
    if ended.state != "running":
        writer.set_curve(number, [point for point in curve if point[0] <= ended.epochs])
        writer.finish(number, costs, ended, 30.0 * (number + 1))
