"""Commands as text to copy: quoted where a shell needs it, passwords left out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.records import Run


def command(*words: object) -> str:
    """``nas`` and the words, as one line for a shell."""
    return shlex.join(["nas", *map(str, words)])


def run_word(run: Run) -> str:
    """What names the run in a command: its directory, or its storage with the study's name."""
    return f"{_url(run)}#{run.name}" if _has_storage(run) else str(run.path)


def resume_words(run: Run) -> list[str]:
    """The words behind ``nas search`` that go on with the run."""
    from nas.records import RESULTS

    words = ["--name", run.name, "--resume"]
    if run.path.parent != RESULTS:
        words += ["--results", str(run.path.parent)]
    if _has_storage(run):
        words += ["--storage", _url(run)]
    return words


def _has_storage(run: Run) -> bool:
    from nas.records import locate

    return run.url != locate(run.name, run.path.parent).url


def _url(run: Run) -> str:
    import sqlalchemy

    return sqlalchemy.make_url(run.url).render_as_string(hide_password=True)
