"""When a search ends."""

from __future__ import annotations

from dataclasses import dataclass

from nas.records.stored import DEFAULT_TRIALS, RunSettings
from nas.search.request import SearchRequest

ENDS = ("trials", "seconds", "device_seconds")
"""The limits of which a search needs one."""


@dataclass(frozen=True)
class Limits:
    """Trained trials, seconds of driving, and seconds that trials take, over all restarts.

    None is no limit. ``device_seconds`` add up over trials that run at once. ``patience`` is the
    share of the hypervolume that the next trial must be expected to add; it is no limit by itself,
    because nobody knows whether it is ever reached. ``trial_seconds`` limits each trial, and no
    search.

    Raises:
        ValueError: one is not over 0, or none limits the search.
    """

    trials: int | None
    seconds: float | None
    device_seconds: float | None = None
    patience: float | None = None
    trial_seconds: float | None = None

    def __post_init__(self) -> None:
        trials, seconds, device_seconds = self.trials, self.seconds, self.device_seconds
        if trials is not None and (not isinstance(trials, int) or trials < 1):
            raise ValueError(f"trials must be an integer from 1, not {trials!r}")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"the time must be over 0 seconds, not {seconds!r}")
        if device_seconds is not None and not device_seconds > 0:
            raise ValueError(f"the device-seconds must be over 0, not {device_seconds!r}")
        if self.trial_seconds is not None and not self.trial_seconds > 0:
            raise ValueError(
                f"the time of a trial must be over 0 seconds, not {self.trial_seconds!r}"
            )
        if self.patience is not None and not 0 < self.patience < 1:
            raise ValueError(f"patience must be a share between 0 and 1, not {self.patience!r}")
        if trials is None and seconds is None and device_seconds is None:
            raise ValueError("a search needs a limit: a number of trials, a time, device-seconds")


def resolve_limits(request: SearchRequest, recorded: RunSettings | None = None) -> Limits:
    """The limits of a search; what is None is as recorded, or the default in a new run.

    Raises:
        ValueError: one is not over 0.
    """
    limits = {name: getattr(request, name) for name in (*ENDS, "patience", "trial_seconds")}
    if recorded is not None:
        limits = {
            name: getattr(recorded, name) if given is None else given
            for name, given in limits.items()
        }
    elif all(limits[name] is None for name in ENDS):
        limits["trials"] = DEFAULT_TRIALS
    return Limits(**limits)
