"""A network as a graph that runs without Python classes: ONNX, torch.export, AOTInductor.

Each takes any number of images at once, and carries strings of metadata. ONNX is written from
the network with folded norms and separate 1x1 convolutions, which ONNX Runtime computes at least
as fast as merged ones (results/export_latency); the others from the fused source. Graphs hold no
traces of where they were made. Left out: GPUs; AOTInductor compiles for this machine's processor.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Shape
from nas.export.fresh_process import METADATA
from nas.export.proof import ProofError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

OPSET = 18
"""Of the ONNX files: what torch's exporter writes without converting."""

INPUT, OUTPUT = "images", "logits"

LARGEST_ONNX_BYTES = 2**31 - 2**20
"""A protobuf file ends at 2 GiB; a mebibyte is left for the graph."""

PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "int8": ("onnx", "onnxscript", "onnxruntime"),
}
"""What each format needs beside torch."""


def check_tools(chosen: str, params: int) -> None:
    """Refuse a format whose packages or compiler are missing, or whose file would be too large.

    Raises:
        ValueError: something is missing; the message says how to get it.
    """
    missing = [name for name in PACKAGES.get(chosen, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"the format {chosen} needs {', '.join(missing)}: pip install 'inception-nas[export]'"
        )
    if chosen in PACKAGES and 4 * params > LARGEST_ONNX_BYTES:
        raise ValueError(
            f"the format {chosen} holds at most 2 GiB, and the weights have "
            f"{4 * params / 2**30:.1f}: take pt2"
        )
    if chosen == "aot" and compiler() is None:
        raise ValueError(
            "the format aot needs a C++ compiler: install g++, or name one in the environment "
            "variable CXX"
        )


def compiler() -> str | None:
    """The C++ compiler that AOTInductor will use, or None."""
    wanted = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return shutil.which(wanted)


def write_onnx(network: nn.Module, image: Shape, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file from a network with folded norms, in evaluation mode.

    Raises:
        OSError: the file cannot be written.
    """
    import torch

    with quiet():
        program = torch.onnx.export(
            network,
            (_example(image),),
            dynamo=True,
            dynamic_shapes=_any_batch(),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origins(model)
    add_metadata(model, metadata)
    path.write_bytes(model.SerializeToString())


def add_metadata(model: Any, metadata: Mapping[str, str]) -> None:
    """Set the metadata of an ONNX model, in place."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def _forget_origins(model: Any) -> None:
    """Drop the exporter's notes, which name files of this machine, from an ONNX model."""
    graph = model.graph
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
    del graph.metadata_props[:]


def exported_program(network: nn.Module, image: Shape) -> ExportedProgram:
    """The graph of a network in evaluation mode, for any number of images."""
    import torch

    with quiet():
        program = torch.export.export(network, (_example(image),), dynamic_shapes=_any_batch())
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def write_pt2(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Write what ``torch.export.load`` reads; the metadata is an extra file of JSON.

    Raises:
        OSError: the file cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={METADATA: json.dumps(dict(metadata))})
    # Written here, not by torch: a full disk is then an OSError with its own words.
    path.write_bytes(buffer.getvalue())


def write_aot(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Compile for this machine's processor, and write what ``aoti_load_package`` reads.

    Raises:
        ProofError: it does not compile.
        OSError: the file cannot be written.
    """
    import torch

    settings = {
        "aot_inductor.metadata": dict(metadata),
        "cpp.dynamic_threads": True,  # as many as where it runs, not as where it was compiled
    }
    try:
        with quiet():
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs=settings
            )
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ProofError(f"{path.name} does not compile: {reason}") from error


def _example(image: Shape) -> Any:
    import torch

    # One image would be taken for a constant.
    return torch.zeros((2, *image))


def _any_batch() -> dict[str, dict[int, Any]]:
    import torch

    return {INPUT: {0: torch.export.Dim("batch", min=1)}}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of torch's exporters about their own code and missing packages."""
    # ONNX Runtime's quantization speaks through the root logger.
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
