"""What a search shows: at 80 columns, on a terminal and in a file."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console
from small_search import trained
from test_search import TINY, search, task

from nas.search.display import (
    LiveDisplay,
    PlainDisplay,
    Progress,
    RunningTrial,
    create_display,
    picture,
    summary,
)
from nas.search.executor import ScriptedExecutor
from nas.search.launch import run_search


def progress(**changes: object) -> Progress:
    settings: dict[str, object] = {
        "name": "a-run-with-quite-a-long-name",
        "done": 1234,
        "trials": 10_000,
        "failed": 3,
        "reused": 21,
        "running": tuple(RunningTrial(n, 2, 16, 0.123, 1_450_000_000) for n in range(12)),
        "rejected": {"macs": 120_034, "repeat": 40, "does not fit": 3},
        "front": 14,
        "hypervolume": 1.2345,
        "best_error": 0.0812,
        "seconds": 3725.0,
        "limit_seconds": 36_000.0,
        "left_seconds": 32_000.0,
    }
    return Progress(**{**settings, **changes})  # type: ignore[arg-type]


def drawn(shown: object, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(shown)
    return file.getvalue()


def test_everything_is_on_80_columns() -> None:
    text = drawn(picture(progress()))
    for part in (
        "1234/10000 trials",
        "front 14",
        "best error 8.1%",
        "hypervolume 1.23",
        "failed 3",
        "reused 21",
        "rejected: 3 does not fit, 120034 macs, 40 repeat",
        "trial 0",
        "epoch 2/16",
        "error 12.3%",
        "1.45G MACs",
        "and 4 more",
        "1h 02m of 10h 00m",
        "8h 53m left",
    ):
        assert part in text, text
    assert max(map(len, text.splitlines())) <= 80


def test_the_first_moment_can_be_shown() -> None:
    nothing = progress(
        done=0,
        trials=None,
        running=(),
        rejected={},
        front=0,
        hypervolume=0.0,
        best_error=math.nan,
        seconds=0.0,
        limit_seconds=None,
        left_seconds=None,
    )
    assert "best error -" in drawn(picture(nothing))
    assert summary(nothing).startswith("0 trials | 0 running | ")


def test_how_many_run_of_how_many() -> None:
    assert "| 12 of 16 running |" in summary(progress(capacity=16))
    assert "| 12 running |" in summary(progress(capacity=12))
    assert "12 of 16 running | rejected: " in drawn(picture(progress(capacity=16)))


def test_more_trials_than_asked_are_no_share() -> None:
    assert summary(progress(done=64, trials=2)).startswith("64 trials, 2 asked | ")


def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    file = io.StringIO()
    display = create_display(Console(file=file, width=80))
    assert isinstance(display, PlainDisplay)
    search(tmp_path, trials=3, display=display)
    lines = file.getvalue().splitlines()
    assert len(lines) == 4, lines
    assert lines[0].startswith("trial 0 complete: error ")
    assert lines[-1] == "3 trials trained, as asked"
    assert "\x1b" not in file.getvalue()


def test_plain_progress_now_and_then() -> None:
    file = io.StringIO()
    display = PlainDisplay(Console(file=file, width=80), every=10)
    for seconds in (1.0, 11.0, 12.0, 20.0, 22.0):
        display.update(progress(seconds=seconds))
    assert len(file.getvalue().splitlines()) == 2


def test_a_terminal_gets_a_picture(tmp_path: Path) -> None:
    file = io.StringIO()
    display = create_display(Console(file=file, width=80, force_terminal=True))
    assert isinstance(display, LiveDisplay)
    executor = ScriptedExecutor(trained)
    run_search(
        TINY, task(), name="r", results=tmp_path, trials=3, executor=executor, display=display
    )
    text = file.getvalue()
    assert "\x1b" in text
    assert "3/3 trials" in text
    assert "trial 2 complete: error " in text


def test_a_line_above_the_picture_leaves_it_as_it_is() -> None:
    file = io.StringIO()
    display = LiveDisplay(
        Console(file=file, width=80, force_terminal=True, force_interactive=True, _environ={})
    )
    for number in range(3):
        display.update(progress())
        display._live.refresh()  # what its clock does four times a second
        display.note(f"trial {number} complete: error [bold]")
    display.close()
    text = file.getvalue()
    assert "trial 1 complete: error [bold]" in text
    assert "front [bold]" not in text
    assert "front \x1b[1m14\x1b[0m" in text
    # Every drawing takes the last one away, line by line: the height is the same each time.
    heights = {part.count("\x1b[1A") for part in text.split("\r") if "\x1b[1A" in part}
    assert len(heights) == 1, heights


@pytest.mark.parametrize("width", [40, 80, 200])
def test_any_width_is_drawn(width: int) -> None:
    assert max(map(len, drawn(picture(progress()), width).splitlines())) <= width
