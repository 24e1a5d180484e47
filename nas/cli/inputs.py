"""What users type, turned into objects, or refused with one line: images and architectures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nas.architecture import Architecture, Shape
    from nas.records import Run
    from nas.task import Recipe

ARCHITECTURE_FILE = "architecture.json"
"""What an export or a trained network calls its description."""

SUMMARIES = ("export.json", "training.json")
"""What `nas export` and `nas train` say of a network, beside its description."""


class NamedArchitecture(NamedTuple):
    """An architecture, what it is called, and the image and classes it was made for if known."""

    name: str
    architecture: Architecture
    image: Shape | None
    classes: int | None


class Picked(NamedTuple):
    """A trial's architecture, with the target that the run counted its cost for."""

    name: str
    architecture: Architecture
    image: Shape
    classes: int
    number: int


def parse_image(text: str, channels: int = 3) -> Shape:
    """``224`` (a square), ``224x160`` (height x width) or, with the channels, ``1x28x28``.

    Raises:
        ValueError: something else; the message says what is understood.
    """
    from nas.architecture import Shape

    if not re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,5}){0,2}", text):
        raise ValueError(f"--image must be like 224 or 3x224x224, not {text!r}")
    sides = [int(side) for side in text.split("x")]
    depth = sides[0] if len(sides) == 3 else channels
    shape = Shape(depth, sides[-2] if len(sides) > 1 else sides[-1], sides[-1])
    if min(shape) < 1:
        raise ValueError(f"--image must have at least one pixel and one channel, not {text!r}")
    return shape


def default_classes(image: Shape) -> int:
    """ImageNet's 1,000 classes for images from 128 pixels on, CIFAR-10's 10 below."""
    return 1000 if min(image.height, image.width) >= 128 else 10


def read_architecture(
    subject: str, accepted: str = "an architecture's JSON file or a preset"
) -> NamedArchitecture:
    """The architecture of a preset, a JSON file, or a directory that holds one.

    ``accepted`` says in messages what the command takes.

    Raises:
        ValueError: there is none; the message names the nearest preset, or what is wrong in the
            file and where.
    """
    from nas.presets import PRESET_IMAGES, PRESETS, load_preset

    path = Path(subject)
    if subject in PRESETS:
        image = PRESET_IMAGES[subject]
        return NamedArchitecture(subject, load_preset(subject), image, default_classes(image))
    if path.is_dir():
        path = path / ARCHITECTURE_FILE
        if not path.is_file():
            raise ValueError(
                f"{subject}: the directory holds no {ARCHITECTURE_FILE}; give {accepted}"
            )
    if path.is_file():
        name = path.parent.resolve().name if path.name == ARCHITECTURE_FILE else path.stem
        return NamedArchitecture(name, read_architecture_file(path), *_made_for(path))
    if len(path.parts) > 1 or path.suffix:
        raise ValueError(f"{subject}: there is no such file; give {accepted}")
    raise ValueError(f"{subject!r} is not {accepted}; {_near(subject, list(PRESETS))}")


def _near(name: str, presets: Sequence[str]) -> str:
    from nas.quantities import nearest
    from nas.records import run_names

    known = [*presets, *run_names()]
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else f"there are {', '.join(known)}"


def find_run(what: str, *, wanted_by: str | None = None) -> Run | None:
    """The run that ``what`` names, or None where it is something else.

    A preset of that name comes first, unless an option that is for runs wants one.

    Raises:
        ValueError: a run is wanted and there is none, or it cannot be read.
    """
    from nas.cli.reading import reading_line
    from nas.presets import PRESETS
    from nas.records import RESULTS, open_run
    from nas.records.stored import DATABASE

    is_run = "://" in what or any(
        (path / DATABASE).is_file() for path in (Path(what), RESULTS / what)
    )
    if wanted_by is not None and not is_run:
        kind = "a preset" if what in PRESETS else _kind_of(Path(what))
        if kind:
            raise ValueError(f"{wanted_by} is for runs, and {what} is {kind}")
    if wanted_by is not None or (is_run and what not in PRESETS):
        return open_run(what, progress=reading_line())
    return None


def _kind_of(path: Path) -> str:
    if path.is_dir():
        is_trained = (path / "training.json").is_file() or (path / "checkpoint.pt").is_file()
        return "a directory of nas train" if is_trained else ""
    return "a file" if path.is_file() else ""


def check_results(results: str | Path) -> None:
    """Refuse a results directory that is a file, or would be below one.

    Raises:
        ValueError: it cannot be a directory.
    """
    path = Path(results)
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise ValueError(f"--results must be a directory, and {place} is a file")
            return


def trial_of_run(run: Run, pick: str | None) -> Picked:
    """The architecture of the trial that ``pick`` (None: the knee) means, at the run's target.

    Raises:
        ValueError: there is no such trial.
    """
    from nas.analysis.picks import resolve_pick
    from nas.task import Task

    number = resolve_pick(run.trials, run.settings.objectives, "knee" if pick is None else pick)
    target = Task.from_json(run.settings.task).target
    name = f"{run.name}-trial{number}"
    return Picked(name, run.architecture(number), target.image, target.classes, number)


def _made_for(path: Path) -> tuple[Shape | None, int | None]:
    """Image and classes of an export or a training, from the summary beside its description."""
    from nas.architecture import Shape

    for name in SUMMARIES:
        summary = path.with_name(name)
        if path.name == ARCHITECTURE_FILE and summary.is_file():
            try:
                found = json.loads(summary.read_text(encoding="utf-8"))
                return Shape(*found["image"]), found.get("classes") or len(found["class_names"])
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{summary}: is no summary of an export or training") from None
    return None, None


def find_recipe(text: str) -> Recipe:
    """The recipe of that name, or of a YAML file.

    Raises:
        ValueError: there is none, or the file is no recipe.
        OSError: the file cannot be read.
    """
    from nas.quantities import unknown_name
    from nas.task import RECIPES, read_recipe

    path = Path(text)
    if text in RECIPES:
        return RECIPES[text]
    if path.suffix in (".yaml", ".yml") or os.sep in text or path.is_file():
        return read_recipe(path)
    raise ValueError(f"{unknown_name('--recipe', text, RECIPES)}, or a YAML file (*.yaml)")


def read_architecture_file(path: Path) -> Architecture:
    """The architecture in a JSON file.

    Raises:
        ValueError: it is no architecture; the message names the file.
    """
    from nas.architecture import Architecture

    try:
        return Architecture.from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
