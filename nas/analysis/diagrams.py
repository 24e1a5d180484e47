"""An architecture as a drawing for a page or a paper: one self-contained SVG, no fonts, no script.

The flow runs down: image, stem, cells with their branches side by side and the concatenation
under them, reductions, head. Long networks continue in the next column. Auxiliary heads hang
beside the flow, dashed, because they exist in training only. Equal cells in a row are drawn once
with their count. Names are those of cost tables and parameters (``stages.0.1``).
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import accumulate, pairwise

from nas.analysis.svg import STROKE, TIMES, Block, arrow, box, line, number, text, text_width
from nas.architecture import (
    Architecture,
    AuxiliaryHead,
    Branch,
    Cell,
    Conv,
    Pool,
    Shape,
    branch_channels,
    cell_shapes,
    check,
)

OP_WIDTH, OP_HEIGHT, HEAD_WIDTH = 88.0, 26.0, 150.0
OP_GAP, ROW_GAP = 8.0, 12.0
PANEL_PAD, PANEL_WIDTH = 12.0, 250.0
FLOW_GAP, GUTTER, MARGIN, SHEETS = 22.0, 44.0, 8.0, 8.0
AUXILIARY_WIDTH, AUXILIARY_HEIGHT = 172.0, 66.0
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
COLUMN_HEIGHT = 640.0
"""A column is not broken before it is about this high."""

# Okabe-Ito colours, as in nas.analysis.theme (not imported: a drawing needs no plotly).
COLOURS = {
    "1x1": "#56B4E9",
    "square": "#0072B2",
    "large": "#CC79A7",
    "factorised": "#009E73",
    "pool": "#E69F00",
    "dense": "#7F8790",
}


def diagram_svg(
    architecture: Architecture,
    image: Shape,
    classes: int,
    *,
    columns: int = 3,
    title: str | None = None,
) -> str:
    """The network drawn for ``image`` and ``classes``; at most ``columns`` side by side.

    Three columns fill a page's width, one suits a phone or a column of a paper. ``title`` is what
    a screen reader says first, by default the fingerprint.

    Raises:
        ValueError: the architecture does not fit the image.
    """
    check(architecture, image)
    blocks = list(_blocks(architecture, image, classes))
    drawing = _arranged([block for block, _ in blocks], [ends for _, ends in blocks], columns)
    width, height = number(drawing.width), number(drawing.height)
    label = escape(title or f"Architecture {architecture.fingerprint}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nas-diagram" role="img" '
        f'aria-label="{label}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{FONT}" '
        f'fill="currentColor" text-anchor="middle"><title>{label}</title>'
        f"<desc>{escape(str(architecture))}</desc>{drawing.body}</svg>"
    )


def _blocks(architecture: Architecture, image: Shape, classes: int) -> Iterator[tuple[Block, bool]]:
    """The parts in order; the flag says that a column may well end after the part."""
    shapes = dict(cell_shapes(architecture, image))
    yield _pill(f"image {_shape_text(image)}"), False
    if architecture.stem:
        ops = [_op_box(op, width=HEAD_WIDTH) for op in architecture.stem]
        yield _panel("stem", _shape_text(shapes["stem"]), _chain(ops)), False
    heads = {(head.stage, head.cell): index for index, head in enumerate(architecture.auxiliary)}
    channels = shapes["stem"].channels
    for index, stage in enumerate(architecture.stages):
        for first, last in _groups(stage, {cell for place, cell in heads if place == index}):
            name = f"stages.{index}.{first}"
            shape = shapes[f"stages.{index}.{last}"]
            block = _cell(stage[first], name, channels, shape, last - first + 1)
            channels = shape.channels
            if (index, last) in heads:
                number_ = heads[index, last]
                block = _with_auxiliary(block, architecture.auxiliary[number_], number_, classes)
            yield block, last == len(stage) - 1
        if index < len(architecture.reductions):
            reduction, name = architecture.reductions[index], f"reductions.{index}"
            shape = shapes[name]
            if isinstance(reduction, Cell):
                yield _cell(reduction, name, channels, shape), False
            else:
                ops = [_op_box(reduction, width=HEAD_WIDTH)]
                yield _panel(name, _shape_text(shape), _chain(ops)), False
            channels = shape.channels
    yield (
        _panel(
            "head", f"{classes} classes", _chain(_head_boxes(architecture, classes)), is_last=True
        ),
        True,
    )


def _groups(stage: tuple[Cell, ...], ends: set[int]) -> Iterator[tuple[int, int]]:
    """First and last position of equal cells in a row; an auxiliary head ends a group."""
    first = 0
    for position in range(1, len(stage) + 1):
        if position == len(stage) or stage[position] != stage[first] or position - 1 in ends:
            yield first, position - 1
            first = position


def _shape_text(shape: Shape) -> str:
    return f" {TIMES} ".join(map(str, shape))


def _op_colour(op: Conv | Pool) -> str:
    if isinstance(op, Pool):
        return COLOURS["pool"]
    height, width = op.kernel
    if height != width:
        return COLOURS["factorised"]
    return COLOURS["1x1" if height == 1 else "square" if height == 3 else "large"]


def _op_words(op: Conv | Pool) -> tuple[str, str]:
    stride = f"/{op.stride}" if op.stride > 1 else ""
    if isinstance(op, Pool):
        return f"{op.kind} {op.kernel}{TIMES}{op.kernel}{stride}", ""
    return f"{op.kernel[0]}{TIMES}{op.kernel[1]}{stride}", str(op.channels)


def _op_box(op: Conv | Pool, width: float = OP_WIDTH) -> Block:
    return _labelled(*_op_words(op), _op_colour(op), width)


def _labelled(strong: str, plain: str, colour: str, width: float) -> Block:
    """A box with a line of text: what it does, bold, and its width."""
    content = f'<tspan font-weight="600">{escape(strong)}</tspan>'
    content += f" {escape(plain)}" if plain else ""
    squeeze = ""
    if text_width(f"{strong} {plain}") > width - 8:
        squeeze = f' textLength="{number(width - 8)}" lengthAdjust="spacingAndGlyphs"'
    body = box(0, 0, (width, OP_HEIGHT), colour=colour, fill=0.2)
    body += f'<text x="{number(width / 2)}" y="17.5" font-size="12"{squeeze}>{content}</text>'
    return Block(width, OP_HEIGHT, body)


def _pill(content: str) -> Block:
    width = max(HEAD_WIDTH, text_width(content) + 32)
    body = box(0, 0, (width, OP_HEIGHT), radius=OP_HEIGHT / 2, stroke=0.5)
    return Block(width, OP_HEIGHT, body + text(width / 2, 17.5, content, kind="strong"))


def _chain(boxes: list[Block], gap: float = ROW_GAP) -> Block:
    """Boxes one under another, joined by lines."""
    width = max(item.width for item in boxes)
    parts, y = [], 0.0
    for index, item in enumerate(boxes):
        if index:
            parts.append(line([(width / 2, y - gap), (width / 2, y)]))
        parts.append(item.at((width - item.width) / 2, y))
        y += item.height + gap
    return Block(width, y - gap, "".join(parts))


def _panel(name: str, note: str, content: Block, *, count: int = 1, is_last: bool = False) -> Block:
    """A frame around a part: its name and its output's shape above, the flow through the middle."""
    width = max(content.width + 2 * PANEL_PAD, PANEL_WIDTH)
    top = 30.0
    frame = top + content.height + PANEL_PAD
    height = frame + (SHEETS if count > 1 else 0)
    middle = width / 2
    label = f"{name} \N{HORIZONTAL ELLIPSIS} {TIMES} {count}" if count > 1 else name
    parts = [
        _sheets(width, frame) if count > 1 else "",
        box(0, 0, (width, frame), fill=0.035, stroke=0.28, radius=9),
        text(PANEL_PAD, 18, label, size=11.5, anchor="start", kind="strong", room=middle - 20),
        text(width - PANEL_PAD, 18, note, size=11.5, anchor="end", kind="muted", room=middle - 20),
        line([(middle, 0), (middle, top)]),
        content.at((width - content.width) / 2, top),
        "" if is_last else line([(middle, top + content.height), (middle, height)]),
    ]
    return Block(width, height, "".join(parts))


