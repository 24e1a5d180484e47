"""The benchmark of fronts: its contestants agree; one that is too slow is left out, and said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("pymoo", reason="pymoo is not installed: pip install '.[benchmark]'")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import pareto


def test_all_libraries_answer_alike_and_take_turns():
    rows = list(pareto.rows(2, 60.0, {2: (50, 200), 3: (50,)}))
    assert {row.library for row in rows} == {"nas.pareto", "Optuna", "pymoo"}
    assert len(rows) == 2 * 2 * 3 * 3  # questions, clouds, sizes, libraries
    assert all(row.repeats == 2 and row.median and row.least <= row.most for row in rows)
    assert all(row.ratio == 1 for row in rows if row.library == "nas.pareto")
    assert {row.on_front for row in rows if row.cloud == "sphere"} == {50, 200}


def test_what_is_too_slow_is_left_out(monkeypatch):
    monkeypatch.setattr(pareto, "GROWTH", 1e9)
    rows = list(pareto.rows(1, 1e6, {2: (50, 60)}))
    assert all(row.median is not None for row in rows if row.points == 50)
    monkeypatch.setitem(pareto.QUESTIONS["front"], "Optuna", slow)
    rows = list(pareto.rows(1, 2e7, {2: (50, 60)}))
    left_out = [row for row in rows if row.median is None]
    assert ("front", "Optuna", 60) in {(row.question, row.library, row.points) for row in left_out}
    assert "left out: too slow" in pareto.show(left_out[0])


def slow(points):
    import time

    time.sleep(0.05)
    return pareto.nondominated(points)


def test_libraries_that_disagree_stop_the_benchmark(monkeypatch):
    monkeypatch.setitem(pareto.QUESTIONS["front"], "pymoo", lambda points: points[:, 0] < 0.5)
    with pytest.raises(SystemExit, match=r"pymoo and nas\.pareto disagree: front, 50 points"):
        list(pareto.rows(1, 60.0, {2: (50,)}))
