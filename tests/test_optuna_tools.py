"""Optuna's own tools open our study: its plots, and its dashboard as a real server on a port."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import optuna
import pytest
from synthetic_runs import make_run

from nas.analysis.tables import front_table

START_SECONDS = 240
"""Until the dashboard answers; a busy machine needs more than the usual three."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=20)


def test_optuna_plots_our_front(run):
    study = optuna.load_study(study_name="first", storage=run.url)
    assert len(study.trials) == 20
    front = set(front_table(run.trials, run.settings.objectives)["number"])
    assert {trial.number for trial in study.best_trials} == front
    figure = optuna.visualization.plot_pareto_front(study, target_names=run.settings.objectives)
    complete = run.trials[run.trials["state"] == "complete"]
    drawn = sorted(float(x) for trace in figure.data for x in trace.x if x is not None)
    assert drawn == pytest.approx(sorted(complete["error"]))
    best = optuna.visualization.plot_pareto_front(
        study, target_names=run.settings.objectives, include_dominated_trials=False
    )
    texts = [text for trace in best.data for text in trace.text or ()]
    assert {json.loads(text.replace("<br>", "\n"))["number"] for text in texts} == front


def test_optuna_plots_our_history(run):
    study = optuna.load_study(study_name="first", storage=run.url)
    history = optuna.visualization.plot_optimization_history(
        study, target=lambda trial: trial.values[0], target_name="error"
    )
    assert len(history.data[0].y) == (run.trials["state"] == "complete").sum()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def dashboard(run):
    """The address of optuna-dashboard over the run's storage."""
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    port = free_port()
    start = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    server = subprocess.Popen(
        [sys.executable, "-c", start, run.url, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(address):
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                pytest.fail(f"optuna-dashboard did not start: {server.communicate()[0]}")
            time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.communicate()


def answers(address):
    try:
        return fetch(f"{address}/api/studies") is not None
    except (urllib.error.URLError, OSError):
        return False


def fetch(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_optuna_dashboard_opens_our_storage(dashboard, run):
    studies = fetch(f"{dashboard}/api/studies")["study_summaries"]
    assert [study["study_name"] for study in studies] == ["first"]
    detail = fetch(f"{dashboard}/api/studies/{studies[0]['study_id']}?after=0")
    assert len(detail["trials"]) == 20
    assert detail["directions"] == ["minimize", "minimize"]
    states = [trial["state"].lower().replace("fail", "failed") for trial in detail["trials"]]
    assert states == run.trials["state"].tolist()
    errors = {
        trial["number"]: trial["values"][0] for trial in detail["trials"] if "values" in trial
    }
    complete = run.trials[run.trials["state"] == "complete"]
    expected = dict(zip(complete["number"], complete["error"], strict=True))
    assert {n: float(errors[n]) for n in expected} == pytest.approx(expected)
    front = set(front_table(run.trials, run.settings.objectives)["number"])
    best = {trial if isinstance(trial, int) else trial["number"] for trial in detail["best_trials"]}
    assert best == front or best == {
        t["trial_id"] for t in detail["trials"] if t["number"] in front
    }
