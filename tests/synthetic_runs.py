"""Runs to look at: trials worked out by hand, and whole runs of random architectures."""

import numpy as np
import pandas as pd

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
