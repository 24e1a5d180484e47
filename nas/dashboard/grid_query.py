"""Sorting and filtering a frame as a grid in the browser asks for it.

The grid sends the sort and filter models of AG Grid
(https://www.ag-grid.com/javascript-data-grid/filter-multi/#filter-model); both come over HTTP, so
a name, a type or a value that is not known is refused, and no text is read as a pattern.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MAX_CONDITIONS = 200
"""Conditions and sort keys that are read; a grid with all its columns asks for fewer."""

MAX_TEXT = 1000
Mask = NDArray[np.bool_]


def queried_rows(frame: pd.DataFrame, sort: object, filters: object) -> NDArray[np.int64]:
    """The positions of the rows that pass, in order; rows that are equal keep the frame's order.

    ``sort`` is a list of ``{"colId": ..., "sort": "asc"|"desc"}``, ``filters`` a mapping from
    column to filter model; None is neither. Missing values come last in both directions and pass
    no filter but "blank". Text is compared without regard to case.

    Raises:
        ValueError: it is not such a model, or names no column of the frame.
    """
    rows = np.flatnonzero(_passes(frame, filters))
    for name, descending in reversed(_sort_keys(frame, sort)):
        # Stable, from the last key to the first: earlier keys win.
        rows = rows[_order(frame[name].iloc[rows], descending)]
    return rows


def _sort_keys(frame: pd.DataFrame, sort: object) -> list[tuple[str, bool]]:
    if sort is None:
        return []
    if not isinstance(sort, list) or len(sort) > MAX_CONDITIONS:
        raise ValueError("a sort model must be a list of columns and directions")
    keys = []
    for item in sort:
        if not isinstance(item, Mapping) or item.get("sort") not in ("asc", "desc"):
            raise ValueError("a sort direction must be asc or desc")
        keys.append((_column(frame, item.get("colId")), item["sort"] == "desc"))
    return keys


def _column(frame: pd.DataFrame, name: object) -> str:
    if not isinstance(name, str) or name not in frame.columns:
        raise ValueError(f"there is no column {str(name)[:80]!r}")
    return name


def _order(values: pd.Series, descending: bool) -> NDArray[np.int64]:
    missing = values.isna().to_numpy()
    codes = _codes(values)
    order = np.argsort(-codes if descending else codes, kind="stable")
    return np.concatenate([order[~missing[order]], order[missing[order]]])


def _codes(values: pd.Series) -> NDArray[np.float64]:
    """Numbers in the values' order: numbers as they are, mixed columns numbers before words."""
    if pd.api.types.is_datetime64_any_dtype(values):
        moments = values.to_numpy().astype("datetime64[us]")
        return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6)
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    known, found = np.unique(values.astype(object).fillna("").astype(str), return_inverse=True)
    keys = [_mixed_key(text) for text in known]
    places = {
        index: place for place, index in enumerate(sorted(range(len(known)), key=keys.__getitem__))
    }
    ranks = np.array([places[index] for index in range(len(known))], dtype=np.float64)
    return ranks[found]


def _mixed_key(text: str) -> tuple[int, float, str]:
    try:
        value = float(text)
    except ValueError:
        return 1, 0.0, text.casefold()
    return (0, value, "") if math.isfinite(value) else (1, 0.0, text.casefold())


def _passes(frame: pd.DataFrame, filters: object) -> Mask:
    passes = np.ones(len(frame), dtype=bool)
    if filters is None:
        return passes
    if not isinstance(filters, Mapping) or len(filters) > MAX_CONDITIONS:
        raise ValueError("a filter model must be a mapping from columns to conditions")
    for name, model in filters.items():
        passes &= _column_passes(frame[_column(frame, name)], model)
    return passes


