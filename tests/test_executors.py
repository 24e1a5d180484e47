"""What every executor must do: one class of contract tests, an executor a line of the fixture."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from small_search import CLASSES, result, small_architecture, small_data, small_task, trained

from nas.architecture import Architecture
from nas.datasets import carve, measure_statistics
from nas.evaluate import Evaluation, EvaluationFailed
from nas.search.executor import LAST, Executor, Job, Report, ScriptedExecutor
from nas.search.local_executor import InProcessExecutor, LocalExecutor
from nas.search.work import OwnFunction, ProxyTraining, Work
from nas.task import Task

NOT_AN_ERROR = "evaluate returned nan, not an error from 0 to 1"


def collect(executor: Executor, numbers: set[int], seconds: float = 240) -> list[Report]:
    """All reports until each of ``numbers`` has its last."""
    reports: list[Report] = []
    end = time.monotonic() + seconds
    while {report.number for report in reports if report.kind in LAST} < numbers:
        assert time.monotonic() < end, reports
        reports += executor.poll(0.2)
    return reports


def of(reports: list[Report], number: int) -> list[Report]:
    return [report for report in reports if report.number == number]


def job(number: int, width: int = 8, task: Task | None = None) -> Job:
    return Job(number, small_architecture(width), task or small_task(), seed=3)


def proxy_training() -> ProxyTraining:
    data = carve(small_data(), 30)
    return ProxyTraining(data.share_memory(), measure_statistics(data.train))


def evaluate(architecture: Architecture, task: Task, seed: int) -> float:
    """A function of the caller's own, found by workers because they can import this module."""
    width = architecture.stages[0][0].output_channels(8)
    if width == 8 + 13:
        raise EvaluationFailed("thirteen")
    if width == 8 + 14:
        raise KeyError("fourteen")
    if width == 8 + 15:
        return float("nan")
    if width == 8 + 18:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if width == 8 + 19:
        raise RuntimeError("CUDA error: out of memory")
    if width == 8 + 16:
        os._exit(7)
    if width == 8 + 17:
        time.sleep(60)
    return seed / width


def scripted(job: Job) -> list[Report]:
    width = job.architecture.stages[0][0].output_channels(8)
    failures = {8 + 13: "thirteen", 8 + 14: "KeyError: 'fourteen'", 8 + 15: NOT_AN_ERROR}
    if width in failures:
        return [Report(job.number, "started"), Report(job.number, "failed", None, failures[width])]
    if width == 8 + 16:
        reason = "the worker ended with exit code 7"
        return [Report(job.number, "started"), Report(job.number, "lost", None, reason)]
    if width == 8 + 17:
        return [Report(job.number, "started")]
    final = result(1, job.seed / width)
    reports = [Report(job.number, "started"), Report(job.number, "rung", final)]
    return [*reports, Report(job.number, "done", final)]


def on_ray(work: Work, workers: int = 2) -> Executor:
    from nas.search.ray_executor import RayExecutor
    from nas.search.ray_options import RayOptions

    return RayExecutor(work, "cpu", RayOptions(), most=workers)


RAY = pytest.param("ray", marks=pytest.mark.xdist_group("ray"))


def create(
    request: pytest.FixtureRequest, executors: dict[str, Callable[[], Executor]]
) -> Executor:
    if request.param == "ray":
        request.getfixturevalue("ray")
    return executors[request.param]()


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "scripted": lambda: ScriptedExecutor(scripted, capacity=2),
    "local": lambda: LocalExecutor(OwnFunction(evaluate), ["cpu", "cpu"]),
    "in process": lambda: InProcessExecutor(OwnFunction(evaluate)),
    "ray": lambda: on_ray(OwnFunction(evaluate)),
}


@pytest.fixture(scope="module", params=[*(name for name in EXECUTORS if name != "ray"), RAY])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = create(request, EXECUTORS)
    yield made
    made.close()


