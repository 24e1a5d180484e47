"""What networks are made of, as long tables read from their descriptions: branches, reductions.

``trials`` needs ``number`` and ``architecture`` (JSON) alone, so any choice of rows will do: give
the front, or a draw of a large run (reading takes some 0.2 ms a trial).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from nas.architecture import (
    Architecture,
    Branch,
    Cell,
    Conv,
    Pool,
    Reduction,
    branch_channels,
)

BRANCH_COLUMNS = [
    "number", "stage", "stages", "cell", "depth", "kind", "pool", "reduce", "channels", "share",
]  # fmt: skip
REDUCTION_COLUMNS = ["number", "index", "reductions", "kind", "after_cells", "cells", "position"]
STAGE_COLUMNS = ["number", "stage", "stages", "cells", "channels"]
POOLS = {"max": "max pool", "avg": "average pool"}

IMAGE_CHANNELS = 3
"""Of images, for a network whose first cell reads the image itself."""


def branches_table(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a branch of a cell of each network, strided cells between stages left out.

    Columns: ``number``, ``stage``, ``stages`` (how many there are), ``cell`` (within the stage),
    ``depth`` (0 for the first cell of the network, 1 for the last), ``kind`` ("3x3", "3x3+3x3",
    "1x7+7x1", "max pool", "average pool", "identity": the kernels without a leading 1x1 reduce),
    ``pool`` ("max", "avg" or ""), ``reduce`` (width of that 1x1; NaN without), ``channels`` (that
    come out), ``share`` (of the cell's).
    """
    rows = [row for number, network in _networks(trials) for row in _branch_rows(number, network)]
    return pd.DataFrame(rows, columns=BRANCH_COLUMNS)


def reductions_table(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a reduction of each network.

    Columns: ``number``, ``index``, ``reductions`` (how many), ``kind`` ("max pool", "average
    pool", "convolution", "cell"), ``after_cells`` (cells before it), ``cells`` (in all),
    ``position`` (the share of cells before it).
    """
    rows = []
    for number, network in _networks(trials):
        before = 0
        for index, reduction in enumerate(network.reductions):
            before += len(network.stages[index])
            places = (before, network.num_cells, before / network.num_cells)
            kind = _reduction_kind(reduction)
            rows.append((number, index, len(network.reductions), kind, *places))
    return pd.DataFrame(rows, columns=REDUCTION_COLUMNS)


def stages_table(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a stage of each network.

    Columns: ``number``, ``stage``, ``stages`` (how many), ``cells``, ``channels`` (that leave it).
    """
    rows = []
    for number, network in _networks(trials):
        widths = {stage: channels for stage, _, _, channels in _cells(network)}
        for stage, cells in enumerate(network.stages):
            rows.append((number, stage, len(network.stages), len(cells), widths[stage]))
    return pd.DataFrame(rows, columns=STAGE_COLUMNS)


def branch_kind(branch: Branch) -> str:
    """What a branch computes, in a word: its kernels without a leading 1x1, or its pooling."""
    if not branch:
        return "identity"
    if isinstance(branch[0], Pool):
        return POOLS[branch[0].kind]
    ops = branch[1:] if _reduce(branch) is not None else branch
    return "+".join(
        f"{op.kernel[0]}x{op.kernel[1]}" if isinstance(op, Conv) else POOLS[op.kind] for op in ops
    )


def _reduce(branch: Branch) -> int | None:
    """The width of a 1x1 that stands before other convolutions."""
    first = branch[0] if len(branch) > 1 else None
    is_reduce = isinstance(first, Conv) and first.kernel == (1, 1) and first.stride == 1
    return first.channels if is_reduce and isinstance(first, Conv) else None


def _reduction_kind(reduction: Reduction) -> str:
    if isinstance(reduction, Pool):
        return POOLS[reduction.kind]
    return "convolution" if isinstance(reduction, Conv) else "cell"


def _networks(trials: pd.DataFrame) -> Iterator[tuple[int, Architecture]]:
    for number, text in zip(trials["number"], trials["architecture"], strict=True):
        yield int(number), Architecture.from_json(str(text))


def _cells(network: Architecture) -> Iterator[tuple[int, Cell, int, int]]:
    """Stage, cell, and the channels that enter and leave it, in order."""
    channels = branch_channels(network.stem, IMAGE_CHANNELS)
    for stage, cells in enumerate(network.stages):
        for cell in cells:
            left = cell.output_channels(channels)
            yield stage, cell, channels, left
            channels = left
        if stage < len(network.reductions):
            channels = _reduced_channels(network.reductions[stage], channels)


def _reduced_channels(reduction: Reduction, channels: int) -> int:
    if isinstance(reduction, Cell):
        return reduction.output_channels(channels)
    return reduction.channels if isinstance(reduction, Conv) else channels


def _branch_rows(number: int, network: Architecture) -> Iterator[tuple[Any, ...]]:
    stages, last = len(network.stages), max(network.num_cells - 1, 1)
    seen: dict[int, int] = {}
    for place, (stage, cell, channels, _) in enumerate(_cells(network)):
        within = seen[stage] = seen.get(stage, -1) + 1
        widths = [branch_channels(branch, channels) for branch in cell.branches]
        for branch, width in zip(cell.branches, widths, strict=True):
            first = branch[0] if branch else None
            pool = first.kind if isinstance(first, Pool) else ""
            where = (number, stage, stages, within, place / last)
            yield (*where, branch_kind(branch), pool, _reduce(branch), width, width / sum(widths))
