"""An evaluation: rungs, pausing bit for bit across processes, failures with their reasons."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import IMAGE, small_architecture, small_data, small_split, small_task
from torch import Tensor

from nas import evaluate
from nas.architecture import Norm
from nas.evaluate import Evaluation, EvaluationFailed, RungResult
from nas.task import Task, create_task, proxy
from nas.training import loop
from nas.training.device_queue import DeviceQueue, Reading

DATA, STATISTICS = small_data()


def evaluation_of(task: Task | None = None, seed: int = 0, **changes: Any) -> Evaluation:
    architecture = replace(small_architecture(), **changes)
    return Evaluation(architecture, task or small_task(), seed, DATA, STATISTICS)


def finish(evaluation: Evaluation) -> list[RungResult]:
    results = []
    while not evaluation.done:
        results.append(evaluation.advance())
    return results


def without_time(results: list[RungResult] | tuple[RungResult, ...]) -> list[RungResult]:
    return [replace(result, train_seconds=0.0, setup_seconds=0.0) for result in results]


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of a nested state, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def assert_same_bits(one: Evaluation, two: Evaluation) -> None:
    assert without_time(one.results) == without_time(two.results)
    assert one.train_losses == two.train_losses
    mine, theirs = list(tensors(one.state_dict())), list(tensors(two.state_dict()))
    # Weights, running statistics and momentum of every layer.
    assert len(mine) == len(theirs) > 50
    assert all(map(torch.equal, mine, theirs))


def test_rungs_report_epochs_images_and_losses() -> None:
    evaluation = evaluation_of()
    results = finish(evaluation)
    assert [result.epoch for result in results] == [1, 2, 4]
    assert [result.images_seen for result in results] == [96, 192, 384]
    assert [result.train_loss for result in results] == [
        evaluation.train_losses[epoch - 1] for epoch in (1, 2, 4)
    ]
    seconds = [result.train_seconds for result in results]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert results[-1].error < 0.7  # chance is 0.75
    assert results[-1].validation_loss < results[0].validation_loss
    assert evaluation.results == tuple(results)
    with pytest.raises(ValueError, match="its last rung is 4"):
        evaluation.advance()


def test_what_is_trained_is_the_proxy() -> None:
    evaluation = evaluation_of()
    assert evaluation.proxy == proxy(small_architecture(), small_task())
    assert evaluation.proxy != small_architecture()


def test_the_proxy_has_the_targets_classes() -> None:
    split, settings = small_split(), small_task().model_dump(mode="json")
    task = create_task(split.describe("small"), {**settings, "target": {"classes": 9}})
    evaluation = evaluation_of(task)
    evaluation.advance()
    assert evaluation.network.state_dict()["head.classifier.weight"].shape[0] == 9


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_seed_same_bits_whatever_threads_and_global_state(precision: str) -> None:
    task = small_task().model_copy(update={"precision": precision})
    one = evaluation_of(task)
    finish(one)
    torch.manual_seed(99)
    torch.set_num_threads(2)
    try:
        two = evaluation_of(task)
        finish(two)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert_same_bits(one, two)


def test_another_seed_gives_another_result() -> None:
    assert without_time(finish(evaluation_of(seed=1))) != without_time(finish(evaluation_of()))


PROGRAM = """
import sys
import torch
from small_training import small_architecture, small_data, small_task
from nas.evaluate import Evaluation

torch.manual_seed(4)
task = small_task().model_copy(update={"precision": sys.argv[2]})
evaluation = Evaluation(small_architecture(), task, 0, *small_data())
evaluation.load_state_dict(torch.load(sys.argv[1], weights_only=True))
while not evaluation.done:
    evaluation.advance()