class TestContract:
    """Whatever runs the trials, the driver sees this."""

    def test_reports_come_in_order_and_end_with_the_result(self, executor: Executor) -> None:
        executor.submit(job(0))
        reports = collect(executor, {0})
        assert [report.kind for report in reports] == ["started", "rung", "done"]
        assert [report.result and report.result.error for report in reports[1:]] == [3 / 16] * 2

    def test_as_many_jobs_as_capacity_run_together(self, executor: Executor) -> None:
        for number in range(executor.capacity):
            executor.submit(job(number, width=8 + number))
        reports = collect(executor, set(range(executor.capacity)))
        for number in range(executor.capacity):
            assert [report.kind for report in of(reports, number)] == ["started", "rung", "done"]

    @pytest.mark.parametrize(
        ("width", "reason"),
        [(13, "thirteen"), (14, "KeyError: 'fourteen'"), (15, NOT_AN_ERROR)],
    )
    def test_a_failure_has_its_reason(self, executor: Executor, width: int, reason: str) -> None:
        executor.submit(job(0, width))
        last = collect(executor, {0})[-1]
        assert last.kind == "failed"
        assert last.reason.startswith(reason)

    def test_it_goes_on_after_a_failure(self, executor: Executor) -> None:
        executor.submit(job(0, 14))
        collect(executor, {0})
        executor.submit(job(1))
        assert collect(executor, {1})[-1].kind == "done"

    def test_nothing_of_a_stopped_job_is_reported(self, executor: Executor) -> None:
        executor.submit(job(0))
        executor.stop(0)
        executor.stop(99)
        end = time.monotonic() + 0.5
        reports = []
        while time.monotonic() < end:
            reports += executor.poll(0.05)
        assert reports == []
        executor.submit(job(1))
        assert {report.number for report in collect(executor, {1})} == {1}

    def test_without_jobs_there_are_no_reports(self, executor: Executor) -> None:
        assert executor.poll(0.01) == []

    def test_a_worker_that_dies_loses_its_job_and_is_replaced(self, executor: Executor) -> None:
        if isinstance(executor, InProcessExecutor):
            pytest.skip("there is no worker to die")
        executor.submit(job(0, 16))
        last = collect(executor, {0})[-1]
        assert last.kind == "lost"
        # Ray does not tell the exit code.
        assert re.fullmatch(
            r"the worker ended with exit code 7|the worker on [\d.]+ crashed or was killed",
            last.reason,
        )
        executor.submit(job(0))
        assert collect(executor, {0})[-1].kind == "done"


TRAINING: dict[str, Callable[[], Executor]] = {
    "local": lambda: LocalExecutor(proxy_training(), ["cpu", "cpu"]),
    "ray": lambda: on_ray(proxy_training()),
}


