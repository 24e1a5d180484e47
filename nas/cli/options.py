"""Options that several commands share, and how they look in the help."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def flag(*names: str, help: str, panel: str | None = None) -> Any:
    """A switch, without a type beside it in the help."""
    return typer.Option(*names, help=help, metavar="", show_default=False, rich_help_panel=panel)


Json = Annotated[bool, flag("--json", help="JSON for scripts.")]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda, or one GPU such as cuda:0.")
]
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