torch.save(evaluation.state_dict(), sys.argv[1] + ".done")
"""


@pytest.mark.parametrize(("rungs", "precision"), [(0, "float32"), (1, "bfloat16"), (2, "float32")])
def test_a_fresh_process_goes_on_bit_for_bit(tmp_path: Path, rungs: int, precision: str) -> None:
    task = small_task().model_copy(update={"precision": precision})
    whole, paused = evaluation_of(task), evaluation_of(task)
    finish(whole)
    for _ in range(rungs):
        paused.advance()
    path = tmp_path / "state.pt"
    torch.save(paused.state_dict(), path)
    tests = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", PROGRAM, path, precision],
        check=True,
        cwd=tests.parent,
        env={"PYTHONPATH": f"{tests}:{tests.parent}", "OMP_NUM_THREADS": "2"},
    )
    fresh = evaluation_of(task)
    fresh.load_state_dict(torch.load(f"{path}.done", weights_only=True))
    assert fresh.done
    assert_same_bits(whole, fresh)


def test_a_state_does_not_change_while_training_goes_on() -> None:
    evaluation = evaluation_of()
    evaluation.advance()
    state = evaluation.state_dict()
    before = [item.clone() for item in tensors(state)]
    evaluation.advance()
    assert all(map(torch.equal, tensors(state), before))
    assert len(state["results"]) == 1


def test_the_state_of_another_trial_is_refused() -> None:
    state = evaluation_of().state_dict()
    with pytest.raises(ValueError, match="another seed: 0, not 1"):
        evaluation_of(seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="another proxy: "):
        evaluation_of(norm=Norm("none")).load_state_dict(state)
    with pytest.raises(ValueError, match="another task: "):
        evaluation_of(small_task(learning_rate=0.01)).load_state_dict(state)


def test_a_loss_that_is_not_finite_fails_with_the_reason() -> None:
    evaluation = evaluation_of(small_task(learning_rate=1e30))
    with pytest.raises(EvaluationFailed) as failure:
        evaluation.advance()
    assert "the loss became" in failure.value.reason
    assert "in epoch 1 by step" in failure.value.reason


# Turns


def turned(evaluation: Evaluation) -> tuple[RungResult, int]:
    """The next rung by turns, and their number."""
    turns = 1
    while (result := evaluation.turn()) is None:
        assert not evaluation.is_busy
        turns += 1
    return result, turns


def test_turns_are_slices_and_give_the_same_as_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluation_of()
    finish(whole)
    monkeypatch.setattr(evaluate, "SLICE_STEPS", 2)
    sliced = evaluation_of()
    # An epoch has three steps: one turn ends within it, one with it and another with the rung.
    assert [turned(sliced)[1] for _ in range(2)] == [3, 3]
    sliced.turn()
    sliced.advance()  # both ways may be mixed, even within a rung
    assert sliced.done
    assert sliced.steps_done == 12
    assert_same_bits(whole, sliced)
    with pytest.raises(ValueError, match="its last rung is 4"):
        sliced.turn()


def test_evaluations_in_turn_are_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "SLICE_STEPS", 1)
    others = [Norm("none"), Norm("batch"), Norm("batch")]
    alone = [evaluation_of(seed=seed, norm=norm) for seed, norm in enumerate(others)]
    for evaluation in alone:
        finish(evaluation)
    together = [evaluation_of(seed=seed, norm=norm) for seed, norm in enumerate(others)]
    broken = evaluation_of(small_task(learning_rate=1e30))
    waiting = [broken, *together]
    while waiting:
        evaluation = waiting.pop(0)
        try:
            evaluation.turn()
        except EvaluationFailed:
            assert evaluation is broken
            continue
        if not evaluation.done:
            waiting.append(evaluation)
    assert not broken.done
    for one, two in zip(alone, together, strict=True):
        assert_same_bits(one, two)


class _SlowQueue(DeviceQueue):
    """A device that is found at work three times after each mark, or until it is waited for."""

    left = 0
    waits = 0

    def mark(self) -> None:
        self.left = 3

    @property
    def is_busy(self) -> bool:
        self.left -= self.left > 0
        return self.left > 0

    def wait(self) -> None:
        self.waits += self.left > 0
        self.left = 0

    def read(self, numbers: Tensor) -> Reading:
        self.mark()
        return Reading(self, numbers.clone())


def test_turns_on_a_slow_device_do_not_wait_and_advancing_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = evaluation_of()
    finish(whole)
    monkeypatch.setattr(evaluate, "SLICE_STEPS", 2)
    monkeypatch.setattr(loop, "DeviceQueue", _SlowQueue)
    turning, advancing = evaluation_of(), evaluation_of()
    turns = 0
    while not turning.done:
        turning.turn()
        turns += 1
    # Four epochs with a slice, a loss asked for thrice, and three validations likewise.
    assert turns > 4 * 3 + 3 * 2
    assert turning._training.queue.waits == 0
    finish(advancing)
    assert advancing._training.queue.waits >= 4 + 3
    assert_same_bits(whole, turning)
    assert_same_bits(whole, advancing)


def test_within_an_epoch_nothing_can_be_saved_and_after_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate, "SLICE_STEPS", 1)
    whole, paused, fresh = (evaluation_of() for _ in range(3))
    finish(whole)
    paused.turn()
    with pytest.raises(ValueError, match="within an epoch"):
        paused.state_dict()
    paused.advance()
    fresh.turn()  # what was begun is forgotten
    fresh.load_state_dict(paused.state_dict())
    finish(fresh)
    assert_same_bits(whole, fresh)


def test_a_failed_evaluation_fails_again_with_the_same_reason() -> None:
    evaluation = evaluation_of(small_task(learning_rate=1e30))
    reasons = []
    for _ in range(2):
        with pytest.raises(EvaluationFailed) as failure:
            evaluation.turn()
        reasons.append(failure.value.reason)
    assert reasons[0] == reasons[1]


def test_seconds_hold_the_set_up_and_survive_a_pause() -> None:
    evaluation = evaluation_of()
    result = evaluation.advance()
    assert 0 < result.setup_seconds < result.train_seconds
    assert result.setup_seconds == evaluation.setup_seconds
    resumed = evaluation_of()
    resumed.load_state_dict(evaluation.state_dict())
    assert resumed.advance().setup_seconds == result.setup_seconds
    state = evaluation.state_dict()
    del state["setup_seconds"], state["results"][0]["setup_seconds"]  # saved by an older version
    resumed.load_state_dict(state)
    assert resumed.results[0].setup_seconds == 0


def test_a_processor_holds_no_device_memory_and_closing_keeps_the_results() -> None:
    evaluation = evaluation_of()
    results = finish(evaluation)
    assert evaluation.device_bytes == 0
    evaluation.close()
    evaluation.close()
    assert list(evaluation.results) == results


def test_a_closed_evaluation_is_gone_with_its_last_reference() -> None:
    evaluation = evaluation_of()
    evaluation.advance()
    evaluation.close()
    with pytest.raises(ValueError, match="closed"):
        evaluation.turn()
    held = weakref.ref(evaluation), weakref.ref(evaluation.network)
    # A GPU's memory would not wait for the search for circles.
    gc.disable()
    try:
        del evaluation
        assert [item() for item in held] == [None, None]
    finally:
        gc.enable()


LOW_MEMORY = """
import resource
from dataclasses import replace
import torch
from nas.architecture import Conv, Shape
from nas.datasets import carve, from_tensors, measure_statistics
from nas.evaluate import Evaluation, EvaluationFailed
from nas.task import create_task
from small_training import small_architecture

