"""What ``nas search`` says at its end, and before its beginning (``--plan``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.records import Run
    from nas.search.plan import Plan


def finish(run: Run) -> int:
    """Write the report, show the front and what to do next; returns the exit code.

    0 for a search that came to its end with a front, 130 for one that was interrupted, 1 for one
    that found nothing or that failures ended.
    """
    from nas.cli.console import print_commands, print_facts, print_text
    from nas.cli.show import REPORT, next_commands, print_front, run_data
    from nas.report import write_report

    data = run_data(run)
    print_text()
    print_front(data)
    if data["front"]:
        path = write_report([run], run.path / REPORT)
        print_text()
        print_facts({"knee": _knee(data), "report": str(path), "ended": str(data["ended"])})
    print_commands("Next", next_commands(run))
    if run.ended is not None and run.ended.kind == "failures":
        return 1
    so_far = run.ended_so_far
    # Where other drivers are at work and the search is not over, this one was stopped.
    is_left = run.state == "running" and so_far is not None and so_far.kind == "interrupted"
    if (run.state == "interrupted" or is_left) and not _is_done(run):
        return 130
    return 0 if data["front"] else 1


def _is_done(run: Run) -> bool:
    """Whether as many trials were trained as asked for, whatever other drivers still say."""
    asked, trials = run.settings.trials, run.trials
    trained = trials["state"].isin(("complete", "pruned")) & ~trials["reused"]
    return asked is not None and int(trained.sum()) >= asked


def _knee(data: dict[str, object]) -> str:
    from nas.quantities import format_count, format_milliseconds

    picks, front = data["picks"], data["front"]
    assert isinstance(picks, dict)
    assert isinstance(front, list)
    row = next(row for row in front if row["number"] == picks["knee"])
    known = row["latency_ms"]
    latency = "" if math.isnan(known) else f", {format_milliseconds(known)}"
    return (
        f"trial {row['number']}: {100 * row['error']:.2f} % error of its proxy, "
        f"{format_count(row['macs'])} MACs, {format_count(row['params'])} parameters{latency}"
    )


def print_plan(plan: Plan) -> None:
    """What the search would take; nothing was written."""
    from nas.cli.console import print_facts, print_table, print_text
    from nas.cost import format_cost
    from nas.quantities import format_count, format_seconds

    limits = [f"{plan.trials} trials"] if plan.trials is not None else []
    limits += [format_seconds(plan.limit_seconds)] if plan.limit_seconds is not None else []
    if plan.limit_device_seconds is not None:
        limits.append(f"{format_seconds(plan.limit_device_seconds)} on devices")
    budgets = [f"{name} <= {format_cost(name, limit)}" for name, limit in plan.budgets.items()]
    print_facts(
        {
            "space": f"{plan.space}, {plan.num_parameters} choices, "
            f"{format_architectures(plan.size)} architectures",
            "data": plan.data,
            "objectives": ", ".join(plan.objectives),
            "sampler": plan.sampler,
            "rungs": "trials that others leave behind are stopped early"
            if plan.halving
            else "every trial trains to its end",
            "budgets": ", ".join(budgets) or "none",
            "accepted": f"{100 * plan.accepted:.0f} % of random networks fit the task and budgets",
            **_unmeasured(plan),
            "limits": " or ".join(limits),
            "workers": f"{plan.workers} on {plan.device}, {_at_once(plan)}",
            "a trial": f"{plan.images:,} images through {format_count(plan.proxy_macs)} MACs, "
            f"about {format_seconds(plan.trial_seconds)}{_trial_limit(plan)}",
            "in all": "until the time is over"
            if plan.seconds is None
            else f"{'about' if plan.concurrency == 1 and not plan.halving else 'at most about'} "
            f"{format_seconds(plan.seconds)} after the start-up of the workers",
        }
    )
    print_text()
    print_table(
        ("cost of what is accepted", ">least", ">median", ">most"),
        [
            (name, *(format_cost(name, value) for value in values))
            for name, values in plan.costs.items()
        ],
    )
    print_text("Nothing was written. Without --plan the search begins.")


def _trial_limit(plan: Plan) -> str:
    from nas.quantities import format_seconds

    limit = plan.limit_trial_seconds
    return "" if limit is None else f"; given up after {format_seconds(limit)}"


def _unmeasured(plan: Plan) -> dict[str, str]:
    from nas.quantities import format_seconds

    if not plan.unmeasured:
        return {}
    return {
        "latency": f"not known yet: this machine has no table of the space; the search begins by "
        f"measuring one, at most about {format_seconds(plan.measure_seconds)}. What is said here "
        f"leaves latency out"
    }


def _at_once(plan: Plan) -> str:
    if plan.concurrency is None:
        return "as many trials at once as are fastest"
    return "a trial at a time" if plan.concurrency == 1 else f"{plan.concurrency} trials at once"


def format_architectures(size: int) -> str:
    """A number of architectures: exact up to ten million, then a power of ten."""
    return f"{size:,}" if size < 10**7 else f"{size:.1e}"
