"""Exports stand alone, load strictly, compute the same, and appear whole or not at all."""

from __future__ import annotations

import ast
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Shape,
)
from nas.cost import count_cost
from nas.export import (
    Preprocessing,
    ProofError,
    Provenance,
    Step,
    export_architecture,
    proof,
    write_source,
)
from nas.export.images import Images, random_images
from nas.export.proof import Artefact, Reference, initial_weights, prove
from nas.model import build
from nas.presets import PRESET_IMAGES, PRESETS, load_preset
from nas.space import SearchSpace

IMAGE = Shape(1, 12, 10)
CLASSES = 3


def conv(kernel: int | tuple[int, int], channels: int, stride: int = 1) -> Conv:
    return Conv((kernel, kernel) if isinstance(kernel, int) else kernel, channels, stride)


def small(**changes: object) -> Architecture:
    """Everything that the algebra has, in a few thousand parameters."""
    cell = Cell(((conv(1, 4),), (conv(1, 3), conv(3, 6)), (Pool(), conv(1, 2)), (conv(5, 3),)))
    parts = {
        "stem": (conv(3, 6, 2), conv(1, 8)),
        "stages": ((cell, Cell(((conv(3, 4),), (Pool("avg"),), ()))), (cell,)),
        "reductions": (Pool("max", 3, 2, padding=0, ceil=True),),
        "auxiliary": (
            AuxiliaryHead(0, 0, AdaptivePool(2), channels=5, hidden=7),
            AuxiliaryHead(1, 0, Pool("avg", 2, 1, padding=0), channels=4, hidden=6),
        ),
    }
    return Architecture(**{**parts, **changes})  # type: ignore[arg-type]


RESIDUAL = Cell(((conv(1, 3), conv((1, 7), 4), conv((7, 1), 5)), (conv(1, 3),)), residual=True)
STRIDED = Cell(((conv(3, 8, 2),), (conv(1, 4), conv(3, 4, 2)), (Pool("avg", 3, 2),)))
ARCHITECTURES = {
    "all branches, heads, ceil pooling": small(),
    "residual, one by seven, strided cell": small(
        stages=((RESIDUAL,), (RESIDUAL,)), reductions=(STRIDED,), auxiliary=()
    ),
    "no norm, flatten, hidden layers": small(
        norm=Norm("none"),
        stages=((RESIDUAL,), (RESIDUAL,)),
        reductions=(conv(3, 9, 2),),
        auxiliary=(),
        head=Head("flatten", hidden=(11, 5)),
    ),
    "no stem, one cell": Architecture(stem=(), stages=((Cell(((Pool("avg"),),)),),)),
    "hidden layers behind the average": small(head=Head(hidden=(9,), dropout=0.1)),
}


