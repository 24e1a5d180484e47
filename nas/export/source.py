"""An architecture as a Python file that imports only torch: readable, no interpreter over data.

The file has small classes, and a ``Network`` with its widths spelt out. Its parameters have the
names of :mod:`nas.model`'s plain state dict. Writing it needs no torch. This is the form to read
and to train further; merged 1x1 convolutions and folded norms are :mod:`nas.export.fused_source`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Branch,
    Cell,
    Conv,
    Op,
    Pool,
    Shape,
    branch_channels,
    branch_stride,
    cell_shapes,
    op_shape,
)
from nas.cost import count_cost
from nas.export import blocks
from nas.export.layout import Group, Node, call, flat, lines

MAX_CLASS_NAMES = 100
"""More names than this stand at the end of the file."""


@dataclass(frozen=True)
class Preprocessing:
    """What the network expects of an image: classes' names, and mean and standard deviation.

    ``mean`` and ``std`` hold one number a channel, of pixel values divided by 255; empty where
    they are not known.
    """

    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What a reader should know of the weights: a sentence for the docstring, empty for none."""

    name: str
    about_weights: str = ""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def write_source(
    architecture: Architecture,
    image: Shape,
    classes: int,
    provenance: Provenance,
    *,
    auxiliary: bool = False,
) -> str:
    """The text of the Python file; ``auxiliary`` writes the auxiliary heads too.

    Raises:
        ValueError: the architecture does not fit the image.
    """
    writer = NetworkWriter(architecture, image, classes, bool(auxiliary and architecture.auxiliary))
    parts = [
        _docstring(architecture, image, classes, provenance, writer.auxiliary),
        _imports(writer.auxiliary),
        constants(image, provenance.preprocessing),
        *writer.classes_used(),
        writer.network(),
    ]
    return join_parts(parts, provenance.preprocessing)


def join_parts(parts: Sequence[str], preprocessing: Preprocessing) -> str:
    """The file: docstring, imports, constants, classes, and at the end the preprocessing."""
    ending = [blocks.PREPROCESS.rstrip()] if preprocessing.mean else []
    if len(preprocessing.class_names) > MAX_CLASS_NAMES:
        ending.append("\n".join(class_names(preprocessing)))
    head, *rest = [part for part in parts if part]
    return f"{head}\n\n" + "\n\n\n".join([*_join_top(rest), *ending]) + "\n"


def _join_top(parts: list[str]) -> list[str]:
    """Imports and constants stand one line apart, classes two."""
    top = [part for part in parts if not part.startswith(("class ", "def "))]
    return ["\n\n".join(top), *(part for part in parts if part not in top)]


# ---------------------------------------------------------------------------------- what it says


def _docstring(
    architecture: Architecture,
    image: Shape,
    classes: int,
    provenance: Provenance,
    auxiliary: bool,
) -> str:
    words = about_network(architecture, image, classes, provenance)
    words += ["", *_loading_lines(architecture, provenance, auxiliary)]
    return docstring(words)


def docstring(words: Sequence[str]) -> str:
    """The lines as a module's docstring."""
    return '"""' + "\n".join(words).replace('"""', "'''").replace("\\", "/") + '\n"""'


def about_network(
    architecture: Architecture, image: Shape, classes: int, provenance: Provenance
) -> list[str]:
    """What every exported source says first: name, cost, and what goes in and out."""
    cost = count_cost(architecture, image, classes)
    return [
        f"{provenance.name}: an Inception network for {image} images and {classes:,} classes.",
        "",
        "Exported by inception-nas; this file needs nothing but torch.",
        "",
        f"Architecture  {architecture.fingerprint}",
        f"Parameters    {cost.params:,}",
        f"MACs          {cost.macs:,} an image (multiply-adds, without auxiliary heads)",
        f"Activations   {cost.peak_activation_bytes:,} bytes at the peak (float32, one image)",
        "",
        *_input_lines(image, provenance.preprocessing),
    ]