images = torch.randint(0, 256, (260, 1, 128, 128), generator=torch.Generator().manual_seed(0))
split = from_tensors(images.to(torch.uint8), torch.arange(260) % 4)
task = create_task(split.describe("large"), {
    "proxy": {"width": 1.0, "resolution": 128, "stem": "own"},
    "validation_images": 4, "recipe": {"batch_size": 256}})
architecture = replace(small_architecture(), stem=(Conv((3, 3), 256),))
data = carve(split, 4)
evaluation = Evaluation(architecture, task, 0, data, measure_statistics(data.train))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, -1))
try:
    evaluation.advance()
except EvaluationFailed as failure:
    print(failure.reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux does")
def test_out_of_memory_fails_with_what_it_needed() -> None:
    tests = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", LOW_MEMORY],
        check=True,
        capture_output=True,
        text=True,
        cwd=tests.parent,
        env={"PYTHONPATH": f"{tests}:{tests.parent}", "OMP_NUM_THREADS": "1"},
    )
    assert result.stdout.startswith("out of memory: ")
    assert "were refused; a batch of 256 images has about " in result.stdout


def test_images_of_another_size_are_refused() -> None:
    task = small_task().model_copy(
        update={"proxy": small_task().proxy.model_copy(update={"resolution": 16})}
    )
    with pytest.raises(ValueError, match="the images are 1x12x12, the task's 1x16x16"):
        evaluation_of(task)
    assert small_task().proxy_image == IMAGE
