"""Runs trials by Ray Tune, on this machine or a cluster; the only module that imports ray.

Tune starts the actors, places them and notices when one dies. What is tried and who trains on is
the driver's: a :class:`Searcher` hands out submitted jobs, and a :class:`TrialScheduler` turns
results into reports and the driver's word into CONTINUE or an end. A Tune trial is one job. Its
actor is kept for the next job, so that its start, torch and the data's way come once an actor;
the data lies in Ray's store once a node, and the actors read it there.

Tune's loop runs in a thread of the driver's process; an :class:`~nas.search.exchange.Exchange` is
between the two. Capacity is what fits on the nodes that are alive.

Left out: retries (:mod:`nas.search.driver`), states that trials go on from
(:mod:`nas.search.checkpoints`), options (:mod:`nas.search.ray_options`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

# Read when ray is imported or starts: nothing is sent home, and Tune writes no logs of its own.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# Ray prints each worker's death to the standard output, where only our own results belong.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
# Tune 2.60 ends its whole loop where Ray's monitor ends a worker for want of memory. Left to the
# kernel, it is an actor that dies: one lost trial. A cluster's nodes have settings of their own.
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
# The study is the record: Tune's own would be written every ten seconds and grows with the trials.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")
# With Tune's default of one, actors would start one after the other.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "100000")

import ray
from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from nas.cores import usable_cores
from nas.evaluate import Evaluation, RungResult
from nas.search.checkpoints import Checkpoints
from nas.search.exchange import Attempt, Closed, Exchange
from nas.search.executor import LAST, Job, Report
from nas.search.ray_guard import raylet_of, start_guard
from nas.search.work import JobFailed, ProxyTraining, Running, Work, job_failures

if TYPE_CHECKING:
    from nas.search.ray_options import RayOptions

MOST_DEATHS_AT_START = 3
"""So many workers in a row that die before they take up a job end the search."""

IDLE_SECONDS = 1.0
"""How long to wait for a job where nothing runs; the nodes are counted in between."""

CLOSE_SECONDS = 20.0

_REPORTS = "nas_reports"


# ---------------------------------------------------------------------------- in an actor


@dataclass(frozen=True)
class _Placed:
    """Work whose images travel as arrays, which Ray's store lends to all actors of a node."""

    work: Work
    parts: tuple[tuple[Any, Any, tuple[str, ...]], ...] = ()

    def restored(self) -> Work:
        if not self.parts:
            return self.work
        import torch

        from nas.datasets import Split, TrainValidation

        assert isinstance(self.work, ProxyTraining)
        with warnings.catch_warnings():
            # The store's arrays cannot be written; neither does training write its images.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            splits = [
                Split(torch.from_numpy(images), torch.from_numpy(labels), names)
                for images, labels, names in self.parts
            ]
        return replace(self.work, data=TrainValidation(*splits))


def _placed(work: Work) -> _Placed:
    if not isinstance(work, ProxyTraining):
        return _Placed(work)
    parts = tuple(
        (split.images.numpy(), split.labels.numpy(), split.class_names)
        for split in (work.data.train, work.data.validation)
    )
    light: Any = None
    return _Placed(replace(work, data=light), parts)


