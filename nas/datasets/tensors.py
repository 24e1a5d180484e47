"""Your own tensors as a split: every rule checked, every message says what was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nas.datasets.split import Split

_CHANNELS = (1, 3)


def from_tensors(images: Any, labels: Any, class_names: Sequence[str] | None = None) -> Split:
    """A split of images and labels that are in memory already (tensors or NumPy arrays).

    ``images``: (N, C, H, W) or grey (N, H, W); uint8, or floating point from 0 to 1, which is
    multiplied by 255 and rounded. ``labels``: (N,) integers from 0. Without ``class_names`` the
    classes are "0", "1", ... up to the largest label.

    Raises:
        ValueError: images or labels are of another form.
    """
    pixels = _as_tensor("images", images)
    targets = _as_tensor("labels", labels)
    if pixels.dim() == 3:
        pixels = pixels.unsqueeze(1)
    _check_layout(pixels)
    names = _check_labels(targets, len(pixels), class_names)
    return Split(_as_uint8(pixels).contiguous(), targets.to(torch.int64).contiguous(), names)


def _as_tensor(name: str, value: Any) -> torch.Tensor:
    try:
        return torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a tensor or an array: {error}") from None


def _check_layout(images: torch.Tensor) -> None:
    shape = tuple(images.shape)
    if images.dim() != 4 or 0 in shape:
        raise ValueError(f"images must be N,C,H,W or N,H,W with none of them 0, not {shape}")
    if shape[3] in _CHANNELS and shape[1] not in _CHANNELS:
        raise ValueError(
            f"images of shape {shape} look like N,H,W,C: give images.permute(0, 3, 1, 2)"
        )


def _as_uint8(images: torch.Tensor) -> torch.Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(
            f"images must be uint8 or floating point from 0 to 1, not {_type_name(images)}: "
            "if they are 0 to 255, give images.to(torch.uint8)"
        )
    low, high = (float(value) for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise ValueError(
            f"floating point images must lie from 0 to 1, not from {low:.4g} to {high:.4g}: "
            "undo any normalising (it is done for every batch), or give uint8"
        )
    return (images * 255).round().to(torch.uint8)


def _check_labels(
    labels: torch.Tensor, num_images: int, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    if labels.dim() != 1 or len(labels) != num_images:
        raise ValueError(
            f"labels must be one integer for each of {num_images:,} images, "
            f"not of shape {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, not {_type_name(labels)}")
    low, high = (int(value) for value in labels.to(torch.int64).aminmax())
    names = tuple(str(i) for i in range(high + 1)) if class_names is None else tuple(class_names)
    if len(names) < 2:
        raise ValueError(f"there must be at least two classes, not {len(names)}")
    if low < 0 or high >= len(names):
        wrong = low if low < 0 else high
        raise ValueError(
            f"labels must be from 0 to {len(names) - 1} for {len(names)} classes; one is {wrong}"
        )
    return names


def _type_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
