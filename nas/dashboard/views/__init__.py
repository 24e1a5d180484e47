"""The views: each module has ``layout(state)``, its components, and ``register(app, source)``.

A view's components have ids that begin with its name, ``progress-figure``. A layout shows nothing
of a run: callbacks fill it, when it is opened and whenever the run, the address or the theme
changes (:mod:`nas.dashboard.seen`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from dash import Dash
from dash.development.base_component import Component

from nas.dashboard.source import Source
from nas.dashboard.state import State


class View(Protocol):
    """What a view's module offers."""

    def layout(self, state: State) -> Component:
        """The view's components, empty."""

    def register(self, app: Dash, source: Source) -> None:
        """Add the callbacks that fill them."""


def module(view: str) -> View:
    """The module of a view that exists."""
    return cast("View", import_module(f"nas.dashboard.views.{view}"))
