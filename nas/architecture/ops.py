"""Convolutions and poolings, branches of them, and the shape of a map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import ConfigDict, Field

from nas.architecture.checking import MAX_CHANNELS, STRICT, check_integer, freeze


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


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with "same" padding, its norm, and a ReLU.

    ``kernel`` is (height, width), both odd; an ``n``-pixel side becomes ``ceil(n / stride)``.
    The convolution has a bias exactly where the architecture has no norm.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kernel: tuple[int, int]
    channels: int
    stride: int = 1
    op: Literal["conv"] = field(default="conv", repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.kernel, list):
            freeze(self, "kernel")
        if not isinstance(self.kernel, tuple) or len(self.kernel) != 2:
            raise ValueError(f"Conv.kernel must be (height, width), not {self.kernel!r}")
        for side in self.kernel:
            check_integer("Conv", "kernel", side, 1, 31)
            if side % 2 == 0:
                raise ValueError(f"Conv.kernel must be odd on both sides, not {self.kernel!r}")
        check_integer("Conv", "channels", self.channels, 1, MAX_CHANNELS)
        check_integer("Conv", "stride", self.stride, 1, 8)

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

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["max", "avg"] = "max"
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    ceil: bool = False
    op: Literal["pool"] = field(default="pool", repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("max", "avg"):
            raise ValueError(f"Pool.kind must be 'max' or 'avg', not {self.kind!r}")
        check_integer("Pool", "kernel", self.kernel, 2, 31)
        check_integer("Pool", "stride", self.stride, 1, 8)
        check_integer("Pool", "padding", self.padding, 0, self.kernel // 2)
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

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    side: int = 4
    op: Literal["adaptive"] = field(default="adaptive", repr=False)

    def __post_init__(self) -> None:
        check_integer("AdaptivePool", "side", self.side, 1, 32)

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
