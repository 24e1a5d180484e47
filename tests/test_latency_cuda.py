"""On an NVIDIA GPU: layers and networks are timed by CUDA graphs, and predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.architecture import Shape
from nas.latency import solitude
from nas.latency.building import Effort, build_table, measure_network
from nas.space import SearchSpace

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

TINY = SearchSpace.load("tiny")
IMAGE, CLASSES = Shape(3, 32, 32), 10


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solitude, "lock_path", lambda: tmp_path / "lock")


def test_a_table_of_a_gpu_says_so_and_predicts() -> None:
    effort = Effort(layers=60, fit_networks=6, check_networks=6, seconds=5, rounds=(5, 5))
    table = build_table(TINY, IMAGE, CLASSES, "cuda", effort=effort)
    assert table.setting.device == "cuda"
    assert torch.cuda.get_device_name() in table.setting.machine
    assert table.disturbed == 0
    assert all(0 < measured.low <= measured.high for _, measured in table.layers)
    assert table.error.n == 6
    assert all(table.predict_ms(item) > 0 for item in TINY.enumerate())


def test_a_network_is_timed_without_launches() -> None:
    item = TINY.random(np.random.default_rng(0))
    spread, setting = measure_network(item, IMAGE, CLASSES, "cuda", rounds=9)
    assert setting.device == "cuda"
    assert 0 < spread.low <= spread.median <= spread.high
