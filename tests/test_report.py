"""The report: one file, whole, honest, safe, and sensible whatever the run holds."""

import json
import re
import shutil
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs_version
from synthetic_runs import OBJECTIVES, TASK, make_run, usual_outcome

from nas.analysis.along_front import survival_table
from nas.analysis.comparison import indicators_table
from nas.analysis.importance import importance_table
from nas.analysis.structure import branches_table
from nas.analysis.tables import front_table
from nas.presets import cifar_googlenet
from nas.records import Outcome, Rejections
from nas.report import write_report

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
]
PATIENCE_MS = 240_000
"""What the browser may take on a machine that is busy with other tests."""

HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>&amp;'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=18)


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    return write_report(run, tmp_path_factory.mktemp("page") / "report.html")


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.words, self.scripts, self._tag = [], [], [], ""
        self.feed(Path(path).read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split()).replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._tag = tag

    def handle_endtag(self, tag):
        self._tag = ""

    def handle_data(self, data):
        if self._tag in ("script", "style"):
            self.scripts.append(data)
        else:
            self.words.append(data)

    def having(self, **wanted):
        wanted = {name.rstrip("_"): value for name, value in wanted.items()}
        return [a for _, a in self.elements if wanted.items() <= a.items()]


def test_the_page_says_what_was_searched_and_found(run, page):
    found = Page(page)
    front = front_table(run.trials, run.settings.objectives)
    knee = front[front["is_knee"]].iloc[0]
    assert f"{len(front)} networks form the front" in found.text
    assert f"trial {knee['number']} with an error of {100 * knee['error']:.1f} %" in found.text
    assert "18 networks of the space" in found.text
    assert "0.25 times the width on 28 x 28 pixels for 8 epochs of 4,096 images" in found.text
    assert f"nas train {run.path} --pick knee --out {run.path}/knee" in found.text
    assert f"nas export {run.path}/knee --out {run.path}/knee/export" in found.text
    for words in (
        "Errors are estimates",
        "one seed",
        "validation split",
        "test split was not read",
    ):
        assert words in found.text
    for words in ("already trained as trial 4", "90.0 %, 2G MACs", "torch 2.11.0", "nsga2"):
        assert words in found.text


def test_every_front_point_has_drawing_layers_and_commands(run, page):
    found = Page(page)
    front = front_table(run.trials, run.settings.objectives)
    details = found.having(class_="card detail")
    assert [int(detail["data-number"]) for detail in details] == front["number"].tolist()
    drawings = [a for tag, a in found.elements if tag == "svg"]
    assert len(drawings) == 2 * len(front)
    assert all(a["role"] == "img" and "Trial" in a["aria-label"] for a in drawings)
    for number in front["number"]:
        assert f"--pick trial:{number}" in found.text
    for macs in front["macs"]:
        assert f"{macs:,}" in found.text
    assert "head.classifier" in found.text


def test_trials_off_the_front_are_on_the_page_with_their_reason(run, page):
    data = json.loads(next(text for text in Page(page).scripts if text.startswith('{"recolour"')))
    cards = data["runs"][0]["trials"]
    assert len(cards) == 18
    stopped = cards["4"]
    assert stopped["standing"] == "stopped early"
    assert stopped["why"] == "dominated at epoch 2 by trials 0 and 3"
    assert stopped["command"] == f"nas show {run.path} --trial 4"
    dominated = [card for card in cards.values() if card["standing"] == "dominated"]
    assert all("no worse in any objective" in card["why"] for card in dominated)


