"""Architectures as SVG files of their own: a drawing in an image element can run nothing."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlencode

from flask import Flask, Response, request

from nas.analysis.diagrams import diagram_svg
from nas.analysis.theme import THEMES, ThemeName
from nas.architecture import Architecture
from nas.dashboard.refused import refused, still_reading
from nas.dashboard.source import Source
from nas.dashboard.state import read_state
from nas.task import Task

POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def diagram_address(
    run: str, trial: int, *, theme: ThemeName, columns: int = 3, version: str = ""
) -> str:
    """Where the drawing of a trial is; ``version`` tells apart runs that were made anew."""
    pairs = {"run": run, "trial": trial, "theme": theme, "columns": columns, "of": version}
    return f"/diagram.svg?{urlencode(pairs)}"


def add_diagrams(server: Flask, source: Source) -> None:
    """Serve the drawings of all trials."""

    @server.get("/diagram.svg")
    def diagram() -> Response:
        state = read_state("/architecture", request.query_string.decode(), source.names)
        if not state.run or state.trial is None:
            return refused(404, "Which trial?")
        snapshot = source.snapshot(state.run)
        if snapshot.loading:
            return still_reading(snapshot.loading)
        run = snapshot.run
        try:
            architecture = run.architecture(state.trial).to_json()
        except (ValueError, OSError) as error:
            return refused(404, str(error))
        theme: ThemeName = "dark" if request.args.get("theme") == "dark" else "light"
        columns = 1 if request.args.get("columns") == "1" else 3
        title = f"Trial {state.trial} of {state.run}: the network, drawn"
        answer = Response(
            _drawn(architecture, run.settings.task, theme, columns, title),
            mimetype="image/svg+xml",
        )
        answer.headers["Content-Security-Policy"] = POLICY
        answer.cache_control.max_age = 3600
        answer.cache_control.private = True
        return answer


@lru_cache(maxsize=256)
def _drawn(architecture: str, task: str, theme: ThemeName, columns: int, title: str) -> str:
    target = Task.from_json(task).target
    svg = diagram_svg(
        Architecture.from_json(architecture),
        target.image,
        target.classes,
        columns=columns,
        title=title,
    )
    # The drawing takes its ink from what surrounds it; here nothing does.
    return svg.replace("<svg ", f'<svg color="{THEMES[theme].text}" ', 1)
