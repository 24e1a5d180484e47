"""Diagrams: well-formed, complete, escaped, and without anything from outside."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.analysis.diagrams import diagram_svg
from nas.analysis.svg import TIMES
from nas.architecture import Architecture, AuxiliaryHead, Cell, Conv, Head, Pool, Shape
from nas.presets import PRESET_IMAGES, PRESETS

SVG = "{http://www.w3.org/2000/svg}"
IMAGE = Shape(3, 32, 32)
INCEPTION = Cell(
    (
        (Conv((1, 1), 64),),
        (Conv((1, 1), 96), Conv((3, 3), 128)),
        (Conv((1, 1), 16), Conv((5, 5), 32)),
        (Pool(), Conv((1, 1), 33)),
    )
)
OTHER = Cell(((Conv((1, 7), 20), Conv((7, 1), 21)), ()))


def parsed(svg):
    return ElementTree.fromstring(svg)


def words(svg):
    """Every line of drawn text, the multiplication sign as a plain x."""
    return ["".join(node.itertext()).replace(TIMES, "x") for node in parsed(svg).iter(f"{SVG}text")]


def network(stages, **parts):
    reductions = parts.pop("reductions", (Pool("max", 3, 2),) * (len(stages) - 1))
    return Architecture((Conv((3, 3), 48),), stages, reductions, **parts)


def test_every_part_of_a_network_is_written():
    architecture = network(
        ((INCEPTION,), (OTHER,)),
        auxiliary=(AuxiliaryHead(0, 0, weight=0.25),),
        head=Head(hidden=(77,), dropout=0.2),
    )
    found = words(diagram_svg(architecture, IMAGE, 13))
    for expected in (
        "image 3 x 32 x 32",
        "stem",
        "3x3 48",
        "stages.0.0",
        "257 x 32 x 32",
        "1x1 64",
        "1x1 96",
        "3x3 128",
        "5x5 32",
        "max 3x3",
        "1x1 33",
        "concat 257",
        "auxiliary.0, training only",
        "loss x 0.25, dropout 0.7",
        "reductions.0",
        "max 3x3/2",
        "1x7 20",
        "7x1 21",
        "identity",
        f"concat {257 + 21}",
        "global average",
        "linear 77",
        "dropout 0.2",
        "linear 13",
    ):
        assert expected in found, expected


def test_equal_cells_in_a_row_are_drawn_once_with_their_count():
    found = words(diagram_svg(network(((INCEPTION,) * 3 + (OTHER, INCEPTION),)), IMAGE, 10))
    assert [word for word in found if word.startswith("stages")] == [
        "stages.0.0 … x 3",
        "stages.0.3",
        "stages.0.4",
    ]
    assert found.count("5x5 32") == 2
    # The count stands for cells with the shape that the last of them has.
    assert found.count("257 x 32 x 32") == 2


def test_an_auxiliary_head_ends_a_group():
    architecture = network(((INCEPTION,) * 4,), auxiliary=(AuxiliaryHead(0, 1),))
    found = words(diagram_svg(architecture, IMAGE, 10))
    assert [word for word in found if word.startswith(("stages", "aux"))] == [
        "stages.0.0 … x 2",
        "auxiliary.0, training only",
        "stages.0.2 … x 2",
    ]


def test_a_residual_cell_shows_its_projection_and_sum():
    cell = Cell(INCEPTION.branches, residual=True)
    found = words(diagram_svg(network(((cell,),)), IMAGE, 10))
    assert "1x1 48, projection" in found
    assert "+" in found


def test_a_strided_cell_reduces():
    reduction = Cell(((Conv((3, 3), 30, 2),), (Pool("max", 3, 2),)))
    svg = diagram_svg(network(((OTHER,), (OTHER,)), reductions=(reduction,)), IMAGE, 10)
    assert {"reductions.0", "3x3/2 30", "max 3x3/2"} <= set(words(svg))


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_presets_stay_inside_their_frame(name, columns):
    svg = diagram_svg(PRESETS[name](), PRESET_IMAGES[name], 1000, columns=columns)
    root = parsed(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = list(placed(root))
    assert len(boxes) > 10
    for x, y, wide, high in boxes:
        assert x >= 0
        assert y >= 0
        assert x + wide <= width
        assert y + high <= height
    assert no_partial_overlap(boxes)


def placed(node, x=0.0, y=0.0):
    """Every rectangle in the drawing's coordinates."""
    moved = re.fullmatch(r"translate\((\S+) (\S+)\)", node.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    if node.tag == f"{SVG}rect":
        left, top, width, height = (float(node.get(k)) for k in ("x", "y", "width", "height"))
        yield x + left, y + top, width, height
    for child in node:
        yield from placed(child, x, y)


def no_partial_overlap(boxes):
    """Two boxes are apart, or one holds the other."""
    for index, (x, y, wide, high) in enumerate(boxes):
        for left, top, width, height in boxes[:index]:
            apart = x >= left + width or left >= x + wide or y >= top + height or top >= y + high
            inside = x >= left and y >= top and x + wide <= left + width + 0.1
            inside = inside and y + high <= top + height + 0.1
            if not apart and not inside:
                return False
    return True


def test_columns_make_a_drawing_flatter():
    heights, widths = [], []
    for columns in (1, 2, 3):
        svg = diagram_svg(PRESETS["googlenet"](), Shape(3, 224, 224), 1000, columns=columns)
        widths.append(float(parsed(svg).get("width")))
        heights.append(float(parsed(svg).get("height")))
    assert sorted(heights, reverse=True) == heights
    assert sorted(widths) == widths
    assert widths[0] < 450  # a phone shows one column at a readable size


def test_nothing_comes_from_outside_and_colours_follow_the_page():
    svg = diagram_svg(PRESETS["googlenet"](), Shape(3, 224, 224), 10)
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|image|use|foreignObject|style|a)\b|url\(|\bid=|href", svg)
    assert 'fill="currentColor"' in svg
    assert not re.search(r'"(#000|#fff|black|white)', svg)


def test_the_title_is_escaped_and_described_to_a_screen_reader():
    hostile = '"><script>alert(1)</script>&'
    root = parsed(diagram_svg(network(((OTHER,),)), IMAGE, 10, title=hostile))
    assert root.get("aria-label") == hostile
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == hostile
    assert "stages.0.0" in root.find(f"{SVG}desc").text
    assert not list(root.iter(f"{SVG}script"))


def test_an_image_that_does_not_fit_is_refused():
    stages = ((OTHER,),) * 3
    reductions = (Pool("max", 3, 2, padding=0),) * 2
    with pytest.raises(ValueError, match="does not fit"):
        diagram_svg(network(stages, reductions=reductions), Shape(3, 4, 4), 10)


OPS = st.one_of(
    st.builds(
        Conv,
        st.tuples(st.sampled_from([1, 3, 5, 7, 11]), st.sampled_from([1, 3, 5, 7])),
        st.sampled_from([1, 64, 4096, 65_536]),
    ),
    st.builds(Pool, st.sampled_from(["max", "avg"])),
)
BRANCHES = st.lists(st.lists(OPS, max_size=4).map(tuple), min_size=1, max_size=6).map(tuple)
CELLS = st.builds(Cell, BRANCHES.filter(any), st.booleans())
STAGES = st.lists(st.lists(CELLS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3)


@given(STAGES.map(tuple), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_any_architecture_is_drawn_whole(stages, columns):
    architecture = network(stages)
    svg = diagram_svg(architecture, IMAGE, 10, columns=columns)
    root = parsed(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = list(placed(root))
    assert no_partial_overlap(boxes)
    assert max(x + wide for x, _, wide, _ in boxes) <= width
    assert max(y + high for _, y, _, high in boxes) <= height
    counted = 0
    for word in words(svg):
        match = re.fullmatch(r"stages\.\d+\.\d+(?: … x (\d+))?", word)
        counted += int(match[1] or 1) if match else 0
    assert counted == architecture.num_cells
