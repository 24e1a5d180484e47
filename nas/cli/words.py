"""Commands as text to copy: quoted where a shell needs it."""

from __future__ import annotations

import shlex


def command(*words: object) -> str:
    """``nas`` and the words, as one line for a shell."""
    return shlex.join(["nas", *map(str, words)])
