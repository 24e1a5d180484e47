"""What a network is: immutable data, refused when wrong, equal when the networks are equal.

An :class:`Architecture` is a stem, stages of cells with a reduction between two stages,
auxiliary heads for training, and a head. It knows neither tensors nor images nor classes:
:mod:`nas.cost` counts it, :mod:`nas.model` builds it, :mod:`nas.space` varies it. What can be
wrong without knowing the image is refused at construction; :func:`check` refuses what does not
fit one.

Numbering starts at 0 everywhere, and a layer has one name in cost tables, parameter names and
state dicts: ``stem.I``, ``stages.S.C.branches.B.O``, ``stages.S.C.projection``,
``reductions.R`` (or ``reductions.R.branches.B.O``), ``auxiliary.K.*``, ``head.*``.

Left out: local response normalisation (it has no parameters and batch norm replaced it),
grouped and dilated convolutions, convolutions without "same" padding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

FORMAT = 1
"""The version that :meth:`Architecture.to_json` writes; a newer one is refused."""

MAX_CHANNELS = 65_536
MAX_CLASSES = 1_000_000
MAX_CELLS = 256
MAX_OPS = 64

_STRICT = ConfigDict(extra="forbid")


class Shape(NamedTuple):
    """A feature map or an image, without the batch: channels, height and width in pixels."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.channels * self.height * self.width