def test_nothing_is_loaded_from_anywhere(page):
    text = page.read_text(encoding="utf-8")
    found = Page(page)
    loading = {"src", "srcset", "action", "data", "background", "poster"}
    for tag, attributes in found.elements:
        assert not loading & set(attributes), tag
        href = attributes.get("href")
        assert href is None or href.startswith("#") or href == "data:,", href
    policy = found.having(**{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert text.count("plotly.js (basic - minified)") == 1
    assert "@import" not in text
    assert "url(" not in "".join(found.scripts[:1])


def test_headings_labels_and_regions_are_there(page):
    found = Page(page)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert found.having(lang="en")
    assert found.having(name="viewport")
    identifiers = [a["id"] for _, a in found.elements if "id" in a]
    assert len(set(identifiers)) == len(identifiers)
    for _, attributes in found.elements:
        for reference in ("aria-labelledby", "for"):
            assert attributes.get(reference) is None or attributes[reference] in identifiers
    for tag, attributes in found.elements:
        if tag == "div" and attributes.get("class", "").startswith("plot"):
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]


def test_the_script_library_is_that_of_the_python_package():
    header = Path("nas/report/plotly-basic.min.js").read_text(encoding="utf-8")[:200]
    major = get_plotlyjs_version().split(".")[0]
    assert f"plotly.js (basic - minified) v{major}." in header


def test_two_runs_stand_on_one_page(run, tmp_path):
    other = make_run(tmp_path, "second", trials=8, seed=5)
    found = Page(write_report([run, other], tmp_path / "two.html"))
    assert "The runs compared" in found.text
    assert [a["id"] for a in found.having(class_="run")] == ["run0", "run1"]
    assert found.having(**{"data-figure": "compared-fronts"})
    assert found.having(**{"data-figure": "compared-hypervolume"})
    assert "on the same data by the same proxy" in found.text
    assert f"nas train {other.path} --pick knee" in found.text
    third = make_run(tmp_path, "third", trials=2, objectives=("error", "params"))
    found = Page(write_report([run, third], tmp_path / "unlike.html"))
    assert "hypervolumes do not compare" in found.text
    assert not found.having(**{"data-figure": "compared-attainment"})
    assert not found.having(**{"data-figure": "compared-hypervolume"})
    assert found.having(**{"data-figure": "compared-fronts"})
    again = Page(write_report([run, run], tmp_path / "same.html"))
    assert f"first ({run.path})" in again.text


def test_the_page_says_what_mattered(run, page):
    found = Page(page)
    for name in ("importance", "parallel", "reductions", "branches", "survival", "pace"):
        complete = int((run.trials["state"] == "complete").sum())
        drawn = bool(found.having(**{"data-figure": name}))
        assert drawn == (name != "importance" or complete >= 20), name
    assert "Importances need 20 complete trials" in found.text
    front = front_table(run.trials, run.settings.objectives)
    survivals = survival_table(branches_table(run.trials), run.trials, run.settings.objectives)
    one = survivals[survivals["kind"] == "1x1"].iloc[0]
    assert one["front"] == len(front)
    assert f"{one['proposed']} (100.0" in found.text
    assert "What a share of the training brought" in found.text


def test_importances_stand_on_the_page_with_their_intervals(tmp_path):
    run = make_run(tmp_path, "many", trials=40)
    path = write_report(run, tmp_path / "many.html")
    found = Page(path)
    assert found.having(**{"data-figure": "importance"})
    table = importance_table(run.trials, run.choices, by="kind")
    first = table.iloc[0]
    assert str(first["choice"]) in found.text
    assert f"Over {first['trials']} trials, cost alone explains" in found.text


def test_groups_of_runs_are_tested_with_their_numbers(tmp_path):
    runs = [
        make_run(tmp_path, f"{sampler}{seed}", trials=6, seed=seed, sampler=sampler)
        for sampler in ("pareto", "random")
        for seed in (1, 2)
    ]
    found = Page(write_report(runs, tmp_path / "groups.html"))
    for name in ("compared-attainment", "compared-indicators", "compared-fronts"):
        assert found.having(**{"data-figure": name})
    assert "Is the difference chance?" in found.text
    assert "Wilcoxon, paired" in found.text  # the groups have the same seeds
    assert "too few runs" in found.text
    assert "Run against run" in found.text
    scores = indicators_table(
        {run.name: run.trials for run in runs}, OBJECTIVES, runs[0].settings.reference
    )
    assert f"{scores['epsilon_multiplicative'].iloc[1]:.3f}" in found.text


def failing(number, error, curve):
    return Outcome("failed", epochs=0, reason=f"the loss is NaN in epoch {number}")


def stopping(number, error, curve):
    return Outcome("pruned", epochs=1, train_seconds=2.0, reason="stopped at epoch 1")


def running(number, error, curve):
    return Outcome("running")


@pytest.mark.parametrize(
    ("trials", "outcome", "expected"),
    [
        (1, None, "One network beats all others in every objective: trial 0"),
        (
            3,
            failing,
            "There is no front: none of 3 trials is complete (3 failed). The first reason: ",
        ),
        (2, stopping, "none of 2 trials is complete (2 stopped)"),
        (2, running, "none of 2 trials is complete (2 unfinished)"),
        (0, None, "No trial has been started yet"),
    ],
)
def test_pages_of_runs_without_much(trials, outcome, expected, tmp_path):
    run = make_run(tmp_path, "few", trials=trials, outcome=outcome)
    found = Page(write_report(run, tmp_path / "few.html"))
    assert expected in found.text
    assert "nan" not in found.text.lower().replace("the loss is nan", "")
    after = {
        failing: "--trial 0",
        stopping: f"--resume --results {tmp_path} --trials 18",
        running: f"--resume --results {tmp_path} --trials 16",
    }
    assert after.get(outcome, "nas") in found.text
    if trials == 0:
        assert "nas spaces googlenet_small" in found.text
    assert ("nas train" in found.text.split("How to read")[0]) == (outcome is None and trials > 0)
    if trials == 0:
        assert "All 38 proposals were rejected before training" in found.text
        assert not found.having(**{"data-figure": "front-macs"})
    else:
        assert found.having(**{"data-figure": "front-macs"})


@pytest.mark.parametrize(
    ("objectives", "axes", "words"),
    [
        (("error",), ["front-macs"], "The smallest error is that of trial"),
        (("error", "params"), ["front-params"], "networks form the front"),
        (("error", "macs", "params"), ["front-macs", "front-params"], "networks form the front"),
    ],
)
def test_pages_of_one_to_three_objectives(objectives, axes, words, tmp_path):
    run = make_run(tmp_path, "goals", trials=9, objectives=objectives)
    found = Page(write_report(run, tmp_path / "goals.html"))
    assert words in found.text
    assert "a front has no bend" not in found.text
    figures = [a["data-figure"] for a in found.having(role="img") if "data-figure" in a]
    assert [name for name in figures if name.startswith("front-")] == axes


def chance(number, error, curve):
    return Outcome("complete", 0.95, epochs=8, train_seconds=20.0)


@pytest.mark.parametrize("objectives", [("error",), OBJECTIVES, ("error", "macs", "params")])
def test_a_run_that_learnt_nothing_has_a_front_but_no_volume(objectives, tmp_path):
    run = make_run(tmp_path, "chance", trials=3, objectives=objectives, outcome=chance)
    found = Page(write_report(run, tmp_path / "chance.html"))
    assert "0.000" in found.text
    assert "nan" not in found.text.lower()
    both = Page(write_report([run, run], tmp_path / "both.html"))
    assert "The runs compared" in both.text
    assert "nan" not in both.text.lower()


@pytest.mark.parametrize("outcome", [failing, stopping])
def test_runs_without_a_front_can_be_compared(outcome, run, tmp_path):
    empty = make_run(tmp_path, "empty", trials=2, outcome=outcome)
    found = Page(write_report([empty, run], tmp_path / "with.html"))
    assert "The runs compared" in found.text
    assert "nan" not in found.text.lower().replace("the loss is nan", "")
    alone = Page(write_report([empty, empty], tmp_path / "alone.html"))
    assert "There is no front" in alone.text


def test_no_feasible_trial_is_said_with_the_budgets_that_left_none(tmp_path):
    """A budget under the space's smallest network: proposals, each refused, and no trial."""
    refused = Rejections(
        {"macs": 1900, "params": 90, "does not fit": 8, "repeat": 2},
        ({"number": 0, "kind": "macs", "reason": "macs 412M over the budget 300M"},),
    )
    run = make_run(tmp_path, "none", trials=0, rejections=refused, budgets={"macs": 300_000_000})
    found = Page(write_report(run, tmp_path / "none.html"))
    assert "All 2,000 proposals were rejected before training" in found.text
    for words in (
        "over the budget of 300M MACs 1,900",
        "over the budget of parameters 90",
        "a network that does not fit the images 8",
        "a network that was proposed before 2",
        "before trial 0: macs 412M over the budget 300M",
    ):
        assert words in found.text
    assert not found.having(**{"data-figure": "front-macs"})
    assert "nan" not in found.text.lower()


def hostile_run(results):
    def outcome(number, error, curve):
        ended = usual_outcome(number, error, curve)
        return ended if number else Outcome("failed", reason=HOSTILE)

    run = make_run(
        results,
        HOSTILE.replace("/", ""),
        trials=8,
        outcome=outcome,
        device=HOSTILE,
        sampler=HOSTILE,
        versions={HOSTILE: HOSTILE},
        task=TASK.model_copy(update={"data": f"hf:{HOSTILE}"}),
    )
    run.trials["origin"] = f"seed:{HOSTILE}"
    return run


def test_hostile_names_and_attributes_stay_text(tmp_path):
    path = write_report(hostile_run(tmp_path), tmp_path / "hostile.html")
    found = Page(path)
    tags = {tag for tag, _ in found.elements}
    assert "img" not in tags
    assert "b" not in tags
    assert len([tag for tag, _ in found.elements if tag == "script"]) == 3
    assert not [a for _, a in found.elements if any(name.startswith("on") for name in a)]
    assert HOSTILE in " ".join(found.words)
    data = next(text for text in found.scripts if text.startswith('{"recolour"'))
    assert "<" not in data
    assert data.count("window.hacked") > 1


def test_shell_words_are_quoted_in_commands(tmp_path):
    run = make_run(tmp_path, "two words; rm -rf x", trials=2)
    found = Page(write_report(run, tmp_path / "quoted.html"))
    assert f"nas train '{run.path}' --pick knee" in found.text


def test_a_password_of_a_storage_is_never_written(run, tmp_path):
    served = run.refresh()
    served.url = "postgresql://me:secret@host/nas"
    found = Page(write_report(served, tmp_path / "served.html"))
    assert "nas train 'postgresql://me:***@host/nas#first' --pick knee" in found.text
    assert "secret" not in (tmp_path / "served.html").read_text(encoding="utf-8")


def large_run(run, count):
    """A run of ``count`` trials, all of the size of the CIFAR GoogLeNet; the tables are its own."""
    rng = np.random.default_rng(0)
    trials = pd.concat([run.trials] * (count // len(run.trials) + 1)).head(count)
    macs = np.exp(rng.uniform(np.log(1e6), np.log(1e9), count))
    state = np.where(np.arange(count) % 3 == 0, "pruned", "complete")
    error = 0.06 + 0.4 * (macs / 1e6) ** -0.3 * np.exp(rng.normal(0, 0.05, count))
    run.trials = trials.assign(
        number=np.arange(count),
        state=state,
        macs=macs.astype(int),
        error=np.where(state == "complete", error, np.nan),
        origin="sampler:nsga2",
        architecture=cifar_googlenet().to_json(),
    ).reset_index(drop=True)
    choices = pd.concat([run.choices] * (count // len(run.choices) + 1)).head(count)
    run.choices = choices.assign(number=np.arange(count)).reset_index(drop=True)
    curve = run.curves[run.curves["number"] == 0]
    run.curves = pd.concat([curve.assign(number=number) for number in range(count)])
    return run


def test_a_thousand_trials_of_large_networks_stay_under_8_mb(run, tmp_path):
    large = large_run(run.refresh(), 1000)
    path = write_report(large, tmp_path / "large.html")
    front = front_table(large.trials, large.settings.objectives)
    assert len(front) > 30
    assert path.stat().st_size < 8e6
    found = Page(path)
    assert found.having(**{"data-figure": "importance"})
    assert found.having(**{"data-figure": "parallel"})
    details = found.having(class_="card detail")
    assert len(details) == 30
    numbers = {int(detail["data-number"]) for detail in details}
    picked = front[front["is_knee"]]["number"].iloc[0]
    assert {picked, front["number"].iloc[0], front["number"].iloc[-1]} <= numbers
    assert f"30 of {len(front)} are drawn on this page" in found.text


def test_a_report_is_whole_or_not_there(run, tmp_path):
    out = tmp_path / "sub" / "report.html"
    assert write_report(run, out) == out
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    with pytest.raises(ValueError, match="is a directory"):
        write_report(run, tmp_path)
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], out)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_report(run, tmp_path / "file" / "report.html")


# ------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists() and shutil.which("chromium") is None:
        pytest.skip(f"no Chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or CHROMIUM,
            args=CHROMIUM_ARGUMENTS,
        )
        yield browser
        browser.close()


class Visit:
    """A page in the browser with all that it asked for and complained about."""

    def __init__(self, browser, path, width=1280, scheme="light", address=""):
        size = {"width": width, "height": 900}
        self.context = browser.new_context(
            viewport=size, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type != "log" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.own = f"file://{path}{address}"
        self.page.goto(self.own)
        self.page.wait_for_selector(".plot .main-svg")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def shown(self):
        """The headings of the trials that can be seen."""
        return [
            title.strip()
            for title in self.page.locator(
                ".detail:visible h3, .brief:visible h3"
            ).all_inner_texts()
        ]

    def assert_quiet(self):
        outside = [u for u in self.requests if u.split("#")[0] != self.own.split("#")[0]]
        assert [u for u in outside if not u.startswith(("data:", "blob:"))] == []
        assert self.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_works_at_each_size_and_in_each_mode(browser, page, width, scheme):
    with Visit(browser, page, width, scheme) as visit:
        drawn = visit.page.locator(".plot:visible .main-svg").count()
        assert drawn >= 3
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, "the page scrolls sideways"
        assert visit.page.locator(".drawing:visible svg").count() == 1
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(15, 19, 23)") == (scheme == "dark")
        visit.assert_quiet()


@pytest.mark.browser
def test_a_click_on_a_point_shows_its_trial(browser, run, page):
    front = front_table(run.trials, run.settings.objectives)
    knee = int(front[front["is_knee"]]["number"].iloc[0])
    other = int(front.loc[~front["is_knee"], "number"].iloc[-1])
    with Visit(browser, page) as visit:
        assert visit.shown()[0].startswith(f"Trial {knee}")
        click_point(visit.page, other)
        assert [title.split()[1] for title in visit.shown()] == [str(other)]
        assert visit.page.url.endswith(f"#run0-t{other}")
        pressed = visit.page.locator("table.front .show[aria-pressed=true]").all_inner_texts()
        assert pressed == [str(other)]
        click_point(visit.page, 4)
        assert visit.shown() == ["Trial 4: stopped early"]
        assert "dominated at epoch 2" in visit.page.locator(".brief").inner_text()
        visit.assert_quiet()


def click_point(page, number):
    """A real click at the place where plotly drew the trial."""
    place = page.evaluate(
        """number => {
            const div = document.querySelector("[data-figure^='front-']");
            div.scrollIntoView({block: "center", behavior: "instant"});
            const {_fullLayout: full} = div, box = div.getBoundingClientRect();
            const trace = div.data.find(t => (t.customdata || []).includes(number));
            const at = trace.customdata.indexOf(number);
            return [box.left + full._size.l + full.xaxis.d2p(trace.x[at]),
                    box.top + full._size.t + full.yaxis.d2p(trace.y[at])];
        }""",
        number,
    )
    page.mouse.move(*place)
    page.mouse.click(*place)
    page.wait_for_url(f"**#run0-t{number}")


@pytest.mark.browser
def test_the_keyboard_reaches_every_front_point(browser, run, page):
    numbers = front_table(run.trials, run.settings.objectives)["number"].tolist()
    with Visit(browser, page, address=f"#run0-t{numbers[0]}") as visit:
        assert visit.shown()[0].startswith(f"Trial {numbers[0]}")
        step = visit.page.get_by_role("button", name="More exact")
        assert visit.page.get_by_role("button", name="Cheaper").is_disabled()
        step.focus()
        for number in numbers[1:]:
            visit.page.keyboard.press("Enter")
            assert visit.shown()[0].startswith(f"Trial {number}")
        assert step.is_disabled()
        visit.page.get_by_role("button", name=f"Show trial {numbers[0]}", exact=True).press("Enter")
        assert visit.shown()[0].startswith(f"Trial {numbers[0]}")
        visit.assert_quiet()


@pytest.mark.browser
def test_the_axis_can_be_switched_with_three_objectives(browser, tmp_path):
    run = make_run(tmp_path, "goals", trials=9, objectives=("error", "macs", "params"))
    with Visit(browser, write_report(run, tmp_path / "goals.html")) as visit:
        assert visit.page.locator("[data-figure=front-params]").is_hidden()
        visit.page.get_by_role("button", name="parameters").click()
        assert visit.page.locator("[data-figure=front-params] .main-svg").first.is_visible()
        assert visit.page.locator("[data-figure=front-macs]").is_hidden()
        visit.assert_quiet()


@pytest.mark.browser
def test_the_mode_follows_the_reader(browser, page):
    with Visit(browser, page) as visit:
        colour = "document.querySelector('.plot')._fullLayout.font.color"
        light = visit.page.evaluate(colour)
        visit.page.emulate_media(color_scheme="dark")
        end = time.monotonic() + PATIENCE_MS / 1000
        while visit.page.evaluate(colour) == light:
            assert time.monotonic() < end
            visit.page.wait_for_timeout(50)  # its policy forbids waiting on an expression
        visit.assert_quiet()


@pytest.mark.browser
def test_nothing_hostile_runs(browser, tmp_path):
    path = write_report(hostile_run(tmp_path), tmp_path / "hostile.html")
    with Visit(browser, path) as visit:
        for number in range(8):
            visit.page.locator(".choose").select_option(str(number))
        assert visit.page.evaluate("window.hacked") is None
        assert visit.page.locator("img, .plot a[href]").count() == 0
        visit.assert_quiet()


@pytest.mark.browser
def test_pages_without_a_front_have_no_errors(browser, tmp_path):
    for name, outcome in (("failed", failing), ("stopped", stopping), ("running", running)):
        run = make_run(tmp_path, name, trials=2, outcome=outcome)
        with Visit(browser, write_report(run, tmp_path / f"{name}.html")) as visit:
            assert visit.shown()[0].startswith("Trial 0: ")
            visit.assert_quiet()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_stopped_trials_are_hollow_and_can_be_seen(browser, page, scheme):
    with Visit(browser, page, scheme=scheme) as visit:
        marker = visit.page.evaluate(
            """() => {
                const div = document.querySelector("[data-figure='front-macs']");
                const at = div.data.findIndex(t => (t.name || "").startsWith("stopped"));
                const mark = div.querySelectorAll(".scatterlayer .trace")[at]
                    .querySelector(".points path");
                const style = getComputedStyle(mark);
                return [style.fill, style.fillOpacity, style.stroke, style.opacity,
                        getComputedStyle(document.querySelector(".card")).backgroundColor];
            }"""
        )
        fill, fill_opacity, stroke, opacity, surface = marker
        assert fill == "none" or float(fill_opacity) == 0
        assert float(opacity) == 1
        assert contrast(rgb(stroke), rgb(surface)) >= 3
        visit.assert_quiet()


def rgb(text):
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def contrast(one, other):
    def luminance(colour):
        parts = [part / 255 for part in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.browser
def test_no_figure_is_cut_by_the_end_of_a_page(browser, page):
    """Printed at the height of an A4 page, every drawing keeps whole: none may break inside."""
    with Visit(browser, page) as visit:
        visit.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        visit.page.emulate_media(media="print")
        found = visit.page.evaluate(
            """[...document.querySelectorAll("figure, .plot, .drawing svg")]
                .filter(node => node.offsetParent !== null || node.tagName === "svg")
                .filter(node => node.getBoundingClientRect().height > 0)
                .map(node => [node.tagName, node.getBoundingClientRect().height,
                              getComputedStyle(node).breakInside])"""
        )
        page_height = 297 / 25.4 * 96
        assert len(found) > 8
        heights = visit.page.evaluate(
            """[...document.querySelectorAll(".plot[data-drawn]")]
                .filter(node => node.offsetWidth > 0)
                .map(node => [node.dataset.figure, node.clientHeight,
                              node.querySelector(".main-svg").clientHeight])"""
        )
        for name, box, drawn in heights:
            assert drawn <= box, f"{name} hangs over its caption"
        for tag, height, rule in found:
            assert height < 0.95 * page_height, (tag, height)
            assert tag == "svg" or rule == "avoid", (tag, rule)


@pytest.mark.browser
def test_print_is_light_and_keeps_figures_on_the_page(browser, page):
    with Visit(browser, page, scheme="dark") as visit:
        visit.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        visit.page.emulate_media(media="print")
        widths = visit.page.evaluate(
            "[...document.querySelectorAll('.plot .main-svg')].map(s => s.clientWidth)"
        )
        assert max(widths) <= 660
        visit.page.set_viewport_size({"width": 700, "height": 900})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 700
        text = visit.page.evaluate("document.querySelector('.plot')._fullLayout.font.color")
        assert text == "#1b1f24"
        assert visit.page.pdf().startswith(b"%PDF")
        visit.assert_quiet()
