"""``nas show``: why a trial was stopped, rejected, beaten or chosen; and the tables behind it."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic_runs
from command_line import make_run, nas
from small_search import small_task, trained
from synthetic_runs import CURVES, OBJECTIVES, TRIALS, M, trials_frame
from test_search_halving import Recorder, search, waste

from nas.analysis.reasons import (
    dominated_numbers,
    dominators_table,
    neighbours_table,
    own_share,
    rivals_table,
)
from nas.analysis.rejected import reason_words
from nas.architecture import Shape
from nas.cli.standing import joined, proposed_words, share_words, standing_words, trial_words
from nas.records import Outcome, Run, Stop
from nas.space import SearchSpace
from nas.task import Target

REFERENCE = (0.9, 2e9)


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with halving and a budget: stopped trials, rejections, a front."""
    path = tmp_path_factory.mktemp("stopping")
    return search(path, Recorder(waste), budgets={"macs": 600_000})


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def shown(run: Run, number: int) -> str:
    """A trial on the screen, as one line of words."""
    result = nas("show", run.path, "--trial", number)
    assert result.code == 0, result.err
    return " ".join(result.out.split())


def data_of(run: Run, number: int) -> Any:
    return nas("show", run.path, "--trial", number, "--json").data


def stopped_number(run: Run, epoch: int) -> int:
    trials = run.trials
    found = trials[(trials["state"] == "pruned") & (trials["epochs"] == epoch)]
    return int(found["number"].iloc[0])


class TestStopped:
    """Which rung, which rank, and who was better there."""

    def test_the_rung_and_the_rivals_are_recorded_and_shown(self, stopping: Run) -> None:
        number = stopped_number(stopping, 2)
        data = data_of(stopping, number)
        stop = data["stop"]
        assert data["standing"] == "stopped"
        assert stop["epoch"] == 2
        assert 1 < stop["rank"] <= stop["seen"]
        assert data["reason"].startswith(
            f"stopped at epoch 2: rank {stop['rank']} of {stop['seen']}, "
        )
        assert [row["number"] for row in data["rivals"]] == stop["dominated_by"]
        curves = stopping.curves.set_index(["number", "epoch"])["validation_loss"]
        trials = stopping.trials.set_index("number")
        for row in data["rivals"]:
            assert row["rung_loss"] == curves[row["number"], 2]
            change = curves[row["number"], 2] - curves[number, 2]
            assert row["loss_change"] == pytest.approx(change)
            assert row["macs_ratio"] == pytest.approx(
                trials["macs"][row["number"]] / trials["macs"][number]
            )
            assert row["macs_ratio"] <= 1
            assert row["state"] == trials["state"][row["number"]]

    def test_it_reads_well(self, stopping: Run, width: int) -> None:
        number = stopped_number(stopping, 1)
        data, words = data_of(stopping, number), shown(stopping, number)
        assert f"standing {data['reason']} error" in words
        assert f"error {100 * data['shown_error']:.2f} % at epoch 1, its last" in words
        assert "What dominated it at epoch 1" in words
        rival = data["rivals"][0]
        row = f"{rival['number']} {rival['rung_loss']:.3f} {rival['loss_change']:+.3f}"
        assert row in words
        lines = nas("show", stopping.path, "--trial", number).out.splitlines()
        assert max(len(line) for line in lines if not line.startswith("  nas ")) <= width

    def test_of_a_result_that_was_taken_over_the_judged_one_is_named(self, tmp_path: Path) -> None:
        def outcome(number: int, error: float, curve: Any) -> Outcome:
            if number == 1:
                known = {"epochs": 1, "stop": Stop(1, 2, 2, (0,))}
                return Outcome("pruned", train_seconds=2.0, reason="stopped at epoch 1", **known)
            return Outcome("complete", error, epochs=8, train_seconds=3.0)

        run = synthetic_runs.make_run(tmp_path, "run", trials=3, outcome=outcome)
        with sqlite3.connect(tmp_path / "run" / "study.db") as database:
            # As a search writes it: trial 2 has trial 1's proxy and takes over its end.
            change_attribute(
                database, 2, "proposal", proxy_fingerprint=run.trials["proxy_fingerprint"][1]
            )
            change_attribute(
                database, 2, "result", reused=True, reason="as trial 1: stopped at epoch 1",
                stop={"epoch": 1, "rank": 2, "seen": 2, "dominated_by": [0]},
            )  # fmt: skip
            database.execute("UPDATE trials SET state = 'PRUNED' WHERE number = 2")
        data, words = data_of(run, 2), shown(run, 2)
        assert data["stop"]["judged"] == 1
        assert "standing stopped early as trial 1: stopped at epoch 1" in words
        assert "What dominated trial 1 at epoch 1" in words

    def test_older_runs_recorded_the_reason_alone(self, tmp_path: Path) -> None:
        run = synthetic_runs.make_run(tmp_path, "old", trials=6)
        data = data_of(run, 4)
        assert (data["stop"], data["rivals"], data["expected_share"]) == (None, [], None)
        assert "standing stopped early: dominated at epoch 2 by trials 0 and 3" in shown(run, 4)

    def test_a_resumed_search_hands_them_on(self, stopping: Run) -> None:
        assert stopping.stops
        states = stopping.trials.set_index("number")["state"]
        assert set(stopping.stops) == set(states[states == "pruned"].index)


