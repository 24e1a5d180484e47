"""The dashboard over a run of 100,000 trials, timed in a browser: paint, clicks, views, news.

    python benchmarks/dashboard_scale.py /tmp/large [--trials 100000] [--parts paint clicks]
        [--out results/pareto/scale.json]

Makes the run (benchmarks/make_large_study.py) unless it is there. Parts, each measured by itself;
``--out`` keeps the other parts that the file has, and writes the table beside it as text:

- cold: an empty cache: all tables read in a process of their own, and the dashboard with a page
  that is opened at once. On a copy of the run.
- paint: from the navigation until the front's marks are on the screen, with a full cache: on a
  server that has just been started, and on one that has shown the page before. The browser's own
  cache is empty each time.
- clicks: from the press of the mouse button on a mark until the trial's diagram is on the screen.
- views: from the press on a view's link until its figures and tables are on the screen, for the
  first time and later.
- news: another process, the run's driver, adds trials, the last of them a new best one; until that
  one is drawn. The waiting for the next look (the server looks every second, the page asks every
  1.5) is told apart from the work: reading what is new, and all from the question to the drawing.
  On a copy of the run.

The server is ``nas dashboard`` in a process of its own, the browser is Chromium without a screen,
which draws WebGL by the processor: with a graphics card drawing is faster. Times are taken in the
page, a frame after what is waited for is in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import records_cache
from contestants.hardware import describe_hardware
from make_large_study import make_large_study
from rich.console import Console
from rich.table import Table
from scale.page import Browser, Page
from scale.server import Server
from scale.writer import Writer

from nas.records import locate, open_run

VIEWS = {
    "architecture": ["#architecture-drawing img", "#architecture-layers tbody tr",
                     "#architecture-curve .scatterlayer .trace"],
    "progress": ["#progress-facts > *", "#progress-spend table", "#progress-pace .main-svg",
                 "#progress-hypervolume .scatterlayer .trace"],
    "choices": ["#choices-parallel .parcoords", "#choices-survival .trace",
                "#choices-importance .trace"],
    "compare": ["#compare-fronts .scatterlayer .trace", "#compare-indicators table"],
    "trials": ["#trials-grid .ag-row [col-id=error] .ag-cell-value, #trials-grid .ag-row "
               "[col-id=error]:not(:empty)", "#trials-files a"],
    "front": ["#front-figure .scatterlayer .points path", "#front-chosen img"],
}  # fmt: skip
"""What must be on the screen before a view counts as shown, by view."""

FIRST, LATER = "for the first time", "later"
PACKAGES = (
    "dash",
    "plotly",
    "pandas",
    "pyarrow",
    "waitress",
    "SQLAlchemy",
    "moocore",
    "playwright",
)
Measured = dict[str, Any]


class Rows:
    """What was measured: values in milliseconds or seconds by name, and plain facts."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.facts: dict[str, Any] = {}
        self._about: dict[str, tuple[str, float | None]] = {}

    def add(self, name: str, value: float, unit: str = "ms", limit: float | None = None) -> None:
        """One more value; ``limit`` is what is asked of it."""
        self.values.setdefault(name, []).append(round(value, 3 if unit == "s" else 1))
        self._about[name] = (unit, limit)

    def to_data(self) -> Measured:
        """As JSON; the load is the machine's, over the last minute."""
        rows = [
            {"what": name, "unit": unit, "limit": limit, "n": len(self.values[name]),
             "median": statistics.median(self.values[name]), "values": self.values[name]}
            for name, (unit, limit) in self._about.items()
        ]  # fmt: skip
        return {
            "measured": datetime.now().isoformat(timespec="seconds"),
            "load": round(os.getloadavg()[0], 2),
            "rows": rows,
            "facts": self.facts,
        }


def make_study(path: Path, trials: int) -> None:
    """The run, unless it is there; all its tables are in its cache afterwards."""
    if not (path / "study.db").exists():
        for done in make_large_study(locate(path.name, path.parent), trials, running=4):
            print(f"\rmaking the run: {done:,} of {trials:,} trials", end="", flush=True)
        print()
    run = open_run(path, progress=_tell)
    found = len(run.trials), len(run.curves), len(run.choices)
    if found[0] < trials:
        raise SystemExit(f"{path} has {found[0]:,} trials, not {trials:,}: take another directory")


