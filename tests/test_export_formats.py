"""Every format of an export, in its own runtime: what it computes, carries, and says of itself."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import make_images, nas
from safetensors import safe_open
from safetensors.torch import load_file
from test_export import ARCHITECTURES, CLASSES, IMAGE, network_of, small

from nas.architecture import Architecture, Shape
from nas.cost import count_cost
from nas.export import (
    Export,
    Preprocessing,
    ProofError,
    Provenance,
    export_architecture,
    write_fused_source,
    write_source,
)
from nas.export.folding import fuse_weights
from nas.export.graphs import OPSET
from nas.export.images import Images, random_images
from nas.export.proof import Artefact, Reference, initial_weights, prove
from nas.model import build
from nas.presets import PRESET_IMAGES, load_preset
from nas.space import SearchSpace
from nas.space.search_space import SHIPPED
from nas.training.full import FullSettings, train_architecture

SIDES = {"tiny": 20, "googlenet_small": 32, "googlenet": 96, "inception_v3": 96}
FAST = ("fused", "onnx", "pt2", "int8")
NAMES = ['a "quoted" name', "class1", "ünïcode | pipe"]


# ----------------------------------------------------------------------------- the fused source


def fused_network(architecture: Architecture, image: Shape, weights: object) -> torch.nn.Module:
    network = network_of(write_fused_source(architecture, image, CLASSES, Provenance("small")))
    network.load_state_dict(fuse_weights(architecture, weights), strict=True)  # type: ignore[arg-type]
    return network.eval()


def same_outputs(architecture: Architecture, image: Shape, seed: object = "") -> None:
    weights = initial_weights(architecture, image, CLASSES, auxiliary=False)
    reference = build(architecture, image, CLASSES, auxiliary=False)
    reference.load_state_dict(weights)
    inputs = torch.randn(3, *image, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = reference.eval()(inputs)
        found = fused_network(architecture, image, weights)(inputs)
    assert expected.std() > 1e-3
    scale = max(1.0, expected.abs().max().item())
    assert (found - expected).abs().max() <= 1e-5 * scale, seed


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fused_source_computes_the_same(name: str) -> None:
    same_outputs(ARCHITECTURES[name], IMAGE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SIDES)
def test_fused_source_of_random_networks(name: str, seed: int) -> None:
    architecture = SearchSpace.load(name).random(np.random.default_rng(100 + seed))
    same_outputs(architecture, Shape(3, SIDES[name], SIDES[name]), (name, seed))


def test_fused_googlenet_has_no_norms_and_one_convolution_for_four() -> None:
    architecture, image = load_preset("googlenet"), PRESET_IMAGES["googlenet"]
    with torch.device("meta"):
        network = network_of(write_fused_source(architecture, image, 1000, Provenance("fused")))
    convolutions = [item for item in network.modules() if isinstance(item, torch.nn.Conv2d)]
    # 57 convolutions, of which three in each of the nine cells read its input and become one.
    assert len(convolutions) == 57 - 2 * 9
    assert not any(isinstance(item, torch.nn.BatchNorm2d) for item in network.modules())
    # A norm's two numbers a channel have become one bias (FACTS: 7,005,832 with norms).
    without_norms = 6_998_552
    assert sum(value.numel() for value in network.parameters()) == without_norms
    assert count_cost(architecture, image, 1000).params == 7_005_832


def test_fused_source_is_as_formatters_and_linters_leave_it(tmp_path: Path) -> None:
    described = Preprocessing(("a", 'b "c"', "d"), (0.25,), (0.5,))
    for index, architecture in enumerate(ARCHITECTURES.values()):
        provenance = Provenance("small", "Words.", described)
        text = write_fused_source(architecture, IMAGE, CLASSES, provenance)
        (tmp_path / f"source_{index}.py").write_text(text)
        tree = ast.parse(text)
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        assert [alias.name for node in imported for alias in node.names] == ["torch"]
    for words in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("form", ["network", "network_fused"])
def test_sources_read_as_the_reviewed_ones(form: str) -> None:
    described = Preprocessing(("cat", "dog", "cow"), (0.25,), (0.5,))
    provenance = Provenance("golden", "", described)
    write = write_fused_source if form == "network_fused" else write_source
    text = write(small(auxiliary=()), IMAGE, CLASSES, provenance)
    assert text == (GOLDEN / f"{form}.py.txt").read_text()


def test_many_class_names_stand_at_the_end() -> None:
    names = tuple(f"class{index}" for index in range(101))
    provenance = Provenance("small", "", Preprocessing(names, (0.5,), (0.5,)))
    for write in (write_source, write_fused_source):
        text = write(small(), IMAGE, 101, provenance)
        found: dict[str, object] = {}
        exec(text, found)
        assert found["CLASS_NAMES"] == names
        assert text.index("class Network") < text.index("CLASS_NAMES")


# ------------------------------------------------------------------- what timm's users expect


@pytest.fixture
def network() -> torch.nn.Module:
    exported = network_of(write_source(small(), IMAGE, CLASSES, Provenance("small")))
    exported.load_state_dict(initial_weights(small(), IMAGE, CLASSES, auxiliary=False))
    return exported.eval()


IMAGES = torch.randn(2, *IMAGE, generator=torch.Generator().manual_seed(5))


def test_features_and_head_make_the_forward(network: torch.nn.Module) -> None:
    features = network.forward_features(IMAGES)
    assert features.shape == (2, network.num_features, 3, 2)
    torch.testing.assert_close(network.forward_head(features), network(IMAGES))
    before = network.forward_head(features, pre_logits=True)
    torch.testing.assert_close(network.get_classifier()(before), network(IMAGES))


def test_intermediate_maps_are_those_of_the_stages(network: torch.nn.Module) -> None:
    final, maps = network.forward_intermediates(IMAGES)
    torch.testing.assert_close(final, network.forward_features(IMAGES))
    assert [len(maps), len(network.feature_info)] == [2, 2]
    for item, info in zip(maps, network.feature_info, strict=True):
        assert item.shape[1] == info["num_chs"]
        assert item.shape[2] == -(-IMAGE.height // info["reduction"])
        assert network.get_submodule(info["module"]) is not None
    torch.testing.assert_close(maps[-1], final)
    for indices, expected in (([0], [0]), ([-1], [1]), (1, [1]), (2, [0, 1]), ([1, 0], [0, 1])):
        found = network.forward_intermediates(IMAGES, indices=indices, intermediates_only=True)
        assert len(found) == len(expected)
        for item, index in zip(found, expected, strict=True):
            torch.testing.assert_close(item, maps[index])
    early, _ = network.forward_intermediates(IMAGES, indices=[0], stop_early=True)
    torch.testing.assert_close(early, maps[0])
    with pytest.raises(ValueError, match="indices must be 1 to 2, not 3"):
        network.forward_intermediates(IMAGES, indices=3)
    with pytest.raises(ValueError, match="NCHW"):
        network.forward_intermediates(IMAGES, output_fmt="NHWC")


@pytest.mark.parametrize("auxiliary", [False, True])
def test_classifier_is_reset_for_other_classes(auxiliary: bool) -> None:
    text = write_source(small(), IMAGE, CLASSES, Provenance("small"), auxiliary=auxiliary)
    exported = network_of(text).eval()
    exported.reset_classifier(7)
    assert exported.num_classes == 7
    assert exported(IMAGES).shape == (2, 7)
    if auxiliary:
        assert [head.shape for head in exported.forward_with_auxiliary(IMAGES).auxiliary] == [
            (2, 7),
            (2, 7),
        ]
    exported.reset_classifier(0)
    assert exported(IMAGES).shape == (2, exported.num_features)
    exported.reset_classifier(4)
    assert exported(IMAGES).shape == (2, 4)


def test_backbone_loads_into_a_network_with_other_classes(network: torch.nn.Module) -> None:
    names: dict[str, object] = {}
    exec(write_source(small(), IMAGE, CLASSES, Provenance("small")), names)
    other = names["Network"](num_classes=8).eval()  # type: ignore[operator]
    other.load_backbone(network.state_dict())
    torch.testing.assert_close(other.forward_features(IMAGES), network.forward_features(IMAGES))
    assert other(IMAGES).shape == (2, 8)
    with pytest.raises(ValueError, match="weights of another network: see"):
        other.load_backbone({**network.state_dict(), "extra": torch.ones(1)})
    with pytest.raises(ValueError, match=r"see stem\.0"):
        other.load_backbone({"head.classifier.weight": torch.ones(1)})


# ---------------------------------------------------------- an export of a trained network, whole


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of ``nas train``: learnable images, three classes with awkward names."""
    root = tmp_path_factory.mktemp("trained")
    images = make_images(root / "images", classes=3, images=40)
    for split in ("train", "test"):
        (images / split / "class0").rename(images / split / NAMES[0])
        (images / split / "class2").rename(images / split / NAMES[2])
    architecture = small(auxiliary=())
    settings = FullSettings(data=f"folder:{images}", epochs=6, precision="float32")
    train_architecture(architecture, settings, out=root / "network", threads=1)
    (root / "network" / "MODEL_CARD.md").write_text("# The training's own card\n")
    return root / "network"


