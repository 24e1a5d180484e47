"""Recipes: how a network is trained with stochastic gradient descent, by name or from a file.

Left out: how long and on what (:mod:`nas.task.settings`, :mod:`nas.training.full`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nas.task.parsing import Settings, parse_settings, read_yaml_file, unknown_value

_Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
_Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MAX_OPERATIONS = 12
"""Kinds of operations that ``operations`` draws from (nas.datasets.augment_operations)."""


class Triangle(Settings):
    """Linear from almost 0 to the peak over the first ``warmup`` of all steps, then down to 0."""

    kind: Literal["triangle"] = "triangle"
    warmup: _Fraction


class Cosine(Settings):
    """Linear to the peak over the first ``warmup`` of all steps, then half a cosine down to 0.

    Loshchilov and Hutter, arXiv:1608.03983, eq. 5, without restarts.
    """

    kind: Literal["cosine"] = "cosine"
    warmup: _Fraction


class Steps(Settings):
    """The rate times ``factor`` after every ``epochs`` epochs (GoogLeNet: 0.96 every 8)."""

    kind: Literal["steps"] = "steps"
    factor: Annotated[float, Field(gt=0, le=1)]
    epochs: Annotated[int, Field(ge=1)]


class Recipe(Settings):
    """How a network is trained with stochastic gradient descent.

    ``augment`` is a policy of :mod:`nas.datasets.augment`. ``auxiliary_weight`` and
    ``dropout`` replace the architecture's own where they are given; ``auxiliary`` False trains
    without auxiliary heads. ``norm_momentum`` is how much of a batch enters batch norm's running
    statistics: torch's own 0.1 lags so far behind in the first hundred steps that early rungs
    would rank the lag (error at the first rung 0.40 with 0.1, 0.26 with 0.4).

    ``cutout`` is the side of a square that is blanked, as a part of the image's shorter side.
    ``operations`` are so many of :data:`nas.datasets.augment_operations.OPERATIONS` an image,
    each as strong as up to ``magnitude`` (0 to 1). ``ema_decay`` keeps a moving average of the
    weights, which is what is validated and saved (:mod:`nas.training.averaging`).
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    learning_rate: _Positive
    momentum: _Fraction
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    schedule: Annotated[Triangle | Steps | Cosine, Field(discriminator="kind")]
    label_smoothing: _Fraction
    norm_momentum: Annotated[float, Field(gt=0, le=1)]
    augment: Literal["none", "flip", "crop", "crop-flip"]
    auxiliary: bool = True
    auxiliary_weight: Annotated[float, Field(gt=0, le=10)] | None = None
    dropout: _Fraction | None = None
    cutout: _Fraction = 0.0
    operations: Annotated[int, Field(ge=0, le=MAX_OPERATIONS)] = 0
    magnitude: Annotated[float, Field(ge=0, le=1)] = 0.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _check_pairs(self) -> Recipe:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum over 0")
        if bool(self.operations) != bool(self.magnitude):
            raise ValueError(
                "operations and magnitude go together: both over 0, or both 0, not "
                f"{self.operations} and {self.magnitude}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later are left out at their defaults.

        A task's fingerprint is that of its JSON: recorded runs must keep theirs.
        """
        data: dict[str, Any] = handler(self)
        for name in _LATER_FIELDS:
            if data[name] == type(self).model_fields[name].default:
                del data[name]
        return data


_LATER_FIELDS = ("cutout", "operations", "magnitude", "ema_decay")

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
    # For some 50 to 200 epochs of small colour images. Rate, momentum and decay as usual for
    # CIFAR-10 (0.1 for a batch of 128, arXiv:1605.07146, section 3), scaled with the batch; a
    # blank of 12 of 32 pixels as in arXiv:2404.00498's longer trainings; one operation an image
    # of uniform strength as in arXiv:2103.10158.
    "cifar": Recipe(
        name="cifar",
        batch_size=256,
        learning_rate=0.2,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        schedule=Cosine(warmup=0.05),
        label_smoothing=0.1,
        norm_momentum=0.1,
        augment="crop-flip",
        cutout=0.375,
        operations=1,
        magnitude=0.5,
        ema_decay=0.999,
    ),
}
"""The recipes by name; a YAML may name one, and change fields of it."""


def recipe_named(name: str, source: str = "task") -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none; the message gives the nearest name.
    """
    if name in RECIPES:
        return RECIPES[name]
    raise unknown_value(source, "recipe", name, RECIPES)


def complete_recipe(given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A recipe's settings with what they leave out, from the recipe that they change.

    That is the one that ``base`` names, else the one that ``name`` does, and the default one
    where both are missing. With a name of its own and no ``base`` nothing is filled in.

    Raises:
        ValueError: ``base`` is no recipe's name.
    """
    own = dict(given)
    base = own.pop("base", None)
    if base is not None and base not in [*RECIPES]:  # a list, as a YAML may give anything
        raise unknown_value(source, "base", base, RECIPES)
    name = base or own.get("name", "default")
    known = RECIPES.get(name) if isinstance(name, str) else None
    return {**(known.model_dump(mode="json") if known else {}), **own}


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file: all fields, or those that differ from its ``base``.

    Without a ``name`` it is called like the file and changes the default recipe.

    Raises:
        ValueError: no YAML or no recipe; the message names file, path, rule and value.
        OSError: the file cannot be read.
    """
    given = read_yaml_file(path)
    if "name" not in given:
        given = {"base": "default", **given, "name": path.stem}
    return parse_settings(Recipe, complete_recipe(given, str(path)), str(path))
