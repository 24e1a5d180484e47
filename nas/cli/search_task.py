"""The task of a search, from a file and options: a new one, or the recorded one with changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.task import Task

PRECISIONS = ("auto", "float32", "bfloat16")


def check_precision(precision: str | None) -> Any:
    """The precision, if it is a known word: from here on one of a few literals.

    Raises:
        ValueError: it is not; the message gives the nearest.
    """
    from nas.quantities import unknown_name

    if precision is not None and precision not in PRECISIONS:
        raise ValueError(unknown_name("precision", precision, PRECISIONS))
    return precision


def task_settings(
    file: Path | None, image: str | None, classes: int | None, recipe: str | None, **proxy: Any
) -> dict[str, Any]:
    """The settings of the file, with those of the options over them; nested like a task.

    Raises:
        ValueError: the file is no plain YAML mapping.
        OSError: it cannot be read.
    """
    from nas.task import read_task_file

    settings = {} if file is None else read_task_file(file)
    _overlay(settings, "target", {"image": image, "classes": classes})
    _overlay(settings, "proxy", proxy)
    if recipe is not None:
        settings["recipe"] = recipe
    return settings


def _overlay(settings: dict[str, Any], key: str, given: Mapping[str, Any]) -> None:
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen:
        below = settings.get(key)
        settings[key] = {**(below if isinstance(below, Mapping) else {}), **chosen}


def new_task(
    data: str, settings: Mapping[str, Any], precision: str | None, device: str, source: str
) -> Task:
    """The task for a data set; ``auto`` precision is what suits the device.

    Raises:
        ValueError: the data, a setting or the device is wrong.
    """
    from nas.datasets import describe_data
    from nas.search.workers import resolve_device
    from nas.task import create_task
    from nas.training.precision import resolve_precision

    info = describe_data(data)
    chosen = _with_image(settings, info.image.channels)
    own = chosen.pop("precision", None)
    wanted: Any = precision or own or "auto"
    resolved = resolve_precision(wanted, resolve_device(device) if wanted == "auto" else device)
    return create_task(info, chosen, precision=resolved, source=source)


def goes_on(
    name: str, results: Path, storage: str | None, space: str | None, data: str | None
) -> bool:
    """Whether who joins a run finds it there, or could not begin it.

    Raises:
        ValueError: the database cannot be shared, or the name is none.
    """
    from nas.records import locate
    from nas.records.sharing import check_shareable
    from nas.records.writing import has_run
    from nas.search.study import check_name

    location = locate(check_name(name), results, storage)
    check_shareable(location)
    return space is None or data is None or has_run(location)


def recorded_task(
    name: str,
    results: Path,
    storage: str | None,
    data: str | None,
    settings: Mapping[str, Any],
    precision: str | None,
) -> Task | None:
    """The task of the run to resume, with what was given over it; None where nothing was given.

    What differs from the record is found, and refused, by the search.

    Raises:
        ValueError: what was given is wrong.
    """
    from nas.records import Run, locate
    from nas.records.writing import has_run
    from nas.search.study import check_name
    from nas.task import Task
    from nas.task.settings import parse_task, with_whole_recipe

    if settings.get("precision") == "auto":
        # What it became is recorded; another machine must not decide anew.
        settings = {key: value for key, value in settings.items() if key != "precision"}
    location = locate(check_name(name), results, storage)
    is_given = data is not None or bool(settings) or precision not in (None, "auto")
    if not is_given or not has_run(location):
        return None
    task = Task.from_json(Run(location).settings.task)
    merged = task.model_dump(mode="json")
    changes = with_whole_recipe(_with_image(settings, task.target.image.channels), "task")
    for key, value in changes.items():
        both = key in ("target", "proxy") and isinstance(value, Mapping)
        merged[key] = {**merged[key], **value} if both else value
    if data is not None:
        merged["data"] = data
    if precision not in (None, "auto"):
        merged["precision"] = precision
    return parse_task(merged, "task")


def _with_image(settings: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """The settings with an image written as text (``--image 224``) as channels, height, width."""
    from nas.cli.inputs import parse_image

    target = settings.get("target")
    if not isinstance(target, Mapping) or not isinstance(target.get("image"), str):
        return dict(settings)
    image = parse_image(target["image"], channels)
    return {**settings, "target": {**target, "image": list(image)}}
