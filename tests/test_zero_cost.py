"""Zero-cost scores: by hand, by finite differences, and what must not change them; the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import command_line
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import nas
from scipy.stats import kendalltau
from small_search import CLASSES, IMAGE, small_architecture, small_data, small_task
from torch import nn
from torch.nn import functional

from nas import model
from nas.analysis.score_table import BASELINES, score_table
from nas.architecture import Architecture, AuxiliaryHead, Cell, Conv, Head, Norm, Pool, Shape
from nas.cli import space_scores
from nas.datasets import carve, measure_statistics
from nas.model import InceptionCell, build
from nas.task import proxy
from nas.zero_cost import (
    SCORES,
    Batch,
    draw_batch,
    initial_network,
    score_architecture,
    score_network,
)

PLAIN = Norm(kind="none")
SHAPE = Shape(2, 6, 6)


def inception(norm=None, residual=False, hidden=(), auxiliary=(), dropout=0.0):
    """Two cells with merged 1x1s, poolings and a reduction."""
    branches = ((Conv((1, 1), 4),), (Conv((1, 1), 3), Conv((3, 3), 5)), (Pool(), Conv((1, 1), 2)))
    cell = Cell(branches=branches, residual=residual)
    return Architecture(
        stem=(Conv((3, 3), 6),),
        stages=((cell,), (cell,)),
        reductions=(Pool(stride=2),),
        auxiliary=auxiliary,
        head=Head(hidden=hidden, dropout=dropout),
        norm=norm or Norm(),
    )


def one_layer(channels, weight=None, image=SHAPE, norm=PLAIN):
    """A 1x1 convolution with ReLU, global averaging, a classifier of two classes."""
    cell = Cell(branches=((Conv((1, 1), channels),),))
    architecture = Architecture(stem=(), stages=((cell,),), head=Head(dropout=0.0), norm=norm)
    network = initial_network(architecture, image, 2, seed=0)
    if weight is not None:
        with torch.no_grad():
            convolution(network).weight.copy_(torch.tensor(weight)[:, :, None, None])
    return network


def convolution(network):
    (found,) = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return found


def batch_of(shape=SHAPE, count=8, classes=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *shape, generator=generator, dtype=dtype)
    return Batch(images, torch.randint(0, classes, (count,), generator=generator))


class TestSynflow:
    @pytest.mark.parametrize("norm", [PLAIN, Norm()])
    def test_is_the_sum_over_paths_once_a_layer(self, norm):
        network = one_layer(3, norm=norm)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # bypassed, whatever it holds
                nn.init.constant_(module.weight, 7.0)
                nn.init.constant_(module.running_mean, 5.0)
        first = convolution(network).weight.detach()[:, :, 0, 0].double().numpy()
        last = network.head.classifier.weight.detach().double().numpy()
        paths = [
            abs(first[middle, start] * last[end, middle])
            for start in range(2)
            for middle in range(3)
            for end in range(2)
        ]
        assert SCORES["synflow"](network, batch_of()) == pytest.approx(2 * sum(paths), rel=1e-12)

    def test_leaves_the_network_and_the_images_out(self):
        network = initial_network(inception(), SHAPE, 2, seed=0)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        values = {SCORES["synflow"](network, batch_of(seed=seed)) for seed in range(2)}
        assert len(values) == 1
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_is_no_number_where_it_leaves_float64(self):
        network = one_layer(3)
        nn.init.constant_(network.head.classifier.weight, 3e38)
        network.double()
        nn.init.constant_(convolution(network).weight, 1e300)
        score = score_network(network, batch_of(dtype=torch.float64), ["synflow"])["synflow"]
        assert math.isnan(score.value)
        assert "inf" in score.reason


class TestNaswot:
    def test_is_the_determinant_of_what_images_have_alike(self):
        codes = torch.tensor([[1.0, -1, 1], [1, 1, -1], [-1, -1, 1]])
        network = one_layer(3, np.eye(3).tolist(), Shape(3, 1, 1))
        batch = Batch(codes[:, :, None, None], torch.zeros(3, dtype=torch.int64))
        # Alike: 1 and 2 in one ReLU, 1 and 3 in two, 2 and 3 in none.
        by_hand = math.log(3 * (3 * 3 - 0) - 1 * (1 * 3 - 0) + 2 * (0 - 3 * 2))
        assert SCORES["naswot"](network, batch) == pytest.approx(by_hand)

    def test_counts_every_relu_of_the_network(self, monkeypatch):
        architecture = inception(residual=True, hidden=(7,))
        network = initial_network(architecture, SHAPE, 2, seed=0)
        batch, codes = batch_of(), []

        def recorded(x, inplace=False):
            codes.append((x > 0).flatten(1).numpy())
            return torch.relu(x)

        value = SCORES["naswot"](network, batch)
        monkeypatch.setattr(model.functional, "relu", recorded)
        with torch.no_grad():
            network(batch.images)
        monkeypatch.undo()
        code = np.concatenate(codes, axis=1)
        alike = (code[:, None, :] == code[None, :, :]).sum(axis=2)
        assert value == pytest.approx(np.linalg.slogdet(alike.astype(float)).logabsdet)
        assert not any(module._forward_hooks for module in network.modules())

    def test_two_images_alike_have_no_determinant(self):
        batch = batch_of()
        twins = Batch(batch.images[[0, 1, 2, 3, 4, 5, 6, 0]], batch.labels)
        network = initial_network(inception(), SHAPE, 2, seed=0)
        score = score_network(network, twins, ["naswot"])["naswot"]
        assert math.isnan(score.value)
        assert "same ReLUs" in score.reason


class TestGradients:
    @pytest.fixture
    def network(self):
        return initial_network(inception(hidden=(3,)), SHAPE, 2, seed=0).double()

    @staticmethod
    def layers(network):
        """The gradient of the first half's loss for each plain layer, by its name."""
        plain = build(network.architecture, SHAPE, 2, merge=False, loops=False).double()
        plain.load_state_dict(network.state_dict())
        found = []
        for half in batch_of(dtype=torch.float64).halves:
            plain.zero_grad()
            functional.cross_entropy(plain(half.images), half.labels).backward()
            layers = {
                name: module.weight
                for name, module in plain.named_modules()
                if isinstance(module, nn.Conv2d | nn.Linear)
            }
            found.append({name: weight.grad.clone() for name, weight in layers.items()})
        return layers, found

    def test_snip_is_what_masking_changes(self, network):
        half = batch_of(dtype=torch.float64).halves[0]
        value = SCORES["snip"](network, batch_of(dtype=torch.float64))
        total, step = 0.0, 1e-5
        for module in network.modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            flat = module.weight.data.view(-1)
            for index in range(len(flat)):
                weight, losses = float(flat[index]), []
                for mask in (1 + step, 1 - step):
                    flat[index] = weight * mask
                    with torch.no_grad():
                        losses.append(functional.cross_entropy(network(half.images), half.labels))
                flat[index] = weight
                total += abs(float(losses[0] - losses[1])) / (2 * step)
        assert value == pytest.approx(total, rel=1e-4)

    def test_grad_norm_adds_the_norms_of_plain_layers(self, network):
        _, (first, _) = self.layers(network)
        assert len(first) == 1 + 2 * 4 + 2
        by_hand = sum(math.sqrt(float((gradient**2).sum())) for gradient in first.values())
        value = SCORES["grad_norm"](network, batch_of(dtype=torch.float64))
        assert value == pytest.approx(by_hand, rel=1e-9)

    def test_zico_weighs_each_plain_layer(self, network):
        _, (first, second) = self.layers(network)
        total = 0.0
        for name in first:
            sizes = np.abs([first[name].numpy().ravel(), second[name].numpy().ravel()])
            sizes = sizes[:, sizes[0] != sizes[1]]
            total += math.log((sizes.mean(axis=0) / sizes.std(axis=0)).sum())
        value = SCORES["zico"](network, batch_of(dtype=torch.float64))
        assert value == pytest.approx(total, rel=1e-6)

    def test_zico_by_hand(self):
        """A weight in the first layer and two in the last, on two images of one class."""
        network = one_layer(1, [[1.0]], Shape(1, 1, 1)).double()
        with torch.no_grad():
            network.head.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        x, y = 1.0, 2.0
        images = torch.tensor([x, y], dtype=torch.float64).view(2, 1, 1, 1)
        value = SCORES["zico"](network, Batch(images, torch.tensor([0, 0])))
        # logits are h and -h of h = x: dL/dlogits = (p - 1, 1 - p) with p = 1 / (1 + exp(-2x)).
        g, h = (1 / (1 + math.exp(-2 * item)) - 1 for item in (x, y))
        ratio_conv = (abs(2 * g * x) + abs(2 * h * y)) / abs(abs(2 * g * x) - abs(2 * h * y))
        ratio_head = (abs(g * x) + abs(h * y)) / abs(abs(g * x) - abs(h * y))
        assert value == pytest.approx(math.log(ratio_conv) + math.log(2 * ratio_head))

    def test_zico_needs_two_different_batches(self):
        batch = batch_of(count=4)
        same = Batch(batch.images.repeat(2, 1, 1, 1), batch.labels.repeat(2))
        score = score_network(initial_network(inception(), SHAPE, 2, seed=0), same, ["zico"])
        assert math.isnan(score["zico"].value)
        assert "batch to batch" in score["zico"].reason


