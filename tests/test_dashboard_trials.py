"""The table of trials and its files: rows, sorting, filtering, columns, names, refusals."""

import io
import json
from urllib.parse import quote

import pandas as pd
import pytest
from dashboard_calls import Page, words
from synthetic_runs import make_run

from nas.analysis.tables import trials_table
from nas.dashboard.downloads import file_bytes, file_name
from nas.records import Outcome

FORMULA = '=HYPERLINK("http://example.com")'


def outcome(number, error, curve):
    if number == 7:
        return Outcome("failed", epochs=1, train_seconds=2.0, reason=FORMULA)
    if number == 8:
        return Outcome("pruned", epochs=2, train_seconds=5.0, reason="dominated at epoch 2")
    return Outcome("complete", error, epochs=8, train_seconds=20.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=30, outcome=outcome)


@pytest.fixture
def page(run):
    return Page([run], "/trials")


def answer(page, start=0, end=100, **more):
    asked = {"startRow": start, "endRow": end, **more}
    return page.part("trials-grid.getRowsResponse", trials_grid__getRowsRequest=asked)


def numbers(response):
    return [row["number"] for row in response["rowData"]]


def test_a_block_has_its_rows_and_the_count_of_all(page):
    assert numbers(answer(page, 10, 14)) == [10, 11, 12, 13]
    assert answer(page, 10, 14)["rowCount"] == 30
    assert numbers(answer(page, 28, 128)) == [28, 29]
    assert numbers(answer(page, 500, 600)) == []


def test_rows_are_sorted_on_the_server(page, run):
    found = numbers(answer(page, sortModel=[{"colId": "macs", "sort": "desc"}]))
    assert found == run.trials.sort_values("macs", ascending=False)["number"].tolist()


def test_errors_are_filtered_in_percent_and_choices_by_their_words(page, run):
    below = {"error": {"filterType": "number", "type": "lessThan", "filter": 20}}
    assert numbers(answer(page, filterModel=below)) == (
        run.trials.loc[run.trials["error"] < 0.2, "number"].tolist()
    )
    two = {"stages.count": {"filterType": "number", "type": "equals", "filter": 2}}
    assert numbers(answer(page, filterModel=two)) == (
        run.choices.loc[run.choices["stages.count"] == 2, "number"].tolist()
    )


def test_a_cell_reads_short_and_is_told_in_full(page, run):
    row = answer(page)["rowData"][0]
    assert row["exact:macs"] == f"{run.trials['macs'].iloc[0]:,}"
    assert len(row["macs"]) < len(row["exact:macs"])
    assert row["error"] == f"{100 * run.trials['error'].iloc[0]:.2f}"


def test_the_address_narrows_the_rows(run):
    table = trials_table(run.trials, run.settings.objectives, run.curves)
    front = table.loc[table["standing"] == "front", "number"].tolist()
    assert numbers(answer(Page([run], "/trials?standing=front"))) == front
    brushed = Page([run], "/trials?brush=error:0~0.2")
    assert numbers(answer(brushed)) == table.loc[table["shown_error"] <= 0.2, "number"].tolist()
    assert "Only trials with error: 0.0" in words(brushed.part("trials-brush.children"))


def test_the_address_names_the_columns(run):
    page = Page([run], "/trials?columns=error,stages.count,residual,nothing")
    shown = page.part("trials-grid.columnDefs")
    assert [one["field"] for one in shown] == ["number", "error", "stages.count", "residual"]
    row = answer(page)["rowData"][0]
    assert row["residual"] in ("yes", "no")
    assert "macs" not in row


def test_the_chosen_trial_has_a_way_to_its_network(run):
    said = words(Page([run], "/trials?trial=8").part("trials-chosen.children"))
    assert "Trial 8" in said
    assert "stopped early" in said
    assert "/architecture?run=first&trial=8" in said
    said = words(Page([run], "/trials?trial=99").part("trials-chosen.children"))
    assert "There is no trial 99" in said


def test_standings_come_with_their_numbers(page):
    labels = [one["label"] for one in page.part("trials-standing.options")]
    assert labels[0] == "all 30"
    assert "failed 1" in labels
    assert not any(label.startswith("running") for label in labels)


@pytest.mark.parametrize(
    "asked",
    [None, "x", {}, {"startRow": -1, "endRow": 5}, {"startRow": "0", "endRow": 5},
     {"startRow": 5, "endRow": 1}],
)  # fmt: skip
def test_a_request_that_is_none_gets_no_rows(page, asked):
    found = page.ask("trials-grid.getRowsResponse", trials_grid__getRowsRequest=asked)
    assert not found