def architecture_of(folder: Path) -> Architecture:
    return Architecture.from_json((folder / "architecture.json").read_bytes())


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """All formats but the compiled one, proven on the training's images, and timed."""
    return export_architecture(
        architecture_of(trained),
        Shape(1, 12, 12),
        3,
        out=tmp_path_factory.mktemp("formats") / "out",
        weights=trained,
        formats=["json", "weights", "source", *FAST],
        name="mine",
        latency_seconds=0.1,
    )


def test_every_format_is_proven_on_the_images_of_its_training(
    exported: Export, trained: Path
) -> None:
    training = json.loads((trained / "training.json").read_text())
    assert training["accuracy"] > 0.6
    assert list(exported.proofs) == ["source", "fused", "onnx", "pt2", "int8"]
    for name, proof in exported.proofs.items():
        assert proof.images == f"{training['data']}, test split", name
        assert (proof.num_images, proof.weights) == (60, "exported")
        assert proof.output_spread > 0.1
        if name != "int8":
            assert 0 < proof.largest_difference <= proof.limit <= 1e-4 * proof.largest_output + 1e-4
            assert proof.top1_agreement == 1
            assert proof.accuracy is None
    assert "onnxruntime" in exported.proofs["onnx"].versions
    assert "torch" not in exported.proofs["onnx"].versions
    assert "torch" in exported.proofs["pt2"].versions


