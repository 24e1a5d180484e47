"""Weights as safetensors with what belongs to them: architecture, preprocessing, where from.

The entries have the names of the plain state dict. The metadata (strings, as the format asks)
also travel inside ONNX, ``.pt2`` and compiled files: ``architecture`` (JSON), ``fingerprint``,
``name``, ``image`` (CxHxW), ``classes``, ``class_names``, ``mean`` and ``std`` (JSON lists),
``auxiliary`` and ``proxy`` (true or false), ``weights`` (exported or random). Auxiliary heads are
for training only and left out unless asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, Shape
from nas.export.source import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

AUXILIARY_PREFIX = "auxiliary."


def without_auxiliary(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the network that answers, without those of its auxiliary heads."""
    return {name: value for name, value in weights.items() if not name.startswith(AUXILIARY_PREFIX)}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dict that `torch.save` wrote, on the CPU.

    Raises:
        ValueError: there is none, it is no such file, or cut short.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of weights")
    if path.suffix in (".pt", ".pth"):
        return _read_pickled(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: is no complete safetensors file: {error}") from None


def _read_pickled(path: Path) -> dict[str, Tensor]:
    """A state dict; pickles that hold more than tensors are refused, not run."""
    import pickle

    import torch

    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or ["empty"])[0]
        raise ValueError(f"{path}: is no state dict of tensors: {first}") from None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError(f"{path}: must be a state dict: names and tensors")
    return found


def check_weights(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str
) -> None:
    """Refuse weights of another network.

    Raises:
        ValueError: names or shapes differ; the message counts them and shows the first.
    """
    missing = sorted(expected.keys() - weights.keys())
    unknown = sorted(weights.keys() - expected.keys())
    shapes = [
        f"{name} is {_size(weights[name])}, not {_size(value)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if missing or unknown or shapes:
        details = [
            f"{len(found)} {what} ({found[0]})"
            for what, found in (
                ("missing", missing),
                ("unknown", unknown),
                ("of another shape", shapes),
            )
            if found
        ]
        raise ValueError(
            f"{where}: the weights are those of another architecture: {', '.join(details)} of "
            f"{len(expected)} tensors"
        )
    infinite = [name for name, value in weights.items() if not value.isfinite().all()]
    if infinite:
        raise ValueError(
            f"{where}: the weights must be finite; {len(infinite)} tensors are not, first "
            f"{infinite[0]}"
        )


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def make_metadata(
    architecture: Architecture,
    image: Shape,
    classes: int,
    *,
    name: str,
    preprocessing: Preprocessing,
    auxiliary: bool,
    is_proxy: bool,
    weights: str,
) -> dict[str, str]:
    """What travels inside every file; ``weights`` says "exported", or "random" for none."""
    return {
        "name": name,
        "architecture": architecture.to_json(),
        "fingerprint": architecture.fingerprint,
        "image": str(image),
        "classes": str(classes),
        "class_names": json.dumps(preprocessing.class_names),
        "mean": json.dumps(preprocessing.mean),
        "std": json.dumps(preprocessing.std),
        "auxiliary": json.dumps(auxiliary),
        "proxy": json.dumps(is_proxy),
        "weights": weights,
    }


def save_weights(weights: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights with their metadata.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {key: value.contiguous() for key, value in weights.items()}
    # Written here, not by safetensors: a full disk is then an OSError with its own words.
    path.write_bytes(save(tensors, {"format": "pt", **metadata}))
