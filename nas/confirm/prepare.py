"""Checks a confirmation before anything is written or trained.

What comes out is a :class:`Prepared` confirmation: a new one with its networks chosen, or a
recorded one to go on with. Left out: training (:mod:`nas.confirm.launch`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.confirm.finalists import choose_finalists
from nas.confirm.landmarks import choose_landmarks, parse_landmarks
from nas.confirm.request import (
    DEFAULT_CONTROLS,
    DEFAULT_EPOCHS,
    DEFAULT_LANDMARKS,
    DEFAULT_SEEDS,
    DEFAULT_TOP,
    ConfirmRequest,
)
from nas.latency import LatencyTable
from nas.quantities import format_number_of
from nas.records import Location, Run, RunSettings, driver_of
from nas.records.confirmation import (
    Confirmation,
    ConfirmSettings,
    Finalist,
    confirmation_location,
    open_confirmation,
)
from nas.records.databases import check_storage
from nas.search.study import now, versions
from nas.search.workers import check_concurrency, resolve_device, worker_devices
from nas.space import SearchSpace
from nas.task import Proxy, Task, create_task, proxy

SAMPLER = "confirm"
"""What stands in place of a sampler in the settings of a confirmation's study."""


@dataclass(frozen=True)
class Prepared:
    """A confirmation that was checked and not yet begun; ``recorded`` where it goes on."""

    run: Run
    location: Location
    task: Task
    settings: RunSettings
    confirm: ConfirmSettings
    device: str
    recorded: Confirmation | None
    notes: tuple[str, ...] = ()


def prepare(run: Run, request: ConfirmRequest) -> Prepared:
    """Check all settings, choose the networks and see that they fit; writes nothing.

    Raises:
        ValueError: a setting is wrong, the run has no front or is being driven, or there is
            another confirmation: the message says what differs.
        OSError: the data cannot be read.
    """
    _check_request(request)
    _check_run(run)
    location = confirmation_location(run)
    recorded = None if request.overwrite else open_confirmation(run)
    if recorded is not None and not request.resume:
        raise ValueError(_exists(recorded))
    if recorded is None and request.resume:
        raise ValueError(f"run {run.name!r} has no confirmation to resume; leave out --resume")
    device = _device(request, recorded)
    worker_devices(device, request.workers)
    check_concurrency(device, request.concurrency)
    if recorded is None:
        task = full_task(run, request, device)
        return _new(run, location, task, request, device)
    return _resumed(run, location, recorded, request, device)


def _check_request(request: ConfirmRequest) -> None:
    for name, least in (("top", 1), ("seeds", 1), ("controls", 0), ("epochs", 1)):
        value = getattr(request, name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"{name} must be an integer from {least}, not {value!r}")
    if request.resume and request.overwrite:
        raise ValueError("resume and overwrite are opposites: give one of them")
    parse_landmarks(request.landmarks or ())


def _check_run(run: Run) -> None:
    driver = driver_of(run)
    if driver is not None:
        raise ValueError(
            f"run {run.name!r} is being searched by process {driver}: its front may change; "
            f"confirm it when the search has ended"
        )
    if run.path.exists() and not run.path.is_dir():
        raise ValueError(f"{run.path} must be a directory: the trainings are kept in it")
    check_storage(run.url, own=run.path)


def _exists(recorded: Confirmation) -> str:
    settings = recorded.settings
    epochs = Task.from_json(recorded.study.settings.task).proxy.epochs
    return (
        f"run {recorded.run.name!r} has a confirmation already ({recorded.study.state}: "
        f"{format_number_of(len(settings.finalists), 'network')}, "
        f"{format_number_of(settings.seeds, 'seed')}, "
        f"{format_number_of(epochs, 'epoch')}); go on "
        f"with --resume, or begin anew with --overwrite"
    )


def _device(request: ConfirmRequest, recorded: Confirmation | None) -> str:
    if recorded is None or request.device != "auto":
        return resolve_device(request.device)
    try:
        return resolve_device(recorded.study.settings.device)
    except ValueError as error:
        raise ValueError(
            f"the confirmation of {recorded.run.name!r} trains on "
            f"{recorded.study.settings.device} and cannot go on here ({error}); resume it where "
            f"it began, or name another with --device"
        ) from None


def full_task(run: Run, request: ConfirmRequest, device: str) -> Task:
    """The run's task at full budget: nothing is narrowed, no image left out.

    Raises:
        ValueError: the data is unknown, or does not fit the run's target.
        OSError: it cannot be read.
    """
    from nas.datasets import describe_data
    from nas.training.precision import resolve_precision

    own = Task.from_json(run.settings.task)
    name = request.data or own.data
    try:
        info = describe_data(name)
    except ValueError as error:
        if request.data is None:
            raise ValueError(
                f"the data {own.data!r} of run {run.name!r} cannot be loaded by its name "
                f"({error}); give it with --data"
            ) from None
        raise
    settings: dict[str, Any] = {
        "target": own.target.model_dump(mode="json"),
        "proxy": Proxy(width=1.0, epochs=request.epochs or DEFAULT_EPOCHS, stem="own").model_dump(
            mode="json"
        ),
        "recipe": (request.recipe or own.recipe).model_dump(mode="json"),
    }
    if info.name == own.data:
        settings["validation_images"] = own.validation_images
    # A search asked the machine already; elsewhere it is asked anew.
    is_same = device == run.settings.device
    precision = own.precision if is_same else resolve_precision("auto", device)
    return create_task(info, settings, precision=precision, source="confirmation")


