"""docs/dashboard.md: its links, its pictures and what it says of commands and limits hold."""

import shlex
from pathlib import Path

import pytest
from PIL import Image
from test_readme import relative_links

from nas.dashboard.state import VIEWS, read_state
from nas.dashboard.views import choices, compare

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "dashboard.md"
TEXT = PAGE.read_text(encoding="utf-8")
LARGEST = 250_000


@pytest.mark.parametrize("page", ["dashboard.md", "analysis.md", "numbers.md"])
def test_no_relative_link_is_dead(page):
    links = relative_links((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_view_has_its_section_and_its_picture():
    for view, title in VIEWS.items():
        assert f"## {title}" in TEXT
        assert f"(images/dashboard-{view}.png)" in TEXT


def test_pictures_are_sharp_and_small():
    for path in (ROOT / "docs" / "images").glob("*.png"):
        assert path.stat().st_size < LARGEST, path.name
        with Image.open(path) as picture:
            assert picture.width >= 1200, path.name


def test_the_link_of_the_page_opens_what_it_says():
    link = next(word for word in TEXT.split("`") if word.startswith("/front?"))
    state = read_state(*link.replace("?", " ?").split(), ["quickstart", "first"])
    assert (state.view, state.run, state.trial) == ("front", "first", 46)
    assert (state.x, state.budget) == ("params", 50_000_000)


def test_the_limits_are_those_of_the_code():
    said = " ".join(TEXT.split())
    assert f"At most {compare.MAX_RUNS} runs are compared at once" in said
    assert f"and {choices.MAX_AXES} axes drawn" in said


def test_the_commands_are_commands():
    block = TEXT.split("```console\n")[1].split("```")[0]
    lines = [shlex.split(line[2:], comments=True) for line in block.splitlines()]
    assert all(words[:2] == ["nas", "dashboard"] for words in lines)
    assert lines[-1][-1].startswith("postgresql://")
