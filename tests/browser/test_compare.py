"""The view of comparison in a browser: two runs side by side, bands, and whose trial a mark is."""

import re

import pytest
from dashboard_pages import Served, Visit
from synthetic_runs import make_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    runs = [make_run(results, name, seed=seed) for seed, name in enumerate(("a", "b", "c d"))]
    with Served(runs) as served:
        yield served


def names(page):
    return page.evaluate(
        "document.querySelector('#compare-fronts .js-plotly-plot').data.map(t => t.name)"
    )


def test_two_runs_are_compared_and_a_click_says_whose_trial_it_is(browser, served):
    with Visit(browser, served, "/compare?run=a&with=c%2520d") as visit:
        page = visit.page
        visit.drawn("#compare-fronts")
        assert names(page) == ["a", "c d"]
        page.locator("#compare-indicators").get_by_text("c d").wait_for()
        place = page.evaluate(
            """() => {
                const div = document.querySelector('#compare-fronts .js-plotly-plot');
                div.scrollIntoView({block: 'center', behavior: 'instant'});
                const {_fullLayout: full} = div, box = div.getBoundingClientRect();
                const trace = div.data[1], at = 0;
                return [box.left + full._size.l + full.xaxis.d2p(trace.x[at]),
                        box.top + full._size.t + full.yaxis.d2p(trace.y[at]),
                        trace.customdata[at][0]];
            }"""
        )
        page.mouse.move(*place[:2])
        page.mouse.click(*place[:2])
        page.locator("#compare-chosen").get_by_text(f"Trial {place[2]} of c d").wait_for()
        page.locator("#compare-chosen a").click()
        page.wait_for_url(re.compile(rf"/architecture\?run=c(\+|%20)d&trial={place[2]}"))
        visit.assert_quiet()


def test_runs_are_chosen_on_the_page_and_stand_in_the_address(browser, served):
    with Visit(browser, served, "/compare?run=a") as visit:
        page = visit.page
        visit.drawn("#compare-fronts")
        assert names(page) == ["a", "b", "c d"]
        page.locator("#compare-with").click()
        options = page.locator(".dash-dropdown-option")
        options.filter(has_text=re.compile("^b$")).first.click()
        page.wait_for_url(re.compile("with=b"))
        page.wait_for_function(
            "() => document.querySelector('#compare-fronts .js-plotly-plot').data.length === 2"
        )
        visit.assert_quiet()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_bands_and_tables_fit_the_screen(browser, served, width, scheme):
    with Visit(browser, served, "/compare?spread=groups", width=width, scheme=scheme) as visit:
        visit.drawn("#compare-fronts")
        visit.page.locator("#compare-significance").get_by_text("one search only").wait_for()
        visit.page.locator("#compare-picks table").wait_for()
        assert visit.width() <= width
        visit.assert_quiet()
