"""The view ``compare``: not built yet."""

from __future__ import annotations

from dash import Dash
from dash.development.base_component import Component

from nas.dashboard.shell import empty_view
from nas.dashboard.source import Source
from nas.dashboard.state import VIEWS, State


def layout(state: State) -> Component:
    """The view's components, empty."""
    return empty_view(VIEWS[state.view], "To come.")


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
