"""Chosen networks as files that stand alone, each with the proof that it does the same.

:func:`export_architecture` writes a directory: description (JSON), source (Python, torch only),
weights (safetensors). Importing this package imports no torch.
"""

from nas.export.bundle import FORMATS, Export, export_architecture
from nas.export.proof import Proof, ProofError
from nas.export.source import Preprocessing, Provenance, write_source

__all__ = [
    "FORMATS",
    "Export",
    "Preprocessing",
    "Proof",
    "ProofError",
    "Provenance",
    "export_architecture",
    "write_source",
]
