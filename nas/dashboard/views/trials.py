"""All trials in a grid: sorted and filtered on the server, so that 100,000 stay quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import dash_ag_grid as dag
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from nas.analysis.figures import MARKS, percent
from nas.analysis.tables import STANDINGS
from nas.dashboard.address import bind_parameter, watch
from nas.dashboard.blocks import count_of, named
from nas.dashboard.downloads import add_downloads, download_href, query_of
from nas.dashboard.held import Held
from nas.dashboard.passing import rule_words
from nas.dashboard.seen import LOOK, Seen, see
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import State as Address
from nas.dashboard.state import declare
from nas.dashboard.trials_grid import (
    COLUMNS,
    EXACT,
    FIRST_COLUMNS,
    MAX_ROWS,
    Column,
    column,
    column_names,
    found_rows,
    page_rows,
)
from nas.dashboard.views.front import standings
from nas.quantities import format_count

declare("standing", "|".join(STANDINGS))
declare("columns", r"[A-Za-z0-9_.\-~,%]{1,3000}")

BLOCK = 100
MAX_COLUMNS = 60
FILTERS = {
    "number": "agNumberColumnFilter",
    "text": "agTextColumnFilter",
    "time": "agDateColumnFilter",
}
FILTER = {"maxNumConditions": 2, "buttons": ["reset"], "debounceMs": 300}
SIZES = {
    "allowedCharPattern": "\\d\\-\\.eEkKmMgGtT",
    "numberParser": {"function": "numberOf(params)"},
}
"""How a number may be typed; ``assets/dashAgGridFunctions.js`` reads it."""

# The look of the grid is that of the page, in both themes: its colours are the page's variables.
THEME = (
    "themeQuartz.withParams({"
    "backgroundColor: 'var(--surface)', foregroundColor: 'var(--text)', "
    "headerBackgroundColor: 'var(--page)', headerTextColor: 'var(--muted)', "
    "borderColor: 'var(--grid)', accentColor: 'var(--accent)', "
    "rowHoverColor: 'var(--accent-surface)', selectedRowBackgroundColor: 'var(--accent-surface)', "
    "oddRowBackgroundColor: 'var(--surface)', chromeBackgroundColor: 'var(--page)', "
    "menuBackgroundColor: 'var(--surface)', menuTextColor: 'var(--text)', "
    "inputBackgroundColor: 'var(--surface)', inputTextColor: 'var(--text)', "
    "inputBorder: '1px solid var(--line)', "
    "browserColorScheme: 'inherit', fontFamily: 'inherit', fontSize: 13, spacing: 6, "
    "wrapperBorderRadius: 10})"
)
OPTIONS = {
    "theme": {"function": THEME},
    "rowHeight": 34,
    "rowBuffer": 20,
    "cacheBlockSize": BLOCK,
    "maxBlocksInCache": 30,
    "infiniteInitialRowCount": 30,
    # One question at a time: the grid's wrapper knows only the last one that it asked.
    "maxConcurrentDatasourceRequests": 1,
    "blockLoadDebounceMillis": 60,
    "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
    "suppressDragLeaveHidesColumns": True,
    "multiSortKey": "ctrl",
    "tooltipShowDelay": 400,
    "animateRows": False,
    "ensureDomOrder": True,
    "enableCellTextSelection": True,
}


def layout(state: Address) -> Component:
    """The view's components, empty."""
    return html.Div(
        [
            html.H2("Trials", className="sr"),
            dcc.Store(id="trials-about"),
            dcc.Store(id="trials-read"),
            html.Section(
                [
                    html.Div(
                        [
                            html.Div(
                                dcc.RadioItems(
                                    id="trials-standing",
                                    options=[{"label": "all", "value": "all"}],
                                    value=state.more.get("standing", "all"),
                                    className="switch",
                                ),
                                role="group",
                                **named("Standing"),
                            ),
                            html.Div(id="trials-files", className="files"),
                        ],
                        className="controls spread",
                    ),
                    html.Div(id="trials-brush"),
                    html.Details(
                        [
                            html.Summary("Columns"),
                            html.Div(
                                [
                                    html.Label(
                                        "shown", htmlFor="trials-columns", className="label"
                                    ),
                                    dcc.Dropdown(
                                        id="trials-columns",
                                        multi=True,
                                        placeholder="the usual ones; choose others, choices too",
                                        className="wide-choice",
                                    ),
                                ],
                                className="control grow",
                            ),
                        ]
                    ),
                    html.Div(id="trials-chosen", role="status"),
                    html.Div(
                        dag.AgGrid(
                            id="trials-grid",
                            rowModelType="infinite",
                            columnDefs=[definition(COLUMNS[name]) for name in FIRST_COLUMNS],
                            defaultColDef={
                                "sortable": True,
                                "resizable": True,
                                "floatingFilter": True,
                                "suppressHeaderMenuButton": True,
                            },
                            dashGridOptions=OPTIONS,
                            getRowId="params.data.id",
                            columnSize=None,
                            style={"height": None, "width": "100%"},
                            className="grid",
                        ),
                        className="grid-place",
                        role="region",
                        **named("Table of trials"),
                    ),
                    html.P(
                        "Sort by a heading (with Ctrl by several), filter below it: 50M and 1.5K "
                        "are numbers too. A click or the space bar chooses a trial.",
                        className="note",
                    ),
                ],
                className="card",
            ),
        ],
        className="trials-view",
    )


