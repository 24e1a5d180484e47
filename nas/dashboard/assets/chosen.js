/* The square around the chosen trial's mark: an element that lies over the front's figure.

   As a trace of the figure it had plotly draw all clouds again with each click, which takes longer
   than all else together where there are many trials. So it follows the figure instead: whenever
   plotly has drawn or moved its axes, it is put where the trial is now. */
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const SIZE = 20; // pixels, around marks of 10
  const INK = 2.2;
  const nas = window.dash_clientside.nas;
  const none = () => window.dash_clientside.no_update;

  const figure = () => document.querySelector("#front-figure .js-plotly-plot");

  /* What the server says of the chosen trial (views/front.py): it may be one that is not drawn. */
  let told = null;

  function chosenTrial() {
    const text = new URLSearchParams(location.search).get("trial");
    return /^\d+$/.test(text || "") ? Number(text) : null;
  }

  function placeOf(graph, number) {
    for (const trace of graph.data || []) {
      const at = (trace.customdata || []).indexOf(number);
      if (at >= 0) return { x: trace.x[at], y: trace.y[at] };
    }
    const { x } = (graph.layout && graph.layout.meta) || {};
    return told && told.trial === number && told.cost === x ? { x: told.x, y: told.y } : null;
  }

  function ring() {
    const graph = figure();
    const { xaxis, yaxis } = (graph && graph._fullLayout) || {};
    if (!xaxis || !yaxis) return;
    const number = chosenTrial();
    const place = number === null ? null : placeOf(graph, number);
    const svg = overlay(graph);
    const [x, y] = place ? [xaxis.d2p(place.x), yaxis.d2p(place.y)] : [NaN, NaN];
    const isShown = Number.isFinite(x) && Number.isFinite(y);
    svg.style.display = isShown ? "" : "none";
    if (!isShown) return;
    // As large as the plot, so that a trial that was zoomed away takes its square along.
    svg.style.left = `${xaxis._offset}px`;
    svg.style.top = `${yaxis._offset}px`;
    svg.setAttribute("width", xaxis._length);
    svg.setAttribute("height", yaxis._length);
    svg.setAttribute("aria-label", `The chosen trial, ${number}`);
    svg.dataset.trial = number;
    svg.firstChild.setAttribute("x", x - SIZE / 2);
    svg.firstChild.setAttribute("y", y - SIZE / 2);
  }

  function overlay(graph) {
    const found = graph.querySelector(".chosen-mark");
    if (found) return found;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "chosen-mark");
    svg.setAttribute("role", "img");
    const square = document.createElementNS(SVG, "rect");
    for (const [name, value] of [["width", SIZE], ["height", SIZE], ["stroke-width", INK]]) {
      square.setAttribute(name, value);
    }
    svg.append(square);
    // Over the marks, and under the words that plotly shows of them.
    const layers = graph.querySelectorAll(".svg-container > .main-svg");
    layers[layers.length - 1].before(svg);
    return svg;
  }

  document.addEventListener("nas:drawn", (event) => {
    const graph = event.target;
    if (graph !== figure()) return;
    for (const name of ["plotly_relayouting", "plotly_relayout", "plotly_afterplot"]) {
      graph.removeListener(name, ring); // drawing a figure anew may keep what listens, or not
      graph.on(name, ring);
    }
    ring();
  });

  function ringChosen(search, place) {
    told = place || null;
    ring();
    return none();
  }

  /* ---- pictures: what is downloaded has the square as a trace, since plotly draws it anew */

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#front-figure .modebar-btn");
    if (!button || !/^Download/.test(button.dataset.title || "")) return;
    const graph = figure();
    const number = chosenTrial();
    const place = number === null ? null : placeOf(graph, number);
    if (!place) return;
    event.stopPropagation();
    const { width, height, font } = graph._fullLayout;
    const square = {
      x: [place.x], y: [place.y], mode: "markers", name: `trial ${number}`, showlegend: false,
      marker: {
        symbol: "square-open", size: SIZE, color: font.color, line: { width: INK, color: font.color },
      },
    };
    const picture = { data: [...graph.data, square], layout: graph.layout, config: graph._context };
    const { format } = graph._context.toImageButtonOptions;
    window.Plotly.downloadImage(picture, { format, width, height, filename: "front" });
  }, true);

  Object.assign(nas, { ringChosen });
})();
