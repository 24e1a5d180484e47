"""The export itself: a directory that appears complete and proven, or not at all.

``architecture.json`` describes the network, ``network.py`` is it, ``weights.safetensors`` holds
its weights, and ``export.json`` says what these are, what they cost, and what the proof found.
Everything is written into a directory beside the target and moved there at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, Shape, check
from nas.cost import count_cost
from nas.export.material import trained_as
from nas.export.proof import Proof, initial_weights, prove_source
from nas.export.source import Preprocessing, Provenance, write_source
from nas.export.weights import check_weights, read_weights, save_weights, without_auxiliary
from nas.quantities import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("json", "source", "weights")
FILES = {"json": "architecture.json", "source": "network.py", "weights": "weights.safetensors"}
SUMMARY = "export.json"


@dataclass(frozen=True)
class Export:
    """What was written: files by format, and what the proof found (None without a source)."""

    directory: Path
    files: dict[str, Path]
    proof: Proof | None

    @property
    def largest_difference(self) -> float | None:
        """Of any logit, between the network and the artefact in a fresh process."""
        return None if self.proof is None else self.proof.largest_difference


@dataclass(frozen=True)
class _Job:
    """Everything an export needs, checked."""

    architecture: Architecture
    image: Shape
    classes: int
    name: str
    formats: tuple[str, ...]
    weights: Mapping[str, Tensor] | None
    preprocessing: Preprocessing
    auxiliary: bool
    is_proxy: bool
    details: Mapping[str, Any] = field(default_factory=dict)


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
    auxiliary: bool = False,
    is_proxy: bool = False,
    overwrite: bool = False,
    details: Mapping[str, Any] | None = None,
) -> Export:
    """Write a network's description, source and weights to the directory ``out``, with proof.

    Args:
        architecture: what to export.
        image: the images' shape (C, H, W).
        classes: the width of the last layer.
        out: a directory that does not exist, is empty, or (``overwrite``) holds an export.
        formats: some of ``json``, ``source``, ``weights``; None takes all that can be written.
        weights: a directory of `nas train`, a safetensors file, or a state dict with plain names;
            None for none.
        name: what the network is called in the files.
        preprocessing: class names and normalisation, where known; a directory of `nas train`
            has its own.
        auxiliary: keep the auxiliary heads (they serve training only).
        is_proxy: the weights and the architecture are a search's narrowed network.
        overwrite: replace an earlier export.
        details: more for export.json, such as where the weights come from.

    Raises:
        ValueError: something does not fit, before anything is written; the message says what.
        OSError: the target cannot be written; nothing is left there.
        ProofError: the artefact does not do what the network does; nothing is left.
    """
    if isinstance(weights, str | Path) and Path(weights).is_dir():
        trained = trained_as(architecture, Path(weights))
        weights, preprocessing = trained.weights, preprocessing or trained.preprocessing
        details = {**trained.details, **(details or {})}
    target = Path(out)
    chosen = _check_formats(formats, has_weights=weights is not None)
    check(architecture, image)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes must be an integer from 1, not {classes!r}")
    described = preprocessing or Preprocessing()
    _check_preprocessing(described, image, classes)
    check_target(target, overwrite)
    job = _Job(
        architecture=architecture,
        image=image,
        classes=classes,
        name=name,
        formats=chosen,
        weights=None if weights is None else _take_weights(weights, auxiliary),
        preprocessing=described,
        auxiliary=bool(auxiliary and architecture.auxiliary),
        is_proxy=is_proxy,
        details=details or {},
    )
    with _appearing(target) as staging:
        proof = _write(job, staging)
    return Export(target, {chosen: target / FILES[chosen] for chosen in job.formats}, proof)


def _check_formats(formats: Sequence[str] | None, *, has_weights: bool) -> tuple[str, ...]:
    if formats is None:
        return FORMATS if has_weights else ("json", "source")
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


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that holds anything but, with ``overwrite``, an earlier export.

    Raises:
        ValueError: it does; the message names it.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"{target}: is a file; an export needs a directory")
    present = {item.name for item in target.iterdir()}
    if not present:
        return
    strange = sorted(present - {*FILES.values(), SUMMARY, "__pycache__"})
    if SUMMARY not in present or strange:
        what = f" ({strange[0]})" if strange else ""
        raise ValueError(f"{target}: holds other files{what}; choose a directory of its own")
    if not overwrite:
        raise ValueError(f"{target}: already holds an export; --overwrite replaces it")


def _take_weights(weights: str | Path | Mapping[str, Tensor], auxiliary: bool) -> dict[str, Tensor]:
    tensors = dict(weights) if isinstance(weights, Mapping) else read_weights(Path(weights))
    tensors = {key: value.detach().cpu().clone() for key, value in tensors.items()}
    return tensors if auxiliary else without_auxiliary(tensors)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory beside the target that becomes it, unless an error leaves nothing at all."""
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    staging = target.parent / f".{target.name}.{mark}.new"
    try:
        staging.mkdir()
        yield staging
        _replace(target, staging, target.parent / f".{target.name}.{mark}.old")
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in missing:
            parent.rmdir()
        raise


