"""Built networks: merged equals plain, state dicts cross, layouts stay, references agree."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from nas.architecture import (
    Architecture,
    AuxiliaryHead,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Shape,
    cell_shapes,
)
from nas.model import InceptionCell, Logits, Network, build
from nas.presets import PRESETS, cifar_googlenet, googlenet, load_preset, torchvision_googlenet
from tests.strategies import IMAGE, architectures


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Give every tensor of the state dict a value of its own; zeros and ones would hide much."""
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        if name.endswith("running_var"):
            state[name] = 1 + noise.abs()
        elif tensor.dim() == 1:
            state[name] = tensor + 0.3 * noise
        else:
            state[name] = noise / tensor[0].numel() ** 0.5
    network.load_state_dict(state)


def without_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def images(image: Shape, batch: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *image, generator=generator, dtype=dtype)


def assert_same_state(first: nn.Module, second: nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert list(one) == list(two)
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


# Merged and plain.


def merged_cells(network: Network) -> int:
    return sum(
        isinstance(module, InceptionCell) and module.merged is not None
        for module in network.modules()
    )


def test_googlenet_merges_every_cell() -> None:
    network = build(googlenet(), Shape(3, 224, 224), 10, seed=0)
    assert merged_cells(network) == 9
    cell = network.stages[0][0]
    assert isinstance(cell, InceptionCell)
    assert cell.merged is not None
    assert cell.merged.conv.weight.shape == (64 + 96 + 16, 192, 1, 1)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    # 57 convolutions and two auxiliary ones; three of each cell are one.
    assert len(convs) == 57 + 2 - 2 * 9
    assert merged_cells(build(googlenet(), Shape(3, 224, 224), 10, merge=False)) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_same_seed_same_bits_merged_or_not(name: str) -> None:
    architecture, image = load_preset(name), Shape(3, 96, 96)
    merged = build(architecture, image, 10, seed=3)
    plain = build(architecture, image, 10, seed=3, merge=False)
    assert_same_state(merged, plain)
    other = build(architecture, image, 10, seed=4).state_dict()
    assert not torch.equal(other["head.classifier.weight"], plain.head.classifier.weight)


def test_seed_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first = build(cifar_googlenet(), Shape(3, 32, 32), 10, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    assert_same_state(first, build(cifar_googlenet(), Shape(3, 32, 32), 10, seed=3))


def test_without_seed_the_global_generator_decides() -> None:
    architecture = Architecture((), ((Cell(((Conv((3, 3), 4),),)),),))
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(build(architecture, IMAGE, 5))
    assert_same_state(networks[0], networks[1])
    with pytest.raises(AssertionError):
        assert_same_state(networks[0], networks[2])


def train_steps(network: Network, image: Shape, num_steps: int = 3) -> list[float]:
    """Nesterov SGD on random images, auxiliary losses included; the losses."""
    optimiser = torch.optim.SGD(
        network.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    losses = []
    for step in range(num_steps):
        x, labels = images(image, 4, torch.float64, seed=step), torch.arange(4)
        logits = network.forward_with_auxiliary(x)
        loss = functional.cross_entropy(logits.main, labels)
        for head, auxiliary in zip(network.architecture.auxiliary, logits.auxiliary, strict=True):
            loss = loss + head.weight * functional.cross_entropy(auxiliary, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def assert_trains_alike(architecture: Architecture, image: Shape) -> None:
    networks = []
    for merge in (True, False):
        network = build(architecture, image, 5, merge=merge, seed=0).double().train()
        randomise(network)
        without_dropout(network)
        networks.append(network)
    merged, plain = networks
    assert train_steps(merged, image) == pytest.approx(train_steps(plain, image), rel=1e-9)
    for name, tensor in merged.state_dict().items():
        other = plain.state_dict()[name]
        difference = (tensor - other).abs().max()
        assert difference <= 1e-9 * max(1.0, other.abs().max()), name
    # From one state: deep networks that have seen three batches are not normalised in evaluation
    # mode, and amplify the steps' own rounding there a hundred million times.
    plain.load_state_dict(merged.state_dict())
    x = images(image, 2, torch.float64)
    torch.testing.assert_close(merged.eval()(x), plain.eval()(x), rtol=1e-9, atol=1e-12)


@given(architectures())
@settings(max_examples=20)
def test_merged_and_plain_train_alike(architecture: Architecture) -> None:
    assert_trains_alike(architecture, IMAGE)


def test_merged_and_plain_googlenet_train_alike() -> None:
    architecture = cifar_googlenet()
    heads = (AuxiliaryHead(1, 0, channels=8, hidden=16), AuxiliaryHead(1, 3, channels=8, hidden=16))
    assert_trains_alike(replace(architecture, auxiliary=heads), Shape(3, 16, 16))


# State dicts.


def crossing_architecture(norm: str) -> Architecture:
    cell = Cell(
        (
            (Conv((1, 1), 3),),
            (Conv((1, 1), 2), Conv((3, 3), 4)),
            (Conv((1, 1), 2), Pool(), Conv((5, 5), 3)),
            (Pool("avg"), Conv((1, 1), 2)),
            (),
        ),
        residual=True,
    )
    reduction = Cell(((Conv((1, 1), 2), Conv((3, 3), 4, 2)), (Conv((1, 1), 3), Pool("max", 3, 2))))
    return Architecture(
        (Conv((3, 3), 6),),
        ((cell,), (cell, cell)),
        (reduction,),
        auxiliary=(AuxiliaryHead(1, 0, Pool("avg", 3, 2), channels=4, hidden=5),),
        head=Head("flatten", (6,)),
        norm=Norm(norm),
    )


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("source_merge", [True, False])
@pytest.mark.parametrize("target_merge", [True, False])
def test_checkpoints_load_into_either_form(
    norm: str, source_merge: bool, target_merge: bool, tmp_path: Path
) -> None:
    architecture = crossing_architecture(norm)
    source = build(architecture, IMAGE, 5, merge=source_merge, seed=0)
    randomise(source)
    without_dropout(source)
    source.train().forward_with_auxiliary(images(IMAGE, 4))  # statistics and batch counts move
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    for state in (
        load_file(tmp_path / "weights.safetensors"),
        torch.load(tmp_path / "weights.pt"),
        source.state_dict(),
    ):
        target = build(architecture, IMAGE, 5, merge=target_merge, seed=1)
        target.load_state_dict(state, strict=True)
        assert_same_state(source, target)
        counts = [v for k, v in target.state_dict().items() if k.endswith("num_batches_tracked")]
        assert all(count == 1 for count in counts)
        assert len(counts) == (0 if norm == "none" else 1 + 3 * 7 + 3 + 1)
        x = images(IMAGE, 2)
        torch.testing.assert_close(source.eval()(x), target.eval()(x), rtol=1e-5, atol=1e-5)


def test_state_dict_has_the_plain_names() -> None:
    names = set(build(googlenet(), Shape(3, 224, 224), 10, seed=0).state_dict())
    assert not [name for name in names if "merged" in name]
    for name in (
        "stem.0.conv.weight",
        "stages.0.1.branches.0.0.conv.weight",
        "stages.0.1.branches.2.0.conv.weight",
        "stages.0.1.branches.2.0.norm.running_mean",
        "stages.0.1.branches.2.1.norm.num_batches_tracked",
        "stages.1.0.branches.3.1.norm.weight",
        "auxiliary.1.conv.norm.bias",
        "auxiliary.0.hidden.weight",
        "auxiliary.0.classifier.bias",
        "head.classifier.weight",
    ):
        assert name in names


@pytest.mark.parametrize("merge", [True, False])
def test_bad_checkpoints_are_refused_by_the_plain_name(merge: bool) -> None:
    network = build(crossing_architecture("batch"), IMAGE, 5, merge=merge, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    name = "stages.0.0.branches.1.0.conv.weight"
    state = network.state_dict()
    del state[name]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"\.'):
        network.load_state_dict(state)
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert (missing, unexpected) == ([name], [])
    state = network.state_dict() | {name: torch.zeros(7, 6, 1, 1)}
    with pytest.raises(RuntimeError, match=rf"size mismatch for {name}: .*\[7, 6, 1, 1\].*\[2, 6,"):
        network.load_state_dict(state)
    state = network.state_dict() | {"stages.0.0.branches.9.0.conv.weight": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"Unexpected key.*branches\.9\.0"):
        network.load_state_dict(state)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_copied_network_is_on_its_own() -> None:
    network = build(crossing_architecture("batch"), IMAGE, 5, seed=0)
    clone = copy.deepcopy(network)
    assert_same_state(network, clone)
    randomise(clone)
    with pytest.raises(AssertionError):
        assert_same_state(network, clone)
    again = build(crossing_architecture("batch"), IMAGE, 5, seed=0)
    assert_same_state(network, again)


# Auxiliary heads.


def test_auxiliary_heads_answer_in_training_only() -> None:
    architecture, image = googlenet(), Shape(3, 96, 96)
    network = build(architecture, image, 7, seed=0)
    x = images(image, 2)
    assert network.eval()(x).shape == (2, 7)
    logits = network.forward_with_auxiliary(x)
    assert isinstance(logits, Logits)
    torch.testing.assert_close(logits.main, network(x))
    assert [tuple(head.shape) for head in logits.auxiliary] == [(2, 7), (2, 7)]


def test_auxiliary_heads_read_the_cells_that_they_follow() -> None:
    architecture, image = googlenet(), Shape(3, 96, 96)
    network = build(architecture, image, 7, seed=0).eval()
    seen: dict[tuple[int, int], Tensor] = {}

    def keep(place: tuple[int, int]) -> Callable[..., None]:
        return lambda module, args, out: seen.__setitem__(place, out)

    for place in ((1, 0), (1, 3)):
        network.stages[place[0]][place[1]].register_forward_hook(keep(place))
    logits = network.forward_with_auxiliary(images(image, 2))
    for head, place, answer in zip(
        network.auxiliary, ((1, 0), (1, 3)), logits.auxiliary, strict=True
    ):
        torch.testing.assert_close(head(seen[place]), answer)


def test_built_without_auxiliary_heads() -> None:
    architecture, image = googlenet(), Shape(3, 96, 96)
    full = build(architecture, image, 7, seed=0)
    bare = build(architecture, image, 7, seed=0, auxiliary=False).eval()
    assert bare.forward_with_auxiliary(images(image, 2)).auxiliary == ()
    main = {k: v for k, v in full.state_dict().items() if not k.startswith("auxiliary")}
    assert list(bare.state_dict()) == list(main)
    assert all(torch.equal(tensor, main[name]) for name, tensor in bare.state_dict().items())
    bare.load_state_dict(full.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match=r"Missing key.*auxiliary\.0\.conv"):
        full.load_state_dict(bare.state_dict())
    none = build(replace(architecture, auxiliary=()), image, 7)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*auxiliary\.0\.conv"):
        none.load_state_dict(full.state_dict())


# Shapes, layouts, initial values, what a head does.


@given(architectures())
@settings(max_examples=25)
def test_output_shapes(architecture: Architecture) -> None:
    network = build(architecture, IMAGE, 5, seed=0).eval()
    shapes: dict[str, Shape] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda _, args, out, name=name: (
                shapes.__setitem__(name, Shape(*out.shape[1:]))
                if isinstance(out, Tensor) and out.dim() == 4
                else None
            )
        )
    with torch.no_grad():
        assert network(images(IMAGE, 2)).shape == (2, 5)
    for name, shape in cell_shapes(architecture, IMAGE):
        assert shapes.get(name, IMAGE) == shape, name


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("merge", [True, False])
def test_channels_last_is_kept(name: str, merge: bool) -> None:
    image = Shape(3, 96, 96)
    network = build(load_preset(name), image, 5, merge=merge, seed=0).eval()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lost = []
    for path, module in network.named_modules():
        if not isinstance(module, nn.Sequential):  # an empty one passes on a part of the merged
            module.register_forward_hook(
                lambda _, args, out, path=path: (
                    lost.append(path)
                    if isinstance(out, Tensor)
                    and out.dim() == 4
                    and not out.is_contiguous(memory_format=torch.channels_last)
                    else None
                )
            )
    x = images(image, 2).to(memory_format=torch.channels_last)
    plain = build(load_preset(name), image, 5, merge=merge, seed=0).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(x.contiguous()), rtol=1e-4, atol=1e-5)
    assert lost == []


def test_initial_deviations() -> None:
    network = build(googlenet("none"), Shape(3, 224, 224), 1000, seed=0)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            expected = 0.01 if name.endswith("classifier") else (2 / fan_in) ** 0.5
            # Four standard errors of a deviation's estimate.
            tolerance = 4 / (2 * module.weight.numel()) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=tolerance), name
            assert module.bias is not None
            assert not module.bias.any(), name


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_fresh_residual_cell_is_the_identity(norm: str) -> None:
    cell = Cell(((Conv((3, 3), 4),), (Conv((1, 1), 2),)), residual=True)
    architecture = Architecture((), ((cell,),), norm=Norm(norm))
    network = build(architecture, IMAGE, 5, seed=0)
    x = images(IMAGE, 2)
    torch.testing.assert_close(network.stages[0][0](x), x.relu())
    network(x).sum().backward()
    projection = network.stages[0][0].projection
    last = projection.conv if norm == "none" else projection.norm
    assert last.weight.grad.any()  # zero, but it learns from the first step


def reference_head(network: Network, x: Tensor) -> Tensor:
    head = network.head
    x = x.mean((2, 3)) if head.averages else x.flatten(1)
    for linear in head.hidden:
        x = linear(x).relu()
    return head.classifier(x)


@pytest.mark.parametrize("pool", ["average", "flatten"])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 4)])
def test_heads(pool: Any, hidden: tuple[int, ...]) -> None:
    cell = Cell(((Conv((3, 3), 4),),))
    architecture = Architecture((), ((cell,),), head=Head(pool, hidden, dropout=0.5))
    network = build(architecture, IMAGE, 5, seed=0).eval()
    x = images(IMAGE, 2)
    maps = network.stages[0][0](x)
    torch.testing.assert_close(network(x), reference_head(network, maps))
    torch.manual_seed(0)
    dropped = [network.train().head(maps) for _ in range(2)]
    assert not torch.equal(*dropped)
    sure = build(replace(architecture, head=Head(pool, hidden, dropout=0.0)), IMAGE, 5, seed=0)
    torch.testing.assert_close(sure.train().head(maps), reference_head(sure, maps))


