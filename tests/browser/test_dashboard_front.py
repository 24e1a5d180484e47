"""The front and the architecture view in a real browser, over real runs."""

import re
import sqlite3

import pytest
from dashboard_pages import Served, Visit
from synthetic_runs import make_run
from test_show_trial import change_attribute

from nas.analysis.picks import resolve_pick
from nas.analysis.tables import front_table
from nas.dashboard import cloud_figure
from nas.dashboard.cloud_figure import default_budget
from nas.records import Outcome, open_run

pytestmark = pytest.mark.browser
FIGURE = "#front-figure"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=40)


@pytest.fixture(scope="module")
def served(run):
    with Served([run]) as served:
        yield served


@pytest.fixture
def front(run):
    return front_table(run.trials, run.settings.objectives)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("view", ["front", "architecture"])
def test_a_view_loads_at_each_size_and_in_each_mode(browser, served, view, width, scheme):
    with Visit(browser, served, f"/{view}", width=width, scheme=scheme) as visit:
        visit.drawn(FIGURE if view == "front" else "#architecture-curve")
        visit.until("document.querySelector('.drawing img').naturalWidth > 100")
        assert visit.width() <= width, "the page scrolls sideways"
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(15, 19, 23)") == (scheme == "dark")
        assert visit.page.title().lower().startswith(view)
        visit.assert_quiet()


def test_a_click_on_a_point_shows_its_network(browser, served, run, front):
    number = int(front.loc[~front["is_knee"], "number"].iloc[0])
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        visit.click_trial(FIGURE, number)
        title = visit.page.locator("#front-chosen h3")
        visit.until(
            f"document.querySelector('#front-chosen h3').innerText.startsWith('Trial {number}')"
        )
        assert "on the front" in title.inner_text()
        image = visit.page.locator("#front-chosen img")
        assert f"trial={number}" in image.get_attribute("src")
        visit.until("document.querySelector('.drawing img').naturalWidth > 100")
        assert_ringed(visit, number)
        visit.page.get_by_role("link", name="Layers, curve and export").click()
        visit.page.wait_for_selector("table.layers tbody tr")
        assert visit.page.locator("h2").inner_text().startswith(f"Trial {number}")
        assert visit.page.url.endswith(f"/architecture?run=first&trial={number}")
        visit.assert_quiet()


