"""Crops, flips and normalising, for whole batches on the device they lie on.

Drawing is apart from doing: what is random is drawn on the host, for many images at once, and is
therefore the same on every device; what is done to a batch takes it as tensors. So a CUDA graph
can capture it: no value comes back to the host and shapes depend on shapes only. Call once
before capturing, so that the statistics are on the device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import pad

from nas.datasets.split import Statistics


def crop_margin(height: int, width: int) -> int:
    """Pixels of black added on each side before cropping: an eighth, so 4 at 32x32 (ResNet, 4.2).

    He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2.
    """
    return max(1, round(min(height, width) / 8))


def draw_crops(count: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Where ``count`` windows lie in their padded images: top and left, int64 (count, 2)."""
    return torch.randint(0, 2 * crop_margin(height, width) + 1, (count, 2), generator=generator)


def augment(
    images: torch.Tensor,
    flips: torch.Tensor | None = None,
    crops: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mirror the images left to right where ``flips`` (bool, N) says so, and cut ``crops`` out.

    ``images``: uint8 (N, C, H, W), left alone; ``crops``: int64 (N, 2) of :func:`draw_crops`,
    windows of the images' size in the images padded with black. None leaves that out.
    """
    if crops is not None:
        return _crop(images, crops, flips)
    if flips is None:
        return images
    return torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)


def _crop(images: torch.Tensor, crops: torch.Tensor, flips: torch.Tensor | None) -> torch.Tensor:
    count, channels, height, width = images.shape
    margin = crop_margin(height, width)
    rows = crops[:, :1] + torch.arange(height, device=images.device)
    columns = crops[:, 1:] + torch.arange(width, device=images.device)
    if flips is not None:
        columns = torch.where(flips.unsqueeze(1), columns.flip(1), columns)
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

    ``images``: uint8, or float32 from 0 to 255, (N, C, H, W), left alone; ``channels_last`` is
    the memory format of the result.
    """
    scale, shift = scale_and_shift(statistics, images.device)
    result = images.to(torch.float32, copy=True).mul_(scale).add_(shift).to(dtype)
    # Last, because scaling by channel is several times slower in this format on a CPU.
    return result.contiguous(memory_format=torch.channels_last) if channels_last else result


@lru_cache(maxsize=64)
def scale_and_shift(
    statistics: Statistics, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """What :func:`normalise` multiplies a channel by and then adds, float32 (1, C, 1, 1) each."""
    # Kept, because copying them for each batch would stall the device and break graph capture.
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
        for values in (statistics.mean, statistics.std)
    )
    scale = 1 / (255 * std)
    shift = -mean / std
    return scale.to(device, torch.float32), shift.to(device, torch.float32)
