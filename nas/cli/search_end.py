"""What ``nas search`` says at its end, and before its beginning (``--plan``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.records import Run


def finish(run: Run) -> int:
    """Write the report, show the front and what to do next; returns the exit code.

    0 for a search that came to its end with a front, 130 for one that was interrupted, 1 for one
    that found nothing.
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
    if run.state == "interrupted":
        return 130
    return 0 if data["front"] else 1


def _knee(data: dict[str, object]) -> str:
    from nas.quantities import format_count

    picks, front = data["picks"], data["front"]
    assert isinstance(picks, dict)
    assert isinstance(front, list)
    row = next(row for row in front if row["number"] == picks["knee"])
    return (
        f"trial {row['number']}: {100 * row['error']:.2f} % error of its proxy, "
        f"{format_count(row['macs'])} MACs, {format_count(row['params'])} parameters"
    )
