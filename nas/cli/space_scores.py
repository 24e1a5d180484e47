"""``nas spaces SPACE --scores RUN``: what zero-cost scores would have told of a run's networks.

Scores are kept beside the run, a line a network, so that asking again is fast and an interrupted
call goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.console import note

if TYPE_CHECKING:
    import pandas as pd

    from nas.analysis.score_table import Comparison
    from nas.architecture import Architecture
    from nas.records import Run
    from nas.space import SearchSpace
    from nas.task import Task
    from nas.zero_cost import Batch, Score

KEPT = "zero_cost.jsonl"
"""The file in a run's directory."""

FEWEST_TRIALS = 5
"""With fewer there are too few pairs to speak of ranks."""


def show_scores(space: SearchSpace, what: str, *, as_json: bool) -> None:
    """Score a run's trained networks as they were before training, and print what that tells.

    Raises:
        ValueError: there is no such run, it is of another space, or has under five networks.
    """
    from nas.analysis.score_table import score_table
    from nas.cli.console import print_json
    from nas.cli.reading import reading_line
    from nas.records import open_run
    from nas.zero_cost import SCORES

    run = open_run(what, progress=reading_line())
    _check_space(run, space)
    networks, reasons = _scored(run)
    found = score_table(networks, tuple(SCORES))
    print_json(_as_data(run, networks, found)) if as_json else _print(run, networks, found)
    for line in reasons:
        note(line)


def _check_space(run: Run, space: SearchSpace) -> None:
    from nas.space import SearchSpace

    searched = SearchSpace.from_json(run.settings.space)
    if searched.name != space.name:
        raise ValueError(f"run {run.name!r} searched {searched.name}, not {space.name}")
    if searched.fingerprint != space.fingerprint:
        note(f"note: {space.name} has changed since run {run.name}; its networks are as they were")


# ---------------------------------------------------------------------------------------- scoring


