"""The dashboard over runs that change while it is looked at, and over hostile ones."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
from dashboard_pages import Served, Visit
from postgres_server import postgres_server
from synthetic_runs import make_run
from test_dashboard_source import add_trial

from nas.records import Outcome, open_run

pytestmark = pytest.mark.browser
FIGURE = "#front-figure"
GRAPH = "document.querySelector('#front-figure .js-plotly-plot')"
HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
TRAINING = 120
"""Seconds that a busy machine may take to train one trial."""

SEARCH = [
    "tiny", "--data", "fashion-mnist-mini", "--trials", "24", "--epochs", "2",
    "--images", "512", "--device", "cpu", "--workers", "1",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_trials_of_a_running_search_appear_while_one_looks(browser, tmp_path, kind):
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(postgres_server()) if kind == "PostgreSQL" else None
        words = ["search", *SEARCH, "--name", "live", "--results", str(tmp_path)]
        words += ["--storage", storage] if storage else []
        said = tmp_path / "said.txt"
        output = stack.enter_context(said.open("w"))
        command = [sys.executable, "-m", "nas", *words]
        search = subprocess.Popen(command, stdout=output, stderr=output)
        stack.callback(search.wait)
        stack.callback(search.kill)
        where = (storage, "live") if storage else (tmp_path / "live",)
        run = wait_for_run(where, search, said)
        with Served([run]) as served, Visit(browser, served) as visit:
            look_while_it_runs(visit, where, search, said)


def look_while_it_runs(visit, where, search, said):
    """Choose a trial, zoom, and see all that comes until the search has ended."""
    # A run on a server counts as live from its next trial on, which may take a while.
    visit.until("/^live, [1-9]/.test(document.querySelector('#live').innerText)", TRAINING)
    visit.drawn(FIGURE)
    # Before the first error there is nothing to zoom into, and the axes begin anew with it.
    front = f"{GRAPH}.data.find(t => t.uid === 'front')"
    visit.until(f"{front}.customdata.length", TRAINING)
    number = visit.page.evaluate(f"{front}.customdata[0]")
    visit.click_trial(FIGURE, number)
    zoom(visit)
    before = visit.page.evaluate(f"{GRAPH}._fullLayout.xaxis.range")
    shown = visit.page.locator("#live").inner_text()
    visit.page.evaluate("window.isSamePage = true")
    visit.until(f"document.querySelector('#live').innerText !== '{shown}'", TRAINING)
    assert search.wait(300) == 0, said.read_text()[-2000:]
    # The search asks for so many trained; those that it took from before are rows, too.
    trials = open_run(*where).trials
    last = trials.loc[trials["state"] == "complete", "number"].max()
    words = f"/^(live, )?{len(trials)} trials$/"
    visit.until(f"{words}.test(document.querySelector('#live').innerText)")
    visit.until(f"{GRAPH}.data.flatMap(t => t.customdata || []).includes({last})")
    # Nothing that the reader set was lost, and nothing was loaded anew.
    assert visit.page.evaluate("window.isSamePage")
    assert visit.page.evaluate(f"{GRAPH}._fullLayout.xaxis.range") == before
    assert f"trial={number}" in visit.page.url
    visit.assert_quiet()


def wait_for_run(where, search, said):
    """The run as soon as it is there and has a trial."""
    for _ in range(1200):
        assert search.poll() is None, said.read_text()[-2000:]
        try:
            run = open_run(*where)
            if len(run.trials):
                return run
        except (OSError, ValueError):
            pass
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError("the search wrote no trial")


def zoom(visit):
    """Zoom into the middle of the figure with the mouse."""
    box = visit.page.locator(f"{FIGURE} .nsewdrag").first.bounding_box()
    x, y = box["x"], box["y"]
    before = visit.page.evaluate(f"String({GRAPH}._fullLayout.xaxis.range)")
    visit.page.mouse.move(x + 0.04 * box["width"], y + 0.2 * box["height"])
    visit.page.mouse.down()
    visit.page.mouse.move(x + 0.9 * box["width"], y + 0.95 * box["height"], steps=6)
    visit.page.mouse.up()
    visit.until(f"String({GRAPH}._fullLayout.xaxis.range) !== '{before}'")


def test_a_new_trial_keeps_zoom_legend_and_budget(browser, tmp_path):
    run = make_run(tmp_path, "first", trials=20)
    with Served([run]) as served, Visit(browser, served, "/front?trial=3&budget=90000000") as visit:
        visit.drawn(FIGURE)
        zoom(visit)
        visit.page.locator(f"{FIGURE} .legendtoggle").first.click()
        hidden = f"{GRAPH}._fullData.filter(t => t.visible === 'legendonly').map(t => t.uid)"
        visit.until(f"{hidden}.length === 1")
        before = visit.page.evaluate(f"[{GRAPH}._fullLayout.xaxis.range, {hidden}]")
        add_trial(run)
        visit.until(f"{GRAPH}.data.some(t => t.uid === 'running')")
        assert visit.page.evaluate(f"[{GRAPH}._fullLayout.xaxis.range, {hidden}]") == before
        assert visit.page.evaluate(f"{GRAPH}.layout.shapes[0].x0") == 90_000_000
        assert visit.page.locator(f"{FIGURE} .chosen-mark[data-trial='3'] rect").is_visible()
        visit.until("document.querySelector('#live').innerText === 'live, 21 trials'")
        visit.assert_quiet()


def test_a_run_that_vanishes_is_said_and_comes_back(browser, tmp_path):
    run = make_run(tmp_path, "first", trials=8)
    with Served([run]) as served, Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        shutil.move(run.path, tmp_path / "away")
        visit.page.get_by_text("cannot be read just now").wait_for()
        assert visit.page.evaluate(f"{GRAPH}.data.length") > 1, "the last frames stay"
        visit.click_trial(FIGURE, 0)
        shutil.move(tmp_path / "away", run.path)
        visit.until("document.querySelector('#notice').innerText === ''")
        add_trial(run)
        visit.until(f"{GRAPH}.data.some(t => t.uid === 'running')")
        assert visit.page.locator("#live").inner_text() == "live, 9 trials"
        visit.assert_quiet()


def test_a_locked_database_is_said_and_waited_for(browser, tmp_path):
    run = make_run(tmp_path, "first", trials=8)
    with Served([run]) as served, Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        add_trial(run)
        connection = sqlite3.connect(run.path / "study.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        add_nothing = connection.execute("SELECT COUNT(*) FROM trials").fetchone()
        assert add_nothing == (9,)
        (run.path / "study.db").touch()
        visit.page.get_by_text("database is locked").wait_for(timeout=60_000)
        visit.click_trial(FIGURE, 0)
        connection.execute("ROLLBACK")
        connection.close()
        visit.until("document.querySelector('#notice').innerText === ''")
        visit.until(f"{GRAPH}.data.some(t => t.uid === 'running')")
        legend = visit.page.locator(f"{FIGURE} .legendtext")
        assert "running (1)" in legend.all_text_contents()
        visit.assert_quiet()


def test_a_server_that_ends_is_said(browser, tmp_path):
    run = make_run(tmp_path, "first", trials=8)
    with Served([run]) as served, Visit(browser, served) as visit:
        visit.drawn(FIGURE)
        visit.page.route("**/status*", lambda route: route.abort())
        visit.page.get_by_text("The server does not answer").wait_for()
        assert visit.page.locator("#live").inner_text() == "no connection"
        assert visit.page.locator("#notice").is_visible()
        visit.page.unroute("**/status*")
        visit.until("document.querySelector('#notice').innerText === ''")
        assert visit.page.locator("#notice").is_hidden()
        assert visit.page.locator("#live").inner_text() == "8 trials"


def poison(run):
    """Put hostile words wherever the study keeps words, as another writer of it could."""
    connection = sqlite3.connect(run.path / "study.db")

    def change(table, key, edit):
        query = f"SELECT rowid, value_json FROM {table} WHERE key = ?"
        for row, text in connection.execute(query, (key,)).fetchall():
            value = json.loads(text)
            edit(value)
            connection.execute(
                f"UPDATE {table} SET value_json = ? WHERE rowid = ?", (json.dumps(value), row)
            )

    def of_settings(value):
        space = json.loads(value["space"])
        space["description"] = HOSTILE
        value["space"] = json.dumps(space)
        value["versions"] = {HOSTILE: HOSTILE}

    change("study_user_attributes", "settings", of_settings)
    change("study_user_attributes", "ended", lambda value: value.update(message=HOSTILE))
    change(
        "study_user_attributes",
        "rejections",
        lambda value: value.update(counts={HOSTILE: 3}, last=[{"number": 1, "reason": HOSTILE}]),
    )
    change("trial_user_attributes", "proposal", lambda value: value.update(origin=HOSTILE))
    for table, column in (
        ("study_user_attributes", "study_id"),
        ("trial_user_attributes", "trial_id"),
    ):
        connection.execute(
            f"INSERT INTO {table} ({column}, key, value_json) VALUES (1, ?, ?)",
            (HOSTILE, json.dumps(HOSTILE)),
        )
    connection.commit()
    connection.close()


def make_hostile_run(results):
    def outcome(number, error, curve):
        if number % 2:
            return Outcome("failed", reason=HOSTILE)
        return Outcome("complete", error, epochs=8, train_seconds=20.0)

    name = HOSTILE.replace("/", "")
    run = make_run(
        results, name, trials=20, outcome=outcome, sampler=HOSTILE, device=HOSTILE
    )  # fmt: skip
    poison(run)
    return open_run(run.path)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/front?trial=1", "#front-chosen"),
        ("/architecture?trial=1", "#view"),
        ("/progress", "#progress-rejections"),
        ("/choices", "#choices-importance-note"),
        ("/compare", "#compare-indicators"),
        ("/trials?columns=reason,origin", "#trials-grid"),
        (f"/front?trial={HOSTILE}&x={HOSTILE}&run={HOSTILE}#{HOSTILE}", "#front-chosen"),
    ],
)
def test_nothing_hostile_runs(browser, tmp_path, address, shown):
    runs = [make_hostile_run(tmp_path), make_run(tmp_path, "other", trials=8, seed=1)]
    with Served(runs) as served, Visit(browser, served, address) as visit:
        visit.until(f"document.querySelector('{shown}').innerText.length > 3")
        if address.startswith(("/progress", "/compare", "/trials", "/architecture")):
            # Shown as the words that they are.
            visit.until(f"document.querySelector('{shown}').innerText.includes('onerror')")
        if address.startswith("/front"):
            visit.drawn(FIGURE)
            visit.page.mouse.move(*visit.place(FIGURE, 1))
            visit.page.wait_for_timeout(300)
        visit.page.locator("#run").click()
        visit.page.wait_for_timeout(300)
        assert visit.page.evaluate("window.hacked") is None
        assert visit.page.locator("img[src=x]").count() == 0
        visit.complaints = [one for one in visit.complaints if "GPU stall" not in one]
        visit.assert_quiet()


@pytest.mark.slow
def test_the_page_exports_into_the_runs_directory(browser, tmp_path):
    run = make_run(tmp_path, "first", trials=6)
    before = set(tmp_path.rglob("*"))
    with Served([run]) as served, Visit(browser, served, "/architecture?trial=3") as visit:
        visit.page.set_default_timeout(300_000)
        visit.page.get_by_text("It is written into the run's own directory").wait_for()
        shown = visit.page.locator(".command code").first.inner_text()
        visit.page.get_by_role("button", name="Export now").click()
        visit.page.get_by_text("Exporting for").wait_for()
        assert visit.page.get_by_role("button", name="Export now").is_disabled()
        visit.page.get_by_text("largest difference").wait_for()
        out = run.path / "exports" / "trial3"
        assert f"--out {out}" in shown
        listed = visit.page.locator(".export li").all_inner_texts()
        assert sorted(listed) == sorted(
            str(path) for path in out.iterdir() if path.name not in ("export.json", "MODEL_CARD.md")
        )
        assert all(
            path.is_relative_to(run.path / "exports") for path in set(tmp_path.rglob("*")) - before
        )
        assert visit.page.get_by_role("button", name="Export now").is_enabled()
        visit.assert_quiet()


def test_a_command_is_copied(browser, tmp_path):
    run = make_run(tmp_path, "first", trials=3)
    with Served([run]) as served, Visit(browser, served, "/architecture?trial=0") as visit:
        visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button = visit.page.locator(".copy").first
        button.click()
        visit.page.get_by_text("Copied", exact=True).wait_for()
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == visit.page.locator(".command code").first.inner_text()
        assert re.match(r"nas export .*first --pick trial:0 --out .*/first/exports/trial0", copied)
        visit.assert_quiet()
