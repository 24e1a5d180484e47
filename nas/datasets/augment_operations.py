"""Random operations on whole batches, after RandAugment, and cut-out; on the images' device.

As in :mod:`nas.datasets.augment`, drawing is apart from doing: what is random is drawn on the
host and is the same on every device; what is done takes it as tensors, and its shapes depend on
shapes only, so that a CUDA graph can capture it.

Unlike RandAugment (arXiv:1909.13719), an image's operations are distinct, their strengths are
uniform up to the magnitude (as in TrivialAugment, arXiv:2103.10158), and they are done in one
fixed order, so that a whole batch takes each once: an image that did not draw an operation passes
it with the strength that changes nothing. Equalising is left out: it needs a histogram an image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

OPERATIONS = (
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterise",
    "solarise",
    "stretch",
    "rotate",
    "shear-x",
    "shear-y",
    "shift-x",
    "shift-y",
)
"""In the order in which they are done; the last five are one resampling."""

_COLOUR = OPERATIONS.index("rotate")

# At magnitude 1. RandAugment's ranges (its table 6 is AutoAugment's, arXiv:1805.09501, table 6):
# 0.9 around 1, 8 to 4 bits, 30 degrees, shears of 0.3, shifts of 10 of CIFAR's 32 pixels.
_ENHANCEMENT = 0.9
_BITS_LOST = 4.0
_DEGREES = 30.0
_SHEAR = 0.3
_SHIFT = 10 / 32


def draw_operations(
    count: int, number: int, magnitude: float, generator: torch.Generator
) -> Tensor:
    """How strong each operation is on each of ``count`` images: float32 (count, 12).

    ``number`` distinct operations an image have a strength from -``magnitude`` to ``magnitude``,
    all others 0, which changes nothing. Where only one direction makes sense (bits, thresholds)
    the sign is not looked at.
    """
    places = torch.rand(count, len(OPERATIONS), generator=generator).argsort(1)[:, :number]
    strengths = (torch.rand(count, number, generator=generator) * 2 - 1) * magnitude
    return torch.zeros(count, len(OPERATIONS)).scatter_(1, places, strengths)


def recolour(images: Tensor, strengths: Tensor) -> Tensor:
    """Change brightness to stretch by ``strengths`` (N, 12) of :func:`draw_operations`.

    ``images``: uint8 (N, C, H, W), left alone; the result is float32 from 0 to 255, not rounded.
    """
    given = images.to(torch.float32)
    x = given / 255
    brightness, contrast, saturation, sharpness, bits, threshold, stretch = (
        strengths[:, index].view(-1, 1, 1, 1) for index in range(_COLOUR)
    )
    x = _enhanced(x, torch.zeros_like(x[:, :1]), brightness)
    x = _enhanced(x, _grey(x).mean((2, 3), keepdim=True), contrast)
    x = _enhanced(x, _grey(x), saturation)
    x = _enhanced(x, _smooth(x), sharpness)
    x = _posterised(x, bits.abs())
    x = torch.where(x >= 1 - threshold.abs(), torch.where(threshold == 0, x, 1 - x), x)
    x = _stretched(x, stretch.abs())
    # Exactly the image where no operation on colours was drawn.
    is_drawn = (strengths[:, :_COLOUR] != 0).any(1).view(-1, 1, 1, 1)
    return torch.where(is_drawn, x * 255, given)


def move(images: Tensor, strengths: Tensor) -> Tensor:
    """Rotate, shear and shift by ``strengths`` (N, 12), about the middle, bilinearly.

    ``images``: float (N, C, H, W). What comes from outside is 0: the mean where they are
    normalised.
    """
    count, _, height, width = images.shape
    angle, shear_x, shear_y, shift_x, shift_y = (
        strengths[:, _COLOUR + index] for index in range(5)
    )
    angle = angle * math.radians(_DEGREES)
    cosine, sine = angle.cos(), angle.sin()
    # grid_sample's coordinates go from -1 to 1 along each side: a turn in pixels needs the ratio.
    ratio = height / width
    rotation = torch.stack([cosine, -sine * ratio, sine / ratio, cosine], 1).view(count, 2, 2)
    ones = torch.ones_like(angle)
    shears = torch.stack([ones, shear_x * _SHEAR, shear_y * _SHEAR, ones], 1).view(count, 2, 2)
    shifts = torch.stack([shift_x, shift_y], 1).view(count, 2, 1) * 2 * _SHIFT
    places = torch.cat([rotation @ shears, shifts], 2).to(images.dtype)
    grid = functional.affine_grid(places, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    is_drawn = (strengths[:, _COLOUR:] != 0).any(1).view(-1, 1, 1, 1)
    return torch.where(is_drawn, moved, images)


def draw_blanks(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Where ``count`` blanks have their middles: row and column, int64 (count, 2)."""
    rows = torch.randint(0, height, (count,), generator=generator)
    columns = torch.randint(0, width, (count,), generator=generator)
    return torch.stack([rows, columns], 1)


def blank_side(cutout: float, height: int, width: int) -> int:
    """Pixels a side of the blank that a recipe's ``cutout`` means, at least 1."""
    return max(1, round(cutout * min(height, width)))


def blank(images: Tensor, middles: Tensor, side: int) -> Tensor:
    """Set a square to 0 about each of ``middles`` (N, 2); what lies outside the image is lost.

    Cut-out (arXiv:1708.04552, section 3.2). ``images``: float (N, C, H, W), normalised, so that 0
    is the mean; left alone.
    """
    height, width = images.shape[2:]
    rows = _within(height, middles[:, 0], side, images.device)
    columns = _within(width, middles[:, 1], side, images.device)
    hidden = rows.unsqueeze(2) & columns.unsqueeze(1)
    return images.masked_fill(hidden.unsqueeze(1), 0.0)


def _within(length: int, middles: Tensor, side: int, device: torch.device) -> Tensor:
    distance = torch.arange(length, device=device) - (middles.unsqueeze(1) - side // 2)
    return (distance >= 0) & (distance < side)


def _enhanced(x: Tensor, degenerate: Tensor, strength: Tensor) -> Tensor:
    """Away from ``degenerate`` or towards it: PIL's ImageEnhance, by 1 + 0.9 x strength."""
    return (x + _ENHANCEMENT * strength * (x - degenerate)).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    """Luma of three channels (ITU-R 601-2, as PIL converts to L); else the mean: (N, 1, H, W)."""
    if x.shape[1] == 3:
        return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    return x.mean(1, keepdim=True)


def _smooth(x: Tensor) -> Tensor:
    """PIL's SMOOTH filter: the 3x3 mean with the middle counted five times, edges repeated."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return (functional.avg_pool2d(padded, 3, stride=1) * 9 + 4 * x) / 13


def _posterised(x: Tensor, strength: Tensor) -> Tensor:
    """With 8 bits at strength 0 down to 4 at 1, rounded to whole bits."""
    levels = torch.exp2(8 - torch.round(_BITS_LOST * strength))
    # A little more, because a whole number of grey levels may be a rounding below it.
    kept = torch.floor(x * 255 * levels / 256 + 1e-3) * (256 / levels) / 255
    return torch.where(levels == 256, x, kept)


def _stretched(x: Tensor, strength: Tensor) -> Tensor:
    """Each channel to the whole range (PIL's autocontrast), as far as the strength goes."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    span = high - low
    whole = (x - low) / torch.where(span == 0, torch.ones_like(span), span)
    return torch.where(span == 0, x, x + strength * (whole - x))
