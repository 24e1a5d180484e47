"""Ray's executor, on a real Ray: checkpoints, deaths, options, and runs that change executors."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from command_line import nas
from small_search import CLASSES, small_task
from test_executors import collect, evaluate, job, of, proxy_training
from test_search import IMAGE, TINY, task

from nas.datasets import Split, from_tensors
from nas.records import Run
from nas.search.checkpoints import Checkpoints
from nas.search.exchange import Closed, Exchange
from nas.search.executor import Executor, Job, Report
from nas.search.launch import run_search
from nas.search.ray_options import RayOptions, check_executor
from nas.search.work import OwnFunction, Work

pytestmark = pytest.mark.xdist_group("ray")

Make = Callable[..., Executor]


@pytest.fixture
def make(ray: None) -> Iterator[Make]:
    """Makes executors on the session's Ray, and closes them."""
    from nas.search.ray_executor import RayExecutor

    made: list[Executor] = []

    def create(work: Work, most: int = 1, checkpoints: Checkpoints | None = None) -> Executor:
        made.append(RayExecutor(work, "cpu", RayOptions(), most=most, checkpoints=checkpoints))
        return made[-1]

    yield create
    for executor in made:
        executor.close()


def actors() -> set[psutil.Process]:
    """The workers that train, of all executors of this process."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if child.name().startswith(("ray::_Inner", "ray::_Trial")):
                found.add(child)
        except psutil.NoSuchProcess:
            pass
    return found


def until_rung(executor: Executor, number: int, epoch: int) -> list[Report]:
    """Let a job go on up to a rung, where it waits; its reports."""
    reports: list[Report] = []
    end = time.monotonic() + 120
    while True:
        assert time.monotonic() < end, reports
        for report in executor.poll(0.2):
            reports.append(report)
            if report.result is not None and report.result.epoch == epoch:
                return reports
            executor.go_on(number)


def shown(reports: list[Report]) -> list[tuple[str, float, float]]:
    return [
        (r.kind, r.result.epoch, r.result.validation_loss) for r in reports if r.result is not None
    ]


def lose_at(executor: Executor, job: Job, epoch: int) -> None:
    """Kill the job's worker while it waits at a rung; the report of the loss is taken."""
    before = actors()
    executor.submit(job)
    until_rung(executor, job.number, epoch)
    (worker,) = actors() - before
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    executor.go_on(job.number)
    assert [r.kind for r in collect(executor, {job.number})] == ["lost"]


def test_a_lost_trial_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path, make: Make) -> None:
    kept = Checkpoints(str(tmp_path / "states"))
    executor = make(proxy_training(), checkpoints=kept)
    waiting = replace(job(0, task=small_task(epochs=4)), waits=True)
    lose_at(executor, waiting, epoch=2)
    assert kept.load(waiting) is not None
    executor.submit(replace(waiting, waits=False))
    reports = collect(executor, {0})
    assert [r.is_restored for r in of(reports, 0)] == [False, True, False, False, False]
    assert reports[1].reason == "it goes on from its checkpoint of epoch 1"
    # The same on the same workers from the beginning.
    executor.submit(replace(waiting, number=1, waits=False))
    assert shown(collect(executor, {1})) == shown(reports)
    executor.discard(0)
    executor.discard(1)
    executor.close()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_said_and_the_trial_begins_anew(tmp_path: Path, make: Make) -> None:
    kept = Checkpoints(str(tmp_path))
    executor = make(proxy_training(), checkpoints=kept)
    known = replace(job(0, task=small_task(epochs=4)), number=7)
    # Another version's state: whole, and not to be understood.
    kept.save(known, {"proxy": "another"})
    executor.submit(known)
    reports = collect(executor, {7})
    assert reports[1].reason.startswith("its checkpoint cannot be used (the saved evaluation has")
    assert reports[1].reason.endswith("it begins anew")
    assert not any(report.is_restored for report in reports)
    assert [kind for kind, _, _ in shown(reports)] == ["rung", "rung", "rung", "done"]


def test_neither_a_stop_in_training_nor_a_death_without_a_job_costs_a_job(make: Make) -> None:
    executor = make(OwnFunction(evaluate))
    others = actors()
    executor.submit(job(0, 17))  # sleeps for a minute
    while not any(report.kind == "started" for report in executor.poll(1)):
        pass
    executor.stop(0)
    executor.submit(job(1))
    assert {report.number for report in collect(executor, {1}, seconds=55)} == {1}
    # Its place was free long before the sleeper would have woken. Now its worker has no job.
    (worker,) = actors() - others
    worker.kill()
    worker.wait()
    executor.submit(job(2))
    assert [report.kind for report in collect(executor, {2})] == ["started", "rung", "done"]