class TestJacov:
    OFFSET = 1e-5

    def value_of(self, *values):
        return -sum(math.log(v + self.OFFSET) + 1 / (v + self.OFFSET) for v in values)

    @staticmethod
    def twice(images):
        """A batch whose first half is these images."""
        return Batch(images.repeat(2, 1, 1, 1), torch.zeros(2 * len(images), dtype=torch.int64))

    def test_of_images_that_switch_other_relus(self):
        weight = [[1.0, 0, 0, 0], [0, 1.0, 0, 0]]
        images = torch.tensor([[1.0, -1, 0, 0], [-1, 1, 0, 0]])[:, :, None, None]
        network = one_layer(2, weight, Shape(4, 1, 1))
        with torch.no_grad():
            network.head.classifier.weight.fill_(0.5)
        # Jacobians (1, 0, 0, 0) and (0, 1, 0, 0): correlation -1/3.
        expected = self.value_of(4 / 3, 2 / 3)
        assert SCORES["jacov"](network, self.twice(images)) == pytest.approx(expected)

    def test_of_images_that_a_linear_network_cannot_tell_apart(self):
        network = one_layer(1, [[1.0, 2.0, 3.0]], Shape(3, 1, 1))
        images = torch.rand(3, 3, 1, 1, generator=torch.Generator().manual_seed(0)) + 0.1
        expected = self.value_of(3, 0, 0)
        assert SCORES["jacov"](network, self.twice(images)) == pytest.approx(expected, rel=1e-6)

    def test_no_correlation(self):
        network = one_layer(1, [[1.0, 1.0]], Shape(2, 1, 1))
        batch = self.twice(torch.ones(3, 2, 1, 1))
        score = score_network(network, batch, ["jacov"])["jacov"]
        assert math.isnan(score.value)
        assert "does not vary" in score.reason


