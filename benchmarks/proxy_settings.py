"""The settings that benchmarks/proxy_ranking.py compares, and the order it trains them in.

All others change one thing of the *base* (or two, at about its cost): a quarter of the width, 4
epochs of 3,072 images, batches of 64, the stem that divides the image most, and at least 2 pixels
on the last map. *last map 3* was the rule once: it gives four-stage networks on 28 pixels a stem
of stride 1, which costs them three times the time.
Batch sizes scale the learning rate with them (Goyal et al., arXiv:1706.02677). Everything is
written out, so that other defaults in nas/task do not change what was measured.

The *longer training* is what they are judged by: half the width, the target's own image, stem and
maps, all images of the training part, 6 epochs. Its seeds are none of the others', because a seed
also fixes first weights and the order of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.architecture import Shape
from nas.datasets import DataInfo
from nas.task import Precision, Task, create_task
from nas.task.creation import MAX_PROXY_SIDE

IMAGES = 3_072
"""Images an epoch of the base passes."""

BASE, LAST_MAP_3, REFERENCE = "base", "last map 3", "longer training"


@dataclass(frozen=True)
class Setting:
    """One way to train: ``images`` in units of the base's, ``side`` in units of the image's.

    ``images`` None passes all. ``min_side`` is the least number of pixels on the last map.
    """

    name: str
    width: float = 0.25
    epochs: int = 4
    images: float | None = 1.0
    side: float = 1.0
    stem: str = "fastest"
    min_side: int = 2
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def task(self, data: DataInfo, precision: Precision, images: int = IMAGES) -> Task:
        """The task for a data set, with so many images in an epoch of the base.

        Raises:
            ValueError: the setting does not suit the data.
        """
        proxy = {
            "resolution": self._resolution(data.image),
            "width": self.width,
            "images": None if self.images is None else int(self.images * images),
            "epochs": self.epochs,
            "stem": self.stem,
        }
        recipe = {"batch_size": 64, "learning_rate": 0.2, "augment": "flip", **self.recipe}
        settings = {"proxy": proxy, "recipe": recipe}
        return create_task(data, settings, precision=precision, source=self.name)

    def _resolution(self, image: Shape) -> int | None:
        side = min(max(image.height, image.width), MAX_PROXY_SIDE)
        is_own = self.side == 1 and (image.height, image.width) == (side, side)
        return None if is_own else round(side * self.side)


def reference(width: float = 0.5, epochs: int = 6, images: float | None = None) -> Setting:
    """The longer training."""
    return Setting(REFERENCE, width=width, epochs=epochs, images=images, stem="own", min_side=1)


SETTINGS = (
    Setting(BASE),
    Setting(LAST_MAP_3, min_side=3),
    Setting("own stem", stem="own"),
    Setting("width 1/8", width=0.125),
    Setting("width 1/2", width=0.5),
    Setting("1 epoch", epochs=1),
    Setting("2 epochs", epochs=2),
    Setting("8 epochs", epochs=8),
    Setting("half the images", images=0.5),
    Setting("twice the images", images=2.0),
    Setting("resolution 70 %", side=0.7),
    Setting("resolution 50 %", side=0.5),
    Setting("batch 32", recipe={"batch_size": 32, "learning_rate": 0.1}),
    Setting("batch 128", recipe={"batch_size": 128, "learning_rate": 0.4}),
    Setting("no flip", recipe={"augment": "none"}),
    Setting("width 1/8, 8 epochs", width=0.125, epochs=8),
    Setting("width 1/2, 2 epochs", width=0.5, epochs=2),
    Setting("resolution 50 %, 8 epochs", side=0.5, epochs=8),
    Setting("resolution 50 %, width 1/2", side=0.5, width=0.5),
)

REFERENCE_SEEDS = (100, 101)

ROUNDS: tuple[tuple[tuple[str, int], ...], ...] = (
    ((REFERENCE, REFERENCE_SEEDS[0]), (BASE, 0)),
    (
        (LAST_MAP_3, 0),
        (BASE, 1),
        ("1 epoch", 0),
        ("2 epochs", 0),
        ("width 1/8", 0),
        ("resolution 50 %", 0),
    ),
    (("width 1/2", 0), ("8 epochs", 0), ("resolution 70 %", 0)),
    ((REFERENCE, REFERENCE_SEEDS[1]), (LAST_MAP_3, 1)),
    (
        ("resolution 50 %, 8 epochs", 0),
        ("width 1/8, 8 epochs", 0),
        ("width 1/2, 2 epochs", 0),
        ("batch 128", 0),
        ("resolution 50 %, width 1/2", 0),
    ),
    (("no flip", 0), ("batch 32", 0), ("own stem", 0)),
    (("half the images", 0), ("twice the images", 0)),
)
"""(setting, seed) in the order of training: each round goes through all architectures."""