def _sheets(width: float, height: float) -> str:
    """The edges of two sheets behind a frame: there are several of it."""
    edges = []
    for shift in (4, 8):
        right, bottom = width + shift, height + shift
        corner = f"V{number(bottom - 9)}a9 9 0 0 1 -9 9H{number(4 + shift)}"
        edges.append(
            f'<path fill="none" stroke="currentColor" stroke-opacity=".3" '
            f'd="M{number(right)} {number(4 + shift)}{corner}"/>'
        )
    return "".join(edges)


def _cell(cell: Cell, name: str, channels: int, shape: Shape, count: int = 1) -> Block:
    content = _branches(cell, channels)
    if cell.residual:
        content = _with_residual(content, channels)
    return _panel(name, _shape_text(shape), content, count=count)


def _branches(cell: Cell, channels: int) -> Block:
    """Branches side by side between a line that splits the flow and the concatenation."""
    depth = max(map(len, cell.branches))
    rows = depth * OP_HEIGHT + (depth - 1) * ROW_GAP
    width = len(cell.branches) * (OP_WIDTH + OP_GAP) - OP_GAP
    if len(cell.branches) == 1:
        return _chain([_op_box(op) for op in cell.branches[0]])
    centres = [index * (OP_WIDTH + OP_GAP) + OP_WIDTH / 2 for index in range(len(cell.branches))]
    bottom = ROW_GAP + rows + ROW_GAP
    parts = [line([(centres[0], 0), (centres[-1], 0)])]
    for centre, branch in zip(centres, cell.branches, strict=True):
        parts.append(_branch(branch, centre, bottom))
    merged = sum(branch_channels(branch, channels) for branch in cell.branches)
    parts.append(box(0, bottom, (width, 20), fill=0.08, stroke=0.45))
    parts.append(text(width / 2, bottom + 14, f"concat {merged}", size=11.5))
    return Block(width, bottom + 20, "".join(parts))


