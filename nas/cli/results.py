"""``nas runs`` and ``nas report``: the runs there are, and a report to keep or send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Json, Results, add_command

if TYPE_CHECKING:
    from nas.records import RunSummary

HEADERS = ("run", "state", "space", "data", "trials", ">MB", "created")
WIDE = 100
"""Columns of a terminal from which on there is room for the times."""
LONGEST_WHOLE = 24
"""Letters of a run's or data set's name that keep to one line."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    add_command(
        app,
        "runs",
        list_all,
        short="The runs there are, their state and disk use.",
        example="nas runs --delete first",
    )
    add_command(
        app,
        "report",
        write,
        short="Write one offline HTML file about runs.",
        example="nas report first second --out comparison.html",
    )


def list_all(
    delete: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Delete this run and all it left, for good."),
    ] = None,
    results: Results = "results",
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The runs in a database of nas search --storage."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the runs, the newest first: state, trials and disk use.

    Trials that took over an earlier result are reused; open ones wait for --resume.
    """
    from nas.cli.console import print_json, print_table, print_text
    from nas.cli.inputs import check_results
    from nas.records import delete_run, delete_stored_run, list_runs

    check_results(results)
    if delete is not None:
        path = _named(delete, results)
        freed = delete_run(path) if storage is None else delete_stored_run(delete, storage, results)
        print_json({"deleted": delete, "bytes": freed}) if as_json else print_text(
            f"deleted {delete}: {freed / 1e6:,.1f} MB"
        )
        return
    runs = list_runs(results, storage)
    if as_json:
        print_json([_as_data(run) for run in runs])
    elif not runs:
        print_text(f"There are no runs in {storage or results}.")
        print_text("Start one: nas search googlenet_small --data fashion-mnist-mini --name first")
    else:
        from nas.cli.console import stdout

        # The newest is first anyhow: where there is little room, names go before times.
        columns = len(HEADERS) - (stdout().width < WIDE)
        rows = [_row(run)[:columns] for run in runs]
        whole = [
            header
            for header, index in (("run", 0), ("data", 3))
            if max(len(row[index]) for row in rows) <= LONGEST_WHOLE
        ]
        print_table(HEADERS[:columns], rows, unbroken=("state", "created", *whole))
        for run in runs:
            if run.reason:
                print_text(f"{run.name} cannot be read: {run.reason}")


def _named(name: str, results: str) -> Path:
    path = Path(results) / name
    if path.resolve().parent != Path(results).resolve():
        raise ValueError(f"--delete must be a run's name, without a path, not {name!r}")
    return path


def _row(run: RunSummary) -> tuple[str, ...]:
    return (
        run.name,
        run.state,
        run.space,
        run.data,
        _trial_counts(run),
        f"{run.disk_bytes / 1e6:,.1f}",
        run.created[:16].replace("T", " "),
    )


def _trial_counts(run: RunSummary) -> str:
    """The trials by what became of them: trained, taken from an earlier result, and so on."""
    if run.state == "unreadable":
        return ""
    going = "running" if run.state == "running" else "unfinished"
    counts = {
        "trained": run.trials.get("complete", 0) - run.reused,
        "reused": run.reused,
        "stopped": run.trials.get("pruned", 0),
        "failed": run.trials.get("failed", 0),
        going: run.trials.get("running", 0),
    }
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count) or "none"


def _as_data(run: RunSummary) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": str(run.path),
        "state": run.state,
        "space": run.space,
        "data": run.data,
        "sampler": run.sampler,
        "trials": dict(run.trials),
        "reused": run.reused,
        "created": run.created,
        "disk_bytes": run.disk_bytes,
        "reason": run.reason,
    }


def write(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="One run, or several to compare."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Where to write the page; report.html unless figures are asked for.",
        ),
    ] = None,
    figure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="NAME.svg|png",
            help="Write one figure for a paper, named after what it shows: front, fronts, "
            "hypervolume, curves, attainment, indicators, importance, parallel, branches, "
            "survival, reductions. May be given several times.",
        ),
    ] = None,
) -> None:
    """Write a report: front, tables and diagrams in one HTML file that needs no network.

    With --figure, figures alone: front.svg draws the front, and needs no browser either.
    """
    from nas.cli.console import print_text
    from nas.cli.reading import reading_line
    from nas.records import open_run
    from nas.report import figure_name, write_figure, write_report

    for path in figure or ():
        figure_name(path)
    if out is not None and out.suffix.lower() not in (".html", ".htm") and not out.is_dir():
        raise ValueError(f"--out must end in .html, not {str(out)!r}: a report is an HTML file")
    opened = [open_run(run, progress=reading_line()) for run in runs]
    for path in figure or ():
        print_text(f"wrote {write_figure(opened, path)}")
    if out is not None or not figure:
        path = write_report(opened, out or Path("report.html"))
        print_text(f"wrote {path} ({path.stat().st_size / 1e6:,.1f} MB)")
