"""``nas show``: what a run found, what it cost, and what to do next.

Left out: one trial (:mod:`nas.cli.show_trial`), rejections (:mod:`nas.cli.show_rejections`), a
confirmation (:mod:`nas.cli.show_confirmation`).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Json, RunArgument, add_command, flag, whole
from nas.cli.standing import state_word

if TYPE_CHECKING:
    import pandas as pd

    from nas.records import Run

REPORT = "report.html"
"""What ``nas search`` calls the report in the run's directory."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "show",
        show,
        short="What a run found: front, picks, spend, what next.",
        example="nas show first --trial 12",
    )


def show(
    run: RunArgument,
    trial: Annotated[
        int | None,
        whole(0, help="Show this trial instead: what it is, and why it stands where it does."),
    ] = None,
    rejections: Annotated[
        bool,
        flag(
            "--rejections",
            help="Show the last 100 rejected proposals instead; with --trial, those in its place.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a run's front, picks, spend and rejections, and the commands to go on with."""
    from nas.cli.console import print_json
    from nas.cli.reading import reading_line
    from nas.cli.show_confirmation import confirmation_of
    from nas.cli.show_rejections import print_rejections, rejections_data
    from nas.cli.show_trial import print_trial
    from nas.cli.trial_data import check_trial, trial_data
    from nas.records import open_run

    opened = open_run(run, progress=reading_line())
    if rejections:
        found = rejections_data(opened, trial)
        print_json(found) if as_json else print_rejections(found, trial)
    elif trial is not None:
        check_trial(opened, trial)
        data = trial_data(opened, trial)
        print_json(data) if as_json else print_trial(data)
    elif as_json:
        confirmed = {"confirmation": confirmation_of(opened)}
        print_json({**run_data(opened), **confirmed, "next": next_commands(opened)})
    else:
        print_run(opened)


# ------------------------------------------------------------------------------------- the run


def run_data(run: Run) -> dict[str, Any]:
    """What is shown of a run, as plain data with stable keys."""
    from nas.analysis.tables import (
        front_table,
        hypervolume_table,
        picks_table,
        progress_table,
        spend_table,
    )

    settings, trials = run.settings, run.trials
    front = front_table(trials, settings.objectives)
    history = hypervolume_table(trials, settings.objectives, settings.reference)
    picks = picks_table(trials, settings.objectives)
    task = json.loads(settings.task)
    return {
        "name": run.name,
        "state": run.state,
        "ended": run.ended.message if run.ended else None,
        "space": json.loads(settings.space).get("name", ""),
        "data": task["data"],
        "target": task["target"],
        "objectives": list(settings.objectives),
        "budgets": settings.budgets,
        "latency": latency_data(run),
        "sampler": settings.sampler,
        "halving": settings.halving,
        "seed": settings.seed,
        "device": settings.device,
        "created": settings.created,
        "trials": {str(state): int(n) for state, n in trials["state"].value_counts().items()},
        "hypervolume": float(history["hypervolume"].iloc[-1]) if len(history) else 0.0,
        "reference": list(settings.reference),
        "front": _records(front),
        "picks": {str(row["pick"]): int(row["number"]) for row in _records(picks)},
        "spend": _records(spend_table(trials)),
        "given_up_seconds": run.given_up_seconds,
        "progress": _records(progress_table(history, run.given_up_seconds)),
        "rejections": dict(run.rejections.counts),
    }


def latency_data(run: Run) -> dict[str, Any] | None:
    """Where the run's latencies hold, and how good they are; None where it has none."""
    from nas.latency import LatencyTable
    from nas.latency.finding import table_data

    if run.latency is None:
        return None
    return table_data(LatencyTable.from_data(run.latency, f"run {run.name!r}"))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def print_run(run: Run) -> None:
    """The run on the screen, ending with commands to copy."""
    from nas.analysis.next_steps import run_word
    from nas.analysis.shell import command
    from nas.cli.console import print_commands, print_facts, print_text
    from nas.cli.show_confirmation import confirmation_of, print_confirmation
    from nas.cli.show_rejections import print_counts

    data = run_data(run)
    print_facts(_facts(data))
    print_text()
    print_front(data)
    confirmed = confirmation_of(run)
    if confirmed is not None:
        print_text()
        print_confirmation(confirmed)
    print_text()
    _print_spend(data)
    if data["rejections"]:
        print_text()
        whole = command("show", run_word(run), "--rejections")
        print_counts(data["rejections"], data["budgets"], len(run.rejections.last), whole)
    print_commands("Next", next_commands(run))


def _facts(data: dict[str, Any]) -> dict[str, str]:
    trials = ", ".join(
        f"{count} {state_word(state, data['state'])}" for state, count in data["trials"].items()
    )
    ended = f": {data['ended']}" if data["ended"] else ""
    return {
        "run": f"{data['name']} ({data['state']}{ended})",
        "space": data["space"],
        "data": data["data"],
        "objectives": ", ".join(data["objectives"]),
        **_latency_fact(data["latency"]),
        "sampler": f"{data['sampler']}, seed {data['seed']}, "
        f"{'stops trials early' if data['halving'] else 'every trial trains to its end'}",
        "trials": trials or "none",
        "hypervolume": f"{data['hypervolume']:.4f} (decades of cost; reference {_reference(data)})",
    }


def _latency_fact(table: dict[str, Any] | None) -> dict[str, str]:
    if table is None:
        return {}
    error = table["error"]
    return {
        "latency": f"predicted for {table['on']}; off by {100 * error['median']:.1f} % in the "
        f"median of {error['n']} networks that were measured"
    }


def _reference(data: dict[str, Any]) -> str:
    """The hypervolume's reference point in the units of the tables."""
    from nas.cost import describe_cost

    return ", ".join(
        f"error {100 * value:.3g} %" if name == "error" else describe_cost(name, value)
        for name, value in zip(data["objectives"], data["reference"], strict=True)
    )


def print_front(data: dict[str, Any]) -> None:
    """The front, the cheapest first, with the picks named."""
    from nas.cli.console import print_table, print_text

    if not data["front"]:
        print_text("There is no front yet: no trial is complete.")
        return
    names: dict[int, list[str]] = {}
    for pick, number in data["picks"].items():
        names.setdefault(number, []).append(pick)
    has_latency = any(not math.isnan(row["latency_ms"]) for row in data["front"])
    # A terminal has room for one of the two.
    last = ">latency (ms)" if has_latency else ">memory (KiB)"
    costs = (">MACs (M)", ">params (K)", last)
    print_table(
        (">trial", ">error (%)", *costs, "pick", "origin"),
        [
            (
                str(row["number"]),
                f"{100 * row['error']:.2f}",
                f"{row['macs'] / 1e6:,.2f}",
                f"{row['params'] / 1e3:,.1f}",
                f"{row['latency_ms']:.3g}"
                if has_latency
                else f"{row['activation_bytes'] / 1024:,.0f}",
                ", ".join(names.get(row["number"], [])),
                row["origin"],
            )
            for row in data["front"]
        ],
        title=f"Front: {len(data['front'])} trials that no other beats"
        if len(data["front"]) > 1
        else "Front: one trial that no other beats",
    )
    for tie in _ties(data["front"]):
        print_text(tie)


def _ties(front: list[dict[str, Any]]) -> list[str]:
    """A line for each group of trials that have the same error and costs."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row in front:
        same = tuple(row[name] for name in ("error", "macs", "params", "activation_bytes"))
        groups.setdefault(same, []).append(row["number"])
    return [
        f"{len(others)} {'trial ties' if len(others) == 1 else 'trials tie'} with trial {first} "
        f"in all columns: {', '.join(map(str, others))}"
        for first, *others in groups.values()
        if others
    ]


def _print_spend(data: dict[str, Any]) -> None:
    from nas.cli.console import print_table, print_text
    from nas.quantities import format_seconds

    print_table(
        ("trials", ">number", ">from cache", ">epochs", ">device time", ">share (%)"),
        [
            (
                state_word(row["state"], data["state"]),
                str(row["trials"]),
                str(row["reused"]),
                f"{row['epochs']:,}",
                format_seconds(row["train_seconds"]),
                f"{100 * row['share']:.1f}",
            )
            for row in data["spend"]
            if row["trials"] or row["state"] == "total"
        ],
        title="Spend",
    )
    if data["given_up_seconds"]:
        given_up = format_seconds(data["given_up_seconds"])
        print_text(f"and {given_up} on trials that had to begin again")
    if len(data["progress"]) > 1:
        print_text()
        print_table(
            (">device time", ">share (%)", ">trials", ">hypervolume", ">of the last (%)"),
            [
                (
                    format_seconds(row["device_seconds"]),
                    f"{100 * row['share']:.0f}",
                    f"{row['trials']:,}",
                    f"{row['hypervolume']:.4f}",
                    f"{100 * row['hypervolume_share']:.1f}",
                )
                for row in data["progress"]
            ],
            title="Progress",
        )


def next_commands(run: Run) -> list[str]:
    """The commands that go on from here, to be copied as they are."""
    from nas.analysis.next_steps import next_steps, run_word
    from nas.analysis.shell import command
    from nas.analysis.tables import picks_table

    commands = [step.line for step in next_steps(run)]
    has_front = not picks_table(run.trials, run.settings.objectives).empty
    if has_front and not (run.path / REPORT).is_file():
        commands.insert(0, command("report", run_word(run), "--out", run.path / REPORT))
    return commands
