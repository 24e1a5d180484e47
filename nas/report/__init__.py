"""Runs as one offline HTML file: front, diagrams, cost tables, curves, spend, settings.

:func:`write_report` writes the page and :func:`write_figure` one of its figures for a paper.
:mod:`~nas.report.view` turns a run into plain values and drawings, with :mod:`~nas.report.choices`
and :mod:`~nas.report.comparison`; :mod:`~nas.report.page` turns those into the file;
``page.html``, ``page.css`` and ``page.js`` are its parts, ``plotly-basic.min.js`` is plotly.js
4.1.1 (MIT, PLOTLY_LICENSE).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nas.records import Run
from nas.report.page import page_html
from nas.report.paper import figure_name, write_figure
from nas.report.view import run_views

__all__ = ["figure_name", "write_figure", "write_report"]


def write_report(runs: Run | Sequence[Run], out: str | Path) -> Path:
    """Write one self-contained HTML file about one or several runs and return its path.

    The file is whole or not there; a file of that name is replaced.

    Raises:
        ValueError: there is no run, or ``out`` is a directory.
        OSError: the file cannot be written.
    """
    given = [runs] if isinstance(runs, Run) else list(runs)
    path = Path(out)
    if not given:
        raise ValueError("a report needs at least one run")
    if path.is_dir():
        raise ValueError(f"{path} is a directory; give the report a file name such as report.html")
    text = page_html(run_views(given))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
