"""The one thing that the page can do: an export, into the run's own directory, and nowhere else."""

import time
from pathlib import Path

import pytest
from synthetic_runs import make_run
from test_dashboard_security import ask

from nas.dashboard import create_app
from nas.dashboard.export_card import EXPORTER
from nas.dashboard.exporting import Exporter, export_line, export_words

OUTPUT = (
    "..architecture-export-status.children...architecture-export.disabled"
    "...architecture-export-tick.disabled.."
)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "results", "first", trials=4)


def press(client, search, csrf, **headers):
    inputs = [
        ("architecture-export", "n_clicks", 1),
        ("architecture-export-tick", "n_intervals", 0),
        ("address", "search", search),
    ]
    state = [
        ("address", "pathname", "/architecture"),
        ("theme", "data", "light"),
        ("csrf", "data", csrf),
    ]
    return ask(client, OUTPUT, inputs, state, **headers)


def wait_for(exporter, number, seconds=300):
    end = time.monotonic() + seconds
    while exporter.status("first", number).stage == "running":
        assert time.monotonic() < end
        time.sleep(0.1)
    return exporter.status("first", number)


@pytest.mark.slow
def test_an_export_lands_in_the_runs_directory_and_is_proved(run):
    before = set(run.path.parent.parent.rglob("*"))
    exporter = Exporter()
    exporter.start("first", run, 0)
    exporter.start("first", run, 0)  # pressed twice: one export
    assert exporter.status("first", 0).stage == "running"
    status = wait_for(exporter, 0)
    assert (status.stage, status.words) == ("done", "")
    out = run.path / "exports" / "trial0"
    assert Path(status.directory) == out
    assert {Path(path).parent for path in status.files.values()} == {out}
    assert status.difference is not None
    new = set(run.path.parent.parent.rglob("*")) - before
    assert all(path.is_relative_to(run.path / "exports") for path in new)


def test_the_command_that_is_shown_is_the_one_that_runs(run):
    words = export_words(run, 2)
    assert export_line(run, 2).split() == ["nas", *words]
    assert words[:4] == ["export", str(run.path), "--pick", "trial:2"]


def test_a_trained_trial_is_exported_with_its_weights(run):
    folder = run.path / "trial2"
    folder.mkdir()
    (folder / "training.json").write_text("{}")
    assert export_words(run, 2)[:4] == ["export", str(folder), "--out", str(folder / "export")]


def test_a_failure_is_said_in_its_own_words(run):
    (run.path / "trial1").mkdir()
    (run.path / "trial1" / "training.json").write_text("{}")
    exporter = Exporter()
    exporter.start("first", run, 1)
    status = wait_for(exporter, 1)
    assert status.stage == "failed"
    assert "trial1" in status.words


def test_only_trials_of_the_run_are_exported(run):
    with pytest.raises(ValueError, match="has no trial 99"):
        Exporter().start("first", run, 99)


def test_a_link_that_leads_out_of_the_run_is_refused(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run.path / "exports").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="leads out of the run's directory"):
        Exporter().start("first", run, 0)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_password_is_neither_shown_nor_on_the_command_line(run, monkeypatch):
    started = {}

    class Process:
        returncode = 0

        def __init__(self, words, env, **_):
            started.update(words=words, env=env)

        def communicate(self, timeout=None):
            return '{"directory": "x", "files": {}}', ""

    monkeypatch.setattr("nas.dashboard.exporting.subprocess.Popen", Process)
    run.url = "postgresql+psycopg://me:secret@host/nas"
    assert "secret" not in export_line(run, 0)
    exporter = Exporter()
    exporter.start("first", run, 0)
    wait_for(exporter, 0)
    assert "secret" not in " ".join(started["words"])
    assert "postgresql+psycopg://me@host/nas#first" in started["words"]
    assert started["env"]["PGPASSWORD"] == "secret"
    run.url = "mysql://me:secret@host/nas"
    with pytest.raises(ValueError, match="copy the command"):
        exporter.start("first", run, 1)


class Recorded(Exporter):
    def __init__(self):
        super().__init__()
        self.started = []

    def start(self, name, run, number):
        self.started.append((name, number))


@pytest.fixture
def served(run, monkeypatch):
    monkeypatch.setattr("nas.dashboard.export_card.Exporter", Recorded)
    app = create_app([run])
    return app.server.test_client(), app.server.config


def test_the_page_starts_an_export_of_the_trial_it_shows(served):
    client, config = served
    assert press(client, "?run=first&trial=3", config["NAS_CSRF"]).status_code == 200
    assert config[EXPORTER].started == [("first", 3)]


@pytest.mark.parametrize(
    "token", [None, "", "guess", 7, ["x"], "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_without_the_pages_own_token_nothing_starts(served, token):
    client, config = served
    answer = press(client, "?run=first&trial=3", token)
    assert "load it again" in answer.text
    assert config[EXPORTER].started == []


def test_another_site_cannot_start_one(served):
    client, config = served
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = press(client, "?run=first&trial=3", config["NAS_CSRF"], **headers)
        assert answer.status_code == 403
    body = '{"output": "x"}'
    form = client.post("/_dash-update-component", data=body, base_url="http://127.0.0.1")
    assert form.status_code == 415, "a form of another site cannot send JSON"
    assert config[EXPORTER].started == []


@pytest.mark.parametrize(
    "search", ["?run=../../x&trial=../../y", "?trial=99", "?trial=-1", None, 3]
)
def test_what_does_not_exist_starts_what_the_page_shows_instead(served, search):
    client, config = served
    assert press(client, search, config["NAS_CSRF"]).status_code == 200
    (started,) = config[EXPORTER].started
    assert started[0] == "first"
    assert started[1] in range(4)
