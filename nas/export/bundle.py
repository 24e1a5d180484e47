"""The export itself: a directory that appears complete and proven, or not at all.

``architecture.json`` describes the network, ``network.py`` is it, ``weights.safetensors`` holds
its weights; other formats compute it faster or elsewhere. ``export.json`` says what these are,
what they cost, what the proofs found and how fast they are, and ``MODEL_CARD.md`` says it to
people. Everything is written into a directory beside the target and moved there at the end.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, Shape, check
from nas.cost import count_cost
from nas.export.artefacts import Bench, Job
from nas.export.card import CARD, write_card
from nas.export.graphs import OPSET, check_tools
from nas.export.images import check_data
from nas.export.material import trained_as
from nas.export.proof import Artefact, Proof
from nas.export.source import Preprocessing
from nas.export.staging import SUMMARY, appearing
from nas.export.staging import check_target as check_directory
from nas.export.timing import SECONDS, Latencies, measure_latency
from nas.export.torchvision_weights import is_torchvision, plain_names
from nas.export.weights import check_weights, read_weights, save_weights, without_auxiliary
from nas.quantities import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

FILES = {
    "json": "architecture.json",
    "source": "network.py",
    "weights": "weights.safetensors",
    "fused": "network_fused.py",
    "onnx": "network.onnx",
    "pt2": "network.pt2",
    "aot": "network_aot.pt2",
    "int8": "network_int8.onnx",
}
FUSED_WEIGHTS = "weights_fused.safetensors"
FORMATS = tuple(FILES)
USUAL = ("json", "source", "weights")
"""What is written when nothing is asked for, as far as there are weights."""

RUNNING = ("source", "fused", "onnx", "pt2", "aot", "int8")
"""Formats that compute: each has a proof and a latency."""

_KNOWN = frozenset({*FILES.values(), FUSED_WEIGHTS, CARD})


@dataclass(frozen=True)
class Export:
    """What was written: files by format, and what the proofs found, by format too."""

    directory: Path
    files: dict[str, Path]
    proofs: dict[str, Proof]
    latencies: Latencies | None = None

    @property
    def largest_difference(self) -> float | None:
        """Of any logit, between the network and its plain source in a fresh process."""
        proof = self.proofs.get("source")
        return None if proof is None else proof.largest_difference


@dataclass(frozen=True)
class Step:
    """What an export is doing: the step's number from 1, how many there are, and in words."""

    number: int
    steps: int
    words: str


