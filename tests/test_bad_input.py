"""Bad input at the command line: exit code 2, exactly one line on stderr, nothing written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import make_images, make_run, nas

from nas.presets import load_preset
from nas.space.search_space import SHIPPED

Prepare = Callable[[Path], None]
TINY = (SHIPPED / "tiny.yaml").read_text()
SEARCH = "search tiny --data fashion-mnist-mini --name new"


def files_under(path: Path) -> dict[str, bytes]:
    return {
        str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()
    } | {str(item.relative_to(path)): b"" for item in path.rglob("*") if item.is_dir()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a cache of its own."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def refused(place: Path, command: str, *phrases: str) -> None:
    """The command is refused with one line that has all the phrases; nothing is written."""
    before = files_under(place)
    result = nas(*shlex.split(command))
    assert result.code == 2, (result.out, result.err)
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    assert result.err.endswith("\n")
    for phrase in phrases:
        assert phrase in result.err
    assert "Traceback" not in result.err
    assert files_under(place) == before


# ------------------------------------------------------------------------------- a space's file


def changed_space(**changes: object) -> str:
    data = yaml.safe_load(TINY)
    data.update(changes)
    return yaml.safe_dump(data)


SPACES = {
    "unknown key": (changed_space(stagess={"count": 1}), ["stagess"]),
    "wrong type": (changed_space(stages={"count": "two"}), ["stages.count", "two"]),
    "empty list": (changed_space(stages={"count": []}), ["stages.count", "empty"]),
    "low over high": (
        changed_space(stages={"count": 1, "cells": {"low": 3, "high": 2}}),
        ["cells", "low", "3", "2"],
    ),
    "a step that does not divide": (
        changed_space(stages={"count": 1, "cells": {"low": 1, "high": 4, "step": 2}}),
        ["cells", "step", "2"],
    ),
    "a Python object": (
        "format: 1\nname: !!python/object/apply:os.system ['touch built']\n",
        ["python/object"],
    ),
    "no YAML": ("stages: [1, 2", ["space.yaml"]),
    "no mapping": ("- 1\n- 2\n", ["space.yaml"]),
    "empty": ("", ["space.yaml"]),
    "a newer format": (changed_space(format=99), ["format", "99"]),
    "a budget that is none": (changed_space(budgets={"macs": "many"}), ["budgets", "many"]),
    "an unknown budget": (changed_space(budgets={"flops": "3M"}), ["flops"]),
}


@pytest.mark.parametrize("fault", SPACES)
@pytest.mark.parametrize("command", ["spaces", "search"])
def test_wrong_space_file(fault: str, command: str, place: Path) -> None:
    text, phrases = SPACES[fault]
    (place / "space.yaml").write_text(text)
    words = {"spaces": "", "search": "--data fashion-mnist-mini --name new"}[command]
    refused(place, f"{command} ./space.yaml {words}", "space.yaml", *phrases)


# --------------------------------------------------------------------------------- a task's file

TASKS = {
    "unknown key": ("proxy: {widht: 0.5}", ["widht"]),
    "wrong type": ("proxy: {epochs: four}", ["proxy.epochs", "four"]),
    "too wide": ("proxy: {width: 3}", ["proxy.width", "3"]),
    "a Python object": ("proxy: !!python/object/apply:os.getcwd []", ["task.yaml"]),
    "unknown recipe": ("recipe: papper", ["papper", "'paper'"]),
    "other data": ("data: fashion-mnist", ["fashion-mnist-mini"]),
    "a list within itself": ("a: &a [*a]", ["task.yaml: ", "Circular"]),
    "no YAML": ("proxy:\n  width: [1, 2", ["error: task.yaml, line 2: "]),
    "no date": ("data: 2020-13-45", ["task.yaml: is not plain YAML"]),
    "too few classes": ("target: {classes: 3}", ["target.classes", "10", "3"]),
}


@pytest.mark.parametrize("fault", TASKS)
def test_wrong_task_file(fault: str, place: Path) -> None:
    text, phrases = TASKS[fault]
    (place / "task.yaml").write_text(text)
    refused(place, f"{SEARCH} --task task.yaml", *phrases)


# --------------------------------------------------------------------------------------- a search

SEARCHES = {
    "no such space": ("search tinny --data fashion-mnist-mini --name n", ["'tinny'", "'tiny'"]),
    "no such space file": ("search ./no.yaml --data fashion-mnist-mini --name n", ["no.yaml"]),
    "no such data": ("search tiny --data fashion-mist --name n", ["'fashion-mnist'"]),
    "no such task file": (f"{SEARCH} --task no.yaml", ["no.yaml"]),
    "no such sampler": (f"{SEARCH} --sampler nsga4", ["'nsga4'", "did you mean"]),
    "no such objective": (f"{SEARCH} --objectives error,mac", ["'mac'", "'macs'"]),
    "no error among the objectives": (f"{SEARCH} --objectives macs", ["error", "macs"]),
    "an objective twice": (f"{SEARCH} --objectives error,macs,macs", ["each once"]),
    "no such precision": (f"{SEARCH} --precision float", ["'float'", "'float32'"]),
    "no such recipe": (f"{SEARCH} --recipe papper", ["'papper'", "'paper'"]),
    "no such device": (f"{SEARCH} --device tpu", ["'tpu'", "cuda"]),
    "a preset to seed with that is none": (f"{SEARCH} --seed-with googlnet", ["'googlenet'"]),
    "a preset that is not in the space": (f"{SEARCH} --seed-with googlenet", ["tiny"]),
    "a name that leads elsewhere": (f"{SEARCH} --name ../../x", ["'../../x'"]),
    "an absolute name": (f"{SEARCH} --name /tmp/x", ["'/tmp/x'"]),
    "a very long name": (f"search tiny --data fashion-mnist-mini --name {'x' * 300}", ["xxx..."]),
    "an empty name": (f"{SEARCH} --name ''", ["''"]),
    "fewer than no trials": (f"{SEARCH} --trials -3", ["--trials", "'-3'"]),
    "no trials": (f"{SEARCH} --trials 0", ["--trials", "'0'"]),
    "trials that are no number": (f"{SEARCH} --trials many", ["--trials", "'many'"]),
    "no time": (f"{SEARCH} --time 0", ["--time", "'0'"]),
    "a time that is none": (f"{SEARCH} --time soon", ["--time", "'soon'"]),
    "no time for a trial": (f"{SEARCH} --trial-time 0", ["--trial-time", "'0'"]),
    "a time for a trial that is none": (f"{SEARCH} --trial-time soon", ["--trial-time", "'soon'"]),
    "a wait that is none": (f"{SEARCH} --storage-wait soon", ["--storage-wait", "'soon'"]),
    "no workers": (f"{SEARCH} --workers 0", ["--workers", "'0'"]),
    "a size that is none": (f"{SEARCH} --max-macs lots", ["--max-macs", "'lots'"]),
    "a size below one": (f"{SEARCH} --max-params -2M", ["--max-params", "'-2M'"]),
    "a budget that nothing meets": (f"{SEARCH} --max-macs 1K", ["1K", "macs", "smallest found"]),
    "an image that is none": (f"{SEARCH} --image big", ["--image", "'big'"]),
    "an image that nothing fits": (
        "search googlenet --data fashion-mnist-mini --name n --image 1x4x4",
        ["googlenet", "fit"],
    ),
    "fewer classes than the data": (f"{SEARCH} --classes 3", ["target.classes", "10", "3"]),
    "one class": (f"{SEARCH} --classes 1", ["--classes", "'1'"]),
    "a width that is none": (f"{SEARCH} --width wide", ["--width", "'wide'"]),
    "a width over one": (
        f"{SEARCH} --width 2",
        ["'--width': must be over 0 and at most 1, not '2'"],
    ),
    "a width that is no number": (f"{SEARCH} --width nan", ["'--width'", "at most 1, not 'nan'"]),
    "no width": (f"{SEARCH} --width 0", ["'--width'", "over 0"]),
    "too many epochs": (f"{SEARCH} --epochs 99999", ["'--epochs'", "1 to 10,000, not '99999'"]),
    "no images": (f"{SEARCH} --images 0", ["'--images'", "from 1, not '0'"]),
    "too large images": (f"{SEARCH} --resolution 2000", ["'--resolution'", "3 to 1,024"]),
    "too many trials": (f"{SEARCH} --trials 99999999", ["'--trials'", "1 to 10,000,000"]),
    "too many workers": (f"{SEARCH} --workers 5000", ["'--workers'", "1 to 1,024"]),
    "no concurrency": (f"{SEARCH} --concurrency 0", ["'--concurrency'", "1 to 1,024, not '0'"]),
    "concurrency on a processor": (
        f"{SEARCH} --device cpu --concurrency 3",
        ["concurrency 3", "each GPU", "--workers"],
    ),
    "a plan of concurrency on a processor": (
        f"{SEARCH} --device cpu --concurrency 3 --plan",
        ["concurrency 3", "each GPU", "--workers"],
    ),
    "a database that is none": (f"{SEARCH} --storage foo://bar", ["--storage", "'foo'"]),
    "a database without a driver": (
        f"{SEARCH} --storage oracle://u:secret@h/d",
        ["--storage", "oracle", "not installed"],
    ),
    "a database in no directory": (
        f"{SEARCH} --storage sqlite:///there/runs.db",
        ["--storage", "no directory there"],
    ),
    "a storage that is no URL": (f"{SEARCH} --storage here", ["'here'"]),
    "a run to resume that is none": (f"{SEARCH} --resume", ["'new'", "resume"]),
    "nothing to search": ("search --name new", ["SPACE", "--data"]),
    "an option that is none": (f"{SEARCH} --trails 3", ["--trails"]),
    "results that are a file": (f"{SEARCH} --results file", ["--results", "file is a file"]),
    "results below a file": (f"{SEARCH} --results file/below", ["--results", "file is a file"]),
    "a space that is a directory": (
        "search directory --data fashion-mnist-mini --name n",
        ["directory is a directory, not a space file"],
    ),
}


@pytest.mark.parametrize("fault", SEARCHES)
def test_wrong_search(fault: str, place: Path) -> None:
    (place / "file").write_text("a file")
    (place / "directory").mkdir()
    command, phrases = SEARCHES[fault]
    refused(place, command, *phrases)


def test_a_proxy_that_nothing_fits(place: Path) -> None:
    # Three pixels, then two, then none that may be the last: every network has three stages.
    space = yaml.safe_load((SHIPPED / "googlenet.yaml").read_text())
    space["stages"]["count"] = 3
    (place / "three.yaml").write_text(yaml.safe_dump(space))
    words = "--data fashion-mnist-mini --name n --image 1x224x224 --resolution 3"
    refused(place, f"search ./three.yaml {words}", "no network of space 'googlenet' fits the task")


def test_a_budget_says_the_smallest_cost_there_is(place: Path) -> None:
    refused(place, f"{SEARCH} --max-macs 1K", "51,984")


# ------------------------------------------------------------------------- a run that is there

RESUMES = {
    "a name that exists": (
        "search tiny --data fashion-mnist-mini --name first",
        ["'first'", "--resume"],
    ),
    "another space": ("search googlenet_small --name first --resume", ["another space"]),
    "another task": ("search --name first --resume --epochs 7", ["task.proxy.epochs", "2", "7"]),
    "other data": ("search --name first --resume --data fashion-mnist", ["task.data"]),
    "other objectives": (
        "search --name first --resume --objectives error,params",
        ["cannot go on with other objectives", "macs", "params"],
    ),
    "other budgets": (
        "search --name first --resume --max-macs 1M",
        ["cannot go on with other budgets: the run has no budgets.macs, and 1000000 is given now"],
    ),
    "another seed": ("search --name first --resume --seed 3", ["seed", "3"]),
    "a trial that is not there": ("show first --trial 99", ["99", "0 to 3"]),
    "a pick that is none": ("export first --pick kneee --out out", ["'kneee'", "'knee'"]),
    "a pick of no trial": ("train first --pick trial:99", ["99", "0 to 3"]),
    "a limit that nothing meets": ("export first --pick 'macs<=10' --out out", ["macs", "least"]),
    "a limit on nothing known": ("export first --pick 'flops<=10' --out out", ["'flops'"]),
    "an image for a run": ("export first --image 32 --out out", ["--image"]),
    "weights of two kinds": ("export first --proxy --weights w --out out", ["--proxy"]),
    "no proxy of a function": ("export first --proxy --out out", ["function"]),
    "a report that is a directory": ("report first --out results", ["results"]),
    "a report over another file": ("report first --out k.yaml", ["--out", ".html", "'k.yaml'"]),
    "an empty pick": ("export first --pick '' --out out", ["''", "cheapest"]),
    "an empty pick of a proxy": ("export first --proxy --pick '' --out out", ["''", "cheapest"]),
    "an empty pick to train": ("train first --pick ''", ["''", "cheapest"]),
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "results", trials=4).path


@pytest.mark.parametrize("fault", RESUMES)
def test_wrong_use_of_a_run(fault: str, place: Path, first: Path) -> None:
    shutil.copytree(first, place / "results" / "first")
    command, phrases = RESUMES[fault]
    refused(place, command, *phrases)


NO_RUNS = {
    "show": "show there",
    "report": "report there --out r.html",
    "export": "export there --pick knee --out out",
    "train": "train there --pick knee",
    "delete": "runs --delete there",
    "delete elsewhere": "runs --delete ../work",
    "a database that is not there": "show sqlite:///no.db",
    "no known database": "show foo://bar",
}


@pytest.mark.parametrize("what", NO_RUNS)
@pytest.mark.parametrize("kind", ["nothing", "a directory", "a file", "another database"])
def test_what_is_not_a_run(what: str, kind: str, place: Path) -> None:
    if kind == "a file":
        (place / "there").write_text("a file")
    elif kind != "nothing":
        (place / "there").mkdir()
    if kind == "another database":
        (place / "there" / "study.db").write_text("not a database")
    refused(place, NO_RUNS[what])


# --------------------------------------------------------------------------------- architectures


def architecture_data() -> dict[str, object]:
    data: dict[str, object] = json.loads(load_preset("cifar_googlenet").to_json())
    return data


def with_channels(channels: object) -> str:
    data = architecture_data()
    data["stem"][0]["channels"] = channels  # type: ignore[index]
    return json.dumps(data)


ARCHITECTURES = {
    "a newer format": (json.dumps({**architecture_data(), "format": 99}), ["99", "newer"]),
    "no format": (json.dumps({"stem": []}), ["format"]),
    "truncated": (json.dumps(architecture_data())[:200], ["complete JSON"]),
    "empty": ("", ["complete JSON"]),
    "no object": ("[1, 2]", ["object"]),
    "negative channels": (with_channels(-8), ["channels", "-8"]),
    "huge channels": (with_channels(10**9), ["channels", "1000000000"]),
    "channels that are text": (with_channels("many"), ["channels", "many"]),
    "an unknown key": (json.dumps({**architecture_data(), "stemm": []}), ["stemm"]),
    "no text": ("\xff\xfe\x00", ["mine.json"]),
}


@pytest.mark.parametrize("fault", ARCHITECTURES)
def test_wrong_architecture_file(fault: str, place: Path) -> None:
    text, phrases = ARCHITECTURES[fault]
    (place / "mine.json").write_bytes(text.encode("latin-1"))
    for command in (
        "cost mine.json --image 32",
        "export mine.json --image 32 --out out",
        "train mine.json --data fashion-mnist-mini --out out",
    ):
        refused(place, command, "mine.json", *phrases)


COMMANDS = {
    "no such preset": ("cost googlnet", ["'googlnet'", "'googlenet'"]),
    "no such preset to export": ("export googlnet --out out", ["'googlenet'"]),
    "no such preset to train": ("train googlnet --data fashion-mnist-mini", ["'googlenet'"]),
    "no such file": ("cost no.json --image 32", ["no.json"]),
    "a directory without an architecture": ("cost . --image 32", ["architecture.json"]),
    "an image too small": ("cost googlenet --image 8", ["does not fit", "stem"]),
    "an image that is none": ("cost googlenet --image 3x", ["--image", "'3x'"]),
    "no pixels": ("cost googlenet --image 0", ["--image", "'0'"]),
    "no classes": ("cost googlenet --classes 0", ["--classes", "'0'"]),
    "no data": ("train googlenet", ["--data"]),
    "no such data": ("train cifar_googlenet --data fashion-mist", ["'fashion-mnist'"]),
    "no such recipe": (
        "train cifar_googlenet --data fashion-mnist-mini --recipe fast",
        ["'fast'", "paper"],
    ),
    "images that the network does not fit": (
        "train googlenet --data fashion-mnist-mini --out out",
        ["fit"],
    ),
    "no such device": (
        "train cifar_googlenet --data fashion-mnist-mini --device tpu",
        ["'tpu'", "cuda"],
    ),
    "no epochs": ("train cifar_googlenet --data fashion-mnist-mini --epochs 0", ["--epochs"]),
    "no such format": ("export googlenet --format onxx --out out", ["'onxx'", "source"]),
    "no format": ("export googlenet --format '' --out out", ["format"]),
    "weights without any": ("export googlenet --format weights --out out", ["weights"]),
    "a proxy of a preset": (
        "export cifar_googlenet --proxy --out out",
        ["--proxy is for runs, and cifar_googlenet is a preset"],
    ),
    "a pick of a trained network": (
        "export trained --pick best --out out",
        ["--pick is for runs, and trained is a directory of nas train"],
    ),
    "nothing that can be trained": (
        "train nope --data fashion-mnist-mini",
        ["'nope' is not a run, an architecture's JSON file or a preset; there are googlenet"],
    ),
    "a directory that cannot be trained": (
        "train trained --data fashion-mnist-mini",
        ["architecture.json", "give a run, an architecture's JSON file or a preset"],
    ),
    "runs in a file": ("runs --results file", ["--results", "file is a file"]),
    "no such weights": ("export cifar_googlenet --weights no.safetensors --out out", ["no.safe"]),
    "weights that are none": ("export cifar_googlenet --weights file --out out", ["file"]),
    "a directory without weights": ("export cifar_googlenet --weights . --out out", ["training"]),
    "nowhere to export to": ("export googlenet", ["--out"]),
    "a target that is a file": ("export cifar_googlenet --out file", ["file"]),
    "a target below a file": ("export cifar_googlenet --out file/out", ["file"]),
    "a target with other files": ("export cifar_googlenet --out .", ["other files"]),
    "a preset without an own image": ("spaces --image 32", ["SPACE"]),
    "no such space": ("spaces googlenet_smal", ["'googlenet_small'"]),
    "no such command": ("serach", ["serach"]),
    "a report of nothing": ("report", ["RUN"]),
}


@pytest.mark.parametrize("fault", COMMANDS)
def test_wrong_command(fault: str, place: Path) -> None:
    (place / "file").write_text("a file")
    (place / "trained").mkdir()
    (place / "trained" / "training.json").write_text("{}")
    command, phrases = COMMANDS[fault]
    refused(place, command, *phrases)


# ------------------------------------------------------------------------------------------ images


def test_folder_with_one_class(place: Path) -> None:
    make_images(place / "images", classes=1)
    for command in ("search tiny --name n", "train cifar_googlenet"):
        refused(place, f"{command} --data folder:images", "images", "class0")


def test_folder_without_images(place: Path) -> None:
    (place / "images").mkdir()
    refused(place, "search tiny --name n --data folder:images", "images")


def test_folder_that_is_not_there(place: Path) -> None:
    refused(place, "search tiny --name n --data folder:images", "images")


def test_unreadable_images_are_named_and_counted(place: Path) -> None:
    make_images(place / "images")
    for index in (3, 5):
        (place / "images" / "train" / "class1" / f"{index}.png").write_bytes(b"no image")
    words = "--data folder:images --precision float32"
    refused(place, f"search tiny --name n {words}", "class1/3.png", "2")


# ------------------------------------------------------------------------------------------- disks


def in_a_mount(place: Path, options: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with ``disk`` mounted by these options, for it alone."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting a disk needs root and unshare")
    (place / "disk").mkdir()
    mount = f"mount -t tmpfs -o {options} none disk"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], cwd=place, check=False).returncode:
        pytest.skip("this machine does not let us mount")
    python = shlex.quote(sys.executable)
    command = f'{mount} && nas() {{ {python} -m nas "$@"; }}\n{script}'
    repository = str(Path(__file__).parents[1])
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        cwd=place,
        env={**os.environ, "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        check=False,
    )


def test_read_only_disk(place: Path) -> None:
    script = f"""
        nas {SEARCH} --results disk --precision float32; echo "code $?" >&2
        nas export cifar_googlenet --format json --out disk/out; echo "code $?" >&2
    """
    result = in_a_mount(place, "ro", script)
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("code")] == ["code 2", "code 2"]
    assert len(lines) == 4, result.stderr
    assert lines[0].startswith("error: ")
    assert "read-only" in lines[2]


def test_full_disk_keeps_what_was_finished(place: Path) -> None:
    # A megabyte holds the study, and not the report.
    make_images(place / "images")
    words = "--data folder:images --results disk --precision float32 --workers 1"
    script = f"""
        nas search tiny --name first --trials 2 --epochs 1 {words}; echo "code $?" >&2
        nas show disk/first --json
        ls disk/first >&2
    """
    result = in_a_mount(place, "size=1m", script)
    lines = result.stderr.splitlines()
    assert "code 2" in lines
    assert "no space left" in lines[lines.index("code 2") - 1]
    shown = json.loads(result.stdout[result.stdout.index("\n{") :])
    assert shown["trials"] == {"complete": 2}
    assert "report.html" not in lines


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        # Room for the lock, and not for what the study writes.
        (
            "dd if=/dev/zero of=disk/more bs=1k 2>/dev/null; truncate -s -16k disk/more",
            "disk is full",
        ),
        ("mount -o remount,ro disk", "read-only"),
    ],
)
def test_a_disk_that_ends_a_search_is_the_users_to_put_right(
    place: Path, spoil: str, reason: str
) -> None:
    make_images(place / "images")
    words = "--name first --results disk --workers 1"
    begin = f"tiny --trials 1 --epochs 1 --data folder:images --precision float32 {words}"
    script = f"""
        nas search {begin} 2>/dev/null; echo "code $?" >&2
        {spoil}
        nas search {words} --resume --trials 2 >/dev/null; echo "code $?" >&2
    """
    lines = in_a_mount(place, "size=20m", script).stderr.splitlines()
    assert [line for line in lines if line.startswith("code")] == ["code 0", "code 2"], lines
    assert lines[-2].startswith("error: ")
    assert reason in lines[-2]
