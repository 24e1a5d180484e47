"""torchvision's GoogLeNet: its own names load, and its outputs are ours, auxiliary ones too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import nas
from test_model import GoogLeNet, randomise

from nas.architecture import Shape
from nas.export import plain_names, torchvision_names
from nas.export.weights import read_weights
from nas.model import build
from nas.presets import torchvision_googlenet

IMAGE = Shape(3, 224, 224)


@pytest.fixture(scope="module")
def reference() -> GoogLeNet:
    """The independent module of the model's tests, with weights of its own."""
    network = GoogLeNet(1000)
    randomise(network)
    return network.eval()


@pytest.fixture(scope="module")
def file(reference: GoogLeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchvision") / "googlenet-1378be20.pth"
    torch.save(reference.state_dict(), path)
    return path


def test_its_file_gives_its_outputs(reference: GoogLeNet, file: Path) -> None:
    network = build(torchvision_googlenet(), IMAGE, 1000)
    network.load_state_dict(plain_names(read_weights(file)), strict=True)
    images = torch.randn(1, *IMAGE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours, theirs = network.eval().forward_with_auxiliary(images), reference(images)
    assert len({tuple(answer.flatten().tolist()) for answer in theirs}) == 3
    for answer, expected in zip((ours.main, *ours.auxiliary), theirs, strict=True):
        assert expected.std() > 0.01
        assert (answer - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())


def test_names_go_there_and_back(reference: GoogLeNet) -> None:
    theirs = reference.state_dict()
    ours = plain_names(theirs)
    assert len(ours) == len(theirs)
    assert set(ours) == set(build(torchvision_googlenet(), IMAGE, 1000).state_dict())
    back = torchvision_names(ours)
    assert back.keys() == theirs.keys()
    assert all(back[name] is ours_value for name, ours_value in theirs.items())


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no tensor 'inception9a\.branch1\.conv\.weight'"):
        plain_names({"inception9a.branch1.conv.weight": 1})
    with pytest.raises(ValueError, match=r"no layer 'stem\.1'"):
        torchvision_names({"stem.1.weight": torch.ones(1)})


def test_the_command_takes_its_file(file: Path, tmp_path: Path) -> None:
    words = ["export", "torchvision_googlenet", "--weights", file, "--out", tmp_path / "out"]
    result = nas(*words, "--auxiliary", "--json")
    assert result.code == 0, result.err
    assert result.data["proofs"]["source"]["weights"] == "exported"
    summary = json.loads((tmp_path / "out" / "export.json").read_text())
    assert summary["auxiliary"] is True
    other = nas("export", "googlenet", "--weights", file, "--out", tmp_path / "other")
    assert other.code == 2
    assert "of another shape" in other.err
