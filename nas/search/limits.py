"""When a search ends."""

from __future__ import annotations

from dataclasses import dataclass

from nas.records.stored import DEFAULT_TRIALS, RunSettings


@dataclass(frozen=True)
class Limits:
    """Trained trials and seconds of driving, for the run over all restarts; None is no limit.

    Raises:
        ValueError: one is not over 0, or both are None.
    """

    trials: int | None
    seconds: float | None

    def __post_init__(self) -> None:
        trials, seconds = self.trials, self.seconds
        if trials is not None and (not isinstance(trials, int) or trials < 1):
            raise ValueError(f"trials must be an integer from 1, not {trials!r}")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"the time must be over 0 seconds, not {seconds!r}")
        if trials is None and seconds is None:
            raise ValueError("a search needs a limit: a number of trials, a time, or both")


def resolve_limits(
    trials: int | None, seconds: float | None, recorded: RunSettings | None = None
) -> Limits:
    """The limits of a search; what is None is as recorded, or the default in a new run.

    Raises:
        ValueError: one is not over 0.
    """
    if recorded is not None:
        trials = recorded.trials if trials is None else trials
        seconds = recorded.seconds if seconds is None else seconds
    elif trials is None and seconds is None:
        trials = DEFAULT_TRIALS
    return Limits(trials, seconds)
