"""The proof of an artefact: its own runtime, in a bare Python, computes the same outputs.

The reference is the network as :mod:`nas.model` trains and judges it, 1x1 convolutions merged;
the other side is the artefact in a fresh process without this package
(:mod:`nas.export.fresh_process`). Both compute on the CPU. The artefact must also say what it was
exported with: image, class names and normalisation.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.architecture import Architecture, Shape
from nas.export import fresh_process
from nas.export.images import Images
from nas.export.source import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from nas.model import Network

LIMIT = 1e-5
"""The largest difference of a logit that passes; for logits over 10 a millionth of the largest."""

FOLDED_LIMIT = 1e-4
"""The same for what computes folded norms, and so rounds in another order; likewise 1e-5."""

NOISE_LIMIT = 0.5
"""The most that 8-bit numbers may add: the differences' root mean square over the standard
deviation of the logits. Half of it would drown much of what the network has to say."""

LOST_LIMIT = 0.03
"""The most accuracy (a fraction of the images) that 8-bit numbers may cost a trained network."""

TIMEOUT_SECONDS, IMAGE_SECONDS = 600, 1.0
"""How long a runtime may take to start, and beyond that for each image: a large test split on a
slow core must not be taken for a runtime that hangs."""


class ProofError(RuntimeError):
    """An artefact does not do what the network does; it must not be left behind."""


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy of the network and of an artefact on the same labelled images."""

    network: float
    artefact: float
    lost: float
    num_images: int


@dataclass(frozen=True)
class Proof:
    """What the comparison found: differences and outputs are logits, without unit.

    ``output_spread`` is by how much the outputs differ between images: a comparison of constants
    would prove nothing. ``noise`` is the differences' root mean square over the standard deviation
    of all logits. ``limit`` bounds the largest difference, or, for int8, the noise; ``accuracy``
    is int8's, where weights are trained and images have labels.
    """

    largest_difference: float
    limit: float
    largest_output: float
    output_spread: float
    noise: float
    top1_agreement: float
    num_images: int
    images: str
    weights: str
    versions: dict[str, str]
    accuracy: Accuracy | None = None


class Artefact(NamedTuple):
    """A file to prove; ``weights`` are those of a source, ``auxiliary`` that it has such heads."""

    format: str
    path: Path
    weights: Path | None = None
    auxiliary: bool = False

    def as_job(self) -> dict[str, Any]:
        """How the fresh process is told."""
        weights = None if self.weights is None else str(self.weights.resolve())
        path = str(self.path.resolve())
        return {**self._asdict(), "path": path, "weights": weights}


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


class Reference:
    """The network's own answers to some images, which artefacts are held against.

    ``about`` says of the weights "exported" or "random". Without a known normalisation, pixels
    are normalised with ``fallback`` (what the training images measure) and given as numbers.
    """

    def __init__(
        self,
        network: Network,
        images: Images,
        preprocessing: Preprocessing,
        *,
        about: str,
        fallback: Preprocessing | None = None,
    ) -> None:
        self.images, self.about, self.preprocessing = images, about, preprocessing
        self.image = network.image
        known = preprocessing if preprocessing.mean else fallback
        self.outputs = _answers(network, images.pixels, known)
        self.case = images.pixels
        if images.labels is not None and not preprocessing.mean:
            self.case = normalised(images.pixels, known)

    def expected(self, auxiliary: bool) -> list[np.ndarray]:
        """The outputs of the main head, and with ``auxiliary`` of the others."""
        return self.outputs if auxiliary else self.outputs[:1]


def _answers(
    network: Network, images: Tensor, preprocessing: Preprocessing | None
) -> list[np.ndarray]:
    import torch

    network.eval()
    parts = []
    with torch.inference_mode():
        for batch in torch.split(images, fresh_process.BATCH):
            logits = network.forward_with_auxiliary(normalised(batch, preprocessing))
            parts.append((logits.main, *logits.auxiliary))
    return [torch.cat(outputs).numpy() for outputs in zip(*parts, strict=True)]


def normalised(images: Tensor, preprocessing: Preprocessing | None) -> Tensor:
    """Images as the network reads them: pixels normalised, numbers as they are."""
    import torch

    from nas.datasets import Statistics, normalise

    if images.dtype == torch.float32:
        return images
    assert preprocessing is not None
    return normalise(images, Statistics(preprocessing.mean, preprocessing.std))


def prove(artefact: Artefact, reference: Reference, place: Path) -> Proof:
    """Compare an artefact with the network; ``place`` is a directory for what is between them.

    Raises:
        ProofError: it does not load, does not say what it was exported with, or its outputs
            differ by more than its format may.
        OSError: ``place`` cannot be written.
    """
    import numpy as np

    case, outputs = place / "case.npy", place / "outputs.npz"
    np.save(case, reference.case.numpy())
    job = {"mode": "run", "case": str(case), "outputs": str(outputs)}
    timeout = TIMEOUT_SECONDS + IMAGE_SECONDS * len(reference.images)
    found = run_fresh([artefact], job, place, timeout=timeout)
    name = artefact.path.name
    _check_description(name, found["described"], reference)
    with np.load(outputs) as answers:
        given = [answers[str(number)] for number in range(len(answers.files))]
    expected = reference.expected(artefact.auxiliary)
    if [value.shape for value in given] != [value.shape for value in expected]:
        raise ProofError(f"{name} gives outputs of other shapes than the network")
    if artefact.format == "int8":
        return _judge_int8(name, given[0], reference, found["versions"])
    return _judge(artefact, given, reference, found["versions"])


