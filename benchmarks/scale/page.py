"""A page of the dashboard in Chromium that takes its own times: when something is on the screen.

A script that is there before the page's own looks at each frame whether what is waited for is in
the page, and takes the time a frame later: then it has been painted. Times are milliseconds
since the epoch, so that those of other processes on the machine compare.
"""

from __future__ import annotations

import re
import shutil
from types import TracebackType
from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
]
SIZE = {"width": 1280, "height": 900}
PATIENCE_MS = 60_000

WATCH = """
(() => {
  const now = () => performance.timeOrigin + performance.now();
  const frame = () => new Promise(requestAnimationFrame);
  const graph = () => document.querySelector("#front-figure .js-plotly-plot");
  const numbers = (trace) => (trace.customdata || []).map((c) => (Array.isArray(c) ? c[0] : c));
  const trial = () => new URLSearchParams(location.search).get("trial");
  let pressed = 0, drawn = new Set(), watched = null;
  performance.setResourceTimingBufferSize(20000);
  addEventListener("pointerdown", (e) => { pressed = performance.timeOrigin + e.timeStamp; }, true);

  // Everything that the front's figure has drawn, as of its last drawing.
  const look = () => {
    const found = graph();
    if (!found || !found.on || !found._fullLayout) return;
    if (found !== watched) {
      watched = found;
      const take = () => { drawn = new Set((found.data || []).flatMap(numbers)); };
      found.on("plotly_afterplot", take);
      if (found.querySelector(".scatterlayer .points path")) take();
    }
  };

  async function until(test, limit) {
    const end = now() + limit;
    for (;;) {
      look();
      let isThere = false;
      try { isThere = test(); } catch { /* not yet there is not yet true */ }
      if (isThere) break;
      if (now() > end) return null;
      await frame();
    }
    await frame();
    return now();
  }

  const all = (selectors) => selectors.every((s) => document.querySelector(s));
  const image = (number) => {
    const found = document.querySelector("#front-chosen .drawing img");
    const isThere = found.complete && found.naturalWidth > 0;
    return isThere && found.currentSrc.includes(`trial=${number}&`);
  };
  // The front's own marks are SVG and drawn with the cloud, in one go.
  const front = () => drawn.size && graph().querySelector(".scatterlayer .points path");

  window.scale = {
    seen: (selectors, limit) => until(() => all(selectors), limit),
    front: (limit) => until(front, limit),
    drawn: (number, limit) => until(() => drawn.has(number), limit),
    chosen: async (before, limit) => {
      const end = await until(() => trial() !== before && image(trial()), limit);
      return { pressed, end, trial: trial() };
    },
    navigated: () => performance.timeOrigin,
    pressed: () => pressed,
    asked: (part, since, till) => performance.getEntriesByType("resource")
      .filter((e) => e.name.includes(part) && performance.timeOrigin + e.startTime >= since
        && performance.timeOrigin + e.responseEnd <= till)
      .map((e) => ({
        name: e.name, start: performance.timeOrigin + e.startTime,
        end: performance.timeOrigin + e.responseEnd, bytes: e.encodedBodySize,
        server: Object.fromEntries(e.serverTiming.map((one) => [one.name, one.duration])),
      })),
    places: () => {
      const div = graph();
      div.scrollIntoView({ block: "center", behavior: "instant" });
      const { _fullLayout: full } = div, box = div.getBoundingClientRect();
      return div.data.filter((t) => t.mode === "markers" && t.customdata).map((t) => ({
        name: t.name, type: t.type,
        marks: numbers(t).map((number, i) => [
          number,
          box.left + full._size.l + full.xaxis.d2p(t.x[i]),
          box.top + full._size.t + full.yaxis.d2p(t.y[i]),
        ]),
      }));
    },
  };
})();
"""


class Browser:
    """Chromium without a screen; each page begins with an empty cache of its own."""

    def __init__(self) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        path = shutil.which("chromium") or shutil.which("google-chrome")
        self._browser = self._playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        self.version = f"Chromium {self._browser.version}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def visit(self, url: str) -> Page:
        """Open an address; returns as soon as the navigation has begun."""
        return Page(self._browser.new_context(viewport=SIZE, reduced_motion="reduce"), url)


class Page:
    """A tab; all times are milliseconds since the epoch.

    Raises:
        SystemExit: what is waited for does not come, or the page complained on its console.
    """

    def __init__(self, context: Any, url: str) -> None:
        self._context, self._page = context, context.new_page()
        self.complaints: list[str] = []
        self._page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type == "error" else None
        )
        self._page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._page.add_init_script(WATCH)
        self._page.goto(url, wait_until="commit")

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._context.close()
        if kind is None and self.complaints:
            raise SystemExit(f"the page complained: {self.complaints}")

    def wait_for_front(self) -> float:
        """The moment when the front's figure has its marks on the screen."""
        return self._wait("scale.front", [])

    def wait_for(self, selectors: list[str]) -> float:
        """The moment when all of these are on the screen."""
        return self._wait("scale.seen", [selectors])

    def wait_for_mark(self, number: int) -> float:
        """The moment when the front's figure has drawn that trial."""
        return self._wait("scale.drawn", [number])

    def started(self) -> float:
        """When the navigation to the page began."""
        return float(self._page.evaluate("scale.navigated()"))

    def words(self, selector: str) -> str:
        """The text of an element."""
        return str(self._page.locator(selector).inner_text())

    def press(self, selector: str) -> None:
        """Click on the middle of an element."""
        self._page.locator(selector).click()

    def pressed(self) -> float:
        """When the mouse button was pressed last."""
        return float(self._page.evaluate("scale.pressed()"))

    def rest(self, milliseconds: float) -> None:
        """Let the page do what it still has to do."""
        self._page.wait_for_timeout(milliseconds)

    def marks(self) -> list[dict[str, Any]]:
        """The front's traces: ``name``, ``type``, each mark's number, x and y on the screen."""
        found: list[dict[str, Any]] = self._page.evaluate("scale.places()")
        return found

    def click_mark(self, x: float, y: float) -> dict[str, Any]:
        """Click there; ``pressed``, the ``trial`` that it chose, and when its diagram was shown."""
        match = re.search(r"[?&]trial=(\d+)", self._page.url)
        self._page.mouse.move(x - 3, y)
        self._page.mouse.move(x, y)
        self.rest(150)  # plotly looks under the pointer every 50 ms
        self._page.mouse.down()
        self._page.mouse.up()
        before = match.group(1) if match else None
        found: dict[str, Any] = self._page.evaluate(
            "([before, limit]) => scale.chosen(before, limit)", [before, PATIENCE_MS]
        )
        if found["end"] is None:
            raise SystemExit(
                f"no diagram {PATIENCE_MS / 1000:g} s after a click at {x:.0f}, {y:.0f}"
            )
        return found

    def asked(self, part: str, since: float, until: float) -> list[dict[str, Any]]:
        """The answered requests between two moments whose address has ``part``."""
        found: list[dict[str, Any]] = self._page.evaluate(
            "(words) => scale.asked(...words)", [part, since, until]
        )
        return found

    def screenshot(self, path: str) -> None:
        """Write a picture of the page."""
        self._page.screenshot(path=path)

    def _wait(self, name: str, values: list[Any]) -> float:
        moment = self._page.evaluate(f"(words) => {name}(...words)", [*values, PATIENCE_MS])
        if moment is None:
            raise SystemExit(
                f"not on the page after {PATIENCE_MS / 1000:g} s: {name} {values} {self.complaints}"
            )
        return float(moment)
