"""The Dash application: the shell around the views, and what the page asks for besides them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, set_props
from dash.exceptions import PreventUpdate
from flask import Response, jsonify, request

from nas.analysis.theme import FONT, MONOSPACE, css_variables
from nas.dashboard import views
from nas.dashboard.address import bind_parameter
from nas.dashboard.drawing import add_diagrams
from nas.dashboard.security import Access, guard
from nas.dashboard.shell import SECONDS, empty_view, run_options, shell
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import VIEWS, read_state
from nas.dashboard.strict_plotly import serve_strict_plotly
from nas.records import Run

log = logging.getLogger(__name__)

FIRST_VIEWS = ("front", "architecture")
"""Views that say by themselves that a run is not read yet."""

READING_WORDS = "This view opens when all its trials are there; above it says how many are."

IDLE_SECONDS = 6.0
"""Between two questions about a run that no search is writing to."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
<link rel="stylesheet" href="/theme.css">
{%css%}
</head>
<body>
{%app_entry%}
<noscript>The workbench needs JavaScript; `nas report` writes a page whose tables do not.</noscript>
<footer>
{%config%}
{%scripts%}
{%renderer%}
</footer>
</body>
</html>
"""


def create_app(runs: Sequence[Run] | Source, access: Access | None = None) -> Dash:
    """The dashboard of some runs; without ``access`` it answers to loopback names only.

    Raises:
        ValueError: there is no run.
    """
    source = runs if isinstance(runs, Source) else Source(runs)
    if not source.names:
        raise ValueError("the dashboard needs at least one run")
    app = Dash(
        __name__,
        title="Pareto workbench",
        update_title="",
        index_string=PAGE,
        suppress_callback_exceptions=True,  # a view's components exist while it is open
        add_log_handler=False,
        enable_mcp=False,
        compress=False,
        on_error=_say,
        meta_tags=[{"name": "color-scheme", "content": "light dark"}],
    )
    csrf = secrets.token_urlsafe(24)
    app.server.config["NAS_CSRF"] = csrf
    _register_shell(app, source)
    for view in VIEWS:
        views.module(view).register(app, source)
    bindings: dict[str, Any] = app.server.config["NAS_BINDINGS"]
    app.layout = lambda: shell(source, bindings, csrf)
    _add_routes(app, source)
    add_diagrams(app.server, source)
    serve_strict_plotly(app.server)
    guard(app.server, access or Access(), app.csp_hashes())
    _prepare(app)
    return app


def _prepare(app: Dash) -> None:
    """Let Dash gather its scripts before anybody asks.

    It does so at the first request, and answers those that come meanwhile with pages that lack
    what is not found yet (plotly/dash: ``Dash._setup_server`` takes no lock).
    """
    with app.server.test_request_context("/theme.css"):
        app.server.preprocess_request()


def _say(error: Exception) -> None:
    """What goes wrong in a callback is said on the page and, with where, in the log."""
    if isinstance(error, OSError):
        words = f"The run cannot be read just now: {error}. The page goes on trying."
    else:
        log.error("a view failed", exc_info=error)
        words = "This part of the page could not be made; the server's output says why."
    set_props("notice", {"children": words})


def _register_shell(app: Dash, source: Source) -> None:
    bind_parameter(app, "run", "run", source.names[0])

    @app.callback(
        Output("view", "children"),
        Output("shown-view", "data"),
        Input("address", "pathname"),
        Input("version", "data"),
        State("address", "search"),
        State("shown-view", "data"),
    )
    def show_view(pathname: object, version: object, search: object, shown: object) -> Any:
        state = read_state(pathname, search, source.names)
        if ctx.triggered_prop_ids.keys() == {"version.data"} and shown == state.view:
            raise PreventUpdate  # the view is there, and draws what is new by itself
        if state.view not in FIRST_VIEWS and source.snapshot(state.run).loading:
            return empty_view("The run is being read", READING_WORDS), ""
        return views.module(state.view).layout(state), state.view

    app.clientside_callback(
        ClientsideFunction("nas", "readTheme"),
        Output("theme", "data"),
        Output("theme-switch", "children"),
        Input("theme-switch", "n_clicks"),
        State("theme", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("nas", "lookForNews"),
        Output("version", "data"),
        Output("live", "children"),
        Output("live", "className"),
        Output("notice", "children"),
        Output("tick", "interval"),
        Output("run", "options"),
        Input("tick", "n_intervals"),
        Input("address", "pathname"),
        Input("address", "search"),
        State("version", "data"),
        State("run", "options"),
    )
    for view in VIEWS:
        app.clientside_callback(
            ClientsideFunction("nas", "linkTo"),
            Output(f"link-{view}", "href"),
            Output(f"link-{view}", "className"),
            Input("address", "pathname"),
            Input("address", "search"),
            State(f"link-{view}", "id"),
        )


def _add_routes(app: Dash, source: Source) -> None:
    @app.server.get("/status")
    def status() -> Response:
        """What is new, for the page to decide whether to ask for more."""
        state = read_state(request.args.get("path"), request.query_string.decode(), source.names)
        own = source.snapshot(state.run)
        # Comparing shows other runs, too; those that nobody looks at keep their version.
        names = source.names if state.view == "compare" else [state.run]
        answer = jsonify(
            version=" ".join(map(source.version, names)),
            words=_status_words(own),
            state="error" if own.error else "on" if own.is_live else "still",
            error=own.error
            and f"Run {own.name} cannot be read just now: {own.error}. "
            f"What is shown was read before; the page goes on trying.",
            seconds=IDLE_SECONDS if not (own.is_live or own.loading) else SECONDS,
            runs=run_options(source),
        )
        # A browser's own tools show it, and benchmarks/dashboard_scale.py tells it from waiting.
        answer.headers["Server-Timing"] = f"read;dur={1000 * own.read_seconds:.1f}"
        return answer

    @app.server.get("/theme.css")
    def theme_css() -> Response:
        return Response(_theme_css(), mimetype="text/css")


def _status_words(snapshot: Snapshot) -> str:
    if snapshot.loading:
        return f"{snapshot.loading} ..."
    if snapshot.error:
        return "cannot be read"
    count = len(snapshot.trials)
    trials = f"{count:,} trial{'' if count == 1 else 's'}"
    return f"{'live, ' if snapshot.is_live else ''}{trials}"


def _theme_css() -> str:
    fonts = f"--font: {FONT}; --monospace: {MONOSPACE};"
    return (
        f":root {{ {css_variables('light')} {fonts} }}\n"
        f":root[data-theme=dark] {{ {css_variables('dark')} color-scheme: dark; }}\n"
    )