class TestNetwork:
    @pytest.mark.parametrize("norm", [PLAIN, Norm()])
    def test_merged_and_separate_score_the_same(self, norm):
        merged, separate = (
            build(inception(norm, hidden=(4,)), SHAPE, 2, merge=merge, loops=False, seed=3).double()
            for merge in (True, False)
        )
        cells = [module for module in merged.modules() if isinstance(module, InceptionCell)]
        assert all(cell.merged is not None for cell in cells)
        batch = batch_of(dtype=torch.float64)
        one, other = (score_network(network, batch) for network in (merged, separate))
        for name in SCORES:
            assert one[name].value == pytest.approx(other[name].value, rel=1e-7), name
        assert one["naswot"].value == other["naswot"].value

    @pytest.mark.parametrize("norm", [PLAIN, Norm()])
    def test_gradients_reach_the_branches_of_residual_cells(self, norm):
        network = initial_network(inception(norm, residual=True), SHAPE, 2, seed=0)
        batch = batch_of()
        functional.cross_entropy(network(batch.images), batch.labels).backward()
        cells = [module for module in network.modules() if isinstance(module, InceptionCell)]
        for cell in cells:
            weights = [item.weight for item in cell.modules() if isinstance(item, nn.Conv2d)]
            inner = [item for item in weights if item is not cell.projection.conv.weight]
            # Without a norm a narrow branch may be dead for all of a few images.
            assert sum(float(weight.grad.abs().sum()) for weight in inner) > 0

    def test_follows_from_the_seed_alone(self):
        batch = batch_of()

        def values(seed, names=tuple(SCORES)):
            network = initial_network(inception(PLAIN, residual=True), SHAPE, 2, seed)
            return {name: s.value for name, s in score_network(network, batch, names).items()}

        torch.manual_seed(1)
        first = values(0)
        torch.manual_seed(2)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            assert values(0) == first
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(threads)
        assert all(values(1)[name] != first[name] for name in SCORES)
        for name in SCORES:
            assert values(0, [name]) == {name: first[name]}

    def test_dropout_and_auxiliary_heads_change_nothing(self):
        head = AuxiliaryHead(0, 0, pool=Pool("avg", 3, 2), channels=4, hidden=4)
        found = []
        for architecture in (inception(), inception(auxiliary=(head,), dropout=0.5)):
            network = initial_network(architecture, SHAPE, 2, seed=0)
            found.append({n: s.value for n, s in score_network(network, batch_of()).items()})
        assert found[0] == found[1]

    def test_unknown_score(self):
        with pytest.raises(ValueError, match="did you mean 'synflow'"):
            score_network(one_layer(1), batch_of(), ["sinflow"])