@pytest.fixture(scope="module", params=["local", RAY])
def training(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = create(request, TRAINING)
    yield made
    made.close()


WAITING: dict[str, Callable[[], Executor]] = {
    "scripted": lambda: ScriptedExecutor(trained),
    "local": lambda: LocalExecutor(proxy_training(), ["cpu"]),
    "in process": lambda: InProcessExecutor(proxy_training()),
    "ray": lambda: on_ray(proxy_training(), workers=1),
}


@pytest.fixture(scope="module", params=[*(name for name in WAITING if name != "ray"), RAY])
def waiting(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = create(request, WAITING)
    yield made
    made.close()


class TestWaiting:
    """A job that waits trains on from a rung when it is told to, and not before."""

    def until_rung(self, executor: Executor, number: int, epoch: int) -> None:
        executor.submit(replace(job(number, task=small_task(epochs=4)), waits=True))
        passed: list[int] = []
        end = time.monotonic() + 240
        while epoch not in passed:
            assert time.monotonic() < end
            for report in executor.poll(0.2):
                if report.result is not None:
                    passed.append(report.result.epoch)
                    if report.result.epoch < epoch:
                        executor.go_on(number)

    def test_it_waits_at_each_rung(self, waiting: Executor) -> None:
        self.until_rung(waiting, 0, 2)
        for _ in range(3):
            assert waiting.poll(0.1) == []
        waiting.go_on(99)
        waiting.go_on(0)
        reports = collect(waiting, {0})
        assert [(r.kind, r.result and r.result.epoch) for r in reports] == [
            ("rung", 4),
            ("done", 4),
        ]

    def test_one_that_is_stopped_leaves_its_place(self, waiting: Executor) -> None:
        self.until_rung(waiting, 0, 1)
        waiting.stop(0)
        end = time.monotonic() + 240
        while waiting.capacity < 1:
            assert time.monotonic() < end
            assert waiting.poll(0.05) == []
        waiting.submit(job(1))
        assert {report.number for report in collect(waiting, {1})} == {1}

    def test_one_that_does_not_wait_trains_through(self, waiting: Executor) -> None:
        waiting.submit(job(0, task=small_task(epochs=4)))
        reports = collect(waiting, {0})
        assert [r.kind for r in reports] == ["started", "rung", "rung", "rung", "done"]


def test_workers_give_the_bits_of_this_process(training: Executor) -> None:
    for number in range(2):
        training.submit(job(number, width=8))
    reports = collect(training, {0, 1})
    curves = [
        [(r.result.epoch, r.result.train_loss, r.result.validation_loss, r.result.error)]
        for number in range(2)
        for r in of(reports, number)
        if r.kind == "rung" and r.result is not None
    ]
    data = carve(small_data(), 30)
    own = Evaluation(
        small_architecture(), small_task(), 3, data, measure_statistics(data.train), "cpu"
    )
    expected = []
    while not own.done:
        r = own.advance()
        expected.append([(r.epoch, r.train_loss, r.validation_loss, r.error)])
    assert curves == expected * 2
    assert len(expected) == 2


def test_the_data_is_shared_not_copied() -> None:
    work = proxy_training()
    assert work.data.train.images.is_shared()
    assert work.data.train.labels.is_shared()


def test_a_killed_worker_is_lost_with_the_signal() -> None:
    executor = LocalExecutor(OwnFunction(evaluate), ["cpu"])
    try:
        executor.submit(job(0, 17))
        while not any(report.kind == "started" for report in executor.poll(1)):
            pass
        os.kill(executor.pids[0], signal.SIGKILL)
        last = collect(executor, {0})[-1]
        assert (last.kind, last.reason) == ("lost", "the worker was killed by SIGKILL")
    finally:
        executor.close()


def test_a_worker_whose_device_failed_is_replaced() -> None:
    executor = LocalExecutor(OwnFunction(evaluate), ["cpu"])
    try:
        before = executor.pids
        executor.submit(job(0, 18))
        last = collect(executor, {0})[-1]
        assert last.kind == "lost"
        assert "CUDA error: an illegal memory access" in last.reason
        assert executor.pids != before
        # Out of memory leaves the device as it was.
        executor.submit(job(1, 19))
        after = executor.pids
        assert collect(executor, {1})[-1].kind == "failed"
        assert executor.pids == after
    finally:
        executor.close()


def test_a_device_that_failed_in_this_process_ends_the_search() -> None:
    executor = InProcessExecutor(OwnFunction(evaluate))
    executor.submit(job(0, 18))
    assert [report.kind for report in executor.poll(0)] == ["started"]
    with pytest.raises(RuntimeError, match="CUDA error: an illegal"):
        executor.poll(0)


def test_workers_that_cannot_start_end_the_search() -> None:
    executor = LocalExecutor(OwnFunction(evaluate), ["cpu"])
    try:
        for _ in range(2):
            os.kill(executor.pids[0], signal.SIGKILL)
            assert executor.poll(1) == []
        os.kill(executor.pids[0], signal.SIGKILL)
        with pytest.raises(RuntimeError, match="die while they start: the worker was killed"):
            executor.poll(5)
    finally:
        executor.close()


def test_close_leaves_no_process() -> None:
    executor = LocalExecutor(OwnFunction(evaluate), ["cpu", "cpu"])
    pids = executor.pids
    executor.submit(job(0, 17))
    executor.close()
    executor.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_one_thread_a_worker() -> None:
    assert torch.get_num_threads() >= 1
    begin = proxy_training().open("cpu", own_process=False)
    before = torch.get_num_threads()
    with contextlib.closing(begin(job(0))) as running:
        running.turn()
    assert torch.get_num_threads() == before


ORPHANS = """
import sys, time
sys.path.insert(0, {tests!r})
from nas.search.local_executor import LocalExecutor
from nas.search.work import OwnFunction
from test_executors import evaluate, job
executor = LocalExecutor(OwnFunction(evaluate), ["cpu"])
executor.submit(job(0, 17))
while not executor.poll(1):
    pass
print(*executor.pids, flush=True)
time.sleep(60)
"""


def test_workers_end_with_the_driver() -> None:
    code = ORPHANS.format(tests=str(Path(__file__).parent))
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
    assert len(workers) == 1
    driver.kill()
    driver.wait()
    driver.stdout.close()
    # The job sleeps for a minute: nothing but the watch on the driver ends its worker.
    _, alive = psutil.wait_procs(workers, timeout=50)
    assert alive == []


def test_own_function_is_called_with_the_whole_network() -> None:
    seen = []

    def look(architecture: Architecture, task: Task, seed: int) -> float:
        seen.append((architecture, task.target.classes, seed))
        return 0.25

    executor = InProcessExecutor(OwnFunction(look))
    executor.submit(job(0))
    assert collect(executor, {0})[-1].result.error == 0.25  # type: ignore[union-attr]
    assert seen == [(small_architecture(), CLASSES, 3)]


def test_the_double_plays_its_script() -> None:
    double = ScriptedExecutor(trained, capacity=2, order=lambda running: running[::-1])
    double.submit(job(0))
    double.submit(job(1))
    assert [report.number for report in double.poll(0)] == [1, 0]
    assert double.submitted[1].number == 1