def test_int8_says_what_it_lost_of_the_measured_accuracy(exported: Export, trained: Path) -> None:
    proof = exported.proofs["int8"]
    training = json.loads((trained / "training.json").read_text())
    assert proof.accuracy is not None
    assert proof.accuracy.network == pytest.approx(training["accuracy"])
    assert proof.accuracy.lost == proof.accuracy.network - proof.accuracy.artefact
    assert (proof.accuracy.num_images, proof.limit) == (60, 0.5)
    assert exported.proofs["onnx"].noise < 1e-4 < proof.noise < 0.1


def test_int8_holds_integers(exported: Export) -> None:
    model = onnx.load(exported.files["int8"])
    kinds = {item.data_type for item in model.graph.initializer if len(item.dims) == 4}
    assert kinds == {onnx.TensorProto.INT8}
    scales = [
        item.dims[0] for item in model.graph.initializer if item.name.endswith("weight_scale")
    ]
    assert max(scales) > 1, "a scale for each channel"


def test_latency_of_all_stands_beside_the_eager_module(exported: Export) -> None:
    assert exported.latencies is not None
    rows = exported.latencies.rows
    expected = ["eager", "fused", "onnx", "pt2", "int8"]
    assert [(row.batch, row.format) for row in rows] == [(b, n) for b in (1, 32) for n in expected]
    for row in rows:
        low, high = row.quartiles_ms
        assert 0 < low <= row.median_ms <= high
        assert row.num_runs >= 3
        eager = next(each for each in rows if (each.batch, each.format) == (row.batch, "eager"))
        assert row.speedup == pytest.approx(eager.median_ms / row.median_ms)