def definition(own: Column) -> dict[str, Any]:
    """A column as the grid takes it."""
    made: dict[str, Any] = {
        "field": own.name,
        "colId": own.name,
        "headerName": own.title,
        "headerTooltip": own.title,
        "width": own.width,
        "filter": FILTERS[own.kind],
        "filterParams": {**FILTER, **(SIZES if own.kind == "number" else {})},
        # Names of choices have dots, which the grid would read as paths into the row.
        "valueGetter": {"function": f"params.data && params.data[{own.name!r}]"}
        if "." in own.name
        else None,
        "tooltipField": (EXACT if own.is_exact else "") + own.name,
    }
    if own.kind == "number" and own.name != "number":
        made["type"] = "rightAligned"
    if own.name == "number":
        made.update(pinned="left", lockPosition="left", cellClass="first-cell")
    return {name: value for name, value in made.items() if value is not None}


def register(app: Dash, source: Source) -> None:
    """Add the view's callbacks."""
    held = Held()
    add_downloads(app.server, source, held)
    bind_parameter(app, "trials-standing", "standing", "all")
    watch(app, "trials-about", ("run", "standing", "brush", "columns"))
    _register_moves(app)

    @app.callback(
        Output("trials-grid", "getRowsResponse"),
        Output("trials-files", "children"),
        Input("trials-grid", "getRowsRequest"),
        State("address", "pathname"),
        State("address", "search"),
        State("theme", "data"),
    )
    def answer(asked: object, path: object, search: object, theme: object) -> Any:
        seen = see(source, "trials", path, search, theme or "light")
        if not isinstance(asked, Mapping):
            return no_update, no_update
        return answered(seen, asked, held)

    @app.callback(
        Output("trials-grid", "columnDefs"),
        Output("trials-columns", "options"),
        Input("trials-about", "data"),
        State("address", "pathname"),
        State("address", "search"),
        State("theme", "data"),
    )
    def arrange(about: object, path: object, search: object, theme: object) -> Any:
        seen = see(source, "trials", path, search, theme or "light")
        names = column_names(seen.snapshot)
        shown = [column(name, seen.snapshot.choices) for name in shown_columns(seen, names)]
        options = [
            {"label": COLUMNS[name].title if name in COLUMNS else name, "value": name}
            for name in names
        ]
        return [definition(one) for one in shown], options

    @app.callback(
        Output("trials-standing", "options"),
        Output("trials-brush", "children"),
        Output("trials-chosen", "children"),
        *LOOK,
    )
    def tell(pathname: object, search: object, version: object, theme: object) -> Any:
        seen = see(source, "trials", pathname, search, theme)
        return standing_options(seen.snapshot), brush_part(seen), chosen_part(seen)


