"""The plotly.js that our content-security policy lets draw with WebGL, in place of Dash's.

The usual bundle compiles its WebGL code with ``Function``, which a policy without ``unsafe-eval``
forbids: the cloud of a large front and parallel coordinates would be empty. The strict bundle
brings that code compiled (https://github.com/plotly/plotly.js, "strict" in its dist/README.md). It
is ``plotly.js-strict-dist-min`` of npm, of the same version as the plotly that we draw with, and
is kept and sent compressed: a third of the bytes.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from flask import Flask, Response, request

NAME = "plotly-strict.min.js.gz"
DAY = 86_400


@cache
def compressed_bundle() -> bytes:
    """The bundle as it is kept, compressed."""
    return files("nas.dashboard").joinpath(NAME).read_bytes()


def serve_strict_plotly(server: Flask) -> None:
    """Answer with the strict bundle where Dash's page asks for plotly.js."""

    @server.get("/_dash-component-suites/plotly/<path:_>")
    def plotly(_: str) -> Response:
        body, headers = compressed_bundle(), {"Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            body = gzip.decompress(body)
        answer = Response(body, mimetype="text/javascript", headers=headers)
        answer.cache_control.max_age = DAY
        return answer
