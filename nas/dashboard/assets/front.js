/* The front view's own part: the budget's line (cloud_figure.py), and marks under it. */
(() => {
  "use strict";

  const UNITS = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
  const LABELS = { macs: "MACs", params: "parameters", activation_bytes: "activation bytes" };
  const nas = window.dash_clientside.nas;
  const none = () => window.dash_clientside.no_update;
  const coarse = window.matchMedia("(pointer: coarse)");

  /* As nas.quantities.format_count: three digits and a unit. */
  function formatCount(value) {
    for (const [unit, factor] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["K", 1e3]]) {
      if (value >= factor * 0.9995) return digits(value / factor) + unit;
    }
    return digits(value);
  }

  function digits(value) {
    const text = value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
    return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  }

  function parseCount(text) {
    const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)\s*$/i.exec(String(text).replace(/,/g, ""));
    if (!match) return null;
    const value = Math.round(Number(match[1]) * UNITS[match[2].toLowerCase()]);
    return value >= 1 && value < 1e15 ? value : null;
  }

  let revision = 0;
  let written = "";

  function dressFront(_, fresh, figure) {
    if (!figure || !figure.layout) return [none(), none(), none()];
    const pairs = new URLSearchParams(location.search);
    const meta = figure.layout.meta || {};
    const budget = parseCount(pairs.get("budget") || "") || meta.budget;
    written = budget ? formatCount(budget) : "";
    if (isDressed(figure, budget)) return [none(), written, LABELS[meta.x] || ""];
    const layout = { ...figure.layout, dragmode: dragmode(figure.layout) };
    if (budget && layout.shapes && layout.shapes.length) {
      const [line, ...others] = layout.shapes;
      const xanchor = budget < meta.middle ? "left" : "right";
      const label = { ...line.label, xanchor, text: `budget ${formatCount(budget)}` };
      layout.shapes = [{ ...line, x0: budget, x1: budget, y0: 0, y1: 1, label }, ...others];
      // A line that was dragged aslant or out of the plot is put straight again.
      layout.editrevision = `${fresh} ${(revision += 1)}`;
    }
    const data = figure.data.map((trace) =>
      trace.uid === "knee" && isNarrow() ? { ...trace, text: [SHORT_KNEE] } : trace,
    );
    return [{ ...figure, data, layout }, written, LABELS[meta.x] || ""];
  }

  // Where there is no mouse, a finger on the figure scrolls the page; else it is as the reader set it.
  const dragmode = (layout) => (coarse.matches ? false : layout.dragmode);

  // On a phone there is no room for the trial's number, which the table beside it has.
  const SHORT_KNEE = "<b>knee</b>";

  /* Whether it is drawn as the address says already: drawing a large cloud again takes long. */
  function isDressed({ data, layout }, budget) {
    const line = layout.shapes && layout.shapes[0];
    const isInPlace = budget
      ? line && line.x0 === budget && line.x1 === budget && line.y0 === 0 && line.y1 === 1
      : !line;
    const knee = isNarrow() && data.find((trace) => trace.uid === "knee");
    return isInPlace && layout.dragmode === dragmode(layout) && !(knee && knee.text[0] !== SHORT_KNEE);
  }

  const isNarrow = () => window.innerWidth < 600; // as in nas.css

  /* All of the address but the trial: what the links in the rows of the front carry on. */
  function watchOthers(search, others) {
    const pairs = new URLSearchParams(search || "");
    pairs.delete("trial");
    return pairs.toString() === others ? none() : pairs.toString();
  }

  function markRow(search) {
    const trial = new URLSearchParams(search || "").get("trial");
    // The rows themselves may be drawn only after this.
    requestAnimationFrame(() => {
      for (const row of document.querySelectorAll("#front-rows tr[data-number]")) {
        row.classList.toggle("chosen", row.dataset.number === trial);
      }
    });
    return trial;
  }

  function moveBudget(relayout) {
    const moved = relayout && relayout["shapes[0].x0"];
    if (typeof moved !== "number" || !(moved >= 1)) return;
    // Three digits are what a hand can aim at.
    const size = 10 ** Math.max(0, Math.floor(Math.log10(moved)) - 2);
    nas.navigate({ budget: Math.round(moved / size) * size }, true);
  }

  function typeBudget(text) {
    const input = document.getElementById("front-budget");
    const value = parseCount(text || "");
    if (input) input.setAttribute("aria-invalid", String(value === null && Boolean(text)));
    // What the page wrote itself is no wish, and rounded besides.
    if (value !== null && text !== written) nas.navigate({ budget: value }, true);
  }

  /* ---- marks under the line: what takes the mouse there is the line, so the page looks itself */

  const REACH = 9; // pixels around a mark in which it is meant

  function markAt(graph, event) {
    const { _fullLayout: full, _fullData: traces } = graph;
    const box = graph.getBoundingClientRect();
    const x = event.clientX - box.left - full._size.l;
    const y = event.clientY - box.top - full._size.t;
    let best = null;
    let least = REACH;
    traces.forEach((trace, curveNumber) => {
      if (trace.visible !== true || trace.hoverinfo === "skip" || !trace.customdata) return;
      for (let pointNumber = 0; pointNumber < trace.x.length; pointNumber += 1) {
        const dx = full.xaxis.d2p(trace.x[pointNumber]) - x;
        if (Math.abs(dx) > least) continue;
        const away = Math.hypot(dx, full.yaxis.d2p(trace.y[pointNumber]) - y);
        if (away <= least) {
          least = away;
          best = { curveNumber, pointNumber, customdata: trace.customdata[pointNumber] };
        }
      }
    });
    return best;
  }

  function lineUnder(event) {
    const path = event.target.closest && event.target.closest("#front-figure .shapelayer");
    return path ? path.closest(".js-plotly-plot") : null;
  }

  let pressed = null;
  let isHovered = false;
  document.addEventListener("mousedown", (event) => {
    const graph = lineUnder(event);
    pressed = graph && { x: event.clientX, y: event.clientY };
  }, true);

  document.addEventListener("mouseup", (event) => {
    const from = pressed;
    pressed = null;
    if (!from || Math.hypot(event.clientX - from.x, event.clientY - from.y) > 3) return;
    const graph = document.querySelector("#front-figure .js-plotly-plot");
    const mark = graph && markAt(graph, event);
    if (mark) nas.chooseTrial({ points: [mark] });
  }, true);

  document.addEventListener("mousemove", (event) => {
    const graph = pressed ? null : lineUnder(event);
    const mark = graph && markAt(graph, event);
    if (mark) {
      const { curveNumber, pointNumber } = mark;
      window.Plotly.Fx.hover(graph, [{ curveNumber, pointNumber }]);
      isHovered = true;
    } else if (isHovered) {
      const left = document.querySelector("#front-figure .js-plotly-plot");
      if (left) window.Plotly.Fx.unhover(left);
      isHovered = false;
    }
  });

  Object.assign(nas, { dressFront, moveBudget, typeBudget, formatCount, watchOthers, markRow });
})();
