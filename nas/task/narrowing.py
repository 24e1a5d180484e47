"""The proxy: the one rule by which a network is made narrow and fit for small images."""

from __future__ import annotations

from dataclasses import replace

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Cell,
    Conv,
    Op,
    Reduction,
    Shape,
    branch_stride,
    cell_shapes,
    check,
    op_shape,
)
from nas.task.recipe import Recipe
from nas.task.settings import Task

WIDTH_STEP = 4
"""A proxy's widths are multiples of this many channels (and at least one such step)."""

MIN_SIDE = 2
"""Pixels a side that the last map of a proxy must keep.

With 3, networks of four stages on 28 pixels keep a stem of stride 1 and cost three times as much,
for no better ranking (docs/proxy.md).
"""


def scaled_width(channels: int, width: float) -> int:
    """``channels`` times ``width``, to the nearest multiple of 4 (half up), at least 4.

    A width of 1 changes nothing.
    """
    if width == 1:
        return channels
    return max(WIDTH_STEP, int(channels * width / WIDTH_STEP + 0.5) * WIDTH_STEP)


def proxy(architecture: Architecture, task: Task) -> Architecture:
    """The network whose training estimates the architecture's error. A pure function.

    1. The architecture must fit the target.
    2. Every width (convolutions of stem, cells and reductions; hidden layers of the head;
       channels and hidden layer of auxiliary heads) becomes :func:`scaled_width`. Branches,
       cells, stages, reductions, norm and residual connections stay.
    3. The stem is the first of these under which the last cell's map has at least 2 pixels a
       side: the architecture's own; the *small-image stem* of stride 2; that of stride 1. The
       small-image stem has the own stem's convolutions with their (scaled) widths, without its
       poolings, each kernel at most 3 a side, the first convolution with the stride and all
       others with stride 1. With ``stem: fastest`` the three are tried from the greatest total
       stride to the least, the own one first among equals.
    4. An auxiliary head that sees a smaller map than at the target pools adaptively to the side
       that its pooling leaves at the target, but to no more pixels than its map has.
    5. Dropout and auxiliary weights are the recipe's where it gives them; without ``auxiliary``
       the auxiliary heads go.

    A task that reduces nothing (width 1, the target's own image, the own stem) trains the
    architecture itself: of the rules above only the first and the last are applied.

    Raises:
        ValueError: the architecture does not fit the target, or no stem leaves 2 pixels.
    """
    check(architecture, task.target.image)
    settings = task.proxy
    if (settings.width, settings.stem, task.proxy_image) == (1, "own", task.target.image):
        return with_recipe(architecture, task.recipe)
    narrow = with_recipe(scaled(architecture, task.proxy.width), task.recipe)
    image = task.proxy_image
    for stem in _stems(narrow.stem, task.proxy.stem):
        candidate = replace(narrow, stem=stem, auxiliary=())
        last = _last_map(candidate, image)
        if last is not None and min(last.height, last.width) >= MIN_SIDE:
            auxiliary = _adapted_heads(architecture, narrow, candidate, task)
            return replace(candidate, auxiliary=auxiliary)
    raise ValueError(
        f"the proxy does not fit: after {len(architecture.reductions)} reductions no stem leaves "
        f"{MIN_SIDE} pixels a side of a {image.height}x{image.width} image; "
        f"take fewer stages or a higher proxy resolution"
    )


def with_recipe(architecture: Architecture, recipe: Recipe) -> Architecture:
    """The architecture with the recipe's dropout and auxiliary heads, where it gives them."""
    heads = architecture.auxiliary if recipe.auxiliary else ()
    if recipe.auxiliary_weight is not None:
        heads = tuple(replace(head, weight=recipe.auxiliary_weight) for head in heads)
    head = architecture.head
    if recipe.dropout is not None:
        head = replace(head, dropout=recipe.dropout)
    return replace(architecture, auxiliary=heads, head=head)


def scaled(architecture: Architecture, width: float) -> Architecture:
    """The same network with every width scaled by :func:`scaled_width`."""
    if width == 1:
        return architecture
    head = architecture.head
    return replace(
        architecture,
        stem=tuple(_scaled_op(op, width) for op in architecture.stem),
        stages=tuple(
            tuple(_scaled_cell(cell, width) for cell in stage) for stage in architecture.stages
        ),
        reductions=tuple(_scaled_reduction(item, width) for item in architecture.reductions),
        auxiliary=tuple(_scaled_head(item, width) for item in architecture.auxiliary),
        head=replace(head, hidden=tuple(scaled_width(size, width) for size in head.hidden)),
    )


def _scaled_op(op: Op, width: float) -> Op:
    return replace(op, channels=scaled_width(op.channels, width)) if isinstance(op, Conv) else op


def _scaled_cell(cell: Cell, width: float) -> Cell:
    branches = tuple(tuple(_scaled_op(op, width) for op in branch) for branch in cell.branches)
    return replace(cell, branches=branches)


def _scaled_reduction(reduction: Reduction, width: float) -> Reduction:
    if isinstance(reduction, Cell):
        return _scaled_cell(reduction, width)
    return _scaled_op(reduction, width)


def _scaled_head(head: AuxiliaryHead, width: float) -> AuxiliaryHead:
    channels, hidden = scaled_width(head.channels, width), scaled_width(head.hidden, width)
    return replace(head, channels=channels, hidden=hidden)


def _stems(own: tuple[Op, ...], preference: str) -> list[tuple[Op, ...]]:
    stems = [own, _small_stem(own, 2), _small_stem(own, 1)]
    if preference == "fastest":
        stems.sort(key=branch_stride, reverse=True)
    return stems


def _small_stem(own: tuple[Op, ...], stride: int) -> tuple[Op, ...]:
    convs = [op for op in own if isinstance(op, Conv)]
    return tuple(
        Conv(
            (min(op.kernel[0], 3), min(op.kernel[1], 3)),
            op.channels,
            stride=stride if index == 0 else 1,
        )
        for index, op in enumerate(convs)
    )


def _last_map(architecture: Architecture, image: Shape) -> Shape | None:
    """The last cell's output, or None where some op finds no room."""
    try:
        return cell_shapes(architecture, image)[-1][1]
    except ValueError:
        return None


def _adapted_heads(
    own: Architecture, narrow: Architecture, trained: Architecture, task: Task
) -> tuple[AuxiliaryHead, ...]:
    at_target = dict(cell_shapes(own, task.target.image))
    at_proxy = dict(cell_shapes(trained, task.proxy_image))
    heads = []
    for head in narrow.auxiliary:
        name = f"stages.{head.stage}.{head.cell}"
        before, now = at_target[name], at_proxy[name]
        if (before.height, before.width) != (now.height, now.width):
            left = op_shape(head.pool, before, name)
            side = min(left.height, left.width, now.height, now.width)
            head = replace(head, pool=AdaptivePool(side))  # noqa: PLW2901
        heads.append(head)
    return tuple(heads)