def _new(
    run: Run, location: Location, task: Task, request: ConfirmRequest, device: str
) -> Prepared:
    words = DEFAULT_LANDMARKS if request.landmarks is None else tuple(request.landmarks)
    top = request.top or DEFAULT_TOP
    controls = DEFAULT_CONTROLS if request.controls is None else request.controls
    finalists = choose_finalists(run, top, controls)
    for item in finalists:
        proxy(item.network, task)  # a user's own function may have judged what does not fit
    costs = [name for name in run.settings.objectives if name != "error"] or ["macs"]
    space = SearchSpace.from_json(run.settings.space)
    budgets = run.settings.budgets
    latency = None
    if run.latency is not None:
        latency = LatencyTable.from_data(run.latency, f"run {run.name!r}")

    def choose(word: str, known: Sequence[Finalist]) -> list[Finalist]:
        asked = parse_landmarks([word])
        return choose_landmarks(asked, known, space, task, budgets, costs, latency)

    networks, notes = _with_landmarks(
        finalists, words, choose, is_strict=request.landmarks is not None
    )
    seeds = request.seeds or DEFAULT_SEEDS
    confirm = ConfirmSettings(top, seeds, controls, words, networks)
    settings = RunSettings(
        space=run.settings.space,
        task=task.to_json(),
        objectives=run.settings.objectives,
        reference=run.settings.reference,
        seed=0,
        sampler=SAMPLER,
        budgets=budgets,
        created=now(),
        versions=versions(),
        device=device,
        precision=task.precision,
        trials=seeds * len(confirm.finalists),
    )
    return Prepared(run, location, task, settings, confirm, device, None, notes)


def _with_landmarks(
    finalists: Sequence[Finalist],
    words: Sequence[str],
    choose: Callable[[str, Sequence[Finalist]], list[Finalist]],
    *,
    is_strict: bool,
) -> tuple[tuple[Finalist, ...], tuple[str, ...]]:
    """The finalists with their landmarks, and why some of these are left out.

    No network is there twice: its trainings would be the same ones, in the same directories.

    Raises:
        ValueError: a landmark does not fit, and they are ``is_strict``ly wanted.
    """
    networks, notes = list(finalists), []
    for word in dict.fromkeys(words):
        try:
            found = choose(word, networks)
        except ValueError as error:
            if is_strict:
                raise
            notes.append(str(error))
            continue
        for item in found:
            same = next((one for one in networks if one.network == item.network), None)
            if same is None:
                networks.append(item)
            else:
                notes.append(f"landmark {item.name} is the network of {same.name}: trained once")
    return tuple(networks), tuple(notes)


def _resumed(
    run: Run,
    location: Location,
    recorded: Confirmation,
    request: ConfirmRequest,
    device: str,
) -> Prepared:
    task = Task.from_json(recorded.study.settings.task)
    confirm, study = recorded.settings, recorded.study.settings
    _check_same(run, confirm, task, request)
    confirm = replace(confirm, seeds=request.seeds or confirm.seeds)
    settings = replace(study, device=device, trials=confirm.seeds * len(confirm.finalists))
    return Prepared(run, location, task, settings, confirm, device, recorded, _notes(study, device))


def _check_same(run: Run, confirm: ConfirmSettings, task: Task, request: ConfirmRequest) -> None:
    """Refuse to go on with other settings than a confirmation was begun with.

    Raises:
        ValueError: one differs; the message names it, the recorded and the given value.
    """
    then: Mapping[str, Any] = {
        "top": confirm.top,
        "controls": confirm.controls,
        "landmarks": list(confirm.landmarks),
        "epochs": task.proxy.epochs,
        "data": task.data,
        "recipe": task.recipe.model_dump(mode="json"),
    }
    wanted = {name: getattr(request, name) for name in then}
    if request.recipe is not None:
        wanted["recipe"] = request.recipe.model_dump(mode="json")
    if request.landmarks is not None:
        wanted["landmarks"] = list(request.landmarks)
    for name, old in then.items():
        new = wanted[name]
        if new is not None and new != old:
            raise ValueError(_differs(run, name, old, new))


def _differs(run: Run, name: str, old: Any, new: Any) -> str:
    if isinstance(old, dict):
        path = next(key for key in {**old, **new} if old.get(key) != new.get(key))
        name, old, new = f"{name}.{path}", old.get(path), new.get(path)
    return (
        f"run {run.name!r} has a confirmation with {name} {json.dumps(old)}, not "
        f"{json.dumps(new)}; leave it out to go on, or begin anew with --overwrite"
    )


def _notes(study: RunSettings, device: str) -> tuple[str, ...]:
    """What is not as it was when the confirmation began and may change results a little."""
    notes = []
    if device != study.device:
        notes.append(f"it trained on {study.device} so far and goes on on {device}")
    then, today = study.versions.get("torch"), versions()["torch"]
    if then != today:
        notes.append(f"it began with torch {then}, this is torch {today}: bits may differ")
    return tuple(notes)
