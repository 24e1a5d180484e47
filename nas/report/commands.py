"""The commands that a reader goes on with, as lines to copy into a shell."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import make_url

from nas.records import Run
from nas.task import Task

MORE_TRIALS = 16


@dataclass(frozen=True)
class Command:
    """A command line, and what it does."""

    purpose: str
    line: str


def next_commands(run: Run, task: Task, front: pd.DataFrame) -> list[Command]:
    """What to do with a run as it stands: train and export the knee, or find a front first."""
    trials, space = run.trials, str(json.loads(run.settings.space).get("name", ""))
    if trials.empty and run.state == "finished":
        why = "See what the space costs, then search it under a new name with wider budgets"
        return [Command(why, _line("spaces", space))]
    commands = [] if front.empty else pick_commands(run, task, "knee")
    failed = trials.loc[trials["state"] == "failed", "number"]
    if front.empty and len(failed):
        look = show_line(run, failed.iloc[0])
        commands.append(Command("Look at the first trial that failed", look))
    if front.empty or run.state == "interrupted":
        words = ["--data", task.data, "--name", run.name, "--resume"]
        # A search that came to its end goes on only if it is given more trials.
        more = [] if run.state == "interrupted" else ["--trials", len(trials) + MORE_TRIALS]
        commands.append(Command("Go on searching", _line("search", space, *words, *more)))
    return commands


def pick_commands(run: Run, task: Task, pick: str) -> list[Command]:
    """Training a pick fully, and exporting what comes of it."""
    trained = f"{run.path}/{pick.replace(':', '')}"
    words = ["train", _reference(run), "--pick", pick, "--data", task.data, "--out", trained]
    return [
        Command("Train it fully, at full width, and measure it on the test split", _line(*words)),
        Command(
            "Export the trained network: source, weights and description",
            _line("export", trained, "--out", f"{trained}-export"),
        ),
    ]


def show_line(run: Run, number: int) -> str:
    """The command that shows one trial in full."""
    return _line("show", _reference(run), "--trial", number)


def _reference(run: Run) -> str:
    """What the command line knows the run by: its directory, or its storage without password."""
    url = make_url(run.url)
    if url.get_backend_name() == "sqlite" and str(url.database) == str(run.path / "study.db"):
        return str(run.path)
    return f"{url.render_as_string(hide_password=True)}#{run.name}"


def _line(*words: object) -> str:
    return shlex.join(["nas", *map(str, words)])
