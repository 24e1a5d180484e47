"""The settings of a task: data, target, proxy, recipe, precision; frozen, in YAML and JSON.

Left out: recipes (:mod:`nas.task.recipe`), defaults that depend on the data
(:mod:`nas.task.creation`), and what the settings do to a network (:mod:`nas.task.narrowing`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import Field, model_validator

from nas.architecture import Shape
from nas.task.parsing import Settings, parse_settings, read_yaml
from nas.task.recipe import Recipe, complete_recipe, recipe_named

Precision: TypeAlias = Literal["float32", "bfloat16"]


class Target(Settings):
    """What cost is counted for: the real image (C, H, W), the real classes, the full width."""

    image: Shape
    classes: Annotated[int, Field(ge=2, le=1_000_000)]

    @model_validator(mode="after")
    def _check_image(self) -> Target:
        if not all(1 <= side <= 4096 for side in self.image):
            raise ValueError(f"image must hold numbers from 1 to 4096, not {list(self.image)}")
        return self


class Proxy(Settings):
    """The cheap training that ranks: a narrow network on few, small images for a few epochs.

    ``resolution`` is the images' side in pixels (None: the target's own size). ``images`` is how
    many an epoch passes (None: all). ``stem`` "own" keeps the architecture's stem where it leaves
    maps large enough; "fastest" takes the stem that divides the image most; see :func:`proxy`.
    """

    resolution: Annotated[int, Field(ge=3, le=1024)] | None = None
    width: Annotated[float, Field(gt=0, le=1)] = 0.25
    images: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 4
    stem: Literal["own", "fastest"] = "own"


class Task(Settings):
    """Data, target, proxy, recipe and precision: all that an error depends on but the seed.

    ``validation_images`` are carved from the training data. Rungs are ``eta`` apart.

    Raises:
        ValueError: a field is wrong; pydantic's message names it, its rule and its value.
    """

    data: Annotated[str, Field(min_length=1)]
    target: Target
    proxy: Proxy
    recipe: Recipe
    precision: Precision
    validation_images: Annotated[int, Field(ge=1)]
    eta: Annotated[int, Field(ge=2, le=100)] = 2

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs that report, from 1 by factors of ``eta``, and the last: (1, 2, 4, 6)."""
        epoch, rungs = 1, []
        while epoch < self.proxy.epochs:
            rungs.append(epoch)
            epoch *= self.eta
        return (*rungs, self.proxy.epochs)

    @property
    def proxy_image(self) -> Shape:
        """The images that proxies are trained on (C, H, W)."""
        side = self.proxy.resolution
        return self.target.image if side is None else Shape(self.target.image.channels, side, side)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits, the same exactly for equal tasks."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The task as JSON; :meth:`from_json` reads it back."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str | bytes) -> Task:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: no JSON, or no valid task; the message names path, rule and value.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the task is not complete JSON: {error}") from None
        return parse_task(data, "task")

    def to_yaml(self) -> str:
        """The task as YAML; :meth:`from_yaml` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @staticmethod
    def from_yaml(text: str, source: str = "task") -> Task:
        """Read a whole task; ``source`` names the text in messages.

        Raises:
            ValueError: no YAML, or no valid task; the message names source, path, rule, value.
        """
        return parse_task(with_whole_recipe(read_yaml(text, source), source), source)


def with_whole_recipe(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """The settings with their recipe, a name or changes to a named one, filled in."""
    given = settings.get("recipe")
    if isinstance(given, str):
        return {**settings, "recipe": recipe_named(given, source).model_dump(mode="json")}
    if not isinstance(given, Mapping):
        return settings
    return {**settings, "recipe": complete_recipe(given, f"{source}: recipe")}


def parse_task(data: Any, source: str) -> Task:
    """A task from nested data; ValueError names source, path, rule and value."""
    return parse_settings(Task, data, source)
