// Draws the figures, and shows the trial that a click, a row, the list or the address names.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = new Map(data.runs.map((run) => [run.key, run]));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const small = window.matchMedia("(max-width: 600px)");
  const config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: "figure" },
  };
  const chosen = new Map();
  let isOnPaper = false; // then light colours, and no wider than a page
  document.documentElement.classList.add("js");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function isDark() {
    return dark.matches && !isOnPaper;
  }

  function mode() {
    return data.templates[isDark() ? "dark" : "light"];
  }

  // ---- figures

  function emphasised(figure, number) {
    // The chosen trial's curve in colour and above the others.
    const traces = figure.data.map((trace) => {
      const own = trace.customdata && trace.customdata[0] === number;
      return own
        ? { ...trace, opacity: 1, line: { width: 3, color: colour("accent") }, marker: { size: 8, color: colour("accent") } }
        : { ...trace, opacity: 0.55 };
    });
    traces.sort((a, b) => (a.customdata[0] === number) - (b.customdata[0] === number));
    return { data: traces, layout: figure.layout };
  }

  function ring() {
    return {
      x: [], y: [], customdata: [], name: "selected", mode: "markers", type: "scatter",
      hoverinfo: "skip", showlegend: false, cliponaxis: false,
      marker: { symbol: "circle-open", size: 26, color: mode().layout.font.color, line: { width: 2 } },
    };
  }

  function coloured(figure) {
    let json = JSON.stringify(figure);
    for (const [light, bright] of isDark() ? Object.entries(data.recolour) : []) {
      json = json.replaceAll(light, bright);
    }
    return JSON.parse(json);
  }

  // Half of a phone's labels: whole decades only, where there are some.
  function fewer(axis) {
    if (!axis.tickvals) return axis;
    const kept = axis.tickvals.map((value, i) => [value, axis.ticktext && axis.ticktext[i]])
      .filter(([value]) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6);
    if (kept.length < 4 || !axis.ticktext) return axis;
    return { ...axis, tickvals: kept.map((one) => one[0]), ticktext: kept.map((one) => one[1]) };
  }

  function draw(div) {
    const run = runs.get(div.dataset.run);
    let figure = coloured(run.figures[div.dataset.figure]);
    if (div.dataset.highlight) figure = emphasised(figure, Number(div.dataset.highlight));
    const isFront = div.dataset.figure.startsWith("front-");
    if (isFront) figure.data.push(ring());
    const layout = { ...figure.layout, template: mode() };
    if (small.matches) {
      layout.margin = { l: 52, r: 8, t: 8, b: 48 };
      layout.xaxis = fewer(layout.xaxis);
      for (const trace of figure.data) {
        if (trace.name === "knee") Object.assign(trace, { text: ["knee"], textposition: "top right" });
      }
      // Two names side by side; long ones take a row each.
      const isLong = figure.data.some((trace) => trace.showlegend !== false && (trace.name || "").length > 14);
      layout.legend = { ...layout.legend, entrywidthmode: "fraction", entrywidth: isLong ? 0.98 : 0.48, font: { size: 12 } };
    }
    if (isOnPaper) layout.width = Math.min(div.offsetWidth, 660);
    Plotly.newPlot(div, figure.data, layout, config);
    div.dataset.drawn = "yes";
    if (isFront) {
      div.on("plotly_click", (event) => {
        const point = event.points.find((one) => one.customdata !== undefined);
        if (point) choose(run.key, Number(point.customdata), true);
      });
      mark(div, chosen.get(run.key));
    }
  }

  function drawVisible(root) {
    for (const div of root.querySelectorAll(".plot:not([data-drawn])")) {
      if (div.offsetWidth > 0) draw(div);
    }
  }

  function mark(div, number) {
    const last = div.data.length - 1;
    for (const trace of div.data.slice(0, last)) {
      const index = (trace.customdata || []).indexOf(number);
      if (index >= 0) {
        const at = { x: [[trace.x[index]]], y: [[trace.y[index]]], customdata: [[number]] };
        Plotly.restyle(div, at, [last]);
        return;
      }
    }
  }

  // ---- choosing a trial

  function text(parent, tag, content) {
    const node = document.createElement(tag);
    node.textContent = content;
    parent.append(node);
    return node;
  }

  function brief(card, number, trial) {
    card.replaceChildren();
    text(card, "h3", `Trial ${number}: ${trial.standing}`);
    if (trial.why) text(card, "p", trial.why);
    const list = text(card, "dl", "");
    list.className = "grid";
    const rows = [
      ["last error seen (proxy)", trial.error], ["MACs", trial.macs], ["parameters", trial.params],
      ["epochs trained", trial.epochs], ["origin", trial.origin],
    ];
    for (const [label, value] of rows) {
      const row = text(list, "div", "");
      text(row, "dt", label);
      text(row, "dd", String(value));
    }
    text(card, "p", "Its network and its learning curve:").className = "note";
    text(text(card, "p", ""), "code", trial.command);
  }

  function choose(key, number, isAsked) {
    const run = runs.get(key);
    const section = document.getElementById(key);
    const trial = run && run.trials[number];
    if (!section || !trial) return;
    chosen.set(key, number);
    let shown = section.querySelector(".brief");
    for (const detail of section.querySelectorAll(".detail")) {
      const own = Number(detail.dataset.number) === number;
      detail.classList.toggle("chosen", own);
      if (own) shown = detail;
    }
    const card = section.querySelector(".brief");
    card.hidden = shown !== card;
    if (shown === card) brief(card, number, trial);
    section.querySelector(".selection").textContent = "";
    for (const row of section.querySelectorAll("table.front tbody tr")) {
      const own = Number(row.dataset.number) === number;
      row.classList.toggle("chosen", own);
      row.querySelector(".show").setAttribute("aria-pressed", String(own));
    }
    section.querySelector(".choose").value = String(number);
    steps(section, number);
    for (const div of section.querySelectorAll("[data-figure^='front-'][data-drawn]")) {
      mark(div, number);
    }
    drawVisible(shown);
    if (isAsked) {
      history.replaceState(null, "", `#${key}-t${number}`);
      announce(section, number, trial);
      const box = shown.getBoundingClientRect();
      if (box.top > window.innerHeight - 160 || box.bottom < 0) {
        const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
        shown.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
      }
    }
  }

  function announce(section, number, trial) {
    const line = `Trial ${number}, ${trial.standing}, error ${trial.error}, shown below.`;
    section.querySelector(".selection").textContent = line;
  }

  function frontNumbers(section) {
    return [...section.querySelectorAll("table.front .show")].map((one) => Number(one.dataset.number));
  }

  function steps(section, number) {
    const numbers = frontNumbers(section);
    const at = numbers.indexOf(number);
    for (const button of section.querySelectorAll(".step")) {
      const next = numbers[at + Number(button.dataset.step)];
      button.disabled = at < 0 || next === undefined;
    }
  }

  function fromAddress() {
    const match = /^#(run\d+)-t(\d+)$/.exec(location.hash);
    if (match && runs.has(match[1])) {
      choose(match[1], Number(match[2]), true);
    }
  }

  // ---- listeners

  for (const section of document.querySelectorAll("section.run")) {
    const key = section.id;
    const choice = section.querySelector(".choose");
    if (choice) choice.addEventListener("change", () => choose(key, Number(choice.value), true));
    for (const button of section.querySelectorAll(".show")) {
      button.addEventListener("click", () => {
        choose(key, Number(button.dataset.number), true);
        const detail = document.getElementById(`${key}-t${button.dataset.number}`);
        (detail || section.querySelector(".brief")).scrollIntoView({ block: "start" });
      });
    }
    for (const button of section.querySelectorAll(".step")) {
      button.addEventListener("click", () => {
        const numbers = frontNumbers(section);
        const next = numbers[numbers.indexOf(chosen.get(key)) + Number(button.dataset.step)];
        if (next !== undefined) choose(key, next, true);
      });
    }
    for (const button of section.querySelectorAll(".switch button")) {
      button.addEventListener("click", () => {
        for (const other of section.querySelectorAll(".switch button")) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        for (const figure of section.querySelectorAll(".front-figure")) {
          figure.hidden = figure.dataset.axis !== button.dataset.axis;
        }
        drawVisible(section);
      });
    }
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
      } catch {
        // Without leave to use the clipboard the command is selected, ready for Ctrl-C.
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  function redraw(isPrinting) {
    isOnPaper = isPrinting;
    for (const div of document.querySelectorAll(".plot[data-drawn]")) draw(div);
  }

  dark.addEventListener("change", () => redraw(false));
  window.addEventListener("hashchange", fromAddress);
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll(".detail.chosen details")) details.open = true;
    redraw(true);
  });
  window.addEventListener("afterprint", () => redraw(false));

  drawVisible(document);
  for (const run of data.runs) {
    if (run.first !== null) choose(run.key, run.first, false);
  }
  fromAddress();
})();
