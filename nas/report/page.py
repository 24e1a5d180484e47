"""The HTML file itself: the template filled in, styles, scripts and data put inside it.

Nothing is loaded from anywhere, and the page says so to the browser: its content security policy
allows its own two scripts by their hash and no request at all. Every value is escaped by Jinja2;
the data for the script is JSON in which no tag can begin.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from nas.analysis.theme import BRIGHTER, FONT, MONOSPACE, THEMES, css_variables, template
from nas.report.view import RunView


def page_html(views: Sequence[RunView]) -> str:
    """The whole file for some runs."""
    plotly, script = _part("plotly-basic.min.js"), _part("page.js")
    policy = (
        f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .from_string(_part("page.html"))
        .render(
            policy=policy,
            runs=views,
            title=_title(views),
            style=Markup(_style()),
            plotly=Markup(plotly),
            script=Markup(script),
            data=Markup(_json(_data(views))),
            version=_version(),
        )
    )


def _title(views: Sequence[RunView]) -> str:
    names = ", ".join(view.name for view in views[:3])
    more = f" and {len(views) - 3} more" if len(views) > 3 else ""
    return f"Architecture search: {names}{more}"


def _data(views: Sequence[RunView]) -> dict[str, Any]:
    """What the script needs: figures without their template, and both templates once."""
    return {
        "recolour": _dark_colours(),
        "templates": {name: template(name).to_plotly_json() for name in ("light", "dark")},
        "runs": [
            {"key": view.key, "figures": view.figures, "trials": view.trials, "first": view.first}
            for view in views
        ],
    }


def _dark_colours() -> dict[str, str]:
    """What each colour of a light figure becomes on a dark page."""
    light, dark = THEMES["light"], THEMES["dark"]
    names = ("text", "surface", "line", "grid")
    return {**BRIGHTER, **{getattr(light, name): getattr(dark, name) for name in names}}


def _json(data: object) -> str:
    """JSON that can stand in a script element: no ``<``, so neither a tag nor a comment begins."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _style() -> str:
    modes = (
        f":root {{ color-scheme: light dark; --font: {FONT}; --monospace: {MONOSPACE}; "
        f"{css_variables('light')} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {css_variables('dark')} }} }}"
    )
    return f"{modes}\n{_part('page.css')}"


@cache
def _part(name: str) -> str:
    text = files("nas.report").joinpath(name).read_text(encoding="utf-8")
    # The end of an inline script, wherever it stands in it, would end the element.
    return text.replace("</script", "<\\/script") if name.endswith(".js") else text


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _version() -> str:
    try:
        return version("inception-nas")
    except PackageNotFoundError:
        return "of a source tree"
