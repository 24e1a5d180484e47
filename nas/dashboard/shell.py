"""What surrounds every view: the name, the run, the way to the views, the theme, and notices."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from nas.dashboard.source import Source
from nas.dashboard.state import VIEWS

SECONDS = 1.5
"""Between two questions of the page whether there is anything new."""


def shell(source: Source, bindings: dict[str, Any], csrf: str) -> html.Div:
    """The page without a view in it."""
    return html.Div(
        [
            dcc.Location(id="address", refresh=False),
            dcc.Interval(id="tick", interval=SECONDS * 1000),
            dcc.Store(id="version"),
            dcc.Store(id="shown-view"),
            dcc.Store(id="theme"),
            dcc.Store(id="brush"),
            dcc.Store(id="bindings", data=bindings),
            dcc.Store(id="csrf", data=csrf),
            html.A("Skip to the view", href="#view", className="skip"),
            html.Header(
                [
                    html.Div(
                        [
                            html.Div(
                                [
                                    html.Span(className="mark", **aria(hidden="true")),
                                    html.Span("Pareto workbench", className="product"),
                                ],
                                className="brand",
                            ),
                            html.Div(
                                [
                                    html.Label("Run", htmlFor="run", className="quiet"),
                                    dcc.Dropdown(
                                        id="run",
                                        options=run_options(source),
                                        clearable=False,
                                        searchable=len(source.names) > 8,
                                        className="run-choice",
                                    ),
                                ],
                                className="run-box",
                            ),
                            html.Div(id="live", className="live", role="status"),
                            html.Button(
                                "Dark", id="theme-switch", className="theme-switch", type="button"
                            ),
                        ],
                        className="bar",
                    ),
                    html.Nav(
                        [
                            dcc.Link(name, id=f"link-{view}", href=f"/{view}", className="to-view")
                            for view, name in VIEWS.items()
                        ],
                        className="to-views",
                        **aria(label="Views"),
                    ),
                ],
                className="top",
            ),
            html.Div(id="notice", className="notice", role="alert"),
            html.Main(id="view", className="view", tabIndex=-1),
        ],
        className="shell",
    )


def aria(**values: str) -> Any:
    """``aria-`` attributes, which are no Python names."""
    return {f"aria-{name}": value for name, value in values.items()}


def data(**values: object) -> Any:
    """``data-`` attributes, for the page's own scripts and for tests."""
    return {f"data-{name}": str(value) for name, value in values.items()}


def run_options(source: Source) -> list[dict[str, str]]:
    """The runs to choose from."""
    return [{"label": name, "value": name} for name in source.names]


def empty_view(title: str, words: str) -> html.Section:
    """A view that has nothing to show, and says why and what to do."""
    return html.Section([html.H2(title), html.P(words)], className="card empty")
