"""8-bit integers for a network's ONNX file: ONNX Runtime's static quantization.

Weights are int8 with a scale a channel, and use 7 of the 8 bits; maps are uint8 with one scale
each, whose range is the least and largest value that training images give. The file has the
standard's quantize and dequantize nodes (QDQ), so that other runtimes read it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.export.graphs import INPUT, add_metadata, quiet

if TYPE_CHECKING:
    import numpy as np

NUM_CALIBRATION = 256
"""Training images whose maps give the ranges, evenly spaced in the split."""

_BATCH = 16


class _Reader:
    """Gives images (N, C, H, W), normalised float32, to ONNX Runtime batch by batch."""

    def __init__(self, images: np.ndarray) -> None:
        self._batches = self._split(images)

    @staticmethod
    def _split(images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, len(images), _BATCH):
            yield {INPUT: images[first : first + _BATCH]}

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None at the end."""
        return next(self._batches, None)


def write_int8(onnx_path: Path, images: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Quantize an ONNX file.

    Args:
        onnx_path: a float file of :func:`nas.export.graphs.write_onnx`.
        images: normalised training images, a float32 tensor (N, C, H, W).
        path: what to write.
        metadata: what travels with it.

    Raises:
        OSError: the file cannot be written.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    with quiet():
        quantize_static(
            str(onnx_path),
            str(path),
            _Reader(images.numpy()),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Processors without VNNI add products of 8-bit numbers in 16 bits, and overflow.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
    model = onnx.load(path)
    add_metadata(model, metadata)
    path.write_bytes(model.SerializeToString())
