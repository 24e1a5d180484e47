"""Options that several commands share, and how they look in the help."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from typing import Annotated, Any

import typer


def flag(*names: str, help: str, panel: str | None = None) -> Any:
    """A switch, without a type beside it in the help."""
    return typer.Option(*names, help=help, metavar="", show_default=False, rich_help_panel=panel)


def add_command(
    app: typer.Typer, name: str, function: Callable[..., None], *, short: str, example: str
) -> None:
    """Register a command; its docstring is the help, with the lines of a paragraph joined."""
    paragraphs = cleandoc(function.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(name, help=text, short_help=short, epilog=f"Example: {example}")(
        _interruptible(function)
    )


def _interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """The command, which says that it was stopped: Typer would end it without a word."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            raise typer.Exit(130) from None

    return run


def whole(
    low: int,
    high: int | None = None,
    *,
    help: str,
    metavar: str = "N",
    panel: str | None = None,
) -> Any:
    """An option for an integer from ``low`` (to ``high``); what is wrong is said with its value."""
    rule = f"an integer from {low}" + ("" if high is None else f" to {high:,}")

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number > high):
            raise typer.BadParameter(f"must be {rule}, not {text!r}")
        return number

    return typer.Option(parser=parse, metavar=metavar, help=help, rich_help_panel=panel)


def number(over: float, high: float, *, help: str, metavar: str, panel: str | None = None) -> Any:
    """An option that takes a number over ``over`` and at most ``high``."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = over
        if not over < number <= high:
            raise typer.BadParameter(f"must be over {over} and at most {high}, not {text!r}")
        return number

    return typer.Option(parser=parse, metavar=metavar, help=help, rich_help_panel=panel)


Json = Annotated[bool, flag("--json", help="JSON for scripts.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")]
EXECUTION = "Execution"
"""The panel of what decides where and how trials and trainings run, not what comes of them."""

ExecutionDevice = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=EXECUTION)
]
Workers = Annotated[
    int | None, whole(1, 1_024, help="Default: one a core, or one a GPU.", panel=EXECUTION)
]
Concurrency = Annotated[
    int | None,
    whole(
        1,
        1_024,
        help="So many at once on each GPU. Default: chosen by measurement.",
        panel=EXECUTION,
    ),
]
Results = Annotated[
    str, typer.Option(metavar="DIR", help="The directory that holds the runs' directories.")
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's name in ./results, its directory, or a storage URL with #STUDY.",
        show_default=False,
    ),
]
