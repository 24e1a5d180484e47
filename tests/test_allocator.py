"""Freed memory stays with a worker's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from nas.training.allocator import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def pass_once():
    # 8 MB each: glibc gives blocks of this size back to the system by default.
    maps = [torch.ones(2_000_000) for _ in range(8)]
    del maps

for _ in range(3):
    pass_once()
before = faults()
for _ in range(5):
    pass_once()
print(faults() - before)
"""


def faults_of(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_kept_memory_is_not_cleared_again() -> None:
    # 16,000 pages of 4 KiB a pass; transparent huge pages make fewer faults of them.
    assert faults_of("keep") < 100 < faults_of("leave")
