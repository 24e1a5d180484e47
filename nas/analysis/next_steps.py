"""What to do with a run next, as commands to copy: the same on the screen and in the report.

Words are quoted where a shell needs it, and passwords of databases are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sqlalchemy import make_url

from nas.analysis.shell import command
from nas.analysis.tables import picks_table
from nas.records import RESULTS, Run, locate
from nas.space import SearchSpace, space_names

MORE_TRIALS = 16


@dataclass(frozen=True)
class Step:
    """A command line, and what it does."""

    purpose: str
    line: str


def run_word(run: Run) -> str:
    """What names the run in a command: its directory, or its storage with the study's name."""
    return f"{_url(run)}#{run.name}" if _has_storage(run) else str(run.path)


def resume_words(run: Run) -> list[str]:
    """The words behind ``nas search`` that go on with the run; all else is recorded."""
    words = ["--name", run.name, "--resume"]
    if run.path.parent != RESULTS:
        words += ["--results", str(run.path.parent)]
    if _has_storage(run):
        words += ["--storage", _url(run)]
    return words


def pick_folder(run: Run, pick: str) -> Path:
    """Where ``nas train`` leaves a pick of the run, unless told otherwise."""
    return run.path / pick.replace(":", "").replace("<=", "-").replace(",", "-")


def next_steps(run: Run) -> list[Step]:
    """What to do with a run as it stands: go on, train and export the knee, or look at failures."""
    trials = run.trials
    has_front = not picks_table(trials, run.settings.objectives).empty
    steps = []
    if run.state == "interrupted":
        steps.append(Step("Go on searching", command("search", *resume_words(run))))
    if has_front:
        return [*steps, *pick_steps(run, "knee")]
    failed = trials.loc[trials["state"] == "failed", "number"]
    if len(failed):
        steps.append(Step("Look at the first trial that failed", show_line(run, failed.iloc[0])))
    if run.state == "finished":
        steps += _empty_end_steps(run)
    return steps


def pick_steps(run: Run, pick: str) -> list[Step]:
    """Training a pick fully, and exporting what comes of it."""
    folder = pick_folder(run, pick)
    return [
        Step(
            "Train it fully, at full width, and measure it on the test split",
            command("train", run_word(run), "--pick", pick, "--out", folder),
        ),
        Step(
            "Export the trained network: source, weights and description",
            command("export", folder, "--out", folder / "export"),
        ),
    ]


def show_line(run: Run, number: int) -> str:
    """The command that shows one trial in full."""
    return command("show", run_word(run), "--trial", number)


def num_trained(trials: pd.DataFrame) -> int:
    """Trials that count for ``--trials``: those that trained, to their end or until stopped."""
    is_trained = trials["state"].isin(["complete", "pruned"]) & ~trials["reused"].astype(bool)
    return int(is_trained.sum())


def _empty_end_steps(run: Run) -> list[Step]:
    """For a search that came to its end and has no front."""
    name = _shipped_name(run)
    if run.trials.empty or (run.ended is not None and run.ended.kind == "proposals"):
        # Where all that was proposed is rejected, more trials find no more.
        why = "See what the space costs, then search it under a new name with wider budgets"
        return [] if name is None else [Step(why, command("spaces", name))]
    # A search that came to its end goes on only if its limit is raised.
    more = ["--trials", str(num_trained(run.trials) + MORE_TRIALS)]
    if run.ended is not None and run.ended.kind == "time":
        more = ["--time", f"{2 * math.ceil(run.elapsed_seconds)}s"]
    return [Step("Go on searching", command("search", *resume_words(run), *more))]


def _shipped_name(run: Run) -> str | None:
    """The space's name where it is a shipped one; one's own file is not known by its name."""
    space = SearchSpace.from_json(run.settings.space)
    if space.name not in space_names():
        return None
    return space.name if SearchSpace.load(space.name).fingerprint == space.fingerprint else None


def _has_storage(run: Run) -> bool:
    return run.url != locate(run.name, run.path.parent).url


def _url(run: Run) -> str:
    return make_url(run.url).render_as_string(hide_password=True)
