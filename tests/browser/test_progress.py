"""The view of progress in a browser: it follows a run that grows, keeps its zoom, and fits."""

import json
import re
from dataclasses import asdict

import psutil
import pytest
from dashboard_pages import Served, Visit
from synthetic_runs import make_run

from nas.records import Outcome

pytestmark = pytest.mark.browser


def outcome(number, error, curve):
    if number >= 18:
        return Outcome("running")
    return Outcome("complete", error, epochs=8, train_seconds=20.0)


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path, "first", trials=20, outcome=outcome)
    # This process drives it: the page says so, and asks often.
    process = psutil.Process()
    owner = {"pid": process.pid, "started": process.create_time()}
    (run.path / "driver.lock").write_text(json.dumps(owner))
    return run


def finish(run, number):
    """End a trial, as the driver of a search does."""
    from synthetic_runs import distributions

    from nas.records import Location
    from nas.records.writing import RunWriter
    from nas.space import SearchSpace

    location = Location(run.url, run.name, run.path)
    space = SearchSpace.from_json(run.settings.space)
    writer = RunWriter(location, run.settings.objectives, distributions(space))
    row = run.trials.set_index("number").loc[number]
    costs = {name: int(row[name]) for name in ("macs", "params", "activation_bytes")}
    ended = Outcome("complete", 0.01, epochs=8, train_seconds=20.0)
    assert asdict(ended)["state"] == "complete"
    writer.finish(number, costs, ended, 700.0)
    writer.close()


def test_the_page_follows_a_search_without_losing_the_zoom(browser, run):
    with Served([run]) as served, Visit(browser, served, "/progress") as visit:
        page = visit.page
        visit.drawn("#progress-hypervolume")
        facts = page.locator("#progress-facts")
        facts.get_by_text("18 complete").wait_for()
        page.locator("#progress-running").get_by_text("trial 19").wait_for()
        page.evaluate(
            "Plotly.relayout(document.querySelector('#progress-hypervolume .js-plotly-plot'),"
            " {'xaxis.range': [5, 12]})"
        )
        finish(run, 18)
        facts.get_by_text("19 complete").wait_for()
        page.wait_for_function(
            """() => document.querySelector('#progress-hypervolume .js-plotly-plot')
                .data[0].x.at(-1) === 19"""
        )
        zoom = page.evaluate(
            "document.querySelector('#progress-hypervolume .js-plotly-plot').layout.xaxis.range"
        )
        assert zoom == [5, 12]
        assert page.locator("#progress-running").get_by_text("trial 18").count() == 0
        visit.assert_quiet()


def test_a_link_opens_device_time_and_the_keyboard_changes_it(browser, run):
    with Served([run]) as served, Visit(browser, served, "/progress?spent=device") as visit:
        page = visit.page
        axis = page.locator("#progress-hypervolume .xtitle")
        axis.get_by_text("device time").wait_for()
        page.locator("#progress-spent input:checked").focus()
        page.keyboard.press("ArrowLeft")
        page.wait_for_url(lambda url: "spent" not in url)
        axis.get_by_text("trials ended").wait_for()
        page.go_back()
        axis.get_by_text("device time").wait_for()
        visit.assert_quiet()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_fits_the_screen(browser, run, width, scheme):
    with (
        Served([run]) as served,
        Visit(browser, served, "/progress", width=width, scheme=scheme) as visit,
    ):
        visit.drawn("#progress-pace")
        visit.page.locator("#progress-spend table").wait_for()
        assert visit.width() <= width
        visit.assert_quiet()


def test_a_running_trial_opens_its_network(browser, run):
    with Served([run]) as served, Visit(browser, served, "/progress") as visit:
        visit.page.locator("#progress-running a").first.click()
        visit.page.wait_for_url(re.compile(r"/architecture\?.*trial=18"))
        visit.page.wait_for_selector("table.layers tbody tr")
        assert visit.page.locator("h2").inner_text().startswith("Trial 18")
