"""Controls and figures that write to the address; the page follows from the address alone.

The work is done in the browser (``assets/nas.js``): a control that changes writes its parameter,
and an address that changes (a link, the back button) sets the control.
"""

from __future__ import annotations

from dash import ClientsideFunction, Dash, Input, Output, State


def bind_parameter(app: Dash, component: str, parameter: str, default: str) -> None:
    """Keep a component's ``value`` and a parameter of the address equal.

    The ``default`` value leaves the address bare.
    """
    app.clientside_callback(
        ClientsideFunction("nas", "readParameter"),
        Output(component, "value"),
        Input("address", "search"),
        State(component, "id"),
        State("bindings", "data"),
        State(component, "value"),
    )
    app.clientside_callback(
        ClientsideFunction("nas", "writeParameter"),
        Input(component, "value"),
        State(component, "id"),
        State("bindings", "data"),
        prevent_initial_call=True,
    )
    bindings: dict[str, dict[str, str]] = app.server.config.setdefault("NAS_BINDINGS", {})
    bindings[component] = {"parameter": parameter, "default": default}


def select_on_click(app: Dash, graph: str) -> None:
    """A click on a mark of ``graph`` chooses the trial in its ``customdata``."""
    app.clientside_callback(
        ClientsideFunction("nas", "chooseTrial"),
        Input(graph, "clickData"),
        prevent_initial_call=True,
    )