def _register_moves(app: Dash) -> None:
    """What the page does alone: rows anew, the chosen row, the columns in the address."""
    app.clientside_callback(
        ClientsideFunction("trials", "readAnew"),
        Output("trials-read", "data"),
        Input("trials-about", "data"),
        Input("version", "data"),
        Input("trials-grid", "columnDefs"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("trials", "chooseRow"),
        Input("trials-grid", "selectedRows"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("trials", "readColumns"),
        Output("trials-columns", "value"),
        Input("address", "search"),
        Input("trials-columns", "options"),
        State("trials-columns", "value"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("trials", "writeColumns"),
        Input("trials-columns", "value"),
        prevent_initial_call=True,
    )


def answered(seen: Seen, asked: Mapping[Any, Any], held: Held) -> tuple[Any, Any]:
    """The rows that the grid asked for, and links to all rows that pass as files."""
    start, end = asked.get("startRow"), asked.get("endRow")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end:
        return no_update, no_update
    sort, filters = asked.get("sortModel"), asked.get("filterModel")
    try:
        rows = found_rows(seen.snapshot, query_of(seen.state, seen.snapshot, sort, filters), held)
    except ValueError:
        # A column that another run had is no longer there: the grid asks again without it.
        rows = found_rows(seen.snapshot, query_of(seen.state, seen.snapshot), held)
        sort = filters = None
    names = shown_columns(seen, column_names(seen.snapshot))
    page = page_rows(seen.snapshot, rows[start : min(end, start + MAX_ROWS)], names)
    links = files_part(seen.state, len(rows), len(seen.snapshot.trials), sort, filters)
    return {"rowData": page, "rowCount": len(rows)}, links


def shown_columns(seen: Seen, names: list[str]) -> list[str]:
    """The columns that the address names, as far as there are such; the trial's number is first."""
    asked = [unquote(name) for name in seen.state.more.get("columns", "").split(",")]
    found = [name for name in dict.fromkeys(asked) if name in names][:MAX_COLUMNS]
    return list(dict.fromkeys(["number", *(found or FIRST_COLUMNS)]))


def files_part(state: Address, rows: int, total: int, sort: object, filters: object) -> Any:
    """How many rows pass, and where to get them as files."""
    words = f"{rows:,} of {count_of(total, 'trial')}" if rows < total else count_of(total, "trial")
    links = [
        html.A(
            name,
            href=download_href(kind, state, sort, filters),
            className="button",
            id=f"trials-{kind}",
            title=f"All columns of these rows as {name}",
            download="",
        )
        for kind, name in (("csv", "CSV"), ("parquet", "Parquet"))
    ]
    return [html.Span(words, className="quiet"), *links]


def standing_options(snapshot: Snapshot) -> list[dict[str, str]]:
    """Where trials stand, with how many there are."""
    counts = standings(snapshot)["standing"].value_counts()
    known = [name for name in STANDINGS if counts.get(name, 0)]
    return [
        {"label": f"all {len(snapshot.trials):,}", "value": "all"},
        *({"label": f"{MARKS[name].label} {counts[name]:,}", "value": name} for name in known),
    ]


def brush_part(seen: Seen) -> Component | None:
    """Which brush the rows pass, with a way to be rid of it."""
    brush = query_of(seen.state, seen.snapshot).brush
    if not brush:
        return None
    more = {name: text for name, text in seen.state.more.items() if name != "brush"}
    return html.P(
        [
            f"Only trials with {'; '.join(rule_words(brush).values())}. ",
            dcc.Link("Show all", href=seen.state.href(more=more)),
        ],
        className="chosen",
    )


def chosen_part(seen: Seen) -> Component | None:
    """The chosen trial in a line, with a way to its network."""
    number = seen.state.trial
    if number is None:
        return None
    table = standings(seen.snapshot)
    rows = table[table["number"] == number].to_dict("records")
    if not rows:
        return html.P(f"There is no trial {number} in this run.", className="chosen")
    row = rows[0]
    error = percent(float(row["shown_error"]))
    return html.P(
        [
            html.Strong(f"Trial {number}"),
            f" ({MARKS[str(row['standing'])].label}): "
            f"{'no error measured' if error == '-' else error + ' error'}, "
            f"{format_count(row['macs'])} MACs, {format_count(row['params'])} parameters. ",
            dcc.Link(
                "See its network", href=seen.state.href(view="architecture"), id="trials-open"
            ),
            " ",
            dcc.Link("On the front", href=seen.state.href(view="front")),
        ],
        className="chosen",
    )
