"""Latency from a description: the layers that are executed, and times learned from others."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from latency_tables import FACTOR, PER_LAYER_US, layers_of, made_predictor, made_table, network_ms
from scipy.stats import spearmanr
from torch import nn

from nas.architecture import Shape
from nas.latency import LatencyTable, Predictor, fit_predictor, prediction_error
from nas.latency.form import inference_form, layer_form, layer_input, network_input
from nas.latency.layers import PART, Layer, executed_layers
from nas.model import Pool3x3, build
from nas.presets import PRESET_IMAGES, PRESETS
from nas.space import SearchSpace, space_names

IMAGE, CLASSES = Shape(3, 32, 32), 10
LEAVES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, Pool3x3, nn.Linear)


def executed_by_torch(network: nn.Module, image: Shape) -> list[tuple[str, int, int, int, int]]:
    """Kind, inputs, outputs, height and width of what the modules see, in the order of calls."""
    seen = []

    def look(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        shape = [*inputs[0].shape[1:], 1, 1][:3]
        kind = {nn.Conv2d: "conv", nn.Linear: "linear", nn.MaxPool2d: "max"}
        name = next((word for cls, word in kind.items() if isinstance(module, cls)), "avg")
        if isinstance(module, Pool3x3):
            name = module.kind
        seen.append((name, shape[0], output.shape[1], shape[1], shape[2]))

    for module in network.modules():
        if isinstance(module, LEAVES):
            module.register_forward_hook(look)
    with torch.inference_mode():
        network(network_input(image))
    return seen


def described(layers: list[Layer]) -> list[tuple[str, int, int, int, int]]:
    words = {"conv": "conv", "max": "max", "avg": "avg", "linear": "linear", "hidden": "linear"}
    rows = [(words.get(layer.kind.split()[0]), *layer[1:]) for layer in layers]
    return [row for row in rows if row[0] is not None]


def networks() -> list[tuple[str, object, Shape, int]]:
    found: list[tuple[str, object, Shape, int]] = [
        (name, make(), PRESET_IMAGES[name], 10) for name, make in PRESETS.items()
    ]
    for name in space_names():
        space = SearchSpace.load(name)
        image = Shape(3, 160, 160) if name in ("googlenet", "inception_v3") else Shape(3, 32, 32)
        found += [
            (f"{name} {seed}", space.random(np.random.default_rng(seed)), image, 7)
            for seed in range(4)
        ]
    return found


@pytest.mark.parametrize(("name", "architecture", "image", "classes"), networks())
def test_described_layers_are_those_that_torch_executes(name, architecture, image, classes) -> None:
    layers = executed_layers(architecture, image, classes)
    form = inference_form(architecture, image, classes)
    assert described(layers) == executed_by_torch(form, image), name
    assert not any(isinstance(module, nn.BatchNorm2d) for module in form.modules())


def test_the_measured_form_computes_what_the_network_does() -> None:
    architecture = SearchSpace.load("tiny").random(np.random.default_rng(3))
    network = build(architecture, IMAGE, CLASSES, auxiliary=False, seed=0).eval()
    x = network_input(IMAGE)
    with torch.inference_mode():
        torch.testing.assert_close(
            inference_form(architecture, IMAGE, CLASSES)(x), network(x), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", ["tiny", "googlenet_small"])
def test_each_layer_alone_gives_the_shape_that_it_has_in_a_network(name: str) -> None:
    space = SearchSpace.load(name)
    found = {layer for network in layers_of(space, IMAGE, CLASSES, 6) for layer in network}
    assert {layer.kind.endswith(PART) for layer in found} == {True, False}
    for layer in sorted(found):
        with torch.inference_mode():
            out = layer_form(layer)(layer_input(layer))
        assert out.shape[:2] == (1, layer.outputs), layer
        if layer.is_conv:
            sides = [-(-side // layer.stride) for side in (layer.height, layer.width)]
            assert list(out.shape[2:]) == sides, layer


def test_a_layer_of_a_part_reads_channels_that_do_not_lie_side_by_side() -> None:
    x = layer_input(Layer(f"conv 3x3/1{PART}", 8, 16, 6, 6))
    assert x.shape == (1, 8, 6, 6)
    assert not x.is_contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------- the predictor


def conv(inputs: int, outputs: int, side: int, kernel: int = 3, kind: str = "") -> Layer:
    return Layer(f"conv {kernel}x{kernel}/1{kind}", inputs, outputs, side, side)


def formula(layer: Layer) -> float:
    """Of the base's own form: a constant, MACs and bytes."""
    taps, pixels = layer.kernel[0] * layer.kernel[1], layer.height * layer.width
    weights = taps * layer.inputs * layer.outputs
    moved = (layer.inputs + layer.outputs) * pixels + weights
    return 7.0 + 2e-5 * weights * pixels + 4 * 1e-4 * moved