def _judge(
    artefact: Artefact, given: list[np.ndarray], reference: Reference, versions: dict[str, str]
) -> Proof:
    proof = _compared(given, reference.expected(artefact.auxiliary), reference, versions)
    is_plain = artefact.format == "source"
    limit = max(LIMIT, 1e-6 * proof.largest_output) if is_plain else _folded_limit(proof)
    # Written so that a NaN fails.
    if not proof.largest_difference <= limit:
        raise ProofError(
            f"{artefact.path.name} computes other outputs than the network: the largest "
            f"difference is {proof.largest_difference:.3g}, over the limit of {limit:.3g}"
        )
    return replace(proof, limit=limit)


def _folded_limit(proof: Proof) -> float:
    return max(FOLDED_LIMIT, 1e-5 * proof.largest_output)


def _judge_int8(
    name: str, given: np.ndarray, reference: Reference, versions: dict[str, str]
) -> Proof:
    proof = _compared([given], reference.expected(False), reference, versions)
    if not proof.noise <= NOISE_LIMIT:
        raise ProofError(
            f"{name}: 8-bit numbers do not fit this network: they add {proof.noise:.2f} of the "
            f"logits' standard deviation, over the limit of {NOISE_LIMIT}"
        )
    accuracy = None
    if reference.images.labels is not None and reference.about == "exported":
        accuracy = _accuracy(given, reference)
        if not accuracy.lost <= LOST_LIMIT:
            raise ProofError(
                f"{name}: 8-bit numbers cost {100 * accuracy.lost:.2f} points of the accuracy "
                f"{100 * accuracy.network:.2f} % ({accuracy.num_images:,} images of "
                f"{reference.images.about}), over the limit of {100 * LOST_LIMIT:g}"
            )
    return replace(proof, limit=NOISE_LIMIT, accuracy=accuracy)


def _compared(
    given: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    reference: Reference,
    versions: dict[str, str],
) -> Proof:
    differences = [
        abs(ours.astype("float64") - theirs) for ours, theirs in zip(given, expected, strict=True)
    ]
    main, answers = expected[0], given[0]
    deviation = float(main.astype("float64").std())
    root_mean_square = float((differences[0] ** 2).mean() ** 0.5)
    return Proof(
        largest_difference=max(float(difference.max()) for difference in differences),
        limit=0.0,
        largest_output=max(float(abs(value).max()) for value in expected),
        output_spread=float((main.max(axis=0) - main.min(axis=0)).max()),
        noise=root_mean_square / deviation if deviation > 0 else root_mean_square,
        top1_agreement=float((main.argmax(1) == answers.argmax(1)).mean()),
        num_images=len(main),
        images=reference.images.about,
        weights=reference.about,
        versions=versions,
    )


def _accuracy(given: np.ndarray, reference: Reference) -> Accuracy:
    assert reference.images.labels is not None
    labels = reference.images.labels.numpy()
    network = float((reference.outputs[0].argmax(1) == labels).mean())
    artefact = float((given.argmax(1) == labels).mean())
    return Accuracy(network, artefact, network - artefact, len(labels))


def _check_description(name: str, described: Mapping[str, Any], reference: Reference) -> None:
    """What travels inside the artefact must be what was exported."""
    preprocessing = reference.preprocessing
    expected = {
        "image": list(reference.image),
        "class_names": list(preprocessing.class_names),
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
    for field, value in expected.items():
        if described[field] != value:
            found, wanted = (shorten(repr(each), 200) for each in (described[field], value))
            raise ProofError(f"{name} says {field} {found}, not {wanted}")


def run_fresh(
    artefacts: Sequence[Artefact],
    job: Mapping[str, Any],
    place: Path,
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Run the other side, isolated from the environment and from this directory.

    Raises:
        ProofError: it fails, or takes longer than ``timeout`` seconds.
        OSError: ``place`` cannot be written.
    """
    import torch

    names = ", ".join(artefact.path.name for artefact in artefacts)
    threads = torch.get_num_threads()
    content = {
        **job,
        "artefacts": [artefact.as_job() for artefact in artefacts],
        "threads": threads,
        "paths": _runtime_paths(),
    }
    path = place / "job.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    program = str(Path(fresh_process.__file__).resolve())
    try:
        result = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", program, str(path)],
            cwd=place,
            # Kernels may add in another order with another number of threads.
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProofError(f"{names} gave no outputs within {timeout:.0f} seconds") from None
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        full = re.match(r"OSError: \[Errno (\d+)\]|OSError: (\d+) requested", reason[-1])
        if full is not None:
            # A disk, not the artefact: numpy tells of one that is full by the bytes it wrote.
            number = int(full[1] or errno.ENOSPC)
            raise OSError(number, os.strerror(number), str(place.parent.parent))
        raise ProofError(f"{names} does not run in a fresh Python: {reason[-1].strip()}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def _runtime_paths() -> list[str]:
    """Where the runtimes lie, for a bare Python that does not look there."""
    found = []
    for name in ("torch", "safetensors", "numpy", "onnxruntime"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(str(Path(spec.origin).parents[1]))
    return list(dict.fromkeys(found))
