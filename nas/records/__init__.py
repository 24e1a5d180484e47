"""How a run is stored and read: the only package that knows what a trial looks like on disk.

:mod:`~nas.records.stored` is the data, :mod:`~nas.records.reading` opens runs as typed tables
(light: neither Optuna nor torch), and :mod:`~nas.records.writing` is for the driver of a search,
imported only there.
"""

from nas.records.reading import (
    Run,
    RunSummary,
    delete_run,
    driver_of,
    list_runs,
    open_run,
    run_names,
)
from nas.records.stored import (
    CURVE_COLUMNS,
    RESULTS,
    TRIAL_COLUMNS,
    Ended,
    Location,
    Outcome,
    Proposal,
    Rejections,
    RunSettings,
    Stop,
    locate,
)

__all__ = [
    "CURVE_COLUMNS",
    "RESULTS",
    "TRIAL_COLUMNS",
    "Ended",
    "Location",
    "Outcome",
    "Proposal",
    "Rejections",
    "Run",
    "RunSettings",
    "RunSummary",
    "Stop",
    "delete_run",
    "driver_of",
    "list_runs",
    "locate",
    "open_run",
    "run_names",
]
