"""The compiled loops against torch's own operations, in values, gradients and statistics."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas import kernels
from nas.architecture import Shape
from nas.model import build
from nas.presets import cifar_googlenet

SHAPES = [
    (64, 8, 14, 14),
    (3, 12, 7, 5),
    (5, 92, 3, 3),
    (2, 1, 4, 4),
    (7, 40, 1, 1),
    (1, 513, 2, 3),
]
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def maps_of(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0, mean: float = 0.5) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean
    return values.to(dtype, memory_format=torch.channels_last)


def norm_of(channels: int, seed: int = 1) -> nn.BatchNorm2d:
    draw = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(channels, generator=draw) * 2 - 0.5)
        norm.bias.copy_(torch.randn(channels, generator=draw))
        norm.running_mean.copy_(torch.randn(channels, generator=draw))
        norm.running_var.copy_(torch.rand(channels, generator=draw) + 0.1)
    return norm


def difference(ours: Tensor, exact: Tensor) -> float:
    """The largest, as a part of the largest number."""
    mine, theirs = ours.detach().double(), exact.detach().double()
    return float((mine - theirs).abs().max() / theirs.abs().max())


def exact_norm_relu(
    maps: Tensor, norm: nn.BatchNorm2d, gradient: Tensor, *, relu: bool
) -> tuple[list[Tensor], nn.BatchNorm2d]:
    """Output and gradients in float64, and the norm as it is after the step."""
    copy = norm_of(norm.num_features).double()
    leaf = maps.detach().double().requires_grad_()
    out = copy(leaf)
    out = functional.relu(out) if relu else out
    gradients = torch.autograd.grad(out, (leaf, copy.weight, copy.bias), gradient.double())
    return [out, *gradients], copy


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_and_relu_equal_torch(shape: tuple[int, ...], dtype: torch.dtype, relu: bool) -> None:
    maps, norm = maps_of(shape, dtype).requires_grad_(), norm_of(shape[1])
    gradient = maps_of(shape, dtype, seed=2, mean=0.0)
    exact, moved = exact_norm_relu(maps, norm, gradient, relu=relu)
    out = kernels.norm_relu(maps, norm, relu=relu)
    ours = [out, *torch.autograd.grad(out, (maps, norm.weight, norm.bias), gradient)]
    limit = 1e-5 if dtype == torch.float32 else 5e-3  # half a unit in bfloat16's last place
    for mine, theirs in zip(ours, exact, strict=True):
        assert difference(mine, theirs) < limit
    assert out.dtype == ours[1].dtype == dtype
    assert ours[2].dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert difference(norm.running_mean, moved.running_mean) < 1e-5
    assert difference(norm.running_var, moved.running_var) < 1e-5
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_and_relu_equal_torch_in_evaluation(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    maps, norm = maps_of(shape, dtype), norm_of(shape[1]).eval()
    with torch.no_grad():
        exact = functional.relu(norm_of(shape[1]).eval().double()(maps.double()))
        before = norm.running_mean.clone()
        assert difference(kernels.norm_relu(maps, norm), exact) < 5e-3
    assert torch.equal(norm.running_mean, before)
    with pytest.raises(RuntimeError, match="no_grad"):
        kernels.norm_relu(maps.requires_grad_(), norm)


def test_a_large_mean_does_not_swallow_a_small_variance() -> None:
    maps = (maps_of((8, 16, 9, 9), torch.float32, mean=0.0) * 1e-2 + 1000).requires_grad_()
    norm = norm_of(16)
    gradient = maps_of((8, 16, 9, 9), torch.float32, seed=2, mean=0.0)
    exact, _ = exact_norm_relu(maps, norm, gradient, relu=True)
    assert difference(kernels.norm_relu(maps, norm), exact[0]) < 1e-3


def test_nan_is_seen() -> None:
    maps = maps_of((4, 8, 6, 6), torch.bfloat16)
    maps[1, 3, 2, 2] = torch.nan
    assert kernels.norm_relu(maps, norm_of(8))[:, 3].isnan().all()
    assert int(kernels.max_pool(maps).isnan().sum()) == 9
    assert int(kernels.average_pool(maps).isnan().sum()) == 9


def test_a_gradient_that_lies_otherwise_in_memory_counts_alike() -> None:
    maps, norm = maps_of((4, 8, 6, 6), torch.float32).requires_grad_(), norm_of(8)
    wide = maps_of((4, 20, 6, 6), torch.float32, seed=3)
    gradients = [
        torch.autograd.grad(kernels.norm_relu(maps, norm), maps, gradient)[0]
        for gradient in (wide[:, 4:12], wide[:, 4:12].contiguous())
    ]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_max_pooling_equals_torch_with_ties_and_negatives(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    # Halves: many numbers are equal, and the first of them gets the gradient.
    maps = ((maps_of(shape, dtype, mean=0.0) * 2).round() / 2).requires_grad_()
    gradient = maps_of(shape, dtype, seed=2).round()  # sums of integers are exact
    theirs, ours = functional.max_pool2d(maps, 3, 1, 1), kernels.max_pool(maps)
    assert torch.equal(ours, theirs)
    expected = torch.autograd.grad(theirs, maps, gradient)[0]
    assert torch.equal(torch.autograd.grad(ours, maps, gradient)[0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_average_pooling_equals_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    maps = maps_of(shape, dtype).requires_grad_()
    gradient = maps_of(shape, dtype, seed=2)
    leaf = maps.detach().double().requires_grad_()
    exact = functional.avg_pool2d(leaf, 3, 1, 1, count_include_pad=False)
    ours = kernels.average_pool(maps)
    limit = 1e-6 if dtype == torch.float32 else 5e-3
    assert difference(ours, exact) < limit
    expected = torch.autograd.grad(exact, leaf, gradient.double())[0]
    assert difference(torch.autograd.grad(ours, maps, gradient)[0], expected) < limit


def test_the_loops_are_used_where_they_fit_and_nowhere_else() -> None:
    maps = maps_of((2, 8, 4, 4), torch.float32)
    assert kernels.fits(maps)
    assert not kernels.fits(maps.contiguous())
    assert not kernels.fits(maps.double())
    assert not kernels.fits(maps.to("meta"))
    assert not kernels.fits(maps_of((1, 8, 1, 1), torch.float32)), "torch refuses one pixel"
    torch.set_num_threads(kernels.MOST_THREADS + 1)
    assert not kernels.fits(maps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_trains_alike_with_the_loops_and_without(dtype: torch.dtype) -> None:
    image = Shape(3, 32, 32)
    images = maps_of((4, 3, 32, 32), torch.float32)
    labels = torch.tensor([1, 0, 3, 2])
    losses = {}
    for with_loops in (True, False):
        network = build(cifar_googlenet(), image, 10, seed=0, loops=with_loops, auxiliary=False)
        network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        losses[with_loops] = []
        for _ in range(3):
            torch.manual_seed(0)  # dropout
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = functional.cross_entropy(network(images).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[with_loops].append(loss.item())
    limit = 2e-3 if dtype == torch.float32 else 0.15
    assert losses[True] == pytest.approx(losses[False], rel=limit)
    assert losses[True] != losses[False], "the loops were not used: they round otherwise"


def test_numba_is_not_imported_before_it_is_used() -> None:
    code = "import sys, nas.model, nas.evaluate; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_forks_gradient_is_the_sum_of_its_readers(count: int) -> None:
    maps = maps_of((3, 40, 9, 7), torch.bfloat16).requires_grad_()
    outs = kernels.fork(maps, count)
    assert all(torch.equal(out, maps) for out in outs)
    wide = maps_of((3, 48, 9, 7), torch.bfloat16, seed=9)
    # The last lies otherwise in memory, as slices of a concatenation's gradient do.
    gradients = [maps_of(maps.shape, torch.bfloat16, seed=seed) for seed in range(count - 1)]
    gradients.append(wide[:, 8:])
    torch.autograd.backward(outs, gradients)
    exact = sum(item.float() for item in gradients)
    assert torch.equal(maps.grad, exact.bfloat16())


def test_what_torch_adds_as_fast_is_left_to_it() -> None:
    maps = maps_of((3, 8, 4, 4), torch.float32).requires_grad_()
    assert all(out is maps for out in kernels.fork(maps, 3))
    narrow = maps_of((3, 8, 4, 4), torch.bfloat16)
    assert all(out is narrow for out in kernels.fork(narrow, 3)), "nothing to differentiate"


def test_sum_and_relu_equal_torch() -> None:
    first, second = (
        maps_of((3, 40, 9, 7), torch.bfloat16, seed=seed, mean=0.0).requires_grad_()
        for seed in (0, 1)
    )
    gradient = maps_of(first.shape, torch.bfloat16, seed=2)
    ours = kernels.add_relu(first, second)
    assert torch.equal(ours, functional.relu(first + second))
    of_first, of_second = torch.autograd.grad(ours, (first, second), gradient)
    assert torch.equal(of_first, torch.where(ours > 0, gradient, 0))
    assert torch.equal(of_first, of_second)
    broken = first.detach().clone()
    broken[0, 0, 0, 0] = torch.nan
    assert int(kernels.add_relu(broken, second).isnan().sum()) == 1


def test_all_loops_can_be_compiled_before_they_are_timed() -> None:
    kernels.compile_loops(torch.bfloat16)
    kernels.compile_loops(torch.float32)
    with pytest.raises(ValueError, match="float64"):
        kernels.compile_loops(torch.float64)


def test_loops_are_compiled_where_nothing_can_be_kept_on_disk() -> None:
    # Code without a file has no place in numba's cache, as in a package that cannot be written.
    from nas.kernels.memory import compiled

    names = {"compiled": compiled}
    exec("@compiled\ndef twice(number):\n    return 2 * number", names)
    assert names["twice"](21) == 42


class TestPointwise:
    """1x1 convolutions as matrix products."""

    @pytest.mark.parametrize("shape", [(6, 24, 7, 7), (5, 40, 2, 3), (3, 7, 8, 8), (9, 16, 1, 1)])
    @pytest.mark.parametrize("width", [1, 20])
    def test_values_and_gradients_are_those_of_the_convolution(self, shape, width):
        maps = maps_of(shape, torch.bfloat16).requires_grad_()
        draw = torch.Generator().manual_seed(2)
        weight = torch.randn(width, shape[1], 1, 1, generator=draw).requires_grad_()
        assert kernels.fits_product(maps)
        out = kernels.pointwise(maps, weight)
        slope = torch.randn(out.shape, generator=draw).to(torch.bfloat16)
        out.backward(slope)
        assert (out.dtype, maps.grad.dtype, weight.grad.dtype) == (
            torch.bfloat16,
            torch.bfloat16,
            torch.float32,
        )
        assert out.is_contiguous(memory_format=torch.channels_last)
        exact, matrix = maps.detach().double().requires_grad_(), weight.detach().bfloat16().double()
        matrix.requires_grad_()
        true = functional.conv2d(exact, matrix)
        true.backward(slope.double())
        assert difference(out, true) < 2**-7
        assert difference(maps.grad, exact.grad) < 2**-7
        assert difference(weight.grad, matrix.grad) < 2**-7
        assert weight.grad.shape == weight.shape

    def test_an_input_that_needs_no_gradient_gets_none(self):
        maps = maps_of((4, 8, 4, 4), torch.bfloat16)
        weight = torch.randn(3, 8, 1, 1).requires_grad_()
        kernels.pointwise(maps, weight).sum().backward()
        assert maps.grad is None
        assert weight.grad is not None

    def test_large_maps_and_float32_are_left_to_torch(self):
        assert not kernels.fits_product(maps_of((2, 8, 9, 9), torch.bfloat16))
        assert not kernels.fits_product(maps_of((2, 8, 4, 4), torch.float32))
        assert not kernels.fits_product(maps_of((2, 8, 4, 4), torch.bfloat16).contiguous())

    def test_a_network_uses_it_unless_told_otherwise(self, monkeypatch):
        calls = []
        compute = kernels.pointwise
        monkeypatch.setattr(
            kernels, "pointwise", lambda x, w: calls.append(x.shape) or compute(x, w)
        )
        images = maps_of((4, 3, 16, 16), torch.bfloat16)
        for loops in (False, True):
            network = build(cifar_googlenet(), Shape(3, 16, 16), 10, seed=0, loops=loops)
            network = network.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                network(images)
            assert bool(calls) is loops
