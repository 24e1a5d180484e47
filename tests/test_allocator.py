"""Freed memory stays with a worker's process."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# What malloc holds free is asked of malloc itself: not every system counts page faults.
PROGRAM = """
import ctypes, sys, torch
from nas.training.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd",
        "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info

# 40 MB each: glibc gives blocks of this size back to the system by default.
maps = [torch.ones(10_000_000) for _ in range(4)]
used = mallinfo2().uordblks + mallinfo2().hblkhd
del maps
info = mallinfo2()
assert used - info.uordblks - info.hblkhd > 150_000_000
print(info.fordblks)
"""


def bytes_held_free(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="needs glibc 2.33 or newer",
)
def test_freed_memory_is_kept() -> None:
    assert bytes_held_free("leave") < 40_000_000 < 160_000_000 <= bytes_held_free("keep")
