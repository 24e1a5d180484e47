"""``nas spaces SPACE --latency``: the table of a space's latencies on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.architecture import Shape
    from nas.latency import LatencyTable
    from nas.space import SearchSpace


def show_latency(
    space: SearchSpace, image: Shape, classes: int, device: str, *, as_json: bool
) -> None:
    """Print the kept table, or measure it first.

    Raises:
        ValueError: there is no such device, no network of the space fits the image, or a kept
            table is damaged.
        RuntimeError: it has to be measured, and trials train on this machine.
    """
    from nas.cli.console import note, print_json
    from nas.latency.finding import obtain_table, table_data
    from nas.latency.table import table_path
    from nas.search.workers import resolve_device

    table = obtain_table(space, image, classes, resolve_device(device), note=note)
    path = table_path(space.name, space.fingerprint, image, classes, table.setting)
    if not as_json:
        _print_table(table, str(path))
        return
    rows = [{"kind": kind, **times} for kind, times in _kinds(table)]
    print_json({**table_data(table), "file": str(path), "kinds": rows})


def _kinds(table: LatencyTable) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each kind of layer: how many were measured, and their least, median and largest time."""
    import numpy as np

    groups: dict[str, list[tuple[float, float]]] = {}
    for layer, measured in table.layers:
        spread = (measured.high - measured.low) / measured.median
        groups.setdefault(layer.kind, []).append((measured.median, spread))
    for kind, found in sorted(groups.items()):
        times, spreads = np.array(found).T
        yield (
            kind,
            {
                "layers": len(times),
                "least_us": float(times.min()),
                "median_us": float(np.median(times)),
                "most_us": float(times.max()),
                "spread": float(np.median(spreads)),
            },
        )


def _print_table(table: LatencyTable, path: str) -> None:
    from nas.cli.console import print_facts, print_table, print_text
    from nas.latency.finding import summary
    from nas.quantities import format_milliseconds, format_seconds

    measured = [network.measured_ms for network in table.networks]
    print_facts(
        {
            "space": f"{table.space} on {table.image} images, {table.classes:,} classes",
            "on": str(table.setting),
            "measured": f"{table.created}, in {format_seconds(table.seconds)}",
            "networks": f"{format_milliseconds(min(measured))} to "
            f"{format_milliseconds(max(measured))} of {len(measured)} random ones",
            "prediction": summary(table),
            "file": path,
        }
    )
    print_text()
    print_table(
        ("layer", ">measured", ">least (us)", ">median (us)", ">most (us)", ">spread (%)"),
        [(kind, *_words(times)) for kind, times in _kinds(table)],
        title="Layers; the spread is between quartiles",
    )


def _words(times: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(times["layers"]),
        *(f"{times[name]:,.1f}" for name in ("least_us", "median_us", "most_us")),
        f"{100 * times['spread']:.0f}",
    )
