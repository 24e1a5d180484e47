"""The generator of large studies writes what a search writes, row for row."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from make_large_study import (
    TrialMaker,
    add_trials,
    create_large_study,
    finish_running,
    forty_choices,
    make_large_study,
    write_fast,
    write_slowly,
)

from nas.records import locate, open_run

TIMES = ("datetime_start", "datetime_complete")


def rows(path: Path) -> dict[str, pd.DataFrame]:
    """All tables of a database but for the times, which a writer takes from the clock."""
    with sqlite3.connect(path / "study.db") as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {
            name: pd.read_sql(f"SELECT * FROM {name} ORDER BY 1", database) for (name,) in names
        }
    database.close()
    times = tables["trials"][[*TIMES]]
    tables["trials"] = tables["trials"].drop(columns=[*TIMES]).join(times.isna())
    return tables


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by what they say: a search writes a trial's rows in steps, and ids with them."""
    owner = next(name for name in ("trial_id", "study_id", *table.columns) if name in table)
    keys = [owner, *(name for name in ("param_name", "key", "objective") if name in table)]
    own = [name for name in table.columns if name.endswith("_attribute_id")]
    own += [name for name in ("param_id", "trial_value_id") if name in table]
    return table.drop(columns=own).sort_values(keys).reset_index(drop=True)


def test_the_same_trials_give_the_same_rows(tmp_path: Path) -> None:
    space = forty_choices()
    for name, write in (("fast", write_fast), ("slow", write_slowly)):
        location = locate("run", tmp_path / name)
        create_large_study(location, space)
        maker = TrialMaker(space)
        write(location, space, [maker.make(number, number > 21) for number in range(24)])
    fast, slow = rows(tmp_path / "fast" / "run"), rows(tmp_path / "slow" / "run")
    assert fast.keys() == slow.keys()
    for table, frame in slow.items():
        pd.testing.assert_frame_equal(ordered(fast[table]), ordered(frame))
    # Parameters also stand in the same order.
    pd.testing.assert_frame_equal(fast["trial_params"], slow["trial_params"])
    states = set(slow["trials"]["state"])
    assert states == {"COMPLETE", "PRUNED", "FAIL", "RUNNING"}


def test_forty_parameters_and_trials_of_every_kind(tmp_path: Path) -> None:
    location = locate("run", tmp_path)
    assert list(make_large_study(location, 30, running=3)) == [30]
    assert list(add_trials(location, 5, first=30)) == [5]
    study = optuna.load_study(study_name="run", storage=location.url)
    trials = study.trials
    assert [trial.number for trial in trials] == list(range(35))
    assert {len(trial.params) for trial in trials} == {40}
    assert sum(trial.state.name == "RUNNING" for trial in trials) == 3
    assert finish_running(location) == 3
    run = open_run(location.path)
    assert run.state == "interrupted"
    assert run.trials["fingerprint"].nunique() == 35
    assert run.choices.shape == (35, 41)


def test_the_script_writes_a_run_and_refuses_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from make_large_study import main

    monkeypatch.setattr(sys, "argv", ["make", str(tmp_path / "run"), "--trials", "10"])
    main()
    assert "10 of 10 trials" in capsys.readouterr().out
    assert len(open_run(tmp_path / "run").trials) == 10
    with pytest.raises(SystemExit):
        main()
    assert "exists" in capsys.readouterr().err