def _input_lines(image: Shape, preprocessing: Preprocessing) -> list[str]:
    shape = f"N, {image.channels}, {image.height}, {image.width}"
    if preprocessing.mean:
        return [
            f"Input: images ({shape}) as `preprocess` gives them: pixels / 255, then",
            "minus MEAN and divided by STD of their channel. Output: logits (N, classes).",
        ]
    return [f"Input: images ({shape}), normalised as in training. Output: logits."]


def _loading_lines(
    architecture: Architecture, provenance: Provenance, auxiliary: bool
) -> list[str]:
    words = []
    if provenance.about_weights:
        words += [provenance.about_weights, ""]
    words += [
        "    from safetensors.torch import load_file",
        "",
        "    network = Network()",
        '    network.load_state_dict(load_file("weights.safetensors"))',
        "    network.eval()",
    ]
    if architecture.auxiliary and not auxiliary:
        words += [
            "",
            "The auxiliary heads, for training only, are left out. From a checkpoint that has them",
            'drop the entries whose names start with "auxiliary." before loading.',
        ]
    return words


def _imports(auxiliary: bool) -> str:
    text = "import torch\nfrom torch import Tensor, nn"
    return f"from typing import NamedTuple\n\n{text}" if auxiliary else text


def constants(image: Shape, preprocessing: Preprocessing) -> str:
    """The image's shape and what is known of the preprocessing, as assignments."""
    words = [f"IMAGE = ({image.channels}, {image.height}, {image.width})"]
    if preprocessing.mean:
        words += _tuple("MEAN", [f"{value!r}" for value in preprocessing.mean])
        words += _tuple("STD", [f"{value!r}" for value in preprocessing.std])
    if 0 < len(preprocessing.class_names) <= MAX_CLASS_NAMES:
        words += class_names(preprocessing)
    return "\n".join(words)


def class_names(preprocessing: Preprocessing) -> list[str]:
    """The names of the classes, in the order of the logits, as lines of an assignment."""
    return _tuple("CLASS_NAMES", [_quoted(name) for name in preprocessing.class_names])


def _tuple(name: str, items: Sequence[str]) -> list[str]:
    if len(items) == 1:
        return [f"{name} = ({items[0]},)"]
    return lines(Group(f"{name} = (", items))


