"""The table of a space at a target on this machine: kept from before, or measured now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nas.architecture import Shape
from nas.latency.machine import this_setting
from nas.latency.table import LatencyTable, read_table, table_path, write_table
from nas.space import SearchSpace, first_fit


def find_table(space: SearchSpace, image: Shape, classes: int, device: str) -> LatencyTable | None:
    """The kept table of this machine's ``cpu`` or ``cuda``; None where none was measured yet.

    Raises:
        ValueError: its file is damaged.
    """
    setting = this_setting(device)
    return read_table(table_path(space.name, space.fingerprint, image, classes, setting))


def obtain_table(
    space: SearchSpace,
    image: Shape,
    classes: int,
    device: str,
    *,
    note: Callable[[str], None],
    progress: bool = True,
) -> LatencyTable:
    """The kept table, or a new one, which is kept; ``note`` is told before it is measured.

    Raises:
        ValueError: no network of the space fits the image, or a kept table is damaged.
        RuntimeError: it has to be measured, and trials train on this machine.
    """
    found = find_table(space, image, classes, device)
    if found is not None:
        return found
    from nas.latency.building import build_table

    first_fit(space, image)  # said before anything takes time
    note(f"measuring the latencies of space {space.name} on {this_setting(device)}, once")
    table = build_table(space, image, classes, device, progress=progress)
    path = table_path(space.name, space.fingerprint, image, classes, table.setting)
    try:
        write_table(table, path)
    except OSError as error:
        note(f"the table cannot be kept for other searches: {error}")
    note(summary(table))
    return table


def table_data(table: LatencyTable) -> dict[str, Any]:
    """What a table is of and how good it is, as plain data with stable keys."""
    return {
        "space": table.space,
        "image": table.image,
        "classes": table.classes,
        "on": str(table.setting),
        "setting": table.setting.to_data(),
        "created": table.created,
        "seconds": table.seconds,
        "disturbed": table.disturbed,
        "layers": len(table.layers),
        "networks": len(table.networks),
        "error": asdict(table.error),
    }


def summary(table: LatencyTable) -> str:
    """What a table holds and how good its predictions are, in one line."""
    error = table.error
    busy = (
        f"; the machine was busy: others disturbed {100 * table.disturbed:.0f} % of the timings"
        if table.was_busy
        else ""
    )
    return (
        f"{len(table.layers)} layers and {len(table.networks)} networks measured; predictions of "
        f"{error.n} networks held out are off by {100 * error.median:.1f} % in the median, "
        f"{100 * error.percentile_90:.1f} % at the 90th percentile (rank correlation "
        f"{error.rank_correlation:.3f}){busy}"
    )
