/* Figures that are drawn again keep what the reader set: zoom, and what the legend hides.

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

  function taught(plotly) {
    const react = plotly.react;
    plotly.react = async (graph, figure, ...others) => {
      const isWhole = !others.length && figure && figure.data;
      const drawn = await react(graph, isWhole ? kept(graph, figure) : figure, ...others);
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