@pytest.fixture(scope="module")
def split():
    return carve(small_data(400), 30).train


class TestArchitecture:
    def test_scores_the_proxy_of_the_task(self, split):
        task, architecture = small_task(), small_architecture(16)
        batch = draw_batch(split, measure_statistics(split), seed=0)
        found = score_architecture(architecture, task, 5, batch)
        narrow = proxy(architecture, task)
        assert narrow != architecture
        expected = score_network(initial_network(narrow, IMAGE, CLASSES, 5), batch)
        assert list(found) == list(SCORES)
        for name, score in found.items():
            assert score.value == expected[name].value
            assert math.isfinite(score.value)
            assert score.seconds > 0

    def test_images_are_drawn_by_the_seed(self, split):
        statistics = measure_statistics(split)
        one, again, other = (draw_batch(split, statistics, seed) for seed in (0, 0, 1))
        assert one.images.shape == (128, *IMAGE)
        assert one.images.dtype == torch.float32
        assert torch.equal(one.images, again.images)
        assert not torch.equal(one.images, other.images)
        halves = one.halves
        assert [len(half.labels) for half in halves] == [64, 64]
        assert torch.equal(torch.cat([half.images for half in halves]), one.images)

    def test_few_images(self, split):
        statistics = measure_statistics(split)
        assert len(draw_batch(split.take(torch.arange(9)), statistics, 0).halves[1].labels) == 4
        with pytest.raises(ValueError, match="at least 8 training images, and there are 7"):
            draw_batch(split.take(torch.arange(7)), statistics, 0)

    def test_images_of_another_size(self, split):
        batch = draw_batch(split, measure_statistics(split), seed=0)
        smaller = replace(batch, images=batch.images[:, :, :6])
        with pytest.raises(ValueError, match="1x6x12, the task's 1x12x12"):
            score_architecture(small_architecture(), small_task(), 0, smaller)


class TestTable:
    @staticmethod
    def networks(**columns):
        random = np.random.default_rng(0)
        error = random.uniform(size=40)
        costs = {name: random.uniform(size=40) for name in BASELINES}
        given = {name: make(error, random) for name, make in columns.items()}
        return pd.DataFrame({"error": error, **costs, **given})

    def test_a_score_that_ranks_better_beats_the_best_cost(self):
        networks = self.networks(
            good=lambda error, _: -error,
            bad=lambda error, _: error,
            proxy_macs=lambda error, random: -error + 0.3 * random.normal(size=40),
        )
        found = score_table(networks, ["good", "bad"])
        assert found.baseline == "proxy_macs"
        assert found.better == ("good",)
        rows = found.table.set_index("name")
        assert list(rows.index) == ["good", "bad", *BASELINES]
        assert rows.loc["good", "tau"] == 1
        assert rows.loc["bad", "spearman"] == pytest.approx(-1)
        best = kendalltau(networks["proxy_macs"], -networks["error"]).statistic
        assert rows.loc["good", "difference"] == pytest.approx(1 - best)
        assert rows["difference"].isna().tolist() == [False, False, True, True, True, True]

    def test_what_is_missing_is_left_out_for_that_score_alone(self):
        def partly(error, _):
            return np.where(np.arange(40) < 30, -error, np.nan)

        networks = self.networks(part=partly)
        rows = score_table(networks, ["part"]).table.set_index("name")
        assert rows.loc["part", "networks"] == 30
        assert rows.loc["macs", "networks"] == 40

    def test_equal_errors_rank_nothing(self):
        networks = self.networks(good=lambda error, _: error).assign(error=0.5)
        found = score_table(networks, ["good"])
        assert found.baseline is None
        assert found.better == ()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return command_line.make_run(tmp_path_factory.mktemp("results"), trials=7)


