"""A drawing as pixels: SVG to PNG by resvg, without a browser and without fonts of the system.

Where the machine has none of the fonts that the drawing names, the one inside Pillow (Aileron) is
taken, so that no text is lost on a bare machine.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

ZOOM = 3
"""Pixels of the picture for one of the drawing: 720 wide becomes 2,160, enough for print."""


def svg_to_png(svg: str, *, zoom: int = ZOOM) -> bytes:
    """The drawing as PNG, ``zoom`` times its own size.

    Raises:
        ValueError: the text is no SVG.
    """
    import resvg_py

    with tempfile.TemporaryDirectory() as folder:
        font = Path(folder) / "Aileron.otf"
        family = _write_font(font)
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                zoom=zoom,
                font_files=[str(font)] if family else None,
                font_family=family,
                sans_serif_family=family,
            )
        )


def _write_font(path: Path) -> str | None:
    """Write Pillow's own font to a file and return its family; None where Pillow has none."""
    from PIL import ImageFont

    font = ImageFont.load_default(size=12)
    if not isinstance(font, ImageFont.FreeTypeFont) or not isinstance(font.path, BytesIO):
        return None  # a Pillow without FreeType: the system's fonts have to do
    path.write_bytes(font.path.getvalue())
    return font.getname()[0]