class _TrialActor(tune.Trainable):
    """A worker: each job is a Tune trial, each of its rungs a step."""

    def setup(  # type: ignore[override] # tune.with_parameters gives the rest
        self,
        config: dict[str, Any],
        *,
        placed: _Placed,
        device: str,
        share: float,
        checkpoints: Checkpoints | None,
        versions: dict[str, str],
    ) -> None:
        """Prepare the process once: threads, torch, the data."""
        _check_versions(versions)
        # Ctrl-C goes to all processes of the terminal; the driver decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Ray shows the actor its own GPU alone.
        place = "cuda:0" if device == "cuda" else device
        self._begin = placed.restored().open(place, own_process=True)
        self._share, self._checkpoints = share, checkpoints
        self._running: Running | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job up."""
        self._close()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next rung, or say which rungs a state of before has passed."""
        try:
            return {_REPORTS: self._advance()}
        except JobFailed as failure:
            self._close()
            # Others train on the same GPU: it may fit when it is tried again.
            kind: Any = "lost" if failure.is_memory and 0 < self._share < 1 else "failed"
            return {_REPORTS: [Report(self._job.number, kind, self._last, failure.reason)]}

    def cleanup(self) -> None:
        """Give up what runs."""
        self._close()

    def _take(self, config: dict[str, Any]) -> None:
        self._job: Job = config["job"].job
        self._last: RungResult | None = None
        self._is_saved = True
        self._note = ""
        # Tune sends it back with every result.
        self.config = {}

    def _close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

    def _advance(self) -> list[Report]:
        number = self._job.number
        if self._running is None:
            with job_failures():
                restored = self._set_up()
            if restored:
                self._last, self._is_saved = restored[-1], True
                note = f"it goes on from its checkpoint of epoch {self._last.epoch}"
                reports = [Report(number, "rung", rung, is_restored=True) for rung in restored]
                return [*reports[:-1], replace(reports[-1], reason=note)]
        else:
            self._save(self._running)
        assert self._running is not None
        result = None
        with job_failures():
            while result is None:
                result = self._running.turn()
                if result is None and self._running.is_busy:
                    time.sleep(0.0002)
        self._last, self._is_saved = result, False
        reports = [Report(number, "rung", result, self._note)]
        self._note = ""
        if self._running.done:
            self._close()
            reports.append(Report(number, "done", result))
        return reports

    def _set_up(self) -> list[RungResult]:
        """Begin the job; the rungs that its state has passed already."""
        running = self._running = self._begin(self._job)
        if self._share:
            running.share = self._share
        if self._checkpoints is None or not isinstance(running, Evaluation):
            return []
        try:
            state = self._checkpoints.load(self._job)
            if state is None:
                return []
            running.load_state_dict(state)
        except Exception as error:  # noqa: BLE001 - whatever it is: without it the trial is well
            self._note = f"its checkpoint cannot be used ({error}): it begins anew"
            running.close()
            self._running = self._begin(self._job)
            self._running.share = running.share
            return []
        return list(running.results)

    def _save(self, running: Running) -> None:
        """Keep the state that the job trains on from: the rungs before are not lost any more."""
        if self._checkpoints is None or self._is_saved or not isinstance(running, Evaluation):
            return
        try:
            self._checkpoints.save(self._job, running.state_dict())
            self._is_saved = True
        except Exception as error:  # noqa: BLE001 - any storage's; the trial itself is well
            self._note = f"its checkpoint cannot be written ({type(error).__name__}: {error})"


def _check_versions(expected: dict[str, str]) -> None:
    """Refuse to train where the bits would be others.

    Raises:
        RuntimeError: a package is of another version than the driver's.
    """
    found = _versions()
    for package, version_ in expected.items():
        if found[package] != version_:
            raise RuntimeError(
                f"node {ray.util.get_node_ip_address()} has {package} {found[package]}, and the "
                f"search is driven with {version_}: install the same on both"
            )


def _versions() -> dict[str, str]:
    found = {}
    for package in ("inception-nas", "torch"):
        try:
            # A build's tag, such as +cpu, may differ between a head and its GPU nodes.
            found[package] = version(package).split("+")[0]
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


# ---------------------------------------------------------------------------- in Tune's thread


@dataclass(frozen=True, repr=False)
class _Handed:
    """A job on its way through Tune, which shows what it passes on."""

    job: Job

    def __repr__(self) -> str:
        return str(self.job.number)


