"""The dashboard behind waitress, a production WSGI server: threads, no debugger, no reloader."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from urllib.parse import urlencode

import waitress

from nas.dashboard.app import create_app
from nas.dashboard.export_card import EXPORTER
from nas.dashboard.security import TOKEN, Access
from nas.dashboard.source import Source

THREADS = 8
CONNECTIONS = 1000
"""Open connections; a browser holds up to six a tab."""


def serve(
    source: Source, access: Access | None = None, on_ready: Callable[[str], None] = print
) -> None:
    """Serve until interrupted; ``on_ready`` gets the address to open, once, with its token.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    access = access or Access()
    listening = _listen(access)
    source.start()
    try:
        app = create_app(source, access)
        server = waitress.create_server(
            app.server, sockets=[listening], threads=THREADS, connection_limit=CONNECTIONS, ident=""
        )
        on_ready(address(access))
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        server.close()
        app.server.config[EXPORTER].stop()
    finally:
        source.stop()
        listening.close()


def address(access: Access) -> str:
    """What to open in a browser."""
    host = access.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    token = f"?{urlencode({TOKEN: access.token})}" if access.token else ""
    return f"http://{shown}:{access.port}/{token}"


def _listen(access: Access) -> socket.socket:
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((access.host, access.port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise _explained(error, access) from None
    return listening


def _explained(error: OSError, access: Access) -> OSError:
    if error.errno == errno.EADDRINUSE:
        return OSError(
            f"port {access.port} is taken, perhaps by another dashboard; "
            f"choose another with --port {access.port + 1}"
        )
    if error.errno == errno.EACCES:
        return OSError(f"port {access.port} is not for this user; choose one from 1024 with --port")
    return OSError(f"cannot listen on {access.host}: {error.strerror or error}")
