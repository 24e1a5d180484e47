"""Options that several commands share, and how they look in the help."""

from __future__ import annotations

from collections.abc import Callable
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
    app.command(name, help=text, short_help=short, epilog=f"Example: {example}")(function)


def whole(low: int, *, help: str, metavar: str = "N", panel: str | None = None) -> Any:
    """An option that takes an integer from ``low``; what is wrong is said with its value."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low:
            raise typer.BadParameter(f"must be an integer from {low}, not {text!r}")
        return number

    return typer.Option(parser=parse, metavar=metavar, help=help, rich_help_panel=panel)


def number(*, help: str, metavar: str, panel: str | None = None) -> Any:
    """An option that takes a number."""

    def parse(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise typer.BadParameter(f"must be a number, not {text!r}") from None

    return typer.Option(parser=parse, metavar=metavar, help=help, rich_help_panel=panel)


Json = Annotated[bool, flag("--json", help="JSON for scripts.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")]
Results = Annotated[
    str, typer.Option(metavar="DIR", help="The directory that holds the runs' directories.")
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's name or directory, or a storage URL with #STUDY.",
        show_default=False,
    ),
]
ArchitectureArgument = Annotated[
    str,
    typer.Argument(metavar="PRESET|FILE", help="A preset's name, or an architecture's JSON file."),
]
