"""``nas cost``: what an architecture costs, by cell or by layer, from its description alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Device, Json, add_command, flag, whole

if TYPE_CHECKING:
    from nas.architecture import Architecture, Shape
    from nas.cli.inputs import NamedArchitecture
    from nas.cost import Cost, LayerCost

SUBJECTS = "a run, an architecture's JSON file or a preset"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "cost",
        show_cost,
        short="What an architecture costs, by cell or layer.",
        example="nas cost googlenet --image 224 --layers",
    )


def show_cost(  # noqa: PLR0913 - one parameter an option
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|PRESET",
            help="A run (its name in ./results, or its directory; see --pick), an architecture's "
            "JSON file, or a preset's name.",
        ),
    ],
    *,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="224, or channels x height x width such as 1x28x28. A preset or run has its own.",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        whole(1, help="Default: 1000 for images from 128 pixels on, 10 below."),
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="PICK", help="Of a run: knee (default), best, cheapest, trial:N or macs<=50M."
        ),
    ] = None,
    auxiliary: Annotated[
        bool, flag("--auxiliary", help="Count the auxiliary heads (training only) too.")
    ] = False,
    layers: Annotated[bool, flag("--layers", help="Every layer, not only the cells.")] = False,
    latency: Annotated[
        bool,
        flag("--latency", help="Measure the network's latency on this machine as well."),
    ] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Print what an architecture costs: parameters, multiply-adds (MACs), activation memory.

    Counted from the description for one float32 image in evaluation mode, exactly. With --latency
    the network is also built and timed, on --device.
    """
    from nas.cli.console import print_json, print_table
    from nas.cli.inputs import default_classes, parse_image
    from nas.cost import count_cost
    from nas.presets import PRESETS

    named = _find(what, pick)
    channels = 3 if named.image is None else named.image.channels
    shape = parse_image(image, channels) if image is not None else named.image
    if shape is None:
        raise ValueError(f"--image is needed to count {what}: for example --image 3x32x32")
    # A preset stands for an architecture; what was searched or trained has classes of its own.
    known = named.classes if shape == named.image or what not in PRESETS else None
    num_classes = classes or known or default_classes(shape)
    if device != "cpu" and not latency:
        raise ValueError("--device is for --latency: counts are the same everywhere")
    cost = count_cost(named.architecture, shape, num_classes, auxiliary=auxiliary)
    measured = _latency(named.architecture, shape, num_classes, device) if latency else None
    if as_json:
        data = _as_data(named.name, cost, shape, num_classes, auxiliary)
        print_json(data if measured is None else {**data, "latency": measured})
        return
    print_table(
        ("layer", "kind", "output", ">params", ">MACs (M)", ">memory (KiB)"),
        _rows(cost.rows, layers),
        title=f"{named.name} on {shape} images, {num_classes:,} classes",
    )
    _print_totals(cost)
    if measured is not None:
        _print_latency(measured)


def _find(what: str, pick: str | None) -> NamedArchitecture:
    """A run's trial with the target that the run counted for, or what a file or preset says."""
    from nas.cli.inputs import NamedArchitecture, find_run, read_architecture, trial_of_run
    from nas.presets import PRESETS

    if pick is None and (what in PRESETS or Path(what).is_file()):
        return read_architecture(what, SUBJECTS)  # without loading what reads runs
    run = find_run(what, wanted_by=None if pick is None else "--pick")
    if run is None:
        return read_architecture(what, SUBJECTS)
    picked = trial_of_run(run, pick)
    return NamedArchitecture(picked.name, picked.architecture, picked.image, picked.classes)


def _rows(costs: Iterable[LayerCost], layers: bool) -> list[tuple[str, ...]]:
    """A row a cell with its totals; with ``layers`` the cell's layers indented below it."""
    rows = []
    for name, group in groupby(costs, key=_group_name):
        members = list(group)
        rows.append(_row(_total(name, members)))
        if layers and len(members) > 1:
            rows += [_row(row, f"  {row.name.removeprefix(name)[1:]}") for row in members]
    return rows


def _group_name(row: LayerCost) -> str:
    """The cell, reduction or auxiliary head a layer belongs to; the stem and head by layer."""
    parts = row.name.split(".")
    depth = {"stages": 3, "reductions": 2, "auxiliary": 2}.get(parts[0], len(parts))
    return ".".join(parts[:depth])


def _total(name: str, rows: list[LayerCost]) -> LayerCost:
    last = rows[-1]
    return last._replace(
        name=name,
        kind=last.kind if len(rows) == 1 else f"{len(rows)} layers",
        input=rows[0].input,
        params=sum(row.params for row in rows),
        macs=sum(row.macs for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
    )


def _row(row: LayerCost, name: str | None = None) -> tuple[str, ...]:
    return (
        row.name if name is None else name,
        row.kind,
        str(row.output),
        f"{row.params:,}",
        f"{row.macs / 1e6:,.2f}",
        f"{row.activation_bytes / 1024:,.1f}",
    )


def _latency(architecture: Architecture, image: Shape, classes: int, device: str) -> dict[str, Any]:
    """What was measured, and what the kept tables of spaces with this network predict."""
    from nas.latency.building import measure_network
    from nas.latency.finding import find_table
    from nas.search.workers import resolve_device
    from nas.space import SearchSpace, space_names

    place = resolve_device(device)
    spread, setting = measure_network(architecture, image, classes, place)
    predicted = {}
    for name in space_names():
        space = SearchSpace.load(name)
        table = find_table(space, image, classes, place) if space.contains(architecture) else None
        if table is not None:
            predicted[name] = table.predict_ms(architecture)
    return {
        "median_ms": spread.median / 1000,
        "low_ms": spread.low / 1000,
        "high_ms": spread.high / 1000,
        "n": spread.n,
        "disturbed": spread.disturbed,
        "predicted_ms": predicted,
        "on": str(setting),
        "setting": setting.to_data(),
    }


def _print_latency(measured: Mapping[str, Any]) -> None:
    from nas.cli.console import print_facts
    from nas.quantities import format_milliseconds

    low, high = (format_milliseconds(measured[name]) for name in ("low_ms", "high_ms"))
    busy = f", {100 * measured['disturbed']:.0f} % of them disturbed by other processes"
    print_facts(
        {
            "latency": f"{format_milliseconds(measured['median_ms'])} measured, half of "
            f"{measured['n']} runs from {low} to {high}{busy if measured['disturbed'] else ''}",
            **{
                f"in {name}": f"{format_milliseconds(value)} predicted by the space's table"
                for name, value in measured["predicted_ms"].items()
            },
            "on": measured["on"],
        }
    )


def _print_totals(cost: Cost) -> None:
    from nas.cli.console import print_facts, print_text

    print_text()
    print_facts(
        {
            "parameters": f"{cost.params:,}",
            "MACs": f"{cost.macs:,} (multiply-adds of convolutions and linear layers)",
            "memory": f"{cost.activation_bytes:,} bytes of activations in all (float32)",
            "peak": f"{cost.peak_activation_bytes:,} bytes of them alive at once",
        }
    )


def _as_data(
    name: str, cost: Cost, image: object, classes: int, auxiliary: bool
) -> dict[str, object]:
    return {
        "name": name,
        "image": image,
        "classes": classes,
        "auxiliary": auxiliary,
        "params": cost.params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
        "peak_activation_bytes": cost.peak_activation_bytes,
        "layers": [row._asdict() for row in cost.rows],
    }
