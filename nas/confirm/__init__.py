"""Retraining a run's finalists at full budget with several seeds: what ``nas confirm`` does.

:func:`confirm_run` chooses the networks (:mod:`~nas.confirm.finalists`), trains them through an
executor (:mod:`~nas.confirm.driver`, :mod:`~nas.confirm.work`), and measures all of them once on
the test split at the end. It can be interrupted at any moment and goes on to the same bits.

Left out: reading a confirmation (:mod:`nas.records.confirmation`) and what follows from its
numbers (:mod:`nas.analysis.confirmed`); both are light.
"""

from nas.confirm.launch import confirm_run
from nas.confirm.plan import ConfirmPlan, plan_confirmation
from nas.confirm.request import ConfirmRequest

__all__ = ["ConfirmPlan", "ConfirmRequest", "confirm_run", "plan_confirmation"]
