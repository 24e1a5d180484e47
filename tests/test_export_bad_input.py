"""What an export refuses: one clear line each, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import make_images, nas
from safetensors.torch import save_file
from test_export import CLASSES, IMAGE, small

from nas.architecture import Architecture
from nas.export.proof import initial_weights
from nas.training.full import FullSettings, train_architecture

OUT = "--image 1x12x10 --classes 3 --out new/out"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an architecture and weights for it."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "small.json").write_text(small(auxiliary=()).to_json())
    weights = initial_weights(small(), IMAGE, CLASSES, auxiliary=False)
    save_file(weights, work / "w.safetensors")
    return work


def names(place: Path) -> list[str]:
    return sorted(str(item.relative_to(place)) for item in place.rglob("*"))


def refused(place: Path, command: str, *phrases: str) -> None:
    before = names(place)
    result = nas(*shlex.split(command))
    assert result.code == 2, (result.out, result.err)
    lines = result.err.splitlines()
    assert lines[-1].startswith("error: "), lines
    assert [line for line in lines if line.startswith("error")] == [lines[-1]]
    assert "Traceback" not in result.err
    for phrase in phrases:
        assert phrase in lines[-1], lines[-1]
    assert names(place) == before


def test_an_architecture_that_does_not_fit_the_image(place: Path) -> None:
    refused(
        place,
        "export googlenet --image 3x16x16 --format onnx --out new/out",
        "does not fit a map of",
    )


def test_weights_of_another_architecture(place: Path) -> None:
    weights = initial_weights(small(), IMAGE, CLASSES, auxiliary=False)
    first = next(iter(weights))
    weights[first] = torch.ones(2, 3)
    weights["more"] = torch.ones(1)
    save_file(weights, "other.safetensors")
    refused(
        place,
        f"export small.json --weights other.safetensors --format pt2 {OUT}",
        "weights are those of another architecture",
        "1 unknown (more)",
        f"{first} is 2x3, not 6x1x3x3",
    )


def test_data_with_other_classes_or_channels(place: Path) -> None:
    make_images(place / "two", classes=2)
    words = f"export small.json --format source {OUT} --data"
    refused(place, f"{words} folder:two", "has 2 classes", "answers 3")
    refused(
        place,
        "export cifar_googlenet --format source --out new/out --data folder:two",
        "1 channels",
        "reads 3",
    )
    refused(place, f"{words} folder:nowhere", "nowhere")


def test_data_with_other_names_than_the_training(place: Path) -> None:
    mine = make_images(place / "mine", classes=2)
    train_architecture(
        small(auxiliary=()),
        FullSettings(data=f"folder:{mine}", epochs=1, precision="float32"),
        out=place / "trained",
        threads=1,
    )
    other = make_images(place / "other", classes=2)
    for split in ("train", "test"):
        (other / split / "class1").rename(other / split / "zebra")
    refused(
        place,
        "export trained --data folder:other --out new/out",
        "number 1 is 'zebra'",
        "network's is 'class1'",
    )
    # Its own data has gone: 8-bit numbers cannot do without it, the others say so.
    shutil.rmtree(mine)
    refused(place, "export trained --quantize int8 --out new/out", "int8 needs training images")
    result = nas("export", "trained", "--out", "new/out", "--format", "source", "--json")
    assert result.code == 0, result.err
    assert "cannot be read" in result.data["proofs"]["source"]["images"]


def test_unknown_formats(place: Path) -> None:
    refused(place, f"export small.json --format onx {OUT}", "'onx'", "did you mean 'onnx'")
    refused(place, f"export small.json --quantize int4 {OUT}", "'int4'", "int8")


def test_int8_of_trained_weights_needs_images(place: Path) -> None:
    refused(
        place,
        f"export small.json --weights w.safetensors --quantize int8 {OUT}",
        "int8 needs training images",
        "--data",
    )


def test_missing_packages_and_compiler(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None here is how Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for wanted in ("onnx", "int8"):
        refused(
            place,
            f"export small.json --format {wanted} {OUT}",
            f"the format {wanted} needs onnxscript",
            "pip install 'inception-nas[export]'",
        )
    monkeypatch.setenv("CXX", "no-such-compiler")
    refused(place, f"export small.json --aot {OUT}", "needs a C++ compiler", "CXX")


def test_no_weights_that_are_pickles(place: Path) -> None:
    (place / "bad.pth").write_bytes(b"not a pickle")
    refused(place, f"export small.json --weights bad.pth {OUT}", "bad.pth", "no state dict")
    torch.save([1, 2], place / "list.pth")
    refused(place, f"export small.json --weights list.pth {OUT}", "list.pth", "names and tensors")


def test_onnx_ends_at_two_gibibytes() -> None:
    from nas.export.graphs import check_tools

    with pytest.raises(ValueError, match=r"at most 2 GiB, and the weights have 2\.2: take pt2"):
        check_tools("onnx", 600_000_000)
    check_tools("pt2", 600_000_000)


def test_a_target_that_cannot_be_written(place: Path) -> None:
    (place / "file").write_text("mine")
    refused(place, f"export small.json {OUT.replace('new/out', 'file/out')}", "file")
    # The path that was given, not that of the directory beside it that would have become it.
    words = "export small.json --image 1x12x10 --out /proc/out --format json"
    refused(place, words, "error: /proc/out: ")


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
from nas.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("chosen", "most"), [("fused", 9_000), ("pt2", 12_000), ("onnx", 12_000)])
def test_a_disk_that_is_full_midway(place: Path, chosen: str, most: int) -> None:
    # A limit on files' sizes fails writes as a full disk does: real, and midway.
    before = names(place)
    words = ["export", "small.json", "--format", chosen, "--no-latency", *shlex.split(OUT)]
    result = subprocess.run(
        [sys.executable, "-c", FULL.format(most=most), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "file too large" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert names(place) == before


def test_an_interrupted_export_leaves_nothing(place: Path) -> None:
    # The description comes first, so that there is something to leave behind.
    from nas.export import Step, export_architecture

    def interrupt(step: Step) -> None:
        if step.number == 2:
            raise KeyboardInterrupt

    architecture = Architecture.from_json((place / "small.json").read_bytes())
    before = names(place)
    with pytest.raises(KeyboardInterrupt):
        export_architecture(architecture, IMAGE, 3, out=place / "new" / "out", on_step=interrupt)
    assert names(place) == before


def test_a_summary_of_the_export_is_json(place: Path) -> None:
    result = nas(*shlex.split(f"export small.json --format json {OUT}"))
    assert result.code == 0, result.err
    assert json.loads((place / "new/out/export.json").read_text())["proofs"] == {}
