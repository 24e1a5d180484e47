"""What is looked at, as the page's address: ``/VIEW?run=NAME&trial=7&x=macs&scale=log``.

Whatever comes in an address, and however it got there, a :class:`State` holds only what exists:
a value that is not among those known, or does not match its rule, is the default. So the rest of
the dashboard need not distrust it, and an old or broken link opens something sensible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from nas.cost import COSTS

VIEWS = {
    "front": "Front",
    "architecture": "Architecture",
    "progress": "Progress",
    "choices": "Choices",
    "compare": "Compare",
    "trials": "Trials",
}
"""The views by their word in the address, and what the page calls them."""

MAX_LENGTH = 4096
"""Letters of an address that are read; browsers and links keep well below."""

Scale = Literal["log", "linear"]

_TRIAL = re.compile(r"[0-9]{1,9}")
_BUDGET = re.compile(r"[0-9]{1,15}")
_OWN = ("run", "trial", "x", "scale", "budget")


@dataclass(frozen=True)
class State:
    """A view of a run: ``run`` is "" where there is none, ``trial`` None where none is chosen.

    ``x`` is the cost on the horizontal axis and ``budget`` a limit on it. ``more`` has what single
    views keep in the address, by their declared names (:data:`PARAMETERS`).
    """

    view: str = "front"
    run: str = ""
    trial: int | None = None
    x: str = "macs"
    scale: Scale = "log"
    budget: int | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def search(self) -> str:
        """The part of the address behind the path, with the question mark; "" for a bare view."""
        pairs = {
            "run": self.run,
            "trial": "" if self.trial is None else str(self.trial),
            "x": "" if self.x == "macs" else self.x,
            "scale": "" if self.scale == "log" else self.scale,
            "budget": "" if self.budget is None else str(self.budget),
            **self.more,
        }
        text = urlencode({name: value for name, value in pairs.items() if value})
        return f"?{text}" if text else ""

    def href(self, **changes: Any) -> str:
        """The address of this state, with some of its fields changed."""
        state = replace(self, **changes)
        return f"/{state.view}{state.search()}"


PARAMETERS: dict[str, re.Pattern[str]] = {}
"""What single views keep in the address: the name, and what its value must match in full."""


def declare(name: str, pattern: str) -> None:
    """Let an address carry ``name``; a value that does not match ``pattern`` in full is dropped."""
    assert name not in _OWN, name
    PARAMETERS[name] = re.compile(pattern)


def read_state(pathname: object, search: object, runs: Sequence[str]) -> State:
    """The state that an address means; ``runs`` are the names there are, the first the default."""
    path = pathname.strip("/") if isinstance(pathname, str) else ""
    given = _pairs(search)
    run = given.get("run", "")
    trial, budget = given.get("trial", ""), given.get("budget", "")
    return State(
        view=path if path in VIEWS else "front",
        run=run if run in runs else (runs[0] if runs else ""),
        trial=int(trial) if _TRIAL.fullmatch(trial) else None,
        x=given["x"] if given.get("x") in COSTS else "macs",
        scale="linear" if given.get("scale") == "linear" else "log",
        budget=int(budget) if _BUDGET.fullmatch(budget) else None,
        more={
            name: given[name]
            for name, pattern in PARAMETERS.items()
            if name in given and pattern.fullmatch(given[name])
        },
    )


def _pairs(search: object) -> dict[str, str]:
    if not isinstance(search, str) or len(search) > MAX_LENGTH:
        return {}
    try:
        return dict(parse_qsl(search.removeprefix("?"), max_num_fields=40))
    except ValueError:  # more fields than any address of ours has
        return {}