class _Desk:
    """Which Tune trial is which job, and which actors wait for their next one."""

    def __init__(self, exchange: Exchange, resources: Resources, most: int | None) -> None:
        self.exchange = exchange
        self._resources, self._most = resources, most
        self.busy: dict[str, Attempt] = {}
        self.trials: dict[str, Trial] = {}
        self.arrived: list[Trial] = []
        self.idle: list[tuple[Trial, float]] = []
        self.handed_over: set[str] = set()
        self.killed: set[str] = set()
        self.actors: dict[str, Any] = {}
        self._deaths_at_start = 0
        self._counted = -math.inf

    def count_slots(self) -> None:
        """Look, at most once a second, how many trials fit on the nodes that are alive."""
        now = time.monotonic()
        if now - self._counted < 1:
            return
        self._counted = now
        slots = sum(self._resources.trials_on(node) for node in alive_nodes())
        self.exchange.set_slots(slots if self._most is None else min(slots, self._most))

    def started(self, trial: Trial) -> None:
        """An actor took the job up."""
        attempt = self.busy[trial.trial_id]
        attempt.has_started = True
        self.actors[trial.trial_id] = trial.temporary_state.ray_actor
        self._deaths_at_start = 0
        self.exchange.report(attempt, [Report(attempt.job.number, "started")])

    def rest(self, trial: Trial) -> None:
        """The job is over and its actor lives: it waits for the next one."""
        del self.busy[trial.trial_id]
        self.idle.append((trial, time.monotonic()))

    def forget(self, trial: Trial) -> None:
        """Tune is done with a trial."""
        self.busy.pop(trial.trial_id, None)
        self.actors.pop(trial.trial_id, None)
        self.trials.pop(trial.trial_id, None)
        self.handed_over.discard(trial.trial_id)
        self.killed.discard(trial.trial_id)
        self.arrived = [item for item in self.arrived if item is not trial]

    def lose(self, trial: Trial) -> None:
        """The actor died, or its device failed.

        Raises:
            Closed: workers cannot be started; the driver was told.
        """
        attempt = self.busy.get(trial.trial_id)
        was_idle = trial.trial_id in self.handed_over
        self.forget(trial)
        if attempt is None or attempt.is_stopped:
            return
        reason = reason_of(trial)
        if attempt.has_started:
            self.exchange.report(attempt, [Report(attempt.job.number, "lost", reason=reason)])
            return
        # The job had not begun. Its actor died before it came, or with its node, which says
        # nothing of others; or it cannot start at all.
        self._deaths_at_start += not was_idle and not reason.startswith("the worker's node")
        if self._deaths_at_start >= MOST_DEATHS_AT_START:
            self.exchange.fail(f"workers die while they start: {reason}")
            raise Closed
        self.exchange.hand_back(attempt)

    def end_stopped(self, controller: Any) -> None:
        """End what the driver gave up while it was trained, or before it had an actor."""
        for key, attempt in list(self.busy.items()):
            if not attempt.is_stopped or key in self.killed:
                continue
            if attempt.has_started:
                # Nothing else interrupts a step; a new actor takes its place.
                self.killed.add(key)
                ray.kill(self.actors[key])
            elif key not in self.handed_over:
                controller.stop_trial(self.trials[key])

    def matched(self, controller: Any) -> Trial | None:
        """A job that gets the actor of one that is over; Tune passes it on at once."""
        while self.idle and (trial := self._next_for_idle()) is not None:
            (over, _), *self.idle = self.idle
            self.handed_over.add(trial.trial_id)
            controller.stop_trial(over)
            return trial
        self.arrived = []  # there is no actor to be had: each gets one of its own
        return None

    def _next_for_idle(self) -> Trial | None:
        while self.arrived:
            trial = self.arrived.pop(0)
            if trial.status == Trial.PENDING:
                return trial
        # One that waits for an actor of its own, where there is no room for more actors, or
        # where nothing else comes: the idle one would never end.
        has_room = len(self.busy) + len(self.idle) <= self.exchange.slots
        if has_room and time.monotonic() - self.idle[0][1] < IDLE_SECONDS:
            return None
        for key, attempt in self.busy.items():
            if not attempt.has_started and key not in self.handed_over:
                return self.trials[key]
        return None


