"""The settings of a task: data, target, proxy, recipe, precision; frozen, in YAML and JSON.

Left out: defaults that depend on the data (:mod:`nas.task.creation`), and what the settings do
to a network (:mod:`nas.task.narrowing`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nas.architecture import Shape

Precision: TypeAlias = Literal["float32", "bfloat16"]

_Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
_Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Side: TypeAlias = Annotated[int, Field(ge=1, le=4096)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Target(_Settings):
    """What cost is counted for: the real image (C, H, W), the real classes, the full width."""

    image: Shape
    classes: Annotated[int, Field(ge=2, le=1_000_000)]

    @model_validator(mode="after")
    def _check_image(self) -> Target:
        if not all(1 <= side <= 4096 for side in self.image):
            raise ValueError(f"image must hold numbers from 1 to 4096, not {list(self.image)}")
        return self


class Proxy(_Settings):
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


class Triangle(_Settings):
    """Linear from almost 0 to the peak over the first ``warmup`` of all steps, then down to 0."""

    kind: Literal["triangle"] = "triangle"
    warmup: _Fraction


class Steps(_Settings):
    """The rate times ``factor`` after every ``epochs`` epochs (GoogLeNet: 0.96 every 8)."""

    kind: Literal["steps"] = "steps"
    factor: Annotated[float, Field(gt=0, le=1)]
    epochs: Annotated[int, Field(ge=1)]


class Recipe(_Settings):
    """How a network is trained with stochastic gradient descent.

    ``learning_rate`` is the peak. ``weight_decay`` (coupled, as in torch.optim.SGD) spares norms
    and biases. ``augment`` is a policy of :mod:`nas.datasets.augment`. ``auxiliary_weight`` and
    ``dropout`` replace the architecture's own where they are given; ``auxiliary`` False trains
    without auxiliary heads. ``norm_momentum`` is how much of a batch enters batch norm's running
    statistics: torch's own 0.1 lags so far behind in the first hundred steps that early rungs
    would rank the lag (error at the first rung 0.40 with 0.1, 0.26 with 0.4).
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    learning_rate: _Positive
    momentum: _Fraction
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    schedule: Annotated[Triangle | Steps, Field(discriminator="kind")]
    label_smoothing: _Fraction
    norm_momentum: Annotated[float, Field(gt=0, le=1)]
    augment: Literal["none", "flip", "crop", "crop-flip"]
    auxiliary: bool = True
    auxiliary_weight: Annotated[float, Field(gt=0, le=10)] | None = None
    dropout: _Fraction | None = None

    @model_validator(mode="after")
    def _check_nesterov(self) -> Recipe:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum over 0")
        return self


RECIPES: dict[str, Recipe] = {
    "default": Recipe(
        name="default",
        batch_size=128,
        learning_rate=0.4,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        schedule=Triangle(warmup=0.1),
        label_smoothing=0.1,
        norm_momentum=0.3,
        augment="flip",
    ),
    # arXiv:1409.4842, sections 5 and 6. The paper gives neither batch size nor first rate; 0.01
    # and 32 are those of Caffe's bvlc_googlenet (quick_solver.prototxt), its weight decay too.
    "paper": Recipe(
        name="paper",
        batch_size=32,
        learning_rate=0.01,
        momentum=0.9,
        nesterov=False,
        weight_decay=2e-4,
        schedule=Steps(factor=0.96, epochs=8),
        label_smoothing=0.0,
        norm_momentum=0.1,
        augment="crop-flip",
        auxiliary_weight=0.3,
        dropout=0.4,
    ),
}
"""The recipes by name; a YAML may name one, and change fields of it."""


class Task(_Settings):
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
        except ValueError as error:
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
    known = RECIPES.get(given.get("name", "default"))
    base = known.model_dump(mode="json") if known else {}
    return {**settings, "recipe": {**base, **given}}


def recipe_named(name: str, source: str = "task") -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none; the message gives the nearest name.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.0)
    raise ValueError(
        f"{source}: recipe: must be one of {', '.join(RECIPES)}, not {name!r}; "
        f"did you mean {near[0]!r}?"
    )


def read_yaml(text: str, source: str) -> dict[str, Any]:
    """A mapping from plain YAML; Python objects in it are refused, not built."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{source}{place}: {' '.join(str(error.problem).split())}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{source}: is not plain YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{source}: must be a mapping of settings, not {_shown(data)}")
    return data


def parse_task(data: Any, source: str) -> Task:
    """A task from nested data; ValueError names source, path, rule and value."""
    try:
        # As JSON, so that lists become tuples while everything else stays strict.
        return Task.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ValueError(f"{source}: {_first_error(error)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        # A date, or an anchor within itself.
        raise ValueError(f"{source}: holds what JSON cannot: {error}") from None


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    tags = ("triangle", "steps")
    path = ".".join(str(step) for step in first["loc"] if step not in tags)
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{path}: is not a setting; remove it (value {_shown(first['input'])})"
    if first["type"] in ("value_error", "missing"):
        return f"{path}: {rule}"
    return f"{path}: {rule}, not {_shown(first['input'])}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