def _branch(branch: Branch, centre: float, bottom: float) -> str:
    """Ops stand on the lowest rows, so that the last ones line up as in the paper's figure."""
    top = bottom - len(branch) * (OP_HEIGHT + ROW_GAP)
    if not branch:
        label = text(centre, bottom / 2 + 4, "identity", size=11.5)
        above = line([(centre, 0), (centre, bottom / 2 - 9)])
        return above + label + line([(centre, bottom / 2 + 10), (centre, bottom)])
    parts = [line([(centre, 0), (centre, top)])]
    for index, op in enumerate(branch):
        y = top + index * (OP_HEIGHT + ROW_GAP)
        parts.append(_op_box(op).at(centre - OP_WIDTH / 2, y))
        parts.append(line([(centre, y + OP_HEIGHT), (centre, y + OP_HEIGHT + ROW_GAP)]))
    return "".join(parts)


def _with_residual(content: Block, channels: int) -> Block:
    """The projection and the sum under a cell's content, and the input's way around it."""
    side, split, radius = 26.0, 8.0, 9.0
    width = max(content.width, HEAD_WIDTH) + 2 * side
    middle = width / 2
    projection = split + content.height + ROW_GAP
    plus = projection + OP_HEIGHT + ROW_GAP + radius
    words = (f"1{TIMES}1", f"{channels}, projection", COLOURS["1x1"], HEAD_WIDTH)
    parts = [
        line([(middle, 0), (middle, split)]),
        content.at(middle - content.width / 2, split),
        line([(middle, split + content.height), (middle, projection)]),
        _labelled(*words).at(middle - HEAD_WIDTH / 2, projection),
        line([(middle, projection + OP_HEIGHT), (middle, plus - radius)]),
        arrow([(middle, 0), (8, 0), (8, plus), (middle - radius, plus)]),
        f'<circle {STROKE} cx="{number(middle)}" cy="{number(plus)}" r="{number(radius)}"/>',
        text(middle, plus + 5, "+", size=15, kind="strong"),
    ]
    return Block(width, plus + radius, "".join(parts))


