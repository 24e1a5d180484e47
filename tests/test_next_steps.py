"""The commands to go on with: one list for screen and report, and each of them understood."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from command_line import make_run as make_small_run
from command_line import nas
from synthetic_runs import make_run, trials_frame

from nas.analysis.next_steps import next_steps, num_trained, pick_folder, resume_words
from nas.analysis.shell import command
from nas.records import Ended, Outcome, Run
from nas.report import write_report
from nas.space import SearchSpace


def lines(run: Run) -> list[str]:
    return [step.line for step in next_steps(run)]


def failing(number: int, error: float, curve: Any) -> Outcome:
    return Outcome("failed", reason="the loss is NaN")


def ended(run: Run, kind: str) -> Run:
    """The run as a search leaves it that ended so; ``ended`` is read once and kept."""
    run.__dict__["ended"] = Ended(kind, "it ended", 90.0)
    return run


def test_the_screen_and_the_report_say_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path, "same", trials=9)
    page = write_report([run], run.path / "report.html").read_text()
    shown = nas("show", run.path, "--json").data["next"]
    assert [line.split()[1] for line in shown] == ["train", "export"]
    assert shown == lines(run)
    for line in shown:
        assert f'data-copy="{line}"' in page


def test_the_export_finds_what_the_training_leaves(tmp_path: Path) -> None:
    run = make_run(tmp_path, "paths", trials=9)
    train, export = (shlex.split(line) for line in lines(run))
    assert train[-1] == export[2] == str(run.path / "knee")
    assert export[-1] == str(run.path / "knee" / "export")
    assert pick_folder(run, "trial:3") == run.path / "trial3"
    assert pick_folder(run, "macs<=5M,params<=1M") == run.path / "macs-5M-params-1M"


def test_what_is_reused_or_failed_is_no_trial_to_go_on_from(tmp_path: Path) -> None:
    rows = trials_frame(
        [
            ("complete", 0.3, 10),
            ("complete", 0.3, 10, {"reused": True}),
            ("failed", None, 10),
            ("pruned", None, 10),
            ("running", None, 10),
        ]
    )
    assert num_trained(rows) == 2
    run = make_run(tmp_path, "failed", trials=3, outcome=failing)
    assert lines(run) == [
        command("show", run.path, "--trial", 0),
        command("search", "--name", "failed", "--resume", "--results", tmp_path, "--trials", 16),
    ]


def test_a_search_goes_on_by_what_ended_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, "short", trials=3, outcome=failing)
    longer = next(line for line in lines(ended(run, "time")) if line.startswith("nas search"))
    assert longer.endswith(f"--time {2 * round(run.elapsed_seconds)}s")
    assert "--trials" not in longer
    interrupted = lines(ended(run, "interrupted"))
    assert interrupted[0] == command("search", *resume_words(run))
    assert not [line for line in interrupted if "--trials" in line]


@pytest.mark.parametrize("is_shipped", [True, False])
def test_only_a_shipped_space_is_named(tmp_path: Path, is_shipped: bool) -> None:
    text = SearchSpace.load("tiny").to_json()
    if not is_shipped:
        text = text.replace("32", "40", 1)
        assert SearchSpace.from_json(text).name == "tiny"
    run = make_run(tmp_path, "none", trials=0, **{"space": "tiny"})
    object.__setattr__(run.settings, "space", text)
    assert lines(run) == (["nas spaces tiny"] if is_shipped else [])


def test_the_resume_command_is_understood(tmp_path: Path) -> None:
    run = make_small_run(tmp_path / "some where", trials=2)
    _, *words = shlex.split(command("search", *resume_words(run), "--trials", 3))
    result = nas(*words)
    # Everything was found in the record; this run's own function cannot be.
    assert (result.code, "function" in result.err) == (2, True)
