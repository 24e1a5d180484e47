"""What a dead process says about itself: whether it ended by its own doing, in words for people.

A fault in the code that a process ran ends it by a signal that the kernel sends for it (a wrong
address, an instruction that is none) or by an exit. SIGKILL comes from outside: from people, from
a batch system, from the kernel where memory runs out; so do SIGTERM, SIGHUP and the like.
"""

from __future__ import annotations

import signal

OWN_SIGNALS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
"""Signals that a process gets for what it does itself."""


def is_crash(code: int | None) -> bool:
    """Whether a process of this exit code (negative: a signal's number) ended by its own doing."""
    if code is None:
        return False
    return code >= 0 or -code in OWN_SIGNALS


def shown_exit(code: int | None) -> str:
    """How a process ended, as the end of a sentence."""
    if code is not None and code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
