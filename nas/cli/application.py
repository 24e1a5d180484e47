"""The Typer application: one command a word, in the order in which they are used."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import flag


def _print_version(wanted: bool) -> None:
    if wanted:
        from nas import __version__

        typer.echo(f"nas {__version__}")
        raise typer.Exit


def _describe(
    debug: Annotated[
        bool, flag("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version.",
            metavar="",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Neural architecture search over Inception cells.

    Search a space, look at the front, train the network you pick, export it.
    """


def create_app() -> typer.Typer:
    """The application with all its commands; building it imports nothing heavy."""
    from nas.cli import (
        confirm,
        cost,
        dashboard,
        doctor,
        export,
        results,
        search,
        show,
        spaces,
        train,
    )

    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(
        epilog="Start with: nas search googlenet_small --data fashion-mnist-mini --name first"
    )(_describe)
    for module in (
        spaces,
        search,
        show,
        results,
        dashboard,
        confirm,
        train,
        export,
        cost,
        doctor,
    ):
        module.register(app)
    return app
