"""What is asked of a confirmation, not yet checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.task import Recipe

DEFAULT_TOP = 5
DEFAULT_SEEDS = 3
DEFAULT_CONTROLS = 3
DEFAULT_EPOCHS = 10
DEFAULT_LANDMARKS = ("googlenet-narrow", "random:2")


@dataclass(frozen=True, kw_only=True)
class ConfirmRequest:
    """None is the default in a new confirmation, and as recorded in a resumed one.

    ``top`` front trials and ``controls`` dominated ones are retrained, and the ``landmarks``: a
    preset's name, ``googlenet-narrow``, ``random:N``, or none of these. ``seeds`` may be others
    when a confirmation is resumed: more are trained, and of fewer the last ones are left out.
    ``data`` and ``recipe`` default to the run's own. ``overwrite`` deletes an earlier
    confirmation first.
    """

    top: int | None = None
    seeds: int | None = None
    controls: int | None = None
    landmarks: Sequence[str] | None = None
    epochs: int | None = None
    data: str | None = None
    recipe: Recipe | None = None
    device: str = "auto"
    workers: int | None = None
    concurrency: int | None = None
    resume: bool = False
    overwrite: bool = False
