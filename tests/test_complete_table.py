"""The complete table: its file, what is planned, a tiny real run that is cut off and goes on."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_replay import small_space

from nas.cost import count_cost
from nas.space import SearchSpace
from nas.task import Task

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import complete_table
from efficiency.synthetic import synthetic_table
from efficiency.table import COSTS, Table


class TestTable:
    def test_reads_what_it_wrote(self, tmp_path):
        table = synthetic_table(space=small_space())
        table.write(tmp_path / "table.json.gz")
        again = Table.read(tmp_path / "table.json.gz")
        assert again.fingerprint == table.fingerprint
        assert again.space.fingerprint == table.space.fingerprint
        assert again.rungs == (1, 2, 4, 8, 16)
        assert sorted(again.curves) == [0, 1, 2]
        assert again.error == pytest.approx(table.error, abs=1e-6)
        assert again.curves[1].rows.tolist() == table.curves[1].rows.tolist()
        for name in COSTS:
            assert getattr(again, name).tolist() == getattr(table, name).tolist()

    def test_a_failed_training_is_missing_and_adds_nothing(self, tmp_path):
        table = synthetic_table(space=small_space())
        best = int(table.error.argmin())
        error = table.curves[0].error.copy()
        error[best, 1:] = np.nan
        broken = replace(table, curves={0: replace(table.curves[0], error=error)})
        broken.write(tmp_path / "table.json.gz")
        again = Table.read(tmp_path / "table.json.gz")
        assert np.isnan(again.curves[0].error[best]).tolist() == [False, True, True, True, True]
        assert again.full_hypervolume["log"] < table.full_hypervolume["log"]

    def test_a_part_of_a_table_is_refused(self):
        table = synthetic_table(space=small_space())
        with pytest.raises(ValueError, match="must have 208 rows, not 50"):
            replace(table, curves={0: table.curves[1]})

    def test_the_whole_file_is_small(self, tmp_path):
        synthetic_table().write(tmp_path / "table.json.gz")
        assert (tmp_path / "table.json.gz").stat().st_size < 1_500_000


class TestPlan:
    def test_every_architecture_once_and_fifty_with_other_seeds(self):
        space, task = SearchSpace.load("tiny"), complete_table.the_task()
        jobs = complete_table.plan_jobs(space, task)
        assert len(jobs) == 1_080 + 2 * 50
        assert sorted(job.row for job in jobs[:1_080]) == list(range(1_080))
        assert {job.seed for job in jobs[:1_080]} == {0}
        assert [job.row for job in jobs if job.seed == 1] == [
            job.row for job in jobs if job.seed == 2
        ]
        # At the full width no two networks have the same proxy.
        assert len({job.key for job in jobs}) == len(jobs)

    def test_the_task_is_spelled_out(self):
        task = complete_table.the_task()
        assert task.rungs == (1, 2, 4, 8, 16)
        assert json.loads(task.to_json()) == complete_table.TASK

    def test_packing_says_how_much_is_missing(self):
        space, task = small_space(), complete_table.the_task()
        jobs = complete_table.plan_jobs(space, task)
        with pytest.raises(ValueError, match="308 of 308 trainings are missing"):
            complete_table.pack(space, task, jobs, {})


def test_trains_goes_on_and_packs(tmp_path, monkeypatch, capsys):
    data = json.loads(SearchSpace.load("tiny").to_json())
    data["stages"] = {"count": 1, "cells": 1}
    del data["reductions"], data["auxiliary"]
    data["cell"] = {"branches": {"1x1": {"forms": "1x1", "channels": 16}}}
    two = SearchSpace(data, "two")
    assert two.size == 2
    settings = json.loads(json.dumps(complete_table.TASK))
    settings["proxy"].update(images=128, epochs=2)
    settings["validation_images"] = 200
    task = Task.from_json(json.dumps(settings))
    monkeypatch.setattr(complete_table, "the_task", lambda: task)
    monkeypatch.setattr(complete_table, "SPACE", _file_of(two, tmp_path))
    monkeypatch.setattr(complete_table, "NOISE_ROWS", 1)
    words = ["--out", str(tmp_path), "--workers", "1"]

    complete_table.main([*words, "--first", "1"])
    assert "3 of 4 trainings are left" in capsys.readouterr().out
    rows = (tmp_path / "trainings.jsonl").read_text()
    (tmp_path / "trainings.jsonl").write_text(rows + '{"key": ["cut of')
    complete_table.main(words)
    assert "3/3 in " in capsys.readouterr().err

    table = Table.read(tmp_path / "table.json.gz")
    assert {seed: len(curves.rows) for seed, curves in table.curves.items()} == {0: 2, 1: 1, 2: 1}
    first = json.loads(rows)
    curves = table.curves[0]
    assert curves.error[first["row"]].tolist() == [rung["error"] for rung in first["rungs"]]
    assert (np.diff(curves.seconds, axis=1) > 0).all()
    assert (np.diff(curves.train_loss_sum, axis=1) > 0).all()
    for row, architecture in enumerate(two.enumerate()):
        cost = count_cost(architecture, task.target.image, 10)
        assert table.points([row])[0, 1] == cost.macs
        assert table.params[row] == cost.params
    assert table.about["trainings"] == 4
    assert table.about["task"] == settings


def _file_of(space: SearchSpace, folder: Path) -> Path:
    path = folder / "two.yaml"
    path.write_text(space.to_json())
    return path
