"""Figures as SVG and PNG without a browser: what is drawn, where, and what is refused."""

import re
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from synthetic_runs import CURVES, OBJECTIVES, TRIALS

from nas.analysis.figures import curves_figure, front_figure, fronts_figure, hypervolume_figure
from nas.analysis.tables import curves_table, front_table, hypervolume_table, trials_table
from nas.analysis.theme import THEMES
from nas.report.raster import svg_to_png
from nas.report.vector import figure_svg

TABLE = trials_table(TRIALS, OBJECTIVES, CURVES)
SPACE = "{http://www.w3.org/2000/svg}"


def parsed(figure, **more):
    return ElementTree.fromstring(figure_svg(figure, **more))


def words(svg):
    return [node.text for node in svg.iter(f"{SPACE}text")]


def test_the_front_is_a_whole_svg_with_its_words():
    svg = parsed(front_figure(TABLE, OBJECTIVES), width=600, height=400)
    assert svg.get("viewBox") == "0 0 600 400"
    found = words(svg)
    for word in ("MACs at the target (counted)", "validation error (proxy)", "10M", "100M"):
        assert word in found
    assert {"front (4)", "stopped (1)", "failed (1)", "knee, trial 2", "cifar_googlenet"} <= set(
        found
    )
    text = figure_svg(front_figure(TABLE, OBJECTIVES))
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text


def centres(svg, colour):
    """Where filled circles of a colour are, in pixels, the legend's left out."""
    found = []
    for node in svg.iter(f"{SPACE}path"):
        circle = re.fullmatch(r"M([\d.]+) ([\d.]+)a([\d.]+) .*z", node.get("d", ""))
        if circle and node.get("fill") == colour and float(circle[2]) > 50:
            found.append((float(circle[1]) + float(circle[3]), float(circle[2])))
    return found


def test_marks_stand_where_their_values_are():
    figure = front_figure(TABLE, OBJECTIVES)
    found = sorted(centres(parsed(figure), figure.data[-2].marker.color))
    front = TABLE[TABLE["standing"] == "front"].sort_values(["macs", "error"])
    assert len(found) == len(front) == 4
    # Pixels are a straight line of log MACs, and of the error downwards.
    logs, errors = np.log10(front["macs"]), front["error"]
    assert np.corrcoef(logs, [x for x, _ in found])[0, 1] > 0.9999
    assert np.corrcoef(errors, [y for _, y in found])[0, 1] < -0.9999
    assert found[0][1] < found[-1][1]  # the cheapest has the largest error: it is above


def test_stopped_trials_are_hollow_and_legible_in_both_themes():
    for theme in ("light", "dark"):
        svg = parsed(front_figure(TABLE, OBJECTIVES, theme=theme), theme=theme)
        hollow = [
            node
            for node in svg.iter(f"{SPACE}path")
            if node.get("fill") == "none" and re.match(r"M[\d. ]+a4 4 ", node.get("d", ""))
        ]
        assert hollow, theme
        assert all(float(node.get("stroke-width")) >= 1.5 for node in hollow)
        assert svg.find(f"{SPACE}rect").get("fill") == THEMES[theme].surface


def test_steps_and_bands_and_bars():
    history = hypervolume_table(TRIALS, OBJECTIVES, (0.9, 1e9))
    line = figure_svg(hypervolume_figure({"a": history, "b": history}))
    assert re.search(r"M[\d. ]+H[\d.]+V[\d.]+H", line)
    fronts = figure_svg(fronts_figure({"one": front_table(TRIALS, OBJECTIVES)}))
    assert "validation error" in fronts
    curves = figure_svg(curves_figure(curves_table(CURVES, [2, 3]), highlight=2))
    assert curves.count("L") > 0
    bars = go.Figure(
        [
            go.Bar(
                x=[0.25, 0.5], y=["a", "b"], orientation="h", name=name, marker={"color": colour}
            )
            for name, colour in (("p", "#000000"), ("q", "#ffffff"))
        ],
        layout={"barmode": "stack", "xaxis": {"range": [0, 1]}},
    )
    rectangles = [
        node for node in parsed(bars).iter(f"{SPACE}rect") if node.get("stroke") is not None
    ]
    widths = [float(node.get("width")) for node in rectangles]
    starts = [float(node.get("x")) for node in rectangles]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert starts[2] == pytest.approx(starts[0] + widths[0], abs=0.2)  # q stands on p


def test_words_of_a_run_are_text():
    hostile = "</text><script>alert(1)</script>"
    figure = hypervolume_figure(
        {name: hypervolume_table(TRIALS, OBJECTIVES, (0.9, 1e9)) for name in (hostile, "b")}
    )
    svg = parsed(figure)
    assert not list(svg.iter(f"{SPACE}script"))
    assert any(hostile[:20] in (word or "") for word in words(svg))


@pytest.mark.parametrize(
    "trace",
    [
        go.Parcoords(dimensions=[{"values": [1, 2]}]),
        go.Bar(x=["a"], y=[1], marker={"color": "#000000"}),
        go.Scatter(x=[1], y=[1], mode="markers", marker={"symbol": "hexagram", "size": 5}),
    ],
)
def test_what_cannot_be_drawn_is_refused(trace):
    with pytest.raises(ValueError, match="cannot be drawn as SVG"):
        figure_svg(go.Figure([trace]))


def test_an_empty_figure_is_an_empty_drawing():
    nothing = trials_table(TRIALS.iloc[:0], OBJECTIVES)
    assert "MACs at the target" in figure_svg(front_figure(nothing, OBJECTIVES))
    assert figure_svg(go.Figure()).startswith("<svg")


def test_a_png_has_its_size_and_its_text_without_system_fonts():
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40" font-family="No Such">'
    svg += '<rect width="100%" height="100%" fill="#fff"/>'
    with_text = svg + '<text x="8" y="28" font-size="24">knee 42</text></svg>'
    blank, written = (
        np.asarray(Image.open(BytesIO(svg_to_png(text, zoom=2))).convert("L"))
        for text in (svg + "</svg>", with_text)
    )
    assert blank.shape == written.shape == (80, 240)
    assert blank.min() == 255
    assert 0.02 < (written < 128).mean() < 0.4
    with pytest.raises(ValueError, match=r"."):
        svg_to_png("no svg")
