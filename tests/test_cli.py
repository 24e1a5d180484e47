"""The command line: what each command prints, for people and scripts, and how errors end."""

from __future__ import annotations

import io
import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic_runs
from command_line import make_run, nas

from nas.cli.boundary import LONGEST_LINE, main
from nas.cli.console import make_table, print_table
from nas.cli.show import print_front
from nas.export import ProofError
from nas.records import Outcome

COMMANDS = (
    "spaces", "search", "show", "runs", "report", "dashboard", "confirm", "train", "export",
    "cost", "doctor",
)  # fmt: skip
RICH_FRAMES = "╭╮╰╯│─"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run."""
    return make_run(tmp_path_factory.mktemp("results")).path


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def longest_line(text: str) -> int:
    return max(len(line) for line in text.splitlines())


# ------------------------------------------------------------------------------------------ help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits(command: str, width: int) -> None:
    result = nas(command, "--help")
    assert result.code == 0
    assert f"Example: nas {command}" in result.out
    assert longest_line(result.out) <= width
    # No paragraph of a docstring is broken but at the width.
    text = result.out.split("╭")[0]
    paragraphs = [part.split("\n") for part in re.split(r"\n\s*\n", text.strip())]
    for lines in paragraphs:
        for line, following in itertools.pairwise(lines):
            room = width - len(line.rstrip())
            assert len(following.split()[0]) >= room - 3, (line, following)


def test_help_lists_the_commands_in_order_of_use(width: int) -> None:
    for words in ([], ["--help"]):
        result = nas(*words)
        assert result.code == 0
        found = re.findall(r"^│ (\w+)  ", result.out, re.MULTILINE)
        assert tuple(found) == COMMANDS
        assert longest_line(result.out) <= width


def test_the_limits_of_a_search_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = nas("search", "--help").out
    _, _, panel = out.partition("╭─ Limits (the search ends when one is reached) ")
    panel = panel.partition("╰")[0]
    found = re.findall(r"^│ (--[\w-]+) ", panel, re.MULTILINE)
    assert found == ["--trials", "--time", "--device-seconds", "--patience"]
    # No option takes the room of the others' help: it has nearly half of each line.
    helps = re.findall(r"^│[ *]+--[\w-]+(?:  ?-h)? +(?:[A-Z<][\w.<>]* +)?(?=\S)", out, re.MULTILINE)
    assert len(helps) >= 25
    assert max(map(len, helps)) <= 44


def test_halving_is_on_or_off_or_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool | None] = []

    def search(space: object, task: object, settings: dict[str, Any]) -> int:
        given.append(settings["halving"])
        return 0

    monkeypatch.setattr("nas.cli.search._search", search)
    words = ("search", "tiny", "--data", "fashion-mnist-mini", "--name", "x")
    for more in ((), ("--halving",), ("--no-halving",)):
        assert nas(*words, *more).code == 0
    assert given == [None, True, False]
    both = nas(*words, "--halving", "--no-halving")
    assert (both.code, both.err) == (
        2,
        "error: --halving and --no-halving are opposites; give one of them\n",
    )


def test_version() -> None:
    assert re.fullmatch(r"nas \d+\.\d+\.\d+\n", nas("--version").out)


# -------------------------------------------------------------------------------------- lightness


def modules_after(*words: str, cwd: Path | None = None) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after one command."""
    program = (
        "import sys\n"
        "from nas.cli import main\n"
        f"code = main({list(words)!r})\n"
        "assert code == 0, code\n"
        "print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split()[1:])


HEAVY = {"torch", "ray", "optuna", "plotly", "sklearn", "datasets"}


def test_help_loads_nothing_heavy() -> None:
    light = modules_after("--help")
    assert not light & (HEAVY | {"pandas", "numpy", "sqlalchemy"})
    assert not modules_after("search", "--help") & (HEAVY | {"pandas", "numpy", "sqlalchemy"})


def test_show_loads_nothing_heavy(run: Path) -> None:
    assert not modules_after("show", str(run)) & HEAVY
    assert not modules_after("runs", "--results", str(run.parent)) & HEAVY


def test_cost_and_spaces_load_nothing_heavy() -> None:
    assert not modules_after("cost", "googlenet") & (HEAVY | {"pandas"})
    assert not modules_after("spaces", "tiny") & (HEAVY | {"pandas"})


def test_the_tests_above_can_fail() -> None:
    assert "torch" in modules_after("doctor")


# ------------------------------------------------------------------------------------------ errors


def test_usage_error_is_one_line() -> None:
    result = nas("search", "--nonsense")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: no such option: --nonsense ")
    assert result.err.endswith(" (see nas search --help)\n")
    assert result.err.count("\n") == 1


def test_wrong_number_is_named_with_its_value() -> None:
    result = nas("cost", "googlenet", "--classes", "-3")
    assert result.code == 2
    assert "'--classes': must be an integer from 1, not '-3'" in result.err


def test_value_error_is_one_line_even_if_its_message_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("first\n  second")

    monkeypatch.setattr("nas.cli.inputs.read_architecture", fail)
    assert nas("cost", "googlenet").err == "error: first second\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PermissionError(13, "Permission denied", "/there"), 2, "/there: permission denied"),
        (OSError(28, "No space left on device"), 2, "no space left on device"),
        (
            OSError(28, "cannot write run 'First': it is full"),
            2,
            "cannot write run 'First': it is full",
        ),
        (
            OSError(30, "cannot write run 'First': read-only"),
            2,
            "cannot write run 'First': read-only",
        ),
        (OSError(5, "Input/output error", "/disk"), 1, "/disk: input/output error"),
        (FileNotFoundError("No such file: there"), 2, "No such file: there"),
        (RuntimeError("it broke"), 1, "RuntimeError: it broke (--debug shows where)"),
        (ProofError("it differs"), 1, "it differs"),
        (KeyError("name"), 1, "KeyError: 'name' (--debug shows where)"),
    ],
)
def test_failures_have_a_code_and_a_line(
    error: Exception, code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("nas.cli.inputs.read_architecture", fail)
    result = nas("cost", "googlenet")
    assert (result.code, result.err) == (code, f"error: {line}\n")


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("nas.cli.inputs.read_architecture", fail)
    for words in (["--debug", "cost", "googlenet"], ["cost", "googlenet", "--debug"]):
        result = nas(*words)
        assert result.code == 1
        assert "Traceback" in result.err
        assert result.err.endswith("error: RuntimeError: it broke (--debug shows where)\n")


def test_what_was_typed_is_not_repeated_at_any_length() -> None:
    result = nas("show", "x" * 100_000)
    assert result.code == 2
    assert len(result.err) < LONGEST_LINE + 20
    assert result.err.startswith("error: xxx")
    assert "xxx ... xxx" in result.err
    assert result.err.endswith("xxx: file name too long\n")


def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cost.count_cost", interrupted)
    result = nas("cost", "googlenet")
    assert (result.code, result.out, result.err) == (130, "", "stopped\n")


def test_an_interrupt_has_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.inputs.read_architecture", fail)
    assert nas("cost", "googlenet").code == 130


def test_module_and_console_script_are_the_same() -> None:
    command = [sys.executable, "-m", "nas", "cost", "nothing.json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "error: nothing.json: there is no such file; "
        "give a run, an architecture's JSON file or a preset\n"
    )
    assert main(["cost", "nothing.json"]) == 2


# ------------------------------------------------------------------------------------------ tables


def test_numbers_are_right_aligned_and_whole() -> None:
    from rich.console import Console

    table = make_table(("name", ">number"), [("a", "1"), ("much longer", "1,000,000")])
    console = Console(width=20, file=io.StringIO(), record=True)
    console.print(table)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    # The name folds; the number stays whole, and ends where the one above it ends.
    assert lines[2].startswith("a ")
    assert lines[2].endswith(" 1")
    assert lines[3].endswith(" 1,000,000")
    assert len(lines[2]) == len(lines[3])


@pytest.mark.parametrize("columns", [10, 20, 40])
def test_no_number_is_cut_where_there_is_no_room(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    headers = ("name", ">error (%)", ">memory (KiB)", "state", ">MB")
    print_table(
        headers, [("a name of words", "41.65", "1,438", "finished", "4.2")], unbroken=("state",)
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "error", "(%)", "memory", "(KiB)", "state", "MB"]
    assert lines[2].split()[-4:] == ["41.65", "1,438", "finished", "4.2"]


def test_a_table_is_no_wider_than_it_must_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("name", ">number"), [("word " * 20, "1,000,000")])
    assert longest_line(capsys.readouterr().out) <= 40


@pytest.mark.parametrize("command", ["show", "runs"])
def test_narrow_terminals_get_whole_numbers(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("show", run) if command == "show" else ("runs", "--results", run.parent)
    monkeypatch.setenv("COLUMNS", "99")
    numbers = re.findall(r"[0-9][0-9.,]*", nas(*words).out.split("Next")[0])
    monkeypatch.setenv("COLUMNS", "30")
    found = re.findall(r"[0-9][0-9.,]*", nas(*words).out.split("Next")[0])
    assert found == numbers


def test_colour_is_for_terminals_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in nas("show", run).out
    assert "\x1b[" not in nas("cost", "googlenet").out


# -------------------------------------------------------------------------------------------- cost


def test_cost_prints_cells_and_totals(width: int) -> None:
    result = nas("cost", "googlenet")
    assert result.code == 0
    assert "7,005,832" in result.out
    assert "1,582,671,872" in result.out
    # FACTS.md: 3a has 128,049,152 MACs.
    row = next(line for line in result.out.splitlines() if line.startswith("stages.0.0"))
    assert "128.05" in row
    assert longest_line(result.out) <= width


def test_cost_prints_layers_below_their_cell(width: int) -> None:
    result = nas("cost", "torchvision_googlenet", "--layers", "--auxiliary")
    lines = result.out.splitlines()
    cell = next(index for index, line in enumerate(lines) if line.startswith("stages.0.0 "))
    assert lines[cell + 1].startswith("  branches.0.0 ")
    assert any(line.startswith("auxiliary.1 ") for line in lines)
    assert longest_line(result.out) <= width


def test_cost_as_json_has_numbers_and_rows_that_add_up() -> None:
    data = nas("cost", "cifar_googlenet", "--image", "1x64x96", "--classes", "7", "--json").data
    assert data["image"] == [1, 64, 96]
    assert data["classes"] == 7
    for name in ("params", "macs", "activation_bytes"):
        assert data[name] == sum(layer[name] for layer in data["layers"])
    assert data["layers"][-1]["output"] == [7, 1, 1]


def test_cost_of_a_runs_pick_is_at_the_runs_target(run: Path) -> None:
    shown = nas("show", run, "--json").data
    best = next(row for row in shown["front"] if row["number"] == shown["picks"]["best"])
    found = nas("cost", run, "--pick", "best", "--json").data
    assert found["name"] == f"first-trial{best['number']}"
    assert (found["macs"], found["params"]) == (best["macs"], best["params"])
    assert (found["image"], found["classes"]) == ([1, 28, 28], 10)
    knee = nas("cost", run, "--json").data
    assert knee["name"] == f"first-trial{shown['picks']['knee']}"
    # Another size keeps the run's channels.
    larger = nas("cost", run, "--image", 56, "--json").data
    assert (larger["image"], larger["classes"]) == ([1, 56, 56], 10)


def test_cost_of_a_file_needs_an_image(tmp_path: Path) -> None:
    from nas.presets import load_preset

    path = tmp_path / "mine.json"
    path.write_text(load_preset("cifar_googlenet").to_json())
    assert "--image is needed" in nas("cost", path).err
    ours = nas("cost", path, "--image", "32", "--json").data
    theirs = nas("cost", "cifar_googlenet", "--json").data
    assert (ours["name"], ours["macs"]) == ("mine", theirs["macs"])


# ------------------------------------------------------------------------------------------ spaces


def test_spaces_are_listed_with_what_they_contain(width: int) -> None:
    result = nas("spaces")
    row = next(line for line in result.out.splitlines() if line.startswith("googlenet_small "))
    assert row.split()[-1] == "cifar_googlenet"
    assert longest_line(result.out) <= width
    data = {item["name"]: item for item in nas("spaces", "--json").data}
    assert data["tiny"]["size"] == 1080
    assert data["googlenet"]["members"] == ["googlenet"]


def test_one_space_in_detail(width: int) -> None:
    result = nas("spaces", "tiny")
    assert "1,080" in result.out
    assert "nas search tiny" in result.out
    assert longest_line(result.out) <= width


def test_space_as_json_has_choices_and_costs() -> None:
    data = nas("spaces", "tiny", "--image", "1x28x28", "--json").data
    assert data["image"] == [1, 28, 28]
    assert data["parameters"]["stages.count"]["values"] == [1, 2]
    for costs in data["costs"].values():
        assert 0 < costs["least"] <= costs["median"] <= costs["most"]
    larger = nas("spaces", "tiny", "--image", "1x56x56", "--json").data
    assert larger["costs"]["macs"]["least"] > 3 * data["costs"]["macs"]["least"]


# -------------------------------------------------------------------------------------------- runs


def test_show_prints_the_front_and_what_next(run: Path, width: int) -> None:
    result = nas("show", run)
    assert result.code == 0
    assert "knee" in result.out
    assert f"nas train {run} --pick knee --out {run}/knee" in result.out
    tables = [line for line in result.out.splitlines() if not line.startswith("  nas ")]
    assert longest_line("\n".join(tables)) <= width


def test_show_as_json_is_stable(run: Path) -> None:
    data = nas("show", run, "--json").data
    assert {
        "name",
        "state",
        "space",
        "data",
        "objectives",
        "trials",
        "hypervolume",
        "reference",
        "front",
        "picks",
        "spend",
        "rejections",
        "next",
    } <= set(data)
    assert data["trials"] == {"complete": 12}
    assert data["state"] == "finished"
    numbers = [row["number"] for row in data["front"]]
    assert data["picks"]["knee"] in numbers
    errors = [row["error"] for row in data["front"]]
    assert errors == sorted(errors, reverse=True)
    assert data["hypervolume"] > 0


def test_show_a_trial(run: Path, width: int) -> None:
    result = nas("show", run, "--trial", "3")
    assert "stages.0.0" in result.out
    assert f"nas export {run} --pick trial:3" in result.out
    assert "0.00s of set-up before the first step" in " ".join(result.out.split())
    data = nas("show", run, "--trial", 3, "--json").data
    assert data["number"] == 3
    assert data["setup_seconds"] == 0.0  # the run's own function has none
    assert [row["setup_seconds"] for row in data["curve"]] == [0.0]
    assert data["choices"]["stages.count"] in (1, 2)
    assert data["architecture"]["format"] == 1
    cost = nas("cost", "googlenet", "--json").data
    assert set(cost["layers"][0]) >= {"name", "kind", "params", "macs"}


def test_runs_are_listed_and_deleted(tmp_path: Path, width: int) -> None:
    assert "There are no runs" in nas("runs", "--results", tmp_path).out
    make_run(tmp_path, "one", trials=2)
    make_run(tmp_path, "two", trials=3)
    result = nas("runs", "--results", tmp_path)
    assert longest_line(result.out) <= width
    data = nas("runs", "--results", tmp_path, "--json").data
    assert {item["name"]: item["trials"] for item in data} == {
        "one": {"complete": 2},
        "two": {"complete": 3},
    }
    assert all(item["disk_bytes"] > 1000 for item in data)
    deleted = nas("runs", "--results", tmp_path, "--delete", "one")
    assert deleted.code == 0
    assert [item["name"] for item in nas("runs", "--results", tmp_path, "--json").data] == ["two"]


def left_open(number: int, error: float, curve: Any) -> Outcome:
    """Trial 5 was going when its run was stopped, 4 took over a result, 1 failed."""
    if number == 5:
        return Outcome("running")
    if number == 1:
        return Outcome("failed", reason="the loss is NaN in epoch 1")
    return Outcome("complete", 0.25, epochs=4, train_seconds=3.0, reused=number == 4)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("stopped")
    run = synthetic_runs.make_run(results, "a-run-of-some-length", trials=6, outcome=left_open)
    return Path(run.path)


def test_runs_say_what_became_of_the_trials(stopped: Path, width: int) -> None:
    result = nas("runs", "--results", stopped.parent)
    assert longest_line(result.out) <= width
    for whole in ("a-run-of-some-length", "fashion-mnist-mini", "finished"):
        assert whole in result.out
    words = " ".join(result.out.split())
    for part in ("3 trained", "1 reused", "1 failed", "1 unfinished"):
        assert part.split()[0] in words
        assert part.split()[1] in words
    (data,) = nas("runs", "--results", stopped.parent, "--json").data
    assert data["reused"] == 1
    assert data["trials"] == {"complete": 4, "failed": 1, "running": 1}


def test_no_trial_is_running_in_a_run_that_is_not(stopped: Path) -> None:
    result = nas("show", stopped)
    assert "1 unfinished" in result.out
    assert "running" not in result.out
    assert "unfinished: a resumed" in nas("show", stopped, "--trial", 5).out


def test_the_reference_has_names_and_units(stopped: Path) -> None:
    assert "reference error 90 %, 2G MACs" in " ".join(nas("show", stopped).out.split())


def test_trials_that_tie_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    costs = {"macs": 10**6, "params": 10**4, "activation_bytes": 4096, "latency_ms": math.nan}
    costs["origin"] = "random"
    front = [{"number": n, "error": e, **costs} for n, e in ((31, 0.2), (40, 0.2), (52, 0.2))]
    print_front({"front": front, "picks": {"knee": 31}})
    out = " ".join(capsys.readouterr().out.split())
    assert "2 trials tie with trial 31 in all columns: 40, 52" in out


def test_report_is_written_where_asked(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = nas("report", run, "--out", out)
    assert result.code == 0
    assert "<html" in out.read_text()[:500]
    assert str(out) in result.out.replace("\n", "")


# ------------------------------------------------------------------------------------------ doctor


def test_doctor_says_what_will_be_used(width: int) -> None:
    result = nas("doctor")
    assert result.code == 0
    assert longest_line(result.out) <= width
    data = nas("doctor", "--json").data
    assert set(data["would_use"]) == {"device", "workers", "precision"}
    assert data["would_use"]["workers"] >= 1
    assert data["packages"]["torch"] != "not installed"


def test_help_of_search_names_the_defaults() -> None:
    from nas.search.prepare import DEFAULT_HALVING
    from nas.search.samplers import DEFAULT_SAMPLER

    words = " ".join(nas("search", "--help").out.split())
    assert f"Default: {DEFAULT_SAMPLER}." in words
    assert f"Default: {'on' if DEFAULT_HALVING else 'off'}." in words
