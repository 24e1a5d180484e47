"""The learning rate of every step, as a pure function of the recipe."""

from __future__ import annotations

from nas.task import Recipe, Steps


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The rate of the 0-based ``step`` of a training of ``epochs`` epochs.

    A triangle is taken at the middle of each step, so that no step has rate 0. Its horizon is
    the whole training, whatever epoch it is stopped at: one trial's early rungs are comparable
    with another's.
    """
    schedule = recipe.schedule
    if isinstance(schedule, Steps):
        drops = step // (steps_per_epoch * schedule.epochs)
        return recipe.learning_rate * float(schedule.factor**drops)
    position = (step + 0.5) / (steps_per_epoch * epochs)
    if position < schedule.warmup:
        return recipe.learning_rate * position / schedule.warmup
    return recipe.learning_rate * (1 - position) / (1 - schedule.warmup)