class _Broken(OwnFunction):
    def open(self, device: str, *, own_process: bool) -> Any:
        raise OSError("no such library")


def test_workers_that_cannot_start_end_the_search(make: Make) -> None:
    executor = make(_Broken(evaluate))
    executor.submit(job(0))
    with pytest.raises(RuntimeError, match=r"die while they start: .*OSError: no such library"):
        collect(executor, {0}, seconds=120)


# ----------------------------------------------------------------------------- whole searches


def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % CLASSES
    noise = torch.randint(0, 120, (90, *IMAGE), generator=generator)
    images = (noise + 60 * labels[:, None, None, None]).to(torch.uint8)
    return from_tensors(images, labels, [f"class {index}" for index in range(CLASSES)])


def search(path: Path, executor: str, trials: int, **settings: Any) -> Run:
    given: dict[str, Any] = {"name": "run", "results": path, "sampler": "evolution", "workers": 1}
    return run_search(
        TINY, task(), trials=trials, data=data(), device="cpu", executor=executor,
        halving=True, **{**given, **settings},
    )  # fmt: skip


def rows(run: Run) -> list[tuple[Any, ...]]:
    """What does not depend on how long anything took."""
    columns = ["number", "state", "fingerprint", "error", "epochs", "reason", "reused"]
    table = run.trials[columns].astype(object)
    curves = run.curves[["number", "epoch", "train_loss", "validation_loss", "error"]]
    return [
        *table.where(table.notna(), None).itertuples(index=False, name=None),
        *curves.itertuples(index=False, name=None),
    ]


def test_a_run_may_change_executors_and_is_the_same(tmp_path: Path, ray: None) -> None:
    expected = rows(search(tmp_path / "local", "local", 12))
    search(tmp_path / "mixed", "ray", 4)
    search(tmp_path / "mixed", "local", 8, resume=True)
    mixed = search(tmp_path / "mixed", "ray", 12, resume=True)
    assert rows(mixed) == expected
    assert "pruned" in set(mixed.trials["state"])
    assert not (tmp_path / "mixed" / "run" / "checkpoints").exists()


def invented(architecture: Any, task: Any, seed: int) -> float:
    return architecture.num_cells / 100


def test_an_own_function_runs_on_ray(tmp_path: Path, ray: None) -> None:
    run = run_search(
        TINY, task(), name="own", results=tmp_path, trials=3, executor="ray", evaluate=invented,
        workers=2,
    )  # fmt: skip
    assert run.state == "finished"
    expected = [run.architecture(number).num_cells / 100 for number in run.trials["number"]]
    assert run.trials["error"].tolist() == pytest.approx(expected)


