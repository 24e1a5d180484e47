"""States of running trials: kept whole or not at all, found by the same trial alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from small_search import small_architecture, small_data, small_task, trained
from test_search import TINY, task

from nas.datasets import carve, measure_statistics
from nas.evaluate import Evaluation, RungResult
from nas.search.checkpoints import CheckpointError, Checkpoints, check_url
from nas.search.executor import Job, Report, ScriptedExecutor
from nas.search.launch import run_search

JOB = Job(5, small_architecture(), small_task(epochs=4), seed=3)


def evaluation() -> Evaluation:
    data = carve(small_data(), 30)
    statistics = measure_statistics(data.train)
    return Evaluation(JOB.architecture, JOB.task, JOB.seed, data, statistics)


def bits(results: tuple[RungResult, ...]) -> list[tuple[Any, ...]]:
    """The rungs without what depends on the machine's load."""
    return [astuple(replace(item, train_seconds=0, setup_seconds=0)) for item in results]


@pytest.fixture(params=["directory", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    url = str(tmp_path / "states") if request.param == "directory" else f"memory://{tmp_path}"
    made = Checkpoints(url)
    made.create()
    return made


def files(kept: Checkpoints) -> list[str]:
    fs, root = fsspec.core.url_to_fs(kept.url)
    return [str(path) for path in fs.ls(root, detail=False)]


def test_a_trial_goes_on_bit_for_bit(kept: Checkpoints) -> None:
    whole = evaluation()
    while not whole.done:
        whole.advance()
    first = evaluation()
    first.advance()
    first.advance()
    kept.save(JOB, first.state_dict())
    second = evaluation()
    state = kept.load(JOB)
    assert state is not None
    second.load_state_dict(state)
    assert len(second.results) == 2
    while not second.done:
        second.advance()
    assert bits(second.results) == bits(whole.results)


def test_there_is_one_a_trial_until_it_is_deleted(kept: Checkpoints) -> None:
    assert kept.load(JOB) is None
    kept.save(JOB, {"a": 1})
    kept.save(JOB, {"a": 2})
    kept.save(replace(JOB, number=55), {"a": 3})
    assert kept.load(JOB) == {"a": 2}
    kept.delete(5)
    kept.delete(5)
    assert kept.load(JOB) is None
    assert kept.load(replace(JOB, number=55)) == {"a": 3}
    assert len(files(kept)) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, number=6),
        replace(JOB, seed=4),
        replace(JOB, architecture=small_architecture(16)),
        replace(JOB, task=small_task(epochs=2)),
    ],
    ids=["number", "seed", "architecture", "task"],
)
def test_another_trial_does_not_find_it(kept: Checkpoints, other: Job) -> None:
    kept.save(JOB, {"a": 1})
    assert kept.load(other) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        lambda content: b"",
    ],
    ids=["cut", "one bit", "empty"],
)
def test_damage_is_found(kept: Checkpoints, damage: Callable[[bytes], bytes]) -> None:
    kept.save(JOB, {"a": list(range(100))})
    fs, _ = fsspec.core.url_to_fs(kept.url)
    (path,) = files(kept)
    fs.pipe_file(path, damage(fs.cat_file(path)))
    with pytest.raises(CheckpointError, match="damaged"):
        kept.load(JOB)


def test_a_write_that_fails_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(str(tmp_path))
    kept.save(JOB, {"a": 1})

    def fail(*_: Any) -> None:
        raise OSError("No space left on device")

    # The moment between the write and the rename cannot be hit otherwise.
    monkeypatch.setattr("nas.search.checkpoints.os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        kept.save(JOB, {"a": 2})
    assert kept.load(JOB) == {"a": 1}
    kept.delete(5)
    assert files(kept) == []


def test_a_machine_without_the_directory_is_passed_by(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path / "elsewhere"))
    kept.save(JOB, {"a": 1})
    assert kept.load(JOB) is None
    kept.delete(5)
    assert list(tmp_path.iterdir()) == []


def test_only_an_empty_directory_is_tidied_away(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path / "states"))
    kept.create()
    kept.save(JOB, {"a": 1})
    kept.tidy()
    assert kept.load(JOB) == {"a": 1}
    kept.delete(5)
    kept.tidy()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "reason"), [("nothing://x", "nothing"), ("/proc/here", "FileNotFoundError")]
)
def test_a_storage_that_cannot_be_written_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match="artifacts must be a directory or an fsspec URL") as error:
        check_url(url)
    assert reason in str(error.value)


# ----------------------------------------------------------- what the driver makes of them


class Losing(ScriptedExecutor):
    """Its first job is lost after two rungs, and goes on after ``restored`` of them."""

    def __init__(self, restored: int) -> None:
        super().__init__(self._play)
        self.restored, self.discarded = restored, list[int]()

    def _play(self, job: Job) -> list[Report]:
        reports = trained(job)
        if job.number:
            return reports
        if sum(item.number == 0 for item in self.submitted) == 1:
            return [*reports[:3], Report(0, "lost", reason="the worker died")]
        back = [replace(item, is_restored=True) for item in reports[1 : 1 + self.restored]]
        return [reports[0], *back, *reports[1 + self.restored :]]

    def discard(self, number: int) -> None:
        self.discarded.append(number)


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize(("restored", "lost"), [(0, 0.2), (1, 0.1), (2, 0.0)])
def test_seconds_that_were_not_lost_are_counted_once(
    tmp_path: Path, restored: int, lost: float, halving: bool
) -> None:
    executor = Losing(restored)
    run = run_search(
        TINY, task(), name="run", results=tmp_path, trials=2, executor=executor, halving=halving
    )
    assert run.given_up_seconds == pytest.approx(lost)
    assert run.trials["train_seconds"][0] == pytest.approx(0.4)
    assert executor.discarded == [0, 1]
    assert [int(epoch) for epoch in run.curves.query("number == 0")["epoch"]] == [1, 2, 4]
