"""Importances: what was planted is found, what costs alone explain is not, noise is called so."""

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import M, trials_frame

from nas.analysis.choice_figures import importance_figure
from nas.analysis.importance import COLUMNS, choice_kind, importance_table


def planted(count=160, seed=0, *, effect=0.06, noise=0.01):
    """Errors that fall with cost, which ``width`` sets, and depend on ``form`` beside it.

    ``inner`` matters where ``form`` is "b" and is inactive elsewhere; ``idle`` does nothing.
    """
    rng = np.random.default_rng(seed)
    width = rng.choice([16, 32, 64, 128], count)
    form = rng.choice(["a", "b"], count)
    inner = np.where(form == "b", rng.choice([8.0, 24.0], count), np.nan)
    macs = (width * rng.uniform(0.9, 1.1, count) * M).astype(int)
    error = 0.6 - 0.1 * np.log10(macs / M) + effect * (form == "b") + noise * rng.normal(size=count)
    error += np.where(inner == 24.0, effect, 0.0)
    rows = [("complete", e, int(m)) for e, m in zip(error, macs, strict=True)]
    idle = [f"idle{index}" for index in range(4)]
    choices = pd.DataFrame(
        {
            "number": np.arange(count),
            "width": width,
            "form": form,
            "stages.0.1.inner.width": inner,
            "fixed": 1,
            **{name: rng.choice([1, 2, 3], count) for name in idle},
        }
    )
    return trials_frame(rows), choices


def test_what_was_planted_is_found_and_cost_is_not():
    table = importance_table(*planted())
    found = table.set_index("choice")
    assert set(table["choice"][:2]) == {"form", "stages.0.1.inner.width"}
    assert (found.loc[["form", "stages.0.1.inner.width"], "low"] > 0.02).all()
    # Variances by hand: form changes the mean error by 0.09 in half of the trials, inner by 0.06
    # in half of those of form "b"; form also decides whether inner counts.
    by_form, by_inner, noise = 0.09**2 / 4, 0.5 * 0.06**2 / 4, 0.01**2
    expected = by_form / (by_form + by_inner + noise)
    assert found.loc["form", "importance"] == pytest.approx(expected, abs=0.15)
    # The width decides the error by its cost alone: nothing is left of it at equal cost.
    assert abs(found.loc["width", "importance"]) < 0.05
    assert found.loc["width", "cost_r2"] > 0.2
    assert found.loc["form", "forest_r2"] > 0.7
    assert "fixed" not in found.index
    assert table["importance"].is_monotonic_decreasing
    assert found.loc["stages.0.1.inner.width", "active"] == (planted()[1]["form"] == "b").sum()
    assert found.loc["stages.0.1.inner.width", "values"] == 2
    assert (found.loc[["idle0", "idle1", "idle2", "idle3"], "high"] < 0.1).all()


def test_noise_alone_explains_nothing():
    table = importance_table(*planted(effect=0.0, noise=0.05))
    assert table["forest_r2"].iloc[0] < 0.1
    assert (table["low"] < 0.05).all()
    assert table["importance"].abs().max() < 0.15


def test_an_inactive_choice_does_not_stand_for_what_switches_it():
    # inner matters no more; that it is active says form == "b", which does.
    trials, choices = planted(effect=0.0)
    trials["error"] += 0.06 * (choices["form"] == "b").to_numpy()
    found = importance_table(trials, choices).set_index("choice")["importance"]
    assert found["form"] > 0.4
    assert abs(found["stages.0.1.inner.width"]) < 0.05


def test_the_same_trials_give_the_same_numbers_whatever_their_order():
    trials, choices = planted(60)
    first = importance_table(trials, choices)
    pd.testing.assert_frame_equal(first, importance_table(trials, choices))
    other = importance_table(trials, choices, seed=1)
    assert not np.allclose(first["importance"], other["importance"])


def test_places_are_pooled_into_kinds():
    assert choice_kind("stages.1.0.3x3.channels") == "stages.*.3x3.channels"
    assert choice_kind("stages.0.3x3.present") == "stages.*.3x3.present"
    assert choice_kind("reductions.2.cell.5x5.reduce") == "reductions.*.cell.5x5.reduce"
    assert choice_kind("residual") == "residual"
    trials, choices = planted()
    choices["stages.1.0.inner.width"] = choices.pop("idle0")
    table = importance_table(trials, choices, by="kind")
    pooled = table.set_index("choice").loc["stages.*.inner.width"]
    assert pooled["active"] == 160
    assert pooled["values"] == 5
    assert pooled["importance"] > 0.02


def test_too_little_says_nothing():
    trials, choices = planted(19)
    assert list(importance_table(trials, choices).columns) == COLUMNS
    assert importance_table(trials, choices).empty
    trials, choices = planted(40)
    assert importance_table(trials.assign(error=0.5), choices).empty
    assert importance_table(trials, choices[["number", "fixed"]]).empty
    failed = trials.assign(state="failed", error=np.nan)
    assert importance_table(failed, choices).empty


@pytest.mark.parametrize("count", [25, 40])
def test_trials_of_one_cost_are_compared_as_they_are(count):
    trials, choices = planted(count)
    table = importance_table(trials.assign(macs=5 * M), choices)
    assert (table["cost_r2"] == 0).all()
    assert (table["trials"] == count).all()


def test_the_figure_names_the_choices_and_their_intervals():
    table = importance_table(*planted(60))
    figure = importance_figure(table, limit=3)
    (marks,) = figure.data
    assert list(marks.x) == table["importance"].head(3).tolist()
    assert list(figure.layout.yaxis.ticktext) == table["choice"].head(3).tolist()
    assert list(marks.error_x.array) == pytest.approx(
        (table["high"] - table["importance"]).head(3).tolist()
    )
    hostile = table.assign(choice="<b>x</b>")
    assert "<b>x" not in importance_figure(hostile).to_json().replace("\\u003c", "<")
    assert not importance_figure(table.iloc[:0]).data[0].x
