"""Chosen networks as files that stand alone, each with the proof that it does the same.

:func:`export_architecture` writes a directory: description (JSON), source (Python, torch only;
plain and fused), weights (safetensors), ONNX (float and 8 bits), torch.export and AOTInductor.
Importing this package imports no torch.
"""

from nas.export.bundle import FORMATS, Export, Step, export_architecture
from nas.export.fused_source import write_fused_source
from nas.export.proof import Proof, ProofError
from nas.export.source import Preprocessing, Provenance, write_source
from nas.export.timing import Latencies, Latency
from nas.export.torchvision_weights import plain_names, torchvision_names

__all__ = [
    "FORMATS",
    "Export",
    "Latencies",
    "Latency",
    "Preprocessing",
    "Proof",
    "ProofError",
    "Provenance",
    "Step",
    "export_architecture",
    "plain_names",
    "torchvision_names",
    "write_fused_source",
    "write_source",
]
