"""Command lines as text to copy; it loads nothing, so that light commands stay light."""

from __future__ import annotations

import shlex


def command(*words: object) -> str:
    """``nas`` and the words, quoted where a shell needs it."""
    return shlex.join(["nas", *map(str, words)])
