"""The table of trials in a browser: sorting, filtering, files, the chosen row, new trials."""

import re

import pandas as pd
import pytest
from dashboard_pages import Served, Visit
from synthetic_runs import make_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=60)


@pytest.fixture(scope="module")
def served(run):
    with Served([run]) as served:
        yield served


def wait_for_first(page, column, words):
    page.wait_for_function(
        """([column, words]) => {
            const cell = document.querySelector(
                `#trials-grid .ag-row[row-index="0"] [col-id="${column}"]`);
            return cell && cell.textContent === words;
        }""",
        arg=[column, words],
    )


def test_rows_are_sorted_filtered_and_downloaded(browser, served, run, tmp_path):
    with Visit(browser, served, "/trials") as visit:
        page = visit.page
        wait_for_first(page, "number", "0")
        page.locator('#trials-grid .ag-header-cell[col-id="error"] .ag-header-cell-label').click()
        best = run.trials.sort_values("error").iloc[0]
        wait_for_first(page, "error", f"{100 * best['error']:.2f}")
        macs = page.locator('#trials-grid .ag-floating-filter input[aria-label^="MACs"]')
        macs.fill("50M")
        wanted = run.trials[run.trials["macs"] == 50_000_000]
        page.locator("#trials-files").get_by_text(f"{len(wanted)} of 60 trials").wait_for()
        macs.fill("")
        reason = page.locator('#trials-grid .ag-floating-filter input[aria-label^="reason"]')
        reason.fill("dominated")
        stopped = run.trials[run.trials["state"] == "pruned"]
        page.locator("#trials-files").get_by_text(f"{len(stopped)} of 60 trials").wait_for()
        for kind, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
            with page.expect_download() as expected:
                page.locator(f"#trials-{kind}").click()
            assert expected.value.suggested_filename == f"first-trials.{kind}"
            expected.value.save_as(tmp_path / "file")
            assert sorted(read(tmp_path / "file")["number"]) == stopped["number"].tolist()
        visit.assert_quiet()


def test_a_row_is_chosen_by_a_click_and_by_the_keyboard(browser, served):
    with Visit(browser, served, "/trials") as visit:
        page = visit.page
        wait_for_first(page, "number", "0")
        page.locator('#trials-grid .ag-row[row-index="3"] [col-id="standing"]').click()
        page.wait_for_url(re.compile(r"trial=3\b"))
        page.locator("#trials-chosen").get_by_text("Trial 3").wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        page.wait_for_url(re.compile(r"trial=4\b"))
        page.locator("#trials-open").click()
        page.wait_for_url(re.compile(r"/architecture\?.*trial=4\b"))
        visit.assert_quiet()


def test_a_link_brings_standing_and_columns(browser, served, run):
    path = "/trials?standing=front&columns=error,stages.count,residual"
    with Visit(browser, served, path, scheme="dark") as visit:
        page = visit.page
        page.locator('#trials-grid .ag-header-cell[col-id="residual"]').first.wait_for()
        assert page.locator('#trials-grid .ag-header-cell[col-id="macs"]').count() == 0
        page.wait_for_function(
            """() => ['yes', 'no'].includes(document.querySelector(
                '#trials-grid .ag-row[row-index="0"] [col-id="residual"]')?.textContent)"""
        )
        page.locator("#trials-standing").get_by_text(re.compile("^all ")).click()
        page.wait_for_url(lambda url: "standing" not in url)
        page.locator("#trials-files").get_by_text("60 trials", exact=True).wait_for()
        visit.assert_quiet()


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(browser, served, width):
    with Visit(browser, served, "/trials", width=width) as visit:
        wait_for_first(visit.page, "number", "0")
        assert visit.width() <= width
        visit.assert_quiet()
