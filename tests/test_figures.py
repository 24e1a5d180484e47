"""Figures say what their tables say: tests look at the marks, axes and words."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from synthetic_runs import CURVES, OBJECTIVES, TRIALS, M, trials_frame

from nas.analysis.figures import (
    cost_ticks,
    curves_figure,
    front_figure,
    fronts_figure,
    hypervolume_figure,
)
from nas.analysis.tables import curves_table, front_table, hypervolume_table, trials_table
from nas.analysis.theme import BLUE, SERIES, THEMES, shown, template

TABLE = trials_table(TRIALS, OBJECTIVES, CURVES)


def traces(figure):
    return {trace.name.split(" (")[0]: trace for trace in figure.data}


def test_each_standing_has_its_own_marks_and_shape():
    found = traces(front_figure(TABLE, OBJECTIVES))
    assert list(found["front"].customdata) == [2, 4, 5, 7]
    assert list(found["front"].x) == [10 * M, 4 * M, 200 * M, 10 * M]
    assert list(found["dominated"].customdata) == [0, 8]
    assert list(found["stopped"].customdata) == [3]
    assert list(found["stopped"].y) == [0.45]
    assert list(found["knee"].customdata) == [2]
    shapes = {found[name].marker.symbol for name in ("front", "stopped", "failed", "running")}
    assert len(shapes) == 4
    assert "open" in found["stopped"].marker.symbol


def test_the_words_at_the_knee_stand_where_there_is_room():
    front = traces(front_figure(TABLE, OBJECTIVES))
    assert front["knee"].textposition == "bottom left"
    # Where the dearest costs far more, there is no room left of the knee.
    wide = pd.concat([TABLE, TABLE.head(1).assign(macs=10_000_000 * M, number=99)])
    assert traces(front_figure(wide, OBJECTIVES))["knee"].textposition == "top right"
    assert traces(front_figure(wide, OBJECTIVES, log_x=False))["knee"].textposition == "top right"
    alone = front_figure(TABLE[TABLE["number"] == 2], OBJECTIVES)
    assert traces(alone)["knee"].textposition == "top right"
    assert alone.layout.yaxis.rangemode == "nonnegative"


def test_a_trial_without_an_error_stands_above_all_others():
    found = traces(front_figure(TABLE, OBJECTIVES))
    assert found["failed"].y[0] > TABLE["shown_error"].max()
    assert "no error measured" in found["failed"].text[0]
    assert "loss is NaN" in found["failed"].text[0]


def test_the_staircase_follows_the_front_and_only_fits_its_own_two_objectives():
    line = traces(front_figure(TABLE, OBJECTIVES))["front line"]
    assert list(line.x) == [4 * M, 10 * M, 10 * M, 200 * M]
    assert list(line.y) == [0.5, 0.2, 0.2, 0.19]
    assert line.line.shape == "hv"
    for objectives, x in ((("error", "macs", "params"), "macs"), (OBJECTIVES, "params")):
        assert "front line" not in traces(front_figure(TABLE, objectives, x=x))


def test_the_cost_axis_is_logarithmic_with_human_labels():
    axis = front_figure(TABLE, OBJECTIVES).layout.xaxis
    assert axis.type == "log"
    labels = dict(zip(axis.ticktext, axis.tickvals, strict=True))
    assert labels["10M"] == 10 * M
    assert labels["100M"] == 100 * M
    assert "MACs" in axis.title.text
    assert front_figure(TABLE, OBJECTIVES, log_x=False).layout.xaxis.type == "linear"


@pytest.mark.parametrize(("low", "high"), [(5e6, 6e6), (1e6, 9e7), (1e3, 1e9), (7e6, 7e6)])
def test_several_ticks_lie_among_the_costs(low, high):
    ticks = cost_ticks(pd.Series([low, high]))
    assert ticks == sorted(ticks)
    assert ticks[0] < low
    assert ticks[-1] > high
    if high > low:
        assert 2 <= sum(low <= tick <= high for tick in ticks) <= 12


def test_presets_are_labelled_where_they_were_trained():
    (label,) = front_figure(TABLE, OBJECTIVES).layout.annotations
    assert label.text == "cifar_googlenet"
    assert label.x == pytest.approx(np.log10(200 * M))
    assert label.y == 0.19


def test_words_of_a_run_are_text_not_markup():
    hostile = "<a href='javascript:alert(1)'>x</a>"
    rows = [
        ("failed", None, M, {"reason": hostile}),
        ("complete", 0.1, M, {"origin": f"seed:{hostile}"}),
    ]
    table = trials_table(trials_frame(rows), OBJECTIVES)
    figures = [
        front_figure(table, OBJECTIVES),
        hypervolume_figure(
            {hostile: hypervolume_table(trials_frame(rows), OBJECTIVES, (1, 10 * M))}
        ),
        fronts_figure({hostile: front_table(trials_frame(rows), OBJECTIVES)}),
    ]
    for figure in figures:
        text = figure.to_json()
        assert "<a" not in text
        assert "\\u003ca" not in text


def test_the_hypervolume_is_drawn_over_trials_or_seconds():
    table = hypervolume_table(TRIALS, OBJECTIVES, (0.9, 1000 * M))
    by_trials = hypervolume_figure({"a": table})
    assert list(by_trials.data[0].y) == table["hypervolume"].tolist()
    assert list(by_trials.data[0].x) == table["trials"].tolist()
    assert by_trials.layout.showlegend is False
    by_time = hypervolume_figure({"a": table, "b": table}, x="device_seconds")
    assert list(by_time.data[1].x) == table["device_seconds"].tolist()
    assert by_time.layout.showlegend is True
    assert by_time.data[0].line.color != by_time.data[1].line.color


def test_one_learning_curve_stands_out():
    figure = curves_figure(curves_table(CURVES, [2, 3]), highlight=2)
    assert figure.data[-1].name == "trial 2"
    assert list(figure.data[-1].y) == [0.33, 0.20]
    assert figure.data[-1].line.width > figure.data[0].line.width
    assert list(figure.layout.xaxis.tickvals) == [1, 2]


def test_fronts_of_runs_lie_over_one_another():
    front = front_table(TRIALS, OBJECTIVES)
    figure = fronts_figure({"a": front, "b": front.iloc[:2], "none": front.iloc[:0]})
    assert [len(trace.x) for trace in figure.data] == [4, 2, 0]
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert list(figure.data[0].marker.line.width) == [0, 3, 0, 0]


def test_nothing_is_still_a_figure():
    nothing = TRIALS.iloc[:0]
    assert not front_figure(trials_table(nothing, OBJECTIVES), OBJECTIVES).data[0].x
    assert not curves_figure(CURVES.iloc[:0]).data
    assert not hypervolume_figure({}).data
    assert not fronts_figure({}).data
    failed = front_figure(trials_table(TRIALS.iloc[[1]], OBJECTIVES), OBJECTIVES)
    assert traces(failed)["failed"].y == (1.0,)


def test_themes_differ_and_series_do_not():
    light, dark = (front_figure(TABLE, OBJECTIVES, theme=name) for name in ("light", "dark"))
    assert light.layout.template != dark.layout.template
    assert traces(light)["front"].marker.color == BLUE
    assert traces(dark)["front"].marker.color == shown(BLUE, "dark") != BLUE
    assert isinstance(template("dark"), go.layout.Template)


def luminance(colour):
    """WCAG 2.2 relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_has_contrast_aa_and_series_can_be_seen(name):
    theme = THEMES[name]
    for background in (theme.page, theme.surface, theme.accent_surface):
        for text in (theme.text, theme.muted, theme.accent):
            assert contrast(text, background) >= 4.5
    assert contrast(theme.warning, theme.warning_surface) >= 4.5
    for colour in SERIES[:3]:
        assert contrast(shown(colour, name), theme.surface) >= 3
