"""How a run is stored and read: the only package that knows what a trial looks like on disk.

:mod:`~nas.records.stored` is the data, :mod:`~nas.records.reading` gives a run as typed tables
(light: neither Optuna nor torch), :mod:`~nas.records.opening` and :mod:`~nas.records.listing` find
runs, and :mod:`~nas.records.writing` is for the driver of a search, imported only there. Below the
tables: the statements (:mod:`~nas.records.schema`), Arrow tables of rows
(:mod:`~nas.records.columns`), what was read so far (:mod:`~nas.records.store`), its files
(:mod:`~nas.records.cache`), and frames (:mod:`~nas.records.frames`).
"""

from nas.records.listing import RunSummary, delete_run, delete_stored_run, list_runs
from nas.records.opening import open_run, run_names
from nas.records.reading import Run, driver_of
from nas.records.store import Progress
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
    "Progress",
    "Proposal",
    "Rejections",
    "Run",
    "RunSettings",
    "RunSummary",
    "Stop",
    "delete_run",
    "delete_stored_run",
    "driver_of",
    "list_runs",
    "locate",
    "open_run",
    "run_names",
]
