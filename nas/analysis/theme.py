"""The look of every figure, diagram and page: a few colours, a light and a dark template.

Series colours are those of M. Okabe and K. Ito ("Color Universal Design", jfly.uni-koeln.de/color),
told apart by colour-blind eyes; each standing also has its own marker, so that no meaning hangs
on colour alone. Text and its background keep a contrast of at least 4.5, the edges of fields
(``edge``) and marks 3 (WCAG 2.2, AA); only orange and sky blue are paler on white.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import plotly.graph_objects as go

ThemeName = Literal["light", "dark"]

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F8790"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of runs and curves, in the order they are taken. Yellow is too pale for lines."""

BRIGHTER = {BLUE: "#4FA9E2", VERMILLION: "#EE7733", GREEN: "#1FBF92", SKY: YELLOW}
"""What colours become on a dark background: the darker ones keep a contrast of 4.5, and the sky
blue, which the brighter blue comes close to, gives way to a yellow that is seen there."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
MONOSPACE = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'


@dataclass(frozen=True)
class Theme:
    """Colours of one mode; each is also the CSS variable ``--NAME``."""

    page: str
    surface: str
    text: str
    muted: str
    grid: str
    line: str
    edge: str
    accent: str
    accent_surface: str
    warning: str
    warning_surface: str


THEMES: dict[ThemeName, Theme] = {
    "light": Theme(
        page="#f5f6f8",
        surface="#ffffff",
        text="#1b1f24",
        muted="#57606a",
        grid="#e4e7eb",
        line="#c3c9d0",
        edge="#858d96",
        accent="#005a9c",
        accent_surface="#e8f2fa",
        warning="#8a3c00",
        warning_surface="#fff3e8",
    ),
    "dark": Theme(
        page="#0f1317",
        surface="#171c22",
        text="#e7eaee",
        muted="#a0a9b4",
        grid="#2a323a",
        line="#414b56",
        edge="#6f7a86",
        accent="#7cc0f7",
        accent_surface="#172c3e",
        warning="#ffb27a",
        warning_surface="#33230f",
    ),
}


def shown(colour: str, name: ThemeName) -> str:
    """A series colour as a mode draws it."""
    return BRIGHTER.get(colour, colour) if name == "dark" else colour


def css_variables(name: ThemeName) -> str:
    """The theme as CSS declarations, ``--surface: #ffffff; ...``."""
    theme = THEMES[name]
    return " ".join(
        f"--{item.name.replace('_', '-')}: {getattr(theme, item.name)};" for item in fields(theme)
    )


def template(name: ThemeName) -> go.layout.Template:
    """The plotly template of a mode; backgrounds are the page's own (transparent)."""
    theme = THEMES[name]
    axis = {
        "gridcolor": theme.grid,
        "linecolor": theme.line,
        "tickcolor": theme.line,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 5,
        "automargin": True,
        "title": {"standoff": 12, "font": {"color": theme.muted, "size": 13}},
        "tickfont": {"color": theme.muted},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": theme.text},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [shown(colour, name) for colour in SERIES],
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 64, "r": 16, "t": 16, "b": 56},
            "legend": {
                "orientation": "h",
                "yanchor": "bottom",
                "y": 1.02,
                "x": 0,
                "bgcolor": "rgba(0,0,0,0)",
            },
            "hoverlabel": {
                "bgcolor": theme.surface,
                "bordercolor": theme.line,
                "font": {"family": FONT, "size": 13, "color": theme.text},
                "align": "left",
            },
            "annotationdefaults": {"font": {"color": theme.text, "size": 12}, "showarrow": False},
            "modebar": {
                "bgcolor": "rgba(0,0,0,0)",
                "color": theme.muted,
                "activecolor": theme.accent,
            },
        }
    )