GRID = [
    conv(i, o, s, k) for i in (16, 64, 256) for o in (16, 48, 128) for s in (4, 16) for k in (1, 3)
]


def test_times_of_the_base_form_are_predicted_exactly() -> None:
    whole = ([GRID[0], GRID[5], GRID[7]], 1.0)
    predictor = fit_predictor({layer: formula(layer) for layer in GRID}, [whole])
    unseen = [conv(32, 80, 8), conv(512, 512, 2, 5), conv(96, 16, 32, 1)]
    expected = [formula(layer) for layer in unseen]
    np.testing.assert_allclose(predictor.layer_us(unseen), expected, rtol=1e-6)


def test_a_network_takes_the_sum_of_its_layers_and_something_for_each() -> None:
    space = SearchSpace.load("tiny")
    found = layers_of(space, IMAGE, CLASSES)
    times = {layer: 5.0 + 0.01 * layer.outputs for one in found for layer in one}
    # Every layer is a measured one: only the network's own factors are left to be found.
    nets = [(one, network_ms(one, times.__getitem__)) for one in found]
    predictor = fit_predictor(times, nets[:10])
    sums = np.array([[predictor.layer_us(one).sum(), len(one)] for one, _ in nets])
    assert predictor.factor == pytest.approx(FACTOR, rel=0.1)
    for (one, ms), (total, num) in zip(nets, sums, strict=True):
        by_hand = (predictor.factor * total + predictor.per_layer_us * num) / 1000
        assert predictor.layers_ms(one) == pytest.approx(by_hand, abs=1e-4)
        assert predictor.layers_ms(one) == pytest.approx(ms, rel=0.02)


def test_factors_of_networks_are_exact_where_layers_are() -> None:
    whole = [[*GRID[:n], *GRID[n + 3 :: 5]] for n in range(3, 12)]
    known = [(one, (1.3 * sum(map(formula, one)) + 2.5 * len(one)) / 1000) for one in whole]
    predictor = fit_predictor({layer: formula(layer) for layer in GRID}, known)
    assert predictor.factor == pytest.approx(1.3, rel=1e-6)
    assert predictor.per_layer_us == pytest.approx(2.5, rel=1e-4)


def test_neighbours_teach_what_the_base_cannot_say() -> None:
    def bent(layer: Layer) -> float:
        return formula(layer) * (1.5 + 0.4 * math.sin(math.log2(layer.inputs) + layer.height / 9))

    sides, widths = (4, 8, 16), (16, 32, 64, 128, 256)
    known = [conv(i, o, s) for i in widths for o in widths for s in sides]
    unseen = [conv(i, o, s) for i in (48, 96, 192) for o in (48, 96) for s in sides]
    predictor = fit_predictor({layer: bent(layer) for layer in known}, [(known[:4], 1.0)])
    base = fit_predictor({layer: formula(layer) for layer in known}, [(known[:4], 1.0)])
    true = np.array([bent(layer) for layer in unseen])
    error = np.abs(predictor.layer_us(unseen) / true - 1).max()
    assert error < 0.05
    assert np.abs(1.5 * base.layer_us(unseen) / true - 1).max() > 0.2


