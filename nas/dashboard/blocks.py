"""The small parts that views are made of: tables, facts, switches, figures with their names.

Text goes in as text: Dash escapes what is a child of an element.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from dash import dcc, html
from dash.development.base_component import Component

Child: TypeAlias = str | Component | Sequence[str | Component] | None

GRAPH: Any = {
    "displaylogo": False,
    # Else plotly has a button that sends the figure to a server of its makers.
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}
"""How a figure answers to the hand: few buttons, and an SVG for a paper."""


def named(label: str, **more: str) -> dict[str, Any]:
    """The attributes that give an element its name for screen readers, and ``aria-`` ones."""
    return {"aria-label": label, **{f"aria-{name}": value for name, value in more.items()}}


def card(title: str, *children: Child, note: str = "", **more: Any) -> html.Section:
    """A block with a heading, and a line under it that says what is seen."""
    head: list[Any] = [html.H3(title)]
    if note:
        head.append(html.P(note, className="lead"))
    head += children
    return html.Section(head, className="card", **more)


def figure(name: str, label: str, kind: str = "plot", **more: Any) -> html.Div:
    """A figure's place; ``label`` is what a screen reader calls it."""
    # The graph is as high as what it stands in: a height of its own would be overruled.
    graph = dcc.Graph(id=name, responsive=True, config=GRAPH, **more)
    return html.Div(graph, className=kind, role="group", **named(label))


def without_webgl(words: str) -> html.P:
    """What is said in a block of class ``drawn-by-webgl`` where the browser has no WebGL."""
    why = (
        "This browser has no WebGL: it is turned off, or the graphics card is not supported. "
        "Hardware acceleration in the browser's settings turns it on. "
    )
    return html.P(why + words, className="no-webgl warning", role="status")


def switch(name: str, label: str, options: Mapping[str, str], value: str) -> html.Div:
    """Radio buttons as a segmented switch, by value and words, with a label before them."""
    buttons = dcc.RadioItems(
        id=name,
        options=[{"label": words, "value": key} for key, words in options.items()],
        value=value,
        className="switch",
    )
    return html.Div(
        [html.Span(label, className="label"), buttons],
        className="control",
        role="group",
        **named(label),
    )


def facts(rows: Iterable[tuple[str, str, str]]) -> list[Component]:
    """Label, value and remark, for a ``html.Dl(className="facts")``."""
    return [
        html.Div([html.Dt(label), html.Dd([html.Strong(value), html.Span(remark)])])
        for label, value, remark in rows
    ]


def data_table(head: Sequence[str], rows: Iterable[Sequence[Child]], caption: str) -> html.Div:
    """A table; a heading that begins with ``>`` is one of numbers. The first column names rows."""
    kinds = ["n" if name.startswith(">") else "" for name in head]
    names = [name.removeprefix(">") for name in head]
    return html.Div(
        html.Table(
            [
                html.Caption(caption, className="sr"),
                html.Thead(
                    html.Tr(
                        [
                            html.Th(name, className=kind, scope="col")
                            for name, kind in zip(names, kinds, strict=True)
                        ]
                    )
                ),
                html.Tbody([_row(row, kinds) for row in rows]),
            ],
            className="data",
        ),
        className="scroll",
        tabIndex=0,
        role="region",
        **named(caption),
    )


def _row(row: Sequence[Child], kinds: Sequence[str]) -> html.Tr:
    first, *others = row
    return html.Tr(
        [
            html.Th(first, className=kinds[0], scope="row"),
            *(
                html.Td(value, className=kind)
                for value, kind in zip(others, kinds[1:], strict=True)
            ),
        ]
    )


def meter(share: float, label: str, kind: str = "") -> html.Div:
    """A bar that is filled to ``share`` (0 to 1); ``label`` says what it measures."""
    percent = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return html.Div(
        html.Div(className=f"filled {kind}".strip(), style={"width": f"{percent}%"}),
        className="meter",
        role="meter",
        **named(label, valuenow=percent, valuemin="0", valuemax="100"),
    )


def quiet(words: str) -> html.P:
    """What stands where there is nothing to show."""
    return html.P(words, className="note")


def count_of(count: int, word: str) -> str:
    """``1 trial``, ``1,024 trials``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
