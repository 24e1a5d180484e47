"""What ``nas show RUN --trial N`` says of a trial, as plain data with stable keys.

Left out: how it looks (:mod:`nas.cli.show_trial`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from nas.records import Run


def check_trial(run: Run, number: int) -> None:
    """Refuse a number that no trial has.

    Raises:
        ValueError: there is none; the message says which there are, and of rejected proposals.
    """
    from nas.analysis.next_steps import run_word
    from nas.analysis.shell import command

    if (run.trials["number"] == number).any():
        return
    last = f"0 to {run.trials['number'].max()}" if len(run.trials) else "none yet"
    text = f"run {run.name!r} has no trial {number}; it has {last}"
    total = run.rejections.total
    if total:
        were = "1 proposal was" if total == 1 else f"{total:,} proposals were"
        text += (
            f". {were} rejected without a number; see "
            f"{command('show', run_word(run), '--rejections')}"
        )
    raise ValueError(text)


def trial_data(run: Run, number: int) -> dict[str, Any]:
    """What is shown of a trial, as plain data with stable keys."""
    from nas.analysis.tables import picks_table, trials_table

    objectives, trials = run.settings.objectives, run.trials
    rows = trials_table(trials, objectives, run.curves, is_live=run.state == "running")
    row = _records(rows[rows["number"] == number])[0]
    stored = trials[trials["number"] == number].iloc[0]
    curves = run.curves[run.curves["number"] == number].drop(columns="number")
    choices = run.choices[run.choices["number"] == number].drop(columns="number").dropna(axis=1)
    picks = picks_table(trials, objectives)
    before = sum(item.get("number") == number for item in run.rejections.last)
    return {
        **row,
        "run": run.name,
        "run_state": run.state,
        "objectives": list(objectives),
        "seed": int(stored["seed"]),
        "expected_share": float(stored["expected_share"]),
        "rejected_before": before,
        "picks": [str(item["pick"]) for item in _records(picks) if item["number"] == number],
        **_standing_data(run, number, row["standing"]),
        "setup_seconds": float(curves["setup_seconds"].max()) if len(curves) else 0.0,
        "choices": _records(choices)[0],
        "curve": _records(curves),
        "architecture": json.loads(run.architecture(number).to_json()),
        "next": _next_commands(run, number, row["standing"]),
    }


def _standing_data(run: Run, number: int, standing: str) -> dict[str, Any]:
    """Whom it beats, who beats it, and what stands beside it: as far as its standing has such."""
    from nas.analysis.reasons import (
        dominated_numbers,
        dominators_table,
        neighbours_table,
        own_share,
    )

    trials, objectives = run.trials, run.settings.objectives
    data: dict[str, Any] = {
        "dominates": [],
        "dominators": [],
        "neighbours": [],
        "hypervolume_share": None,
        **_stop_data(run, number),
    }
    if standing in ("front", "dominated"):
        data["dominates"] = dominated_numbers(trials, objectives, number).tolist()
    if standing == "dominated":
        data["dominators"] = _records(dominators_table(trials, objectives, number))
    if standing == "front":
        data["neighbours"] = _records(neighbours_table(trials, objectives, number))
        share = own_share(trials, objectives, run.settings.reference, number)
        data["hypervolume_share"] = share
    return data


def _stop_data(run: Run, number: int) -> dict[str, Any]:
    """The rung where a trial was stopped, and those that dominated it there."""
    from nas.analysis.reasons import rivals_table

    stop = run.stops.get(number)
    if stop is None:
        return {"stop": None, "rivals": []}
    trials = run.trials
    judged = number
    if trials.loc[trials["number"] == number, "reused"].iloc[0]:
        # Its proxy was trained for another trial, which was the one that was judged.
        proxy = trials.loc[trials["number"] == number, "proxy_fingerprint"].iloc[0]
        same = trials[(trials["proxy_fingerprint"] == proxy) & ~trials["reused"]]
        judged = int(same["number"].iloc[0]) if len(same) else number
    rivals = rivals_table(trials, run.curves, stop.dominated_by, judged, stop.epoch)
    known = {
        "epoch": stop.epoch,
        "rank": stop.rank,
        "seen": stop.seen,
        "dominated_by": list(stop.dominated_by),
        "judged": judged,
    }
    return {"stop": known, "rivals": _records(rivals)}


def _next_commands(run: Run, number: int, standing: str) -> list[str]:
    from nas.analysis.next_steps import pick_steps, run_word
    from nas.analysis.shell import command

    pick = f"trial:{number}"
    chosen = [pick_steps(run, pick)[0].line] if standing == "front" else []
    words = ("--pick", pick, "--format", "json", "--out", f"trial{number}")
    return [*chosen, command("export", run_word(run), *words)]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
