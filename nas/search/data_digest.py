"""What tells one set of training data from another: sizes and a checksum, in some milliseconds.

It guards a resume against data that has changed, not against anyone. Left out: loading
(:mod:`nas.search.workers`).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from nas.datasets import TrainValidation

MOST_BYTES = 256 * 2**20
"""Of more than so many bytes of images only every n-th image is read."""


def digest_data(data: TrainValidation) -> dict[str, int]:
    """Images, classes and a checksum of images and labels, at the resolution that is trained on."""
    checksum = 0
    for split in (data.train, data.validation):
        step = 1 + split.images.nbytes // MOST_BYTES
        for tensor in (split.images[::step], split.labels):
            checksum = zlib.crc32(_bytes(tensor), checksum)
    return {
        "images": len(data.train) + len(data.validation),
        "classes": data.train.num_classes,
        "checksum": checksum,
    }


def _bytes(tensor: torch.Tensor) -> memoryview:
    array: Any = tensor.cpu().contiguous().numpy()
    return memoryview(array).cast("B")
