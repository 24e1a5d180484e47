"""Searches on a Ray of several nodes, of which one dies, and drivers that are killed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import psutil
import pytest
from started_processes import started, wait_for

from nas.records import open_run

Cluster: TypeAlias = tuple[str, Callable[[], None], Callable[[], None]]

pytestmark = pytest.mark.xdist_group("ray")

# Some seconds a trial: there is time to kill something while it runs.
SEARCH = shlex.split(
    "search tiny --data fashion-mnist-mini --images 1024 --epochs 16 --resolution 14 --width 0.5 "
    "--precision float32 --device cpu --executor ray"
)


def trials(results: Path) -> pd.DataFrame:
    """The trials of the run so far; none before it begins."""
    try:
        return open_run(results / "run").trials.set_index("number")
    except (ValueError, OSError):
        return pd.DataFrame({"state": []})


def numbers(results: Path, state: str) -> set[int]:
    found = trials(results)
    return set(found.index[found["state"] == state])


def saved(results: Path) -> set[int]:
    """The trials that have a checkpoint."""
    return {int(path.name.split("-")[0]) for path in results.glob("run/checkpoints/*-*.pt")}


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The address of a cluster of one node with a core, how to add a second and how to kill it."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    from ray import cluster_utils

    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    added: list[Any] = []
    try:
        yield (
            cluster.address,
            lambda: added.append(cluster.add_node(num_cpus=1)),
            lambda: cluster.remove_node(added.pop(), allow_graceful=False),
        )
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_a_node_joins_and_dies_and_nothing_is_lost(tmp_path: Path, two_nodes: Cluster) -> None:
    address, add_second, kill_second = two_nodes
    words = [
        "--name",
        "run",
        "--results",
        str(tmp_path),
        "--trials",
        "6",
        "--images",  # long enough for the node to die while they run
        "8000",
        "--ray-address",
        address,
    ]
    with started(sys.executable, "-m", "nas", *SEARCH, *words) as process:

        def both_have_a_checkpoint() -> bool:
            running = numbers(tmp_path, "running")
            return len(running) == 2 and running <= saved(tmp_path)

        wait_for(lambda: bool(numbers(tmp_path, "complete")), process)
        assert len(numbers(tmp_path, "running")) <= 1
        # Whoever joins gets work, and a driver that was started before knows of it.
        add_second()
        wait_for(both_have_a_checkpoint, process)
        before = trials(tmp_path)
        kill_second()
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, (out, err)
    after = trials(tmp_path)
    assert (after["state"] == "complete").all()
    assert len(after) == 6
    # What was finished stands as it was.
    finished = before.index[before["state"] == "complete"]
    pd.testing.assert_frame_equal(after.loc[finished], before.loc[finished])
    # Ray tells of the node or of the connection to it, whichever it notices first.
    lost = re.search(r"trial (\d+): the worker('s node)? .*(died|is gone); it runs again", err)
    assert lost, err
    assert f"trial {lost[1]}: it goes on from its checkpoint of epoch" in err
    assert saved(tmp_path) == set()


def ray_processes(driver: psutil.Popen) -> list[psutil.Process]:
    """All that a driver started: the raylet and its children are among them."""
    return driver.children(recursive=True)


def is_training(results: Path, driver: psutil.Popen) -> bool:
    return bool(numbers(results, "complete")) and bool(saved(results))


@pytest.mark.slow
def test_a_killed_driver_leaves_no_process_and_another_executor_goes_on(tmp_path: Path) -> None:
    words = ["--name", "run", "--results", str(tmp_path), "--workers", "2"]
    with started(sys.executable, "-m", "nas", *SEARCH, *words, "--trials", "30") as process:
        wait_for(lambda: is_training(tmp_path, process), process)
        left = ray_processes(process)
        assert any(item.name() == "raylet" for item in left)
        process.kill()
        process.wait()
        # Ray's agents alone would stay for a minute.
        _, alive = psutil.wait_procs(left, timeout=50)
        assert alive == []
    before = trials(tmp_path)
    finished = before.index[before["state"] == "complete"]
    words[-1] = "1"
    local = [*words, "--trials", str(len(finished) + 2), "--resume", "--executor", "local"]
    with started(sys.executable, "-m", "nas", "search", "--device", "cpu", *local) as process:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, (out, err)
    after = trials(tmp_path)
    pd.testing.assert_frame_equal(after.loc[finished], before.loc[finished])
    assert set(after["state"]) == {"complete"}


@pytest.mark.slow
def test_ctrl_c_ends_ray_and_a_resume_goes_on_from_the_checkpoints(tmp_path: Path) -> None:
    words = ["--name", "run", "--results", str(tmp_path), "--workers", "1"]
    with started(sys.executable, "-m", "nas", *SEARCH, *words, "--trials", "30") as process:
        wait_for(lambda: is_training(tmp_path, process), process)
        left = ray_processes(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 130, (out, err)
        _, alive = psutil.wait_procs(left, timeout=50)
        assert alive == []
    assert "stopped by Ctrl-C" in err
    begun = saved(tmp_path)
    finished = numbers(tmp_path, "complete")
    assert len(begun) == 1
    (number,) = begun
    resume = [*words, "--trials", str(len(finished) + 1), "--resume", "--executor", "ray"]
    with started(sys.executable, "-m", "nas", "search", "--device", "cpu", *resume) as process:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, (out, err)
    assert f"trial {number}: it goes on from its checkpoint of epoch" in err
    assert numbers(tmp_path, "complete") == finished | begun
    assert not (tmp_path / "run" / "checkpoints").exists()
