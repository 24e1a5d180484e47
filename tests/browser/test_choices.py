"""The view of choices in a browser: a brush drawn on an axis, and one made with the keyboard."""

import re

import pytest
from dashboard_pages import Served, Visit
from synthetic_runs import make_run

from nas.analysis.tables import trials_table

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=40)


@pytest.fixture(scope="module")
def served(run):
    with Served([run]) as served:
        yield served


def quiet(visit):
    """As ``assert_quiet``, but for what a driver without a GPU says of its speed."""
    visit.complaints = [words for words in visit.complaints if "GPU stall" not in words]
    visit.assert_quiet()


def axis_place(page, name):
    """Where an axis stands on the screen: its x, its top and its bottom."""
    return page.evaluate(
        """(name) => {
            const div = document.querySelector('#choices-parallel .js-plotly-plot');
            div.scrollIntoView({block: 'center', behavior: 'instant'});
            const place = div.layout.meta.axes.findIndex((axis) => axis.name === name);
            const box = div.querySelectorAll('.axis .domain')[place].getBoundingClientRect();
            return [box.right, box.top, box.bottom];
        }""",
        name,
    )


def test_a_brush_drawn_on_an_axis_goes_into_the_address_and_to_the_front(browser, served):
    with Visit(browser, served, "/choices?axes=residual,stages.count") as visit:
        page = visit.page
        visit.drawn("#choices-parallel")
        assert not page.locator("#choices-parallel").get_by_text("WebGL is not supported").count()
        # What takes the mouse is drawn last, after the lines and the axes.
        visit.until("document.querySelectorAll('#choices-parallel .axis-brush').length === 4")
        x, top, bottom = axis_place(page, "error")
        height = bottom - top
        page.mouse.move(x, bottom - 0.1 * height)
        page.mouse.down()
        page.mouse.move(x, bottom - 0.25 * height)
        page.mouse.move(x, bottom - 0.45 * height, steps=4)
        page.mouse.up()
        page.wait_for_url(re.compile(r"brush=error"))
        page.locator("#choices-passing").get_by_text("of 40 trials").wait_for()
        held = page.evaluate("document.querySelector('#choices-passing strong').textContent")
        assert 0 < int(held.split()[0]) < 40
        page.get_by_text("See them on the front").click()
        page.wait_for_url(re.compile(r"/front\?.*brush=error"))
        visit.drawn("#front-figure")
        bright = """document.querySelector('#front-figure .js-plotly-plot').data
            .filter(t => t.selectedpoints).flatMap(t => t.selectedpoints).length"""
        visit.until(f"{bright} === {int(held.split()[0])}")
        quiet(visit)


def test_a_link_brings_its_brush_and_the_cross_takes_it_away(browser, served):
    with Visit(browser, served, "/choices?brush=residual:yes;error:0.1~0.4") as visit:
        page = visit.page
        chips = page.locator("#choices-passing")
        chips.get_by_text("residual: yes").wait_for()
        both = int(chips.locator("strong").inner_text().split()[0])
        page.get_by_title("Without this: residual").click()
        page.wait_for_url(lambda url: "residual" not in url)
        chips.get_by_text("residual: yes").wait_for(state="hidden")
        assert int(chips.locator("strong").inner_text().split()[0]) > both
        page.locator("#choices-passing").get_by_text("clear all").click()
        page.wait_for_url(lambda url: "brush" not in url)
        page.wait_for_function("() => !document.querySelector('#choices-passing').textContent")
        assert chips.inner_text() == ""
        page.go_back()
        chips.get_by_text("error: 10.0").wait_for()
        assert chips.get_by_title("Without this: error").is_visible()
        quiet(visit)


def test_a_brush_needs_no_mouse(browser, served, run):
    with Visit(browser, served, "/choices?axes=residual") as visit:
        page = visit.page
        visit.drawn("#choices-parallel")
        page.get_by_text("Filter without drawing", exact=True).focus()
        page.keyboard.press("Enter")
        page.locator("#choices-rule-name").focus()
        page.keyboard.press("Enter")
        page.keyboard.type("error")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        page.locator("#choices-rule-low").wait_for()
        page.locator("#choices-rule-low").fill("10")
        page.locator("#choices-rule-high").fill("30%")
        page.locator("#choices-rule-apply").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"brush=error%3A0.1%7E0.3|brush=error%3A0.1~0.3"))
        passing = page.locator("#choices-passing")
        passing.get_by_text("error: 10.0").wait_for()
        table = trials_table(run.trials, run.settings.objectives, run.curves)
        errors = table["shown_error"]
        assert f"{int(errors.between(0.1, 0.3).sum())} of 40 trials" in passing.inner_text()
        quiet(visit)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_it_fits_the_screen(browser, served, width, scheme):
    with Visit(browser, served, "/choices", width=width, scheme=scheme) as visit:
        for name in ("importance", "parallel", "survival", "shares", "reductions"):
            visit.drawn(f"#choices-{name}")
        assert visit.width() <= width
        quiet(visit)


def test_a_reduction_chooses_its_trial(browser, served):
    with Visit(browser, served, "/choices") as visit:
        marks = "document.querySelector('#choices-reductions .js-plotly-plot').data[1].customdata"
        visit.until(f"{marks}.length")
        number = visit.page.evaluate(f"{marks}[0]")
        visit.click_trial("#choices-reductions", number)
        visit.page.get_by_role("link", name="Architecture").click()
        visit.page.locator("#architecture-title").get_by_text(f"Trial {number}").wait_for()
        assert visit.page.locator("#architecture-title .is-front").is_visible()
