"""``nas train`` from the command line: recipe files, what is refused in one line, the card."""

from __future__ import annotations

import builtins
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from command_line import make_images, make_run, nas
from small_training import small_architecture

from nas.cli.train import _ProgressLine
from nas.training.full import TrainingReport
from nas.training.model_card import model_card, write_model_card
from nas.training.result_files import TRAINING
from nas.training.telling import Progress


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images of three classes and a network's description."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    make_images(work / "images", classes=3)
    (work / "small.json").write_text(small_architecture().to_json())
    (work / "mine.yaml").write_text("base: cifar\nbatch_size: 16\nema_decay: 0.9\n")
    return work


WORDS = ("train", "small.json", "--data", "folder:images", "--device", "cpu", "--threads", 1)


def test_a_recipe_file_is_used_and_all_is_written(place: Path) -> None:
    result = nas(
        *(*WORDS, "--recipe", "mine.yaml", "--epochs", 2, "--validation", 18),
        *("--tensorboard", "--out", "out", "--json"),
    )
    assert result.code == 0, result.err
    content = json.loads((place / "out" / TRAINING).read_text())
    assert content["recipe"]["name"] == "mine"
    assert content["recipe"]["batch_size"] == 16
    assert (content["num_train"], content["num_validation"]) == (54, 18)
    assert content["origin"] == {"file": "small"}
    assert result.data["accuracy"] == content["accuracy"]
    assert result.data["files"] == "out"
    assert {path.name for path in (place / "out").iterdir()} == {
        "MODEL_CARD.md",
        "architecture.json",
        "last.safetensors",
        "tensorboard",
        TRAINING,
        "weights.safetensors",
    }
    assert "epoch 2/2" in result.err


def test_resuming_what_was_never_begun_is_said(place: Path) -> None:
    words = (*WORDS, "--epochs", 1, "--out", "out", "--resume")
    first = nas(*words)
    assert first.code == 0, first.err
    assert "note: out holds no training to go on with: this one begins anew\n" in first.err
    again = nas(*words)
    assert again.code == 0, again.err
    assert "note: " not in again.err
    assert again.out == first.out
    assert "trained " in first.out
    assert "1 epoch of 72 images" in first.out


def test_after_an_interrupt_it_says_how_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in = 1

    def show(_line: _ProgressLine, progress: Progress) -> None:
        if progress.epoch == stop_in:
            raise KeyboardInterrupt

    words = (*WORDS, "--epochs", 2, "--out", "out")
    with monkeypatch.context() as patched:
        patched.setattr(_ProgressLine, "show", show)
        result = nas(*words)
        assert (result.code, result.err) == (130, "stopped\n")  # nothing is kept yet
        assert not (place / "out").exists()
        stop_in = 2
        result = nas(*words)
    assert result.code == 130
    assert result.err == "out keeps the last whole epoch; --resume goes on from there\nstopped\n"
    assert nas(*words, "--resume").code == 0


def test_long_epochs_tell_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with _ProgressLine("net", every=0.0) as line:
        line.show(Progress(1, 3, 5, 100, None, 100.0, 60.0))
        line.show(Progress(1, 3, 100, 100, 2.5, 100.0, 30.0))
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "net: epoch 1/3, step 5 of 100, 100 images/s, about 1m 00s left"
    assert told[1] == "net: epoch 1/3, loss 2.5000, 100 images/s, about 30s left"
    with _ProgressLine("net", every=1e6) as line:
        line.show(Progress(1, 3, 5, 100, None, 100.0, 60.0))
        line.show(Progress(3, 3, 100, 100, 2.5, 100.0, 0.0))
    # Nothing within an epoch before its time, nothing of what is left after the last.
    assert capsys.readouterr().err == "net: epoch 3/3, loss 2.5000, 100 images/s\n"


def test_the_card_says_what_was_recorded(place: Path) -> None:
    assert nas(*WORDS, "--epochs", 2, "--validation", 18, "--out", "out").code == 0
    card = (place / "out" / "MODEL_CARD.md").read_text()
    content = json.loads((place / "out" / TRAINING).read_text())
    low, high = (f"{100 * limit:.2f}" for limit in content["accuracy_interval"])
    for part in (
        f"{100 * content['accuracy']:.2f} %",
        f"{low} to {high} %",
        "36 test images, once, after training",
        "54 images",
        "18 images carved from the training split",
        f"epoch {content['best_epoch']}, the best of 2",
        f"{content['macs']:,}",
        "`folder:images`",
        content["fingerprint"],
        "class0, class1, class2",
        f"torch {content['versions']['torch']}",
        '| schedule | `{"kind": "triangle", "warmup": 0.1}` |',
    ):
        assert part in card, part
    assert write_model_card(place / "out").read_text() == card


