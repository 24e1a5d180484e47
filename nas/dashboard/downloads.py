"""The table of trials as a file: CSV or Parquet, made on the server, of the rows that are shown."""

from __future__ import annotations

import io
import json
import re
from typing import Any
from urllib.parse import urlencode

import pandas as pd
from flask import Flask, Response, request

from nas.dashboard.held import Held
from nas.dashboard.passing import brush_of
from nas.dashboard.refused import refused, still_reading
from nas.dashboard.source import Snapshot, Source
from nas.dashboard.state import State, read_state
from nas.dashboard.trials_grid import Query, file_frame, found_rows

KINDS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
MAX_MODEL = 8000
"""Letters of a sort or filter model that are read."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def add_downloads(server: Flask, source: Source, held: Held) -> None:
    """Add ``/download/trials.csv`` and ``/download/trials.parquet``."""

    def answer(kind: str) -> Response:
        name = request.args.get("run", "")
        if name not in source.names:
            return refused(404, "There is no such run.")
        try:
            sort, filters = _model("sort"), _model("filter")
            snapshot = source.snapshot(name)
            if snapshot.loading:
                return still_reading(snapshot.loading)
            query = query_of(read_state("/trials", _own_search(), source.names), snapshot)
            rows = found_rows(snapshot, Query(query.standing, query.brush, sort, filters), held)
        except ValueError as error:
            return refused(400, f"{error}.")
        body = file_bytes(file_frame(snapshot, rows), kind)
        headers = {"Content-Disposition": f'attachment; filename="{file_name(name, kind)}"'}
        return Response(body, mimetype=KINDS[kind], headers=headers)

    for kind in KINDS:
        server.add_url_rule(
            f"/download/trials.{kind}", f"download-{kind}", answer, defaults={"kind": kind}
        )


def download_href(kind: str, state: State, sort: object, filters: object) -> str:
    """Where the rows that are shown can be had as a file."""
    more = {name: text for name, text in state.more.items() if name in ("standing", "brush")}
    pairs = {"run": state.run, **more}
    if sort:
        pairs["sort"] = json.dumps(sort)
    if filters:
        pairs["filter"] = json.dumps(filters)
    return f"/download/trials.{kind}?{urlencode(pairs)}"


def query_of(
    state: State, snapshot: Snapshot, sort: object = None, filters: object = None
) -> Query:
    """What the address and the grid ask of a run's trials."""
    return Query(state.more.get("standing", ""), brush_of(state, snapshot), sort, filters)


def file_name(run: str, kind: str) -> str:
    """A name for the file in which nothing is left that a path or a header could be made of."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", run).strip("-")[:80]
    return f"{plain or 'run'}-trials.{kind}"


def file_bytes(frame: pd.DataFrame, kind: str) -> bytes:
    """The frame as a file. In CSV no text begins as a formula does: a quote stands before it."""
    buffer = io.BytesIO()
    if kind == "parquet":
        frame.to_parquet(buffer, index=False)
        return buffer.getvalue()
    plain = frame.copy()
    for name in plain.columns:
        if not pd.api.types.is_numeric_dtype(plain[name]) and not (
            pd.api.types.is_datetime64_any_dtype(plain[name])
        ):
            plain[name] = plain[name].map(_harmless)
    plain.columns = pd.Index([_harmless(name) for name in plain.columns])
    plain.to_csv(buffer, index=False, date_format="%Y-%m-%dT%H:%M:%S.%f")
    return buffer.getvalue()


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet does not run (OWASP, "CSV Injection")."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _own_search() -> str:
    wanted = ("run", "standing", "brush")
    return urlencode({name: request.args[name] for name in wanted if name in request.args})


def _model(name: str) -> Any:
    text = request.args.get(name, "")
    if not text:
        return None
    if len(text) > MAX_MODEL:
        raise ValueError(f"the {name} model is too long")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"the {name} model is not JSON") from None
