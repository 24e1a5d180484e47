"""``run_search``: everything is checked before anything is written.

A search needs a space, a task and a name; all else has defaults. Settings that are None take
their default in a new run and the recorded value in a resumed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.architecture import Architecture
from nas.latency.solitude import training
from nas.records import RESULTS, Run
from nas.records.drivers import GRACE_SECONDS
from nas.records.lasting import WAIT_SECONDS
from nas.search.data_digest import digest_data
from nas.search.display import Display, NoDisplay
from nas.search.driving import Waits, drive, drive_together
from nas.search.executor import Executor
from nas.search.prepare import Prepared, prepare, with_data
from nas.search.ray_options import check_executor
from nas.search.request import SearchRequest
from nas.search.study import function_name
from nas.search.workers import (
    check_concurrency,
    create_executor,
    create_ray_executor,
    create_work,
    load_training_data,
    worker_devices,
)
from nas.space import SearchSpace
from nas.task import Task

if TYPE_CHECKING:
    from nas.datasets import Split, TrainValidation
    from nas.search.work import Evaluate


def run_search(  # noqa: PLR0913 - the whole of a search's settings in one call
    space: SearchSpace | str | None,
    task: Task | None,
    *,
    name: str,
    results: str | Path = RESULTS,
    objectives: Sequence[str] | None = None,
    budgets: Mapping[str, float] | None = None,
    sampler: str | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    device_seconds: float | None = None,
    patience: float | None = None,
    trial_seconds: float | None = None,
    halving: bool | None = None,
    workers: int | None = None,
    concurrency: int | None = None,
    device: str = "auto",
    latency_device: str | None = None,
    seed: int | None = None,
    seed_with: Sequence[str | Architecture] = (),
    storage: str | None = None,
    storage_wait_seconds: float = WAIT_SECONDS,
    resume: bool = False,
    join: bool = False,
    grace_seconds: float | None = None,
    executor: str | Executor = "local",
    gpus_per_trial: float | None = None,
    cpus_per_trial: float | None = None,
    ray_address: str | None = None,
    artifacts: str | None = None,
    evaluate: Evaluate | None = None,
    data: Split | TrainValidation | None = None,
    display: Display | None = None,
) -> Run:
    """Search a space and return the run; Ctrl-C stops it cleanly.

    ``space`` is a space, a shipped one's name or a file; with ``resume`` it and the task may be
    None. ``budgets`` are hard limits at the target by cost name, beside the space's own.
    ``trials`` counts trained trials, ``seconds`` driving time, and ``device_seconds`` what all
    trials took together; each for the run over all restarts. With all None a new run trains 64
    trials; None in a resumed one is as recorded, and a given value replaces the recorded one.
    ``patience`` ends a search with the sampler ``pareto`` when its next ten trials are expected to
    add less than this share to the hypervolume each. A trial that trains for longer than
    ``trial_seconds`` is given up and failed, and its worker is replaced if it hangs; by default
    there is no limit. ``halving`` stops trials at their rungs that
    others leave behind (:mod:`nas.search.halving`); it is off in a new run. ``seed_with`` are
    presets or architectures to try first. ``data`` stands in for the task's data set.
    ``evaluate(architecture, task, seed)`` returns an error from 0 to 1 in place of the proxy
    training: with one worker (the default then) it is called in this process, with more, or with
    ``trial_seconds``, in worker processes that import its module.
    ``device`` auto is the recorded one in a resumed run. ``latency_device`` is the one whose
    latency is minimised or bounded, by default the same; its table is measured before anything
    trains, unless it was before.
    ``concurrency`` is the number of trials at once on each GPU; by default it is chosen by
    measurement while the search runs.
    A ``storage`` that is away is waited for so long as ``storage_wait_seconds``, while what runs
    goes on; after that the search ends, and a resumed one takes up what was finished.
    ``join`` works on the run together with all others that join it, here or on other machines, and
    creates it if it is the first; all settings are the run's, and so are the limits. It needs
    PostgreSQL as ``storage``, or one machine. Of a driver that nothing was heard of for
    ``grace_seconds`` (60) the others take the trials over.
    ``executor`` is ``local``, the processes of this machine, or ``ray``, Ray Tune's; or an object
    of your own. With ``ray`` a trial gets ``gpus_per_trial`` (0 to 1; by default 1 on CUDA) and
    ``cpus_per_trial`` (by default 1), ``workers`` is the most trials at once, ``ray_address`` is
    ``auto`` or HOST:PORT of a cluster to join (by default a Ray is started on this machine), and
    ``artifacts`` is a directory or an fsspec URL in which all machines keep the checkpoints of
    running trials (by default the run's directory). ``display`` shows the search; none by default.

    Raises:
        ValueError: a setting is wrong; nothing was written.
        OSError: the study cannot be written (any more); what was finished is in it, or in the
            run's directory for a resumed search.
        RuntimeError: no worker can be kept alive; or latencies have to be measured, and trials
            train on this machine.
    """
    options = check_executor(
        executor,
        gpus_per_trial=gpus_per_trial,
        cpus_per_trial=cpus_per_trial,
        ray_address=ray_address,
        artifacts=artifacts,
    )
    if options is not None:
        device = options.device(device)
    is_ours = evaluate is None and isinstance(executor, str)
    request = SearchRequest(
        name=name,
        results=results,
        objectives=objectives,
        budgets=budgets,
        sampler=sampler,
        trials=trials,
        seconds=seconds,
        device_seconds=device_seconds,
        patience=patience,
        trial_seconds=trial_seconds,
        halving=halving,
        workers=workers,
        concurrency=concurrency,
        device=device if is_ours else "cpu",
        latency_device=latency_device,
        seed=seed,
        seed_with=seed_with,
        storage=storage,
        storage_wait_seconds=storage_wait_seconds,
        resume=resume,
        trains_here=options is None or options.address is None,
        join=join,
        grace_seconds=grace_seconds,
    )
    function = None if evaluate is None else function_name(evaluate)
    shown = display or NoDisplay()
    prepared = prepare(space, task, request, evaluate=function)
    if options is None:
        check_concurrency(prepared.device, concurrency)
    else:
        options.check_with(concurrency, prepared.location.path)
    if isinstance(executor, str):
        if evaluate is None and options is None:
            # A wrong number of workers is told before anything is measured or read.
            worker_devices(prepared.device, workers)
        if prepared.unmeasured:
            prepared = prepare(space, task, request, evaluate=function, note=shown.note)
        if evaluate is None:
            data = load_training_data(prepared.task, data)
            prepared = with_data(prepared, digest_data(data))
        runner: Executor
        if options is not None:
            work = create_work(prepared.task, evaluate=evaluate, data=data)
            directory = prepared.location.path
            runner = create_ray_executor(work, prepared.device, workers, options, directory)
        else:
            runner = create_executor(
                prepared.task,
                prepared.device,
                workers,
                concurrency=concurrency,
                evaluate=evaluate,
                data=data,
                is_limited=prepared.limits.trial_seconds is not None,
            )
    else:
        runner = executor
    try:
        with training(shown.note):
            if not join:
                return drive(prepared, runner, shown, storage_wait_seconds)

            def prepare_again() -> Prepared:
                again = prepare(space, task, request, evaluate=function, note=shown.note)
                digest = prepared.settings.data
                return again if digest is None else with_data(again, digest)

            grace = GRACE_SECONDS if grace_seconds is None else grace_seconds
            waits = Waits(grace_seconds=grace, storage_wait_seconds=storage_wait_seconds)
            return drive_together(prepared, runner, shown, prepare_again, waits)
    finally:
        runner.close()
        shown.close()
