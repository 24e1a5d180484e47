"""Checks a search before anything is written: settings, space and task, budgets, seeds.

What comes out is a :class:`Prepared` search: either new, with its settings, or a recorded run to
go on with. Left out: beginning it (:mod:`nas.search.launch`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.architecture import Architecture
from nas.cost import LATENCY, SEARCHED_COSTS, format_cost
from nas.latency import LatencyTable
from nas.latency.finding import find_table, obtain_table
from nas.latency.machine import this_setting
from nas.presets import load_preset
from nas.quantities import unknown_name
from nas.records import Location, Run, RunSettings, locate
from nas.records.databases import check_storage, shown_url
from nas.records.sharing import check_shareable
from nas.records.writing import has_run
from nas.search.limits import Limits, resolve_limits
from nas.search.proposals import MISFIT, Judge, Judged, Refusal
from nas.search.reference import reference_point
from nas.search.request import SearchRequest
from nas.search.samplers import DEFAULT_SAMPLER, check_sampler
from nas.search.study import check_data, check_name, check_objectives, check_resumed, now, versions
from nas.search.workers import resolve_device
from nas.space import SearchSpace
from nas.task import Task

DEFAULT_OBJECTIVES = ("error", "macs")
DEFAULT_HALVING = False
NUM_DRAWN = 100
"""Random networks that are judged before a run is created, to see whether anything fits."""


@dataclass(frozen=True)
class Prepared:
    """A search that was checked and not yet begun."""

    space: SearchSpace
    task: Task
    location: Location
    settings: RunSettings
    limits: Limits
    device: str
    judge: Judge
    given: list[tuple[str, Architecture]]
    is_constrained: bool
    recorded: Run | None
    notes: tuple[str, ...] = ()
    latency: LatencyTable | None = None
    unmeasured: tuple[str, ...] = ()


def prepare(
    space: SearchSpace | str | None,
    task: Task | None,
    request: SearchRequest,
    *,
    evaluate: str | None = None,
    note: Callable[[str], None] | None = None,
) -> Prepared:
    """Check all of a search's settings and what follows from them; writes nothing of the run.

    ``evaluate`` names the caller's own function, if there is one. Where latency is an objective
    or bounded and this machine has no table of the space yet, one is measured and kept, and
    ``note`` is told; without ``note`` nothing is measured: objectives and budgets of latency are
    left out then, and named in ``unmeasured``.

    Raises:
        ValueError: one is wrong; the message names it, the rule and the value.
        RuntimeError: latencies have to be measured, and trials train on this machine.
    """
    location = locate(check_name(request.name), request.results, request.storage)
    if request.storage is not None:
        check_storage(request.storage, own=location.path)
    if request.join:
        check_shareable(location)
    resolve_limits(request)
    _check_request(request)
    loaded = SearchSpace.load(space) if isinstance(space, str) else space
    recorded = _recorded(location, loaded, task, request, evaluate)
    if recorded is not None:
        loaded = SearchSpace.from_json(recorded.settings.space)
        task = Task.from_json(recorded.settings.task)
        budgets = recorded.settings.budgets
    else:
        if loaded is None or task is None:
            raise ValueError("a new run needs a space and a task")
        budgets = _merged_budgets(loaded.budgets, request.budgets or {})
    is_proxied = (recorded.settings.evaluate if recorded else evaluate) is None
    device = _resolve_device(request, recorded)
    objectives = recorded.settings.objectives if recorded else _objectives(request)
    latency: LatencyTable | None = None
    unmeasured: tuple[str, ...] = ()
    if LATENCY in (*objectives, *budgets):
        latency = _latency(loaded, task, request, device, recorded, note)
        if latency is None:
            unmeasured = (LATENCY,)
            objectives = tuple(name for name in objectives if name != LATENCY)
            budgets = {name: limit for name, limit in budgets.items() if name != LATENCY}
    elif request.latency_device is not None:
        raise ValueError("a latency device needs latency_ms among the objectives or budgets")
    judge = Judge(task, budgets, is_proxied=is_proxied, latency=latency)
    first, is_constrained = _check_feasible(loaded, judge, budgets)
    seeds = [*_seeds(request.seed_with, loaded, judge), *([] if recorded else first)]
    # Those of before a resume come first; the driver leaves out what has its row.
    listed = recorded.settings.first if recorded else ()
    new = ((origin, architecture.to_json()) for origin, architecture in seeds)
    listed = (*listed, *(item for item in new if item not in listed))
    limits = resolve_limits(request, recorded.settings if recorded else None)
    settings = (
        _resumed_settings(recorded.settings, request)
        if recorded
        else _new_settings(loaded, task, request, objectives, budgets, device, latency)
    )
    settings = replace(
        settings,
        trials=limits.trials,
        seconds=limits.seconds,
        device_seconds=limits.device_seconds,
        patience=limits.patience,
        trial_seconds=limits.trial_seconds,
        first=listed,
        device=device,
        evaluate=settings.evaluate if recorded else evaluate,
    )
    if not unmeasured:
        _check_patience(settings)
    return Prepared(
        space=loaded,
        task=task,
        location=location,
        settings=settings,
        limits=limits,
        device=device,
        judge=judge,
        given=[(origin, Architecture.from_json(text)) for origin, text in listed],
        is_constrained=is_constrained,
        recorded=recorded,
        notes=(*_notes(recorded.settings, device), *_latency_notes(latency)) if recorded else (),
        latency=latency,
        unmeasured=unmeasured,
    )


def with_data(prepared: Prepared, digest: dict[str, int]) -> Prepared:
    """The search with what tells its training data from other data.

    Raises:
        ValueError: the run to resume was made with other data; the message says what differs.
    """
    if prepared.recorded is not None:
        check_data(prepared.recorded.settings, digest, prepared.location.name)
    return replace(prepared, settings=replace(prepared.settings, data=digest))


def _resolve_device(request: SearchRequest, recorded: Run | None) -> str:
    """The device to train on; ``auto`` is the recorded one in a resumed run.

    Raises:
        ValueError: there is no such device here, and trials train here.
    """
    device = request.device
    if not request.trains_here:
        if recorded is not None and device == "auto":
            return recorded.settings.device
        if device == "cuda":
            return device
    if recorded is None or device != "auto":
        return resolve_device(device)
    try:
        return resolve_device(recorded.settings.device)
    except ValueError as error:
        raise ValueError(
            f"run {recorded.name!r} trains on {recorded.settings.device} and cannot go on here "
            f"({error}); resume it where it began, or name another with --device"
        ) from None


def _objectives(request: SearchRequest) -> tuple[str, ...]:
    return tuple(request.objectives or DEFAULT_OBJECTIVES)


def _latency(
    space: SearchSpace,
    task: Task,
    request: SearchRequest,
    device: str,
    recorded: Run | None,
    note: Callable[[str], None] | None,
) -> LatencyTable | None:
    """The table of a search that needs one: the run's own, else this machine's.

    Raises:
        ValueError: another device is asked for than the run's table is of, or there is no such
            device; or a table is damaged.
        RuntimeError: it has to be measured, and trials train on this machine.
    """
    if recorded is not None:
        table = LatencyTable.from_data(recorded.latency or {}, f"run {recorded.name!r}")
        asked = request.latency_device
        if asked is not None and resolve_device(asked) != table.setting.device:
            raise ValueError(
                f"run {recorded.name!r} cannot go on with another latency device: its latencies "
                f"are of {table.setting.device}, and {asked} is given now"
            )
        return table
    place = device if request.latency_device is None else resolve_device(request.latency_device)
    image, classes = task.target.image, task.target.classes
    if note is None:
        return find_table(space, image, classes, place)
    return obtain_table(space, image, classes, place, note=note)


def _latency_notes(table: LatencyTable | None) -> tuple[str, ...]:
    """What tells this machine from the one that a resumed run's latencies are of."""
    if table is None:
        return ()
    device = table.setting.device
    try:
        here = this_setting(resolve_device(device))
    except ValueError:
        return (f"the run's latencies are of {table.setting}; this machine has no {device}",)
    changed = table.setting.differences(here)
    if not changed:
        return ()
    return (
        f"the run goes on with the latencies it began with, which are not of this machine: "
        f"{'; '.join(changed)}",
    )