def _with_auxiliary(cell: Block, head: AuxiliaryHead, index: int, classes: int) -> Block:
    """The cell with a training-only classifier hanging right of the flow that leaves it."""
    width = max(cell.width, 2 * (AUXILIARY_WIDTH + 26))
    middle, left, top = width / 2, width / 2 + 26, cell.height + 12
    height = top + AUXILIARY_HEIGHT
    pool = str(head.pool).replace("x", TIMES)
    rows = [
        (f"auxiliary.{index}, training only", "strong"),
        (f"{pool}, 1{TIMES}1 {head.channels}", "plain"),
        (f"linear {head.hidden}, linear {classes}", "plain"),
        (f"loss {TIMES} {head.weight:g}, dropout {head.dropout:g}", "plain"),
    ]
    parts = [
        cell.at((width - cell.width) / 2, 0),
        line([(middle, cell.height), (middle, height)]),
        arrow([(middle, top + 20), (left, top + 20)], dashed=True),
        box(left, top, (AUXILIARY_WIDTH, AUXILIARY_HEIGHT), stroke=0.6, dashed=True),
    ]
    for row, (words, kind) in enumerate(rows):
        parts.append(
            text(
                left + 8,
                top + 16 + 14.5 * row,
                words,
                size=11,
                anchor="start",
                kind="strong" if kind == "strong" else "plain",
                room=AUXILIARY_WIDTH - 14,
            )
        )
    return Block(width, height, "".join(parts))


def _head_boxes(architecture: Architecture, classes: int) -> list[Block]:
    head = architecture.head
    average = head.pool == "average"
    boxes = [_labelled("global average" if average else "flatten", "", COLOURS["pool"], HEAD_WIDTH)]
    boxes += [
        _labelled("linear", str(width), COLOURS["dense"], HEAD_WIDTH) for width in head.hidden
    ]
    if head.dropout:
        boxes.append(_labelled("dropout", f"{head.dropout:g}", COLOURS["dense"], HEAD_WIDTH))
    return [*boxes, _labelled("linear", str(classes), COLOURS["dense"], HEAD_WIDTH)]


def _arranged(blocks: list[Block], ends: list[bool], columns: int) -> Block:
    """The blocks in columns, joined by arrows."""
    total = sum(block.height + FLOW_GAP for block in blocks)
    wanted = max(1, min(columns, len(blocks), round(total / COLUMN_HEIGHT)))
    breaks = _breaks([block.height + FLOW_GAP for block in blocks], ends, wanted)
    column_width = max(block.width for block in blocks) + 2 * SHEETS
    height = max(
        sum(block.height + FLOW_GAP for block in blocks[first:last])
        for first, last in pairwise(breaks)
    )
    parts = []
    top = MARGIN + (FLOW_GAP if len(breaks) > 2 else 0)
    for index, (first, last) in enumerate(pairwise(breaks)):
        left = MARGIN + index * (column_width + GUTTER)
        centre, y = left + column_width / 2, top
        for position in range(first, last):
            block = blocks[position]
            parts.append(block.at(centre - block.width / 2, y))
            y += block.height
            if position + 1 < last:
                parts.append(arrow([(centre, y), (centre, y + FLOW_GAP)]))
                y += FLOW_GAP
        if last < len(blocks):
            gutter, above = left + column_width + GUTTER / 2, MARGIN + 2
            beyond = centre + column_width + GUTTER
            way = [(centre, y), (centre, y + 12), (gutter, y + 12), (gutter, above)]
            parts.append(arrow([*way, (beyond, above), (beyond, top)]))
    width = 2 * MARGIN + (len(breaks) - 1) * (column_width + GUTTER) - GUTTER
    return Block(width, top + height + MARGIN, "".join(parts))


def _breaks(heights: list[float], ends: list[bool], columns: int) -> tuple[int, ...]:
    """Where columns begin, and the end: about equal heights, between stages where that is near."""
    below = [0.0, *accumulate(heights)]
    breaks = [0]
    for column in range(1, columns):
        target = below[-1] * column / columns
        places = range(breaks[-1] + 1, len(heights) - columns + column + 1)
        badness = {i: abs(below[i] - target) + 80 * (not ends[i - 1]) for i in places}
        breaks.append(min(badness, key=badness.__getitem__))
    return (*breaks, len(heights))
