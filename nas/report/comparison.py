"""Several runs set against each other, for the page: rows of text, figures, what may be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas.analysis.attainment import attainment_table
from nas.analysis.comparison import (
    indicators_table,
    pairs_table,
    pick_difference_table,
    significance_table,
)
from nas.analysis.comparison_figures import attainment_figure, indicators_figure
from nas.analysis.figures import fronts_figure, hypervolume_figure, percent
from nas.analysis.run_groups import incomparable, run_groups, seed_pairs
from nas.analysis.tables import front_table, hypervolume_table, runs_table
from nas.quantities import format_count, format_seconds
from nas.records import Run, RunSettings
from nas.task import Task

Row = dict[str, Any]
MAX_PAIRS = 30
"""Rows of runs against each other; more are a matter for the tables of the package."""


@dataclass(frozen=True)
class Comparison:
    """The page's part on all runs; without comparable runs their fronts and figures alone."""

    rows: list[Row]
    warning: str
    figures: dict[str, go.Figure]
    is_same_task: bool
    is_comparable: bool
    indicators: list[Row] = field(default_factory=list)
    pairs: list[Row] = field(default_factory=list)
    significance: list[Row] = field(default_factory=list)
    picks: list[Row] = field(default_factory=list)


def compare_runs(runs: Mapping[str, Run]) -> Comparison:
    """The comparison of runs by the names that the page gives them."""
    settings = {name: run.settings for name, run in runs.items()}
    trials = {name: run.trials for name, run in runs.items()}
    fronts, histories = {}, {}
    for name, run in runs.items():
        objectives, reference = run.settings.objectives, run.settings.reference
        fronts[name] = front_table(run.trials, objectives)
        histories[name] = hypervolume_table(run.trials, objectives, reference)
    warning = incomparable(settings)
    figures = {"compared-fronts": fronts_figure(fronts)}
    part = Comparison(
        rows=_run_rows(runs_table(fronts, histories)),
        warning=warning,
        figures=figures,
        is_same_task=len({Task.from_json(one.task).fingerprint for one in settings.values()}) == 1,
        is_comparable=not warning,
    )
    return part if warning else _compared(part, trials, settings, histories)


def _compared(
    part: Comparison,
    trials: Mapping[str, pd.DataFrame],
    settings: Mapping[str, RunSettings],
    histories: Mapping[str, pd.DataFrame],
) -> Comparison:
    """What only runs of one task and one reference point allow."""
    one = next(iter(settings.values()))
    scores = indicators_table(trials, one.objectives, one.reference)
    groups = run_groups(settings)
    figures = {
        **part.figures,
        "compared-hypervolume": hypervolume_figure(histories),
        "compared-indicators": indicators_figure(scores),
        "compared-attainment": attainment_figure(attainment_table(trials, groups=groups)),
    }
    pairs = pairs_table(trials, one.objectives, one.reference).head(MAX_PAIRS)
    tests = pd.DataFrame()
    if len(set(groups.values())) > 1:
        tests = significance_table(scores, groups=groups, pairs=seed_pairs(settings, groups))
    return Comparison(
        rows=part.rows,
        warning=part.warning,
        figures=figures,
        is_same_task=part.is_same_task,
        is_comparable=True,
        indicators=_indicator_rows(scores),
        pairs=_pair_rows(pairs),
        significance=_test_rows(tests),
        picks=_pick_rows(pick_difference_table(trials, one.objectives)),
    )


def _run_rows(table: pd.DataFrame) -> list[Row]:
    return [
        {
            "run": row["run"],
            "trials": str(row["trials"]),
            "time": format_seconds(row["device_seconds"]),
            "front": str(row["front"]),
            "best": percent(row["best_error"]),
            "knee": f"{percent(row['knee_error'])} at {format_count(row['knee_macs'])}"
            if row["front"]
            else "-",
            "hypervolume": f"{row['hypervolume']:.4f}",
        }
        for row in table.to_dict("records")
    ]


def _number(value: float, digits: int = 2) -> str:
    return "-" if not np.isfinite(value) else f"{value:.{digits}f}"


def _indicator_rows(table: pd.DataFrame) -> list[Row]:
    return [
        {
            "run": row["run"],
            "ratio": percent(row["hypervolume_ratio"]),
            "additive": _number(row["epsilon_additive"], 3),
            "factor": _number(row["epsilon_multiplicative"], 3),
            "share": percent(row["joint_share"]),
        }
        for row in table.to_dict("records")
    ]


def _pair_rows(table: pd.DataFrame) -> list[Row]:
    return [
        {
            "run": row["run"],
            "other": row["other"],
            "ratio": _number(row["hypervolume_ratio"], 3),
            "additive": _number(row["epsilon_additive"], 3),
            "factor": _number(row["epsilon_multiplicative"], 3),
            "coverage": percent(row["coverage"]),
        }
        for row in table.to_dict("records")
    ]


def _test_rows(table: pd.DataFrame) -> list[Row]:
    return [
        {
            "group": row["group"],
            "other": row["other"],
            "runs": f"{row['runs']} and {row['other_runs']}",
            "test": row["test"],
            "medians": f"{_number(row['median'], 4)} and {_number(row['other_median'], 4)}",
            "superiority": _number(row["superiority"]),
            "p": _number(row["p_adjusted"], 3),
            "verdict": row["verdict"],
        }
        for row in table.to_dict("records")
    ]


def _pick_rows(table: pd.DataFrame) -> list[Row]:
    return [
        {
            "pick": row["pick"],
            "run": row["run"],
            "number": row["number"],
            "error": percent(row["error"]),
            "macs": format_count(row["macs"]),
            "difference": f"{100 * row['error_difference']:+.1f}",
            "factor": f"{row['macs_ratio']:.2f}",
        }
        for row in table.to_dict("records")
    ]