def _replace(target: Path, staging: Path, aside: Path) -> None:
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(staging, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write(job: _Job, staging: Path) -> Proof | None:
    paths = {chosen: staging / FILES[chosen] for chosen in job.formats}
    if "json" in paths:
        _write_description(job.architecture, paths["json"])
    if job.weights is not None:
        _check_against_network(job)
    if "weights" in paths and job.weights is not None:
        save_weights(
            job.weights,
            paths["weights"],
            architecture=job.architecture,
            image=job.image,
            classes=job.classes,
            name=job.name,
            preprocessing=job.preprocessing,
            is_proxy=job.is_proxy,
        )
    proof = _write_proven_source(job, paths["source"]) if "source" in paths else None
    summary = _summary(job, paths, proof)
    (staging / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return proof


def _write_description(architecture: Architecture, path: Path) -> None:
    path.write_text(architecture.to_json(indent=2) + "\n", encoding="utf-8")
    assert Architecture.from_json(path.read_bytes()) == architecture


def _check_against_network(job: _Job) -> None:
    import torch

    from nas.model import build

    assert job.weights is not None
    with torch.device("meta"):
        network = build(job.architecture, job.image, job.classes, auxiliary=job.auxiliary)
    check_weights(job.weights, network.state_dict(), job.name)


def _write_proven_source(job: _Job, path: Path) -> Proof:
    from nas.model import build

    provenance = Provenance(job.name, _about_weights(job), job.preprocessing)
    text = write_source(
        job.architecture, job.image, job.classes, provenance, auxiliary=job.auxiliary
    )
    path.write_text(text, encoding="utf-8")
    weights = job.weights
    if weights is None:
        weights = initial_weights(job.architecture, job.image, job.classes, auxiliary=job.auxiliary)
    return prove_source(
        path,
        weights,
        build(job.architecture, job.image, job.classes, auxiliary=job.auxiliary),
        job.image,
        auxiliary=job.auxiliary,
        about="exported" if job.weights is not None else "random",
    )


def _about_weights(job: _Job) -> str:
    if job.is_proxy:
        return (
            "This is the PROXY of a search: the narrowed network that ranked the architecture,\n"
            "trained briefly. Train the whole architecture for the accuracy it is capable of."
        )
    return "" if job.weights is not None else "Exported without weights: train it first."


def _summary(job: _Job, paths: Mapping[str, Path], proof: Proof | None) -> dict[str, Any]:
    from nas import __version__

    cost = count_cost(job.architecture, job.image, job.classes)
    return {
        "format": 1,
        "name": job.name,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "fingerprint": job.architecture.fingerprint,
        "is_proxy": job.is_proxy,
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
        "files": {
            path.name: {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in paths.values()
        },
        "proof": None if proof is None else asdict(proof),
        **job.details,
    }