# ----------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("cpus", "gpus", "node", "expected"),
    [
        (1, 0, {"CPU": 4.0}, 4),
        (0.1, 0, {"CPU": 1.0}, 10),
        (3, 0, {"CPU": 8.0, "GPU": 8.0}, 2),
        (1, 0.4, {"CPU": 16.0, "GPU": 2.0}, 4),
        (1, 1 / 3, {"CPU": 16.0, "GPU": 1.0}, 3),
        (1, 0.25, {"CPU": 3.0, "GPU": 8.0}, 3),
        (1, 1, {"CPU": 16.0}, 0),
    ],
)
def test_so_many_trials_fit_on_a_node(
    cpus: float, gpus: float, node: dict[str, float], expected: int
) -> None:
    from nas.search.ray_executor import Resources

    assert Resources(cpus, gpus).trials_on(node) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tip: "
            "192.0.2.2\nThe actor is dead because its worker process has died. Worker exit "
            "type: SYSTEM_ERROR",
            "the worker on 192.0.2.2 crashed or was killed",
        ),
        (
            "The actor died unexpectedly.\n\tip: 192.0.2.3\nThe actor died because its node has "
            "died. Node Id: 12",
            "the worker's node on 192.0.2.3 died",
        ),
        (
            "Task was killed due to the node running low on memory.\nMemory on the node (IP: "
            "192.0.2.4, ID: 1) where the task",
            "the worker on 192.0.2.4 was ended because its machine ran out of memory",
        ),
        (
            "\x1b[36mray::A.f()\x1b[39m (pid=2, ip=192.0.2.5)\n  File x\n"
            "nas.search.work.DeviceError: RuntimeError: CUDA error: lost (turn, line 3)",
            "the worker on 192.0.2.5 ended: DeviceError: RuntimeError: CUDA error: lost "
            "(turn, line 3)",
        ),
        ("", "the worker died"),
    ],
    ids=["crash", "node", "memory", "device", "nothing"],
)
def test_a_loss_has_its_reason_in_a_line(text: str, expected: str) -> None:
    from nas.search.ray_executor import short_reason

    assert short_reason(text) == expected


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ("--ray-address auto", "Ray address 'auto': it goes with the executor ray alone"),
        ("--gpus-per-trial 1", "gpus per trial 1.0: it goes with the executor ray alone"),
        ("--cpus-per-trial 2", "cpus per trial 2.0: it goes with the executor ray alone"),
        ("--artifacts x", "artifacts 'x': it goes with the executor ray alone"),
        ("--executor rat", "unknown executor 'rat'; did you mean 'ray'?"),
        ("--executor ray --gpus-per-trial 2", "from 0 to 1, as a trial trains on one, not 2.0"),
        ("--executor ray --cpus-per-trial 0", "must be over 0 and at most 1024, not '0'"),
        ("--executor ray --gpus-per-trial 0.5 --device cpu", "cpu and 0.5 GPUs per trial exclude"),
        ("--executor ray --ray-address ray://a:1", "cannot be driven through Ray Client"),
        ("--executor ray --ray-address head", "must be auto or HOST:PORT, not 'head'"),
        ("--executor ray --concurrency 4", "concurrency 4: on Ray a part of a GPU says it"),
        ("--executor ray --artifacts no://x", "artifacts must be a directory or an fsspec URL"),
        ("--executor ray --plan", "--plan measures this machine; leave out --executor ray"),
    ],
)
def test_a_bad_option_is_told_in_a_line(
    options: str, phrase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = nas(
        *f"search tiny --data fashion-mnist-mini --name n --precision float32 {options}".split()
    )
    assert (found.code, found.out) == (2, "")
    assert phrase in found.err
    assert found.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_address_at_which_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.search import ray_executor

    # This process has joined a Ray already, unless this test runs alone.
    monkeypatch.setattr(ray_executor.ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match=r"no Ray answers at '127.0.0.1:1': .*refused"):
        ray_executor.connect(
            RayOptions(address="127.0.0.1:1"), ray_executor.Resources(1, 0), most=None
        )


def test_what_no_node_has_is_refused(ray: None) -> None:
    from nas.search.ray_executor import Resources, connect

    with pytest.raises(ValueError, match=r"a trial needs 99 CPU, and no node has that: the larg"):
        connect(RayOptions(cpus_per_trial=99), Resources(99, 0), most=None)


def test_the_device_follows_from_the_gpus() -> None:
    assert RayOptions(gpus_per_trial=0.5).device("auto") == "cuda"
    assert RayOptions(gpus_per_trial=0.0).device("auto") == "cpu"
    assert RayOptions().device("auto") == "auto"
    assert (RayOptions().gpus_on("cuda"), RayOptions().gpus_on("cpu")) == (1.0, 0.0)
    assert RayOptions(gpus_per_trial=0.25).gpus_on("cuda") == 0.25
    assert check_executor("local") is None


# ----------------------------------------------------------------------------- the exchange


def test_an_exchange_hands_over_in_order_and_forgets_what_is_stopped() -> None:
    exchange = Exchange()
    for number in range(3):
        exchange.submit(job(number))
    exchange.stop(1)
    first, third = exchange.next_attempt(0), exchange.next_attempt(0)
    assert first is not None
    assert third is not None
    assert [first.job.number, third.job.number] == [0, 2]
    assert exchange.next_attempt(0) is None
    exchange.report(first, [Report(0, "started")])
    exchange.report(third, [Report(2, "started")])
    exchange.stop(0)
    exchange.report(first, [Report(0, "failed")])
    assert exchange.take_reports(0) == [Report(2, "started")]
    exchange.hand_back(third)
    assert exchange.next_attempt(0) is third
    exchange.close()
    with pytest.raises(Closed):
        exchange.next_attempt(math.inf)


def test_an_exchange_that_failed_says_so_after_the_last_reports() -> None:
    exchange = Exchange()
    exchange.submit(job(0))
    attempt = exchange.next_attempt(0)
    assert attempt is not None
    exchange.report(attempt, [Report(0, "started")])
    exchange.fail("gone")
    assert exchange.take_reports(1) == [Report(0, "started")]
    with pytest.raises(RuntimeError, match="gone"):
        exchange.take_reports(1)