@pytest.fixture(scope="module")
def scored(run):
    """What the first call printed."""
    return nas("spaces", "tiny", "--scores", run.path, "--json")


class TestCommand:
    def test_correlates_with_the_trials(self, run, scored):
        assert scored.code == 0
        data = scored.data
        rows = {row["name"]: row for row in data["scores"]}
        assert list(rows) == [*SCORES, *BASELINES]
        trials = run.trials[run.trials["state"] == "complete"]
        networks = data["networks"]
        assert [row["trial"] for row in networks] == trials["number"].tolist()
        for name, row in rows.items():
            values = [network[name] for network in networks]
            assert row["tau"] == pytest.approx(kendalltau(values, -trials["error"]).statistic)
            assert (row["seconds"] is None) == row["is_baseline"]
        assert [row["macs"] for row in networks] == trials["macs"].tolist()
        assert all(row["proxy_macs"] < row["macs"] for row in networks)

    @pytest.mark.parametrize("width", [80, 120])
    def test_prints_a_table_and_a_verdict(self, run, scored, width, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(width))
        result = nas("spaces", "tiny", "--scores", run.path)
        assert result.code == 0
        assert max(map(len, result.out.splitlines())) <= width
        for name in (*SCORES, *BASELINES.values()):
            assert any(line.startswith(f"{name} ") for line in result.out.splitlines()), name
        better = scored.data["better"]
        assert ("Better than" if better else "No score ranks") in result.out

    def test_scores_are_kept(self, run, scored, monkeypatch):
        kept = run.path / space_scores.KEPT
        before = kept.read_text()
        monkeypatch.setattr(space_scores, "_batch", None)
        assert nas("spaces", "tiny", "--scores", run.path, "--json").data == scored.data
        assert kept.read_text() == before

    def test_goes_on_after_an_interruption(self, run, scored):
        kept = run.path / space_scores.KEPT
        text = kept.read_text()
        lines = [line for line in text.splitlines() if line]
        other = json.dumps({**json.loads(lines[-1]), "seed": 99})
        kept.write_text("\n".join([*lines[:-3], other, lines[-3][:40]]))
        again = nas("spaces", "tiny", "--scores", run.path, "--json").data
        kept.write_text(text)
        for before, after in zip(scored.data["networks"], again["networks"], strict=True):
            assert [before[name] for name in SCORES] == [after[name] for name in SCORES]
        repeated = [
            before["synflow_seconds"] == after["synflow_seconds"]
            for before, after in zip(scored.data["networks"], again["networks"], strict=True)
        ]
        assert repeated.count(False) == 3

    def test_says_which_network_has_none(self, run, scored):
        kept = run.path / space_scores.KEPT
        text = kept.read_text()
        row = json.loads(text.split("\n\n")[0])
        row["scores"]["jacov"] = [None, 0.1, "an image's gradient does not vary"]
        kept.write_text(f"{text}\n{json.dumps(row)}\n")
        result = nas("spaces", "tiny", "--scores", run.path, "--json")
        kept.write_text(text)
        assert "has no jacov: an image's gradient does not vary" in result.err
        assert [item["networks"] for item in result.data["scores"]].count(6) == 1

    def test_refuses(self, run, tmp_path):
        few = command_line.make_run(tmp_path, "few", trials=4)
        for words, phrases in {
            ("spaces", "googlenet", "--scores", run.path): ("searched tiny, not googlenet",),
            ("spaces", "tiny", "--scores", few.path): ("4 trained", "at least 5"),
            ("spaces", "tiny", "--scores", tmp_path / "none"): ("none is not a run",),
            ("spaces", "--scores", run.path): ("--scores needs the SPACE",),
            ("spaces", "tiny", "--scores", run.path, "--image", "32"): ("--image is not for",),
        }.items():
            result = nas(*words)
            assert (result.code, result.out) == (2, "")
            assert result.err.count("\n") == 1
            for phrase in phrases:
                assert phrase in result.err
        assert not (Path(few.path) / space_scores.KEPT).exists()
