"""What all tests share: one thread a process, so that parallel tests do not fight over cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_COLOR", "1")

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """A Ray of this process, which executors use; its tests are marked xdist_group("ray").

    Ray is told of more cores than there are: several executors live at once in a module.
    """
    from nas.search.ray_executor import Resources, connect, disconnect
    from nas.search.ray_options import RayOptions

    connect(RayOptions(), Resources(cpus=1, gpus=0), most=8)
    yield
    disconnect()
