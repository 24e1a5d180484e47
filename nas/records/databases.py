"""Whether a storage URL can be used, asked before anything connects to it or writes."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError


def check_storage(storage: str, what: str = "storage", own: Path | None = None) -> None:
    """Refuse a storage URL that no installed database can serve; connects to nothing.

    ``what`` names the setting in messages; ``own`` is the run's directory, which need not exist.

    Raises:
        ValueError: it is no URL, its database or driver is not known here, or the directory of a
            SQLite file does not exist.
    """
    try:
        url = sqlalchemy.make_url(storage)
    except SQLAlchemyError:
        raise ValueError(
            f"{what} must be a URL such as sqlite:///runs.db, not {storage!r}"
        ) from None
    shown = url.render_as_string(hide_password=True)
    try:
        url.get_dialect().import_dbapi()
    except SQLAlchemyError:
        raise ValueError(
            f"{what}: {url.drivername!r} is no known database, in {shown!r}; "
            f"take a URL such as sqlite:///runs.db"
        ) from None
    except ImportError as error:
        raise ValueError(
            f"{what}: the driver of {url.drivername} is not installed ({error}): "
            f"install it, or take a URL such as sqlite:///runs.db"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database:
        directory = Path(url.database).parent
        if not directory.is_dir() and (own is None or directory.resolve() != own.resolve()):
            raise ValueError(f"{what}: there is no directory {directory} for {shown!r}")