def _column_passes(values: pd.Series, model: object) -> Mask:
    if not isinstance(model, Mapping):
        raise ValueError("a filter must be a mapping")
    if "conditions" not in model:
        return _condition(values, model)
    conditions = model["conditions"]
    if not isinstance(conditions, list) or not 0 < len(conditions) <= MAX_CONDITIONS:
        raise ValueError("a filter's conditions must be a list that is not empty")
    if not all(isinstance(item, Mapping) for item in conditions):
        raise ValueError("a condition must be a mapping")
    masks = [_condition(values, item) for item in conditions]
    if model.get("operator") not in ("AND", "OR"):
        raise ValueError("conditions must be joined by AND or OR")
    join = np.logical_and if model["operator"] == "AND" else np.logical_or
    return np.asarray(join.reduce(masks), dtype=bool)


def _condition(values: pd.Series, model: Mapping[Any, Any]) -> Mask:
    missing = _is_blank(values)
    if model.get("type") == "blank":
        return missing
    if model.get("type") == "notBlank":
        return ~missing
    kind = model.get("filterType")
    if kind == "text":
        return _text_condition(values, model, missing)
    if kind == "number":
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return _number_condition(numbers, model, _number(model, "filter"), "filterTo", _number)
    if kind == "date":
        return _number_condition(
            _codes(values), model, _moment(model, "dateFrom"), "dateTo", _moment
        )
    raise ValueError(f"unknown kind of filter {str(kind)[:80]!r}")


def _is_blank(values: pd.Series) -> Mask:
    missing = values.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return np.asarray(missing, dtype=bool)
    return np.asarray(missing | (values.astype(str) == "").to_numpy(), dtype=bool)


_TEXT: dict[str, Callable[[Any, str], Any]] = {
    "contains": lambda text, word: text.str.contains(word, regex=False),
    "notContains": lambda text, word: ~text.str.contains(word, regex=False),
    "equals": lambda text, word: text == word,
    "notEqual": lambda text, word: text != word,
    "startsWith": lambda text, word: text.str.startswith(word),
    "endsWith": lambda text, word: text.str.endswith(word),
}
_NUMBERS: dict[str, Callable[[NDArray[np.float64], float], Mask]] = {
    "equals": lambda values, limit: values == limit,
    "notEqual": lambda values, limit: (values != limit) & ~np.isnan(values),
    "lessThan": lambda values, limit: values < limit,
    "lessThanOrEqual": lambda values, limit: values <= limit,
    "greaterThan": lambda values, limit: values > limit,
    "greaterThanOrEqual": lambda values, limit: values >= limit,
}


def _text_condition(values: pd.Series, model: Mapping[Any, Any], missing: Mask) -> Mask:
    word, compare = model.get("filter"), _TEXT.get(str(model.get("type")))
    if compare is None or not isinstance(word, str) or len(word) > MAX_TEXT:
        raise ValueError("a text filter must have a known type and a text")
    text = values.astype(object).where(~missing, "").astype(str).str.casefold()
    passes = np.asarray(compare(text, word.casefold()), dtype=bool)
    # What is not there is neither equal to a word nor different from it.
    return passes & ~missing


def _number_condition(
    values: NDArray[np.float64],
    model: Mapping[Any, Any],
    limit: float,
    second: str,
    read: Callable[[Mapping[Any, Any], str], float],
) -> Mask:
    if model.get("type") == "inRange":
        return np.asarray((values >= limit) & (values <= read(model, second)), dtype=bool)
    compare = _NUMBERS.get(str(model.get("type")))
    if compare is None:
        raise ValueError(f"unknown type of filter {str(model.get('type'))[:80]!r}")
    return np.asarray(compare(values, limit), dtype=bool)


def _number(model: Mapping[Any, Any], key: str) -> float:
    value = model.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number filter must have a number")
    return float(value)


def _moment(model: Mapping[Any, Any], key: str) -> float:
    """Seconds since the epoch of a local time without a zone, as runs record them."""
    text = model.get(key)
    try:
        moment = np.datetime64(str(text).replace(" ", "T")[:26], "us")
    except ValueError:
        raise ValueError("a date filter must have a date") from None
    if np.isnat(moment):
        raise ValueError("a date filter must have a date")
    return float(moment.astype(np.int64)) / 1e6
