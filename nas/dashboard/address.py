"""Controls and figures that write to the address; the page follows from the address alone.

The work is done in the browser (``assets/address.js``): a control that changes writes its
parameter, and an address that changes (a link, the back button) sets the control.
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
    bindings: dict[str, object] = app.server.config.setdefault("NAS_BINDINGS", {})
    bindings[component] = {"parameter": parameter, "default": default}


def select_on_click(app: Dash, graph: str) -> None:
    """A click on a mark of ``graph`` chooses the trial in its ``customdata``."""
    app.clientside_callback(
        ClientsideFunction("nas", "chooseTrial"),
        Input(graph, "clickData"),
        prevent_initial_call=True,
    )


def watch(app: Dash, store: str, parameters: tuple[str, ...]) -> None:
    """Set a store anew when one of the parameters changes, and not when others do.

    What is slow to draw takes the store as its input, so that a click on a trial does not draw
    everything again.
    """
    app.clientside_callback(
        ClientsideFunction("nas", "watchParameters"),
        Output(store, "data"),
        Input("address", "search"),
        State(store, "id"),
        State("bindings", "data"),
        State(store, "data"),
    )
    bindings: dict[str, object] = app.server.config.setdefault("NAS_BINDINGS", {})
    bindings[store] = list(parameters)
