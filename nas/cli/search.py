"""``nas search``: options in, a run out; at its end the front and the commands to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import add_command, flag, number, whole

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.task import Task

LIMITS = "Limits (the search ends when one is reached)"
SEARCH = "Search"
TASK = "Task"
BUDGETS = "Budgets (hard: what exceeds one is never trained)"
EXECUTION = "Execution"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "search",
        search,
        short="Search a space; ends with a front and a report.",
        example="nas search googlenet_small --data fashion-mnist-mini --name first",
    )


def search(  # noqa: PLR0913 - one parameter an option
    space: Annotated[
        str | None,
        typer.Argument(metavar="SPACE", help="A shipped space (see nas spaces) or a YAML file."),
    ] = None,
    *,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the run is called.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="fashion-mnist-mini, fashion-mnist, hf:OWNER/NAME, folder:DIR or parquet:DIR.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        whole(
            1,
            10_000_000,
            help="So many trials are trained. Default: 64, if there is no other limit.",
            panel=LIMITS,
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="So much time has gone by: 90s, 10m or 2h.", rich_help_panel=LIMITS
        ),
    ] = None,
    device_seconds: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="All trials together took so much time of one device.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    patience: Annotated[
        float | None,
        number(
            0,
            1,
            metavar="SHARE",
            help="A trial is expected to add less than this share to the hypervolume, such as "
            "0.001. With --sampler pareto.",
            panel=LIMITS,
        ),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="error and any of macs, params, activation_bytes, latency_ms. "
            "Default: error,macs.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="pareto, evolution, nsga2, nsga3, tpe, gp, qmc or random. Default: pareto.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    halving: Annotated[
        bool,
        flag(
            "--halving",
            help="Stop trials early that others leave behind. Default: off.",
            panel=SEARCH,
        ),
    ] = False,
    no_halving: Annotated[
        bool, flag("--no-halving", help="Train every trial to its end.", panel=SEARCH)
    ] = False,
    seed: Annotated[
        int | None, whole(0, help="Of all that is random. Default: 0.", panel=SEARCH)
    ] = None,
    seed_with: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRESET",
            help="Try this preset or file first; may be repeated.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Such as 300M.", rich_help_panel=BUDGETS)
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Such as 2M.", rich_help_panel=BUDGETS)
    ] = None,
    max_activation_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Such as 4M.", rich_help_panel=BUDGETS)
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Such as 5ms: to one image's answer on this machine, predicted.",
            rich_help_panel=BUDGETS,
        ),
    ] = None,
    task: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="The settings below and more; options here go before it.",
            rich_help_panel=TASK,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="The image that cost is counted for: 224 or 3x224x224. Default: the data's.",
            rich_help_panel=TASK,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        whole(2, 1_000_000, help="Of the target. Default: the data's.", panel=TASK),
    ] = None,
    resolution: Annotated[
        int | None,
        whole(
            3,
            1024,
            help="Side of a proxy's images. Default: the target's, at most 96.",
            metavar="PIXELS",
            panel=TASK,
        ),
    ] = None,
    width: Annotated[
        float | None,
        number(
            0,
            1,
            metavar="SHARE",
            help="Share of the channels that a proxy keeps. Default: 0.25.",
            panel=TASK,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        whole(1, 10_000, help="Epochs that a proxy trains for. Default: 4.", panel=TASK),
    ] = None,
    images: Annotated[
        int | None,
        whole(
            1,
            help="Images that a proxy sees in an epoch. Default: all, at most 3,072.",
            panel=TASK,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="default, paper or cifar. Default: default.", rich_help_panel=TASK
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="auto, float32 or bfloat16. Default: auto.",
            rich_help_panel=TASK,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=EXECUTION),
    ] = "auto",
    latency_device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where latency is measured: cpu or cuda. Default: where trials train.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        whole(1, 1_024, help="Default: one a core, or one a GPU.", panel=EXECUTION),
    ] = None,
    concurrency: Annotated[
        int | None,
        whole(
            1,
            1_024,
            help="Trials at once on each GPU. Default: chosen by measurement.",
            panel=EXECUTION,
        ),
    ] = None,
    trial_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="A trial that takes longer is given up and failed: 90s, 10m or 2h. "
            "Default: no limit.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
    results: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where runs are kept.", rich_help_panel=EXECUTION),
    ] = Path("results"),
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A database for the study. Default: a file in the run's directory.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
    storage_wait: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="How long a database may be away before the search ends.",
            rich_help_panel=EXECUTION,
        ),
    ] = "2m",
    resume: Annotated[
        bool,
        flag("--resume", help="Go on with the run of this name.", panel=EXECUTION),
    ] = False,
    join: Annotated[
        bool,
        flag(
            "--join",
            help="Work on the run of this name together with others that join it, here or on other "
            "machines; the first begins it. Across machines with --storage postgresql://...",
            panel=EXECUTION,
        ),
    ] = False,
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --join: when nothing was heard of this driver for so long, others take its "
            "trials over. Default: 60s.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
    plan: Annotated[
        bool,
        flag("--plan", help="Say what it would take, and stop.", panel=EXECUTION),
    ] = False,
) -> None:
    """Search a space for networks that trade error against cost, and write a report.

    Each trial trains a narrow proxy briefly; cost is counted exactly at the target, before. Ctrl-C
    stops cleanly, and --resume goes on.
    """
    from nas.cli.inputs import check_results
    from nas.cli.search_task import (
        check_precision,
        goes_on,
        new_task,
        recorded_task,
        task_settings,
    )
    from nas.quantities import parse_time
    from nas.records.databases import check_storage

    check_results(results)
    if storage is not None:
        check_storage(storage, "--storage", results / name)
    if resume and join:
        raise ValueError("--join goes on with a run, too: leave out --resume")
    if grace is not None and not join:
        raise ValueError("--grace is for --join: a driver by itself has nobody to wait for")
    if not (resume or join) and (space is None or data is None):
        raise ValueError("a new search needs a SPACE and --data; an old one goes on with --resume")
    if plan and (resume or join):
        other = "--resume" if resume else "--join"
        raise ValueError(f"--plan is for a new search; leave out {other}")
    if halving and no_halving:
        raise ValueError("--halving and --no-halving are opposites; give one of them")
    check_precision(precision)
    seconds = None if time is None else parse_time(time, "--time")
    settings = {
        "name": name,
        "results": results,
        "objectives": None if objectives is None else _words(objectives),
        "budgets": _budgets(
            {"macs": max_macs, "params": max_params, "activation_bytes": max_activation_bytes},
            max_latency,
        ),
        "sampler": sampler,
        "trials": trials,
        "seconds": seconds,
        "device_seconds": None
        if device_seconds is None
        else parse_time(device_seconds, "--device-seconds"),
        "patience": patience,
        "trial_seconds": None if trial_time is None else parse_time(trial_time, "--trial-time"),
        "halving": None if halving == no_halving else halving,
        "workers": workers,
        "concurrency": concurrency,
        "device": device,
        "latency_device": latency_device,
        "seed": seed,
        "seed_with": [_seed_network(item) for item in seed_with or ()],
        "storage": storage,
        "storage_wait_seconds": parse_time(storage_wait, "--storage-wait"),
        "resume": resume,
        "join": join,
        "grace_seconds": None if grace is None else parse_time(grace, "--grace"),
    }
    given = task_settings(
        task,
        image,
        classes,
        recipe,
        resolution=resolution,
        width=width,
        epochs=epochs,
        images=images,
    )
    found = (
        recorded_task(name, results, storage, data, given, precision)
        if resume or (join and goes_on(name, results, storage, space, data))
        else new_task(str(data), given, precision, device, str(task or "task"))
    )
    if plan:
        assert space is not None
        assert found is not None
        _plan(space, found, settings)
        return
    raise typer.Exit(_search(space, found, settings))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _budgets(counted: Mapping[str, str | None], latency: str | None) -> dict[str, float]:
    from nas.quantities import parse_milliseconds, parse_size

    budgets: dict[str, float] = {
        name: parse_size(text, f"--max-{name.replace('_', '-')}")
        for name, text in counted.items()
        if text is not None
    }
    if latency is not None:
        budgets["latency_ms"] = parse_milliseconds(latency, "--max-latency")
    return budgets


def _seed_network(text: str) -> str | Architecture:
    """A preset's name as it is, and the architecture of a file."""
    from nas.cli.inputs import read_architecture
    from nas.presets import PRESETS

    return text if text in PRESETS else read_architecture(text).architecture


def _search(space: str | None, task: Task | None, settings: Mapping[str, Any]) -> int:
    from nas.cli.search_end import finish
    from nas.search.display import create_display
    from nas.search.launch import run_search

    return finish(run_search(space, task, display=create_display(), **settings))


def _plan(space: str, task: Task, settings: Mapping[str, Any]) -> None:
    from nas.cli.search_end import print_plan
    from nas.search.plan import plan_search
    from nas.search.request import SearchRequest

    print_plan(plan_search(space, task, SearchRequest(**settings)))
