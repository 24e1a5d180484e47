"""The pool of trainings that benchmarks share; their own tests run it in worker processes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import trainings


@dataclass(frozen=True)
class Job:
    key: trainings.Key
    work: float = 1.0


class TestRows:
    def test_a_line_that_was_cut_off_is_left_out(self, tmp_path, capsys):
        path = tmp_path / "trials.jsonl"
        path.write_text('{"key": ["a", "b", 1], "error": 2}\n{"key": ["a", "c", 1], "er')
        rows = trainings.read_rows(path)
        assert list(rows) == [("a", "b", 1)]
        assert "line 2 is not complete" in capsys.readouterr().err

    def test_there_are_none_before_the_first(self, tmp_path):
        assert trainings.read_rows(tmp_path / "trials.jsonl") == {}


def train(job: Job) -> dict[str, Any]:
    """In a worker process, which imports this file."""
    if job.key[1] == "dies":
        raise RuntimeError("it died")
    return {"seed": job.key[2]}


def row_of(job: Job, trained: dict[str, Any]) -> dict[str, Any]:
    return {"key": list(job.key), **trained}


def run(jobs: list[Job], path: Path) -> dict[trainings.Key, Any]:
    rows = trainings.read_rows(path)
    trainings.run_jobs(
        jobs, path, rows, workers=1, train=train, row_of=row_of, told=lambda job, row: job.key[1]
    )
    return rows


def test_what_is_done_stays_and_is_not_done_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # both are put back afterwards
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    path = tmp_path / "new" / "rows.jsonl"
    first, second, dies = (Job(("task", name, 7)) for name in ("a", "b", "dies"))
    run([first, first], path)
    assert "1/1 in " in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="it died"):
        run([first, dies], path)
    assert list(trainings.read_rows(path)) == [first.key]
    path.write_text(path.read_text() + '{"key": ["cut of')
    rows = run([first, second], path)
    assert rows == {job.key: {"key": list(job.key), "seed": 7} for job in (first, second)}
    assert list(trainings.read_rows(path)) == [first.key, second.key]
    told = capsys.readouterr().err
    assert "1/1 in " in told
    assert "left: b" in told
