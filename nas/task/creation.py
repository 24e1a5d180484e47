"""A task for a data set: what is left open gets defaults that fit the data; the rest is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nas.architecture import Shape
from nas.task.parsing import read_yaml_file
from nas.task.recipe import RECIPES
from nas.task.settings import Precision, Task, parse_task, with_whole_recipe

MAX_PROXY_SIDE = 96
"""Pixels a side that :func:`create_task` gives the proxy of a larger target."""

SMALL_IMAGE = 64
"""Up to this many pixels a side, :func:`create_task` takes the fastest stem for the proxy."""

MAX_PROXY_IMAGES = 3_072
"""Images an epoch of a proxy passes at most, unless told otherwise."""


class Data(Protocol):
    """What a data set says of itself (:class:`nas.datasets.DataInfo`)."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def image(self) -> Shape: ...  # noqa: D102
    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def num_train(self) -> int: ...  # noqa: D102


def read_task_file(path: Path) -> dict[str, Any]:
    """The settings of a YAML file: all of a task's fields or some, for :func:`create_task`.

    Raises:
        ValueError: no YAML, or not a mapping.
        OSError: the file cannot be read.
    """
    return read_yaml_file(path)


def create_task(
    data: Data,
    settings: Mapping[str, Any] | None = None,
    *,
    precision: Precision = "float32",
    source: str = "task",
) -> Task:
    """The task for a data set; what ``settings`` (nested like a task) leaves out has defaults.

    The target is the data's own image and classes. A target over 96 pixels is trained at 96; up
    to 64 pixels a side the proxy takes the fastest stem. A fifth of the images, at most 2,000,
    validates. An epoch passes at most 3,072 images. ``recipe`` may be a name, or a
    mapping whose missing fields are those of the recipe it names. ``source`` stands in messages.

    Raises:
        ValueError: a setting is unknown or wrong, or does not fit the data.
    """
    given = with_whole_recipe(dict(settings or {}), source)
    base = {
        "data": data.name,
        "target": {"image": list(data.image), "classes": len(data.class_names)},
        "proxy": {},
        "recipe": RECIPES["default"].model_dump(mode="json"),
        "precision": precision,
        "validation_images": max(1, min(2_000, data.num_train // 5)),
    }
    merged = _merge(base, given)
    task = parse_task(merged, source)
    task = parse_task(_merge(merged, {"proxy": _proxy_defaults(task, data, merged)}), source)
    _check_data(task, data, source)
    return task


def _proxy_defaults(task: Task, data: Data, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings leave open, from the target and the data."""
    defaults: dict[str, Any] = {}
    side = max(task.target.image.height, task.target.image.width)
    if side > MAX_PROXY_SIDE or task.target.image != data.image:
        defaults["resolution"] = min(side, MAX_PROXY_SIDE)
    settings = {**defaults, **given["proxy"]}
    if (settings.get("resolution") or side) <= SMALL_IMAGE:
        defaults["stem"] = "fastest"
    if data.num_train - task.validation_images > MAX_PROXY_IMAGES:
        defaults["images"] = MAX_PROXY_IMAGES
    return {**defaults, **given["proxy"]}


def _check_data(task: Task, data: Data, source: str) -> None:
    if task.data != data.name:
        raise ValueError(f"{source}: data: must be {data.name!r}, not {task.data!r}")
    if task.target.classes < len(data.class_names):
        raise ValueError(
            f"{source}: target.classes: must be at least the {len(data.class_names)} classes of "
            f"{data.name}, not {task.target.classes}"
        )
    if task.target.image.channels != data.image.channels:
        raise ValueError(
            f"{source}: target.image: must have the {data.image.channels} channels of {data.name}, "
            f"not {task.target.image.channels}"
        )
    room = data.num_train - task.validation_images
    if room < 2:
        raise ValueError(
            f"{source}: validation_images: must leave at least two of the {data.num_train} "
            f"training images of {data.name}, not {task.validation_images}"
        )


def _merge(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` over ``base``, mapping by mapping; a recipe's schedule is replaced whole."""
    merged = dict(base)
    for key, value in given.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and key != "recipe"
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
