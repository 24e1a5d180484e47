"""A run as the values and drawings of its page: sentences, rows of text, SVG, figures as data.

Everything is text that the template escapes, but for the drawings, which escape by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from nas.analysis.figures import (
    MARKS,
    curves_figure,
    front_figure,
    hypervolume_figure,
    percent,
)
from nas.analysis.next_steps import Step, next_steps, show_line
from nas.analysis.progress import pace_table
from nas.analysis.progress_figures import STATE_WORDS, pace_figure
from nas.analysis.rejected import reason_words
from nas.analysis.repeats import error_bars_table
from nas.analysis.tables import (
    curves_table,
    front_table,
    hypervolume_table,
    picks_table,
    progress_table,
    rejections_table,
    spend_table,
    trials_table,
)
from nas.cost import COST_LABELS
from nas.quantities import format_count, format_milliseconds, format_seconds
from nas.records import Run
from nas.report.choices import ChoicesPart, choices_part
from nas.report.comparison import Comparison, compare_runs
from nas.report.confirmed import ConfirmedPart, confirmed_part
from nas.report.details import Detail, Row, front_detail
from nas.report.paper import labelled
from nas.report.words import outcome_sentence, search_sentence, settings_rows, warnings
from nas.task import Task

MAX_DETAILS = 30
"""Front points that are drawn with their layers; a longer front keeps its ends and its knee."""

MAX_REJECTIONS = 10


@dataclass(frozen=True)
class RunView:
    """All that the page shows of a run; ``figures`` and ``trials`` go to the script as JSON."""

    key: str
    name: str
    subtitle: str
    search: str
    outcome: str
    warnings: list[str]
    facts: list[tuple[str, str, str]]
    commands: list[Step]
    axes: list[tuple[str, str]]
    front: list[Row]
    has_latency: bool
    details: list[Detail]
    spend: list[Row]
    rejections: list[Row]
    last_rejections: list[Row]
    settings: list[tuple[str, str]]
    documents: list[tuple[str, str]]
    figures: dict[str, Any]
    trials: dict[str, Row]
    first: int | None
    progress: list[Row]
    choices: ChoicesPart
    confirmed: ConfirmedPart | None = None
    comparison: Comparison | None = None


def run_views(runs: Sequence[Run]) -> list[RunView]:
    """The views of runs in order; names that occur twice are told apart by their paths."""
    named = labelled(runs)
    views = [
        _RunViewer(run, f"run{place}", name).view()
        for place, (name, run) in enumerate(named.items())
    ]
    if len(runs) == 1:
        return views
    comparison = compare_runs(named)
    drawn = {name: _data(figure) for name, figure in comparison.figures.items()}
    # The first view also carries what compares all runs.
    first = replace(views[0], comparison=comparison, figures={**views[0].figures, **drawn})
    return [first, *views[1:]]


def _data(figure: go.Figure) -> Any:
    """A figure as JSON data without its template: the page has both, and chooses."""
    figure.layout.template = None
    return json.loads(figure.to_json())


class _RunViewer:
    """Reads a run once and makes the parts of its view."""

    def __init__(self, run: Run, key: str, name: str) -> None:
        self.run, self.key, self.name = run, key, name
        self.settings, self.trials = run.settings, run.trials
        self.objectives = run.settings.objectives
        self.task = Task.from_json(run.settings.task)
        self.table = trials_table(
            self.trials, self.objectives, run.curves, is_live=run.state == "running"
        )
        self.front = front_table(self.trials, self.objectives)
        self.history = hypervolume_table(self.trials, self.objectives, self.settings.reference)
        self.picks = picks_table(self.trials, self.objectives)
        self.choices = choices_part(run)
        self.confirmed = confirmed_part(run)
        self.axes = [name for name in self.objectives if name != "error"] or ["macs"]

    def view(self) -> RunView:
        detailed = self._detailed()
        return RunView(
            key=self.key,
            name=self.name,
            subtitle=self._subtitle(),
            search=search_sentence(self.settings, self.task, self.table),
            outcome=outcome_sentence(self.table, self.front, self.picks, self.objectives),
            warnings=warnings(self.run, self.table, self.front),
            facts=self._facts(),
            commands=next_steps(self.run),
            axes=[(name, COST_LABELS[name]) for name in self.axes],
            front=self._front_rows(detailed),
            has_latency=bool(self.front["latency_ms"].notna().any()),
            details=self._details(detailed),
            spend=self._spend_rows(),
            rejections=self._rejections(),
            last_rejections=self._last_rejections(),
            settings=settings_rows(self.run, self.task),
            documents=self._documents(),
            figures=self._figures(),
            trials=self._trial_cards(),
            first=self._first(detailed),
            progress=self._progress_rows(),
            choices=self.choices,
            confirmed=self.confirmed,
        )

    def _subtitle(self) -> str:
        space = json.loads(self.settings.space).get("name", "")
        ended = f" ({self.run.ended.message})" if self.run.ended else ""
        when = self.settings.created.replace("T", " ")
        return f"{space} on {self.task.data}, started {when}, {self.run.state}{ended}"

    def _names(self, number: int) -> tuple[str, ...]:
        return tuple(self.picks.loc[self.picks["number"] == number, "pick"])

    def _detailed(self) -> list[int]:
        numbers = self.front["number"].tolist()
        if len(numbers) <= MAX_DETAILS:
            return numbers
        kept = set(self.picks["number"])
        # The others evenly along the front, so that no part of it is without a drawing.
        room = MAX_DETAILS - len(kept)
        others = [number for number in numbers if number not in kept]
        kept |= {others[index * len(others) // room] for index in range(room)}
        return [number for number in numbers if number in kept]

    def _first(self, detailed: list[int]) -> int | None:
        knee = self.front.loc[self.front["is_knee"], "number"].tolist()
        return next(iter(knee or detailed or self.table["number"].tolist()), None)

    def _facts(self) -> list[tuple[str, str, str]]:
        """Label, value, remark: the figures that one looks for first."""
        spent = spend_table(self.trials).to_dict("records")[-1]
        facts = []
        for row in self.picks.to_dict("records"):
            if row["pick"] != "cheapest" and len(self.front):
                remark = f"{format_count(row['macs'])} MACs, trial {row['number']}"
                label = {"knee": "error at the knee", "best": "smallest error"}[str(row["pick"])]
                facts.append((label, percent(row["error"]), remark))
        facts.append(
            ("networks on the front", str(len(self.front)), f"of {len(self.trials)} trials")
        )
        volume = self.history["hypervolume"].max() if len(self.history) else 0.0
        facts.append(("hypervolume", f"{volume:.3f}", "higher is better"))
        facts.append(
            (
                "training",
                format_seconds(spent["train_seconds"]),
                f"{spent['epochs']:,} epochs in all",
            )
        )
        return facts

    def _front_rows(self, detailed: list[int]) -> list[Row]:
        return [
            {
                "number": row["number"],
                "picks": self._names(row["number"]),
                "error": percent(row["error"]),
                "macs": format_count(row["macs"]),
                "params": format_count(row["params"]),
                "memory": format_count(row["activation_bytes"]),
                "latency": format_milliseconds(row["latency_ms"]),
                "epochs": row["epochs"],
                "seconds": format_seconds(row["train_seconds"]),
                "origin": row["origin"] + (", cached" if row["reused"] else ""),
                "detailed": row["number"] in detailed,
            }
            for row in self.front.to_dict("records")
        ]

    def _details(self, detailed: list[int]) -> list[Detail]:
        rows = {row["number"]: row for row in self.front.to_dict("records")}
        return [
            front_detail(self.run, self.task, rows[number], self._names(number), self.name)
            for number in detailed
        ]

    def _state_words(self, state: str) -> str:
        going = "running" if self.run.state == "running" else "unfinished"
        return {**STATE_WORDS, "running": going, "total": "all"}[state]

    def _spend_rows(self) -> list[Row]:
        return [
            {
                "state": self._state_words(row["state"]),
                "trials": row["trials"],
                "reused": row["reused"],
                "epochs": f"{row['epochs']:,}",
                "seconds": format_seconds(row["train_seconds"]),
                "share": f"{100 * row['share']:.0f} %",
                "width": f"{100 * row['share']:.1f}",
            }
            for row in spend_table(self.trials).to_dict("records")
            if row["trials"] or row["state"] == "total"
        ]

    def _rejections(self) -> list[Row]:
        return [
            {
                "reason": reason_words(str(row["reason"]), self.settings.budgets),
                "proposals": f"{row['proposals']:,}",
            }
            for row in rejections_table(self.run.rejections.counts).to_dict("records")
        ]

    def _last_rejections(self) -> list[Row]:
        last = self.run.rejections.last[-MAX_REJECTIONS:]
        return [
            {"number": row.get("number", "-"), "reason": row.get("reason", "")}
            for row in reversed(last)
        ]

    def _documents(self) -> list[tuple[str, str]]:
        return [
            ("Search space", _indented(self.settings.space)),
            ("Task", _indented(self.settings.task)),
        ]

    def _progress_rows(self) -> list[Row]:
        table = progress_table(self.history, self.run.given_up_seconds)
        return [
            {
                "share": f"{100 * row['share']:.0f} %",
                "seconds": format_seconds(row["device_seconds"]),
                "trials": f"{row['trials']:,}",
                "hypervolume": f"{row['hypervolume']:.3f}",
                "of_last": f"{100 * row['hypervolume_share']:.0f} %",
            }
            for row in table.to_dict("records")
        ]

    def _figures(self) -> dict[str, Any]:
        repeats = error_bars_table({self.name: self.trials}, self.name)
        figures = {
            f"front-{axis}": _data(
                front_figure(self.table, self.objectives, x=axis, repeats=repeats)
            )
            for axis in self.axes
        }
        figures["hypervolume"] = _data(hypervolume_figure({self.name: self.history}))
        pace = pace_table(self.trials)
        if len(pace):
            figures["pace"] = _data(pace_figure(pace))
        drawn = self.confirmed.figures if self.confirmed else {}
        for name, figure in {**self.choices.figures, **drawn}.items():
            figures[name] = _data(figure)
        curves = curves_table(self.run.curves, self.front["number"].tolist())
        figures["curves"] = _data(curves_figure(curves))
        return figures

    def _trial_cards(self) -> dict[str, Row]:
        """By number, what is said of a trial that has no drawing."""
        return {
            str(row["number"]): {
                "standing": MARKS[row["standing"]].label,
                "why": _why(row),
                "error": percent(row["shown_error"]),
                "macs": f"{row['macs']:,}",
                "params": f"{row['params']:,}",
                "epochs": row["epochs"],
                "origin": row["origin"],
                "command": show_line(self.run, row["number"]),
            }
            for row in self.table.to_dict("records")
        }


def _why(row: Row) -> str:
    parts = []
    if row["dominated_by"]:
        several = "," in row["dominated_by"]
        better = (
            f"trials {row['dominated_by']} are" if several else f"trial {row['dominated_by']} is"
        )
        parts.append(f"{better} no worse in any objective and better in at least one")
    if row["reason"]:
        parts.append(row["reason"])
    return "; ".join(parts)


def _indented(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