def _scored(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """A row a trained network: its error, costs and scores; and why some have no score."""
    from nas.cost import count_cost
    from nas.task import Task, proxy

    trials = _trained(run)
    task = Task.from_json(run.settings.task)
    image, classes = task.proxy_image, task.target.classes
    proxies = [proxy(run.architecture(number), task) for number in trials["number"]]
    scored = _scores(run, task, proxies)
    costs = [count_cost(narrow, image, classes) for narrow in proxies]
    names = list(scored[proxies[0].fingerprint])
    table = trials[["number", "error", "params", "macs"]].reset_index(drop=True)
    table["proxy_params"] = [cost.params for cost in costs]
    table["proxy_macs"] = [cost.macs for cost in costs]
    rows = [scored[narrow.fingerprint] for narrow in proxies]
    for name in names:
        table[name] = [row[name].value for row in rows]
        table[f"{name}_seconds"] = [row[name].seconds for row in rows]
    reasons = [
        f"note: trial {number} has no {name}: {row[name].reason}"
        for number, row in zip(table["number"], rows, strict=True)
        for name in names
        if row[name].reason
    ]
    return table, reasons


def _trained(run: Run) -> pd.DataFrame:
    """The complete trials, each training once."""
    trials = run.trials
    trained = trials[(trials["state"] == "complete") & ~trials["reused"]]
    if len(trained) < FEWEST_TRIALS:
        raise ValueError(
            f"run {run.name!r} has {len(trained)} trained networks to the end, and ranks need "
            f"at least {FEWEST_TRIALS}"
        )
    return trained


def _scores(run: Run, task: Task, proxies: list[Architecture]) -> dict[str, dict[str, Score]]:
    """The scores of each proxy by its fingerprint: those that are kept, and the others."""
    from nas.datasets.progress import progress_bar
    from nas.zero_cost import initial_network, score_network

    seed = run.settings.seed
    kept = _Kept(run, {"task": task.fingerprint, "seed": seed})
    scored = kept.read()
    missing = {item.fingerprint: item for item in proxies if item.fingerprint not in scored}
    if not missing:
        return scored
    batch = _batch(run, task, seed)
    with progress_bar("networks scored", len(missing)) as done:
        for fingerprint, narrow in missing.items():
            network = initial_network(narrow, task.proxy_image, task.target.classes, seed)
            scored[fingerprint] = score_network(network, batch)
            kept.add(fingerprint, scored[fingerprint])
            done(1)
    return scored


def _batch(run: Run, task: Task, seed: int) -> Batch:
    from nas.datasets import measure_statistics
    from nas.search.data_digest import digest_data
    from nas.search.workers import load_training_data
    from nas.zero_cost import draw_batch

    data = load_training_data(task, None)
    if run.settings.data is not None and digest_data(data) != run.settings.data:
        note(f"note: {task.data} has changed since run {run.name}: its errors are of other images")
    return draw_batch(data.train, measure_statistics(data.train), seed)


@dataclass(frozen=True)
class _Kept:
    """The scores in a run's directory, if it has one that can be written."""

    run: Run
    same: Mapping[str, str | int]

    def read(self) -> dict[str, dict[str, Score]]:
        """All that were computed for the same task and seed in the same way."""
        from nas.zero_cost import SCORES, Score

        scored = {}
        for row in _json_lines(self._path):
            if {key: row.get(key) for key in self._key} == self._key:
                found = {
                    name: Score(float("nan") if value is None else value, seconds, reason)
                    for name, (value, seconds, reason) in row["scores"].items()
                }
                if list(found) == list(SCORES):
                    scored[row["proxy"]] = found
        return scored

    def add(self, fingerprint: str, scores: Mapping[str, Score]) -> None:
        """Keep one network's scores; where nothing can be written they are only printed."""
        values = {
            name: (None if score.reason else score.value, score.seconds, score.reason)
            for name, score in scores.items()
        }
        row = {"proxy": fingerprint, **self._key, "scores": values}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                # A line of its own even after one that was cut off.
                file.write(f"\n{json.dumps(row, allow_nan=False)}\n")
        except OSError:
            return

    @property
    def _path(self) -> Path:
        return self.run.path / KEPT

    @property
    def _key(self) -> dict[str, str | int]:
        from nas.zero_cost import FORMAT

        return {"format": FORMAT, **self.same}


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # empty, or cut off when its writer was stopped
        if isinstance(row, dict):
            yield row


# ---------------------------------------------------------------------------------------- printing


def _print(run: Run, networks: pd.DataFrame, found: Comparison) -> None:
    from nas.analysis.rank_correlations import Estimate
    from nas.analysis.score_table import BASELINES
    from nas.cli.console import print_table, print_text

    rows = []
    for row in found.table.to_dict("records"):
        items = row["networks"]
        tau = Estimate(row["tau"], row["tau_low"], row["tau_high"], items)
        more = Estimate(row["difference"], row["difference_low"], row["difference_high"], items)
        seconds = "-" if row["is_baseline"] else f"{_median_seconds(networks, row['name']):.2f}"
        rho = f"{row['spearman']:+.2f}" if row["spearman"] == row["spearman"] else "-"
        name = BASELINES.get(row["name"], row["name"])
        rows.append((name, str(tau), rho, str(more), seconds))
    print_table(
        ("score", ">tau", ">Spearman", ">tau - best cost", ">seconds"),
        rows,
        title=f"Rank correlation with accuracy: {len(networks)} trained networks of {run.name}",
    )
    print_text()
    print_text(
        "tau: Kendall's, +1 where networks rank as their accuracy (1 - error) does; in brackets "
        "95 % intervals over networks. Scores are of the untrained proxies with seed "
        f"{run.settings.seed}; seconds: a network, on one thread, the median."
    )
    print_text(_verdict(found), bold=True)


def _median_seconds(networks: pd.DataFrame, name: str) -> float:
    return float(networks[f"{name}_seconds"].median())


def _verdict(found: Comparison) -> str:
    from nas.analysis.score_table import BASELINES

    if found.baseline is None:
        return "All networks have the same error, or the same cost: nothing can be ranked."
    best = BASELINES[found.baseline]
    if not found.better:
        return (
            f"No score ranks these networks better than the best cost, {best}: no interval of "
            f"a difference is over 0."
        )
    return f"Better than the best cost, {best}, by a whole interval: {', '.join(found.better)}."


def _as_data(run: Run, networks: pd.DataFrame, found: Comparison) -> dict[str, Any]:
    from nas.analysis.score_table import BASELINES

    table = found.table.copy()
    table["seconds"] = [
        float("nan") if name in BASELINES else _median_seconds(networks, name)
        for name in table["name"]
    ]
    return {
        "run": run.name,
        "seed": run.settings.seed,
        "correlated_with": "accuracy",
        "baseline": found.baseline,
        "better": list(found.better),
        "scores": table.to_dict("records"),
        "networks": networks.rename(columns={"number": "trial"}).to_dict("records"),
    }