def _notes(recorded: RunSettings, device: str) -> tuple[str, ...]:
    """What is not as it was when the run began and may change results a little."""
    notes = []
    if device != recorded.device:
        notes.append(f"the run trained on {recorded.device} so far and goes on on {device}")
    then, today = recorded.versions.get("torch"), versions()["torch"]
    if then != today:
        notes.append(
            f"the run began with torch {then}, this is torch {today}: "
            f"errors of old and new trials may differ slightly"
        )
    return tuple(notes)


def _check_joining(request: SearchRequest) -> None:
    if request.join and request.resume:
        raise ValueError("join goes on with a run as well: leave out resume")
    if request.grace_seconds is not None and not request.join:
        raise ValueError("a grace is for drivers that join others: give join as well")
    if request.grace_seconds is not None and not 1 <= request.grace_seconds < math.inf:
        raise ValueError(f"the grace must be 1 second or more, not {request.grace_seconds!r}")


def _check_request(request: SearchRequest) -> None:
    _check_joining(request)
    if request.objectives is not None:
        check_objectives(request.objectives)
    if not request.storage_wait_seconds >= 0:
        raise ValueError(
            f"the wait for a storage must be 0 seconds or more, not "
            f"{request.storage_wait_seconds!r}"
        )
    if request.sampler is not None:
        check_sampler(request.sampler)
    seed = request.seed
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**32):
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, not {seed!r}")
    for name, limit in (request.budgets or {}).items():
        if name not in SEARCHED_COSTS:
            raise ValueError(unknown_name("budget", name, SEARCHED_COSTS))
        if name == LATENCY:
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if not is_number or not 0 < limit < math.inf:
                raise ValueError(f"the budget of {name} must be over 0 ms, not {limit!r}")
        elif not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ValueError(f"the budget of {name} must be an integer from 1, not {limit!r}")