class _Jobs(Searcher):
    """Suggests what the driver submits."""

    def __init__(self, desk: _Desk) -> None:
        super().__init__()
        self._desk = desk

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next job, if there is one; where nothing runs it is waited for.

        Raises:
            Closed: the driver is done; this leaves Tune's loop, at whose each turn it is asked.
        """
        desk = self._desk
        if desk.idle and desk.arrived:
            return None  # one by one: each takes over an actor before the next
        while True:
            desk.count_slots()
            # Tune would sleep for a second where nothing runs.
            attempt = desk.exchange.next_attempt(0 if desk.busy else IDLE_SECONDS)
            if attempt is not None:
                desk.busy[trial_id] = attempt
                return {"job": _Handed(attempt.job)}
            if desk.busy:
                return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The driver knows already."""

    def save(self, checkpoint_path: str) -> None:
        """The study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """The study is the record."""


class _Words(TrialScheduler):
    """Passes reports on, and the driver's word back."""

    def __init__(self, desk: _Desk) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._desk = desk

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A suggested job became a Tune trial."""
        self._desk.arrived.append(trial)
        self._desk.trials[trial.trial_id] = trial

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Its actor is gone."""
        self._desk.lose(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Report it and wait for the driver, which decides on each report at once."""
        desk = self._desk
        attempt, reports = desk.busy[trial.trial_id], result[_REPORTS]
        desk.exchange.report(attempt, reports)
        if reports[-1].kind not in LAST and desk.exchange.goes_on(attempt):
            return str(TrialScheduler.CONTINUE)
        # Its end waits for the next job: of actors without one, Tune keeps a single one.
        desk.rest(trial)
        return str(TrialScheduler.NOOP)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Its actor goes to another job."""
        self._desk.forget(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """It was given up before it had an actor."""
        self._desk.forget(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Called at each turn of Tune's loop."""
        desk = self._desk
        desk.count_slots()
        desk.end_stopped(tune_controller)
        return desk.matched(tune_controller)

    def debug_string(self) -> str:
        """Tune shows it; the search has a display of its own."""
        return ""


class _Starts(Callback):
    """Tells when an actor takes a job up."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """The actor is ready and has the job."""
        self._desk.started(trial)


_ADDRESS = re.compile(r"\bip[:=] ?(\d+\.\d+\.\d+\.\d+)", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b.*", re.MULTILINE)


def reason_of(trial: Trial) -> str:
    """Why a trial's worker is gone, in one line, from what Tune keeps of the error."""
    try:
        with open(trial.error_file, encoding="utf-8") as file:
            return short_reason(file.read())
    except (OSError, TypeError):  # the disk is full, or there was no directory yet
        return "the worker died"


def short_reason(text: str) -> str:
    """One line of what Ray says in many when an actor is gone."""
    text = _COLOUR.sub("", text)
    found = _ADDRESS.search(text)
    where = f" on {found[1]}" if found else ""
    lowered = text.lower()
    if "memory pressure" in lowered or "low on memory" in lowered or "outofmemory" in lowered:
        return f"the worker{where} was ended because its machine ran out of memory"
    if "node" in lowered and ("node has died" in lowered or "node died" in lowered):
        return f"the worker's node{where} died"
    if "unavailable" in lowered and "rpc" in lowered:
        return f"the worker{where} cannot be reached: its node, its process or its network is gone"
    if raised := _EXCEPTION.findall(text):
        return f"the worker{where} ended: {raised[-1].removeprefix('nas.search.work.')}"
    if "worker process has died" in lowered:
        return f"the worker{where} crashed or was killed"
    lines = [line for line in text.splitlines() if line and not line.startswith("Failure #")]
    return f"the worker{where} died: {lines[0]}" if lines else "the worker died"


# ---------------------------------------------------------------------------- the cluster


@dataclass(frozen=True)
class Resources:
    """What a trial is given: processor cores, and a part of a GPU or none."""

    cpus: float
    gpus: float

    def trials_on(self, node: Mapping[str, float]) -> int:
        """How many trials fit on a node with such resources."""
        fit = int(node.get("CPU", 0.0) / self.cpus + 1e-6)
        if self.gpus:
            fit = min(fit, int(node.get("GPU", 0.0)) * int(1 / self.gpus + 1e-6))
        return fit

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} of a GPU" if self.gpus else ""
        return f"{self.cpus:g} CPU{gpus}"


def alive_nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive, free or not."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def connect(options: RayOptions, resources: Resources, most: int | None) -> bool:
    """Join the cluster that the options name, or start a Ray on this machine; whether it is ours.

    A Ray that this process has joined already is used as it is.

    Raises:
        ValueError: nobody answers at the address, or no node has what a trial needs.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        if options.address is not None:
            raise ValueError(
                f"this process has joined a Ray already: leave out the address {options.address!r}"
            )
        is_ours = False
    else:
        _start(options, resources, most)
        is_ours = True
    if not any(resources.trials_on(node) for node in alive_nodes()):
        largest = max(
            alive_nodes(), key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)), default={}
        )
        if is_ours:
            disconnect()
        raise ValueError(
            f"a trial needs {resources}, and no node has that: the largest has "
            f"{largest.get('CPU', 0.0):g} CPU and {largest.get('GPU', 0.0):g} GPU"
        )
    return is_ours


def _start(options: RayOptions, resources: Resources, most: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with _signals_kept():
        if options.address is None:
            cores = usable_cores() if most is None else math.ceil(most * resources.cpus)
            with _paths_inherited():
                ray.init(
                    address="local",
                    num_cpus=cores,
                    num_gpus=None if resources.gpus else 0,
                    include_dashboard=False,
                    **quiet,
                )
                raylet = raylet_of(os.getpid())
                if raylet is not None:
                    _GUARDS.append(start_guard(raylet))
            return
        _check_answers(options.address)
        try:
            ray.init(address=options.address, **quiet)
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"no Ray answers at {options.address!r}: {first}") from error


def _check_answers(address: str) -> None:
    """Ray itself would wait for minutes for a head that is not there.

    Raises:
        ValueError: nobody listens at the address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray answers at {address!r}: {error}") from None


def disconnect() -> None:
    """Leave the cluster, or end the Ray that was started here with all its processes."""
    ray.shutdown()
    while _GUARDS:
        with _GUARDS.pop() as guard:
            assert guard.stdin is not None
            guard.stdin.close()


_GUARDS: list[subprocess.Popen[bytes]] = []
"""Of the Ray that this process started; there is at most one."""


@contextlib.contextmanager
def _paths_inherited() -> Iterator[None]:
    """Ray's workers on this machine find what this process can import."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; a search has its own use for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class RayExecutor:
    """Runs jobs on ``device`` of Ray's actors, each with the options' part of a node.

    ``most`` limits how many run at once; ``checkpoints`` is where their states are kept.

    Raises:
        ValueError: no Ray answers, or no node has what a trial needs.
    """

    def __init__(
        self,
        work: Work,
        device: str,
        options: RayOptions,
        *,
        most: int | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        resources = Resources(options.cpus_per_trial, options.gpus_on(device))
        self._is_ours = connect(options, resources, most)
        if checkpoints is not None:
            checkpoints.create()
        self._checkpoints = checkpoints
        self._exchange = Exchange()
        self._desk = _Desk(self._exchange, resources, most)
        self._desk.count_slots()
        self._directory = tempfile.mkdtemp(prefix="nas-ray-")
        trainable = tune.with_parameters(
            _TrialActor,
            placed=_placed(work),
            device=device,
            share=resources.gpus,
            checkpoints=checkpoints,
            versions=_versions(),
        )
        self._finished: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True, name=name)
            for name, target, arguments in (
                ("ray tune", self._run, (trainable, resources)),
                ("checkpoints", self._delete_finished, ()),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def capacity(self) -> int:
        """How many jobs fit on the nodes that are alive; looked at every second."""
        return self._exchange.slots

    def submit(self, job: Job) -> None:
        """Hand the job to Tune."""
        self._exchange.submit(job)

    def poll(self, timeout: float) -> list[Report]:
        """Reports since the last call; waits at most ``timeout`` seconds for the first.

        Raises:
            RuntimeError: workers cannot be started, or the cluster is gone.
        """
        return self._exchange.take_reports(timeout)

    def go_on(self, number: int) -> None:
        """Let a job that waits at a rung train on."""
        self._exchange.go_on(number)

    def stop(self, number: int) -> None:
        """Give a job up: one that waits at once, one that trains by ending its actor."""
        self._exchange.stop(number)

    def is_held(self, number: int) -> bool:
        """Each job has an actor of its own."""
        return False

    def discard(self, number: int) -> None:
        """Delete the trial's checkpoints, at some time soon: a storage far away takes its time."""
        if self._checkpoints is not None:
            self._finished.put(number)

    def close(self) -> None:
        """End all actors, and Ray if it was started or joined here."""
        threads, self._threads = self._threads, []
        if not threads:
            return
        self._exchange.close()
        self._finished.put(None)
        for actor in list(self._desk.actors.values()):
            with contextlib.suppress(Exception):  # it may be gone, or the cluster with it
                ray.kill(actor)
        for thread in threads:
            thread.join(CLOSE_SECONDS)
        if self._is_ours:
            disconnect()
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._checkpoints is not None:
            self._checkpoints.tidy()

    def _delete_finished(self) -> None:
        while (number := self._finished.get()) is not None:
            assert self._checkpoints is not None
            with contextlib.suppress(Exception):  # it is only left behind, and of no harm
                self._checkpoints.delete(number)

    def _run(self, trainable: Any, resources: Resources) -> None:
        bundle = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
        try:
            tune.run(
                trainable,
                name="search",
                search_alg=_Jobs(self._desk),
                scheduler=_Words(self._desk),
                callbacks=[_Starts(self._desk)],
                num_samples=-1,
                reuse_actors=True,
                resources_per_trial=PlacementGroupFactory([bundle]),
                storage_path=self._directory,
                trial_dirname_creator=lambda trial: trial.trial_id,
                raise_on_failed_trial=False,
                verbose=0,
            )
        except BaseException as error:  # noqa: BLE001 - the driver shows it and stops
            if not self._exchange.is_closed:
                self._exchange.fail(f"Ray ended: {short_reason(str(error))}")
