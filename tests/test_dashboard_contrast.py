"""Colours of the pages: contrast as WCAG 2.2 counts it, level AA, in both themes."""

import re
from importlib.resources import files

import pytest

from nas.analysis.theme import ORANGE, SERIES, SKY, THEMES, shown

TEXT, GRAPHIC = 4.5, 3.0
"""Least ratios: success criteria 1.4.3 (text) and 1.4.11 (marks and the edges of controls)."""


def luminance(colour):
    """Relative luminance of ``#rrggbb`` (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ("text", "page"), ("text", "surface"), ("text", "accent_surface"),
        ("muted", "page"), ("muted", "surface"),
        ("accent", "page"), ("accent", "surface"), ("accent", "accent_surface"),
        ("surface", "accent"), ("warning", "warning_surface"),
    ],
)  # fmt: skip
def test_text_stands_out(name, ink, ground):
    theme = THEMES[name]
    assert contrast(getattr(theme, ink), getattr(theme, ground)) >= TEXT


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("colour", SERIES)
def test_marks_stand_out(name, colour):
    # Two colours are too pale on white to stand alone: each has a marker or a word of its own.
    least = 2.2 if name == "light" and colour in (ORANGE, SKY) else GRAPHIC
    assert contrast(shown(colour, name), THEMES[name].surface) >= least


@pytest.mark.parametrize("name", THEMES)
def test_edges_of_fields_stand_out(name):
    theme = THEMES[name]
    assert contrast(theme.edge, theme.surface) >= GRAPHIC
    assert contrast(theme.edge, theme.page) >= GRAPHIC


def test_the_pages_take_their_text_from_the_theme():
    for path in files("nas.dashboard").joinpath("assets").iterdir():
        if path.name.endswith(".css"):
            colours = re.findall(r"(?<![-\w])color:\s*(#[0-9a-fA-F]+)", path.read_text())
            assert not colours, f"{path.name} sets {colours}, which no test has seen"
