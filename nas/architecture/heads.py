"""Auxiliary heads, the head, and the norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from nas.architecture.checking import (
    MAX_CELLS,
    MAX_CHANNELS,
    MAX_OPS,
    STRICT,
    check_fraction,
    check_integer,
    freeze,
    is_number,
    set_float,
)
from nas.architecture.ops import AdaptivePool, Pool

_AUXILIARY_POOL = Pool("avg", 5, 3, padding=0)


@dataclass(frozen=True, slots=True)
class AuxiliaryHead:
    """A classifier on the output of one cell, for training only (arXiv:1409.4842, section 5).

    Pooling, 1x1 convolution with its norm and ReLU, fully connected with ReLU, dropout, linear.
    ``weight`` scales its loss. The paper pools 5x5 with stride 3 (14 to 4 pixels); torchvision
    pools adaptively to 4x4.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    stage: int
    cell: int
    pool: Annotated[Pool | AdaptivePool, Field(discriminator="op")] = _AUXILIARY_POOL
    channels: int = 128
    hidden: int = 1024
    dropout: float = 0.7
    weight: float = 0.3

    def __post_init__(self) -> None:
        for name in ("stage", "cell"):
            check_integer("AuxiliaryHead", name, getattr(self, name), 0, MAX_CELLS)
        if not isinstance(self.pool, Pool | AdaptivePool):
            raise ValueError(f"AuxiliaryHead.pool must be a pooling, not {self.pool!r}")
        check_integer("AuxiliaryHead", "channels", self.channels, 1, MAX_CHANNELS)
        check_integer("AuxiliaryHead", "hidden", self.hidden, 1, MAX_CHANNELS)
        check_fraction(self, "dropout")
        if not is_number(self.weight) or not 0 < self.weight <= 10:
            raise ValueError(
                f"AuxiliaryHead.weight must be over 0 and at most 10, not {self.weight!r}"
            )
        set_float(self, "weight", self.weight)

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

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    pool: Literal["average", "flatten"] = "average"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.4

    def __post_init__(self) -> None:
        freeze(self, "hidden")
        if self.pool not in ("average", "flatten"):
            raise ValueError(f"Head.pool must be 'average' or 'flatten', not {self.pool!r}")
        if len(self.hidden) > MAX_OPS:
            raise ValueError(f"Head.hidden must hold at most {MAX_OPS} widths")
        for width in self.hidden:
            check_integer("Head", "hidden", width, 1, MAX_CHANNELS)
        check_fraction(self, "dropout")

    def __str__(self) -> str:
        pool = "global average" if self.pool == "average" else "flatten"
        hidden = "".join(f" > linear {width}" for width in self.hidden)
        return f"{pool}{hidden} > dropout {self.dropout:g} > classifier"


@dataclass(frozen=True, slots=True)
class Norm:
    """What follows every convolution: batch norm, or nothing (then convolutions have a bias)."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

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
