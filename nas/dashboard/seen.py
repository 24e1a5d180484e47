"""What a callback works on: the state in the address, the run as last seen, and the theme.

A view's callback takes :data:`LOOK` as its inputs and begins with :func:`see`::

    @app.callback(Output("progress-figure", "figure"), *LOOK)
    def draw(pathname, search, version, theme):
        seen = see(source, "progress", pathname, search, theme)
        return figure(seen.snapshot.trials, theme=seen.theme)
"""

from __future__ import annotations

from dataclasses import dataclass

from dash import Input
from dash.exceptions import PreventUpdate

from nas.analysis.theme import ThemeName
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import State, read_state

LOOK = (
    Input("address", "pathname"),
    Input("address", "search"),
    Input("version", "data"),
    Input("theme", "data"),
)
"""The inputs of every callback that draws: it runs again when any of them changes."""


@dataclass(frozen=True)
class Seen:
    """A validated state with the run that it names."""

    state: State
    snapshot: Snapshot
    theme: ThemeName


def see(source: Source, view: str, pathname: object, search: object, theme: object) -> Seen:
    """What a view's callback works on.

    Raises:
        PreventUpdate: another view is open, there is no run, or the page does not know its theme
            yet: there is nothing to draw.
    """
    state = read_state(pathname, search, source.names)
    if state.view != view or not state.run or theme not in ("light", "dark"):
        raise PreventUpdate
    return Seen(state, source.snapshot(state.run), "dark" if theme == "dark" else "light")
