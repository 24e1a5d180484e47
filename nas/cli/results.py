"""``nas runs`` and ``nas report``: the runs there are, and a report to keep or send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Json, Results, add_command

if TYPE_CHECKING:
    from nas.records import RunSummary


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
    as_json: Json = False,
) -> None:
    """List the runs, the newest first: state, trials and disk use."""
    from nas.cli.console import print_json, print_table, print_text
    from nas.cli.inputs import check_results
    from nas.records import delete_run, list_runs

    check_results(results)
    if delete is not None:
        freed = delete_run(_named(delete, results))
        print_json({"deleted": delete, "bytes": freed}) if as_json else print_text(
            f"deleted {delete}: {freed / 1e6:,.1f} MB"
        )
        return
    runs = list_runs(results)
    if as_json:
        print_json([_as_data(run) for run in runs])
    elif not runs:
        print_text(f"There are no runs in {results}.")
        print_text("Start one: nas search googlenet_small --data fashion-mnist-mini --name first")
    else:
        headers = ("run", "state", "space", "data", ">done", ">other", ">disk (MB)", "created")
        print_table(headers, [_row(run) for run in runs], unbroken=("state", "created"))
        for run in runs:
            if run.reason:
                print_text(f"{run.name} cannot be read: {run.reason}")


def _named(name: str, results: str) -> Path:
    path = Path(results) / name
    if path.resolve().parent != Path(results).resolve():
        raise ValueError(f"--delete must be a run's name, without a path, not {name!r}")
    return path


def _row(run: RunSummary) -> tuple[str, ...]:
    complete = run.trials.get("complete", 0)
    return (
        run.name,
        run.state,
        run.space,
        run.data,
        str(complete),
        str(sum(run.trials.values()) - complete),
        f"{run.disk_bytes / 1e6:,.1f}",
        run.created[:16].replace("T", " "),
    )


def _as_data(run: RunSummary) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": str(run.path),
        "state": run.state,
        "space": run.space,
        "data": run.data,
        "sampler": run.sampler,
        "trials": dict(run.trials),
        "created": run.created,
        "disk_bytes": run.disk_bytes,
        "reason": run.reason,
    }


def write(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="One run, or several to compare."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Where to write it.")] = Path(
        "report.html"
    ),
) -> None:
    """Write a report: front, tables and diagrams in one HTML file that needs no network."""
    from nas.cli.console import print_text
    from nas.records import open_run
    from nas.report import write_report

    if out.suffix.lower() not in (".html", ".htm") and not out.is_dir():
        raise ValueError(f"--out must end in .html, not {str(out)!r}: a report is an HTML file")
    path = write_report([open_run(run) for run in runs], out)
    print_text(f"wrote {path} ({path.stat().st_size / 1e6:,.1f} MB)")