def test_more_channels_and_pixels_take_longer() -> None:
    predictor = fit_predictor({layer: formula(layer) for layer in GRID}, [(GRID[:3], 1.0)])
    for grown in (
        [conv(32, outputs, 8) for outputs in (16, 32, 64, 128)],
        [conv(inputs, 32, 8) for inputs in (16, 32, 64, 128)],
        [conv(32, 32, side) for side in (2, 4, 8, 16)],
        [conv(32, 32, 8, kernel) for kernel in (1, 3, 5, 7)],
    ):
        assert np.all(np.diff(predictor.layer_us(grown)) > 0)


def test_a_layer_of_a_family_that_was_not_measured_is_still_predicted() -> None:
    predictor = fit_predictor({layer: formula(layer) for layer in GRID}, [(GRID[:3], 1.0)])
    assert predictor.layer_us([Layer("mean", 64, 64, 8, 8)])[0] > 0


@pytest.mark.parametrize(
    ("times", "nets"),
    [({}, [(GRID[:1], 1.0)]), ({GRID[0]: 1.0}, []), ({GRID[0]: 0.0}, [(GRID[:1], 1.0)])],
)
def test_a_predictor_needs_measurements(times, nets) -> None:
    with pytest.raises(ValueError, match="measured"):
        fit_predictor(times, nets)


def test_a_network_that_does_not_fit_is_refused() -> None:
    architecture = PRESETS["googlenet"]()
    predictor = made_predictor(layers_of(SearchSpace.load("tiny"), IMAGE, CLASSES))
    assert isinstance(predictor, Predictor)
    with pytest.raises(ValueError, match="does not fit"):
        predictor.predict_ms(architecture, Shape(3, 3, 3), 10)


# -------------------------------------------------------------------------- errors and tables


def test_errors_of_predictions_by_hand() -> None:
    error = prediction_error([1.0, 2.0, 4.0, 8.0], [1.1, 1.6, 4.0, 9.6])
    # 10 %, 20 %, 0 and 20 %: sorted 0, 0.1, 0.2, 0.2.
    assert error.n == 4
    assert error.median == pytest.approx(0.15)
    assert error.percentile_90 == pytest.approx(0.2)
    assert error.rank_correlation == pytest.approx(1.0)


def test_rank_correlation_is_spearmans_ties_included() -> None:
    one, two = [1.0, 2.0, 2.0, 5.0, 3.0], [3.0, 1.0, 4.0, 4.0, 2.0]
    assert prediction_error(one, two).rank_correlation == pytest.approx(spearmanr(one, two)[0])


def test_no_predictions_have_no_error() -> None:
    with pytest.raises(ValueError, match="0 measurements and 1 predictions"):
        prediction_error([], [1.0])


def test_a_table_predicts_the_same_after_a_round_trip_through_json() -> None:
    space = SearchSpace.load("tiny")
    table = made_table(space, IMAGE, CLASSES)
    again = LatencyTable.from_data(json.loads(json.dumps(table.to_data())), "there")
    assert again == table
    assert again.error == table.error
    for seed in range(20):
        item = space.random(np.random.default_rng([5, seed]))
        assert again.predict_ms(item) == table.predict_ms(item)
    assert table.error.n == 12
    assert again.to_data() == table.to_data()


def test_a_made_table_is_close_to_the_formula_it_was_made_of() -> None:
    table = made_table(SearchSpace.load("tiny"), IMAGE, CLASSES)
    assert PER_LAYER_US > 0
    assert table.error.median < 0.02
    assert table.error.rank_correlation > 0.99


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "has format 2, and this version reads 1"),
        ({"predictor": {}}, "is no whole table of latencies"),
        ({"layers": [["conv 3x3/1", 1]]}, "is no whole table of latencies"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(change, words: str) -> None:
    data = {**made_table(SearchSpace.load("tiny"), IMAGE, CLASSES).to_data(), **change}
    with pytest.raises(ValueError, match=words) as caught:
        LatencyTable.from_data(data, "there")
    assert str(caught.value).startswith("there: ")
    assert "\n" not in str(caught.value)
