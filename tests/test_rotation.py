"""Several trials in one process: the bits of alone, and one that ends badly harms no other."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import torch
from small_search import result, small_data, small_task
from test_executors import collect, evaluate, job, of
from test_search import TINY, task

from nas.architecture import Architecture
from nas.datasets import Split, carve, measure_statistics
from nas.evaluate import Evaluation, EvaluationFailed, RungResult
from nas.search.concurrency import Concurrency, ConcurrencyChooser, FixedConcurrency
from nas.search.executor import LAST, Job, Report
from nas.search.launch import run_search
from nas.search.local_executor import LocalExecutor
from nas.search.rotation import Rotation, create_rotation
from nas.search.work import Begin, DeviceError, OwnFunction, ProxyTraining
from nas.task import Task

Curve = list[tuple[int, float, float, float]]

LONG = small_task(epochs=512)
"""Long enough to still run when a test interferes with it."""

WILD = small_task().model_copy(
    update={"recipe": small_task().recipe.model_copy(update={"learning_rate": 1e30})}
)
"""Its loss is not a number after a step or two."""


def proxy_training(concurrency: int | None = None) -> ProxyTraining:
    data = carve(small_data(), 30)
    return ProxyTraining(data.share_memory(), measure_statistics(data.train), concurrency)


def curve_of(reports: list[Report], number: int) -> Curve:
    rungs = [r.result for r in of(reports, number) if r.kind == "rung"]
    return [(r.epoch, r.train_loss, r.validation_loss, r.error) for r in rungs if r is not None]


def alone(job: Job) -> Curve:
    data = carve(small_data(), 30)
    statistics = measure_statistics(data.train)
    own = Evaluation(job.architecture, job.task, job.seed, data, statistics, "cpu")
    rungs = []
    while not own.done:
        r = own.advance()
        rungs.append((r.epoch, r.train_loss, r.validation_loss, r.error))
    return rungs


def kinds(reports: list[Report], number: int) -> list[str]:
    return [report.kind for report in of(reports, number)]


def run(rotation: Rotation, reports: list[Report] | None = None) -> list[Report]:
    """Turns until no job is left."""
    reports = [] if reports is None else reports
    end = time.monotonic() + 60
    while rotation.numbers:
        assert time.monotonic() < end, reports
        reports += rotation.turn()
    return reports


class TestInThisProcess:
    """Real trainings on the processor, by turns."""

    def rotation(self) -> Rotation:
        return create_rotation(proxy_training(3), "cpu", own_process=False)

    def test_the_bits_of_alone(self) -> None:
        rotation = self.rotation()
        jobs = [job(0, 8), job(1, 24, small_task(epochs=8)), job(2, 8, small_task(images=48))]
        for item in jobs:
            rotation.add(item)
        reports = run(rotation)
        for item in jobs:
            assert curve_of(reports, item.number) == alone(item)
            assert kinds(reports, item.number)[-1] == "done"
        # By turns, and not one after the other.
        first_done = next(i for i, report in enumerate(reports) if report.kind == "done")
        assert {report.number for report in reports[:first_done]} == {0, 1, 2}

    def test_one_that_joins_later_changes_nothing(self) -> None:
        rotation = self.rotation()
        rotation.add(job(0, 8, small_task(epochs=8)))
        reports = []
        while "rung" not in kinds(reports, 0):
            reports += rotation.turn()
        rotation.add(job(1, 24))
        run(rotation, reports)
        assert curve_of(reports, 0) == alone(job(0, 8, small_task(epochs=8)))
        assert curve_of(reports, 1) == alone(job(1, 24))

    def test_no_number_in_one_is_its_own_failure(self) -> None:
        rotation = self.rotation()
        rotation.add(job(0, 8))
        rotation.add(job(1, 8, WILD))
        rotation.add(job(2, 16))
        reports = run(rotation)
        assert kinds(reports, 1)[-1] == "failed"
        assert "the loss became" in of(reports, 1)[-1].reason
        for item in (job(0, 8), job(2, 16)):
            assert curve_of(reports, item.number) == alone(item)

    def test_seconds_of_a_processor_are_those_of_turns(self) -> None:
        rotation = self.rotation()
        start = time.perf_counter()
        for number in range(3):
            rotation.add(job(number, 8, small_task(epochs=16)))
        reports = run(rotation)
        whole = time.perf_counter() - start
        charged = [of(reports, number)[-1].result for number in range(3)]
        total = sum(item.train_seconds for item in charged if item is not None)
        assert 0.5 * whole < total <= whole

    def test_an_architecture_that_does_not_fit_fails_alone(self) -> None:
        rotation = self.rotation()
        other = small_task().model_copy(update={"target": small_task().target})
        other = other.model_copy(
            update={"proxy": other.proxy.model_copy(update={"resolution": 10})}
        )
        rotation.add(job(0, 8, other))
        rotation.add(job(1, 8))
        reports = run(rotation)
        assert kinds(reports, 0) == ["started", "failed"]
        assert "the images are" in of(reports, 0)[-1].reason
        assert curve_of(reports, 1) == alone(job(1, 8))


@pytest.mark.parametrize(
    ("workers", "concurrency"), [(1, None), (2, None), (3, None), (1, 3), (2, 2)]
)
def test_the_same_bits_on_any_number_of_workers(workers: int, concurrency: int | None) -> None:
    jobs = [job(n, 8 + 8 * (n % 3), small_task(epochs=4)) for n in range(4)]
    executor = LocalExecutor(proxy_training(concurrency), ["cpu"] * workers)
    reports: list[Report] = []
    try:
        waiting = list(jobs)
        while sum(report.kind in LAST for report in reports) < len(jobs):
            running = len(jobs) - len(waiting) - sum(report.kind in LAST for report in reports)
            while waiting and running < executor.capacity:
                executor.submit(waiting.pop(0))
                running += 1
            reports += executor.poll(1)
    finally:
        executor.close()
    for item in jobs:
        assert kinds(reports, item.number)[-1] == "done"
        assert curve_of(reports, item.number) == alone(item)


@pytest.fixture
def three() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(proxy_training(3), ["cpu"])
    yield executor
    executor.close()


def until(executor: LocalExecutor, reports: list[Report], kind: str, numbers: set[int]) -> None:
    end = time.monotonic() + 60
    while {report.number for report in reports if report.kind == kind} < numbers:
        assert time.monotonic() < end, reports
        reports += executor.poll(0.5)


class TestOneProcess:
    """Three trials in one process of its own."""

    def test_all_run_together(self, three: LocalExecutor) -> None:
        assert three.capacity == 3
        for number in range(3):
            three.submit(job(number, 8, LONG))
        reports: list[Report] = []
        until(three, reports, "rung", {0, 1, 2})
        assert not any(report.kind in LAST for report in reports)
        assert len(three.pids) == 1

    def test_a_stopped_one_leaves_the_others_and_the_process(self, three: LocalExecutor) -> None:
        before = three.pids
        whole = small_task(epochs=64)
        three.submit(job(0, 8, whole))
        three.submit(job(1, 8, LONG))
        three.submit(job(2, 16, whole))
        reports: list[Report] = []
        until(three, reports, "rung", {0, 1, 2})
        three.stop(1)
        count = len(of(reports, 1))
        three.submit(job(3, 8))
        reports += collect(three, {0, 2, 3})
        assert len(of(reports, 1)) == count
        assert curve_of(reports, 0) == alone(job(0, 8, whole))
        assert curve_of(reports, 2) == alone(job(2, 16, whole))
        assert curve_of(reports, 3) == alone(job(3, 8))
        assert (three.pids, three.capacity) == (before, 3)

    def test_no_number_in_one_leaves_the_process(self, three: LocalExecutor) -> None:
        before = three.pids
        three.submit(job(0, 8))
        three.submit(job(1, 8, WILD))
        reports = collect(three, {0, 1})
        assert kinds(reports, 1)[-1] == "failed"
        assert curve_of(reports, 0) == alone(job(0, 8))
        assert three.pids == before

    def test_after_a_kill_each_runs_alone(self, three: LocalExecutor) -> None:
        tasks = [small_task(epochs=32), small_task(epochs=33), small_task(epochs=34)]
        for number, each in enumerate(tasks):
            three.submit(job(number, 8, LONG if number == 0 else each))
        reports: list[Report] = []
        until(three, reports, "rung", {0})
        os.kill(three.pids[0], signal.SIGKILL)
        reports += collect(three, {0, 1, 2})
        lost = [report for report in reports if report.kind == "lost"]
        assert {report.number for report in lost} >= {0}
        assert {report.is_shared for report in lost} == {len(lost) > 1}
        assert {report.reason for report in lost} == {"the worker was killed by SIGKILL"}

        # All are taken back at once, with a fourth that was not there; none runs beside a suspect.
        again = [report.number for report in lost]
        assert three.capacity == len(again)
        for number in again:
            three.submit(job(number, 8, tasks[number]))
        assert three.capacity == len(again)
        three.submit(job(3, 8))
        reports = collect(three, {*again, 3})
        order = [report.number for report in reports]
        assert [n for i, n in enumerate(order) if n not in order[:i]] == [*again, 3]
        for number in again:
            first, last = order.index(number), len(order) - 1 - order[::-1].index(number)
            assert set(order[first : last + 1]) == {number}
            assert curve_of(reports, number) == alone(job(number, 8, tasks[number]))
        assert three.capacity == 3

    def test_a_suspect_that_is_stopped_frees_the_way(self, three: LocalExecutor) -> None:
        for number in range(2):
            three.submit(job(number, 8, LONG))
        until(three, [], "rung", {0, 1})
        os.kill(three.pids[0], signal.SIGKILL)
        assert {report.kind for report in collect(three, {0, 1})} >= {"lost"}
        three.submit(job(0, 8, LONG))
        three.stop(0)
        three.stop(1)
        for number in (2, 3, 4):
            three.submit(job(number, 8))
        assert three.capacity == 3
        assert {r.number for r in collect(three, {2, 3, 4})} == {2, 3, 4}


@pytest.mark.parametrize("has_company", [True, False])
def test_who_crashes_alone_is_to_blame(has_company: bool) -> None:
    executor = LocalExecutor(OwnFunction(evaluate, concurrency=3), ["cpu"])
    try:
        executor.submit(job(0, 16))  # it ends its process
        if has_company:
            executor.submit(job(1, 8))
        lost = of(collect(executor, {0}), 0)[-1]
        assert (lost.kind, lost.is_shared) == ("lost", has_company)
        executor.stop(1)
        for _ in range(2):  # it stays alone however often it is tried
            executor.submit(job(0, 16))
            executor.submit(job(5, 8))
            reports = collect(executor, {0})
            (report,) = [report for report in reports if report.kind == "lost"]
            assert (report.number, report.is_shared) == (0, False)
            assert of(reports, 5) == []
            executor.stop(5)
    finally:
        executor.close()


def test_suspects_of_one_worker_leave_the_other_alone() -> None:
    executor = LocalExecutor(proxy_training(2), ["cpu", "cpu"])
    try:
        for number in range(4):
            executor.submit(job(number, 8, LONG))
        reports: list[Report] = []
        until(executor, reports, "rung", {0, 1, 2, 3})
        os.kill(executor.pids[0], signal.SIGKILL)
        until(executor, reports, "lost", {0, 2})
        assert {r.number for r in reports if r.kind == "lost"} == {0, 2}
        assert executor.capacity == 4
        executor.submit(job(0, 8))
        executor.submit(job(2, 8))
        executor.stop(1)
        executor.submit(job(4, 8))  # in the place of 1, beside 3
        reports = collect(executor, {0, 2, 4})
        assert {r.kind for r in reports if r.kind in LAST} == {"done"}
    finally:
        executor.close()


DEADLY = "NAS_TEST_DEADLY"


def deadly(architecture: Architecture, task: Task, seed: int) -> float:
    """Ends the process for one network, whatever else runs in it."""
    if architecture.fingerprint == os.environ[DEADLY]:
        os._exit(9)
    time.sleep(0.05)
    return 0.5


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, progress: object) -> None: ...

    def note(self, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None: ...


@pytest.mark.slow
def test_a_search_blames_the_one_that_kills_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list(TINY.enumerate())[:3]
    monkeypatch.setenv(DEADLY, first[1].fingerprint)
    notes = Notes()
    found = run_search(
        TINY,
        task(),
        name="r",
        results=tmp_path,
        trials=6,
        seed_with=first,
        executor=LocalExecutor(OwnFunction(deadly, concurrency=3), ["cpu"]),
        display=notes,
    )
    trials = found.trials.set_index("number")
    assert trials["state"][1] == "failed"
    blamed = "2 times while nothing else ran in it: the network is blamed"
    assert trials["reason"][1] == f"the worker ended with exit code 9, {blamed}"
    assert list(trials["state"].drop(1)) == ["complete"] * 6
    shared = [line for line in notes.lines if "it runs again alone" in line]
    assert "trial 1: the worker ended with exit code 9, with others beside it" in shared[
        0
    ] + "".join(shared)
    assert sum("; it runs again" in line and "alone" not in line for line in notes.lines) == 1


# ---------------------------------------------------------------------- on a simulated device


@dataclass
class Device:
    """Works on all that was queued at the rate ``curve(how many)``, as a clock goes on."""

    curve: Callable[[int], float]
    now: float = 0.0
    queued: dict[int, float] = field(default_factory=dict)
    most: int = 0

    def clock(self) -> float:
        self.now += 1e-5
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        active = [key for key, left in self.queued.items() if left > 0]
        for key in active:
            self.queued[key] -= seconds * self.curve(len(active)) / len(active)


@dataclass
class Simulated:
    """A job on that device: ten rungs, each a turn of steps that take ``step_seconds`` alone."""

    device: Device
    number: int
    step_seconds: float
    share: float = 1.0
    setup_seconds: float = 0.1
    device_bytes: int = 1
    steps_done: int = 0
    turns: int = 400
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.device.now += self.setup_seconds
        self.device.queued[self.number] = 0.0

    @property
    def done(self) -> bool:
        return self.turns == 0

    @property
    def is_busy(self) -> bool:
        self.device.pass_by(2e-4)
        return self.device.queued[self.number] > 0

    def turn(self) -> RungResult | None:
        assert self.device.queued[self.number] <= 0, "it is busy"
        assert not self.is_closed
        self.device.queued[self.number] = 10 * self.step_seconds
        self.steps_done += 10
        self.turns -= 1
        return result() if self.turns == 0 else None

    def close(self) -> None:
        self.is_closed = True
        self.device.queued.pop(self.number, None)


def simulated(device: Device, concurrency: Concurrency, free: int = 10**9) -> Rotation:
    def begin(job: Job) -> Simulated:
        return Simulated(device, job.number, 0.0002 * (1 + job.number % 7))

    return Rotation(begin, concurrency, free_bytes=lambda: free, clock=device.clock)


def drive(rotation: Rotation, device: Device, seconds: float) -> list[Report]:
    reports, number = [], 0
    while device.now < seconds:
        while len(rotation.numbers) < rotation.capacity:
            rotation.add(job(number))
            number += 1
        reports += rotation.turn()
        device.most = max(device.most, len(rotation.numbers))
    return reports


@pytest.mark.parametrize(("best", "curve"), [(4, lambda k: min(k, 4)), (1, lambda _: 1.0)])
def test_the_rotation_finds_what_the_device_can_do(
    best: int, curve: Callable[[int], float]
) -> None:
    device = Device(curve)
    chooser = ConcurrencyChooser()
    rotation = simulated(device, chooser)
    drive(rotation, device, 40)
    assert chooser.is_settled
    assert rotation.capacity == best, chooser.rates
    assert chooser.rates[1] == pytest.approx(1.0, rel=0.1)


def test_memory_limits_the_rotation() -> None:
    """Room for one more, of which a part is kept back: there is no second trial."""
    device = Device(float)
    drive(simulated(device, ConcurrencyChooser(), free=1), device, 10)
    assert device.most == 1


def test_the_shares_add_up_to_the_device() -> None:
    begun: list[Simulated] = []
    device = Device(float)

    def begin(job: Job) -> Simulated:
        begun.append(Simulated(device, job.number, 0.001))
        return begun[-1]

    rotation = Rotation(begin, FixedConcurrency(4), clock=device.clock)
    for number in range(4):
        rotation.add(job(number))
    while len(begun) < 4:
        rotation.turn()
    assert [item.share for item in begun] == [0.25] * 4
    rotation.stop(2)
    while len(rotation.numbers) == 4:
        rotation.turn()
    assert [item.share for item in begun if not item.is_closed] == [1 / 3] * 3


def test_the_busy_are_passed_by() -> None:
    device = Device(float)
    rotation = Rotation(
        lambda job: Simulated(device, job.number, 1.0 if job.number == 0 else 1e-6),
        FixedConcurrency(2),
        clock=device.clock,
    )
    rotation.add(job(0))
    rotation.add(job(1))
    reports = []
    while "done" not in kinds(reports, 1):
        reports += rotation.turn()
    assert kinds(reports, 0) == ["started"]
    assert rotation.is_busy
    assert rotation.turn() == []


class Greedy:
    """Fails for want of memory when it has company."""

    share, is_busy, setup_seconds, steps_done, device_bytes = 1.0, False, 0.0, 0, 0
    together = 0

    def __init__(self, number: int, *, is_greedy: bool) -> None:
        self.is_greedy, self.turns, self.done = is_greedy, 0, False
        Greedy.together += 1

    def turn(self) -> RungResult | None:
        self.turns += 1
        if self.is_greedy and Greedy.together > 1:
            raise EvaluationFailed("out of memory: 2.00 GiB were refused; a batch has 1 MiB")
        self.done = self.turns == 20
        return result() if self.done else None

    def close(self) -> None:
        Greedy.together -= 1


def test_too_little_memory_beside_others_is_no_failure() -> None:
    Greedy.together = 0
    told: list[int] = []
    concurrency = FixedConcurrency(3)
    concurrency.out_of_memory = told.append  # type: ignore[method-assign]
    rotation = Rotation(lambda job: Greedy(job.number, is_greedy=job.number == 1), concurrency)
    for number in range(3):
        rotation.add(job(number))
    reports = run(rotation)
    assert kinds(reports, 1) == ["started", "lost"]
    assert of(reports, 1)[-1].is_shared
    assert of(reports, 1)[-1].reason.startswith("out of memory: 2.00 GiB")
    assert [kinds(reports, number)[-1] for number in (0, 2)] == ["done", "done"]
    assert len(told) == 1
    assert told[0] in (2, 3)
    rotation.add(job(1))
    assert kinds(run(rotation), 1)[-1] == "done"


def test_too_little_memory_alone_is_a_failure() -> None:
    Greedy.together = 1
    rotation = Rotation(lambda job: Greedy(0, is_greedy=True), FixedConcurrency(3))
    rotation.add(job(0))
    assert kinds(run(rotation), 0)[-1] == "failed"


def test_a_failed_device_ends_all() -> None:
    rotation = Rotation(
        OwnFunction(evaluate, concurrency=2).open("cpu", own_process=False), FixedConcurrency(2)
    )
    rotation.add(job(0, 18))
    rotation.add(job(1, 8))
    with pytest.raises(DeviceError, match="illegal memory access"):
        run(rotation)


# ---------------------------------------------------------------------- what a process costs


class Waiting:
    """Busy for a second after its first turn, as with a long kernel."""

    share, setup_seconds, steps_done, device_bytes, done = 1.0, 0.0, 0, 0, False

    def __init__(self) -> None:
        self.until = math.inf

    @property
    def is_busy(self) -> bool:
        return time.monotonic() < self.until < math.inf

    def turn(self) -> RungResult | None:
        if self.until == math.inf:
            self.until = time.monotonic() + 1.5
            return None
        self.done = True
        return result()

    def close(self) -> None: ...


@dataclass(frozen=True)
class WaitingWork:
    concurrency: int = 2
    needs_main: bool = False

    def open(self, device: str, *, own_process: bool) -> Begin:
        return lambda job: Waiting()


def test_waiting_for_the_device_is_no_work_and_hears_of_new_jobs() -> None:
    executor = LocalExecutor(WaitingWork(), ["cpu"])
    try:
        executor.submit(job(0))
        reports: list[Report] = []
        until(executor, reports, "started", {0})
        process = psutil.Process(executor.pids[0])
        before = process.cpu_times()
        executor.submit(job(1))
        until(executor, reports, "started", {1})
        assert kinds(reports, 0) == ["started"]
        reports += collect(executor, {0, 1})
        after = process.cpu_times()
        assert after.user + after.system - before.user - before.system < 0.75
    finally:
        executor.close()


@dataclass(frozen=True)
class Reading:
    """A job reads all of the data."""

    data: Split
    concurrency: int = 1
    needs_main: bool = False

    def open(self, device: str, *, own_process: bool) -> Begin:
        def read(architecture: Architecture, task: Task, seed: int) -> float:
            return float(self.data.images.sum() % 2 == 0)

        return OwnFunction(read).open(device, own_process=own_process)


def test_workers_read_one_copy_of_the_data() -> None:
    size = 120 * 2**20
    images = torch.ones(size // 1024, 1, 32, 32, dtype=torch.uint8)
    split = Split(images, torch.zeros(len(images), dtype=torch.int64), ("a",)).share_memory()
    executor = LocalExecutor(Reading(split), ["cpu", "cpu"])
    try:
        # The first job of each brings in what any job needs.
        own = []
        for first in (0, 2):
            for number in (first, first + 1):
                executor.submit(job(number))
            collect(executor, {first, first + 1})
            workers = [psutil.Process(pid) for pid in executor.pids]
            own.append([worker.memory_full_info() for worker in workers])
        for info in own[-1]:
            assert info.rss > size  # it was read, every page of it
            assert info.rss - info.uss > size  # and it is not its own
    finally:
        executor.close()
