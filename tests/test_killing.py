"""A few of what ``python tests/killing.py`` does fifty times; NAS_KILLS asks for more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from killing import kill_searches

KILLS = int(os.environ.get("NAS_KILLS", "4"))


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * KILLS)
def test_what_was_finished_outlives_kill_9(tmp_path: Path) -> None:
    killing = kill_searches(KILLS, trials=6, seed=3, place=tmp_path)
    assert killing.faults == []
    assert killing.orphans == 0
    assert killing.total == KILLS
    assert killing.trials == 6 * killing.searches