def _quoted(text: str) -> str:
    """A string literal in double quotes where that needs no escape, as formatters write it."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown


# ------------------------------------------------------------------------------- what it computes


def _all_ops(architecture: Architecture) -> list[Op]:
    cells = [cell for stage in architecture.stages for cell in stage]
    cells += [item for item in architecture.reductions if isinstance(item, Cell)]
    inside = [op for cell in cells for branch in cell.branches for op in branch]
    between = [item for item in architecture.reductions if not isinstance(item, Cell)]
    return [*architecture.stem, *inside, *between]


class NetworkWriter:
    """Writes the classes and the network of one architecture at one image."""

    def __init__(
        self, architecture: Architecture, image: Shape, classes: int, auxiliary: bool
    ) -> None:
        self.architecture, self.image, self.num_classes = architecture, image, classes
        self.auxiliary = auxiliary
        self.shapes = dict(cell_shapes(architecture, image))
        self.has_norm = architecture.norm.kind == "batch"
        self.conv_class = "ConvNormReLU" if self.has_norm else "ConvReLU"
        kernels = [op.kernel for op in _all_ops(architecture) if isinstance(op, Conv)]
        self.has_square_kernels = all(height == width for height, width in kernels)

    def classes_used(self) -> list[str]:
        """The text of the classes that the network needs, in an order that can be read."""
        architecture = self.architecture
        cells = [cell for stage in architecture.stages for cell in stage]
        strided = [item for item in architecture.reductions if isinstance(item, Cell)]
        texts = [blocks.CONV_NORM_RELU if self.has_norm else blocks.CONV_RELU]
        if not all(cell.residual for cell in cells) or strided:
            texts.append(blocks.INCEPTION_CELL)
        if any(cell.residual for cell in cells):
            texts.append(blocks.PROJECTION if self.has_norm else blocks.PLAIN_PROJECTION)
            texts.append(blocks.RESIDUAL_CELL)
        texts.append(blocks.HEAD if architecture.head.pool == "average" else blocks.FLATTEN_HEAD)
        if self.auxiliary:
            texts += [blocks.AUXILIARY_HEAD, blocks.LOGITS]
        return self.filled(texts)

    def filled(self, texts: Sequence[str]) -> list[str]:
        """The texts with their marks replaced."""
        square = self.has_square_kernels
        text_of = {
            "{eps}": repr(self.architecture.norm.eps),
            "{conv}": self.conv_class,
            "{one}": "1" if square else "(1, 1)",
            **(blocks.SQUARE_KERNELS if square else blocks.ANY_KERNELS),
        }
        for mark, value in text_of.items():
            texts = [text.replace(mark, value) for text in texts]
        return [text.rstrip() for text in texts]

    def network(self) -> str:
        """The text of the class ``Network``."""
        words = [
            "class Network(nn.Module):",
            '    """The whole network; `num_classes` sets the width of its last layer."""',
            "",
            f"    def __init__(self, num_classes: int = {self.num_classes}) -> None:",
            "        super().__init__()",
            "        self.num_classes = num_classes",
            f"        self.num_features = {self.shapes[list(self.shapes)[-1]].channels}",
            *self._feature_info(),
        ]
        for node in self._parts():
            words += lines(node, 8)
        words += ["", *self._forward(), "", self._features().rstrip()]
        if self.auxiliary:
            words += ["", *self._forward_with_auxiliary()]
        return "\n".join(words)

    def _parts(self) -> list[Node]:
        """The statements that make the modules, stages and reductions as they follow each other."""
        architecture = self.architecture
        parts: list[Node] = [
            Group("self.stem = nn.Sequential(", self._ops(architecture.stem, self.image)),
            "self.stages = nn.ModuleList()",
            "self.reductions = nn.ModuleList()",
        ]
        shape = self.shapes["stem"]
        for index, stage in enumerate(architecture.stages):
            cells: list[Node] = []
            for position, cell in enumerate(stage):
                out = self.shapes[f"stages.{index}.{position}"]
                cells.append(self._cell(cell, shape, out))
                shape = out
            parts.append(call("self.stages.append", call("nn.Sequential", *cells)))
            if index < len(architecture.reductions):
                out = self.shapes[f"reductions.{index}"]
                reduction = self._reduction(architecture.reductions[index], shape, out)
                parts.append(call("self.reductions.append", reduction))
                shape = out
        if self.auxiliary:
            heads = [self._auxiliary(head) for head in architecture.auxiliary]
            parts.append("self.auxiliary = nn.ModuleList()")
            parts += [call("self.auxiliary.append", head) for head in heads]
        return [*parts, self._head(shape)]

    def _reduction(self, reduction: Pool | Conv | Cell, shape: Shape, out: Shape) -> Node:
        if isinstance(reduction, Cell):
            return self._cell(reduction, shape, out)
        return self._op(reduction, shape)

    def _cell(self, cell: Cell, shape: Shape, out: Shape) -> Node:
        branches = [Group("[", self._ops(branch, shape), "]") for branch in cell.branches]
        comment = f"{shape} to {out}"
        if not cell.residual:
            return call("InceptionCell", *branches, comment=comment)
        width = sum(branch_channels(branch, shape.channels) for branch in cell.branches)
        items: list[Node] = [str(shape.channels), str(width), *branches]
        return call("ResidualInceptionCell", *items, comment=comment)

    def _ops(self, ops: Branch | Sequence[Op], shape: Shape) -> list[Node]:
        nodes: list[Node] = []
        for op in ops:
            nodes.append(self._op(op, shape))
            shape = op_shape(op, shape)
        return nodes

    def _op(self, op: Conv | Pool | AdaptivePool, shape: Shape) -> Node:
        if isinstance(op, AdaptivePool):
            return call("nn.AdaptiveAvgPool2d", str(op.side))
        stride = [f"stride={op.stride}"] if op.stride > 1 else []
        if isinstance(op, Conv):
            height, width = op.kernel
            kernel = str(height) if self.has_square_kernels else f"({height}, {width})"
            return call(self.conv_class, str(shape.channels), str(op.channels), kernel, *stride)
        # torch's default stride of a pooling is its kernel, so the stride is always written.
        items = [str(op.kernel), f"stride={op.stride}"]
        items += [f"padding={op.padding}"] if op.padding else []
        items += ["ceil_mode=True"] if op.ceil else []
        if op.kind == "max":
            return call("nn.MaxPool2d", *items)
        return call("nn.AvgPool2d", *items, "count_include_pad=False")

    def _auxiliary(self, head: AuxiliaryHead) -> Node:
        shape = self.shapes[f"stages.{head.stage}.{head.cell}"]
        pooled = op_shape(head.pool, shape)
        return call(
            "AuxiliaryHead",
            self._op(head.pool, shape),
            f"in_channels={shape.channels}",
            f"channels={head.channels}",
            f"features={head.channels * pooled.height * pooled.width}",
            f"hidden={head.hidden}",
            f"dropout={head.dropout!r}",
            "num_classes=num_classes",
            comment=f"after stages.{head.stage}.{head.cell}; loss weight {head.weight:g}",
        )

    def _head(self, shape: Shape) -> Node:
        head = self.architecture.head
        features = shape.channels if head.pool == "average" else shape.size
        hidden = flat(Group("[", [str(width) for width in head.hidden], "]"))
        items = [str(features), hidden, repr(head.dropout), "num_classes"]
        return Group("self.head = Head(", items)

    def _forward(self) -> list[str]:
        return [
            "    def forward(self, images: Tensor) -> Tensor:",
            f'        """{self.answers}"""',
            "        return self.head(self.forward_features(images))",
            "",
            "    def forward_features(self, images: Tensor) -> Tensor:",
            '        """The last map, which the head reads."""',
            "        x = self.stem(images)",
            *self._stages(),
            "        return x",
        ]

    @property
    def answers(self) -> str:
        """What ``forward`` gives of what."""
        image = self.image
        shape = f"N, {image.channels}, {image.height}, {image.width}"
        return f"Logits (N, classes) of normalised images ({shape})."

    def _stages(self) -> list[str]:
        words = []
        for index in range(len(self.architecture.stages)):
            words.append(f"        x = self.stages[{index}](x)")
            if index < len(self.architecture.reductions):
                words.append(f"        x = self.reductions[{index}](x)")
        return words

    def _features(self) -> str:
        """The methods that timm's users know."""
        heads = "(self.head, *self.auxiliary)" if self.auxiliary else "(self.head,)"
        return blocks.FEATURES.replace("{heads}", heads)

    def _feature_info(self) -> list[str]:
        """Channels of each stage's map, and by what its sides are smaller than the image's."""
        items: list[Node] = []
        reduction = branch_stride(tuple(self.architecture.stem))
        for index, stage in enumerate(self.architecture.stages):
            if index > 0:
                reduction *= self.architecture.reductions[index - 1].stride
            channels = self.shapes[f"stages.{index}.{len(stage) - 1}"].channels
            pairs = [f'"num_chs": {channels}', f'"reduction": {reduction}']
            items.append(Group("{", [*pairs, f'"module": "stages.{index}"'], "}"))
        return lines(Group("self.feature_info = [", items, "]"), 8)

    def _forward_with_auxiliary(self) -> list[str]:
        words = [
            "    def forward_with_auxiliary(self, images: Tensor) -> Logits:",
            '        """Logits of the head and of each auxiliary head, for training."""',
            "        x = self.stem(images)",
            "        auxiliary = []",
        ]
        for index, stage in enumerate(self.architecture.stages):
            done = 0
            for number, head in enumerate(self.architecture.auxiliary):
                if head.stage == index:
                    words.append(f"        x = self.stages[{index}][{done}:{head.cell + 1}](x)")
                    words.append(f"        auxiliary.append(self.auxiliary[{number}](x))")
                    done = head.cell + 1
            if done == 0:
                words.append(f"        x = self.stages[{index}](x)")
            elif done < len(stage):
                words.append(f"        x = self.stages[{index}][{done}:](x)")
            if index < len(self.architecture.reductions):
                words.append(f"        x = self.reductions[{index}](x)")
        return [*words, "        return Logits(self.head(x), tuple(auxiliary))"]
