"""All that is said of a confirmation, from its record: table, agreement, verdict."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nas.analysis.confirmed import agreement_table, confirmed_table
from nas.analysis.verdict import Verdict, give_verdict
from nas.records import Run
from nas.records.confirmation import Confirmation, open_confirmation
from nas.task import Task


@dataclass(frozen=True)
class ConfirmedSummary:
    """``table`` is a ``confirmed_table``, ``agreement`` an ``agreement_table``; ``trained`` of
    ``wanted`` trainings are done; ``task`` is that of the full training."""

    confirmation: Confirmation
    task: Task
    table: pd.DataFrame
    agreement: pd.DataFrame
    verdict: Verdict
    trained: int
    wanted: int

    @property
    def spread(self) -> str:
        """Whose spread over seeds the intervals stand on: "pooled", "own" or "none"."""
        return str(self.table["spread"].iloc[0])

    @property
    def basis(self) -> str:
        """What the numbers rest on, in words."""
        spread = {
            "pooled": "\N{PLUS-MINUS SIGN}: 95 % interval of the mean over seeds by Student's t, "
            f"with one spread for all networks (sd {100 * self.table['sd'].mean():.2f} %)",
            "own": "\N{PLUS-MINUS SIGN}: 95 % interval of the mean over seeds by Student's t, "
            "each with its own spread",
            "none": "One seed says nothing of chance: there are no intervals",
        }[self.spread]
        images = self.confirmation.test_images
        test = (
            f"test: {images:,} images, measured once, part of no choice"
            if images
            else "the test split was not measured"
        )
        judged = f"Judged on {self.task.validation_images:,} validation images"
        return f"{spread}. {judged}; {test}."


def summarise_confirmation(confirmation: Confirmation) -> ConfirmedSummary:
    """The tables and the verdict of a confirmation as far as it has come."""
    objectives, settings = confirmation.objectives, confirmation.settings
    table = confirmed_table(confirmation.finalists, confirmation.trainings, objectives)
    agreement = agreement_table(table)
    trained, wanted = len(confirmation.complete_rows), settings.seeds * len(settings.finalists)
    verdict = give_verdict(table, agreement, objectives, trained=trained, wanted=wanted)
    task = Task.from_json(confirmation.study.settings.task)
    return ConfirmedSummary(confirmation, task, table, agreement, verdict, trained, wanted)


def find_summary(run: Run) -> ConfirmedSummary | None:
    """The summary of a run's confirmation; None where it has none.

    Raises:
        OSError: the storage cannot be read.
    """
    found = open_confirmation(run)
    return None if found is None else summarise_confirmation(found)