def _recorded(
    location: Location,
    space: SearchSpace | None,
    task: Task | None,
    request: SearchRequest,
    evaluate: str | None,
) -> Run | None:
    exists = has_run(location)
    if exists and not (request.resume or request.join):
        raise ValueError(exists_message(location))
    if not exists and request.resume:
        raise ValueError(f"there is no run {location.name!r} in {location.path.parent} to resume")
    if not exists and request.join and (space is None or task is None):
        raise ValueError(
            f"there is no run {location.name!r} in {_shown_place(location)} to join; the first of "
            f"its drivers needs a space and data"
        )
    if not exists:
        return None
    run = Run(location)
    settings = {
        "space": space.to_json() if space else None,
        "task": task.to_json() if task else None,
        "objectives": request.objectives,
        "seed": request.seed,
        "evaluate": evaluate,
        "budgets": _merged_budgets(
            SearchSpace.from_json(run.settings.space).budgets, request.budgets
        )
        if request.budgets
        else None,
    }
    check_resumed(run.settings, settings, location.name)
    if run.settings.evaluate is not None and evaluate is None:
        raise ValueError(
            f"run {location.name!r} was made with your function {run.settings.evaluate}: "
            f"give it as evaluate"
        )
    return run


def _shown_place(location: Location) -> str:
    return str(location.database or shown_url(location.url))


def exists_message(location: Location) -> str:
    """What to say of a name that is taken."""
    return (
        f"run {location.name!r} exists already ({Run(location).state}); "
        f"go on with --resume, or take another --name"
    )


