"""``nas spaces``: what can be searched, and one space in detail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Device, Json, add_command, flag, whole

if TYPE_CHECKING:
    from nas.architecture import Shape
    from nas.space import SearchSpace

NUM_DRAWN = 200
"""Random networks whose costs show the range of a space."""

COSTS = ("macs", "params", "activation_bytes")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "spaces",
        show_spaces,
        short="The spaces there are; one in detail.",
        example="nas spaces googlenet_small --image 32",
    )


def show_spaces(
    space: Annotated[
        str | None,
        typer.Argument(metavar="SPACE", help="A shipped space, or a YAML file of your own."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Count costs for this image. Default: that of a known member."
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Score this run's networks before training: do the scores rank them better than "
            "their parameters and MACs? Scores are kept in the run's directory.",
        ),
    ] = None,
    latency: Annotated[
        bool,
        flag(
            "--latency",
            help="Show the table of the space's latencies on this machine, measured now if there "
            "is none.",
        ),
    ] = False,
    device: Device = "cpu",
    classes: Annotated[
        int | None,
        whole(2, help="For --latency. Default: 1000 for images from 128 pixels on, 10 below."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the search spaces, or show one: choices, size, costs, known members."""
    from nas.cli.console import print_json
    from nas.cli.inputs import default_classes, parse_image
    from nas.space import SearchSpace, space_names

    if scores is not None:
        from nas.cli.space_scores import show_scores

        if space is None:
            raise ValueError("--scores needs the SPACE that the run searched")
        if image is not None:
            raise ValueError("--image is not for --scores: they are of the run's own images")
        show_scores(SearchSpace.load(space), scores, as_json=as_json)
        return
    if latency:
        from nas.cli.space_latency import show_latency

        if space is None:
            raise ValueError("--latency needs a SPACE to measure")
        loaded = SearchSpace.load(space)
        shape = native_image(loaded) if image is None else parse_image(image)
        show_latency(loaded, shape, classes or default_classes(shape), device, as_json=as_json)
        return
    if device != "cpu" or classes is not None:
        raise ValueError("--device and --classes are for --latency")
    if space is not None:
        data = space_data(SearchSpace.load(space), image)
        print_json(data) if as_json else _print_space(data)
        return
    if image is not None:
        raise ValueError("--image needs a SPACE to count costs for")
    found = [_summary(SearchSpace.load(name)) for name in space_names()]
    print_json(found) if as_json else _print_list(found)


# ------------------------------------------------------------------------------------ all of them


def _summary(space: SearchSpace) -> dict[str, Any]:
    return {
        "name": space.name,
        "description": space.description,
        "choices": len(space.parameters),
        "size": space.size,
        "members": [name for name, _ in _members(space)],
        "budgets": space.budgets,
    }


def _members(space: SearchSpace) -> list[tuple[str, Shape]]:
    """The presets that the space contains, with the images they were made for."""
    from nas.presets import PRESET_IMAGES, PRESETS

    return [(name, PRESET_IMAGES[name]) for name, make in PRESETS.items() if space.contains(make())]


def _print_list(found: Sequence[dict[str, Any]]) -> None:
    from nas.cli.console import print_table, print_text
    from nas.cli.search_end import format_architectures

    print_table(
        ("space", ">choices", ">architectures", "contains"),
        [
            (
                item["name"],
                str(item["choices"]),
                format_architectures(item["size"]),
                ", ".join(item["members"]) or "-",
            )
            for item in found
        ],
    )
    for item in found:
        print_text()
        print_text(item["name"], bold=True)
        print_text(item["description"])


# ------------------------------------------------------------------------------------------- one


def native_image(space: SearchSpace) -> Shape:
    """The image of a known member, or that of CIFAR."""
    from nas.architecture import Shape

    members = _members(space)
    return members[0][1] if members else Shape(3, 32, 32)


def space_data(space: SearchSpace, image: str | None) -> dict[str, Any]:
    """A space as plain data with stable keys: choices, and the costs of random members."""
    from nas.cli.inputs import parse_image

    shape = native_image(space) if image is None else parse_image(image)
    return {
        **_summary(space),
        "image": shape,
        "costs": _cost_ranges(space, shape),
        "parameters": {
            name: {"values": list(domain.values), "shown": str(domain)}
            for name, domain in space.parameters.items()
        },
    }


def _cost_ranges(space: SearchSpace, image: Shape) -> dict[str, dict[str, int]]:
    """Least, median and most of each cost: the least by descent, the others of random networks.

    Raises:
        ValueError: no network of the space fits the image.
    """
    import numpy as np

    from nas.cli.inputs import default_classes
    from nas.cost import count_cost
    from nas.space import smallest

    classes = default_classes(image)
    counted = []
    for index in range(NUM_DRAWN):
        try:
            drawn = space.random(np.random.default_rng([0, index]))
            counted.append(count_cost(drawn, image, classes))
        except ValueError:
            continue  # it does not fit the image; the descent below says so if none does
    ranges = {}
    for name in COSTS:
        least = smallest(space, image, classes, name)[1]
        values = sorted(int(getattr(cost, name)) for cost in counted) or [least]
        ranges[name] = {
            "least": min(least, values[0]),
            "median": values[len(values) // 2],
            "most": values[-1],
        }
    return ranges


def _print_space(data: dict[str, Any]) -> None:
    from nas.analysis.shell import command
    from nas.cli.console import print_commands, print_facts, print_table, print_text
    from nas.cli.search_end import format_architectures
    from nas.quantities import format_count

    print_text(data["description"])
    print_text()
    facts = {
        "architectures": format_architectures(data["size"]),
        "contains": ", ".join(data["members"]) or "none of the presets",
        "budgets": ", ".join(f"{k} <= {format_count(v)}" for k, v in data["budgets"].items())
        or "none",
    }
    print_facts(facts)
    print_text()
    print_table(
        ("cost", ">least found", ">median", f">most of {NUM_DRAWN} random"),
        [
            (name, *(format_count(costs[key]) for key in ("least", "median", "most")))
            for name, costs in data["costs"].items()
        ],
        title=f"Costs on {data['image']} images",
    )
    print_text()
    shown = {name: domain["shown"] for name, domain in data["parameters"].items()}
    print_table(
        ("choice", "values", ">times"),
        _grouped(shown),
        title=f"{len(shown)} choices (N stands for any stage or cell)",
    )
    words = ["search", data["name"], "--data", "fashion-mnist-mini", "--name", "first"]
    print_commands("Next", [command(*words)])


def _grouped(parameters: dict[str, str]) -> list[tuple[str, str, str]]:
    """One row for choices that differ only in the numbers of their stage and cell."""
    groups: dict[tuple[str, str], int] = {}
    for name, values in parameters.items():
        key = (re.sub(r"(?<=\.)\d+(?=\.)", "N", name), values)
        groups[key] = groups.get(key, 0) + 1
    return [(name, values, str(count)) for (name, values), count in groups.items()]
