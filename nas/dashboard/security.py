"""What stands between the network and the pages: hosts, origins, the token, and headers.

A page of another site must not reach us: not by a name that it points at this machine (DNS
rebinding: the ``Host`` must be one of ours), not by a request sent from it (the ``Origin`` must be
ours), and not by a frame. Beyond this machine every request needs the token of this start, once
in the address and then as a cookie that scripts cannot read.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

log = logging.getLogger(__name__)

TOKEN = "token"
"""The parameter of the address that carries the token."""

DAY = 86_400

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine seen from itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Who may ask: the address listened on, and the token that is needed ("" for none)."""

    host: str = "127.0.0.1"
    port: int = 8050
    token: str = ""
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @staticmethod
    def of(host: str, port: int) -> Access:
        """The access that suits an address: a token for all but loopback."""
        return Access(host, port, "" if is_loopback(host) else secrets.token_urlsafe(24))

    @property
    def cookie_name(self) -> str:
        """Cookies know no ports, so the name has it: two dashboards may run side by side."""
        return f"nas-dashboard-{self.port}"

    def knows(self, netloc: str) -> bool:
        """Whether a ``Host`` is one that we are called by."""
        name = _hostname(netloc)
        if is_loopback(name) or name == self.host:
            return True
        if not self.token:
            return False
        # A number cannot be rebound to another machine; a name can, so only our own are known.
        return _is_address(name) or name in {socket.gethostname().lower(), socket.getfqdn().lower()}


def guard(server: Flask, access: Access, script_hashes: Sequence[str]) -> None:
    """Check every request, and send every answer with the policy."""
    policy = content_policy(script_hashes)

    @server.before_request
    def check() -> AnyResponse | None:
        if not access.knows(request.host):
            return _refused(421, f"This server is not called {request.host!r}.")
        if request.method not in ("GET", "HEAD", "OPTIONS") and not _is_own_origin():
            return _refused(403, "This request came from another site.")
        return None if not access.token else _admit(access)

    @server.errorhandler(Exception)
    def explain(error: Exception) -> Response:
        """Requests that no page of ours sends end here; they are told nothing of the inside."""
        status = error.code if isinstance(error, HTTPException) and error.code else 400
        if not isinstance(error, HTTPException):
            log.warning("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
        return _refused(status, "This server has no answer to that.")

    @server.after_request
    def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        if response.status_code >= 400:
            response.mimetype = "text/plain"  # what went wrong may quote the request
        response.headers.setdefault("Content-Security-Policy", policy)
        if not response.cache_control.max_age:
            response.headers["Cache-Control"] = "no-store"
        return response


def content_policy(script_hashes: Sequence[str]) -> str:
    """The content-security policy: nothing but our own files, and no inline script but Dash's.

    Styles may be inline, because plotly and Dash's components set them on elements they make.
    """
    rules = {
        "default-src": ["'none'"],
        "script-src": ["'self'", *script_hashes],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(" ".join((name, *values)) for name, values in rules.items())


def _admit(access: Access) -> AnyResponse | None:
    given = request.args.get(TOKEN, "")
    if given and secrets.compare_digest(given.encode(), access.token.encode()):
        rest = [(name, text) for name, text in request.args.items(multi=True) if name != TOKEN]
        answer = redirect(request.path + (f"?{urlencode(rest)}" if rest else ""))
        answer.set_cookie(
            access.cookie_name, access.cookie, max_age=7 * DAY, httponly=True, samesite="Lax"
        )
        return answer
    cookie = request.cookies.get(access.cookie_name, "")
    if secrets.compare_digest(cookie.encode(), access.cookie.encode()):
        return None
    return _refused(401, "Open the address with the token that `nas dashboard` printed.")


def _is_own_origin() -> bool:
    """Browsers say where a request comes from; what says nothing is not a browser."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _hostname(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(status: int, words: str) -> Response:
    return Response(f"{words}\n", status=status, mimetype="text/plain")
