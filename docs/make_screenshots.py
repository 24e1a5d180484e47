"""Draw the pictures of docs/images again: each view of the dashboard, in a real browser.

    python docs/make_screenshots.py FIRST [OTHER ...]

FIRST is the run whose views are drawn, a search with ``--halving`` so that stopped trials are seen;
with the OTHER runs it is compared. Needs Chromium, playwright and Pillow. The pictures have few
colours, so they are kept with a palette of 256.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from dashboard_pages import Served  # noqa: E402

from nas.analysis.picks import resolve_pick  # noqa: E402
from nas.records import open_run  # noqa: E402

IMAGES = ROOT / "docs" / "images"
WIDTH = 1280
VIEWS = {
    "front": ("/front?run={run}", "light", 1000),
    "architecture": ("/architecture?run={run}&trial={best}", "dark", 1200),
    "progress": ("/progress?run={run}", "light", 1100),
    "choices": ("/choices?run={run}", "light", 1200),
    "compare": ("/compare?run={run}", "light", 868),
    "trials": ("/trials?run={run}", "dark", 800),
}
"""A view's address, its colours, and how many pixels of its height are drawn."""


def draw(browser: Browser, url: str, scheme: str, height: int) -> Image.Image:
    """A page as it looks once nothing loads and nothing moves."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#view > *")
    page.wait_for_load_state("networkidle")
    height = min(height, int(page.evaluate("document.documentElement.scrollHeight")))
    picture, before = b"", b"before"
    while picture != before:  # the page's policy forbids to wait for an expression
        page.wait_for_timeout(5_000)
        before, picture = (
            picture,
            page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height}),
        )
    context.close()
    return Image.open(io.BytesIO(picture))


def main() -> None:
    """Write one PNG a view."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--only", choices=VIEWS, nargs="*", default=list(VIEWS))
    parser.add_argument("--out", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    runs = [open_run(run) for run in arguments.runs]
    best = resolve_pick(runs[0].trials, runs[0].settings.objectives, "best")
    arguments.out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    with Served(runs) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=120_000
        )
        for name in arguments.only:
            address, scheme, height = VIEWS[name]
            url = served.url + address.format(run=runs[0].name, best=best)
            path = arguments.out / f"dashboard-{name}.png"
            draw(browser, url, scheme, height).convert("RGB").quantize(256).save(
                path, optimize=True
            )
            print(f"{path} {path.stat().st_size / 1024:.0f} KiB", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
