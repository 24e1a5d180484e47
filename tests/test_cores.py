"""The number of cores: affinity and the container's quota, the same for all that asks."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from command_line import nas

from nas import cores
from nas.cores import usable_cores
from nas.search.workers import worker_devices


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The container's file; a quota cannot be set without the rights of an administrator."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "CPU_MAX", path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    return path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("300000 100000\n", 3),
        ("350000 100000\n", 3),
        ("50000 100000\n", 1),
        ("9000000 100000\n", 8),
        ("max 100000\n", 8),
        ("nonsense\n", 8),
    ],
)
def test_affinity_and_quota_limit_the_cores(quota: Path, text: str, wanted: int) -> None:
    quota.write_text(text)
    assert usable_cores() == wanted


def test_without_a_container_the_affinity_counts(quota: Path) -> None:
    assert not quota.exists()
    assert usable_cores() == 8


def test_without_affinity_the_machine_counts(quota: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity")
    assert usable_cores() == psutil.cpu_count()


def test_all_that_asks_gets_the_same_number(quota: Path) -> None:
    quota.write_text("300000 100000\n")
    assert worker_devices("cpu", None) == ["cpu"] * 3
    assert nas("doctor", "--json").data["cores"] == 3