def test_a_card_of_what_says_less_is_written_all_the_same() -> None:
    names = TrainingReport.__dataclass_fields__
    content: dict[str, Any] = dict.fromkeys(names, 1)
    content |= {"image": [1, 2, 3], "class_names": ["a|b", "c"], "mean": [0.5], "std": [0.25]}
    content |= {"accuracy": 0.5, "num_measured": 10, "data": "hf:a/b", "recipe": {}}
    content |= {"measured_on": "validation", "versions": {"torch": "2"}}
    for name in ("accuracy_interval", "weights", "best_epoch", "is_averaged", "num_validation"):
        del content[name]
    for name in ("processes", "origin", "validation_losses", "validation_accuracies"):
        del content[name]
    card = model_card(content)
    # Wilson's interval of 5 of 10.
    assert "23.66 to 76.34 %" in card
    assert 'datasets: ["a/b"]' in card
    assert "a\\|b, c" in card
    assert "those that won are flattered by it" in card
    del content["macs"]
    with pytest.raises(ValueError, match=r"training\.json: holds no macs"):
        model_card(content)


def test_the_provenance_of_a_runs_network(place: Path) -> None:
    run = make_run(place / "results", trials=3)
    result = nas(
        *("train", "first", "--pick", "trial:1", "--epochs", 1, "--device", "cpu"),
        *("--data", "folder:images", "--threads", 1, "--out", "out"),
    )
    assert result.code == 0, result.err
    content = json.loads((place / "out" / TRAINING).read_text())
    assert content["origin"] == {"run": run.name, "trial": 1, "pick": "trial:1"}
    card = (place / "out" / "MODEL_CARD.md").read_text()
    assert "| Run | first |" in card
    assert "| Trial | 1 |" in card
    # The run counted its costs for ten classes: three of them have names.
    assert (content["classes"], len(content["class_names"])) == (10, 3)


REFUSED = {
    "an unknown key": ("batch_sise: 3", ["recipe.yaml: batch_sise: is not a setting", "3"]),
    "a wrong value": ("cutout: 1.5", ["recipe.yaml: cutout: ", "less than 1", "1.5"]),
    "no YAML": ("a: [", ["recipe.yaml, line 1"]),
    "another base": ("base: cifr", ["recipe.yaml: base: must be one of", "'cifar'"]),
    "a batch of one": ("batch_size: 1", ["recipe.yaml: batch_size: ", "2", "not 1"]),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_wrong_recipe_file_is_one_line_and_nothing_is_written(fault: str, place: Path) -> None:
    text, phrases = REFUSED[fault]
    (place / "recipe.yaml").write_text(text)
    refused(place, "--recipe", "recipe.yaml", "--out", "out", phrases=phrases)


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        (("--recipe", "none.yaml"), ["none.yaml: no such file"]),
        (("--recipe", "fast"), ["--recipe", "Known: cifar, default, paper", "'fast'"]),
        (("--classes", "2"), ["folder:images has 3 classes, and the classifier would have 2"]),
        (("--resolution", "1"), ["does not fit a map of 1x1 pixels"]),
        (("--validation", "72"), ["from 1 to 71 of the 72 training images, not 72"]),
        (("--validation", "0"), ["--validation", "'0'"]),
        (
            ("--threads", "many"),
            ["--threads must be auto or an integer from 1 to 1,024, not 'many'"],
        ),
        (("--threads", "0"), ["--threads", "'0'"]),
        (("--out", "small.json"), ["small.json: file exists"]),
        (("--out", "small.json/out"), ["small.json/out: not a directory"]),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    words: tuple[str, ...], phrases: list[str], place: Path
) -> None:
    refused(place, *words, phrases=phrases)


def refused(place: Path, *words: str, phrases: list[str]) -> None:
    before = sorted(place.rglob("*"))
    result = nas(*WORDS, *words)
    assert result.code == 2, (result.out, result.err)
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    for phrase in phrases:
        assert phrase in result.err
    assert sorted(place.rglob("*")) == before


def test_a_full_disk_is_one_line_and_leaves_no_part(place: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs Linux's device that is full")
    (place / "out").mkdir()
    # The first file that the end writes; checkpoints before it find room.
    (place / "out" / ".architecture.json.partial").symlink_to("/dev/full")
    result = nas(*WORDS, "--epochs", 1, "--out", "out")
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last == "error: out/architecture.json: no space left on device"
    assert [path.name for path in (place / "out").iterdir()] == ["checkpoint.pt"]
    assert nas(*WORDS, "--epochs", 1, "--out", "out", "--resume").code == 0


def test_without_tensorboard_the_line_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return plain(name, *rest, **options)

    # Stands in for a machine where it is not installed.
    monkeypatch.setattr(builtins, "__import__", without)
    refused(place, "--tensorboard", phrases=["pip install 'inception-nas[tensorboard]'"])


DOCS = Path(__file__).parents[1] / "docs" / "training.md"


def test_the_commands_and_the_recipe_of_the_docs_run(place: Path) -> None:
    make_run(place / "results", trials=3)
    text = DOCS.read_text()
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (place / "docs.yaml").write_text(recipe)
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ nas train ")]
    assert len(lines) == 2
    smaller = ["--data", "folder:images", "--epochs", 1, "--threads", 1, "--device", "cpu"]
    smaller += ["--recipe", "docs.yaml"]
    for line, more in zip(lines, ([], ["--validation", 18]), strict=True):
        result = nas(*shlex.split(line)[1:], *smaller, *more)
        assert result.code == 0, (line, result.err)
    assert (place / "results" / "trained" / "cifar_googlenet" / "tensorboard").is_dir()