def test_results_are_in_the_summary_and_the_card(exported: Export) -> None:
    summary = json.loads((exported.directory / "export.json").read_text())
    assert set(summary["proofs"]) == set(exported.proofs)
    assert summary["proofs"]["onnx"]["noise"] == exported.proofs["onnx"].noise
    assert len(summary["latency"]["rows"]) == 10
    assert summary["opset"] == OPSET
    assert set(summary["files"]) == {
        item.name for item in exported.directory.iterdir() if item.name != "export.json"
    }
    card = (exported.directory / "MODEL_CARD.md").read_text()
    assert card.startswith("# The training's own card\n\n## Exported files")
    for name in exported.proofs:
        assert f"\n| {name} | " in card
    assert "| eager | 32 | " in card
    assert "points lost" in card


def metadata_of(exported: Export, chosen: str) -> dict[str, str]:
    path = exported.files[chosen]
    if chosen in ("onnx", "int8"):
        return {item.key: item.value for item in onnx.load(path).metadata_props}
    if chosen == "pt2":
        extra = {"metadata.json": ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra["metadata.json"])
    path = path.with_name("weights_fused.safetensors" if chosen == "fused" else path.name)
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.mark.filterwarnings("ignore")  # torch.export.load warns of its own code
@pytest.mark.parametrize("chosen", ["weights", "fused", "onnx", "int8", "pt2"])
def test_preprocessing_travels_inside(exported: Export, trained: Path, chosen: str) -> None:
    training = json.loads((trained / "training.json").read_text())
    metadata = metadata_of(exported, chosen)
    assert json.loads(metadata["class_names"]) == NAMES
    assert json.loads(metadata["mean"]) == training["mean"]
    assert json.loads(metadata["std"]) == training["std"]
    assert (metadata["image"], metadata["weights"]) == ("1x12x12", "exported")
    assert metadata["fingerprint"] == training["fingerprint"]


@pytest.mark.filterwarnings("ignore")
def test_any_number_of_images(exported: Export) -> None:
    session = onnxruntime.InferenceSession(exported.files["onnx"])
    package = torch.export.load(exported.files["pt2"]).module()
    model = onnx.load(exported.files["onnx"])
    assert [item.version for item in model.opset_import if not item.domain] == [OPSET]
    onnx.checker.check_model(model)
    for number in (1, 2, 5):
        images = np.random.default_rng(0).standard_normal((number, 1, 12, 12), dtype=np.float32)
        (logits,) = session.run(["logits"], {"images": images})
        assert logits.shape == (number, 3)
        with torch.inference_mode():
            np.testing.assert_allclose(package(torch.from_numpy(images)), logits, atol=1e-4)


def test_graphs_do_not_tell_where_they_were_made(exported: Export) -> None:
    root = str(Path(__file__).parents[1]).encode()
    with zipfile.ZipFile(exported.files["pt2"]) as package:
        contents = [package.read(name) for name in package.namelist()]
    contents += [exported.files[name].read_bytes() for name in ("onnx", "int8")]
    for content in contents:
        assert root not in content
        assert str(exported.directory.parent).encode() not in content


@pytest.mark.parametrize("damage", ["weights", "mean", "classes", "fused", "truncated"])
def test_damaged_artefacts_fail_their_proof(
    exported: Export, trained: Path, tmp_path: Path, damage: str
) -> None:
    training = json.loads((trained / "training.json").read_text())
    described = Preprocessing(tuple(NAMES), tuple(training["mean"]), tuple(training["std"]))
    reference_network = build(architecture_of(trained), Shape(1, 12, 12), 3, auxiliary=False)
    reference_network.load_state_dict(load_file(trained / "weights.safetensors"))
    pixels = torch.randint(0, 256, (4, 1, 12, 12), dtype=torch.uint8)
    images = Images("made up", pixels, torch.zeros(4, dtype=torch.int64))
    artefact, message = damaged(damage, exported, tmp_path)
    if damage == "classes":
        described = replace(described, class_names=("a", "b", "c"))
    reference = Reference(reference_network, images, described, about="exported")
    with pytest.raises(ProofError, match=message):
        prove(artefact, reference, tmp_path)


