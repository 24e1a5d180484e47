"""The study of proxies: its settings, its tables by hand, and a tiny real run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import make_images

from nas.architecture import Shape, branch_stride, cell_shapes
from nas.cost import count_cost
from nas.datasets import DataInfo
from nas.space import SearchSpace
from nas.task import narrowing, proxy

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import proxy_ranking  # noqa: E402
import proxy_settings  # noqa: E402
import ranking_tables  # noqa: E402

DATA = DataInfo("made", Shape(1, 28, 28), tuple("0123456789"), 10_000, 2_000)
SETTINGS = {setting.name: setting for setting in proxy_settings.SETTINGS}


class TestSettings:
    def test_every_setting_is_trained_and_has_its_own_name(self):
        trained = [item for trainings in proxy_settings.ROUNDS for item in trainings]
        assert len(set(trained)) == len(trained)
        names = {name for name, _ in trained}
        assert names == {*SETTINGS, proxy_settings.REFERENCE}
        assert len(SETTINGS) == len(proxy_settings.SETTINGS)

    def test_each_is_another_training(self):
        seen = {
            (setting.task(DATA, "float32").fingerprint, setting.min_side)
            for setting in proxy_settings.SETTINGS
        }
        assert len(seen) == len(SETTINGS)

    def test_resolution_and_images_are_relative(self):
        big = replace(DATA, image=Shape(3, 200, 200))
        task = SETTINGS["resolution 50 %"].task(big, "float32")
        assert task.proxy.resolution == 48
        assert SETTINGS["resolution 50 %"].task(DATA, "float32").proxy.resolution == 14
        assert SETTINGS["last map 3"].task(DATA, "float32").proxy.resolution is None
        assert SETTINGS["half the images"].task(DATA, "float32").proxy.images == 1_536

    def test_four_stages_keep_stride_two_where_the_last_map_may_have_two_pixels(self):
        space = SearchSpace.load("googlenet_small")
        drawn = proxy_ranking.draw_architectures(space, DATA, 150_000_000, 6)
        deep = next(item for item in drawn if len(item.stages) == 4)
        strides = {}
        for name in ("last map 3", "base"):
            setting = SETTINGS[name]
            task = setting.task(DATA, "float32")
            with proxy_ranking.last_map(setting.min_side):
                narrow = proxy(deep, task)
            last = cell_shapes(narrow, task.proxy_image)[-1][1]
            strides[name] = (branch_stride(narrow.stem), last.height)
        assert strides == {"last map 3": (1, 4), "base": (2, 2)}
        assert narrowing.MIN_SIDE == 2

    def test_the_longer_training_keeps_stem_and_maps_of_the_target(self):
        long = proxy_settings.reference()
        task = long.task(DATA, "float32")
        space = SearchSpace.load("googlenet_small")
        for architecture in proxy_ranking.draw_architectures(space, DATA, 150_000_000, 6):
            with proxy_ranking.last_map(long.min_side):
                narrow = proxy(architecture, task)
            assert branch_stride(narrow.stem) == branch_stride(architecture.stem)


class TestArchitectures:
    def test_are_even_within_the_budget_and_the_same_again(self):
        space = SearchSpace.load("googlenet_small")
        drawn = proxy_ranking.draw_architectures(space, DATA, 30_000_000, 9)
        assert [len(item.stages) for item in drawn] == [2, 3, 4] * 3
        assert len({item.fingerprint for item in drawn}) == 9
        assert all(count_cost(item, DATA.image, 10).macs <= 30_000_000 for item in drawn)
        assert drawn[:6] == proxy_ranking.draw_architectures(space, DATA, 30_000_000, 6)


def study(errors: dict[tuple[str, int], list[float]]) -> ranking_tables.Study:
    """A study of three architectures with these errors, at the only rung, in one second."""
    trained = {}
    for (name, seed), values in errors.items():
        for number, error in enumerate(values):
            rung = {"epoch": 1, "error": error, "validation_loss": 1 - error, "seconds": 2.0}
            trained[name, seed, number] = {
                "rungs": [{**rung, "train_losses": [error, 1.0]}],
                "device": "a processor",
                "precision": "float32",
                "versions": {"python": "3", "torch": "2"},
            }
    names = dict.fromkeys(name for name, _ in errors)
    return ranking_tables.Study("made", list(names), trained, [3, 2, 1], [1, 1, 2], [2, 2, 3])


class TestTables:
    @pytest.fixture
    def made(self) -> ranking_tables.Study:
        return study(
            {
                ("longer training", 100): [0.1, 0.2, 0.5],
                ("longer training", 101): [0.3, 0.2, 0.1],
                ("last map 3", 0): [0.3, 0.2, 0.4],
                ("last map 3", 1): [0.1, 0.2, 0.3],
                ("base", 0): [0.4, 0.3, 0.2],
            }
        )

    def test_the_truth_is_the_mean_of_its_seeds(self, made):
        assert made.truth() == pytest.approx([0.2, 0.2, 0.3])

    def test_a_setting_is_judged_by_each_measure(self, made):
        row = next(row for row in ranking_tables.setting_rows(made) if row.name == "last map 3")
        # Two pairs that the truth tells apart, both the right way round; one it ties.
        assert row.error.value == pytest.approx(2 / math.sqrt(3 * 2))
        assert row.validation_loss.value == pytest.approx(-2 / math.sqrt(3 * 2))
        assert row.train_loss_sum.value == pytest.approx(row.error.value)
        assert row.change.value == pytest.approx(2 * row.error.value)
        assert row.mean_seconds == 2
        assert row.per_second == pytest.approx(row.error.value / 2)

    def test_costs_and_seeds_stand_beside(self, made):
        rows = {row.name: row for row in ranking_tables.plain_rows(made)}
        # The last has the fewest MACs and the most parameters, and is the worst.
        assert rows["MACs alone"].error.value == pytest.approx(2 / math.sqrt(3 * 2))
        assert rows["parameters alone"].error.value == pytest.approx(-1)
        assert rows["longer training: seed 100 against 101"].error.value == -1
        assert rows["last map 3: seed 0 against 1"].error.value == pytest.approx((2 - 1) / 3)

    def test_two_seeds_cost_twice(self, made):
        (row,) = ranking_tables.repeated_rows(made)
        assert row.name == "last map 3, mean of 2 seeds"
        assert row.mean_seconds == 4

    def test_what_is_not_trained_is_left_out(self, made):
        trained = {key: row for key, row in made.trained.items() if key != ("last map 3", 0, 1)}
        partial = replace(made, trained=trained)
        row = next(row for row in ranking_tables.setting_rows(partial) if row.name == "last map 3")
        assert row.error.items == 2
        json.dumps(ranking_tables.as_data(partial), allow_nan=False)

    def test_markdown_has_as_many_cells_in_every_row(self, made):
        lines = ranking_tables.markdown(made).splitlines()
        heads = [index for index, line in enumerate(lines) if line.startswith("|--")]
        assert len(heads) == 3
        for index in heads:
            assert lines[index - 1].count("|") == lines[index].count("|")
            assert lines[index + 1].count("|") == lines[index].count("|")


def run(images: str, out: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The study on a few images of 12 pixels: two architectures, three settings."""
    given = [
        "--data",
        images,
        "--space",
        "tiny",
        "--architectures",
        2,
        "--images",
        16,
        "--out",
        out,
    ]
    given += ["--reference-epochs", 1, "--precision", "float32", "--nice", 0]
    given += ["--only", "last map 3", "base", "1 epoch", *words]
    return subprocess.run(
        [sys.executable, "benchmarks/proxy_ranking.py", *map(str, given)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{make_images(tmp_path_factory.mktemp('images'), images=40)}"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, images: str) -> Path:
    """The directory of a whole study."""
    out = tmp_path_factory.mktemp("study")
    run(images, out)
    return out


class TestRun:
    def test_trains_every_setting_once(self, out):
        rows = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
        # Two seeds of the longer training and of the base, which both settings share; 1 epoch.
        assert len(rows) == 2 * (2 + 2 + 1)
        assert len({tuple(row["key"]) for row in rows}) == len(rows)
        for row in rows:
            assert row["failed"] is None
            assert row["rungs"][-1]["seconds"] > 0
            assert row["versions"]["torch"]
        longest = max(rows, key=lambda row: len(row["rungs"]))
        assert [rung["epoch"] for rung in longest["rungs"]] == [1, 2, 4]
        assert len(longest["rungs"][-1]["train_losses"]) == 4

    def test_prints_and_keeps_the_table(self, images, out):
        printed = run(images, out, "--report").stdout
        assert (out / "table.md").read_text() == printed.removesuffix("\n")
        assert "| 1 epoch " in printed
        data = json.loads(run(images, out, "--report", "--json").stdout)
        names = [row["name"] for row in data["tables"]["Settings"]]
        assert names == ["base", "last map 3", "1 epoch"]

    def test_goes_on_where_it_was_stopped(self, images, out, tmp_path):
        lines = (out / "trials.jsonl").read_text().splitlines()
        path = tmp_path / "trials.jsonl"
        path.write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:50])
        run(images, tmp_path, "--workers", 1)
        again = path.read_text().splitlines()
        assert again[: len(lines) - 2] == lines[:-2]
        assert len(again) == len(lines) + 1
        before, after = (
            {
                tuple(row["key"]): [rung["error"] for rung in row["rungs"]]
                for row in map(json.loads, kept)
            }
            for kept in (lines, again[: len(lines) - 2] + again[len(lines) - 1 :])
        )
        assert after == before
