"""The wheel: all that runs without the repository is in it, types included."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

PROGRAM = """
import nas
from pathlib import Path
from nas.datasets import describe_data, load_data
from nas.space import SearchSpace, space_names

assert Path(nas.__file__).is_relative_to(Path("ROOT")), nas.__file__
names = space_names()
print(*names)
for name in names:
    assert SearchSpace.load(name).name == name
info = describe_data("fashion-mnist-mini")
for split, count in (("train", info.num_train), ("test", info.num_test)):
    assert len(load_data("fashion-mnist-mini", split=split)) == count > 0
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel of this working tree."""
    place = tmp_path_factory.mktemp("wheel")
    words = "-m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation"
    subprocess.run([sys.executable, *words.split(), str(REPOSITORY)], check=True, cwd=place)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def test_its_files_are_those_of_the_packages(unpacked: Path) -> None:
    report = unpacked / "nas" / "report"
    names = ("page.html", "page.css", "page.js", "plotly-basic.min.js", "PLOTLY_LICENSE")
    assert [name for name in names if not (report / name).is_file()] == []
    assert (unpacked / "nas" / "py.typed").is_file()
    top = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"nas", "search_spaces"}
    assert not list(unpacked.rglob("__pycache__"))
    assert not list(unpacked.rglob("test_*.py"))


def test_it_works_alone_and_elsewhere(unpacked: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "NAS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-P", "-c", PROGRAM.replace("ROOT", str(unpacked))]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == 4
    # Nothing is printed or written but what was asked for: the embedded data needs no cache.
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