def damaged(damage: str, exported: Export, place: Path) -> tuple[Artefact, str]:
    path = place / "network.onnx"
    if damage == "truncated":
        path.write_bytes(exported.files["onnx"].read_bytes()[:-1000])
        return Artefact("onnx", path), "does not run in a fresh Python"
    if damage == "fused":
        path = place / "network_fused.py"
        path.write_text(exported.files["fused"].read_text().replace("torch.relu_", "torch.tanh"))
        weights = exported.files["fused"].with_name("weights_fused.safetensors")
        return Artefact("fused", path, weights), "computes other outputs"
    model = onnx.load(exported.files["onnx"])
    if damage == "mean":
        entry = next(item for item in model.metadata_props if item.key == "mean")
        entry.value = "[0.7]"
    if damage == "weights":
        tensor = next(item for item in model.graph.initializer if len(item.dims) == 4)
        values = onnx.numpy_helper.to_array(tensor) * 1.01
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    message = {
        "weights": "computes other outputs than the network",
        "mean": r"says mean \[0\.7\]",
        "classes": "says class_names",
    }[damage]
    return Artefact("onnx", path), message


# ----------------------------------------------------------------- presets and spaces, for real


@pytest.mark.slow
@pytest.mark.parametrize("name", SIDES)
def test_a_random_network_of_each_space_passes_every_proof(name: str, tmp_path: Path) -> None:
    # Ten of each space: benchmarks/export_proofs.py; results/export_proofs holds what it found.
    architecture = SearchSpace.load(name).random(np.random.default_rng(7))
    proven(architecture, Shape(3, SIDES[name], SIDES[name]), CLASSES, tmp_path, FAST)
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == set(SIDES)


@pytest.mark.slow
def test_googlenet_passes_every_proof(tmp_path: Path) -> None:
    architecture, image = load_preset("googlenet"), PRESET_IMAGES["googlenet"]
    proven(architecture, image, 1000, tmp_path, FAST)


def proven(
    architecture: Architecture, image: Shape, classes: int, place: Path, formats: tuple[str, ...]
) -> None:
    result = export_architecture(
        architecture, image, classes, out=place / "out", formats=formats, latency_seconds=0
    )
    assert tuple(result.proofs) == formats
    for proof in result.proofs.values():
        assert proof.weights == "random"
        assert proof.images == "random numbers"
        assert proof.output_spread > 1e-3
    card = (place / "out" / "MODEL_CARD.md").read_text()
    assert "**The weights are RANDOM**" in card


@pytest.mark.slow
def test_the_compiled_form_passes_its_proof(tmp_path: Path) -> None:
    described = Preprocessing(tuple(NAMES), (0.25,), (0.5,))
    result = export_architecture(
        small(auxiliary=()),
        IMAGE,
        CLASSES,
        out=tmp_path / "out",
        formats=["aot"],
        preprocessing=described,
        latency_seconds=0,
    )
    assert result.proofs["aot"].largest_difference <= 1e-4
    assert [item.name for item in sorted(result.directory.iterdir())] == [
        "MODEL_CARD.md",
        "export.json",
        "network_aot.pt2",
    ]


def test_images_of_a_data_set_serve_a_network_without_normalisation(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", classes=3)
    result = export_architecture(
        small(auxiliary=()),
        Shape(1, 12, 12),
        3,
        out=tmp_path / "out",
        formats=["source"],
        data=f"folder:{images}",
    )
    assert result.proofs["source"].images == f"folder:{images}, test split"
    assert result.proofs["source"].num_images == 36


def test_random_images_are_not_constant() -> None:
    assert random_images(IMAGE).pixels.std() > 0.9


def test_options_of_the_command_reach_the_export(tmp_path: Path) -> None:
    architecture = tmp_path / "small.json"
    architecture.write_text(small(auxiliary=()).to_json())
    result = nas(
        "export", architecture, "--image", "1x12x12", "--classes", 3, "--out", tmp_path / "out",
        "--format", "json", "--fused", "--quantize", "int8", "--no-latency", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert set(result.data["files"]) == {"json", "fused", "int8"}
    assert set(result.data["proofs"]) == {"fused", "int8"}
    assert result.data["latency"] is None
