"""A dashboard that really listens, and a browser that looks at it, for tests of its views."""

from __future__ import annotations

import os
import re
import threading
import time

import waitress

from nas.dashboard import Source, create_app
from nas.dashboard.security import Access

SECONDS = int(os.environ.get("NAS_TEST_MILLISECONDS", "60000"))
"""Milliseconds that a busy machine may take to show something."""


class Served:
    """Runs served on a free port of this machine, by the server that the product uses."""

    def __init__(self, runs, *, token="", seconds=0.2, results=None):
        self.source = Source(runs, seconds=seconds, results=results)
        self.server = waitress.create_server(lambda *_: [], host="127.0.0.1", port=0, threads=8)
        self.port = self.server.effective_port
        self.access = Access("127.0.0.1", self.port, token)
        self.app = create_app(self.source, self.access)
        self.server.application = self.app.server
        self.url = f"http://127.0.0.1:{self.port}"
        self.source.start()
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()
        self._thread.join(10)
        self.source.stop()


class Visit:
    """A page in the browser with all that it asked for and complained about."""

    def __init__(
        self, browser, served, path="/", *, width=1280, height=900, scheme="light", script=""
    ):
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            accept_downloads=True,
        )
        self.served, self.page = served, self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.set_default_timeout(SECONDS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if script:  # runs before those of the page
            self.page.add_init_script(script)
        self.page.goto(served.url + path)

    def _hear(self, message):
        # Where WebGL is software, the browser says of its own driver that it is slow.
        if message.type != "log" and "GL Driver Message" not in message.text:
            self.complaints.append(message.text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def drawn(self, selector):
        """Wait until plotly has drawn the graph with its marks and return where it is."""
        self.page.wait_for_selector(f"{selector} .main-svg")
        # A graph is empty at first: what is drawn on it comes with the answer of the server.
        self.until(f"document.querySelector('{selector} .js-plotly-plot').data.length > 0")
        return self.page.locator(f"{selector} .js-plotly-plot")

    def place(self, graph, number):
        """Where on the screen plotly drew a trial."""
        return self.page.evaluate(
            """([selector, number]) => {
                const div = document.querySelector(`${selector} .js-plotly-plot`);
                div.scrollIntoView({block: "center", behavior: "instant"});
                const {_fullLayout: full} = div, box = div.getBoundingClientRect();
                const own = (t) => (t.customdata || []).map((c) => Array.isArray(c) ? c[0] : c);
                const trace = div.data.findLast(t => own(t).includes(number));
                const at = own(trace).indexOf(number);
                return [box.left + full._size.l + full.xaxis.d2p(trace.x[at]),
                        box.top + full._size.t + full.yaxis.d2p(trace.y[at])];
            }""",
            [graph, number],
        )

    def click_trial(self, graph, number):
        """A real click on a trial's mark."""
        place = self.place(graph, number)
        self.page.mouse.move(*place)
        self.page.mouse.click(*place)
        self.page.wait_for_url(re.compile(rf"[?&]trial={number}\b"))

    def until(self, expression, seconds=SECONDS / 1000):
        """Wait until JavaScript says yes; the page forbids the evaluation of Playwright's own."""
        end = time.monotonic() + seconds
        # Not yet there is not yet true.
        tried = f"(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()"
        while not self.page.evaluate(tried):
            assert time.monotonic() < end, f"never true: {expression}"
            self.page.wait_for_timeout(50)

    def width(self):
        """How wide the page's content is; more than the screen scrolls sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth")

    def assert_quiet(self):
        """Nothing was complained about, and nothing was asked of another machine."""
        outside = [
            u for u in self.requests if not u.startswith((self.served.url, "data:", "blob:"))
        ]
        assert not outside, outside
        assert not self.complaints, self.complaints
