"""One figure of a report as a file of its own, for papers: SVG or PNG, without a browser.

The file's name says which figure: ``front.svg``, ``attainment.png``. The same tables and figures
as on the page; SVG is text and lines, PNG is three times as fine as the screen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from nas.analysis.attainment import attainment_table
from nas.analysis.choice_figures import importance_figure
from nas.analysis.comparison import indicators_table
from nas.analysis.comparison_figures import attainment_figure, indicators_figure
from nas.analysis.figures import (
    curves_figure,
    front_figure,
    fronts_figure,
    hypervolume_figure,
)
from nas.analysis.importance import MIN_TRIALS, importance_table
from nas.analysis.repeats import error_bars_table
from nas.analysis.run_groups import incomparable, run_groups
from nas.analysis.tables import (
    curves_table,
    front_table,
    hypervolume_table,
    trials_table,
)
from nas.quantities import unknown_name
from nas.records import Run
from nas.report.choices import choices_part
from nas.report.raster import svg_to_png
from nas.report.vector import figure_svg

SUFFIXES = (".svg", ".png")


def figure_name(path: Path) -> str:
    """The figure that a file's name asks for.

    Raises:
        ValueError: the name is no figure's, or does not end in .svg or .png.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--figure must end in .svg or .png, not {str(path)!r}")
    if path.stem not in FIGURES:
        known = unknown_name("figure", path.stem, FIGURES)
        raise ValueError(f"--figure {path}: a file is named after its figure; {known}")
    return path.stem


def write_figure(runs: Sequence[Run], out: str | Path) -> Path:
    """Write the figure that ``out`` is named after, of one or several runs; returns the path.

    The file is whole or not there; a file of that name is replaced.

    Raises:
        ValueError: no such figure, or the runs have nothing that it could show.
        OSError: the file cannot be written.
    """
    path = Path(out)
    figure = FIGURES[figure_name(path)](labelled(runs))
    svg = figure_svg(figure)
    content = svg_to_png(svg) if path.suffix.lower() == ".png" else svg.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def labelled(runs: Sequence[Run]) -> dict[str, Run]:
    """Runs by name; names that occur twice are told apart by their paths, then by their places."""
    names = [run.name for run in runs]
    found: dict[str, Run] = {}
    for place, run in enumerate(runs):
        label = f"{run.name} ({run.path})" if names.count(run.name) > 1 else run.name
        found[f"{label}, {place + 1}" if label in found else label] = run
    return found


def _front(runs: Mapping[str, Run]) -> go.Figure:
    if len(runs) > 1:
        return _fronts(runs)
    ((name, run),) = runs.items()
    objectives = run.settings.objectives
    if run.trials.empty:
        raise ValueError(f"run {name!r} has no trials yet: there is no front to draw")
    table = trials_table(run.trials, objectives, run.curves, is_live=run.state == "running")
    repeats = error_bars_table({name: run.trials}, name)
    return front_figure(table, objectives, x=_first_cost(run), repeats=repeats)


def _fronts(runs: Mapping[str, Run]) -> go.Figure:
    fronts = {name: front_table(run.trials, run.settings.objectives) for name, run in runs.items()}
    if all(front.empty for front in fronts.values()):
        raise ValueError("no run has a front: no trial is complete")
    return fronts_figure(fronts, x=_first_cost(next(iter(runs.values()))))


def _first_cost(run: Run) -> str:
    return next((name for name in run.settings.objectives if name != "error"), "macs")


def _hypervolume(runs: Mapping[str, Run]) -> go.Figure:
    _check_comparable(runs)
    return hypervolume_figure(
        {
            name: hypervolume_table(run.trials, run.settings.objectives, run.settings.reference)
            for name, run in runs.items()
        }
    )


def _check_comparable(runs: Mapping[str, Run]) -> None:
    reason = incomparable({name: run.settings for name, run in runs.items()})
    if reason:
        raise ValueError(reason)


def _attainment(runs: Mapping[str, Run]) -> go.Figure:
    _check_comparable(runs)
    cost = _first_cost(next(iter(runs.values())))
    groups = run_groups({name: run.settings for name, run in runs.items()})
    trials = {name: run.trials for name, run in runs.items()}
    table = attainment_table(trials, x=cost, groups=groups)
    if table.empty:
        raise ValueError("no run has a complete trial: nothing was attained")
    return attainment_figure(table, x=cost)


def _indicators(runs: Mapping[str, Run]) -> go.Figure:
    _check_comparable(runs)
    settings = next(iter(runs.values())).settings
    trials = {name: run.trials for name, run in runs.items()}
    return indicators_figure(indicators_table(trials, settings.objectives, settings.reference))


def _curves(runs: Mapping[str, Run]) -> go.Figure:
    run = _only(runs, "curves")
    front = front_table(run.trials, run.settings.objectives)
    table = curves_table(run.curves, front["number"].tolist())
    if table.empty:
        raise ValueError(f"run {run.name!r} has no learning curves of front networks")
    knee = front.loc[front["is_knee"], "number"]
    return curves_figure(table, highlight=int(knee.iloc[0]))


def _only(runs: Mapping[str, Run], name: str) -> Run:
    if len(runs) > 1:
        raise ValueError(f"the figure {name} is of one run, and there are {len(runs)}")
    return next(iter(runs.values()))


def _importance(runs: Mapping[str, Run]) -> go.Figure:
    run = _only(runs, "importance")
    table = importance_table(run.trials, run.choices, cost=_first_cost(run), by="kind")
    if table.empty:
        raise ValueError(f"importances need {MIN_TRIALS} complete trials with different errors")
    return importance_figure(table)


def _of_choices(name: str) -> Callable[[Mapping[str, Run]], go.Figure]:
    def build(runs: Mapping[str, Run]) -> go.Figure:
        figures = choices_part(_only(runs, name)).figures
        if name not in figures:
            raise ValueError(f"the run has nothing that the figure {name} could show")
        return figures[name]

    return build


FIGURES: dict[str, Callable[[Mapping[str, Run]], go.Figure]] = {
    "front": _front,
    "fronts": _fronts,
    "hypervolume": _hypervolume,
    "curves": _curves,
    "attainment": _attainment,
    "indicators": _indicators,
    "importance": _importance,
    **{name: _of_choices(name) for name in ("parallel", "branches", "survival", "reductions")},
}
"""What can be drawn into a file of its own, by name."""