@pytest.fixture(params=ARCHITECTURES, ids=list(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return ARCHITECTURES[request.param]


def network_of(source: str) -> torch.nn.Module:
    """The class ``Network`` of a source, in a namespace of its own."""
    names: dict[str, object] = {"__name__": "exported"}
    exec(compile(source, "exported.py", "exec"), names)
    return names["Network"]()  # type: ignore[operator]


def source_of(architecture: Architecture, **options: bool) -> str:
    return write_source(architecture, IMAGE, CLASSES, Provenance("small"), **options)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_source_has_the_names_and_outputs_of_the_model(
    architecture: Architecture, auxiliary: bool
) -> None:
    weights = initial_weights(architecture, IMAGE, CLASSES, auxiliary=auxiliary)
    reference = build(architecture, IMAGE, CLASSES, auxiliary=auxiliary)
    reference.load_state_dict(weights)
    exported = network_of(source_of(architecture, auxiliary=auxiliary))
    exported.load_state_dict(weights, strict=True)
    images = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(7)).double()
    reference.double().eval(), exported.double().eval()
    expected = reference(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(exported(images), expected, rtol=1e-10, atol=1e-10)
    if auxiliary and architecture.auxiliary:
        main, heads = exported.forward_with_auxiliary(images)
        torch.testing.assert_close(main, expected, rtol=1e-10, atol=1e-10)
        both = reference.forward_with_auxiliary(images).auxiliary
        assert len(heads) == 2
        torch.testing.assert_close(heads, both, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_source_has_the_counted_parameters(name: str) -> None:
    architecture, image = load_preset(name), PRESET_IMAGES[name]
    source = write_source(architecture, image, 1000, Provenance(name))
    with torch.device("meta"):
        network = network_of(source)
    counted = sum(value.numel() for value in network.parameters())
    assert counted == count_cost(architecture, image, 1000).params


SIDES = {"tiny": 20, "googlenet_small": 32, "googlenet": 128, "inception_v3": 128}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SIDES)
def test_random_networks_of_each_space(name: str, seed: int) -> None:
    space, image = SearchSpace.load(name), Shape(3, SIDES[name], SIDES[name])
    architecture = space.random(np.random.default_rng(seed))
    weights = initial_weights(architecture, image, CLASSES, auxiliary=False)
    reference = build(architecture, image, CLASSES, auxiliary=False)
    reference.load_state_dict(weights)
    exported = network_of(write_source(architecture, image, CLASSES, Provenance(name)))
    exported.load_state_dict(weights, strict=True)
    inputs = torch.randn(2, *image, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = reference.eval()(inputs)
        found = exported.eval()(inputs)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=f"seed {seed}")


def test_source_imports_only_torch_and_the_standard_library(architecture: Architecture) -> None:
    tree = ast.parse(source_of(architecture, auxiliary=True))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert modules <= {"torch", "typing"}
    # `typing` serves the named tuple of auxiliary outputs alone.
    assert ("typing" in modules) == bool(architecture.auxiliary)


def test_source_is_as_formatters_and_linters_leave_it(tmp_path: Path) -> None:
    described = Preprocessing(("a", 'b "c"'), (0.25,), (0.5,))
    texts = [
        write_source(item, IMAGE, CLASSES, Provenance("small", "Words.", described), auxiliary=aux)
        for item in ARCHITECTURES.values()
        for aux in (False, True)
    ]
    for index, text in enumerate(texts):
        (tmp_path / f"source_{index}.py").write_text(text)
    for words in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_source_says_what_it_is() -> None:
    described = Preprocessing(("cat", "dog", "cow"), (0.25,), (0.5,))
    architecture = small()
    text = write_source(architecture, IMAGE, CLASSES, Provenance("mine", "", described))
    words = ast.get_docstring(ast.parse(text)) or ""
    cost = count_cost(architecture, IMAGE, CLASSES)
    for expected in (
        "mine",
        "1x12x10",
        architecture.fingerprint,
        f"{cost.macs:,}",
        f"{cost.params:,}",
        "load_file",
        'names start with "auxiliary."',
    ):
        assert expected in words
    names: dict[str, object] = {}
    exec(text, names)
    assert names["CLASS_NAMES"] == ("cat", "dog", "cow")
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    normalised = names["preprocess"](pixels)  # type: ignore[operator]
    np.testing.assert_allclose(normalised.flatten(), [-0.5, 1.5])


def test_source_takes_another_number_of_classes() -> None:
    names: dict[str, object] = {}
    exec(source_of(small()), names)
    network = names["Network"](num_classes=8)  # type: ignore[operator]
    assert network.eval()(torch.zeros(2, *IMAGE)).shape == (2, 8)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return initial_weights(small(), IMAGE, CLASSES, auxiliary=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, torch.Tensor]) -> Path:
    """An export with everything, proven."""
    path = tmp_path_factory.mktemp("export") / "deep" / "network"
    result = export_architecture(
        small(),
        IMAGE,
        CLASSES,
        out=path,
        weights=weights,
        name="mine",
        preprocessing=Preprocessing(("cat", "dog", "cow"), (0.25,), (0.5,)),
        details={"training": {"data": "made up"}},
    )
    assert result.largest_difference is not None
    assert result.largest_difference <= 1e-5
    assert {item.name for item in path.iterdir()} == {
        *(file.name for file in result.files.values()),
        "export.json",
        "MODEL_CARD.md",
    }
    return path


def test_export_is_complete_and_says_so(exported: Path) -> None:
    summary = json.loads((exported / "export.json").read_text())
    proof = summary["proofs"]["source"]
    assert proof["largest_difference"] <= proof["limit"]
    assert proof["output_spread"] > 0.01
    assert proof["weights"] == "exported"
    assert proof["images"].startswith("random numbers (made up cannot be read: unknown data set")
    assert summary["fingerprint"] == small().fingerprint
    assert summary["training"] == {"data": "made up"}
    assert summary["is_proxy"] is False
    assert set(summary["files"]) == {
        "architecture.json",
        "network.py",
        "weights.safetensors",
        "MODEL_CARD.md",
    }
    text = (exported / "architecture.json").read_text()
    assert Architecture.from_json(text) == small()


def test_weights_carry_what_belongs_to_them(
    exported: Path, weights: dict[str, torch.Tensor]
) -> None:
    kept = {name for name in weights if not name.startswith("auxiliary.")}
    assert set(load_file(exported / "weights.safetensors")) == kept < set(weights)
    with safe_open(exported / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert Architecture.from_json(metadata["architecture"]) == small()
    assert metadata["fingerprint"] == small().fingerprint
    assert json.loads(metadata["class_names"]) == ["cat", "dog", "cow"]
    assert json.loads(metadata["mean"]) == [0.25]
    assert metadata["image"] == "1x12x10"
    assert metadata["proxy"] == "false"


def test_export_runs_where_this_package_is_not(exported: Path, tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(exported)!r})
import network
from safetensors.torch import load_file
import torch
model = network.Network()
model.load_state_dict(load_file({str(exported / "weights.safetensors")!r}))
print(model.eval()(torch.ones(2, {IMAGE.channels}, {IMAGE.height}, {IMAGE.width})).tolist())
assert "nas" not in sys.modules
"""
    command = [sys.executable, "-I", "-c", program]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    reference = build(small(), IMAGE, CLASSES, auxiliary=False)
    reference.load_state_dict(load_file(exported / "weights.safetensors"))
    expected = reference.eval()(torch.ones(2, *IMAGE)).detach().numpy()
    np.testing.assert_allclose(json.loads(result.stdout), expected, atol=1e-5)


def test_auxiliary_heads_are_kept_where_asked(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    out = tmp_path / "out"
    export_architecture(small(), IMAGE, CLASSES, out=out, weights=weights, auxiliary=True)
    assert set(load_file(out / "weights.safetensors")) == set(weights)
    assert "forward_with_auxiliary" in (out / "network.py").read_text()


def test_proxy_is_named_so(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    out = tmp_path / "out"
    export_architecture(small(), IMAGE, CLASSES, out=out, weights=weights, is_proxy=True)
    assert "PROXY" in (out / "network.py").read_text()
    assert json.loads((out / "export.json").read_text())["is_proxy"] is True


# What breaks a network must fail its proof: each is a change that a test of shapes would miss.
DAMAGE = {
    "another activation": ("torch.relu(self.norm", "torch.sigmoid(self.norm"),
    "no norm": ("torch.relu(self.norm(self.conv(x)))", "torch.relu(self.conv(x))"),
    "another eps": ("eps=0.001", "eps=0.01"),
    "another order of branches": (
        "for branch in self.branches]",
        "for branch in self.branches][::-1]",
    ),
    "a skipped cell": (
        "x = self.stages[1](x)",
        "x = torch.zeros(len(x), 15, 2, 2)",
    ),
    "another pooling": ("nn.AvgPool2d(", "nn.MaxPool2d("),
    "does not run": ("return self.head(self.", "return self.tail(self."),
    "needs this package": ("import torch\n", "import torch\nimport nas\n"),
    "gives NaN": ("    return x\n", "    return x * float('nan')\n"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_proof_fails_for_a_damaged_source(damage: str, tmp_path: Path) -> None:
    before, after = DAMAGE[damage]
    text = source_of(small())
    damaged = text.replace(before, after).replace(
        "nn.MaxPool2d(3, stride=1, padding=1, count_include_pad=False)",
        "nn.MaxPool2d(3, stride=1, padding=1)",
    )
    assert damaged != text
    path = tmp_path / "network.py"
    path.write_text(damaged)
    weights = initial_weights(small(), IMAGE, CLASSES, auxiliary=False)
    save_file(weights, tmp_path / "weights")
    network = build(small(), IMAGE, CLASSES, auxiliary=False)
    network.load_state_dict(weights)
    reference = Reference(network, random_images(IMAGE), Preprocessing(), about="random")
    with pytest.raises(ProofError, match=r"network\.py"):
        prove(Artefact("source", path, tmp_path / "weights"), reference, tmp_path)


def test_a_large_test_split_has_the_time_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 images of 224 pixels take longer than a runtime that hangs should be waited for."""
    limits: list[float] = []

    def remember(*_: object, timeout: float) -> None:
        limits.append(timeout)
        raise ProofError("not run")

    monkeypatch.setattr(proof, "run_fresh", remember)
    network = build(small(auxiliary=()), IMAGE, CLASSES).eval()
    for number in (8, 1_000):
        images = Images("random numbers", torch.zeros(number, *IMAGE))
        reference = Reference(network, images, Preprocessing(), about="random")
        with pytest.raises(ProofError, match="not run"):
            prove(Artefact("onnx", tmp_path / "network.onnx"), reference, tmp_path)
    assert limits == [608.0, 1_600.0]


def test_failed_proof_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.export import blocks

    monkeypatch.setattr(blocks, "CONV_NORM_RELU", blocks.CONV_NORM_RELU.replace("relu", "tanh"))
    with pytest.raises(ProofError, match="other outputs"):
        export_architecture(small(), IMAGE, CLASSES, out=tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def refuse(tmp_path: Path, message: str, **changes: object) -> None:
    """An export with these changes is refused with this message, and writes nothing."""
    before = sorted(tmp_path.rglob("*"))
    words = {
        "architecture": small(),
        "image": IMAGE,
        "classes": CLASSES,
        "out": tmp_path / "new" / "out",
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        export_architecture(**words)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_wishes_are_refused(tmp_path: Path) -> None:
    refuse(tmp_path, "did you mean 'source'", formats=["sorce"])
    refuse(tmp_path, "formats must hold", formats=[])
    refuse(tmp_path, "needs weights", formats=["weights"])
    refuse(tmp_path, "does not fit a map", image=Shape(1, 1, 1), architecture=small())
    refuse(tmp_path, "classes must be", classes=0)
    refuse(tmp_path, "as many as the 3 classes, not 1", preprocessing=Preprocessing(("a",)))
    refuse(tmp_path, "each of the 1 channels", preprocessing=Preprocessing((), (0.1, 0.2)))


def test_weights_of_another_network_are_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    first = next(iter(weights))
    fewer = {name: value for name, value in weights.items() if name != first}
    refuse(tmp_path, rf"1 missing \({first}\)", weights=fewer)
    refuse(tmp_path, r"1 unknown \(extra\)", weights={**weights, "extra": torch.ones(1)})
    wider = {**weights, first: torch.ones(2, 3)}
    refuse(tmp_path, rf"1 of another shape \({first} is 2x3, not 6x1x3x3\)", weights=wider)
    broken = {**weights, first: torch.full_like(weights[first], torch.nan)}
    refuse(tmp_path, "must be finite", weights=broken)


def test_damaged_weights_file_is_refused(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:-50])
    refuse(tmp_path, "no complete safetensors file", weights=path)


def test_other_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    refuse(tmp_path, "is a file", out=tmp_path / "notes")
    refuse(tmp_path, r"holds other files \(notes\)", out=tmp_path)
    refuse(tmp_path, "holds other files", out=tmp_path, overwrite=True)


def test_an_export_is_replaced_only_where_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for formats in (["json"], ["source"]):
        export_architecture(
            small(), IMAGE, CLASSES, out=out, formats=formats, overwrite=formats == ["source"]
        )
        refuse(tmp_path, "already holds an export", out=out)
    assert {item.name for item in out.iterdir()} == {"network.py", "export.json", "MODEL_CARD.md"}
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_an_earlier_export_outlives_what_stops_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    """Ctrl-C comes between the two renames: there is no other way to have it just there."""
    out, renamed, real = tmp_path / "out", [], os.replace
    export_architecture(small(), IMAGE, CLASSES, out=out, formats=["json"])
    before = {item.name: item.read_bytes() for item in out.iterdir()}

    def stopped(source: Path, target: Path) -> None:
        if renamed == [out]:
            renamed.append(source)
            raise fault
        renamed.append(source)
        real(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(fault):
        export_architecture(
            small(), IMAGE, CLASSES, out=out, formats=["json"], name="new", overwrite=True
        )
    assert {item.name: item.read_bytes() for item in out.iterdir()} == before
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def test_what_others_wrote_beside_a_failed_export_stays(tmp_path: Path) -> None:
    """Two exports into one new directory: the one that fails says why, and not that of another."""

    def fail(_: Step) -> None:
        (tmp_path / "new" / "other").mkdir()
        raise ProofError("it differs")

    with pytest.raises(ProofError, match="it differs"):
        export_architecture(small(), IMAGE, CLASSES, out=tmp_path / "new" / "out", on_step=fail)
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["other"]


def test_files_are_on_the_disk_before_the_directory_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would leave cannot be tried here: the order of the calls is what counts."""
    calls, sync, rename = [], os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        sync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    out = tmp_path / "out"
    export_architecture(small(), IMAGE, CLASSES, out=out, formats=["json"])
    written = {item.name for item in out.iterdir()}
    assert "rename" in calls
    assert written <= set(calls[: calls.index("rename")])


def test_description_alone_needs_no_proof(tmp_path: Path) -> None:
    result = export_architecture(small(), IMAGE, CLASSES, out=tmp_path / "out", formats=["json"])
    assert result.proofs == {}
    assert result.largest_difference is None


@pytest.mark.parametrize("most_bytes", [500, 20_000])
def test_full_disk_leaves_nothing(
    tmp_path: Path, weights: dict[str, torch.Tensor], most_bytes: int
) -> None:
    # A limit on the size of files fails writes as a full disk does: with an OSError, midway.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            export_architecture(
                small(), IMAGE, CLASSES, out=tmp_path / "new" / "out", weights=weights
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_export_imports_no_torch_until_it_needs_it() -> None:
    program = "import sys, nas.export; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
