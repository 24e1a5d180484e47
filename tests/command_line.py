"""Runs ``nas`` in this process, as tests of the command line do: fast, with its own streams."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from nas.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left: exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What was written, read as JSON."""
        return json.loads(self.out)


def nas(*words: object) -> Result:
    """Run ``nas`` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Result(code, out.getvalue(), err.getvalue())