def _merged_budgets(ours: Mapping[str, float], given: Mapping[str, float]) -> dict[str, float]:
    """The tighter of the space's and the caller's budgets."""
    return {
        name: min(budgets[name] for budgets in (ours, given) if name in budgets)
        for name in SEARCHED_COSTS
        if name in ours or name in given
    }


def _check_feasible(
    space: SearchSpace, judge: Judge, budgets: Mapping[str, float]
) -> tuple[list[tuple[str, Architecture]], bool]:
    """Networks to begin with where chance finds none, and whether any may be refused.

    Raises:
        ValueError: nothing fits the task, or nothing meets a budget (with the smallest cost).
    """
    drawn = [space.random(np.random.default_rng([0, index])) for index in range(NUM_DRAWN)]
    verdicts = [judge.judge(architecture) for architecture in drawn]
    refused = [verdict for verdict in verdicts if isinstance(verdict, Refusal)]
    is_constrained = bool(budgets) or bool(refused)
    if len(refused) < len(verdicts):
        return [], is_constrained
    if all(refusal.kind == MISFIT for refusal in refused):
        raise ValueError(
            f"no network of space {space.name!r} fits the task: of {NUM_DRAWN} drawn, "
            f"the first: {refused[0].reason}"
        )
    first = []
    for name, limit in budgets.items():
        architecture, least = judge.smallest(space, name)
        if least > limit:
            raise ValueError(
                f"nothing in space {space.name!r} meets the budget {name} <= "
                f"{format_cost(name, limit)}: the smallest found has {format_cost(name, least)}"
                + ("" if name == LATENCY else f" ({least:,})")
            )
        if isinstance(judge.judge(architecture), Judged):
            first.append((f"smallest:{name}", architecture))
    return first, True


def _seeds(
    seed_with: Sequence[str | Architecture], space: SearchSpace, judge: Judge
) -> list[tuple[str, Architecture]]:
    seeds = []
    for item in seed_with:
        architecture = load_preset(item) if isinstance(item, str) else item
        origin = f"seed:{item if isinstance(item, str) else item.fingerprint}"
        try:
            space.encode(architecture)
        except ValueError as error:
            raise ValueError(f"{origin} is not in space {space.name!r}: {error}") from None
        verdict = judge.judge(architecture)
        if isinstance(verdict, Refusal):
            raise ValueError(f"{origin} cannot be searched: {verdict.reason}")
        seeds.append((origin, architecture))
    return seeds


def _check_patience(settings: RunSettings) -> None:
    if settings.patience is None:
        return
    if settings.sampler != "pareto" or len(settings.objectives) != 2:
        raise ValueError(
            f"patience needs a sampler that says what it expects: sampler pareto and two "
            f"objectives, not {settings.sampler} and {len(settings.objectives)}"
        )


def _resumed_settings(recorded: RunSettings, request: SearchRequest) -> RunSettings:
    """As recorded, with another sampler or another way with rungs where they are given."""
    return replace(
        recorded,
        sampler=request.sampler or recorded.sampler,
        halving=recorded.halving if request.halving is None else request.halving,
    )


def _new_settings(
    space: SearchSpace,
    task: Task,
    request: SearchRequest,
    objectives: tuple[str, ...],
    budgets: dict[str, float],
    device: str,
    latency: LatencyTable | None,
) -> RunSettings:
    return RunSettings(
        space=space.to_json(),
        task=task.to_json(),
        objectives=objectives,
        reference=reference_point(space, task, objectives, budgets, latency),
        seed=request.seed or 0,
        sampler=request.sampler or DEFAULT_SAMPLER,
        budgets=budgets,
        created=now(),
        versions=versions(),
        device=device,
        precision=task.precision,
        halving=DEFAULT_HALVING if request.halving is None else request.halving,
    )