def _tell(table: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\rfilling the cache: {table}, {done:,} of {total:,} trials", end=end, flush=True)


@contextlib.contextmanager
def copy_of(path: Path, *, with_cache: bool) -> Iterator[Path]:
    """A copy of the run that goes away again."""
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        copied = Path(place) / path.name
        copied.mkdir()
        shutil.copy(path / "study.db", copied)
        if with_cache:
            shutil.copytree(path / "cache", copied / "cache")
        yield copied


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def now() -> float:
    """Milliseconds since the epoch, as the page counts."""
    return 1000 * time.time()


def measure_cold(path: Path, browser: Browser, rows: Rows, repeats: int) -> None:
    """With an empty cache."""
    with copy_of(path, with_cache=False) as copied:
        for _ in range(repeats):
            shutil.rmtree(copied / "cache", ignore_errors=True)
            read = records_cache.in_a_process("read", copied)
            rows.add("empty cache: all three tables read", read["total"], "s", 60)
            for table in records_cache.TABLES:
                rows.add(f"  of it {table}", read[table], "s")
            rows.facts["progress calls"] = read["progress calls"]
            rows.facts["reading process, MiB at most"] = round(read["MB at most"])
            shutil.rmtree(copied / "cache")
            with Server(copied, port=free_port()) as server, browser.visit(server.url) as page:
                words = server.wait_until_read()
                end = page.wait_for_front()
                rows.add(
                    "empty cache: from the navigation to the front painted",
                    (end - page.started()) / 1000, "s", 60,
                )  # fmt: skip
                rows.facts["said meanwhile"] = [*words[:2], "...", *words[-1:]]
        rows.facts["cache, MB"] = _megabytes(path / "cache")
        rows.facts["database, MB"] = round((path / "study.db").stat().st_size / 1e6)


def _megabytes(directory: Path) -> int:
    return round(sum(one.stat().st_size for one in directory.rglob("*.parquet")) / 1e6)


def measure_paint(path: Path, browser: Browser, rows: Rows, repeats: int) -> None:
    """From the navigation to marks on the screen, with a full cache."""
    for _ in range(repeats):
        with Server(path, port=free_port()) as server:
            rows.add("nas dashboard: from its start until it listens", server.ready_seconds, "s")
            rows.facts["server before the first page, MiB"] = round(server.megabytes)
            for name in (
                "first paint: a server just started reads the cache",
                "first paint: a server that has read it",
            ):
                with browser.visit(server.url) as page:
                    end, begun = page.wait_for_front(), page.started()
                    rows.add(name, end - begun, "ms", 3000)
                    rows.facts["sent for the page, MB"] = round(_bytes(page, begun, end) / 1e6, 1)
                    rows.facts["drawn"] = page.words("#front-drawn")
                    page.rest(500)
                    rows.facts["traces"] = {
                        one["name"]: one.get("type", "scatter") for one in page.marks()
                    }
            rows.facts["server after it, MiB"] = round(server.megabytes)


def _bytes(page: Page, since: float, until: float) -> float:
    return sum(float(one["bytes"]) for one in page.asked("", since, until))


def measure_clicks(path: Path, browser: Browser, rows: Rows, repeats: int) -> None:
    """From the press on a mark until its diagram is shown, on and off the front by turns."""
    with Server(path, port=free_port()) as server, browser.visit(server.url) as page:
        page.wait_for_front()
        page.rest(3000)
        traces = page.marks()
        front = [one for trace in traces for one in trace["marks"] if "front" in trace["name"]]
        others = [one for trace in traces for one in trace["marks"] if "front" not in trace["name"]]
        chance = random.Random(0)
        marks = [chance.choice(own) for _ in range(repeats) for own in (front, others)]
        last = None
        for number, x, y in marks:
            if number == last:
                continue
            found = page.click_mark(x, y)
            last = int(found["trial"])
            page.rest(700)
            rows.add("click on a mark, until its diagram is shown", found["end"] - found["pressed"],
                     "ms", 300)  # fmt: skip
            for part, words in (("_dash-update", "its words"), ("diagram.svg", "its drawing")):
                asked = page.asked(part, found["pressed"], found["end"])
                if asked:
                    longest = max(one["end"] - one["start"] for one in asked)
                    rows.add(f"  of it the longest request for {words}", longest)
        clicks = rows.values["click on a mark, until its diagram is shown"]
        rows.facts["clicks, 90th percentile"] = sorted(clicks)[int(0.9 * (len(clicks) - 1))]


def measure_views(path: Path, browser: Browser, rows: Rows, repeats: int) -> None:
    """From the press on a view's link until it is shown."""
    with Server(path, port=free_port()) as server, browser.visit(server.url) as page:
        page.wait_for_front()
        page.rest(3000)
        for turn in range(repeats + 1):
            for view, selectors in VIEWS.items():
                page.press(f"#link-{view}")
                end = page.wait_for(selectors)
                name = f"view {view}, {LATER if turn else FIRST}"
                if turn or view != "front":  # the page began with the front
                    rows.add(name, end - page.pressed())
                page.rest(1500)
        rows.facts["server after all views, MiB"] = round(server.megabytes)


def measure_news(path: Path, browser: Browser, rows: Rows, repeats: int, new: int) -> None:
    """From the commit of new trials until the best of them is drawn."""
    with (
        copy_of(path, with_cache=True) as copied,
        Writer(copied) as writer,
        Server(copied, port=free_port()) as server,
        browser.visit(server.url) as page,
    ):
        page.wait_for_front()
        page.rest(4000)
        chance = random.Random(0)
        for _ in range(repeats):
            page.rest(1000 * chance.uniform(1.0, 2.5))  # at any moment between two looks
            written = writer.add(new)
            end = page.wait_for_mark(written["best"])
            whole = end - written["committed"]
            news = _news(page, written["committed"], end)
            read = float(news["server"]["read"])
            rows.add("news: from the commit to the drawing", whole)
            rows.add("  of it work: reading, answering, drawing",
                     read + end - news["start"], "ms", 1000)  # fmt: skip
            rows.add("    the server's reading of what is new", read)
            rows.add("    from the page's question to the drawing", end - news["start"])
            rows.add("  of it waiting for the next look", whole - read - (end - news["start"]))
        rows.facts["new trials at once"] = new
        rows.facts["server after the news, MiB"] = round(server.megabytes)


def _news(page: Page, since: float, until: float) -> Measured:
    """The question whose answer made the page draw: the last one before it asked for a figure."""
    figures = page.asked("_dash-update", since, until)
    asked = min(one["start"] for one in figures)
    return [one for one in page.asked("/status", since, until) if one["end"] <= asked][-1]


def show(data: Measured, console: Console) -> None:
    """The table, and below it the facts."""
    study, hardware = data["study"], data["hardware"]
    machine = ", ".join(f"{name} {value}" for name, value in hardware.items())
    console.print(f"{study['trials']:,} trials of {study['choices']} choices; {machine}")
    console.print(", ".join(f"{name} {value}" for name, value in data["versions"].items()))
    table = Table("what", "n", "median", "least to most", "asked", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for part in data["parts"].values():
        for row in part["rows"]:
            table.add_row(*_cells(row))
    console.print(table)
    for name, part in data["parts"].items():
        facts = "; ".join(f"{key}: {value}" for key, value in part["facts"].items())
        console.print(f"{name} ({part['measured']}, load {part['load']}): {facts}", highlight=False)


def _cells(row: Measured) -> tuple[str, ...]:
    unit, limit = row["unit"], row["limit"]

    def words(value: float) -> str:
        return f"{value:,.2f} s" if unit == "s" else f"{value:,.0f} ms"

    spread = f"{words(min(row['values']))} to {words(max(row['values']))}" if row["n"] > 1 else ""
    asked = "" if limit is None else f"under {words(limit)}".replace(".00", "")
    return row["what"], str(row["n"]), words(row["median"]), spread, asked


def main() -> None:
    """Measure the parts, print the table, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run", type=Path, help="the run's directory; made unless it is there")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, help="of each; by default 3, clicks 2 x 15, news 8")
    parser.add_argument("--new", type=int, default=20, help="trials that are added at once")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="where to write JSON, and a text beside it")
    options = parser.parse_args()
    path = options.run.resolve()
    make_study(path, options.trials)
    with Browser() as browser:
        data: Measured = {
            "hardware": describe_hardware("cpu"),
            "versions": {**{name: version(name) for name in PACKAGES}, "browser": browser.version},
            "study": {"trials": options.trials, "choices": len(open_run(path).choices.columns) - 1},
        }
        data["parts"] = _earlier_parts(options.out, data)
        for part in options.parts:
            rows, (measure, repeats) = Rows(), PARTS[part]
            more = (options.new,) if part == "news" else ()
            measure(path, browser, rows, options.repeats or repeats, *more)
            data["parts"][part] = rows.to_data()
    data["parts"] = {part: data["parts"][part] for part in PARTS if part in data["parts"]}
    show(data, Console(width=120))
    if options.out is not None:
        _write(data, options.out)


def _earlier_parts(out: Path | None, data: Measured) -> Measured:
    """The parts in the file, where the machine and the versions were the same."""
    if out is None or not out.exists():
        return {}
    found: Measured = json.loads(out.read_text())
    parts: Measured = found["parts"]
    return parts if all(found[name] == value for name, value in data.items()) else {}


def _write(data: Measured, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(data, indent=1) + "\n")
    with out.with_suffix(".txt").open("w") as file:
        show(data, Console(file=file, width=120))


PARTS: dict[str, tuple[Callable[..., None], int]] = {
    "cold": (measure_cold, 3),
    "paint": (measure_paint, 3),
    "clicks": (measure_clicks, 15),
    "views": (measure_views, 3),
    "news": (measure_news, 8),
}
"""What measures a part, and how often unless another number is given."""


if __name__ == "__main__":
    main()
