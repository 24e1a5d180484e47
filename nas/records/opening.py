"""Finding a run: a directory, a name under ``results/``, or a storage URL with a study."""

from __future__ import annotations

from pathlib import Path

from nas.records.databases import check_storage
from nas.records.reading import Run, suggestion
from nas.records.store import Progress
from nas.records.stored import DATABASE, RESULTS, Location, locate


def open_run(
    where: str | Path, name: str | None = None, *, progress: Progress | None = None
) -> Run:
    """Open a run to read it: a directory, its bare name under ``results/``, or a storage URL.

    A URL names its study by ``name`` or after a ``#``; where it holds one study, neither is
    needed. ``progress`` is called with a table's name, its trials read so far and all of them,
    while a large run is read for the first time.

    Raises:
        ValueError: there is no such run; the message names the nearest one.
        OSError: the database cannot be read.
    """
    text = str(where)
    if "://" in text:
        url, _, fragment = text.partition("#")
        study = name or fragment
        check_storage(url, "the storage URL")
        location = locate(study, storage=url)
        if location.database is not None and not location.database.is_file():
            raise ValueError(f"there is no database {location.database}")
        # The name as it was found says where the run's directory and its driver's lock are.
        found = locate(study or Run(location).name, storage=url)
        return Run(_place(found), progress=progress)
    path = Path(where)
    if not path.exists() and (RESULTS / path / DATABASE).is_file():
        path = RESULTS / path
    if not (path / DATABASE).is_file():
        parent = path.parent if path.parent != Path() or not RESULTS.is_dir() else RESULTS
        raise ValueError(f"{path} is not a run{suggestion(path.name, run_names(parent))}")
    location = Location(f"sqlite:///{path / DATABASE}", name or "", path)
    return Run(location, progress=progress)


def run_names(results: str | Path = RESULTS) -> list[str]:
    """The names of the runs under a directory, sorted."""
    root = Path(results)
    if not root.is_dir():
        return []
    return sorted(path.parent.name for path in root.glob(f"*/{DATABASE}"))


def _place(location: Location) -> Location:
    """The location with the run's own directory, where the URL is of the file in it."""
    database = location.database
    if database is None or (database.name, database.parent.name) != (DATABASE, location.name):
        return location
    return Location(location.url, location.name, database.parent)