def _check_integer(owner: str, name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{owner}.{name} must be an integer from {low} to {high:,}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_fraction(owner: object, name: str) -> None:
    value = getattr(owner, name)
    if not _is_number(value) or not 0 <= value < 1:
        rule = "must be at least 0 and under 1"
        raise ValueError(f"{type(owner).__name__}.{name} {rule}, not {value!r}")
    _set_float(owner, name, value)


def _set_float(owner: object, name: str, value: float) -> None:
    """Make 0, 0.0 and -0.0 one value, so that equal networks have one JSON."""
    object.__setattr__(owner, name, float(value) + 0.0)


def _freeze(owner: object, name: str) -> None:
    object.__setattr__(owner, name, _tuple(f"{type(owner).__name__}.{name}", getattr(owner, name)))


def _tuple(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise ValueError(f"{name} must be a tuple or a list, not {value!r}")
    return tuple(value)


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ValueError(f"{name} must be {article} {kind.__name__}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with "same" padding, its norm, and a ReLU.

    ``kernel`` is (height, width), both odd; an ``n``-pixel side becomes ``ceil(n / stride)``.
    The convolution has a bias exactly where the architecture has no norm.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kernel: tuple[int, int]
    channels: int
    stride: int = 1
    op: Literal["conv"] = field(default="conv", repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.kernel, list):
            _freeze(self, "kernel")
        if not isinstance(self.kernel, tuple) or len(self.kernel) != 2:
            raise ValueError(f"Conv.kernel must be (height, width), not {self.kernel!r}")
        for side in self.kernel:
            _check_integer("Conv", "kernel", side, 1, 31)
            if side % 2 == 0:
                raise ValueError(f"Conv.kernel must be odd on both sides, not {self.kernel!r}")
        _check_integer("Conv", "channels", self.channels, 1, MAX_CHANNELS)
        _check_integer("Conv", "stride", self.stride, 1, 8)

    def __str__(self) -> str:
        height, width = self.kernel
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{height}x{width}{stride} {self.channels}"

    def output_side(self, side: int) -> int:
        """Pixels along one side after this op."""
        return (side - 1) // self.stride + 1


@dataclass(frozen=True, slots=True)
class Pool:
    """A square pooling; no norm and no activation follow it.

    Averages leave the padding out of the count (as TensorFlow's "same" pooling does).
    ``ceil`` rounds the output size up, as Caffe and torchvision's GoogLeNet do; the default,
    padding 1 without ``ceil``, gives the same sizes as a strided :class:`Conv`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["max", "avg"] = "max"
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    ceil: bool = False
    op: Literal["pool"] = field(default="pool", repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("max", "avg"):
            raise ValueError(f"Pool.kind must be 'max' or 'avg', not {self.kind!r}")
        _check_integer("Pool", "kernel", self.kernel, 2, 31)
        _check_integer("Pool", "stride", self.stride, 1, 8)
        _check_integer("Pool", "padding", self.padding, 0, self.kernel // 2)
        if not isinstance(self.ceil, bool):
            raise ValueError(f"Pool.ceil must be true or false, not {self.ceil!r}")

    def __str__(self) -> str:
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.kind} {self.kernel}x{self.kernel}{stride}"

    def output_side(self, side: int) -> int:
        """Pixels along one side after this op; 0 where the window does not fit."""
        room = side + 2 * self.padding - self.kernel
        if room < 0:
            return 0
        if not self.ceil:
            return room // self.stride + 1
        out = -(-room // self.stride) + 1
        # The last window has to start inside the input or its left padding (torch.nn.MaxPool2d).
        return out - 1 if (out - 1) * self.stride >= side + self.padding else out


@dataclass(frozen=True, slots=True)
class AdaptivePool:
    """Average pooling to ``side`` x ``side`` pixels, whatever the input: auxiliary heads only."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    side: int = 4
    op: Literal["adaptive"] = field(default="adaptive", repr=False)

    def __post_init__(self) -> None:
        _check_integer("AdaptivePool", "side", self.side, 1, 32)

    def __str__(self) -> str:
        return f"avg to {self.side}x{self.side}"

    def output_side(self, side: int) -> int:
        """Pixels along one side after this op."""
        return self.side


Op: TypeAlias = Annotated[Conv | Pool, Field(discriminator="op")]
Branch: TypeAlias = tuple[Op, ...]
"""Ops in a row; the empty branch is the identity."""


def branch_stride(branch: Branch) -> int:
    """By what the branch divides height and width."""
    stride = 1
    for op in branch:
        stride *= op.stride
    return stride


def branch_channels(branch: Branch, channels: int) -> int:
    """Channels that come out of a branch when ``channels`` go in."""
    for op in branch:
        if isinstance(op, Conv):
            channels = op.channels
    return channels


def _op_key(op: Conv | Pool) -> tuple[Any, ...]:
    if isinstance(op, Conv):
        return (0, op.kernel, op.stride, -op.channels)
    return (1, (op.kernel, op.kernel), op.stride, op.padding, op.kind, op.ceil)


def _branch_key(branch: Branch) -> tuple[Any, ...]:
    """The canonical order: convolutions by receptive field, then poolings, then the identity.

    It is the paper's own order (1x1, 3x3, 5x5, pooling; arXiv:1409.4842, figure 2b). Wider
    branches come first among those of equal form.
    """
    rank = 2 if not branch else 1 if isinstance(branch[0], Pool) else 0
    kernels = [op.kernel if isinstance(op, Conv) else (op.kernel, op.kernel) for op in branch]
    field_of_view = sum(height + width - 2 for height, width in kernels)
    return (rank, field_of_view, len(branch), tuple(_op_key(op) for op in branch))


@dataclass(frozen=True, slots=True)
class Cell:
    """Branches side by side on one input, concatenated along channels in canonical order.

    A residual cell projects the concatenation to the input's channels with a 1x1 convolution
    and its norm (no ReLU), adds the input, and applies a ReLU (Inception-ResNet,
    arXiv:1602.07261, figure 10). All branches divide the image by the same stride.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    branches: tuple[Branch, ...]
    residual: bool = False
    op: Literal["cell"] = field(default="cell", repr=False)

    def __post_init__(self) -> None:
        branches = tuple(
            _tuple(f"Cell.branches[{index}]", branch)
            for index, branch in enumerate(_tuple("Cell.branches", self.branches))
        )
        if not any(branches):
            raise ValueError(f"Cell.branches must hold a branch with an op, not {self.branches!r}")
        if len(branches) > MAX_OPS or max(map(len, branches)) > MAX_OPS:
            raise ValueError(f"Cell.branches must hold at most {MAX_OPS} branches of {MAX_OPS} ops")
        for branch in branches:
            for op in branch:
                if not isinstance(op, Conv | Pool):
                    raise ValueError(f"Cell.branches must hold Conv and Pool ops, not {op!r}")
        strides = [branch_stride(branch) for branch in branches]
        if len(set(strides)) > 1:
            raise ValueError(f"Cell.branches must all have one stride, not {strides}")
        if not isinstance(self.residual, bool):
            raise ValueError(f"Cell.residual must be true or false, not {self.residual!r}")
        if self.residual and strides[0] > 1:
            raise ValueError(f"Cell.residual needs stride 1, not {strides[0]}")
        object.__setattr__(self, "branches", tuple(sorted(branches, key=_branch_key)))

    def __str__(self) -> str:
        text = " | ".join(" > ".join(map(str, b)) if b else "identity" for b in self.branches)
        return f"{text} + input" if self.residual else text

    @property
    def stride(self) -> int:
        """By what the cell divides height and width."""
        return branch_stride(self.branches[0])

    def output_channels(self, channels: int) -> int:
        """Channels that come out when ``channels`` go in."""
        if self.residual:
            return channels
        return sum(branch_channels(branch, channels) for branch in self.branches)


def merged_branches(cell: Cell) -> dict[int, Conv]:
    """The first convolutions that are computed as one, by their branch; none if only one could be.

    They are 1x1 convolutions of stride 1, which read the cell's input. :mod:`nas.model` merges
    them, and :mod:`nas.cost` knows their outputs to be one tensor.
    """
    found = {}
    for index, branch in enumerate(cell.branches):
        op = branch[0] if branch else None
        if isinstance(op, Conv) and op.kernel == (1, 1) and op.stride == 1:
            found[index] = op
    return found if len(found) > 1 else {}


Reduction: TypeAlias = Annotated[Pool | Conv | Cell, Field(discriminator="op")]
"""What stands between two stages: a pooling, a strided convolution, or a strided cell."""


@dataclass(frozen=True, slots=True)
class AuxiliaryHead:
    """A classifier on the output of one cell, for training only (arXiv:1409.4842, section 5).

    Pooling, 1x1 convolution with its norm and ReLU, fully connected with ReLU, dropout, linear.
    ``weight`` scales its loss. The paper pools 5x5 with stride 3 (14 to 4 pixels); torchvision
    pools adaptively to 4x4.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stage: int
    cell: int
    pool: Annotated[Pool | AdaptivePool, Field(discriminator="op")] = Pool("avg", 5, 3, padding=0)
    channels: int = 128
    hidden: int = 1024
    dropout: float = 0.7
    weight: float = 0.3

    def __post_init__(self) -> None:
        for name in ("stage", "cell"):
            _check_integer("AuxiliaryHead", name, getattr(self, name), 0, MAX_CELLS)
        if not isinstance(self.pool, Pool | AdaptivePool):
            raise ValueError(f"AuxiliaryHead.pool must be a pooling, not {self.pool!r}")
        _check_integer("AuxiliaryHead", "channels", self.channels, 1, MAX_CHANNELS)
        _check_integer("AuxiliaryHead", "hidden", self.hidden, 1, MAX_CHANNELS)
        _check_fraction(self, "dropout")
        if not _is_number(self.weight) or not 0 < self.weight <= 10:
            raise ValueError(
                f"AuxiliaryHead.weight must be over 0 and at most 10, not {self.weight!r}"
            )
        _set_float(self, "weight", self.weight)

    def __str__(self) -> str:
        return (
            f"after stages.{self.stage}.{self.cell}: {self.pool} > 1x1 {self.channels} > "
            f"linear {self.hidden} (weight {self.weight:g})"
        )


@dataclass(frozen=True, slots=True)
class Head:
    """Global average pooling or flattening, fully connected layers, and the linear classifier.

    Each width of ``hidden`` is a fully connected layer with ReLU and dropout; without any, the
    dropout stands before the classifier.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    pool: Literal["average", "flatten"] = "average"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.4

    def __post_init__(self) -> None:
        _freeze(self, "hidden")
        if self.pool not in ("average", "flatten"):
            raise ValueError(f"Head.pool must be 'average' or 'flatten', not {self.pool!r}")
        if len(self.hidden) > MAX_OPS:
            raise ValueError(f"Head.hidden must hold at most {MAX_OPS} widths")
        for width in self.hidden:
            _check_integer("Head", "hidden", width, 1, MAX_CHANNELS)
        _check_fraction(self, "dropout")

    def __str__(self) -> str:
        pool = "global average" if self.pool == "average" else "flatten"
        hidden = "".join(f" > linear {width}" for width in self.hidden)
        return f"{pool}{hidden} > dropout {self.dropout:g} > classifier"


@dataclass(frozen=True, slots=True)
class Norm:
    """What follows every convolution: batch norm, or nothing (then convolutions have a bias)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["batch", "none"] = "batch"
    eps: float = 0.001

    def __post_init__(self) -> None:
        if self.kind not in ("batch", "none"):
            raise ValueError(f"Norm.kind must be 'batch' or 'none', not {self.kind!r}")
        if self.kind == "none":
            # Without a norm eps means nothing; one value keeps equal networks equal.
            object.__setattr__(self, "eps", 0.0)
        elif not isinstance(self.eps, float) or not 0 < self.eps < 1:
            raise ValueError(f"Norm.eps must be over 0 and under 1, not {self.eps!r}")

    def __str__(self) -> str:
        return "no norm, biases" if self.kind == "none" else f"batch norm (eps {self.eps:g})"


@dataclass(frozen=True)
class Architecture:
    """A whole network, but for the image's shape and the number of classes.

    ``reductions[i]`` stands between ``stages[i]`` and ``stages[i + 1]``. Two architectures are
    equal exactly when they describe the same network, and then have the same fingerprint.

    Raises:
        ValueError: a part is wrong in itself; the message names the field, the rule, the value.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stem: tuple[Op, ...]
    stages: tuple[tuple[Cell, ...], ...]
    reductions: tuple[Reduction, ...] = ()
    auxiliary: tuple[AuxiliaryHead, ...] = ()
    head: Head = Head()
    norm: Norm = Norm()

    def __post_init__(self) -> None:
        for name in ("stem", "stages", "reductions", "auxiliary"):
            _freeze(self, name)
        stages = [
            _tuple(f"Architecture.stages[{index}]", stage)
            for index, stage in enumerate(self.stages)
        ]
        object.__setattr__(self, "stages", tuple(stages))
        _check_type("Architecture.head", self.head, Head)
        _check_type("Architecture.norm", self.norm, Norm)
        self._check_trunk()
        for index, reduction in enumerate(self.reductions):
            if not isinstance(reduction, Pool | Conv | Cell) or reduction.stride < 2:
                raise ValueError(
                    f"Architecture.reductions[{index}] must be a Pool, Conv or Cell with a "
                    f"stride of at least 2, not {reduction!r}"
                )
        self._check_auxiliary()

    def _check_trunk(self) -> None:
        if len(self.stem) > MAX_OPS or not all(isinstance(op, Conv | Pool) for op in self.stem):
            raise ValueError(f"Architecture.stem must hold at most {MAX_OPS} Conv and Pool ops")
        if not self.stages or len(self.stages) > MAX_OPS:
            raise ValueError(
                f"Architecture.stages must hold 1 to {MAX_OPS} stages, not {len(self.stages)}"
            )
        for index, stage in enumerate(self.stages):
            if not 1 <= len(stage) <= MAX_CELLS:
                raise ValueError(
                    f"Architecture.stages[{index}] must hold 1 to {MAX_CELLS} cells, "
                    f"not {len(stage)}"
                )
            for position, cell in enumerate(stage):
                if not isinstance(cell, Cell) or cell.stride != 1:
                    raise ValueError(
                        f"Architecture.stages[{index}][{position}] must be a Cell with stride 1, "
                        f"not {cell!r}"
                    )
        if len(self.reductions) != len(self.stages) - 1:
            raise ValueError(
                f"Architecture.reductions must hold one reduction between two stages "
                f"({len(self.stages) - 1}), not {len(self.reductions)}"
            )

    def _check_auxiliary(self) -> None:
        places = []
        for index, head in enumerate(self.auxiliary):
            _check_type(f"Architecture.auxiliary[{index}]", head, AuxiliaryHead)
            if head.stage >= len(self.stages) or head.cell >= len(self.stages[head.stage]):
                raise ValueError(
                    f"Architecture.auxiliary[{index}] must follow a cell that exists, "
                    f"not stages.{head.stage}.{head.cell}"
                )
            places.append((head.stage, head.cell))
        if sorted(set(places)) != places:
            raise ValueError(
                f"Architecture.auxiliary must follow the order of the cells, one a cell, "
                f"not {places}"
            )

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that two architectures share exactly when they are equal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self, indent: int | None = None) -> str:
        """The architecture as JSON with its format version; :meth:`from_json` reads it back."""
        data = {"format": FORMAT, **_to_data(self)}
        separators = (",", ":") if indent is None else None
        return json.dumps(data, indent=indent, separators=separators)

    @staticmethod
    def from_json(text: str | bytes) -> Architecture:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no JSON, of a newer format, or no valid architecture; the
                message names the place, the rule and the value.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the architecture is not valid, complete JSON: {error}") from None
        if not isinstance(data, dict):
            raise ValueError(f"an architecture must be a JSON object, not {_shown(data)}")
        if "format" not in data:
            raise ValueError("format is missing: this JSON object is no architecture")
        version = data.pop("format")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ValueError(f"format must be an integer from 1, not {_shown(version)}")
        if version > FORMAT:
            raise ValueError(
                f"format {version} is newer than this version reads ({FORMAT}); "
                f"update the package to read it"
            )
        return _parse(data)

    def __str__(self) -> str:
        lines = [f"stem        {' > '.join(map(str, self.stem)) or 'none'}"]
        for index, stage in enumerate(self.stages):
            for position, cell in enumerate(stage):
                lines.append(f"stages.{index}.{position:<3} {cell}")
            if index < len(self.reductions):
                lines.append(f"reduction   {self.reductions[index]}")
        lines.extend(f"auxiliary   {head}" for head in self.auxiliary)
        lines.append(f"head        {self.head}")
        lines.append(f"norm        {self.norm}")
        return "\n".join(lines)

    @property
    def num_cells(self) -> int:
        """Cells in all stages, strided ones between them left out."""
        return sum(map(len, self.stages))


def _to_data(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_data(item) for item in value]
    if not is_dataclass(value):
        return value
    return {item.name: _to_data(getattr(value, item.name)) for item in fields(value)}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _reader() -> TypeAdapter[Architecture]:
    return TypeAdapter(Architecture)


def _parse(data: dict[str, Any]) -> Architecture:
    try:
        # Lists become tuples here; the checks of the dataclasses do the rest.
        return _reader().validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise ValueError(_explain(error.errors(include_url=False)[0], data)) from None


# pydantic's words for what a reader of JSON can get wrong, in ours.
_RULES = {
    "int_type": " must be an integer",
    "int_from_float": " must be an integer",
    "float_type": " must be a number",
    "bool_type": " must be true or false",
    "tuple_type": " must be a list",
    "dataclass_type": " must be an object",
    "dict_type": " must be an object",
    "too_long": " must hold fewer values",
}


def _explain(error: ErrorDetails, data: dict[str, Any]) -> str:
    """One line of the place, the rule and the value."""
    kind, context = error["type"], error.get("ctx", {})
    where, shown = "architecture" + _path(error["loc"], data), _shown(error["input"])
    whole = {
        "missing": f"{where} is missing",
        "unexpected_keyword_argument": f"{where} is no field of an architecture; it holds {shown}",
        "union_tag_not_found": f"{where}.op is missing in {shown}",
    }
    if kind in whole:
        return whole[kind]
    if kind == "value_error":
        message = str(context["error"])
        return message if message.startswith("Architecture.") else f"{where}: {message}"
    if kind == "union_tag_invalid":
        options = context["expected_tags"].replace(", ", " or ")
        return f"{where}.op must be {options}, not {_shown(error['input']['op'])}"
    rule = _RULES.get(kind, f": {error['msg']}")
    if kind == "literal_error":
        rule = f" must be {context['expected']}"
    return f"{where}{rule}, not {shown}"


def _path(steps: Sequence[int | str], value: Any) -> str:
    """Where in the data an error is; pydantic names an op's tag as a step of its own."""
    path = ""
    for step in steps:
        if isinstance(value, dict) and value.get("op") == step:
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
        inside = isinstance(value, dict) and step in value
        inside = inside or (isinstance(value, list) and isinstance(step, int) and step < len(value))
        value = value[step] if inside else None
    return path


def op_shape(op: Conv | Pool | AdaptivePool, shape: Shape, name: str = "op") -> Shape:
    """The shape that comes out of an op.

    Raises:
        ValueError: nothing is left of the map; the message names the op by ``name``.
    """
    channels, height, width = shape
    if isinstance(op, Conv):
        if op.stride > 1:
            height, width = op.output_side(height), op.output_side(width)
        # Counting cost does little else: the named tuple's own constructor takes twice as long.
        return tuple.__new__(Shape, (op.channels, height, width))
    height, width = op.output_side(height), op.output_side(width)
    if height < 1 or width < 1:
        raise ValueError(f"{name} ({op}) does not fit a map of {shape.height}x{shape.width} pixels")
    return Shape(channels, height, width)


def cell_shape(cell: Cell, shape: Shape, name: str = "cell") -> Shape:
    """The shape that comes out of a cell.

    Raises:
        ValueError: an op does not fit, or the branches' maps differ in size.
    """
    outs = []
    for index, branch in enumerate(cell.branches):
        out = shape
        for position, op in enumerate(branch):
            out = op_shape(op, out, f"{name}.branches.{index}.{position}")
        outs.append(out)
    check_one_size(name, outs)
    return Shape(cell.output_channels(shape.channels), outs[0].height, outs[0].width)


def check_one_size(name: str, outs: Sequence[Shape]) -> None:
    """Refuse to concatenate the maps of a cell's branches where their sizes differ.

    Raises:
        ValueError: they do; the message names the cell by ``name``, and the sizes.
    """
    sizes = {out[1:] for out in outs}
    if len(sizes) > 1:
        shown = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise ValueError(f"{name}: its branches end in maps of different sizes, {shown} pixels")


def cell_shapes(architecture: Architecture, image: Shape) -> list[tuple[str, Shape]]:
    """The shape after the stem, each cell and each reduction, in order, by the layer's name.

    Raises:
        ValueError: the architecture does not fit the image.
    """
    shape = image
    for index, op in enumerate(architecture.stem):
        shape = op_shape(op, shape, f"stem.{index}")
    shapes = [("stem", shape)]
    for index, stage in enumerate(architecture.stages):
        for position, cell in enumerate(stage):
            name = f"stages.{index}.{position}"
            shape = cell_shape(cell, shape, name)
            shapes.append((name, shape))
        if index < len(architecture.reductions):
            reduction, name = architecture.reductions[index], f"reductions.{index}"
            if isinstance(reduction, Cell):
                shape = cell_shape(reduction, shape, name)
            else:
                shape = op_shape(reduction, shape, name)
            shapes.append((name, shape))
    return shapes


def check_image(image: Shape) -> None:
    """Refuse an image without channels or pixels.

    Raises:
        ValueError: a side or the number of channels is no integer from 1.
    """
    for name, value in zip(Shape._fields, image, strict=True):
        _check_integer("image", name, value, 1, MAX_CHANNELS)


def check_classes(classes: int) -> None:
    """Refuse what is no number of classes.

    Raises:
        ValueError: it is no integer from 1.
    """
    if not isinstance(classes, int) or isinstance(classes, bool) or not 1 <= classes <= MAX_CLASSES:
        raise ValueError(f"classes must be an integer from 1 to {MAX_CLASSES:,}, not {classes!r}")


def check(architecture: Architecture, image: Shape) -> None:
    """Refuse an image that the architecture does not fit.

    Raises:
        ValueError: a window is larger than its map, branches end in maps of different sizes, or
            an auxiliary pooling does not fit; the message names the layer and the map.
    """
    check_image(image)
    shapes = dict(cell_shapes(architecture, image))
    for index, head in enumerate(architecture.auxiliary):
        shape = shapes[f"stages.{head.stage}.{head.cell}"]
        op_shape(head.pool, shape, f"auxiliary.{index}.pool")
