"""The proof of an export: a bare Python without this package computes the same outputs.

The reference is the network as :mod:`nas.model` trains and judges it, 1x1 convolutions merged;
the other side is the exported file in a fresh process (:mod:`nas.export.fresh_process`). Both
compute in float32 on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.architecture import Architecture, Shape
from nas.export import fresh_process

if TYPE_CHECKING:
    from torch import Tensor

    from nas.model import Network

LIMIT = 1e-5
"""The largest difference of a logit that passes; for logits over 10 a millionth of the largest."""

NUM_IMAGES = 4
TIMEOUT_SECONDS = 600


class ProofError(RuntimeError):
    """An artefact does not do what the network does; it must not be left behind."""


@dataclass(frozen=True)
class Proof:
    """What the comparison found: differences and outputs are logits, without unit.

    ``output_spread`` is by how much the outputs differ between images: a comparison of constants
    would prove nothing.
    """

    largest_difference: float
    limit: float
    largest_output: float
    output_spread: float
    num_images: int
    weights: str
    python: str
    torch: str


def initial_weights(
    architecture: Architecture, image: Shape, classes: int, *, auxiliary: bool
) -> dict[str, Tensor]:
    """Random weights for a proof without trained ones.

    Norms get random statistics too: a fresh norm does almost nothing, and an artefact without it
    would pass.
    """
    import torch

    from nas.model import build

    network = build(architecture, image, classes, auxiliary=auxiliary, seed=0)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in network.state_dict().items():
        noise = torch.rand(value.shape, generator=generator)
        if name.endswith(("norm.weight", "running_var")):
            weights[name] = 0.5 + noise
        elif name.endswith((".bias", "running_mean")):
            weights[name] = 0.2 * (noise - 0.5)
        else:
            weights[name] = value.detach().clone()
    return weights


def prove_source(
    source: Path,
    weights: Mapping[str, Tensor],
    network: Network,
    image: Shape,
    *,
    auxiliary: bool,
    about: str,
) -> Proof:
    """Compare the exported source with ``network``; ``weights`` are loaded into both.

    Raises:
        ProofError: the source does not load, or its outputs differ by more than :data:`LIMIT`.
    """
    from safetensors.torch import save_file

    inputs, expected = _reference(network, weights, image, auxiliary)
    with tempfile.TemporaryDirectory(prefix="nas-proof-") as directory:
        place = Path(directory)
        save_file({name: value.contiguous() for name, value in weights.items()}, place / "weights")
        save_file({"inputs": inputs, **expected}, place / "case")
        found = _run_fresh(source.resolve(), place)
    largest = max(value.abs().max().item() for value in expected.values())
    limit = max(LIMIT, 1e-6 * largest)
    difference = float(found["largest_difference"])
    # Written so that a NaN fails.
    if not difference <= limit:
        raise ProofError(
            f"{source.name} computes other outputs than the network: the largest difference is "
            f"{difference:.3g}, over the limit of {limit:.3g}"
        )
    first = expected["0"]
    return Proof(
        largest_difference=difference,
        limit=limit,
        largest_output=largest,
        output_spread=(first.amax(0) - first.amin(0)).max().item(),
        num_images=NUM_IMAGES,
        weights=about,
        python=str(found["python"]),
        torch=str(found["torch"]),
    )


def _reference(
    network: Network, weights: Mapping[str, Tensor], image: Shape, auxiliary: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Random inputs (N, C, H, W) and the outputs that the artefact must give, by number."""
    import torch

    network.load_state_dict(dict(weights))
    network.eval()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn((NUM_IMAGES, *image), generator=generator)
    with torch.inference_mode():
        if not auxiliary:
            return inputs, {"0": network(inputs).contiguous()}
        logits = network.forward_with_auxiliary(inputs)
    outputs = (logits.main, *logits.auxiliary)
    return inputs, {str(number): value.contiguous() for number, value in enumerate(outputs)}


def _run_fresh(source: Path, place: Path) -> dict[str, str | float]:
    """Run the other side, isolated from the environment and from this directory."""
    import safetensors
    import torch

    packages = [str(Path(str(module.__file__)).parents[1]) for module in (torch, safetensors)]
    program = str(Path(fresh_process.__file__).resolve())
    files = [str(source), str(place / "weights"), str(place / "case")]
    try:
        result = subprocess.run(
            [sys.executable, "-I", program, *files, *packages],
            cwd=place,
            # Kernels may add in another order with another number of threads.
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProofError(
            f"{source.name} gave no outputs within {TIMEOUT_SECONDS} seconds"
        ) from None
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise ProofError(f"{source.name} does not run in a fresh Python: {reason[-1].strip()}")
    found: dict[str, str | float] = json.loads(result.stdout.splitlines()[-1])
    return found
