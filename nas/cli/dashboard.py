"""``nas dashboard``: runs in a browser, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import Results, add_command, flag, whole

if TYPE_CHECKING:
    from nas.dashboard import Source


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "dashboard",
        dashboard,
        short="Look at runs in a browser, live.",
        example="nas dashboard first second --port 8051",
    )


def dashboard(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs by their names in ./results, their directories, or storage URLs with "
            "#STUDY. Default: all runs in the results directory, and those still to come.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, whole(1, 65_535, metavar="PORT", help="Where to listen.")] = 8050,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Who may look: 127.0.0.1 is this machine alone; any other address, such as "
            "0.0.0.0, asks for the token that is printed once.",
        ),
    ] = "127.0.0.1",
    no_open: Annotated[bool, flag("--no-open", help="Leave the browser closed.")] = False,
    results: Results = "results",
) -> None:
    """Serve the workbench until Ctrl-C: the front, its networks, progress, choices, comparison.

    It only reads, while a search goes on or after it, but for exports that the page is asked for:
    they go into the run's own directory.
    """
    from nas.cli.console import print_text
    from nas.dashboard import serve
    from nas.dashboard.security import Access, is_loopback

    source = _source(runs or [], results)

    def ready(address: str) -> None:
        count = len(source.names)
        print_text(f"{count} run{'' if count == 1 else 's'} at", bold=True)
        print(f"  {address}", flush=True)
        print_text("Ctrl-C ends it.")
        if not no_open and is_loopback(host):
            _open(address)

    serve(source, Access.of(host, port), ready)
    print_text("ended")


def _source(runs: list[str], results: str) -> Source:
    from nas.cli.inputs import check_results
    from nas.dashboard import Source
    from nas.records import open_run, run_names

    if runs:
        return Source([open_run(run) for run in runs])
    check_results(results)
    found, problems = [], []
    for name in run_names(results):
        try:
            found.append(open_run(f"{results}/{name}"))
        except (ValueError, OSError) as error:
            problems.append(f"{name}: {error}")
    if not found:
        why = f"none of the runs in {results} can be read ({problems[0]})" if problems else ""
        raise ValueError(
            f"{why or f'there are no runs in {results}'}; start one, and look at it while it runs: "
            f"nas search googlenet_small --data fashion-mnist-mini --name first"
        )
    # The newest first: it is the one that is open when the page is.
    found.sort(key=lambda run: run.settings.created, reverse=True)
    return Source(found, results=results)


def _open(address: str) -> None:
    """Open a browser where there is a screen; the address is printed in any case."""
    import os
    import sys
    import webbrowser

    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return
    webbrowser.open(address)
