"""Real searches in processes of their own, killed and interrupted: nothing finished is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
from started_processes import started, wait_for

from nas.records import Run, open_run

# At top level and without a guard, as people write scripts: workers must not run it again.
SCRIPT = """
import sys
from nas.datasets import describe_data
from nas.search.launch import run_search
from nas.task import create_task

settings = {
    "proxy": {"resolution": 14, "width": 0.5, "images": 512, "epochs": 4},
    "validation_images": 200,
}
task = create_task(describe_data("fashion-mnist-mini"), settings)
run = run_search(
    "tiny", task, name="run", results=sys.argv[1], trials=int(sys.argv[2]), workers=2,
    device="cpu", resume=sys.argv[3] == "resume",
)
print(run.ended.message)
"""


def driver(
    path: Path, trials: int, how: str = "new"
) -> contextlib.AbstractContextManager[psutil.Popen]:
    script = path / "script.py"
    script.write_text(SCRIPT)
    return started(sys.executable, str(script), str(path), str(trials), how)


def count(path: Path, state: str) -> int:
    try:
        return int((open_run(path / "run").trials["state"] == state).sum())
    except (ValueError, OSError):
        return 0


def workers_of(process: psutil.Popen) -> list[psutil.Process]:
    """The workers; the resource tracker of multiprocessing is none."""
    children = process.children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def has_two_running(path: Path, done: int) -> bool:
    return count(path, "complete") >= done and count(path, "running") == 2


@pytest.mark.slow
def test_kill_9_and_resume(tmp_path: Path) -> None:
    with driver(tmp_path, 14) as process:
        wait_for(lambda: has_two_running(tmp_path, 1), process)
        # One worker is lost first: its trial runs again, in another worker.
        lost = workers_of(process)[0]
        lost.kill()
        wait_for(lambda: has_two_running(tmp_path, 8), process)
        workers = workers_of(process)
        children = process.children(recursive=True)
        assert len(workers) == 2
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=120)
        assert alive == []

    before = open_run(tmp_path / "run")
    assert before.state == "interrupted"
    done = before.trials["state"] == "complete"
    # What was written between the last look and the end counts, too.
    assert done.sum() >= 8
    running = set(before.trials.loc[before.trials["state"] == "running", "number"])
    assert not (before.trials["state"] == "failed").any()

    with driver(tmp_path, 14, "resume") as process:
        output, errors = process.communicate(timeout=240)
    assert output == "14 trials trained, as asked\n", errors
    after = open_run(tmp_path / "run")
    check_same(before, after)
    again = after.trials[after.trials["number"].isin(running)]
    assert set(again["state"]) <= {"complete"}
    assert list(again["fingerprint"]) == list(before.trials.loc[~done, "fingerprint"])
    trained = (after.trials["state"] == "complete") & ~after.trials["reused"]
    assert trained.sum() == 14
    assert after.trials["fingerprint"].is_unique
    # One training, one result: the error depends on (architecture, task, seed) alone.
    curves = after.curves[after.curves["number"].isin(after.trials.loc[trained, "number"])]
    assert list(curves.groupby("number")["epoch"].agg(list)) == [[1, 2, 4]] * 14


def check_same(before: Run, after: Run) -> None:
    done = before.trials["state"] == "complete"
    pd.testing.assert_frame_equal(after.trials[: len(before.trials)][done], before.trials[done])
    numbers = before.trials.loc[done, "number"]
    old, new = (run.curves[run.curves["number"].isin(numbers)] for run in (before, after))
    pd.testing.assert_frame_equal(new.reset_index(drop=True), old.reset_index(drop=True))


@pytest.mark.slow
def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    with driver(tmp_path, 500) as process:
        wait_for(lambda: has_two_running(tmp_path, 2), process)
        children = process.children(recursive=True)
        # As a terminal does: to the whole group, workers included.
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert output == "stopped by Ctrl-C; go on with --resume\n"
        assert "Traceback" not in errors
        _, alive = psutil.wait_procs(children, timeout=120)
        assert alive == []
    run = open_run(tmp_path / "run")
    assert run.state == "interrupted"
    running = run.trials["state"] == "running"
    assert running.sum() <= 2  # both may have ended just then
    assert set(run.trials.loc[running, "reason"]) <= {"interrupted"}
    assert set(run.trials["state"]) <= {"complete", "running"}
