"""``nas confirm``: a run's finalists retrained at full budget, with several seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import (
    EXECUTION,
    Concurrency,
    ExecutionDevice,
    Json,
    RunArgument,
    Workers,
    add_command,
    flag,
    whole,
)

if TYPE_CHECKING:
    from nas.confirm import ConfirmPlan
    from nas.confirm.progress import ConfirmProgress
    from nas.task import Recipe

WHICH, BUDGET = "Networks", "Training"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "confirm",
        confirm,
        short="Retrain a run's finalists fully, with seeds.",
        example="nas confirm first --top 5 --seeds 3 --epochs 20",
    )


def confirm(  # noqa: PLR0913 - one parameter an option
    run: RunArgument,
    *,
    top: Annotated[
        int | None,
        whole(
            1,
            1_000,
            help="Trials of the front: knee, best and cheapest first. Default: 5.",
            panel=WHICH,
        ),
    ] = None,
    controls: Annotated[
        int | None,
        whole(0, 1_000, help="Dominated trials, near the front. Default: 3.", panel=WHICH),
    ] = None,
    landmarks: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Of googlenet-narrow (at the cost of the largest), random:N (of the space), any "
            "preset, or none. Default: googlenet-narrow,random:2.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        whole(1, 1_000, help="Trainings of each; others with --resume. Default: 3.", panel=BUDGET),
    ] = None,
    epochs: Annotated[
        int | None, whole(1, 10_000, help="Of each training. Default: 10.", panel=BUDGET)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Default: the run's own, all of it.", rich_help_panel=BUDGET
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="The same for all. Default: the run's own.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    device: ExecutionDevice = "auto",
    workers: Workers = None,
    concurrency: Concurrency = None,
    resume: Annotated[
        bool, flag("--resume", help="Go on after an interruption.", panel=EXECUTION)
    ] = False,
    overwrite: Annotated[
        bool, flag("--overwrite", help="Delete an earlier confirmation.", panel=EXECUTION)
    ] = False,
    plan: Annotated[
        bool, flag("--plan", help="Say what it would take, and stop.", panel=EXECUTION)
    ] = False,
    as_json: Json = False,
) -> None:
    """Retrain a run's finalists at full width and budget, and say which of them hold.

    All are judged on the validation images; the test split is measured once, at the end, and
    enters no choice. Ctrl-C stops cleanly, and --resume goes on to the same numbers.

    Weights are left in RUN/confirm, a directory a training, for nas export.
    """
    from nas.confirm import ConfirmRequest, confirm_run
    from nas.records import open_run

    request = ConfirmRequest(
        top=top,
        seeds=seeds,
        controls=controls,
        landmarks=_words(landmarks),
        epochs=epochs,
        data=data,
        recipe=_find_recipe(recipe),
        device=device,
        workers=workers,
        concurrency=concurrency,
        resume=resume,
        overwrite=overwrite,
    )
    opened = open_run(run)
    if plan:
        _plan(opened, request, as_json=as_json)
        return
    confirmation = confirm_run(opened, request, display=_Lines())
    code = _show(confirmation, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _words(landmarks: str | None) -> tuple[str, ...] | None:
    if landmarks is None:
        return None
    words = tuple(word.strip() for word in landmarks.split(",") if word.strip())
    return () if words == ("none",) else words


def _find_recipe(recipe: str | None) -> Recipe | None:
    from nas.cli.inputs import find_recipe

    return None if recipe is None else find_recipe(recipe)


def _show(confirmation: Any, *, as_json: bool) -> int:
    """What came of it; the exit code: 0, 1 where trainings failed, 130 when interrupted."""
    from nas.cli.console import print_json, print_text
    from nas.cli.show_confirmation import confirmation_data, print_confirmation

    data = confirmation_data(confirmation)
    if as_json:
        print_json(data)
    else:
        print_text()
        print_confirmation(data, with_next=True)
    ended = confirmation.study.ended
    if ended is not None and ended.kind == "failures":
        return 1
    return 130 if confirmation.study.state == "interrupted" else 0


# ------------------------------------------------------------------------------------- the plan


def _plan(run: Any, request: Any, *, as_json: bool) -> None:
    from nas.cli.console import note, print_json
    from nas.confirm import plan_confirmation

    plan = plan_confirmation(
        run,
        request,
        on_network=lambda place, count: note(f"measuring network {place + 1} of {count}"),
    )
    if as_json:
        print_json(_plan_data(plan))
    else:
        _print_plan(plan)


def _plan_data(plan: ConfirmPlan) -> dict[str, Any]:
    fields = {name: value for name, value in vars(plan).items() if name != "networks"}
    networks = [
        {
            "name": item.finalist.name,
            "role": item.finalist.role,
            "picks": list(item.finalist.picks),
            "costs": item.finalist.costs,
            "training_seconds": item.seconds,
        }
        for item in plan.networks
    ]
    return {**fields, "networks": networks}


def _print_plan(plan: ConfirmPlan) -> None:
    from nas.cli.console import print_facts, print_table, print_text
    from nas.cli.show_confirmation import network_words
    from nas.quantities import format_number_of, format_seconds

    rows = [
        (
            network_words(item.finalist.name),
            ", ".join(item.finalist.picks) or item.finalist.role,
            f"{item.finalist.costs['macs'] / 1e6:,.2f}",
            format_seconds(item.seconds),
        )
        for item in plan.networks
    ]
    print_table(("network", "as", ">MACs (M)", ">a training"), rows)
    print_text()
    done = f", {plan.trainings_done} of them done" if plan.trainings_done else ""
    print_facts(
        {
            "trainings": f"{plan.trainings}: {format_number_of(len(plan.networks), 'network')}, "
            f"{format_number_of(plan.seeds, 'seed')}{done}",
            "each": f"{format_number_of(plan.epochs, 'epoch')} of {plan.images:,} images of "
            f"{plan.data}, recipe {plan.recipe}, {plan.precision}; judged on "
            f"{plan.validation_images:,} others",
            "device": f"{plan.device}, {format_number_of(plan.workers, 'worker')}",
            "time": f"about {format_seconds(plan.seconds)}",
        }
    )


# ------------------------------------------------------------------------------------- progress


class _Lines:
    """The confirmation as it goes: a line in place on a terminal, one in 15 seconds elsewhere."""

    def __init__(self, every: float = 15.0) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._status = self._console.status("starting")
        self._every, self._shown = every, 0.0
        if self._console.is_terminal:
            self._status.start()

    def update(self, progress: ConfirmProgress) -> None:
        """Show how far it is."""
        if self._console.is_terminal:
            self._status.update(_line(progress))
        elif progress.seconds - self._shown >= self._every:
            self._shown = progress.seconds
            self._console.print(_line(progress), soft_wrap=True, markup=False)

    def note(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, soft_wrap=True, markup=False)

    def close(self) -> None:
        """Give the terminal back."""
        self._status.stop()


MOST_NAMED = 3


def _line(progress: ConfirmProgress) -> str:
    from nas.quantities import format_seconds

    what = "trainings" if progress.phase == "training" else "networks on the test split"
    parts = [f"{progress.done}/{progress.total} {what}"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    running = [
        f"{item.name} seed {item.seed} {item.epoch}/{item.epochs}"
        for item in progress.running[:MOST_NAMED]
    ]
    if progress.phase == "training" and running:
        more = len(progress.running) - len(running)
        parts.append(", ".join(running) + (f" and {more} more" if more else ""))
    clock = format_seconds(progress.seconds)
    if progress.left_seconds is not None:
        clock += f", about {format_seconds(progress.left_seconds)} left"
    return " | ".join([*parts, clock])
