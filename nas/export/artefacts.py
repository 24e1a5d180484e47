"""One export at work: each format written from what the formats before it have made.

A :class:`Bench` knows the network, its weights and its images; it writes a format's files and
says what the proof has to load. Formats that hold weights get random ones where there are none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nas.architecture import Architecture, Shape
from nas.export.folding import fold_norms, fuse_weights
from nas.export.fused_source import write_fused_source
from nas.export.graphs import exported_program, write_aot, write_onnx, write_pt2
from nas.export.images import (
    MOST_IMAGES,
    NUM_IMAGES,
    Images,
    load_test_images,
    load_training_images,
    random_images,
)
from nas.export.proof import Artefact, Proof, Reference, initial_weights, normalised, prove
from nas.export.quantize import NUM_CALIBRATION, write_int8
from nas.export.source import Preprocessing, Provenance, write_source
from nas.export.weights import make_metadata, save_weights

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from nas.model import Network


@dataclass(frozen=True)
class Job:
    """Everything that an export needs, checked.

    ``data`` was asked for, and must be readable; ``own_data`` is what the weights were trained
    on, and is used where it can be read.
    """

    architecture: Architecture
    image: Shape
    classes: int
    name: str
    weights: Mapping[str, Tensor] | None
    preprocessing: Preprocessing
    auxiliary: bool
    is_proxy: bool
    data: str | None = None
    own_data: str | None = None

    @property
    def has_weights(self) -> str:
        """ "exported" where the export has weights, or else "random"."""
        return "random" if self.weights is None else "exported"

    def about_weights(self) -> str:
        """What a reader must know of the weights, in lines for a docstring; often nothing."""
        if self.is_proxy:
            return (
                "This is the PROXY of a search: the narrowed network that ranked the\n"
                "architecture, trained briefly. Train the whole architecture for the accuracy\n"
                "it is capable of."
            )
        return "Exported without weights: train it first." if self.weights is None else ""


class Bench:
    """Writes the formats of one job and proves them; ``place`` is a scratch directory."""

    def __init__(self, job: Job, place: Path) -> None:
        self.job, self.place = job, place.resolve()

    # ------------------------------------------------------------------- what formats are made of

    @cached_property
    def weights(self) -> Mapping[str, Tensor]:
        """The plain weights, with those of auxiliary heads where they are exported."""
        job = self.job
        if job.weights is not None:
            return job.weights
        return initial_weights(job.architecture, job.image, job.classes, auxiliary=job.auxiliary)

    @cached_property
    def network(self) -> Network:
        """The network as it was trained: what all is compared with."""
        from nas.model import build

        job = self.job
        network = build(job.architecture, job.image, job.classes, auxiliary=job.auxiliary)
        network.load_state_dict(dict(self.weights))
        return network.eval()

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What travels inside every file."""
        job = self.job
        return make_metadata(
            job.architecture,
            job.image,
            job.classes,
            name=job.name,
            preprocessing=job.preprocessing,
            auxiliary=job.auxiliary,
            is_proxy=job.is_proxy,
            weights=job.has_weights,
        )

    @cached_property
    def eager(self) -> Artefact:
        """The plain source and its weights in the scratch directory."""
        path, weights = self.place / "network.py", self.place / "weights.safetensors"
        self._write_text(self._plain_source(), path)
        save_weights(self.weights, weights, self.metadata)
        return Artefact("source", path, weights, self.job.auxiliary)

    @cached_property
    def _program(self) -> ExportedProgram:
        path = self.place / "fused.py"
        self._write_text(self._fused_source(), path)
        network = network_of(path)
        network.load_state_dict(fuse_weights(self.job.architecture, self.weights))
        return exported_program(network.eval(), self.job.image)

    @cached_property
    def _float_onnx(self) -> Path:
        """An ONNX file without auxiliary heads."""
        network = network_of(self.eager.path)
        network.load_state_dict(dict(self.weights))
        fold_norms(network.eval())
        path = self.place / "float.onnx"
        write_onnx(network, self.job.image, path, self.metadata)
        return path

    # --------------------------------------------------------------------------- the formats' files

    def write(self, chosen: str, path: Path, fused_weights: Path) -> Artefact:
        """Write a format that computes."""
        if chosen == "source":
            self._write_text(self._plain_source(), path)
            return Artefact("source", path, self.eager.weights, self.job.auxiliary)
        if chosen == "fused":
            self._write_text(self._fused_source(), path)
            fused = fuse_weights(self.job.architecture, self.weights)
            save_weights(fused, fused_weights, {**self.metadata, "auxiliary": "false"})
            return Artefact("fused", path, fused_weights)
        if chosen == "onnx":
            path.write_bytes(self._float_onnx.read_bytes())
        elif chosen == "int8":
            write_int8(self._float_onnx, self._calibration(), path, self.metadata)
        elif chosen == "pt2":
            write_pt2(self._program, path, self.metadata)
        else:
            assert chosen == "aot", chosen
            write_aot(self._program, path, self.metadata)
        return Artefact(chosen, path)

    def prove(self, artefact: Artefact) -> Proof:
        """The proof of a format; 8-bit numbers of trained weights answer the whole test split."""
        is_measured = artefact.format == "int8" and self.job.weights is not None
        return prove(artefact, self._whole if is_measured else self._some, self.place)

    def _plain_source(self) -> str:
        job = self.job
        provenance = Provenance(job.name, job.about_weights(), job.preprocessing)
        return write_source(
            job.architecture, job.image, job.classes, provenance, auxiliary=job.auxiliary
        )

    def _fused_source(self) -> str:
        job = self.job
        provenance = Provenance(job.name, job.about_weights(), job.preprocessing)
        return write_fused_source(job.architecture, job.image, job.classes, provenance)

    @staticmethod
    def _write_text(text: str, path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    # --------------------------------------------------------------------------------- the images

    @cached_property
    def images(self) -> Images:
        """What artefacts are compared on: a data set's test images, else random numbers."""
        job = self.job
        if job.data is not None:
            return load_test_images(job.data, job.image)
        if job.own_data is None:
            return random_images(job.image)
        try:
            return load_test_images(job.own_data, job.image)
        except (OSError, ValueError) as error:
            # Said in the proof: an export must not depend on a disk that has gone.
            return random_images(job.image, f"{job.own_data} cannot be read: {error}")

    @cached_property
    def _fallback(self) -> Preprocessing | None:
        """A normalisation for images of a network that was never trained on any: their own."""
        from nas.datasets import Split, measure_statistics

        if self.job.preprocessing.mean or self.images.labels is None:
            return None
        found = measure_statistics(Split(self.images.pixels, self.images.labels, ()))
        return Preprocessing((), tuple(found.mean), tuple(found.std))

    @cached_property
    def _some(self) -> Reference:
        return self._reference(self.images.spaced(NUM_IMAGES))

    @cached_property
    def _whole(self) -> Reference:
        return self._reference(self.images.spaced(MOST_IMAGES))

    def _reference(self, images: Images) -> Reference:
        return Reference(
            self.network,
            images,
            self.job.preprocessing,
            about=self.job.has_weights,
            fallback=self._fallback,
        )

    def _calibration(self) -> Tensor:
        """Normalised images for the ranges of 8-bit maps."""
        job = self.job
        name = job.data or job.own_data
        if name is None or (self.images.labels is None and job.weights is None):
            return random_images(job.image).pixels
        try:
            found = load_training_images(name, job.image).spaced(NUM_CALIBRATION)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"int8 needs training images, and {name} cannot be read: {error}"
            ) from error
        known = job.preprocessing if job.preprocessing.mean else self._fallback
        return normalised(found.pixels, known)


def network_of(path: Path) -> nn.Module:
    """The class ``Network`` of an exported source, made."""
    spec = importlib.util.spec_from_file_location("exported_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.Network()
    return network
