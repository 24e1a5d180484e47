"""Networks that crash or hang the process they are tried in: real crashes, real hangs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_search import result, small_task
from test_executors import collect, job

from nas.architecture import Architecture
from nas.records import Proposal, Run
from nas.search.deaths import is_crash, shown_exit
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search
from nas.search.ledger import Trial
from nas.search.local_executor import LocalExecutor
from nas.search.losses import MOST_CRASHES, MOST_TRIES, take_loss
from nas.search.work import OwnFunction
from nas.space import SearchSpace
from nas.task import Task

TINY = SearchSpace.load("tiny")
BAD = "NAS_TEST_BAD_NETWORK"
"""The variable with the fingerprint of the network that does not do as others do."""


def is_bad(architecture: Architecture) -> bool:
    return architecture.fingerprint == os.environ[BAD]


def aborts(architecture: Architecture, task: Task, seed: int) -> float:
    if is_bad(architecture):
        os.abort()
    return 0.5


def reads_address_zero(architecture: Architecture, task: Task, seed: int) -> float:
    if is_bad(architecture):
        ctypes.string_at(0)
    return 0.5


def exits(architecture: Architecture, task: Task, seed: int) -> float:
    if is_bad(architecture):
        os._exit(3)
    return 0.5


def is_killed(architecture: Architecture, task: Task, seed: int) -> float:
    """As the kernel does it where memory runs out."""
    if is_bad(architecture):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5


def sleeps(architecture: Architecture, task: Task, seed: int) -> float:
    if is_bad(architecture):
        while True:
            time.sleep(1)
    return 0.5


def hangs_in_c(architecture: Architecture, task: Task, seed: int) -> float:
    """Nothing else of Python runs in the process meanwhile."""
    if is_bad(architecture):
        ctypes.PyDLL(None).sleep(100_000)
    return 0.5


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> list[Architecture]:
    """Three networks to try first, of which the second is the bad one."""
    found = list(TINY.enumerate())[:3]
    monkeypatch.setenv(BAD, found[1].fingerprint)
    return found


def search(path: Path, executor: LocalExecutor, **settings: Any) -> Run:
    task = small_task()
    given = {"trials": 5, "sampler": "tpe", **settings}
    return run_search(TINY, task, name="r", results=path, executor=executor, **given)


# ------------------------------------------------------------------------------------- crashes


@pytest.mark.parametrize(
    ("evaluate", "reason"),
    [
        (aborts, "the worker was killed by SIGABRT"),
        (reads_address_zero, "the worker was killed by SIGSEGV"),
        (exits, "the worker ended with exit code 3"),
    ],
)
def test_a_network_that_crashes_its_process_is_blamed(
    tmp_path: Path, first: list[Architecture], evaluate: Any, reason: str
) -> None:
    run = search(tmp_path, LocalExecutor(OwnFunction(evaluate), ["cpu"]), seed_with=first)
    bad = run.trials.iloc[1]
    assert bad["fingerprint"] == first[1].fingerprint
    assert bad["state"] == "failed"
    assert bad["reason"] == f"{reason}, 2 times while nothing else ran in it: the network is blamed"
    assert run.lost == frozenset()
    assert (run.trials["state"] == "complete").sum() == 5
    # Final, over a resume, too: neither trained nor proposed again.
    double = ScriptedExecutor(lambda job: [Report(job.number, "done", result(2, 0.25))])
    run = run_search(
        None, None, name="r", results=tmp_path, trials=9, executor=double, resume=True,
        seed_with=first,
    )  # fmt: skip
    assert (run.trials["fingerprint"] == first[1].fingerprint).sum() == 1
    assert (run.trials["state"] == "complete").sum() == 9
    assert run.trials.iloc[1]["state"] == "failed"


def test_a_death_from_outside_is_not_held_against_the_network(
    tmp_path: Path, first: list[Architecture]
) -> None:
    run = search(tmp_path, LocalExecutor(OwnFunction(is_killed), ["cpu"]), seed_with=first)
    assert run.trials.iloc[1]["state"] == "failed"
    assert run.trials.iloc[1]["reason"] == "the worker was killed by SIGKILL, 4 times in all"
    assert run.lost == frozenset({1})


def test_what_shares_the_proxy_of_a_crashed_network_is_not_trained(tmp_path: Path) -> None:
    """A proxy that crashes would crash again; one that was lost may be trained."""
    narrow = small_task()
    proxy = narrow.proxy.model_copy(update={"width": 0.25})
    narrow = narrow.model_copy(update={"proxy": proxy})
    for is_own, states in ((True, "failed"), (False, "complete")):

        def script(job: Job, is_own: bool = is_own) -> list[Report]:
            if job.number == 0:
                return [Report(0, "lost", None, "the worker died", is_crash=is_own)]
            final = result(2, 0.5)
            reports = [Report(job.number, "rung", final), Report(job.number, "done", final)]
            return [Report(job.number, "started"), *reports]

        executor = ScriptedExecutor(script, capacity=3)
        same = networks_with_one_proxy(narrow)
        run = run_search(
            TINY,
            narrow,
            name=f"own-{is_own}",
            results=tmp_path,
            trials=2,
            executor=executor,
            seed_with=same,
        )
        assert list(run.trials["state"][:2]) == ["failed", states]
        assert sum(job.number == 0 for job in executor.submitted) == (2 if is_own else 4)


def networks_with_one_proxy(task: Task) -> list[Architecture]:
    from nas.task import proxy

    groups: dict[str, list[Architecture]] = {}
    for item in TINY.enumerate():
        groups.setdefault(proxy(item, task).fingerprint, []).append(item)
    return max(groups.values(), key=len)[:2]


def trial() -> Trial:
    network = next(iter(TINY.enumerate()))
    return Trial(Proposal(network, {}, {}, "p", 0, "test"), 0)


@pytest.mark.parametrize(
    ("deaths", "is_over", "is_lost"),
    [
        (["own"] * 2, True, False),
        (["own", "outside", "own"], True, False),
        (["outside"] * 4, True, True),
        (["own", "outside", "outside", "outside"], True, True),
        (["shared"] * 20 + ["own"], False, False),
        (["bystander"] * 20 + ["outside"] * 3, False, False),
    ],
)
def test_what_counts_against_a_network(deaths: list[str], is_over: bool, is_lost: bool) -> None:
    assert (MOST_CRASHES, MOST_TRIES) == (2, 4)
    subject, losses = trial(), []
    for death in deaths:
        subject.begin(0.0)
        flags = {
            "own": {"is_crash": True},
            "outside": {},
            "shared": {"is_shared": True},
            "bystander": {"is_bystander": True},
        }[death]
        losses.append(take_loss(subject, Report(0, "lost", None, "it died", **flags)))
    *before, last = losses
    assert all(loss.outcome is None and loss.note for loss in before)
    assert (last.outcome is not None) == is_over
    if last.outcome is not None:
        assert last.outcome.state == "failed"
        assert last.outcome.is_lost == is_lost


@pytest.mark.parametrize(
    ("code", "is_own", "shown"),
    [
        (-signal.SIGSEGV, True, "was killed by SIGSEGV"),
        (-signal.SIGFPE, True, "was killed by SIGFPE"),
        (1, True, "ended with exit code 1"),
        (0, True, "ended with exit code 0"),
        (-signal.SIGKILL, False, "was killed by SIGKILL"),
        (-signal.SIGTERM, False, "was killed by SIGTERM"),
        (-200, False, "was killed by signal 200"),
        (None, False, "ended with exit code None"),
    ],
)
def test_how_a_process_ended(code: int | None, is_own: bool, shown: str) -> None:
    assert is_crash(code) == is_own
    assert shown_exit(code) == shown


# --------------------------------------------------------------------------------------- hangs

LIMIT = 5.0
"""Seconds: others take milliseconds, also on a machine that does much else."""


@pytest.mark.parametrize("evaluate", [sleeps, hangs_in_c])
def test_a_trial_that_hangs_is_given_up_and_its_worker_replaced(
    tmp_path: Path, first: list[Architecture], evaluate: Any
) -> None:
    executor = LocalExecutor(OwnFunction(evaluate), ["cpu"], grace_seconds=0.5)
    before = [psutil.Process(pid) for pid in executor.pids]
    run = search(tmp_path, executor, seed_with=first, trial_seconds=LIMIT)
    assert run.trials.iloc[1]["state"] == "failed"
    assert run.trials.iloc[1]["reason"] == (
        "took longer than 5.0s; the limit is --trial-time (it passed no rung)"
    )
    assert run.lost == frozenset()
    # The only worker is needed for those after it.
    assert (run.trials["state"] == "complete").sum() == 5
    assert not any(process.is_running() for process in before)
    assert run.settings.trial_seconds == LIMIT
    # As recorded at a resume; it is not tried again.
    double = ScriptedExecutor(lambda job: [Report(job.number, "done", result(2, 0.25))])
    run = run_search(
        None, None, name="r", results=tmp_path, trials=7, executor=double, resume=True
    )  # fmt: skip
    assert run.settings.trial_seconds == LIMIT
    assert (run.trials["fingerprint"] == first[1].fingerprint).sum() == 1


def test_one_that_hangs_takes_nobody_with_it(
    tmp_path: Path, first: list[Architecture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three in one process, as on a GPU: the time that one hangs is not that of the others."""
    monkeypatch.setattr("nas.search.turns.HELD_SECONDS", 1.0)
    executor = LocalExecutor(OwnFunction(hangs_in_c, concurrency=3), ["cpu"], grace_seconds=0.5)
    notes = Notes()
    settings: dict[str, Any] = {"trial_seconds": LIMIT, "display": notes}
    run = search(tmp_path, executor, seed_with=first, **settings)
    trials = run.trials.set_index("number")
    failed = trials.index[trials["state"] == "failed"].tolist()
    assert failed == [1]
    assert (trials["state"] == "complete").sum() == 5
    again = [line for line in notes.lines if "it runs again" in line]
    assert again, "those beside it were lost with its worker"
    assert set(again) <= {
        f"trial {number}: the worker was killed, for trial 1 in it did not end; it runs again"
        for number in trials.index
    }


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, progress: object) -> None: ...

    def note(self, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None: ...


def test_a_function_with_a_limit_runs_in_a_process_that_can_be_killed(
    tmp_path: Path, first: list[Architecture]
) -> None:
    run = run_search(
        TINY,
        small_task(),
        name="r",
        results=tmp_path,
        trials=2,
        seed_with=first,
        evaluate=exits,
        trial_seconds=60,
    )
    assert run.trials.iloc[1]["state"] == "failed"
    assert "exit code 3" in run.trials.iloc[1]["reason"]


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_for_a_trial_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="the time of a trial must be over 0 seconds, not"):
        search(tmp_path, ScriptedExecutor(lambda job: []), trial_seconds=seconds)
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_job_that_hangs_leaves_its_place(first: list[Architecture]) -> None:
    executor = LocalExecutor(OwnFunction(hangs_in_c), ["cpu"], grace_seconds=0.5)
    try:
        executor.submit(Job(0, first[1], small_task(), seed=1))
        while not any(report.kind == "started" for report in executor.poll(1)):
            pass
        executor.stop(0)
        assert executor.capacity == 0
        while not executor.capacity:
            assert executor.poll(60) == []
        executor.submit(job(1))
        assert collect(executor, {1})[-1].kind == "done"
    finally:
        executor.close()


ORPHANS = """
import sys, time
sys.path.insert(0, {tests!r})
from small_search import small_task
from nas.search.executor import Job
from nas.search.local_executor import LocalExecutor
from nas.search.work import OwnFunction
from test_crashes_and_hangs import TINY, hangs_in_c
executor = LocalExecutor(OwnFunction(hangs_in_c), ["cpu"])
executor.submit(Job(0, list(TINY.enumerate())[1], small_task(), seed=1))
while not executor.poll(1):
    pass
print(*executor.pids, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends it with its parent")
def test_a_worker_that_hangs_in_c_ends_with_the_driver(first: list[Architecture]) -> None:
    code = ORPHANS.format(tests=str(Path(__file__).parent))
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
    assert len(workers) == 1
    driver.kill()
    driver.wait()
    driver.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
