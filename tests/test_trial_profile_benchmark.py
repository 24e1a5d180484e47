"""The profile of a trial: every op in one part, parts that add up, floors by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from small_training import small_architecture, small_data, small_task
from torch.profiler import ProfilerActivity, profile

from nas.cost import count_cost
from nas.task import proxy

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import trial_profile
from trial_profile import ELSE, Rates, part_of, profile_trial, seconds_by_part


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("aten::conv2d", "convolution, forward"),
        ("_Pointwise", "convolution, forward"),
        ("_PointwiseBackward", "convolution, backward"),
        (
            "autograd::engine::evaluate_function: ConvolutionBackward0",
            "convolution, backward",
        ),
        ("aten::batch_norm", "batch norm, with its ReLU where fused"),
        (
            "autograd::engine::evaluate_function: NativeBatchNormBackward0",
            "batch norm, with its ReLU where fused",
        ),
        ("aten::relu_", "ReLU"),
        ("autograd::engine::evaluate_function: MaxPool2DWithIndicesBackward0", "pooling"),
        ("_NormReLU", "batch norm, with its ReLU where fused"),
        ("_AddReLUBackward", "sums of branches"),
        ("aten::cat", "concat and split"),
        ("autograd::engine::evaluate_function: SplitWithSizesBackward0", "concat and split"),
        ("Optimizer.step#SGD.step", "optimiser"),
        ("aten::index_select", "augmentation and gather"),
        ("aten::to", "casts between formats"),
        ("aten::cross_entropy_loss", "head and loss"),
        ("trial: training", None),
        ("aten::empty", None),
    ],
)
def test_an_ops_part_is_told_by_its_name(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_no_time_is_counted_twice_or_lost() -> None:
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        layer(torch.ones(4, 3, 8, 8)).sum().backward()
    events = profiler.events()
    roots = sum(event.cpu_time_total for event in events if event.cpu_parent is None) / 1e6
    parts = seconds_by_part(events)
    assert sum(parts.values()) == pytest.approx(roots, rel=0.02)
    assert {
        "convolution, forward",
        "convolution, backward",
        "batch norm, with its ReLU where fused",
        ELSE,
    } <= set(parts)


def test_a_trials_parts_add_up_and_the_floors_are_counted() -> None:
    task, (data, statistics) = small_task(), small_data()
    architecture = small_architecture(0.0)
    rates = Rates(operations=1e9, bytes=1e6)
    result = profile_trial(architecture, task, data, statistics, rates)
    assert sum(result.parts.values()) == pytest.approx(result.seconds)
    assert all(value >= 0 for value in result.parts.values())
    for part in ("set-up", "validation", "convolution, backward", "augmentation and gather"):
        assert result.parts[part] > 0, part
    cost = count_cost(proxy(architecture, task), task.proxy_image, 4)
    # 4 epochs of 96 images, 3 rungs of 60.
    assert result.operations_floor == pytest.approx(2 * cost.macs * (3 * 384 + 180) / 1e9)
    moved = cost.activation_bytes * (5 * 384 + 2 * 180)
    assert result.bytes_floor == pytest.approx(moved / 1e6)


def test_what_is_labelled_is_put_back() -> None:
    import nas.training.loop
    import nas.training.step

    before = nas.training.loop.validation_sums, nas.training.step.augment
    with trial_profile.labelled(trial_profile.Seconds(float)):
        assert nas.training.loop.validation_sums is not before[0]
    assert (nas.training.loop.validation_sums, nas.training.step.augment) == before


def test_the_command_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_profile, "PROFILED_STEPS", 2)
    words = ["--space", "tiny", "--architectures", "1", "--images", "64", "--epochs", "1"]
    words += ["--width", "0.125", "--precision", "float32", "--json", str(tmp_path / "p.json")]
    profiles = trial_profile.run(trial_profile.parse_arguments(words))
    printed = capsys.readouterr().out
    assert "n = 1 architectures" in printed
    assert "| convolution, forward | " in printed
    assert "floor by operations" in printed
    written = json.loads((tmp_path / "p.json").read_text())
    assert written["profiles"][0]["parts"] == profiles[0].parts
    assert written["task"]["proxy"]["width"] == 0.125