def test_no_button_of_a_figure_leads_to_another_machine(browser, served):
    with Visit(browser, served) as visit:
        buttons = visit.drawn(FIGURE).locator(".modebar-btn")
        titles = {button.get_attribute("data-title") for button in buttons.all()}
        assert titles == {"Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


def ring(visit):
    """The middle of the square around the chosen trial, on the screen; None where it is hidden."""
    return visit.page.evaluate("""() => {
        const rect = document.querySelector("#front-figure .chosen-mark rect");
        const box = rect && rect.getBoundingClientRect();
        return box && box.width ? [box.x + box.width / 2, box.y + box.height / 2] : null;
    }""")


def assert_ringed(visit, number):
    """The square stands around the mark of that trial, and is named after it."""
    place = visit.place(FIGURE, number)
    assert ring(visit) == pytest.approx(place, abs=1.0)
    mark = visit.page.get_by_role("img", name=f"The chosen trial, {number}", exact=True)
    assert mark.is_visible()


def test_the_square_around_the_chosen_trial_follows_the_figure(browser, served, front):
    number = int(front.loc[~front["is_knee"], "number"].iloc[len(front) // 2])
    axis = "document.querySelector('#front-figure .js-plotly-plot')._fullLayout.xaxis"
    with Visit(browser, served, f"/front?trial={number}") as visit:
        box = visit.drawn(FIGURE).bounding_box()
        visit.until("document.querySelector('.chosen-mark rect').getBoundingClientRect().width")
        assert_ringed(visit, number)
        before = ring(visit)
        visit.page.get_by_role("button", name="Dark").click()
        ink = "getComputedStyle(document.querySelector('.chosen-mark rect')).stroke"
        visit.until(f"{ink} === getComputedStyle(document.body).color")
        visit.page.set_viewport_size({"width": 1000, "height": 900})
        visit.until(f"{axis}._length < {box['width'] - 200}")
        assert_ringed(visit, number)
        assert ring(visit) != before
        # A zoom to an area around the trial, and while the figure is dragged under the hand.
        x, y = visit.place(FIGURE, number)
        visit.page.mouse.move(x - 60, y - 60)
        visit.page.mouse.down()
        visit.page.mouse.move(x + 40, y + 30, steps=4)
        visit.page.mouse.up()
        visit.until(f"{axis}.autorange === false")
        assert_ringed(visit, number)
        visit.page.locator(f"{FIGURE} .modebar-btn[data-title=Pan]").click()
        x, y = visit.place(FIGURE, number)
        visit.page.mouse.move(x + 80, y + 60)
        visit.page.mouse.down()
        visit.page.mouse.move(x + 50, y + 90, steps=4)
        assert ring(visit) == pytest.approx([x - 30, y + 30], abs=1.5)
        visit.page.mouse.up()
        assert_ringed(visit, number)
        visit.page.get_by_text("linear", exact=True).click()
        visit.until(f"{axis}.type === 'linear'")
        assert_ringed(visit, number)
        visit.page.go_back()
        visit.until(f"{axis}.type === 'log'")
        assert_ringed(visit, number)
        visit.page.evaluate("dash_clientside.nas.navigate({trial: null}, true)")
        visit.until("getComputedStyle(document.querySelector('.chosen-mark')).display === 'none'")
        visit.assert_quiet()


def test_a_click_draws_no_mark_again(browser, served, front):
    numbers = front.loc[~front["is_knee"], "number"].tolist()[:2]
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        visit.page.wait_for_load_state("networkidle")
        visit.page.locator("#front-rows a", has_text=re.compile(f"^{numbers[0]}$")).click()
        visit.page.wait_for_selector(f"#front-chosen img[src*='trial={numbers[0]}&']")
        visit.page.evaluate("""() => {
            window.drawings = 0;
            document.querySelector("#front-figure .js-plotly-plot")
                .on("plotly_afterplot", () => { window.drawings += 1; });
        }""")
        visit.click_trial(FIGURE, numbers[1])
        visit.until(f"document.querySelector('.chosen-mark').dataset.trial === '{numbers[1]}'")
        visit.page.wait_for_selector(f"#front-chosen img[src*='trial={numbers[1]}&']")
        assert_ringed(visit, numbers[1])
        assert visit.page.evaluate("window.drawings") == 0
        # What is counted is counted: a budget moves the line, which is part of the figure.
        visit.page.evaluate("dash_clientside.nas.navigate({budget: 77000000}, true)")
        visit.until("window.drawings > 0")
        visit.assert_quiet()


def test_the_downloaded_picture_has_the_square(browser, served, front, tmp_path):
    number = int(front.loc[~front["is_knee"], "number"].iloc[0])
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        for address, squares in ((None, 0), (number, 1)):
            visit.page.evaluate(
                f"dash_clientside.nas.navigate({{trial: {address or 'null'}}}, true)"
            )
            visit.page.locator(FIGURE).hover()
            with visit.page.expect_download() as download:
                visit.page.locator(f"{FIGURE} .modebar-btn[data-title^=Download]").click()
            path = tmp_path / "front.svg"
            download.value.save_as(path)
            text = path.read_text()
            assert text.startswith("<svg")
            assert len(re.findall(r"M10,10H-10V-10H10Z", text)) == squares
        visit.assert_quiet()


def test_a_stopped_trial_says_why(browser, served):
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        visit.click_trial(FIGURE, 4)
        visit.page.get_by_text("Dominated at epoch 2 by trials 0 and 3.").wait_for()
        visit.assert_quiet()


def test_dragging_the_budget_moves_the_pick(browser, served, run, front):
    start = default_budget(front, "macs")
    cheapest = front.iloc[0]
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        before = int(visit.page.locator("#front-pick .pick").get_attribute("data-number"))
        assert before == resolve_pick(run.trials, run.settings.objectives, f"macs<={start}")
        drag(visit, start, int(cheapest["macs"] * 1.3))
        visit.until(f"document.querySelector('#front-pick .pick').dataset.number !== '{before}'")
        budget = int(re.search(r"budget=(\d+)", visit.page.url)[1])
        assert budget == pytest.approx(cheapest["macs"] * 1.3, rel=0.05)
        expected = resolve_pick(run.trials, run.settings.objectives, f"macs<={budget}")
        pick = visit.page.locator("#front-pick .pick")
        assert int(pick.get_attribute("data-number")) == expected
        # The line stands straight at the budget, and can be dragged again.
        line = visit.page.evaluate(
            "document.querySelector('#front-figure .js-plotly-plot').layout.shapes[0]"
        )
        assert (line["x0"], line["x1"], line["y0"], line["y1"]) == (budget, budget, 0, 1)
        drag(visit, budget, start, down=40)
        visit.until(f"document.querySelector('#front-pick .pick').dataset.number === '{before}'")
        line = visit.page.evaluate(
            "document.querySelector('#front-figure .js-plotly-plot')._fullLayout.shapes[0]"
            "._input.y0"
        )
        assert line == 0
        visit.page.go_back()
        visit.page.wait_for_url(re.compile(f"budget={budget}"))
        visit.until(f"document.querySelector('#front-pick .pick').dataset.number === '{expected}'")
        visit.assert_quiet()


def test_a_mark_under_the_line_is_hovered_and_clicked(browser, served, run, front):
    knee = front[front["is_knee"]].iloc[0]
    number, cost = int(knee["number"]), int(knee["macs"])
    with Visit(browser, served, f"/front?budget={cost}&trial=3") as visit:
        visit.drawn(FIGURE)
        x, y = visit.place(FIGURE, number)
        # The line, not the plot, takes the mouse there.
        under = "document.elementFromPoint({}, {}).closest('.shapelayer') !== null"
        visit.until(under.format(x, y))
        visit.page.mouse.move(x + 1, y + 1)
        visit.page.locator(f"{FIGURE} .hoverlayer").get_by_text(f"trial {number}").wait_for()
        visit.page.mouse.move(x, y + 60)
        visit.until(f"!document.querySelector('{FIGURE} .hoverlayer .hovertext')")
        visit.click_trial(FIGURE, number)
        assert f"budget={cost}" in visit.page.url
        visit.assert_quiet()


def drag(visit, start, end, down=0):
    """Drag the budget's line with the mouse, as a hand does, from one cost to another."""
    place = """cost => {
        const div = document.querySelector("#front-figure .js-plotly-plot");
        const {_fullLayout: full} = div, box = div.getBoundingClientRect();
        return [box.left + full._size.l + full.xaxis.d2p(cost), box.top + full._size.t + 200];
    }"""
    (x, y), (to, _) = visit.page.evaluate(place, start), visit.page.evaluate(place, end)
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    visit.page.mouse.move((x + to) / 2, y + down / 2, steps=4)
    visit.page.mouse.move(to, y + down, steps=4)
    visit.page.mouse.up()


def test_a_budget_can_be_typed(browser, served, run):
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        field = visit.page.get_by_label("At most")
        field.fill("nonsense")
        field.press("Enter")
        visit.page.wait_for_selector("#front-budget[aria-invalid=true]")
        field.fill("120M")
        field.press("Enter")
        visit.page.wait_for_url(re.compile("budget=120000000"))
        expected = resolve_pick(run.trials, run.settings.objectives, "macs<=120M")
        visit.page.wait_for_selector(f"#front-pick .pick[data-number='{expected}']")
        field.fill("1")
        field.press("Enter")
        visit.page.get_by_text("No complete trial is within macs<=1").wait_for()
        visit.assert_quiet()


def test_the_cost_and_the_scale_can_be_chosen(browser, served):
    with Visit(browser, served, "/front?budget=50000000") as visit:
        visit.drawn(FIGURE)
        axis = "document.querySelector('#front-figure .js-plotly-plot')._fullLayout.xaxis"
        visit.page.get_by_text("parameters", exact=True).first.click()
        visit.until(f"{axis}.title.text.startsWith('parameters')")
        visit.page.get_by_text("linear", exact=True).click()
        visit.until(f"{axis}.type === 'linear'")
        assert visit.page.url.endswith("/front?x=params&scale=linear")
        visit.page.go_back()
        visit.until(f"{axis}.type === 'log'")
        assert visit.page.locator("#front-scale input:checked").get_attribute("value") == "log"
        visit.assert_quiet()


def test_a_deep_link_restores_view_run_and_trial(browser, run, tmp_path):
    other = make_run(tmp_path, "second & <b>third</b>", trials=9, seed=1)
    with Served([run, other]) as served:
        name = "second+%26+%3Cb%3Ethird%3C%2Fb%3E"
        address = f"/architecture?run={name}&trial=7&x=params&scale=linear"
        with Visit(browser, served, address) as visit:
            visit.page.wait_for_selector("table.layers tbody tr")
            assert visit.page.locator("h2").inner_text().startswith("Trial 7")
            assert "second & <b>third</b>" in visit.page.locator("#run").inner_text()
            visit.page.get_by_role("link", name="Front", exact=True).click()
            visit.drawn(FIGURE)
            assert visit.page.url.endswith(address.replace("architecture", "front"))
            axis = visit.page.locator("#front-figure .xtitle").text_content()
            assert axis.startswith("parameters")
            visit.assert_quiet()


def test_what_does_not_exist_falls_back_to_what_does(browser, served, front):
    knee = int(front.loc[front["is_knee"], "number"].iloc[0])
    address = "/nowhere?run=none&trial=999999&x=flops&scale=cubic&budget=-3"
    with Visit(browser, served, address) as visit:
        visit.drawn(FIGURE)
        visit.until(
            f"document.querySelector('#front-chosen h3').innerText.startsWith('Trial {knee}')"
        )
        visit.assert_quiet()


def test_the_theme_can_be_switched_and_is_kept(browser, served):
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        ink = "document.querySelector('#front-figure .js-plotly-plot')._fullLayout.font.color"
        light = visit.page.evaluate(ink)
        visit.page.get_by_role("button", name="Dark").click()
        visit.until(f"{ink} !== '{light}'")
        visit.page.wait_for_selector(".drawing img[src*='theme=dark']")
        visit.page.reload()
        visit.drawn(FIGURE)
        assert visit.page.evaluate(ink) != light
        visit.page.get_by_role("button", name="Light").click()
        visit.until(f"{ink} === '{light}'")
        visit.page.evaluate("localStorage.clear()")
        visit.page.emulate_media(color_scheme="dark")
        visit.until(f"{ink} !== '{light}'")
        visit.assert_quiet()


def test_the_keyboard_reaches_the_front_and_its_networks(browser, served, front):
    numbers = front["number"].tolist()
    with Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.className") == "skip"
        row = visit.page.locator("#front-rows a").nth(1)
        row.focus()
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url(re.compile(rf"trial={numbers[1]}\b"))
        visit.page.get_by_role("link", name="Architecture").focus()
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector("table.layers tbody tr")
        for number in numbers[2:]:
            visit.page.get_by_role("link", name="More exact").focus()
            visit.page.keyboard.press("Enter")
            visit.until(f"document.querySelector('h2').innerText.startsWith('Trial {number}')")
        assert visit.page.get_by_role("link", name="More exact").count() == 0
        field = visit.page.get_by_label("Trial", exact=True)
        field.fill("3")
        field.press("Enter")
        visit.page.get_by_text("preset cifar_googlenet").wait_for()
        visit.assert_quiet()


NO_WEBGL = """
    const real = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
        return /webgl/.test(kind) ? null : real.call(this, kind, ...more);
    };
"""


def test_without_webgl_the_cloud_is_drawn_and_the_page_says_so(browser, tmp_path, monkeypatch):
    def outcome(number, error, curve):  # all but the first few are dominated
        return Outcome("complete", error + 0.2 * (number > 3), epochs=8, train_seconds=3.0)

    # As if that were many: a run that is large enough takes long to write.
    monkeypatch.setattr(cloud_figure, "MANY", 20)
    run = make_run(tmp_path, "large", trials=40, outcome=outcome)
    clouds = "document.querySelector('#front-figure .js-plotly-plot')._fullData.map(t => t.type)"
    marks = f"document.querySelectorAll('{FIGURE} .scatterlayer .points path').length"
    words = "This browser has no WebGL"
    with Served([run]) as served:
        with Visit(browser, served) as visit:
            visit.drawn(FIGURE)
            assert "scattergl" in visit.page.evaluate(clouds)
            assert visit.page.get_by_text(words).is_hidden()
            visit.assert_quiet()
        with Visit(browser, served, script=NO_WEBGL) as visit:
            visit.drawn(FIGURE)
            visit.page.get_by_text(words).wait_for()
            assert set(visit.page.evaluate(clouds)) == {"scatter"}
            visit.until(f"{marks} >= 40")
            dominated = "document.querySelector('#front-figure .js-plotly-plot').data.find({})"
            number = visit.page.evaluate(
                f"{dominated.format('t => t.uid === `dominated`')}.customdata[0]"
            )
            visit.click_trial(FIGURE, number)
            visit.page.locator("#front-chosen").get_by_text("no worse in any objective").wait_for()
            visit.page.get_by_role("link", name="Choices").click()
            visit.page.locator(".choices-view").get_by_text(words).wait_for()
            assert visit.page.locator("#choices-parallel").is_hidden()
            visit.assert_quiet()


def test_a_run_with_repeated_networks_can_be_left_for_another_view(browser, tmp_path):
    """Error bars are drawn by a trace that plotly has to remove when another view opens."""
    run = make_run(tmp_path, "repeats", trials=6)
    with sqlite3.connect(run.path / "study.db") as database:
        for number in (0, 1):  # one proxy, trained with two seeds
            change_attribute(database, number, "proposal", proxy_fingerprint="0" * 16)
    with Served([open_run(run.path)]) as served, Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        visit.page.locator(f"{FIGURE} .legendtext").get_by_text("mean over seeds").wait_for()
        visit.page.get_by_role("link", name="Progress").click()
        visit.page.locator("#progress-facts").get_by_text("trials ended").wait_for()
        visit.page.get_by_role("link", name="Front", exact=True).click()
        visit.drawn(FIGURE)
        visit.assert_quiet()


def test_a_run_without_a_trial_says_so(browser, tmp_path):
    with Served([make_run(tmp_path, "empty", trials=0)]) as served:
        for view, words in (
            ("front", "No trial is complete yet"),
            ("architecture", "No network yet"),
        ):
            with Visit(browser, served, f"/{view}") as visit:
                visit.page.get_by_text(words).first.wait_for()
                visit.assert_quiet()
