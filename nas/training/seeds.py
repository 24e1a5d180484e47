"""Where randomness comes from: generators named by a seed and words, never a global state.

A generator of its own for each purpose and epoch means that nothing has to be saved to go on
after a pause, and that drawing more in one place changes nothing in another.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """A 63-bit seed that follows from ``seed`` and ``words``, the same on every machine."""
    digest = hashlib.sha256(repr((int(seed), *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *words: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on ``device``, seeded by :func:`derive_seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *words))
