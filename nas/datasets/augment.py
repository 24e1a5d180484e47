"""Random crops and flips and normalising, for whole batches on the device they lie on.

Written so that a CUDA graph can capture it: no value comes back to the host, shapes depend on
shapes only, and all randomness comes from the generator that is passed in (register it with the
graph: ``graph.register_generator_state(generator)``). Call once before capturing, so that the
statistics are on the device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import pad

from nas.datasets.split import Statistics
from nas.quantities import unknown_name

POLICIES = ("none", "flip", "crop", "crop-flip")


def check_policy(policy: str) -> None:
    """Refuse a policy that is not one of :data:`POLICIES`.

    Raises:
        ValueError: the policy is unknown; the message has the nearest.
    """
    if policy not in POLICIES:
        raise ValueError(unknown_name("augmentation", policy, POLICIES))


def crop_margin(height: int, width: int) -> int:
    """Pixels of black added on each side before cropping: an eighth, so 4 at 32x32 (ResNet, 4.2).

    He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2.
    """
    return max(1, round(min(height, width) / 8))


def augment(images: torch.Tensor, generator: torch.Generator, policy: str) -> torch.Tensor:
    """A random version of each image; ``images`` is left alone.

    ``images``: uint8 (N, C, H, W); ``generator`` lies on their device. ``crop`` pads with black
    and cuts the image's size out anywhere; ``flip`` mirrors left and right half of the time;
    ``none`` returns the images themselves and draws nothing.

    Raises:
        ValueError: the policy is unknown.
    """
    check_policy(policy)
    if policy == "none":
        return images
    flips = _random_flips(images, generator) if "flip" in policy else None
    if "crop" in policy:
        return _crop(images, generator, flips)
    assert flips is not None
    count = len(images)
    both = torch.cat((images, images.flip(3)))
    return both.index_select(0, flips * count + torch.arange(count, device=images.device))


def _random_flips(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """0 or 1 for each image, int64 (N,)."""
    return torch.randint(0, 2, (len(images),), generator=generator, device=images.device)


def _crop(
    images: torch.Tensor, generator: torch.Generator, flips: torch.Tensor | None
) -> torch.Tensor:
    count, channels, height, width = images.shape
    margin = crop_margin(height, width)
    device = images.device
    top, left = (
        torch.randint(0, 2 * margin + 1, (count, 1), generator=generator, device=device)
        for _ in range(2)
    )
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if flips is not None:
        columns = torch.where(flips.bool().unsqueeze(1), columns.flip(1), columns)
    padded = pad(images, (margin, margin, margin, margin))
    # One gather does the crop and the flip of all images; all channels share an index.
    index = rows.unsqueeze(2) * (width + 2 * margin) + columns.unsqueeze(1)
    index = index.view(count, 1, height * width).expand(count, channels, height * width)
    return padded.view(count, channels, -1).gather(2, index).view(images.shape)


def normalise(
    images: torch.Tensor,
    statistics: Statistics,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> torch.Tensor:
    """``(images / 255 - mean) / std`` for each channel, computed in float32, given as ``dtype``.

    ``images``: uint8 (N, C, H, W); ``channels_last`` is the memory format of the result.
    """
    scale, shift = _scale_and_shift(statistics, images.device)
    result = images.to(torch.float32).mul_(scale).add_(shift).to(dtype)
    # Last, because scaling by channel is several times slower in this format on a CPU.
    return result.contiguous(memory_format=torch.channels_last) if channels_last else result


@lru_cache(maxsize=64)
def _scale_and_shift(
    statistics: Statistics, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    # Kept, because copying them for each batch would stall the device and break graph capture.
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
        for values in (statistics.mean, statistics.std)
    )
    scale = 1 / (255 * std)
    shift = -mean / std
    return scale.to(device, torch.float32), shift.to(device, torch.float32)
