"""The whole network: an :class:`Architecture`, its JSON and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from nas.architecture.cells import Cell, Reduction
from nas.architecture.checking import MAX_CELLS, MAX_OPS, STRICT, as_tuple, check_type, freeze
from nas.architecture.heads import AuxiliaryHead, Head, Norm
from nas.architecture.ops import Conv, Op, Pool
from nas.architecture.reading import FORMAT, load_data, parse, to_data

_HEAD, _NORM = Head(), Norm()


@dataclass(frozen=True)
class Architecture:
    """A whole network, but for the image's shape and the number of classes.

    ``reductions[i]`` stands between ``stages[i]`` and ``stages[i + 1]``. Two architectures are
    equal exactly when they describe the same network, and then have the same fingerprint.

    Raises:
        ValueError: a part is wrong in itself; the message names the field, the rule, the value.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    stem: tuple[Op, ...]
    stages: tuple[tuple[Cell, ...], ...]
    reductions: tuple[Reduction, ...] = ()
    auxiliary: tuple[AuxiliaryHead, ...] = ()
    head: Head = _HEAD
    norm: Norm = _NORM

    def __post_init__(self) -> None:
        for name in ("stem", "stages", "reductions", "auxiliary"):
            freeze(self, name)
        stages = [
            as_tuple(f"Architecture.stages[{index}]", stage)
            for index, stage in enumerate(self.stages)
        ]
        object.__setattr__(self, "stages", tuple(stages))
        check_type("Architecture.head", self.head, Head)
        check_type("Architecture.norm", self.norm, Norm)
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
            check_type(f"Architecture.auxiliary[{index}]", head, AuxiliaryHead)
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
        data = {"format": FORMAT, **to_data(self)}
        separators = (",", ":") if indent is None else None
        return json.dumps(data, indent=indent, separators=separators)

    @staticmethod
    def from_json(text: str | bytes) -> Architecture:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no JSON, of a newer format, or no valid architecture; the
                message names the place, the rule and the value.
        """
        return parse(_reader(), load_data(text))

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


@cache
def _reader() -> TypeAdapter[Architecture]:
    return TypeAdapter(Architecture)
