"""The fused form of an architecture as a Python file: for inference, faster, still readable.

Norms are folded into the convolutions before them, and the 1x1 convolutions that read a cell's
input are computed as one. Maps are ``channels_last``, which is most of what the form gains on a
processor (results/export_latency). Its weights are its own: :mod:`nas.export.folding` makes them
from the plain ones. Left out: auxiliary heads, dropout and all else that serves training.
"""

from __future__ import annotations

from dataclasses import replace

from nas.architecture import (
    Architecture,
    Branch,
    Cell,
    Norm,
    Shape,
    branch_channels,
    merged_branches,
    op_shape,
)
from nas.export import blocks
from nas.export.folding import all_cells
from nas.export.layout import Group, Node, call, flat, lines
from nas.export.source import (
    NetworkWriter,
    Provenance,
    about_network,
    constants,
    docstring,
    join_parts,
)


def write_fused_source(
    architecture: Architecture, image: Shape, classes: int, provenance: Provenance
) -> str:
    """The text of the Python file.

    Raises:
        ValueError: the architecture does not fit the image.
    """
    # A folded norm is a convolution's bias, which the network without norms has.
    folded = replace(architecture, norm=Norm("none"))
    writer = _FusedWriter(folded, image, classes, auxiliary=False)
    parts = [
        docstring(_about(architecture, image, classes, provenance)),
        "import torch\nfrom torch import Tensor, nn",
        constants(image, provenance.preprocessing),
        *writer.classes_used(),
        writer.network(),
    ]
    return join_parts(parts, provenance.preprocessing)


def _about(
    architecture: Architecture, image: Shape, classes: int, provenance: Provenance
) -> list[str]:
    words = about_network(architecture, image, classes, provenance)
    if provenance.about_weights:
        words += ["", provenance.about_weights]
    return [
        *words,
        "",
        "The form for inference: norms are folded into the convolutions, the 1x1 convolutions",
        "of a cell's input are one, and weights are in a file of their own. To train further,",
        "take the plain form.",
        "",
        "    from safetensors.torch import load_file",
        "",
        "    network = Network()",
        '    network.load_state_dict(load_file("weights_fused.safetensors"))',
        "    network.eval()",
        "    with torch.inference_mode():",
        "        logits = network(images)",
    ]


class _FusedWriter(NetworkWriter):
    """Writes the fused classes and network; its architecture has no norm."""

    def classes_used(self) -> list[str]:
        cells = list(all_cells(self.architecture))
        texts = [blocks.FUSED_CONV]
        if any(merged_branches(cell) for cell in cells):
            texts.append(blocks.MERGED_CELL)
        if not all(merged_branches(cell) for cell in cells):
            texts.append(blocks.FUSED_CELL)
        if any(cell.residual for cell in cells):
            texts.append(blocks.FUSED_RESIDUAL)
        averages = self.architecture.head.pool == "average"
        texts.append(blocks.FUSED_HEAD if averages else blocks.FUSED_FLATTEN_HEAD)
        return self.filled(texts)

    def network(self) -> str:
        words = [
            "class Network(nn.Module):",
            '    """The whole network, for inference."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
        ]
        for node in self._parts():
            words += lines(node, 8)
        words += ["        self.to(memory_format=torch.channels_last)", "", *self._forward()]
        return "\n".join(words)

    def _cell(self, cell: Cell, shape: Shape, out: Shape) -> Node:
        merged = merged_branches(cell)
        branches = [
            self._branch(branch, shape, index in merged)
            for index, branch in enumerate(cell.branches)
        ]
        name, items = ("MergedCell", [str(shape.channels)]) if merged else ("InceptionCell", [])
        comment = f"{shape} to {out}"
        if not cell.residual:
            return call(name, *items, *branches, comment=comment)
        width = sum(branch_channels(branch, shape.channels) for branch in cell.branches)
        inner = call(name, *items, *branches)
        return call("Residual", str(shape.channels), str(width), inner, comment=comment)

    def _branch(self, branch: Branch, shape: Shape, is_merged: bool) -> Node:
        if not is_merged:
            return call("nn.Sequential", *self._ops(branch, shape))
        first, *rest = branch
        width = op_shape(first, shape)
        return call("Reduced", str(width.channels), *self._ops(rest, width))

    def _head(self, shape: Shape) -> Node:
        head = self.architecture.head
        features = shape.channels if head.pool == "average" else shape.size
        hidden = flat(Group("[", [str(width) for width in head.hidden], "]"))
        return call("self.head = Head", str(features), hidden, str(self.num_classes))

    def _forward(self) -> list[str]:
        return [
            "    def forward(self, images: Tensor) -> Tensor:",
            f'        """{self.answers}"""',
            "        x = self.stem(images.contiguous(memory_format=torch.channels_last))",
            *self._stages(),
            "        return self.head(x)",
        ]
