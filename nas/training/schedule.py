"""The learning rate and the averaging of every step, as pure functions of the recipe."""

from __future__ import annotations

import math

from nas.task import Cosine, Recipe, Steps


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The rate of the 0-based ``step`` of a training of ``epochs`` epochs.

    Triangles and cosines are taken at the middle of each step, so that no step has rate 0. Their
    horizon is the whole training, whatever epoch it is stopped at: one trial's early rungs are
    comparable with another's.
    """
    schedule = recipe.schedule
    if isinstance(schedule, Steps):
        drops = step // (steps_per_epoch * schedule.epochs)
        return recipe.learning_rate * float(schedule.factor**drops)
    position = (step + 0.5) / (steps_per_epoch * epochs)
    if position < schedule.warmup:
        return recipe.learning_rate * position / schedule.warmup
    left = (1 - position) / (1 - schedule.warmup)
    if isinstance(schedule, Cosine):
        left = (1 - math.cos(math.pi * left)) / 2
    return recipe.learning_rate * left


def ema_decay(decay: float, step: int) -> float:
    """How much of the averaged weights the 0-based ``step`` keeps: ``decay``, less at first.

    (1 + step) / (10 + step) until that exceeds ``decay``, so that the first weights do not stay
    in it for long (the rule of TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``).
    """
    return min(decay, (1 + step) / (10 + step))
