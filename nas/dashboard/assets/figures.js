/* What plotly is taught before it draws: to keep what the reader set, and to do without WebGL.

   Figures that are drawn again keep what the reader set: zoom, and what the legend hides.

   plotly has `uirevision` for that, but Dash's Graph writes a reader's zoom into its own figure, and
   plotly then takes the next figure, which has none, for the program's wish to go back. So what
   the reader set is put into a new figure of the same revision before plotly sees it. */
(() => {
  "use strict";

  function kept(graph, figure) {
    const before = graph.layout;
    const after = figure.layout;
    if (!before || !after || !after.uirevision || before.uirevision !== after.uirevision) {
      return figure;
    }
    const axes = {};
    for (const [name, axis] of Object.entries(before)) {
      const isZoomed = /^[xy]axis\d*$/.test(name) && axis.autorange === false && axis.range;
      if (isZoomed && !(after[name] && after[name].range)) {
        axes[name] = { ...after[name], range: [...axis.range], autorange: false };
      }
    }
    return { ...figure, data: keptTraces(graph, figure.data), layout: { ...after, ...axes } };
  }

  function keptTraces(graph, traces) {
    const name = (trace) => trace.uid || trace.name;
    const hidden = new Set(
      (graph.data || []).filter((trace) => trace.visible === "legendonly").map(name),
    );
    if (!hidden.size || !traces) return traces;
    return traces.map((trace) =>
      trace.visible === undefined && hidden.has(name(trace))
        ? { ...trace, visible: "legendonly" }
        : trace,
    );
  }

  /* ---- without WebGL: the same marks as SVG, which is slower, and a sentence that says so */

  let isThere = null;

  function hasWebGL() {
    if (isThere === null) {
      const found = document.createElement("canvas").getContext("webgl");
      isThere = Boolean(found);
      const freed = found && found.getExtension("WEBGL_lose_context");
      if (freed) freed.loseContext(); // a page may have only a few
    }
    return isThere;
  }

  function drawable(graph, figure) {
    const needs = (trace) => trace.type === "scattergl" || trace.type === "parcoords";
    const place = graph.closest(".drawn-by-webgl"); // it has the sentence (blocks.py)
    const lacks = figure.data.some(needs) && !hasWebGL();
    if (place) place.classList.toggle("without-webgl", lacks);
    if (!lacks) return figure;
    const data = figure.data
      .filter((trace) => trace.type !== "parcoords")
      .map((trace) => (trace.type === "scattergl" ? { ...trace, type: "scatter" } : trace));
    return { ...figure, data };
  }

  function taught(plotly) {
    const react = plotly.react;
    plotly.react = async (graph, figure, ...others) => {
      const isWhole = !others.length && figure && figure.data;
      const shown = isWhole ? drawable(graph, kept(graph, figure)) : figure;
      const drawn = await react(graph, shown, ...others);
      // For what lies over a figure (chosen.js).
      graph.dispatchEvent(new CustomEvent("nas:drawn", { bubbles: true }));
      return drawn;
    };
    return plotly;
  }

  let plotly = window.Plotly && taught(window.Plotly);
  Object.defineProperty(window, "Plotly", {
    configurable: true,
    get: () => plotly,
    set: (found) => { plotly = found && found.react ? taught(found) : found; },
  });
})();