def test_norm_eps_reaches_every_norm() -> None:
    architecture = replace(googlenet(), norm=Norm("batch", eps=0.0123))
    network = build(architecture, Shape(3, 96, 96), 5)
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.0123}


def test_average_pooling_leaves_padding_out() -> None:
    cell = Cell(((Pool("avg"),),))
    network = build(Architecture((), ((cell,),)), IMAGE, 5)
    ones = torch.ones(1, *IMAGE)
    assert torch.equal(network.stages[0][0](ones), ones)


def test_build_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"stem.4 \(max 3x3/2\) does not fit a map of 2x2 pixels"):
        build(googlenet(), Shape(3, 8, 8), 10)
    with pytest.raises(ValueError, match="classes must be an integer from 1"):
        build(googlenet(), Shape(3, 224, 224), 0)


# torch's own tools.


@pytest.mark.parametrize("merge", [True, False])
def test_exports_as_one_graph(merge: bool) -> None:
    network = build(crossing_architecture("batch"), IMAGE, 5, merge=merge, seed=0).eval()
    randomise(network)
    x = images(IMAGE, 2)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x), network(x))
    more = images(IMAGE, 3)
    torch.testing.assert_close(program.module()(more), network(more))


def test_compiles_without_graph_breaks() -> None:
    network = build(crossing_architecture("batch"), IMAGE, 5, seed=0).train()
    randomise(network)
    without_dropout(network)
    twin = copy.deepcopy(network)
    x = images(IMAGE, 4)
    compiled = torch.compile(network.forward_with_auxiliary, fullgraph=True, backend="aot_eager")
    answer, expected = compiled(x), twin.forward_with_auxiliary(x)
    torch.testing.assert_close(answer, expected)
    (answer.main.sum() + answer.auxiliary[0].sum()).backward()
    (expected.main.sum() + expected.auxiliary[0].sum()).backward()
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


