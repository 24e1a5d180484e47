"""What there is to export of a run: its proxy, with the weights its error was measured with."""

from __future__ import annotations

import pytest
from command_line import make_images

from nas.datasets import Statistics, describe_data
from nas.export.material import retrain_proxy
from nas.model import build
from nas.records import Run
from nas.search.launch import run_search
from nas.search.workers import load_training_data
from nas.task import Task, create_task
from nas.training.validation import validate


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search of one real trial by a recipe that averages the weights."""
    place = tmp_path_factory.mktemp("averaged")
    images = make_images(place / "bands", classes=3, images=40, side=12)
    settings = {
        "validation_images": 30,
        "proxy": {"epochs": 2},
        # So slow an average is far from the last weights after a few steps.
        "recipe": {"batch_size": 16, "ema_decay": 0.99},
    }
    task = create_task(describe_data(f"folder:{images}"), settings)
    return run_search("tiny", task, name="run", results=place, trials=1, workers=1, device="cpu")


def test_a_proxys_weights_are_those_that_were_measured(averaged: Run) -> None:
    material = retrain_proxy(averaged, 0)
    found = material.details["proxy"]
    assert found["error"] == found["recorded_error"]
    network = build(material.architecture, material.image, material.classes)
    assert isinstance(material.weights, dict)
    network.load_state_dict(material.weights)
    known = material.preprocessing
    task = Task.from_json(averaged.settings.task)
    split = load_training_data(task, None).validation
    measured = validate(network, split, Statistics(known.mean, known.std), task.precision)
    curve = averaged.curves[averaged.curves["number"] == 0].sort_values("epoch")
    assert measured.error == found["error"]
    assert measured.loss == pytest.approx(curve["validation_loss"].iloc[-1], rel=1e-6)