def export_architecture(  # noqa: PLR0913 - keywords, each with its meaning
    architecture: Architecture,
    image: Shape,
    classes: int,
    *,
    out: str | Path,
    formats: Sequence[str] | None = None,
    weights: str | Path | Mapping[str, Tensor] | None = None,
    name: str = "network",
    preprocessing: Preprocessing | None = None,
    data: str | None = None,
    auxiliary: bool = False,
    is_proxy: bool = False,
    latency_seconds: float = SECONDS,
    overwrite: bool = False,
    details: Mapping[str, Any] | None = None,
    training_card: str | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Export:
    """Write a network's description, source, weights and more to the directory ``out``, proven.

    Args:
        architecture: what to export.
        image: the images' shape (C, H, W).
        classes: the width of the last layer.
        out: a directory that does not exist, is empty, or (``overwrite``) holds an export.
        formats: some of ``json``, ``source``, ``weights``, ``fused``, ``onnx``, ``pt2``, ``aot``,
            ``int8``; None takes the first three, as far as there are weights.
        weights: a directory of `nas train`, a safetensors file, or a state dict with plain names
            or torchvision's; None for none. Formats that hold weights then hold random ones, and
            say so.
        name: what the network is called in the files.
        preprocessing: class names and normalisation, where known; a directory of `nas train`
            has its own.
        data: the data set whose images the artefacts are compared on, and int8 is calibrated on;
            None takes that of the directory's training, or else random numbers.
        auxiliary: keep the auxiliary heads (they serve training only).
        is_proxy: the weights and the architecture are a search's narrowed network.
        latency_seconds: how long to time the artefacts beside the eager module, for each batch
            size; 0 for not at all. Where only the source runs, nothing is timed.
        overwrite: replace an earlier export.
        details: more for export.json, such as where the weights come from.
        training_card: the text of a training's MODEL_CARD.md, which the export's begins with.
        on_step: called as each step begins.

    Raises:
        ValueError: something does not fit, before anything is written; the message says what.
        OSError: the target cannot be written; nothing is left there.
        ProofError: an artefact does not do what the network does; nothing is left.
    """
    if isinstance(weights, str | Path) and Path(weights).is_dir():
        trained = trained_as(architecture, Path(weights))
        weights, preprocessing = trained.weights, preprocessing or trained.preprocessing
        details = {**trained.details, **(details or {})}
        training_card = training_card or trained.card
    target = Path(out)
    chosen = check_formats(formats, has_weights=weights is not None)
    check(architecture, image)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes must be an integer from 1, not {classes!r}")
    described = preprocessing or Preprocessing()
    _check_preprocessing(described, image, classes)
    if data is not None:
        check_data(data, image, classes, described.class_names)
    own_data = _own_data(details or {})
    _check_tools(chosen, architecture, image, classes)
    if "int8" in chosen and weights is not None and not (data or own_data):
        raise ValueError("int8 needs training images to find its ranges: name a data set (--data)")
    check_target(target, overwrite)
    job = Job(
        architecture=architecture,
        image=image,
        classes=classes,
        name=name,
        weights=None if weights is None else _take_weights(weights, auxiliary),
        preprocessing=described,
        auxiliary=bool(auxiliary and architecture.auxiliary),
        is_proxy=is_proxy,
        data=data,
        own_data=own_data,
    )
    if job.weights is not None:
        _check_against_network(job)
    with appearing(target) as staging, _scratch(staging) as place:
        work = _Work(job, chosen, staging, Bench(job, place), on_step, seconds=latency_seconds)
        return work.run(target, details or {}, training_card)


def check_formats(formats: Sequence[str] | None, *, has_weights: bool) -> tuple[str, ...]:
    """The formats in their order; None stands for the usual ones.

    Raises:
        ValueError: one is unknown, or needs weights; the message has the nearest.
    """
    if formats is None:
        return USUAL if has_weights else ("json", "source")
    for wanted in formats:
        if wanted not in FORMATS:
            raise ValueError(unknown_name("format", wanted, FORMATS))
    if not formats:
        raise ValueError(f"formats must hold at least one of {', '.join(FORMATS)}")
    if "weights" in formats and not has_weights:
        raise ValueError(
            "the format weights needs weights: those of `nas train`, or a proxy's with --proxy"
        )
    return tuple(known for known in FORMATS if known in formats)


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that holds anything but, with ``overwrite``, an earlier export.

    Raises:
        ValueError: it does; the message names it.
    """
    check_directory(target, overwrite, _KNOWN)


def _check_tools(
    chosen: Sequence[str], architecture: Architecture, image: Shape, classes: int
) -> None:
    params = count_cost(architecture, image, classes).params
    for wanted in chosen:
        check_tools(wanted, params)


def _own_data(details: Mapping[str, Any]) -> str | None:
    """The data set of the training, the proxy or the run that the details tell of."""
    for source in ("training", "proxy", "run"):
        found = details.get(source)
        if isinstance(found, Mapping) and found.get("data"):
            return str(found["data"])
    return None


def _check_preprocessing(preprocessing: Preprocessing, image: Shape, classes: int) -> None:
    if preprocessing.class_names and len(preprocessing.class_names) != classes:
        raise ValueError(
            f"class_names must be as many as the {classes} classes, "
            f"not {len(preprocessing.class_names)}"
        )
    for field_name in ("mean", "std"):
        values = getattr(preprocessing, field_name)
        if values and len(values) != image.channels:
            raise ValueError(
                f"{field_name} must hold one number for each of the {image.channels} channels, "
                f"not {len(values)}"
            )


def _take_weights(weights: str | Path | Mapping[str, Tensor], auxiliary: bool) -> dict[str, Tensor]:
    tensors = dict(weights) if isinstance(weights, Mapping) else read_weights(Path(weights))
    tensors = plain_names(tensors) if is_torchvision(tensors) else tensors
    tensors = {key: value.detach().cpu().clone() for key, value in tensors.items()}
    return tensors if auxiliary else without_auxiliary(tensors)


def _check_against_network(job: Job) -> None:
    import torch

    from nas.model import build

    assert job.weights is not None
    with torch.device("meta"):
        network = build(job.architecture, job.image, job.classes, auxiliary=job.auxiliary)
    check_weights(job.weights, network.state_dict(), job.name)


@contextmanager
def _scratch(staging: Path) -> Iterator[Path]:
    """A directory on the target's disk, which needs that room anyway; gone at the end."""
    place = staging / ".work"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


class _Work:
    """Writes, proves and times the formats of one job in its staging directory."""

    def __init__(
        self,
        job: Job,
        chosen: tuple[str, ...],
        staging: Path,
        bench: Bench,
        on_step: Callable[[Step], None] | None,
        *,
        seconds: float,
    ) -> None:
        self.job, self.chosen, self.staging, self.bench = job, chosen, staging, bench
        self.on_step = on_step
        self.seconds = seconds
        self.is_timed = seconds > 0 and any(wanted in chosen for wanted in RUNNING[1:])
        self.steps = len(chosen) + self.is_timed
        self.number = 0

    def run(self, target: Path, details: Mapping[str, Any], training_card: str | None) -> Export:
        """Do it all; what it gives names the files as they will be in ``target``."""
        artefacts, proofs = [], {}
        for wanted in self.chosen:
            self._tell(f"{wanted}: {FILES[wanted]}")
            artefact = self._write(wanted)
            if artefact is not None:
                proofs[wanted] = self.bench.prove(artefact)
                artefacts.append(artefact)
        latencies = None
        if self.is_timed:
            self._tell("latency, all formats in turns")
            others = [artefact for artefact in artefacts if artefact.format != "source"]
            latencies = measure_latency(
                self.bench.eager, others, self.bench.place, seconds=self.seconds
            )
        self._summarise(proofs, latencies, details, training_card)
        files = {wanted: target / FILES[wanted] for wanted in self.chosen}
        return Export(target, files, proofs, latencies)

    def _tell(self, words: str) -> None:
        self.number += 1
        if self.on_step is not None:
            self.on_step(Step(self.number, self.steps, words))

    def _write(self, wanted: str) -> Artefact | None:
        path = self.staging / FILES[wanted]
        if wanted == "json":
            _write_description(self.job.architecture, path)
        elif wanted == "weights":
            save_weights(self.bench.weights, path, self.bench.metadata)
        else:
            return self.bench.write(wanted, path, self.staging / FUSED_WEIGHTS)
        return None

    def _summarise(
        self,
        proofs: Mapping[str, Proof],
        latencies: Latencies | None,
        details: Mapping[str, Any],
        training_card: str | None,
    ) -> None:
        facts = _facts(self.job)
        names = {wanted: FILES[wanted] for wanted in self.chosen}
        card = write_card(self.job, facts, names, proofs, latencies, training_card)
        (self.staging / CARD).write_text(card, encoding="utf-8")
        summary = {
            **facts,
            "files": _digests(self.staging),
            "opset": OPSET if {"onnx", "int8"} & set(self.chosen) else None,
            "proofs": {wanted: asdict(proof) for wanted, proof in proofs.items()},
            "latency": None if latencies is None else asdict(latencies),
            **details,
        }
        text = json.dumps(summary, indent=2) + "\n"
        (self.staging / SUMMARY).write_text(text, encoding="utf-8")


def _write_description(architecture: Architecture, path: Path) -> None:
    path.write_text(architecture.to_json(indent=2) + "\n", encoding="utf-8")
    assert Architecture.from_json(path.read_bytes()) == architecture


def _digests(staging: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file, by its name."""
    return {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(staging.iterdir())
        if path.is_file()
    }


def _facts(job: Job) -> dict[str, Any]:
    from nas import __version__

    cost = count_cost(job.architecture, job.image, job.classes)
    return {
        "format": 2,
        "name": job.name,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "fingerprint": job.architecture.fingerprint,
        "is_proxy": job.is_proxy,
        "weights": job.has_weights,
        "image": list(job.image),
        "classes": job.classes,
        "class_names": list(job.preprocessing.class_names),
        "mean": list(job.preprocessing.mean),
        "std": list(job.preprocessing.std),
        "auxiliary": job.auxiliary,
        "params": cost.params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
        "peak_activation_bytes": cost.peak_activation_bytes,
    }