# An independent GoogLeNet in the manner of torchvision's (BSD-3), written from its particulars:
# a 3x3 in place of the 5x5 (pytorch/vision#906), ceil-mode pools, adaptive auxiliary pools.


class BasicConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, **conv: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **conv)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, c: int, c1: int, r3: int, c3: int, r5: int, c5: int, pp: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(c, c1, kernel_size=1)
        self.branch2 = nn.Sequential(
            BasicConv2d(c, r3, kernel_size=1), BasicConv2d(r3, c3, kernel_size=3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(c, r5, kernel_size=1), BasicConv2d(r5, c5, kernel_size=3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), BasicConv2d(c, pp, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = BasicConv2d(inputs, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.conv(functional.adaptive_avg_pool2d(x, (4, 4))), 1)
        return self.fc2(self.dropout(functional.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 64, kernel_size=7, stride=2, padding=3)
        self.conv2 = BasicConv2d(64, 64, kernel_size=1)
        self.conv3 = BasicConv2d(64, 192, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.last_pool = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = InceptionAux(512, classes)
        self.aux2 = InceptionAux(528, classes)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool(self.conv3(self.conv2(self.pool(self.conv1(x)))))
        x = self.pool(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x)
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x)
        x = self.inception5b(self.inception5a(self.last_pool(self.inception4e(x))))
        x = torch.flatten(functional.adaptive_avg_pool2d(x, (1, 1)), 1)
        return self.fc(self.dropout(x)), aux1, aux2


def torchvision_names(architecture: Architecture) -> dict[str, str]:
    """Our module names to the reference's.

    Of two 3x3 branches in a cell the wider one comes first in canonical order; it is branch2 in
    each cell of GoogLeNet.
    """
    names = {"stem.0": "conv1", "stem.2": "conv2", "stem.3": "conv3", "head.classifier": "fc"}
    letters = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    places = [(s, c) for s, cells in enumerate(architecture.stages) for c in range(len(cells))]
    for letter, (stage, cell) in zip(letters, places, strict=True):
        ours, theirs = f"stages.{stage}.{cell}.branches", f"inception{letter}"
        names |= {
            f"{ours}.0.0": f"{theirs}.branch1",
            f"{ours}.1.0": f"{theirs}.branch2.0",
            f"{ours}.1.1": f"{theirs}.branch2.1",
            f"{ours}.2.0": f"{theirs}.branch3.0",
            f"{ours}.2.1": f"{theirs}.branch3.1",
            f"{ours}.3.1": f"{theirs}.branch4.1",
        }
    for index in (0, 1):
        names |= {
            f"auxiliary.{index}.conv": f"aux{index + 1}.conv",
            f"auxiliary.{index}.hidden": f"aux{index + 1}.fc1",
            f"auxiliary.{index}.classifier": f"aux{index + 1}.fc2",
        }
    return names


@pytest.mark.parametrize("merge", [True, False])
def test_torchvisions_googlenet_gives_the_same_outputs(merge: bool) -> None:
    architecture, image = torchvision_googlenet(), Shape(3, 224, 224)
    network = build(architecture, image, 1000, merge=merge, seed=0)
    randomise(network)
    network.eval()
    reference = GoogLeNet(1000).eval()
    assert sum(p.numel() for p in reference.parameters()) == 13_004_888
    names = torchvision_names(architecture)
    state = {}
    for key, tensor in network.state_dict().items():
        ours = key
        while ours not in names:
            ours = ours.rpartition(".")[0]
        state[names[ours] + key.removeprefix(ours).replace(".norm.", ".bn.")] = tensor
    reference.load_state_dict(state, strict=True)
    x = images(image, 1)
    with torch.no_grad():
        ours, theirs = network.forward_with_auxiliary(x), reference(x)
    scale = max(answer.abs().max().item() for answer in theirs)
    assert 0.1 < scale < 100
    for answer, expected in zip((ours.main, *ours.auxiliary), theirs, strict=True):
        assert (answer - expected).abs().max() <= 1e-5 * max(1.0, scale)
