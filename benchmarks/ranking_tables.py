"""The tables of benchmarks/proxy_ranking.py: from trainings to taus, as Markdown and JSON.

The truth is an architecture's error after the longer training, the mean over its seeds. Left out:
training (proxy_ranking.py) and the statistic itself (nas.analysis.rank_correlations).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from proxy_settings import BASE, REFERENCE

from nas.analysis.rank_correlations import Estimate, tau, tau_difference

Values = list[float]
"""A number for each architecture, NaN where there is none."""


@dataclass(frozen=True)
class Study:
    """The trainings that there are.

    ``trained`` maps (setting, seed, architecture's number) to a row of the file; ``order`` is that
    of the settings. ``macs``, ``params`` (at the target) and ``stages`` are by number.
    """

    title: str
    order: Sequence[str]
    trained: Mapping[tuple[str, int, int], Mapping[str, Any]]
    macs: Sequence[int]
    params: Sequence[int]
    stages: Sequence[int]

    def seeds(self, setting: str) -> list[int]:
        """The seeds that a setting was trained with."""
        return sorted({seed for name, seed, _ in self.trained if name == setting})

    def epochs(self, setting: str) -> list[int]:
        """The rungs of a setting."""
        rows = (row for (name, _, _), row in self.trained.items() if name == setting)
        return [rung["epoch"] for rung in next(rows)["rungs"]]

    def values(self, measure: str, setting: str, seed: int, epoch: int | None = None) -> Values:
        """A measure of each architecture at a rung, by default the last; see :func:`_measured`."""
        values = []
        for number in range(len(self.macs)):
            row = self.trained.get((setting, seed, number))
            values.append(math.nan if row is None else _measured(row, measure, epoch))
        return values

    def truth(self) -> Values:
        """The error after the longer training, the mean over the seeds that there are."""
        return _mean(*(self.values("error", REFERENCE, seed) for seed in self.seeds(REFERENCE)))

    def made_on(self) -> list[str]:
        """The machines and versions that trained, one a line."""
        rows = self.trained.values()
        return sorted(
            {
                f"{row['device']}, {row['precision']}; Python {row['versions']['python']}, "
                f"torch {row['versions']['torch']}"
                for row in rows
            }
        )


def _measured(row: Mapping[str, Any], measure: str, epoch: int | None) -> float:
    rungs = row["rungs"]
    rung = next(r for r in rungs if r["epoch"] == (epoch or rungs[-1]["epoch"]))
    # Ru et al., arXiv:2006.04492: the training losses summed over the epochs rank, too.
    value = sum(rung["train_losses"]) if measure == "train_loss_sum" else rung[measure]
    return float(value)


def _mean(*rankings: Values) -> Values:
    """Of each architecture, over the rankings that have it."""
    columns = ([v for v in column if not math.isnan(v)] for column in zip(*rankings, strict=True))
    # Rounded, so that means of different errors that are equal stay ties.
    return [round(statistics.fmean(column), 9) if column else math.nan for column in columns]


@dataclass(frozen=True)
class SettingRow:
    """A way to rank: its agreement with the truth, by three measures, and what it costs.

    ``within_stages`` counts only pairs of architectures with equally many stages. ``change`` is
    the tau of the errors less that of the *base* on the same architectures.
    """

    name: str
    error: Estimate
    within_stages: Estimate
    change: Estimate
    validation_loss: Estimate
    train_loss_sum: Estimate
    median_seconds: float
    mean_seconds: float

    @property
    def per_second(self) -> float:
        """Tau per second of an average trial: a search pays the mean, not the median."""
        return self.error.value / self.mean_seconds


@dataclass(frozen=True)
class PlainRow:
    """What ranks without a training, or how far two trainings agree."""

    name: str
    error: Estimate
    within_stages: Estimate


def setting_rows(study: Study) -> list[SettingRow]:
    """A row for each setting, from its first seed."""
    names = (name for name in study.order if name != REFERENCE and study.seeds(name))
    return [_setting_row(study, name, name, (study.seeds(name)[0],)) for name in names]


def rung_rows(study: Study) -> list[SettingRow]:
    """The settings stopped at earlier rungs, with the schedule of the whole training."""
    return [
        _setting_row(study, f"{name}, at epoch {epoch}", name, (study.seeds(name)[0],), epoch)
        for name in study.order
        if name != REFERENCE and study.seeds(name)
        for epoch in study.epochs(name)[:-1]
    ]


def repeated_rows(study: Study) -> list[SettingRow]:
    """The mean of two seeds, for settings that have them."""
    return [
        _setting_row(study, f"{name}, mean of {len(seeds)} seeds", name, seeds)
        for name in study.order
        if name != REFERENCE and len(seeds := tuple(study.seeds(name))) > 1
    ]


def _setting_row(
    study: Study, title: str, name: str, seeds: Sequence[int], epoch: int | None = None
) -> SettingRow:
    truth = study.truth()

    def values(measure: str) -> Values:
        each = [study.values(measure, name, seed, epoch) for seed in seeds]
        # With several seeds only architectures that have them all: their seconds add up.
        return [statistics.fmean(column) for column in zip(*each, strict=True)]

    base = study.values("error", BASE, 0)
    seconds = [len(seeds) * value for value in values("seconds") if not math.isnan(value)]
    return SettingRow(
        name=title,
        error=tau(values("error"), truth),
        within_stages=tau(values("error"), truth, study.stages),
        change=tau_difference(values("error"), base, truth),
        validation_loss=tau(values("validation_loss"), truth),
        train_loss_sum=tau(values("train_loss_sum"), truth),
        median_seconds=statistics.median(seconds) if seconds else math.nan,
        mean_seconds=statistics.fmean(seconds) if seconds else math.nan,
    )


def plain_rows(study: Study) -> list[PlainRow]:
    """Costs alone (more is taken for better), then the agreement of seeds: floor and ceiling."""
    truth = study.truth()
    costs = {"parameters": study.params, "MACs": study.macs, "number of stages": study.stages}
    pairs = {f"{name} alone": ([-float(v) for v in vs], truth) for name, vs in costs.items()}
    for name in study.order:
        for one, other in combinations(study.seeds(name), 2):
            both = (study.values("error", name, one), study.values("error", name, other))
            pairs[f"{name}: seed {one} against {other}"] = both
    return [PlainRow(name, tau(x, y), tau(x, y, study.stages)) for name, (x, y) in pairs.items()]


def tables(study: Study) -> Iterator[tuple[str, Sequence[SettingRow | PlainRow]]]:
    """Each table with its title."""
    yield "Settings", setting_rows(study)
    yield "Without training, and seeds against each other", plain_rows(study)
    yield "Two seeds", repeated_rows(study)
    yield "Stopped early", rung_rows(study)


def markdown(study: Study) -> str:
    """All tables as Markdown, aligned so that it also reads in a terminal."""
    lines = [study.title, *study.made_on(), *_reference_lines(study)]
    parts = ["\n".join(lines)]
    for title, rows in tables(study):
        if rows:
            parts.append(f"**{title}**\n\n{_aligned([_cells(row) for row in rows])}")
    return "\n\n".join(parts) + "\n"


def _reference_lines(study: Study) -> Iterator[str]:
    for seed in study.seeds(REFERENCE):
        errors, seconds = (
            [value for value in study.values(measure, REFERENCE, seed) if not math.isnan(value)]
            for measure in ("error", "seconds")
        )
        yield (
            f"{REFERENCE}, seed {seed}: n = {len(errors)}, "
            f"error {min(errors):.3f} to {max(errors):.3f}, "
            f"{statistics.median(seconds):.1f} s median, {statistics.fmean(seconds):.1f} s mean"
        )


def _cells(row: SettingRow | PlainRow) -> dict[str, str]:
    cells = {
        "": row.name,
        "n": str(row.error.items),
        "tau": str(row.error),
        "within stages": str(row.within_stages),
    }
    if isinstance(row, PlainRow):
        return cells
    return {
        **cells,
        f"less {BASE}": "-" if row.name == BASE else str(row.change),
        "of validation loss": str(row.validation_loss),
        "of training losses": str(row.train_loss_sum),
        "median s": f"{row.median_seconds:.2f}",
        "mean s": f"{row.mean_seconds:.2f}",
        "tau/s": f"{row.per_second:.3f}",
    }


def _aligned(rows: Sequence[Mapping[str, str]]) -> str:
    heads = list(rows[0])
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(heads), rule, *(line([row[head] for head in heads]) for row in rows)])


def write_tables(study: Study, path: Path, as_json: bool) -> None:
    """Print the tables and keep them as Markdown in ``path``."""
    if not study.seeds(REFERENCE):
        raise SystemExit("nothing to compare with yet: no longer training is done")
    text = markdown(study)
    path.write_text(text, encoding="utf-8")
    print(json.dumps(as_data(study), indent=2) if as_json else text)


def as_data(study: Study) -> dict[str, Any]:
    """The tables for scripts; what cannot be estimated is null."""
    found = {title: [asdict(row) for row in rows] for title, rows in tables(study)}
    data = {"title": study.title, "made_on": study.made_on(), "tables": found}
    # JSON has no NaN.
    return json.loads(json.dumps(data), parse_constant=lambda _: None)  # type: ignore[no-any-return]