def change_attribute(database: sqlite3.Connection, number: int, key: str, **changes: Any) -> None:
    where = (
        "FROM trial_user_attributes WHERE key = ? AND trial_id = "
        "(SELECT trial_id FROM trials WHERE number = ?)"
    )
    (row,) = database.execute(f"SELECT trial_user_attribute_id, value_json {where}", (key, number))
    database.execute(
        "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?",
        (json.dumps({**json.loads(row[1]), **changes}), row[0]),
    )


class TestChosen:
    """Who is on the front, beside whom, and what that adds."""

    def test_a_front_trial_names_picks_neighbours_and_whom_it_beats(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        front = nas("show", run.path, "--json").data
        numbers = [row["number"] for row in front["front"]]
        assert len(numbers) >= 3, "the invented errors must make a front"
        for place, number in enumerate(numbers):
            data = data_of(run, number)
            assert data["standing"] == "front"
            assert data["picks"] == [name for name, one in front["picks"].items() if one == number]
            beside = {row["beside"]: row["number"] for row in data["neighbours"]}
            expected = dict(zip(("cheaper", "dearer"), (place - 1, place + 1), strict=True))
            expected = {side: at for side, at in expected.items() if 0 <= at < len(numbers)}
            assert beside == {side: numbers[at] for side, at in expected.items()}
            assert 0 < data["hypervolume_share"] < 1
            assert any(f"train {run.path} --pick trial:{number}" in line for line in data["next"])
        knee = front["picks"]["knee"]
        words = shown(run, knee)
        assert "on the front: no trial that trained to its end beats it; it is the" in words
        assert "knee" in words.partition(" dominates ")[0]
        assert "Beside it on the front" in words

    def test_a_beaten_trial_names_the_front_trials_that_beat_it(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        trials = run.trials.set_index("number")
        front = {row["number"] for row in nas("show", run.path, "--json").data["front"]}
        beaten = int(next(number for number in trials.index if number not in front))
        data, words = data_of(run, beaten), shown(run, beaten)
        rivals = [row["number"] for row in data["dominators"]]
        assert set(rivals) <= front
        for number in rivals:
            assert trials["error"][number] <= trials["error"][beaten]
            assert trials["macs"][number] <= trials["macs"][beaten]
        assert f"complete, but dominated by {trial_words(rivals)}" in words
        assert "What dominates it on the front" in words
        assert data["neighbours"] == []
        assert data["hypervolume_share"] is None

    def test_what_was_expected_of_it_is_recorded_and_shown(self, tmp_path: Path) -> None:
        run = search(tmp_path, Recorder(trained), sampler="pareto", trials=16, halving=False)
        known = run.trials.set_index("number")["expected_share"].dropna()
        assert len(known) >= 3
        number = int(known.index[0])
        assert data_of(run, number)["expected_share"] == known.iloc[0]
        expected = f"by the sampler pareto, expected to add {share_words(known.iloc[0])} to the"
        assert expected in shown(run, number)
        # The first trials are spread over the space, and nothing is expected of them.
        assert data_of(run, 0)["expected_share"] is None
        assert "proposed by the sampler pareto standing" in shown(run, 0)


class TestTables:
    """The frames by hand: trials of :mod:`synthetic_runs`."""

    def test_whom_it_dominates(self) -> None:
        assert dominated_numbers(TRIALS, OBJECTIVES, 2).tolist() == [0, 8]
        assert dominated_numbers(TRIALS, OBJECTIVES, 8).tolist() == []

    def test_who_dominates_it_the_nearest_first(self) -> None:
        table = dominators_table(TRIALS, OBJECTIVES, 8)
        # Trial 0 dominates it as well, and is itself dominated.
        assert table["number"].tolist() == [2, 7]
        assert table["error_change"].tolist() == pytest.approx([-0.15, -0.15])
        assert table["macs_ratio"].tolist() == pytest.approx([1 / 3, 1 / 3])
        near = trials_frame(
            [("complete", 0.5, 9 * M), ("complete", 0.1, 8 * M), ("complete", 0.4, 2 * M)]
        )
        assert dominators_table(near, OBJECTIVES, 0)["number"].tolist() == [2, 1]

    def test_what_stands_beside_it(self) -> None:
        table = neighbours_table(TRIALS, OBJECTIVES, 2)
        # 7 ties with it and is no neighbour.
        assert table[["beside", "number"]].to_numpy().tolist() == [["cheaper", 4], ["dearer", 5]]
        assert table["error_change"].tolist() == pytest.approx([0.3, -0.01])
        assert table["macs_ratio"].tolist() == pytest.approx([0.4, 20])
        assert neighbours_table(TRIALS, OBJECTIVES, 4)["beside"].tolist() == ["dearer"]
        alone = trials_frame([("complete", 0.5, 9 * M)])
        assert neighbours_table(alone, OBJECTIVES, 0).empty

    def test_error_alone_has_no_neighbours(self) -> None:
        assert neighbours_table(TRIALS, ("error",), 5).empty

    def test_what_only_it_covers(self) -> None:
        trials = trials_frame([("complete", 0.5, 10 * M), ("complete", 0.3, 100 * M)])
        reference = (0.9, 1e9)
        # Decades to the reference times error to chance: 2 x 0.4, and 0.2 more over 1 decade.
        assert own_share(trials, OBJECTIVES, reference, 1) == pytest.approx(0.2 / 1.0)
        assert own_share(trials, OBJECTIVES, reference, 0) == pytest.approx(0.4 / 1.0)
        assert own_share(TRIALS, OBJECTIVES, REFERENCE, 2) == 0  # 7 is its equal

    def test_rivals_at_a_rung(self) -> None:
        curves = pd.concat([CURVES, CURVES.iloc[[1]].assign(number=4, epoch=1, error=0.4)])
        curves["validation_loss"] = 2 * curves["error"]
        table = rivals_table(TRIALS, curves, (4, 2), 3, 1)
        assert table["number"].tolist() == [4, 2]
        assert table["rung_loss"].tolist() == [0.8, 0.66]
        assert table["loss_change"].tolist() == pytest.approx([-0.1, -0.24])
        assert table["macs_ratio"].tolist() == pytest.approx([4 / 80, 10 / 80])
        assert table["error"].tolist() == [0.5, 0.2]


class TestRejected:
    """A rejected proposal has no number; the last hundred are kept."""

    def test_the_run_counts_them_and_says_where_they_are(self, stopping: Run, width: int) -> None:
        words = " ".join(nas("show", stopping.path).out.split())
        counts = stopping.rejections.counts
        assert f"{counts['macs']} over the budget of 600K MACs" in words
        assert f"{counts['repeat']} a network that was proposed before" in words
        assert f"The last {stopping.rejections.total} in full:" in words
        assert f"nas show {stopping.path} --rejections" in words

    def test_they_are_listed_in_full(self, stopping: Run, width: int) -> None:
        result = nas("show", stopping.path, "--rejections")
        assert max(map(len, result.out.splitlines())) <= width
        words, total = " ".join(result.out.split()), stopping.rejections.total
        assert f"The last {total} of {total} proposals that were rejected" in words
        data = nas("show", stopping.path, "--rejections", "--json").data
        assert data["counts"] == stopping.rejections.counts
        assert len(data["rejections"]) == total
        trials = stopping.trials.set_index("fingerprint")
        kinds = {row["kind"] for row in data["rejections"]}
        assert kinds == {"macs", "repeat"}
        for row in data["rejections"]:
            if row["kind"] == "macs":
                assert row["macs"] > 600_000
                assert row["trial"] is None
                assert row["reason"].endswith("over the budget 600K")
                assert row["reason"] in words
            else:
                assert trials["number"][row["fingerprint"]] == row["trial"] < row["before"]
                assert f"the same network as trial {row['trial']}" in words

    def test_those_in_the_place_of_one_trial(self, stopping: Run) -> None:
        rows = nas("show", stopping.path, "--rejections", "--json").data["rejections"]
        number = rows[-1]["before"]
        some = nas("show", stopping.path, "--rejections", "--trial", number, "--json").data
        mine = [row for row in rows if row["before"] == number]
        assert some["rejections"] == mine
        text = nas("show", stopping.path, "--rejections", "--trial", number).out
        assert f"rejected in the place of trial {number}" in text
        was = "other was" if len(mine) == 1 else "others were"
        assert f"{len(mine)} {was} rejected before it" in shown(stopping, number)
        untouched = next(
            one for one in stopping.trials["number"] if one not in {row["before"] for row in rows}
        )
        none = nas("show", stopping.path, "--rejections", "--trial", untouched).out
        assert f"No proposal was rejected in the place of trial {untouched}" in none

    def test_a_number_that_no_trial_has_points_to_them(self, stopping: Run) -> None:
        result = nas("show", stopping.path, "--trial", 999)
        assert result.code == 2
        assert result.err == (
            f"error: run 'run' has no trial 999; it has 0 to {stopping.trials['number'].max()}. "
            f"{stopping.rejections.total} proposals were rejected without a number; "
            f"see nas show {stopping.path} --rejections\n"
        )

    def test_without_any_there_is_nothing_to_point_to(self, tmp_path: Path) -> None:
        run = search(tmp_path, Recorder(trained), trials=2, sampler="qmc", halving=False)
        assert run.rejections.total == 0
        assert nas("show", run.path, "--trial", 9).err.endswith("it has 0 to 1\n")
        assert nas("show", run.path, "--rejections").out == "No proposal was rejected.\n"

    def test_older_runs_kept_less(self, tmp_path: Path) -> None:
        run = synthetic_runs.make_run(tmp_path, "old", trials=6)
        words = " ".join(nas("show", run.path, "--rejections").out.split())
        assert "The last 12 of 38 proposals that were rejected" in words
        assert "0 already trained as trial 4" in words

    def test_a_network_that_does_not_fit_has_no_cost(self, tmp_path: Path) -> None:
        """Its costs cannot be counted; it is listed all the same."""
        task = small_task().model_copy(
            update={"target": Target(image=Shape(3, 224, 224), classes=3)}
        )
        run = synthetic_runs.make_run(tmp_path, "misfit", trials=1, space="googlenet", task=task)
        values = [run.values[0][name] for name in SearchSpace.load("googlenet").parameters]
        small = task.model_copy(update={"target": Target(image=Shape(3, 8, 8), classes=3)})
        settings = replace(run.settings, task=small.to_json())
        row = {"number": 1, "kind": "does not fit", "reason": "too small", "values": values}
        with sqlite3.connect(tmp_path / "misfit" / "study.db") as database:
            for key, value in (
                ("settings", settings.to_data()),
                ("rejections", {"counts": {"does not fit": 1}, "last": [row]}),
            ):
                database.execute(
                    "UPDATE study_user_attributes SET value_json = ? WHERE key = ?",
                    (json.dumps(value), key),
                )
        (found,) = nas("show", run.path, "--rejections", "--json").data["rejections"]
        assert (found["reason"], found["macs"]) == ("too small", None)
        assert found["cells"] == run.architecture(0).num_cells
        assert "1 too small" in " ".join(nas("show", run.path, "--rejections").out.split())


class TestWords:
    """How a trial came to be, and what became of it."""

    @pytest.mark.parametrize(
        ("origin", "words"),
        [
            ("sampler:tpe", "by the sampler tpe"),
            ("seed:cifar_googlenet", "as cifar_googlenet, which was given to be tried first"),
            ("smallest:macs", "as the smallest network in macs: no random one met the budget"),
            ("mutation", "as a mutation of an earlier network: the sampler's own were rejected"),
            ("random", "at random: the sampler's own were rejected"),
        ],
    )
    def test_every_origin(self, origin: str, words: str) -> None:
        data = {"origin": origin, "expected_share": math.nan, "rejected_before": 0}
        assert proposed_words(data) == words
        data |= {"expected_share": 0.0123, "rejected_before": 1}
        assert proposed_words(data) == (
            f"{words}, expected to add 1.2 % to the hypervolume; 1 other was rejected before it"
        )

    def test_every_standing(self) -> None:
        data = {"reason": "the loss is NaN", "run_state": "running", "picks": []}
        assert standing_words({**data, "standing": "failed"}) == "failed: the loss is NaN"
        running = {**data, "standing": "running", "reason": ""}
        assert standing_words(running) == "running"
        unfinished = {**running, "standing": "unfinished"}
        assert standing_words(unfinished) == "unfinished: a resumed search runs it again"
        reused = {**data, "standing": "front", "reason": "the same proxy network as trial 4"}
        assert standing_words(reused) == (
            "on the front: no trial that trained to its end beats it "
            "(not trained: the same proxy network as trial 4)"
        )

    def test_lists(self) -> None:
        assert [joined(["a", "b", "c"][:count]) for count in range(4)] == [
            "", "a", "a and b", "a, b and c",
        ]  # fmt: skip
        assert trial_words([4]) == "trial 4"
        assert trial_words([4, 7]) == "trials 4 and 7"
        assert trial_words(list(range(9))) == "trials 0, 1, 2 and 6 more"
        assert share_words(0.5) == "50 %"
        assert share_words(1e-6) == "under 0.01 %"

    def test_every_kind_of_rejection(self) -> None:
        assert reason_words("params") == "over the budget of parameters"
        assert reason_words("params", {"macs": 1}) == "over the budget of parameters"
        assert reason_words("macs", {"macs": 300_000_000}) == "over the budget of 300M MACs"
        assert reason_words("does not fit") == "a network that does not fit the images"
        assert reason_words("as older runs said it") == "as older runs said it"
