"""Single figures for papers, from the command line and in Python, without a browser."""

from io import BytesIO
from xml.etree import ElementTree

import pytest
from command_line import nas
from PIL import Image
from synthetic_runs import make_run

from nas.records import Outcome
from nas.report import write_figure
from nas.report.paper import FIGURES, labelled

OF_ONE_RUN = ("curves", "importance", "parallel", "branches", "survival", "reductions")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    return [make_run(results, name, trials=30, seed=seed) for seed, name in enumerate("ab")]


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_can_be_written(name, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no browser to be found
    given = runs[:1] if name in OF_ONE_RUN else runs
    path = write_figure(given, tmp_path / "sub" / f"{name}.svg")
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 3
    assert [one.name for one in path.parent.iterdir()] == [f"{name}.svg"]


def test_a_png_is_fine_enough_for_print(runs, tmp_path):
    path = write_figure(runs[:1], tmp_path / "front.png")
    image = Image.open(BytesIO(path.read_bytes()))
    assert image.format == "PNG"
    assert image.size == (2160, 1320)


def test_the_command_writes_figures_alone_or_beside_the_page(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = nas("report", runs[0].path, "--figure", "front.svg", "--figure", "curves.png")
    assert result.code == 0, result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "front.svg"]
    assert "wrote front.svg" in result.out
    both = nas("report", runs[0].path, "--figure", "front.svg", "--out", "page.html")
    assert both.code == 0, both.err
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ("front.pdf", "--figure must end in .svg or .png, not 'front.pdf'"),
        ("frnt.svg", "did you mean 'front'?"),
        ("curves.svg", "the figure curves is of one run, and there are 2"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_line(figure, words, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = nas("report", *(run.path for run in runs), "--figure", figure)
    assert result.code == 2
    assert words in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


def failing(number, error, curve):
    return Outcome("failed", reason="the loss is NaN")


def test_a_run_without_a_front_has_few_figures(tmp_path):
    run = make_run(tmp_path, "failed", trials=2, outcome=failing)
    assert write_figure([run], tmp_path / "front.svg").is_file()  # failed trials are shown
    for name in ("fronts", "attainment", "curves", "importance", "parallel", "reductions"):
        with pytest.raises(ValueError, match=r"no |nothing|need"):
            write_figure([run], tmp_path / f"{name}.svg")
    empty = make_run(tmp_path, "empty", trials=0)
    with pytest.raises(ValueError, match="no trials yet"):
        write_figure([empty], tmp_path / "front.svg")


def test_unlike_runs_are_not_drawn_together(runs, tmp_path):
    other = make_run(tmp_path, "other", trials=2, objectives=("error", "params"))
    for name in ("attainment", "hypervolume", "indicators"):
        with pytest.raises(ValueError, match="do not compare"):
            write_figure([runs[0], other], tmp_path / f"{name}.svg")


def test_runs_of_one_name_stay_apart(runs):
    assert list(labelled(runs)) == ["a", "b"]
    twice = list(labelled([runs[0], runs[0], runs[1]]))
    assert twice == [f"a ({runs[0].path})", f"a ({runs[0].path}), 2", "b"]