def test_no_answer_has_more_rows_than_a_page_can_want(page):
    assert len(answer(page, 0, 10**9)["rowData"]) == 30
    models = {"sortModel": [{"colId": "__class__", "sort": "asc"}], "filterModel": {"x": 3}}
    assert answer(page, **models)["rowCount"] == 30  # a model that fits no column is dropped


def links(page, **more):
    asked = {"startRow": 0, "endRow": 100, **more}
    parts = page.part("trials-files.children", trials_grid__getRowsRequest=asked)
    return [one["props"]["href"] for one in parts if one["type"] == "A"]


def test_files_have_the_rows_that_are_shown_with_all_columns(run):
    page = Page([run], "/trials?standing=front")
    sort = [{"colId": "error", "sort": "asc"}]
    few = {"macs": {"filterType": "number", "type": "greaterThan", "filter": 2e7}}
    shown = numbers(answer(page, sortModel=sort, filterModel=few))
    csv, parquet = (page.client.get(href) for href in links(page, sortModel=sort, filterModel=few))
    assert csv.headers["Content-Disposition"] == 'attachment; filename="first-trials.csv"'
    tables = [
        pd.read_csv(io.BytesIO(csv.data)), pd.read_parquet(io.BytesIO(parquet.data))
    ]  # fmt: skip
    for table in tables:
        assert table["number"].tolist() == shown
        assert 0 < len(table) < 30
        assert {"standing", "reason", "fingerprint", "stages.count", "residual"} <= set(table)
        rows = run.trials.set_index("number").loc[shown]
        assert table["error"].tolist() == pytest.approx(rows["error"].tolist())
        assert table["macs"].tolist() == rows["macs"].tolist()


def test_a_text_that_reads_as_a_formula_is_text_in_a_spreadsheet(page):
    table = pd.read_csv(io.BytesIO(page.client.get("/download/trials.csv?run=first").data))
    assert table.loc[table["number"] == 7, "reason"].item() == f"'{FORMULA}"
    data = page.client.get("/download/trials.parquet?run=first").data
    assert pd.read_parquet(io.BytesIO(data)).loc[7, "reason"] == FORMULA
    odd = pd.DataFrame({"=x": ["+1", "-1", "@a", "\ta", "a=b"], "n": [-1, 2, 3, 4, 5]})
    text = file_bytes(odd, "csv").decode()
    assert text.splitlines()[:4] == ["'=x,n", "'+1,-1", "'-1,2", "'@a,3"]
    assert text.splitlines()[-1] == "a=b,5"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("first", "first-trials.csv"),
        ("../../etc/passwd", "etc-passwd-trials.csv"),
        ('a"\r\nX: y', "a-X-y-trials.csv"),
        ("\N{GREEK SMALL LETTER ALPHA}", "run-trials.csv"),
        ("", "run-trials.csv"),
        ("x" * 300, "x" * 80 + "-trials.csv"),
    ],
)
def test_file_names_are_harmless(name, file):
    assert file_name(name, "csv") == file


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("run=nothing", 404),
        ("run=..%2F..%2Fetc%2Fpasswd", 404),
        ("run=first&sort=x", 400),
        ("run=first&sort=" + quote(json.dumps([{"colId": "x", "sort": "asc"}])), 400),
        ("run=first&filter=" + quote(json.dumps({"macs": {"filterType": "x"}})), 400),
        ("run=first&filter=" + "[" * 7000, 400),
        ("run=first&filter=" + "x" * 9000, 400),
        ("run=first&standing=..%2Fx&brush=%00", 200),
    ],
)
def test_what_cannot_be_had_is_refused_in_plain_text(page, query, status):
    found = page.client.get(f"/download/trials.csv?{query}")
    assert found.status_code == status
    if status != 200:
        assert found.mimetype == "text/plain"
    assert page.client.get("/download/trials.exe?run=first").status_code in (200, 404)
    assert page.client.post("/download/trials.csv?run=first").status_code == 405


def test_a_column_of_numbers_and_words_is_text_in_a_file():
    frame = pd.DataFrame({"reduce": pd.Series(["none", "16", None], dtype=object)})
    assert pd.read_parquet(io.BytesIO(file_bytes(frame, "parquet")))["reduce"].isna().sum() == 1
